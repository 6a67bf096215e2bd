//! The operators in a row: dedup, reorder, contacts and orders, then windows.
//!
//! A pure state machine. Decoded events go in with [`Pipeline::push`], facts and
//! rows of windows come out of [`Pipeline::advance`]. What comes out depends on the
//! events and their order within each partition, on nothing else.

use std::collections::BTreeSet;
use std::fmt;
use std::time::{Duration, Instant};

use arrow::array::{RecordBatch, new_null_array};
use headsup_events::{Decoded, EventType, Text};
pub use headsup_stream::is_time;
use headsup_stream::{Accounting, PartitionClock, Placed, gcd};
use serde::{Deserialize, Serialize};

use crate::bytes::Bytes;
use crate::contacts::{
    AGENTS_TICK_MS, Agents, Applied, ContactFacts, ContactLimits, Contacts, Follow, FollowLimits,
    SavedAgents, SavedContacts, SavedContacts2, SavedFollow,
};
use crate::copied::Copied;
use crate::dedup::{Dedup, SavedDedup};
use crate::facts::{Rows, Table};
use crate::orders;
use crate::reorder::{Reorder, SavedTurn};
use crate::saved::{pack, unpack};
use crate::signals;

/// What the pipeline is made of. Durations in ms of event time.
#[derive(Debug, Clone)]
pub struct PipelineConfig {
    /// How many partitions it reads.
    pub partitions: usize,
    /// How far events of a partition may be out of order.
    pub disorder_ms_max: i64,
    /// How far behind the watermark an event is still applied.
    pub lateness_ms_max: i64,
    /// When conversations are given up.
    pub contacts: ContactLimits,
    /// How long is waited for what follows them.
    pub follow: FollowLimits,
    /// Whether all conversations of an agent are among the events, so that it can be said how
    /// much of the agent's time they take.
    pub agents: bool,
    /// How often table `queue` is sampled.
    pub queue_tick_ms: i64,
    /// Contacts accepted longer ago than this count apart in it.
    pub queue_over_ms: i64,
    /// No window begins before this, so until then facts come out every ten minutes, which costs less than at every
    /// tick.
    pub quiet_until_ms: i64,
    /// The facts to give out.
    pub store: Vec<Table>,
    /// Whether to measure how long each operator takes.
    pub profile: bool,
}

/// Windows over facts, such as those of a KPI.
pub trait Windows: fmt::Debug + Send {
    /// What errors and counters call it.
    fn name(&self) -> &str;

    /// The tables it reads.
    fn tables(&self) -> Vec<Table>;

    /// The columns of a table that it reads, by their places; the others may come as
    /// NULL.
    fn columns(&self, table: Table) -> BTreeSet<usize>;

    /// All times at which it has something to do are multiples, in ms.
    fn tick_ms(&self) -> i64;

    /// When [`Windows::tick`] has to be called next, in ms; `None` if never without
    /// new facts.
    fn next_tick_ms(&self) -> Option<i64>;

    /// Takes in the facts of a table that are new at `now_ms`, when [`Windows::tick`] is
    /// called next. For a batch that is the beginning of time.
    ///
    /// # Errors
    /// An expression that cannot be evaluated, such as a division by zero.
    fn absorb(&mut self, now_ms: i64, table: Table, facts: &RecordBatch) -> Result<(), WindowsError>;

    /// Time is `now_ms`: every fact known before has been absorbed. Appends the rows
    /// that windows show now to `rows`.
    ///
    /// # Errors
    /// An expression that cannot be evaluated.
    fn tick(&mut self, now_ms: i64, rows: &mut Vec<RecordBatch>) -> Result<(), WindowsError>;

    /// How many times a fact came for windows that were all final.
    fn refused(&self) -> u64;

    /// Whether it can begin anew where a checkpoint has nothing of it, and whether one that has can do without it. It
    /// is the last then.
    fn is_optional(&self) -> bool {
        false
    }

    /// The state, for a checkpoint.
    fn save(&self) -> Copied;

    /// Goes on from what [`Windows::save`] of the same definition has saved.
    ///
    /// # Errors
    /// Bytes of something else.
    fn restore(&mut self, saved: &[u8]) -> Result<(), WindowsError>;
}

