//! Assembles contacts, reply rounds and ratings from the events of conversations.
//!
//! A conversation is what shares a `subject`; a contact is one handling of it,
//! from its first event to its end. Events come in turn order, so what follows
//! from two of them never runs backwards, but for late ones: those fill in what a
//! contact still open is missing, and are refused by one that is over.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

use hashbrown::{HashMap, HashTable};
use headsup_events::{EventBatch, EventType, Flag, Number, Role, Text};
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_128;

use crate::chunks::Chunks;
use crate::facts::Rows;
use crate::signals;

mod agents;
mod before;
mod conversation;
mod follow;
mod queue;
mod whole;

pub use agents::{AGENTS_TICK_MS, Agents, SavedAgents};
pub use before::SavedContacts2;
pub use follow::{Follow, FollowLimits, SavedFollow};

use conversation::{Contact, Conversation, End, PROACTIVE, Phase, set_text};
use queue::{Group, Queue, Standing};

/// When a conversation that does not end by itself is given up. All in ms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ContactLimits {
    /// Without any event, while neither waiting in the queue nor being served.
    pub idle_ms: i64,
    /// Without any event since an agent accepted it. A call has none until it ends.
    pub served_ms: i64,
    /// Waiting in the queue without any event.
    pub queue_ms: i64,
    /// From closed to wrapped. 0: closing ends the contact, and `wrapped` is not
    /// waited for.
    pub wrap_ms: i64,
    /// How long a conversation is remembered after its end, for ratings and
    /// reopening.
    pub linger_ms: i64,
}

impl Default for ContactLimits {
    fn default() -> Self {
        Self {
            idle_ms: 30 * 60_000,
            served_ms: 4 * 3_600_000,
            queue_ms: 12 * 3_600_000,
            wrap_ms: 10 * 60_000,
            linger_ms: 30 * 60_000,
        }
    }
}

/// The tables that contacts give rise to; `None` is not wanted.
#[derive(Debug)]
pub struct ContactFacts {
    /// Table `contacts`.
    pub contacts: Option<Rows>,
    /// Table `rounds`.
    pub rounds: Option<Rows>,
    /// Table `ratings`.
    pub ratings: Option<Rows>,
    /// Table `turns`.
    pub turns: Option<Rows>,
    /// What follows contacts.
    pub follow: Option<Follow>,
    /// How much of agents' time is taken.
    pub agents: Option<Agents>,
    /// Table `signals`.
    pub signals: Option<Rows>,
}

/// Whether an event went into the state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applied {
    /// It did, or changes nothing by its nature.
    Yes,
    /// It came late and its contact is over.
    TooLate,
}

/// The state of all conversations that are open or not yet forgotten.
#[derive(Debug)]
pub struct Contacts {
    limits: ContactLimits,
    names: Names,
    /// What stands for each conversation, and its place in `conversations`.
    index: HashTable<(u128, u32)>,
    conversations: Conversations,
    free: Vec<u32>,
    /// When to look at a conversation again: not after it is due, but maybe
    /// before, in which case it goes back with the right time. An entry of another time
    /// than the conversation's is of before it was due earlier, and means nothing.
    timers: BinaryHeap<Reverse<(i64, u32)>>,
    /// Kept only if somebody asks for the queue.
    queue: Option<Queue>,
    /// Contacts accepted longer ago count apart in the queue, in ms.
    over_ms: i64,
}

/// What one event changes should not make many others be copied.
type Conversations = Chunks<Conversation, 64>;

/// What [`Contacts::save`] gives: [`SavedContacts`] without what follows from the rest.
#[derive(Debug)]
pub struct CopiedContacts {
    names: Vec<Box<str>>,
    conversations: Conversations,
    free: Vec<u32>,
    queue: Option<Queue>,
}

/// The state as it is saved.
#[derive(Debug, Serialize, Deserialize)]
pub struct SavedContacts {
    names: Vec<Box<str>>,
    conversations: Conversations,
    free: Vec<u32>,
    timers: Vec<Reverse<(i64, u32)>>,
    queue: Option<Queue>,
}

impl From<CopiedContacts> for SavedContacts {
    fn from(copied: CopiedContacts) -> Self {
        let CopiedContacts { names, conversations, free, queue } = copied;
        let timers = conversations.iter().enumerate();
        let timer = |(slot, conversation): (usize, &Conversation)| {
            conversation.timer_ms.map(|at_ms| Reverse((at_ms, slot as u32)))
        };
        let timers = timers.filter_map(timer).collect();
        Self { names, conversations, free, timers, queue }
    }
}

/// A shop, channel, skill, agent, … as a number. 0 is none.
type Name = u32;

