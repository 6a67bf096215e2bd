//! Leaves out events that were seen before.

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::{xxh3_64, xxh3_128_with_seed};

use crate::chunks::Chunks;

/// The (`source`, `id`) of every event that could still come again and count.
///
/// A copy has the event's own time, so one that is older than the horizon (the
/// allowed lateness) would be late anyway; what is older is forgotten, within two
/// horizons, and memory stays bounded. Keys are kept as 128-bit hashes (XXH3): of a
/// billion keys at once, two would be the same with a probability of 1.5e-21.
#[derive(Debug)]
pub struct Dedup {
    horizon_ms: i64,
    /// Keys since `begun_ms`, and those of the horizon before.
    current: Keys,
    previous: Keys,
    begun_ms: Option<i64>,
}

/// Keys, once to be found and once in the order they came: a table of a million cannot be
/// copied in a moment, a list in chunks can.
#[derive(Debug, Default)]
struct Keys {
    table: HashTable<u128>,
    list: KeyList,
    /// The end of the list.
    newest: Vec<u128>,
}

type KeyList = Chunks<u128, 4_096>;

/// What [`Dedup::save`] saves.
#[derive(Debug, Serialize, Deserialize)]
pub struct SavedDedup {
    current: KeyList,
    previous: KeyList,
    begun_ms: Option<i64>,
}

impl Dedup {
    /// Remembers events until the partition's time has moved on by `horizon_ms`.
    pub fn new(horizon_ms: i64) -> Self {
        Self { horizon_ms, current: Keys::default(), previous: Keys::default(), begun_ms: None }
    }

    /// The key of an event.
    #[inline]
    pub fn key(source: &str, id: &str) -> u128 {
        xxh3_128_with_seed(id.as_bytes(), xxh3_64(source.as_bytes()))
    }

    /// Whether the event with this key is here for the first time. `now_ms` is its turn.
    #[inline]
    pub fn first(&mut self, key: u128, now_ms: i64) -> bool {
        let begun_ms = *self.begun_ms.get_or_insert(now_ms);
        if now_ms > begun_ms.saturating_add(self.horizon_ms) {
            std::mem::swap(&mut self.current, &mut self.previous);
            self.current.clear();
            self.begun_ms = Some(now_ms);
        }
        !self.previous.contain(key) && self.current.insert(key)
    }

    /// The state, for a checkpoint.
    pub fn save(&mut self) -> SavedDedup {
        SavedDedup { current: self.current.save(), previous: self.previous.save(), begun_ms: self.begun_ms }
    }

    /// Goes on from a saved state.
    pub fn restore(&mut self, saved: SavedDedup) {
        self.current = Keys::restore(saved.current);
        self.previous = Keys::restore(saved.previous);
        self.begun_ms = saved.begun_ms;
    }

    /// How many keys are kept.
    pub fn len(&self) -> usize {
        self.current.table.len() + self.previous.table.len()
    }

    /// Whether none are kept.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Keys {
    #[inline]
    fn contain(&self, key: u128) -> bool {
        self.table.find(key as u64, |&other| other == key).is_some()
    }

    /// Whether it was not in before.
    #[inline]
    fn insert(&mut self, key: u128) -> bool {
        match self.table.entry(key as u64, |&other| other == key, |&other| other as u64) {
            Entry::Occupied(_) => false,
            Entry::Vacant(vacant) => {
                vacant.insert(key);
                self.newest.push(key);
                if self.newest.len() == NEWEST_MAX {
                    self.list_newest();
                }
                true
            }
        }
    }

    #[cold]
    fn list_newest(&mut self) {
        self.newest.drain(..).for_each(|key| self.list.push(key));
    }

    /// Forgets all, and keeps the memory of the table.
    fn clear(&mut self) {
        self.table.clear();
        self.list.clear();
        self.newest.clear();
    }

    fn save(&mut self) -> KeyList {
        self.list_newest();
        self.list.clone()
    }

    fn restore(list: KeyList) -> Self {
        let mut table = HashTable::with_capacity(list.len());
        for &key in list.iter() {
            table.insert_unique(key as u64, key, |&other| other as u64);
        }
        Self { table, list, newest: Vec::new() }
    }
}

/// So many keys are listed together.
const NEWEST_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_are_found_within_the_horizon_and_memory_is_bounded() {
        let mut dedup = Dedup::new(60_000);
        assert!(dedup.first(Dedup::key("a", "b"), 0));
        assert!(!dedup.first(Dedup::key("a", "b"), 59_000));
        assert!(dedup.first(Dedup::key("ab", ""), 59_000));
        for second in 60..10_000 {
            assert!(dedup.first(Dedup::key("s", &second.to_string()), second * 1_000));
            let before = (second - 1).max(60).to_string();
            assert!(!dedup.first(Dedup::key("s", &before), second * 1_000));
            assert!(dedup.len() < 130, "{}", dedup.len());
        }
    }
}