/// Why windows could not go on.
pub type WindowsError = Box<dyn std::error::Error + Send + Sync>;

/// What comes out.
#[derive(Debug, Default)]
pub struct Output {
    /// Facts of the tables to store.
    pub facts: Vec<(Table, RecordBatch)>,
    /// Rows of windows: the place of the windows in the pipeline, and their rows.
    pub rows: Vec<(usize, RecordBatch)>,
}

/// Time spent in each operator.
#[derive(Debug, Clone, Copy, Default)]
pub struct Profile {
    /// Finding duplicates and placing events in time.
    pub dedup: Duration,
    /// Sorting by turn.
    pub reorder: Duration,
    /// Contacts, orders, queue.
    pub contacts: Duration,
    /// Facts into panes, panes into windows.
    pub windows: Duration,
}

/// The state of all operators.
#[derive(Debug)]
pub struct Pipeline {
    config: PipelineConfig,
    partitions: Vec<Partition>,
    /// Of the events being taken in.
    keys: Vec<u128>,
    reorder: Reorder,
    /// Keys and places of the conversations of the next events.
    places: Vec<(u128, Option<u32>)>,
    contacts: Contacts,
    facts: ContactFacts,
    orders: Option<Rows>,
    queue: Option<Rows>,
    stored: [bool; Table::ALL.len()],
    windows: Vec<Box<dyn Windows>>,
    /// All times at which windows or the queue have something to do are multiples.
    grid_ms: i64,
    next_tick_ms: i64,
    profile: Profile,
}

/// How often facts come out as long as there are no windows.
const QUIET_TICK_MS: i64 = 600_000;
/// Events whose conversations are looked up together.
const TOGETHER: usize = 32;

#[derive(Debug)]
struct Partition {
    clock: PartitionClock,
    dedup: Dedup,
    accounting: Accounting,
    ended: bool,
}

/// The state between two batches, `C` that of the contacts. In formats 1 and 2 that is all.
#[derive(Serialize, Deserialize)]
struct Saved<C> {
    partitions: Vec<SavedPartition>,
    waiting: Vec<SavedTurn>,
    contacts: C,
    /// Per table, what has not been given out yet.
    facts: Vec<Bytes>,
    next_tick_ms: i64,
    windows: Vec<Bytes>,
}

/// What format 3 has beside it.
#[derive(Default, Serialize, Deserialize)]
struct SavedMore {
    follow: Option<SavedFollow>,
    agents: Option<SavedAgents>,
}

impl Saved<SavedContacts2> {
    fn now(self) -> Saved<SavedContacts> {
        let Self { partitions, waiting, contacts, facts, next_tick_ms, windows } = self;
        Saved { partitions, waiting, contacts: contacts.into(), facts, next_tick_ms, windows }
    }
}

#[derive(Serialize, Deserialize)]
struct SavedPartition {
    latest_ms: Option<i64>,
    dedup: SavedDedup,
    accounting: Accounting,
}

impl Saved<SavedContacts> {
    /// Whether it can be gone on from, so far as the operators between events and facts see.
    fn is_whole(&self, limits: &ContactLimits, grid_ms: i64, queue: bool) -> bool {
        let counted = |partition: &SavedPartition| {
            let Accounting { read, applied, duplicate, late, quarantined, ignored } = partition.accounting;
            let known = [applied, duplicate, late, quarantined, ignored];
            let known = known.into_iter().try_fold(0u64, u64::checked_add);
            read < 1 << 62
                && known.is_some_and(|known| known <= read)
                && partition.latest_ms.is_none_or(is_time)
        };
        let tick_ms = self.next_tick_ms;
        self.partitions.iter().all(counted)
            && self.contacts.is_whole(limits, queue, tick_ms)
            && (tick_ms == i64::MAX || is_time(tick_ms) && tick_ms.rem_euclid(grid_ms) == 0)
            // Else there would be a tick for all the time between.
            && (!self.contacts.queue_busy()
                || self.waiting.iter().all(|turn| turn.at_ms() >= tick_ms.saturating_sub(grid_ms)))
    }
}