#[derive(Debug, Default)]
struct Names {
    texts: Vec<Box<str>>,
    /// The Arrow view of each text that came in an event and is short enough to be
    /// told by it; else 0.
    views: Vec<u128>,
    numbers: HashMap<Box<str>, Name>,
}

/// The longest text that an Arrow view holds whole, in bytes.
const INLINE_BYTES_MAX: u32 = 12;

impl From<Vec<Box<str>>> for Names {
    fn from(texts: Vec<Box<str>>) -> Self {
        let mut names = Self::default();
        for text in &texts {
            names.number(text);
        }
        names
    }
}

impl Names {
    const INBOUND: Name = 1;
    const INBOUND_NAME: &str = "inbound";

    fn new() -> Self {
        let mut names = Self::default();
        names.number("");
        names.number(Self::INBOUND_NAME);
        names
    }

    #[inline]
    fn get(&self, name: Name) -> &str {
        &self.texts[name as usize]
    }

    /// Sets `name` to a text of an event, if it has that.
    #[inline]
    fn update(&mut self, name: &mut Name, events: &EventBatch, column: Text, row: usize) {
        let view = events.view(column, row);
        if view == 0 || view == self.views[*name as usize] {
            return;
        }
        *name = self.number(events.text(column, row));
        if view as u32 <= INLINE_BYTES_MAX {
            self.views[*name as usize] = view;
        }
    }

    fn number(&mut self, text: &str) -> Name {
        if let Some(&number) = self.numbers.get(text) {
            return number;
        }
        let number = self.texts.len() as Name;
        self.texts.push(text.into());
        self.views.push(0);
        self.numbers.insert(text.into(), number);
        number
    }
}

impl Contacts {
    /// No conversations yet. `queue`: whether [`Contacts::sample_queue`] will be
    /// asked for; contacts accepted more than `over_ms` ago count apart in it.
    pub fn new(limits: ContactLimits, queue: bool, over_ms: i64) -> Self {
        Self {
            limits,
            names: Names::new(),
            index: HashTable::new(),
            conversations: Chunks::default(),
            free: Vec::new(),
            timers: BinaryHeap::new(),
            queue: queue.then(Queue::default),
            over_ms,
        }
    }

    /// The state, for a checkpoint.
    pub fn save(&self) -> CopiedContacts {
        CopiedContacts {
            names: self.names.texts.clone(),
            conversations: self.conversations.clone(),
            free: self.free.clone(),
            queue: self.queue.as_ref().map(Queue::copied),
        }
    }

    /// Goes on from a saved state, which has all but the limits and the index.
    pub fn restore(&mut self, saved: SavedContacts) {
        let SavedContacts { names, mut conversations, free, timers, mut queue } = saved;
        queue.iter_mut().for_each(|queue| queue.counted = Vec::new());
        let forgotten: BTreeSet<u32> = free.iter().copied().collect();
        self.index = HashTable::with_capacity(conversations.len());
        for (slot, conversation) in conversations.iter().enumerate() {
            let (key, slot) = (conversation.key, slot as u32);
            if !forgotten.contains(&slot) {
                self.index.insert_unique(key as u64, (key, slot), |entry| entry.0 as u64);
            }
        }
        for &Reverse((at_ms, slot)) in &timers {
            conversations.get_mut(slot as usize).timer_ms = Some(at_ms);
        }
        if let Some(queue) = &mut queue {
            queue.see_served(conversations.iter());
        }
        (self.names, self.timers) = (names.into(), timers.into());
        (self.conversations, self.free, self.queue) = (conversations, free, queue);
    }

    /// What a conversation is found by: a 128-bit hash (XXH3) of its id. Of a billion
    /// at once, two would be the same with a probability of 1.5e-21.
    #[inline]
    pub fn key(events: &EventBatch, row: usize) -> u128 {
        xxh3_128(events.text(Text::Subject, row).as_bytes())
    }

    /// The place of the conversation, if it is remembered.
    #[inline]
    pub fn find(&self, key: u128) -> Option<u32> {
        self.index.find(key as u64, |entry| entry.0 == key).map(|entry| entry.1)
    }

