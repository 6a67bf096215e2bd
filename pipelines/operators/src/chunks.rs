//! A list that is copied without standing still.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use serde::de::{SeqAccess, Visitor};
use serde::ser::SerializeSeq;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A list in chunks of `SIZE`. A copy of it costs a pointer for each; a chunk that a copy
/// still has is copied itself when it is next changed, so a copy stays as it was.
///
/// Saved it looks like a `Vec`.
#[derive(Debug, Clone)]
pub struct Chunks<T, const SIZE: usize> {
    /// All are full but the last one.
    chunks: Vec<Arc<Vec<T>>>,
}

impl<T, const SIZE: usize> Default for Chunks<T, SIZE> {
    fn default() -> Self {
        Self { chunks: Vec::new() }
    }
}

impl<T: Clone, const SIZE: usize> Chunks<T, SIZE> {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.chunks.last().map_or(0, |last| (self.chunks.len() - 1) * SIZE + last.len())
    }

    /// The one in this place, which has to exist.
    #[inline]
    pub fn get(&self, place: usize) -> &T {
        &self.chunks[place / SIZE][place % SIZE]
    }

    /// The one in this place, which has to exist, to be changed.
    #[inline]
    pub fn get_mut(&mut self, place: usize) -> &mut T {
        &mut Arc::make_mut(&mut self.chunks[place / SIZE])[place % SIZE]
    }

    /// Appends one.
    pub fn push(&mut self, item: T) {
        match self.chunks.last_mut().filter(|last| last.len() < SIZE) {
            Some(last) => Arc::make_mut(last).push(item),
            None => {
                let mut chunk = Vec::with_capacity(SIZE);
                chunk.push(item);
                self.chunks.push(Arc::new(chunk));
            }
        }
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.chunks.iter().flat_map(|chunk| chunk.iter())
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.chunks.clear();
    }
}

impl<T: Clone + Serialize, const SIZE: usize> Serialize for Chunks<T, SIZE> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(Some(self.len()))?;
        self.iter().try_for_each(|item| list.serialize_element(item))?;
        list.end()
    }
}

impl<'de, T: Clone + Deserialize<'de>, const SIZE: usize> Deserialize<'de> for Chunks<T, SIZE> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct List<T, const SIZE: usize>(PhantomData<T>);
        impl<'de, T: Clone + Deserialize<'de>, const SIZE: usize> Visitor<'de> for List<T, SIZE> {
            type Value = Chunks<T, SIZE>;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("a list")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                let mut chunks = Chunks::default();
                while let Some(item) = list.next_element()? {
                    chunks.push(item);
                }
                Ok(chunks)
            }
        }
        deserializer.deserialize_seq(List(PhantomData))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_stays_as_it_was_and_is_saved_like_a_vec() {
        let mut list = Chunks::<u64, 4>::default();
        assert_eq!(list.len(), 0);
        (0..10).for_each(|item| list.push(item));
        let copy = list.clone();
        list.push(10);
        *list.get_mut(5) = 50;
        assert_eq!((list.len(), *list.get(5), *list.get(10)), (11, 50, 10));
        assert!(copy.iter().copied().eq(0..10));
        let expected: Vec<u64> = (0..10).collect();
        let saved = postcard::to_stdvec(&copy).expect("packed");
        assert_eq!(saved, postcard::to_stdvec(&expected).expect("packed"));
        let restored: Chunks<u64, 4> = postcard::from_bytes(&saved).expect("unpacked");
        assert!(restored.iter().eq(&expected) && restored.len() == 10);
        list.clear();
        assert_eq!((list.len(), copy.len()), (0, 10));
    }
}
