//! Names by number.

use hashbrown::HashTable;
use xxhash_rust::xxh3::xxh3_64;

/// Names, each kept once, numbered from 0 in the order in which they came. A name takes its bytes and some 20 more.
#[derive(Debug, Default)]
pub struct Names {
    text: String,
    /// Of each name, where it ends in `text`.
    ends: Vec<usize>,
    numbers: HashTable<u32>,
}

impl Names {
    /// How many there are.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// The number of a name.
    pub fn get(&self, name: &str) -> Option<u32> {
        self.numbers.find(hash(name), |number| self.name(*number) == name).copied()
    }

    /// The number of a name, and whether it is new.
    pub fn insert(&mut self, name: &str) -> (u32, bool) {
        if let Some(number) = self.get(name) {
            return (number, false);
        }
        let Self { text, ends, numbers } = self;
        let number = ends.len() as u32;
        text.push_str(name);
        ends.push(text.len());
        numbers.insert_unique(hash(name), number, |number| hash(slice(text, ends, *number)));
        (number, true)
    }

    /// The name of a number that was given for one.
    pub fn name(&self, number: u32) -> &str {
        slice(&self.text, &self.ends, number)
    }

    /// All, in the order of their numbers.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        (0..self.ends.len() as u32).map(|number| self.name(number))
    }
}

fn slice<'t>(text: &'t str, ends: &[usize], number: u32) -> &'t str {
    let place = number as usize;
    let start = place.checked_sub(1).map_or(0, |before| ends[before]);
    &text[start..ends[place]]
}

fn hash(name: &str) -> u64 {
    xxh3_64(name.as_bytes())
}