    /// Applies one event, whose turn is at `now_ms`, of the conversation with this key.
    /// `place` is what [`Contacts::find`] said some time ago.
    #[expect(clippy::too_many_arguments, reason = "what is known of one event")]
    pub fn apply(
        &mut self,
        key: u128,
        place: Option<u32>,
        events: &EventBatch,
        row: usize,
        now_ms: i64,
        late: bool,
        facts: &mut ContactFacts,
    ) -> Applied {
        let kind = events.kind(row);
        let time_ms = events.time_ms(row);
        let slot = match place.filter(|&slot| self.conversations.get(slot as usize).key == key) {
            Some(slot) => slot,
            None => self.find_or_begin(key, events, row, now_ms),
        };
        let Self { names, conversations, queue, limits, timers, .. } = self;
        let conversation = conversations.get_mut(slot as usize);
        let before = conversation.standing();
        if conversation.phase == Phase::Over {
            if late && kind != EventType::ConversationRated {
                return Applied::TooLate;
            }
            let again = matches!(
                kind,
                EventType::ConversationReopened
                    | EventType::ConversationStarted
                    | EventType::ConversationQueued
                    | EventType::ConversationAccepted
            );
            if again {
                conversation.begin_again(time_ms);
            }
        } else if conversation.phase == Phase::Wrapping
            && matches!(kind, EventType::ConversationReopened | EventType::ConversationStarted)
        {
            conversation.contact.known_ms = conversation.contact.known_ms.max(events.known_ms(row));
            conversation.end(End::Reopened, now_ms, now_ms, names, facts);
            conversation.begin_again(time_ms);
        }

        let contact = &mut conversation.contact;
        if conversation.phase != Phase::Over {
            contact.last_ms = contact.last_ms.max(time_ms);
            contact.known_ms = contact.known_ms.max(events.known_ms(row)).max(now_ms);
        }
        names.update(&mut contact.skill, events, Text::Skill, row);
        match kind {
            EventType::ConversationReopened => {
                if let Some(rows) = &mut facts.signals {
                    signals::append(events, row, names.get(contact.origin), now_ms, rows);
                }
            }
            EventType::ConversationStarted => {
                names.update(&mut contact.origin, events, Text::Origin, row);
                contact.proactive = names.get(contact.origin) == PROACTIVE;
                if let Some(rows) = &mut facts.signals {
                    signals::append(events, row, names.get(contact.origin), now_ms, rows);
                }
                names.update(&mut contact.entry, events, Text::Entry, row);
                set_text(&mut contact.order, events.text(Text::OrderId, row));
            }
            EventType::ConversationMessage if conversation.phase != Phase::Over => {
                let auto = events.flag(Flag::Auto, row).unwrap_or(false);
                match events.role(row) {
                    Some(Role::Customer) => {
                        contact.customer_messages += 1;
                        contact.asked_ms.get_or_insert(time_ms);
                        if contact.turn_asked_ms.is_none()
                            && let Some(rows) = &mut facts.signals
                        {
                            signals::append(events, row, names.get(contact.origin), now_ms, rows);
                        }
                        contact.turn_asked_ms.get_or_insert(time_ms);
                    }
                    Some(Role::Agent) if !auto => {
                        contact.agent_messages += 1;
                        names.update(&mut contact.agent, events, Text::AgentId, row);
                        contact.reply(&conversation.id, time_ms, names, facts);
                        contact.turn(&conversation.id, Some((time_ms, "agent")), names, facts);
                    }
                    Some(Role::Bot | Role::Agent) => {
                        contact.bot_messages += 1;
                        contact.turn(&conversation.id, Some((time_ms, "bot")), names, facts);
                        // While the bot has the conversation, its answer is one.
                        if contact.bot_has_it() {
                            contact.asked_ms = None;
                        }
                    }
                    Some(Role::System) | None => {}
                }
            }
            EventType::ConversationHandedOff => contact.handed_off = true,
            EventType::ConversationQueued => {
                contact.queued_ms = Some(match contact.queued_ms {
                    Some(queued) if contact.accepted_ms.is_none() => queued.min(time_ms),
                    Some(queued) => queued,
                    None => time_ms,
                });
                if contact.waiting_since_ms.is_none() && !(late && contact.accepted_ms.is_some()) {
                    contact.waiting_since_ms = Some(time_ms);
                }
            }
            EventType::ConversationAccepted => {
                names.update(&mut contact.agent, events, Text::AgentId, row);
                let since = contact.waiting_since_ms.take();
                match (contact.accepted_ms, since) {
                    (None, _) => contact.accepted_ms = Some(time_ms),
                    (Some(accepted), _) if late => contact.accepted_ms = Some(accepted.min(time_ms)),
                    (Some(_), Some(since)) => contact.requeue_ms += (time_ms - since).max(0),
                    (Some(_), None) => {}
                }
                if let Some(agents) = &mut facts.agents
                    && conversation.phase != Phase::Over
                {
                    agents.take(&mut contact.effort, contact.agent, contact.skill, now_ms);
                }
            }
            EventType::ConversationHeld => {
                contact.held_since_ms.get_or_insert(time_ms);
                if let Some(agents) = &mut facts.agents {
                    agents.hold(&mut contact.effort, now_ms);
                }
            }
            EventType::ConversationResumed => {
                if let Some(since) = contact.held_since_ms.take() {
                    contact.hold_ms += (time_ms - since).max(0);
                }
                if let Some(agents) = &mut facts.agents {
                    agents.resume(&mut contact.effort, now_ms);
                }
            }
            EventType::ConversationTransferred => {
                contact.transfers += 1;
                if let Some(agents) = &mut facts.agents {
                    agents.release(&mut contact.effort, now_ms);
                }
                names.update(&mut contact.skill, events, Text::ToSkill, row);
                names.update(&mut contact.agent, events, Text::ToAgent, row);
            }
            EventType::ConversationLabelled => {
                names.update(&mut contact.intent, events, Text::Intent, row);
            }
            EventType::ConversationClosed if conversation.phase == Phase::Open => {
                contact.closed_ms = Some(time_ms);
                contact.resolved = events.flag(Flag::Resolved, row).or(contact.resolved);
                if contact.accepted_ms.is_none() || limits.wrap_ms == 0 {
                    conversation.end(End::Closed, time_ms, now_ms, names, facts);
                } else {
                    conversation.phase = Phase::Wrapping;
                    if let Some(agents) = &mut facts.agents {
                        agents.close(&mut conversation.contact.effort, now_ms);
                    }
                }
            }
            EventType::ConversationWrapped if conversation.phase != Phase::Over => {
                names.update(&mut contact.agent, events, Text::AgentId, row);
                conversation.end(End::Wrapped, time_ms, now_ms, names, facts);
            }
            EventType::ConversationAbandoned if conversation.phase != Phase::Over => {
                conversation.end(End::Abandoned, time_ms, now_ms, names, facts);
            }
            EventType::ConversationRated => {
                if let Some(rows) = &mut facts.ratings {
                    let mut agent = contact.agent;
                    names.update(&mut agent, events, Text::AgentId, row);
                    rows.text(&conversation.id)
                        .text(&contact.customer)
                        .text(names.get(contact.shop))
                        .text(names.get(contact.channel))
                        .text(names.get(contact.skill))
                        .text(names.get(agent))
                        .text(names.get(contact.origin))
                        .integer(events.number(Number::Score, row))
                        .time(Some(time_ms))
                        .time(Some(events.known_ms(row).max(now_ms)))
                        .end_row();
                }
            }
            _ => {}
        }
        if let Some(queue) = queue {
            queue.follow(slot, before, conversation.standing());
        }
        conversation.due_ms = conversation.due(limits, now_ms);
        if conversation.timer_ms.is_some_and(|timer_ms| conversation.due_ms < timer_ms) {
            // What follows something late is late too, and gets as long to come.
            let soonest_ms = if late { now_ms.saturating_add(limits.wrap_ms) } else { now_ms };
            let at_ms = conversation.due_ms.max(soonest_ms);
            if conversation.timer_ms.is_some_and(|timer_ms| at_ms < timer_ms) {
                conversation.timer_ms = Some(at_ms);
                timers.push(Reverse((at_ms, slot)));
            }
        }
        Applied::Yes
    }