impl Pipeline {
    /// A pipeline that has seen nothing, with `windows` over its facts.
    pub fn new(config: PipelineConfig, windows: Vec<Box<dyn Windows>>) -> Self {
        let rows = |table: Table| {
            let stored = config.store.contains(&table);
            let read = windows.iter().any(|windows| windows.tables().contains(&table));
            let columns: BTreeSet<usize> =
                windows.iter().flat_map(|windows| windows.columns(table)).collect();
            (stored || read).then(|| Rows::new(table, |column| stored || columns.contains(&column)))
        };
        let queue = rows(Table::Queue);
        let (resolutions, inquiries) = (rows(Table::Resolutions), rows(Table::Inquiries));
        let follow = (resolutions.is_some() || inquiries.is_some())
            .then(|| Follow::new(config.follow.clone(), resolutions, inquiries));
        let contacts = rows(Table::Contacts);
        let agents = rows(Table::Agents);
        let effort = contacts.as_ref().is_some_and(|rows| rows.wants("effort_ms"));
        let agents = (config.agents && (agents.is_some() || effort)).then(|| Agents::new(agents));
        let mut grid_ms = if queue.is_some() { config.queue_tick_ms } else { 0 };
        if agents.is_some() {
            grid_ms = gcd(grid_ms, AGENTS_TICK_MS);
        }
        for windows in &windows {
            grid_ms = gcd(grid_ms, windows.tick_ms());
        }
        if grid_ms == 0 {
            // Nothing has a time of its own; facts are still given out now and then.
            grid_ms = 60_000;
        }
        let partition = || Partition {
            clock: PartitionClock::new(config.disorder_ms_max, config.lateness_ms_max),
            dedup: Dedup::new(config.disorder_ms_max.saturating_add(config.lateness_ms_max)),
            accounting: Accounting::default(),
            ended: false,
        };
        Self {
            partitions: (0..config.partitions).map(|_| partition()).collect(),
            keys: Vec::new(),
            reorder: Reorder::default(),
            places: Vec::new(),
            contacts: Contacts::new(config.contacts, queue.is_some(), config.queue_over_ms),
            facts: ContactFacts {
                contacts,
                rounds: rows(Table::Rounds),
                ratings: rows(Table::Ratings),
                turns: rows(Table::Turns),
                follow,
                agents,
                signals: rows(Table::Signals),
            },
            orders: rows(Table::Orders),
            queue,
            stored: Table::ALL.map(|table| config.store.contains(&table)),
            windows,
            grid_ms,
            next_tick_ms: i64::MAX,
            profile: Profile::default(),
            config,
        }
    }

    /// The state, for a checkpoint. To call between [`Pipeline::advance`] and the next
    /// [`Pipeline::push`]; what has come out before is not in it.
    pub fn save(&mut self) -> Copied {
        let partition = |partition: &mut Partition| SavedPartition {
            latest_ms: partition.clock.latest_ms(),
            dedup: partition.dedup.save(),
            accounting: partition.accounting,
        };
        let partitions = self.partitions.iter_mut().map(partition).collect();
        let waiting = self.reorder.save();
        let contacts = self.contacts.save();
        let facts = self.builders().map(|rows| rows.and_then(Rows::save));
        let follow = self.facts.follow.as_ref().map(Follow::save);
        let agents = self.facts.agents.as_ref().map(Agents::save);
        let next_tick_ms = self.next_tick_ms;
        let windows: Vec<Copied> = self.windows.iter().map(|windows| windows.save()).collect();
        Copied::new(move || {
            let facts = facts.into_iter().map(|rows| Ok(Bytes(pack(rows.as_slice())?)));
            let windows = windows.into_iter().map(|windows| Ok(Bytes(windows.pack()?)));
            let saved: Saved<SavedContacts> = Saved {
                partitions,
                waiting: waiting.events(),
                contacts: contacts.into(),
                facts: facts.collect::<Result<_, WindowsError>>()?,
                next_tick_ms,
                windows: windows.collect::<Result<_, WindowsError>>()?,
            };
            let bytes = postcard::to_stdvec(&saved)?;
            Ok(postcard::to_extend(&SavedMore { follow, agents }, bytes)?)
        })
    }

