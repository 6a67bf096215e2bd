//! Leaves out events that were seen before.

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::{xxh3_64, xxh3_128_with_seed};

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
    current: HashTable<u128>,
    previous: HashTable<u128>,
    begun_ms: Option<i64>,
}

/// What [`Dedup::save`] saves.
#[derive(Debug, Serialize, Deserialize)]
pub struct SavedDedup {
    current: Vec<u128>,
    previous: Vec<u128>,
    begun_ms: Option<i64>,
}

impl Dedup {
    /// Remembers events until the partition's time has moved on by `horizon_ms`.
    pub fn new(horizon_ms: i64) -> Self {
        Self { horizon_ms, current: HashTable::new(), previous: HashTable::new(), begun_ms: None }
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
        let hash = key as u64;
        if self.previous.find(hash, |&other| other == key).is_some() {
            return false;
        }
        match self.current.entry(hash, |&other| other == key, |&other| other as u64) {
            Entry::Occupied(_) => false,
            Entry::Vacant(vacant) => {
                vacant.insert(key);
                true
            }
        }
    }

    /// The state, for a checkpoint.
    pub fn save(&self) -> SavedDedup {
        let keys = |table: &HashTable<u128>| table.iter().copied().collect();
        SavedDedup { current: keys(&self.current), previous: keys(&self.previous), begun_ms: self.begun_ms }
    }

    /// Goes on from a saved state.
    pub fn restore(&mut self, saved: SavedDedup) {
        let table = |keys: Vec<u128>| {
            let mut table = HashTable::with_capacity(keys.len());
            for key in keys {
                table.insert_unique(key as u64, key, |&other| other as u64);
            }
            table
        };
        self.current = table(saved.current);
        self.previous = table(saved.previous);
        self.begun_ms = saved.begun_ms;
    }

    /// How many keys are kept.
    pub fn len(&self) -> usize {
        self.current.len() + self.previous.len()
    }

    /// Whether none are kept.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

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