    fn find_or_begin(&mut self, key: u128, events: &EventBatch, row: usize, now_ms: i64) -> u32 {
        if let Some(slot) = self.find(key) {
            return slot;
        }
        let Self { index, conversations, names, free, timers, limits, .. } = self;
        let mut contact = Contact {
            number: 1,
            customer: events.text(Text::CustomerId, row).into(),
            started_ms: events.time_ms(row),
            last_ms: events.time_ms(row),
            known_ms: events.known_ms(row),
            ..Contact::default()
        };
        names.update(&mut contact.shop, events, Text::Shop, row);
        names.update(&mut contact.channel, events, Text::Channel, row);
        contact.origin = Names::INBOUND;
        let id = events.text(Text::Subject, row).into();
        // What can only follow a contact that has been forgotten does not begin one.
        let phase = match events.kind(row) {
            EventType::ConversationRated
            | EventType::ConversationLabelled
            | EventType::ConversationWrapped => Phase::Over,
            _ => Phase::Open,
        };
        let ContactLimits { idle_ms, served_ms, queue_ms, wrap_ms, linger_ms } = *limits;
        let soonest_ms = idle_ms.min(served_ms).min(queue_ms).min(wrap_ms).min(linger_ms).max(1);
        let timer_ms = now_ms.saturating_add(soonest_ms);
        let conversation = Conversation { key, id, phase, due_ms: now_ms, timer_ms: Some(timer_ms), contact };
        let slot = match free.pop() {
            Some(slot) => {
                *conversations.get_mut(slot as usize) = conversation;
                slot
            }
            None => {
                conversations.push(conversation);
                conversations.len() as u32 - 1
            }
        };
        index.insert_unique(key as u64, (key, slot), |entry| entry.0 as u64);
        timers.push(Reverse((timer_ms, slot)));
        slot
    }

