//! Puts events in the order of their time.

use std::collections::BTreeMap;
use std::sync::Arc;

use headsup_events::{EventBatch, SavedEvent, Text};
use serde::{Deserialize, Serialize};

use crate::pipeline::is_time;

/// One event and its turn.
#[derive(Debug, Clone, Copy)]
pub struct Turn {
    /// The event's turn in ms: its time, or the watermark if it came late.
    pub at_ms: i64,
    /// The turn, and of the same turn the rank, in one number.
    order: i64,
    late: bool,
    batch: u32,
    row: u32,
}

impl Turn {
    /// Whether it came behind its partition's watermark.
    pub fn late(&self) -> bool {
        self.late
    }
}

/// More than there are ranks.
const RANKS: i64 = 64;

/// Holds events until the watermark has passed them and then gives them out in
/// one order: by turn, rank (the place in the life cycle), source, and id.
///
/// That order depends on the events alone, not on the partitions they came
/// through nor on how they were batched.
#[derive(Debug, Default)]
pub struct Reorder {
    batches: Vec<Held>,
    /// Batches in which nothing waits any more.
    empty: usize,
    waiting: Vec<Turn>,
    /// How many of `waiting`, from its start, are given out.
    given: usize,
    /// How many of `waiting`, from its start, are in order.
    sorted: usize,
}

#[derive(Debug)]
struct Held {
    partition: usize,
    /// What a checkpoint saves while it may be let go.
    events: Arc<EventBatch>,
    waiting: u32,
}

/// The events that wait, with the batches they are in.
#[derive(Debug)]
pub struct Waiting {
    batches: Vec<(usize, Arc<EventBatch>)>,
    turns: Vec<Turn>,
}

impl Waiting {
    /// Each by itself.
    pub fn events(&self) -> Vec<SavedTurn> {
        let saved = |turn: &Turn| {
            let (partition, events) = &self.batches[turn.batch as usize];
            SavedTurn {
                partition: *partition,
                at_ms: turn.at_ms,
                late: turn.late,
                event: events.save(turn.row as usize),
            }
        };
        self.turns.iter().map(saved).collect()
    }
}

/// An event that waits, as it is saved.
#[derive(Debug, Serialize, Deserialize)]
pub struct SavedTurn {
    partition: usize,
    at_ms: i64,
    late: bool,
    event: SavedEvent,
}

impl SavedTurn {
    /// The event's turn in ms.
    pub fn at_ms(&self) -> i64 {
        self.at_ms
    }
}

impl Reorder {
    /// The events that wait, for a checkpoint.
    pub fn save(&self) -> Waiting {
        Waiting {
            batches: self.batches.iter().map(|held| (held.partition, held.events.clone())).collect(),
            turns: self.waiting[self.given..].to_vec(),
        }
    }

    /// Takes in saved events of so many partitions. `None` if one is of a type that is not
    /// known, or of no time or partition that there is.
    pub fn restore(&mut self, saved: Vec<SavedTurn>, partitions: usize) -> Option<()> {
        let is_whole = |turn: &SavedTurn| {
            turn.partition < partitions
                && is_time(turn.at_ms)
                && turn.event.times_ms()[0] <= turn.at_ms
                && turn.event.times_ms().into_iter().all(is_time)
        };
        if !saved.iter().all(is_whole) {
            return None;
        }
        let mut by_partition: BTreeMap<usize, Vec<SavedTurn>> = BTreeMap::new();
        for turn in saved {
            by_partition.entry(turn.partition).or_default().push(turn);
        }
        for (partition, turns) in by_partition {
            self.begin(partition, EventBatch::restore(turns.iter().map(|turn| &turn.event))?);
            for (row, turn) in turns.iter().enumerate() {
                self.hold(row, turn.at_ms, turn.late);
            }
        }
        Some(())
    }