    /// Goes on from what [`Pipeline::save`] of a pipeline of the same configuration and
    /// windows has saved. `format` is that of the checkpoint.
    ///
    /// # Errors
    /// Bytes of something else. The pipeline is not to be used then.
    pub fn restore(&mut self, bytes: &[u8], format: u32) -> Result<(), WindowsError> {
        let (saved, more) = if format < 3 {
            (postcard::from_bytes::<Saved<SavedContacts2>>(bytes)?.now(), SavedMore::default())
        } else {
            let (saved, rest) = postcard::take_from_bytes::<Saved<SavedContacts>>(bytes)?;
            (saved, postcard::from_bytes(rest)?)
        };
        // Before format 3 there were none but KPIs, which come first.
        let needed = self.windows.iter().filter(|windows| !windows.is_optional()).count();
        let fits = if format < 3 {
            saved.windows.len() <= self.windows.len()
        } else {
            (needed..=needed + 1).contains(&saved.windows.len())
        };
        if saved.partitions.len() != self.partitions.len() || !fits {
            return Err("a state of other partitions or KPIs".into());
        }
        if !saved.is_whole(&self.config.contacts, self.grid_ms, self.queue.is_some()) {
            return Err("a damaged state of the operators".into());
        }
        for (partition, saved) in self.partitions.iter_mut().zip(saved.partitions) {
            saved.latest_ms.into_iter().for_each(|latest_ms| partition.clock.see(latest_ms));
            partition.dedup.restore(saved.dedup);
            partition.accounting = saved.accounting;
        }
        self.reorder
            .restore(saved.waiting, self.partitions.len())
            .ok_or("a state with events of a type that is not known")?;
        self.contacts.restore(saved.contacts);
        for (mut builder, bytes) in self.builders().into_iter().zip(&saved.facts) {
            for rows in unpack(&bytes.0)? {
                match &mut builder {
                    Some(builder) => match as_of_now(builder.table(), &rows) {
                        Some(rows) => builder.restore(rows),
                        None => return Err("a state with other facts".into()),
                    },
                    None => return Err("a state with other facts".into()),
                }
            }
        }
        let (names, saved_tick_ms) = (self.contacts.names(), saved.next_tick_ms);
        for (follow, saved) in self.facts.follow.iter_mut().zip(more.follow) {
            follow.restore(saved, names).ok_or("a damaged state of what follows contacts")?;
        }
        for (agents, saved) in self.facts.agents.iter_mut().zip(more.agents) {
            let (held, until_ms) = (self.contacts.held(), saved_tick_ms);
            agents.restore(saved, names, &held, until_ms).ok_or("a damaged state of the agents")?;
        }
        self.next_tick_ms = saved.next_tick_ms;
        // Whatever was due before the watermark has been done; what waits has a tick.
        let due_ms = self.next_tick_ms.min(self.contacts.next_timer_ms());
        let done_ms = self.partitions.iter().filter_map(|partition| partition.clock.watermark_ms()).min();
        if done_ms.is_some_and(|done_ms| due_ms <= done_ms)
            || (self.next_tick_ms == i64::MAX && self.waiting())
        {
            return Err("a damaged state of the operators".into());
        }
        for (windows, saved) in self.windows.iter_mut().zip(&saved.windows) {
            windows.restore(&saved.0)?;
        }
        Ok(())
    }

