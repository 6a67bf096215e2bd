//! Leaves out events that were seen before.

use std::collections::VecDeque;

use hashbrown::HashTable;
use xxhash_rust::xxh3::xxh3_128;

/// The (`source`, `id`) of every event that could still come again and count.
///
/// A copy has the event's own time, so one that is older than the horizon (the
/// allowed lateness) would be late anyway; what is older is forgotten and memory
/// stays bounded. Keys are kept as 128-bit hashes (XXH3): with a billion keys at
/// once, two of them would collide with a probability of 1.5e-21.
#[derive(Debug)]
pub struct Dedup {
    horizon_ms: i64,
    seen: HashTable<u128>,
    /// Keys in the order of arrival, in runs that share the time of their oldest
    /// possible removal.
    runs: VecDeque<(i64, Vec<u128>)>,
    scratch: Vec<u8>,
}

/// Keys are forgotten a run at a time.
const RUN_MS: i64 = 10_000;

impl Dedup {
    /// Remembers events until the partition's time has moved on by `horizon_ms`.
    pub fn new(horizon_ms: i64) -> Self {
        Self { horizon_ms, seen: HashTable::new(), runs: VecDeque::new(), scratch: Vec::new() }
    }

    /// Whether this is the first time. `now_ms` is the largest event time of the
    /// partition so far.
    #[inline]
    pub fn first(&mut self, source: &str, id: &str, now_ms: i64) -> bool {
        self.scratch.clear();
        self.scratch.extend_from_slice(source.as_bytes());
        self.scratch.push(0);
        self.scratch.extend_from_slice(id.as_bytes());
        let key = xxh3_128(&self.scratch);
        let entry = self.seen.entry(key as u64, |&other| other == key, |&other| other as u64);
        match entry {
            hashbrown::hash_table::Entry::Occupied(_) => return false,
            hashbrown::hash_table::Entry::Vacant(vacant) => vacant.insert(key),
        };
        match self.runs.back_mut() {
            Some((begun_ms, keys)) if now_ms < begun_ms.saturating_add(RUN_MS) => keys.push(key),
            _ => {
                self.forget(now_ms);
                self.runs.push_back((now_ms, vec![key]));
            }
        }
        true
    }

    fn forget(&mut self, now_ms: i64) {
        while let Some((begun_ms, _)) = self.runs.front() {
            if begun_ms.saturating_add(RUN_MS).saturating_add(self.horizon_ms) > now_ms {
                break;
            }
            for key in self.runs.pop_front().map(|(_, keys)| keys).unwrap_or_default() {
                if let Ok(entry) = self.seen.find_entry(key as u64, |&other| other == key) {
                    entry.remove();
                }
            }
        }
    }

    /// How many keys are kept.
    pub fn len(&self) -> usize {
        self.seen.len()
    }

    /// Whether none are kept.
    pub fn is_empty(&self) -> bool {
        self.seen.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_are_found_within_the_horizon_and_memory_is_bounded() {
        let mut dedup = Dedup::new(60_000);
        assert!(dedup.first("a", "b", 0));
        assert!(!dedup.first("a", "b", 59_000));
        assert!(dedup.first("ab", "", 59_000));
        for second in 60..10_000 {
            assert!(dedup.first("s", &second.to_string(), second * 1_000));
            assert!(!dedup.first("s", &(second - 1).max(60).to_string(), second * 1_000));
            assert!(dedup.len() < 100, "{}", dedup.len());
        }
    }
}