    /// Takes in the batch whose rows are then named in [`Reorder::hold`].
    pub fn begin(&mut self, partition: usize, events: EventBatch) -> &EventBatch {
        self.batches.push(Held { partition, events: Arc::new(events), waiting: 0 });
        self.empty += 1;
        &self.batches[self.batches.len() - 1].events
    }

    /// The batch of the last [`Reorder::begin`].
    pub fn current(&self) -> &EventBatch {
        &self.batches[self.batches.len() - 1].events
    }

    /// Holds a row of the current batch until its turn.
    #[inline]
    pub fn hold(&mut self, row: usize, at_ms: i64, late: bool) {
        let batch = self.batches.len() - 1;
        let held = &mut self.batches[batch];
        self.empty -= usize::from(held.waiting == 0);
        held.waiting += 1;
        self.waiting.push(Turn {
            at_ms,
            order: at_ms * RANKS + i64::from(held.events.rank(row)),
            late,
            batch: batch as u32,
            row: row as u32,
        });
    }

    /// The events whose turn is before `watermark_ms` (`None`: all), in order.
    /// They are kept until [`Reorder::drop_first`].
    pub fn ready(&mut self, watermark_ms: Option<i64>) -> usize {
        let batches = &self.batches;
        let order = |a: &Turn, b: &Turn| {
            a.order.cmp(&b.order).then_with(|| {
                let key =
                    |turn: &Turn, column| batches[turn.batch as usize].events.text(column, turn.row as usize);
                key(a, Text::Source)
                    .cmp(key(b, Text::Source))
                    .then_with(|| key(a, Text::Id).cmp(key(b, Text::Id)))
                    // Copies that are not dropped as such: later bytes come later.
                    .then_with(|| (a.batch, a.row).cmp(&(b.batch, b.row)))
            })
        };
        if self.sorted < self.waiting.len() {
            let (old, new) = self.waiting.split_at_mut(self.sorted);
            new.sort_by(order);
            // Few of those that wait come after the first of the new ones. The two are sorted runs,
            // and a merge sort that looks for runs makes use of that.
            let from = self.given + old[self.given..].partition_point(|turn| order(turn, &new[0]).is_le());
            self.waiting[from..].sort_by(order);
            self.sorted = self.waiting.len();
        }
        match watermark_ms {
            None => self.len(),
            Some(watermark) => self.waiting[self.given..].partition_point(|turn| turn.at_ms < watermark),
        }
    }

    /// Event `index` of those ready: its turn, partition, batch and row.
    #[inline]
    pub fn get(&self, index: usize) -> (Turn, usize, &EventBatch, usize) {
        let turn = self.waiting[self.given + index];
        let held = &self.batches[turn.batch as usize];
        (turn, held.partition, &held.events, turn.row as usize)
    }

    /// Lets the first `count` events go. Their place, and batches that nothing waits in, are given back
    /// when they have become a good part of all, so that each costs the same however many wait.
    pub fn drop_first(&mut self, count: usize) {
        for turn in &self.waiting[self.given..self.given + count] {
            let held = &mut self.batches[turn.batch as usize];
            held.waiting -= 1;
            self.empty += usize::from(held.waiting == 0);
        }
        self.given += count;
        if self.given * 2 > self.waiting.len() {
            self.waiting.drain(..self.given);
            self.sorted -= self.given;
            self.given = 0;
        }
        if self.empty * 4 <= self.batches.len() {
            return;
        }
        let mut moved = Vec::with_capacity(self.batches.len());
        let mut kept = 0;
        for held in &self.batches {
            moved.push(kept);
            kept += u32::from(held.waiting > 0);
        }
        self.batches.retain(|held| held.waiting > 0);
        self.empty = 0;
        for turn in &mut self.waiting[self.given..] {
            turn.batch = moved[turn.batch as usize];
        }
    }

    /// How many events wait.
    pub fn len(&self) -> usize {
        self.waiting.len() - self.given
    }

    /// Whether none wait.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