    /// When [`Contacts::fire`] has something to look at, in ms.
    #[inline]
    pub fn next_timer_ms(&self) -> i64 {
        self.timers.peek().map_or(i64::MAX, |Reverse((due, _))| *due)
    }

    /// Lets the earliest timer fire. Whether that changed anything.
    pub fn fire(&mut self, facts: &mut ContactFacts) -> bool {
        let Some(Reverse((at_ms, slot))) = self.timers.pop() else {
            return false;
        };
        let Self { names, conversations, queue, limits, .. } = self;
        if conversations.get(slot as usize).timer_ms != Some(at_ms) {
            return false;
        }
        let conversation = conversations.get_mut(slot as usize);
        if conversation.due_ms > at_ms {
            conversation.timer_ms = Some(conversation.due_ms);
            self.timers.push(Reverse((conversation.due_ms, slot)));
            return false;
        }
        let before = conversation.standing();
        match conversation.phase {
            Phase::Over => {
                if let Ok(entry) = self.index.find_entry(conversation.key as u64, |other| other.1 == slot) {
                    entry.remove();
                }
                conversation.key = 0;
                conversation.id = "".into();
                conversation.contact = Contact::default();
                conversation.timer_ms = None;
                self.free.push(slot);
                return false;
            }
            Phase::Wrapping => {
                let closed = conversation.contact.closed_ms.unwrap_or(at_ms);
                conversation.end(End::Closed, closed, at_ms, names, facts);
            }
            Phase::Open => conversation.end(End::Idle, at_ms, at_ms, names, facts),
        }
        if let Some(queue) = queue {
            queue.follow(slot, before, conversation.standing());
        }
        conversation.due_ms = at_ms.saturating_add(limits.linger_ms).max(at_ms.saturating_add(1));
        conversation.timer_ms = Some(conversation.due_ms);
        self.timers.push(Reverse((conversation.due_ms, slot)));
        true
    }

    /// Whether the queue is being followed and anybody is in it or being served.
    pub fn queue_busy(&self) -> bool {
        self.queue.as_ref().is_some_and(Queue::busy)
    }

    /// An agent's state, at its turn `now_ms`.
    pub fn agent(&mut self, events: &EventBatch, row: usize, now_ms: i64, facts: &mut ContactFacts) {
        let capacity = match events.text(Text::State, row) {
            "available" => events.number(Number::Capacity, row).unwrap_or(0),
            _ => 0,
        };
        let id = events.text(Text::AgentId, row);
        if let Some(queue) = &mut self.queue {
            queue.agent(id, capacity);
        }
        if let Some(agents) = &mut facts.agents
            && !id.is_empty()
        {
            agents.capacity(self.names.number(id), capacity, now_ms);
        }
    }

    /// A customer has paid, at the turn `now_ms`.
    pub fn paid(&mut self, events: &EventBatch, row: usize, now_ms: i64, facts: &mut ContactFacts) {
        if let Some(follow) = &mut facts.follow {
            let who = (events.text(Text::CustomerId, row), events.text(Text::Shop, row));
            follow.paid(who, events.time_ms(row), events.known_ms(row), now_ms, &self.names);
        }
    }

    /// A minute of the agents is over.
    pub fn sample_agents(&self, at_ms: i64, facts: &mut ContactFacts) {
        if let Some(agents) = &mut facts.agents {
            agents.sample(at_ms, &self.names);
        }
    }

    /// How many contacts each agent has.
    pub fn held(&self) -> BTreeMap<Name, i64> {
        let mut held = BTreeMap::new();
        for agent in self.conversations.iter().filter_map(|conversation| conversation.contact.effort.agent())
        {
            *held.entry(agent).or_default() += 1;
        }
        held
    }

    /// How many names there are, for what refers to them.
    pub fn names(&self) -> usize {
        self.names.texts.len()
    }

    /// Who waits and who is being served at `at_ms`.
    pub fn sample_queue(&mut self, at_ms: i64, rows: &mut Rows) {
        if let Some(queue) = &mut self.queue {
            queue.sample(at_ms, self.over_ms, &self.names, rows);
        }
    }

    /// How many conversations are remembered.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether none are remembered.
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }
}