    /// The columns of events that the operators read.
    pub fn columns() -> &'static [Text] {
        &[
            Text::Id,
            Text::Source,
            Text::Subject,
            Text::CustomerId,
            Text::Shop,
            Text::Channel,
            Text::Skill,
            Text::AgentId,
            Text::Origin,
            Text::Entry,
            Text::OrderId,
            Text::Intent,
            Text::ToSkill,
            Text::ToAgent,
            Text::State,
            Text::Currency,
            Text::Actor,
            Text::Reason,
            Text::Lines,
            Text::Disposition,
        ]
    }

    /// Takes in decoded records of a partition, in the partition's order.
    /// `quarantined` is how many of them were set aside.
    pub fn push(&mut self, partition: usize, decoded: Decoded, quarantined: u64) {
        let started = self.config.profile.then(Instant::now);
        let Self { partitions, reorder, keys, .. } = self;
        let Partition { clock, dedup, accounting, .. } = &mut partitions[partition];
        accounting.read += decoded.read;
        accounting.quarantined += quarantined;
        accounting.ignored += decoded.ignored;
        if decoded.events.is_empty() {
            return;
        }
        let events = reorder.begin(partition, decoded.events);
        // All keys before the first is looked for: so short a loop has several waits
        // for memory going at once.
        keys.clear();
        keys.extend(
            (0..events.len())
                .map(|row| Dedup::key(events.text(Text::Source, row), events.text(Text::Id, row))),
        );
        for (row, &key) in keys.iter().enumerate() {
            let time_ms = reorder.current().time_ms(row);
            // A copy must not move time, nor be called late, nor something late be
            // remembered.
            match clock.place(time_ms) {
                Placed::TooLate => accounting.late += 1,
                Placed::At(at_ms) if dedup.first(key, at_ms) => {
                    clock.see(time_ms);
                    reorder.hold(row, at_ms, at_ms > time_ms);
                }
                Placed::At(_) => accounting.duplicate += 1,
            }
        }
        if let Some(started) = started {
            self.profile.dedup += started.elapsed();
        }
    }

    /// A partition has ended: it no longer holds back time.
    pub fn end(&mut self, partition: usize) {
        self.partitions[partition].ended = true;
    }

    /// The watermark in ms: the smallest over the partitions that have not ended.
    /// `None` while one of them has not shown any event; `i64::MAX` when all have
    /// ended.
    pub fn watermark_ms(&self) -> Option<i64> {
        let open = self.partitions.iter().filter(|partition| !partition.ended);
        open.map(|partition| partition.clock.watermark_ms()).min().unwrap_or(Some(i64::MAX))
    }

    /// Does all that is due before the watermark. When all partitions have ended
    /// that is everything: conversations still open are given up at their time and
    /// every window shows its final rows.
    ///
    /// # Errors
    /// Those of [`Windows`].
    pub fn advance(&mut self) -> Result<Output, WindowsError> {
        let mut output = Output::default();
        let Some(watermark_ms) = self.watermark_ms() else {
            return Ok(output);
        };
        let all = watermark_ms == i64::MAX;
        let started = self.config.profile.then(Instant::now);
        let ready = self.reorder.ready((!all).then_some(watermark_ms));
        if let Some(started) = started {
            self.profile.reorder += started.elapsed();
        }
        let started = self.config.profile.then(Instant::now);
        let windows_before = self.profile.windows;
        for index in 0..ready {
            if index % TOGETHER == 0 {
                // So short a loop has several waits for memory going at once.
                self.places.clear();
                self.places.extend((index..ready.min(index + TOGETHER)).map(|index| {
                    let (_, _, events, row) = self.reorder.get(index);
                    let key = Contacts::key(events, row);
                    (key, self.contacts.find(key))
                }));
            }
            let at_ms = self.reorder.get(index).0.at_ms;
            if at_ms >= self.next_tick_ms || at_ms >= self.contacts.next_timer_ms() {
                self.run_until(at_ms, &mut output)?;
            }
            self.apply(index, self.places[index % TOGETHER]);
            if self.next_tick_ms > at_ms.saturating_add(self.grid_ms) && self.waiting() {
                self.next_tick_ms = (at_ms.div_euclid(self.grid_ms) + 1) * self.grid_ms;
            }
        }
        if all && let Some(latest_ms) = self.latest_ms() {
            // Nobody has said that the agents have gone.
            self.run_until(latest_ms, &mut output)?;
            if let Some(agents) = &mut self.facts.agents {
                agents.end(latest_ms);
            }
        }
        self.run_until(watermark_ms, &mut output)?;
        assert!(!all || !self.waiting(), "facts are left over at the end of time");
        if let Some(started) = started {
            let windows = self.profile.windows - windows_before;
            self.profile.contacts += started.elapsed().saturating_sub(windows);
        }
        let started = self.config.profile.then(Instant::now);
        self.reorder.drop_first(ready);
        if let Some(started) = started {
            self.profile.reorder += started.elapsed();
        }
        Ok(output)
    }

    /// Where the facts gather until the next tick.
    fn builders(&mut self) -> [Option<&mut Rows>; Table::ALL.len()] {
        builders(&mut self.facts, &mut self.queue, &mut self.orders)
    }

    /// Whether the next tick has anything to do.
    fn waiting(&self) -> bool {
        let some = |rows: &Option<Rows>| rows.as_ref().is_some_and(|rows| !rows.is_empty());
        let facts = &self.facts;
        some(&facts.contacts)
            || some(&facts.rounds)
            || some(&facts.ratings)
            || some(&facts.turns)
            || some(&facts.signals)
            || facts.follow.as_ref().is_some_and(Follow::has_rows)
            || some(&self.orders)
            || self.contacts.queue_busy()
            || facts.agents.as_ref().is_some_and(Agents::busy)
    }

    fn apply(&mut self, index: usize, (key, place): (u128, Option<u32>)) {
        let (turn, partition, events, row) = self.reorder.get(index);
        let kind = events.kind(row);
        let applied = if kind.is_conversation() {
            self.contacts.apply(key, place, events, row, turn.at_ms, turn.late(), &mut self.facts)
        } else {
            match kind {
                EventType::AgentStateChanged => {
                    self.contacts.agent(events, row, turn.at_ms, &mut self.facts);
                }
                EventType::Heartbeat => {}
                _ if !kind.is_order() => {
                    if let Some(rows) = &mut self.facts.signals {
                        signals::append(events, row, "", turn.at_ms, rows);
                    }
                }
                _ => {
                    if kind == EventType::OrderPaid {
                        self.contacts.paid(events, row, turn.at_ms, &mut self.facts);
                    }
                    if let Some(rows) = &mut self.orders {
                        orders::append(events, row, turn.at_ms, rows);
                    }
                }
            }
            Applied::Yes
        };
        let accounting = &mut self.partitions[partition].accounting;
        match applied {
            Applied::Yes => accounting.applied += 1,
            Applied::TooLate => accounting.late += 1,
        }
    }

    /// Fires timers and ticks up to and including `until_ms`, in their order; of
    /// the same time, timers first.
    fn run_until(&mut self, until_ms: i64, output: &mut Output) -> Result<(), WindowsError> {
        loop {
            let timer_ms = self.contacts.next_timer_ms();
            let tick_ms = self.next_tick_ms;
            if timer_ms.min(tick_ms) > until_ms || timer_ms.min(tick_ms) == i64::MAX {
                return Ok(());
            }
            if timer_ms <= tick_ms {
                if self.contacts.fire(&mut self.facts)
                    && self.next_tick_ms > timer_ms.saturating_add(self.grid_ms)
                {
                    self.next_tick_ms = (timer_ms.div_euclid(self.grid_ms) + 1) * self.grid_ms;
                }
            } else {
                self.tick(tick_ms, output)?;
            }
        }
    }

    fn tick(&mut self, now_ms: i64, output: &mut Output) -> Result<(), WindowsError> {
        let started = self.config.profile.then(Instant::now);
        if let Some(rows) = &mut self.queue
            && now_ms.rem_euclid(self.config.queue_tick_ms) == 0
        {
            self.contacts.sample_queue(now_ms, rows);
        }
        if now_ms.rem_euclid(AGENTS_TICK_MS) == 0 {
            self.contacts.sample_agents(now_ms, &mut self.facts);
        }
        let is_quiet = now_ms < self.config.quiet_until_ms && now_ms.rem_euclid(QUIET_TICK_MS) != 0;
        let next_tick_ms = match is_quiet {
            true => QUIET_TICK_MS * (now_ms.div_euclid(QUIET_TICK_MS) + 1),
            false => self.tick_windows(now_ms, output)?,
        };
        self.next_tick_ms = match next_tick_ms.rem_euclid(self.grid_ms) {
            rest if rest > 0 && next_tick_ms < i64::MAX => next_tick_ms - rest + self.grid_ms,
            _ => next_tick_ms,
        };
        if self.contacts.queue_busy() {
            self.next_tick_ms = self.next_tick_ms.min(now_ms + self.grid_ms);
        }
        if self.facts.agents.as_ref().is_some_and(Agents::busy) {
            let next_ms = (now_ms.div_euclid(AGENTS_TICK_MS) + 1) * AGENTS_TICK_MS;
            self.next_tick_ms = self.next_tick_ms.min(next_ms);
        }
        if let Some(started) = started {
            self.profile.windows += started.elapsed();
        }
        Ok(())
    }

    /// Gives facts out and to the windows, and says when they have something to do next.
    fn tick_windows(&mut self, now_ms: i64, output: &mut Output) -> Result<i64, WindowsError> {
        let Self { facts, queue, orders, windows, stored, .. } = self;
        let builders = builders(facts, queue, orders);
        for rows in builders.into_iter().flatten().filter(|rows| !rows.is_empty()) {
            let table = rows.table();
            let batch = rows.take();
            for windows in windows.iter_mut() {
                windows.absorb(now_ms, table, &batch)?;
            }
            if stored[table as usize] {
                output.facts.push((table, batch));
            }
        }
        let mut next_tick_ms = i64::MAX;
        let mut rows = Vec::new();
        for (place, windows) in self.windows.iter_mut().enumerate() {
            windows.tick(now_ms, &mut rows)?;
            output.rows.extend(rows.drain(..).map(|batch| (place, batch)));
            if let Some(next) = windows.next_tick_ms() {
                // Windows end on the grid; what is overdue comes with the next tick.
                next_tick_ms = next_tick_ms.min(next.max(now_ms.saturating_add(1)));
            }
        }
        Ok(next_tick_ms)
    }

    /// What became of the records of each partition.
    pub fn accounting(&self) -> impl Iterator<Item = Accounting> {
        self.partitions.iter().map(|partition| partition.accounting)
    }

    /// The largest event time seen over all partitions, in ms.
    pub fn latest_ms(&self) -> Option<i64> {
        let watermarks = self.partitions.iter().filter_map(|partition| partition.clock.watermark_ms());
        watermarks.max().map(|watermark| watermark.saturating_add(self.config.disorder_ms_max))
    }

    /// The largest event time seen in one partition, in ms.
    pub fn latest_ms_of(&self, partition: usize) -> Option<i64> {
        let watermark = self.partitions[partition].clock.watermark_ms();
        watermark.map(|watermark| watermark.saturating_add(self.config.disorder_ms_max))
    }

    /// How many times facts came for windows that were all final, by their name.
    pub fn refused(&self) -> impl Iterator<Item = (&str, u64)> {
        self.windows.iter().map(|windows| (windows.name(), windows.refused()))
    }

    /// How many events wait for their turn, conversations are remembered, and
    /// keys of events are kept.
    pub fn sizes(&self) -> [(&'static str, usize); 4] {
        [
            ("customers", self.facts.follow.as_ref().map_or(0, Follow::len)),
            ("reorder", self.reorder.len()),
            ("conversations", self.contacts.len()),
            ("dedup", self.partitions.iter().map(|partition| partition.dedup.len()).sum()),
        ]
    }

    /// Time spent in each operator, if asked for.
    pub fn profile(&self) -> Profile {
        self.profile
    }
}

/// Where the facts of each table gather, in the order of [`Table::ALL`].
fn builders<'r>(
    facts: &'r mut ContactFacts,
    queue: &'r mut Option<Rows>,
    orders: &'r mut Option<Rows>,
) -> [Option<&'r mut Rows>; Table::ALL.len()] {
    let ContactFacts { contacts, rounds, ratings, turns, follow, agents, signals } = facts;
    let (resolutions, inquiries) = match follow {
        Some(follow) => (follow.resolutions.as_mut(), follow.inquiries.as_mut()),
        None => (None, None),
    };
    [
        contacts.as_mut(),
        rounds.as_mut(),
        ratings.as_mut(),
        queue.as_mut(),
        orders.as_mut(),
        turns.as_mut(),
        resolutions,
        inquiries,
        agents.as_mut().and_then(|agents| agents.rows.as_mut()),
        signals.as_mut(),
    ]
}

/// Saved rows of a table with the columns that it has now; those that it did not have then
/// are NULL. `None`: they are of something else.
fn as_of_now(table: Table, rows: &RecordBatch) -> Option<RecordBatch> {
    let schema = table.schema();
    let columns = schema.fields().iter().map(|field| match rows.column_by_name(field.name()) {
        Some(column) => (column.data_type() == field.data_type()).then(|| column.clone()),
        None => Some(new_null_array(field.data_type(), rows.num_rows())),
    });
    let columns = columns.collect::<Option<Vec<_>>>()?;
    let known = rows.schema().fields().iter().all(|field| schema.column_with_name(field.name()).is_some());
    RecordBatch::try_new(schema, columns).ok().filter(|_| known)
}
