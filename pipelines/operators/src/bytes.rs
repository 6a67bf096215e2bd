//! Bytes inside of saved state, taken as a whole: as a list of numbers, as which `serde` takes
//! a `Vec<u8>`, a large state takes seconds. They look the same.

use std::fmt;

use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Bytes(pub Vec<u8>);

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Whole;
        impl<'de> Visitor<'de> for Whole {
            type Value = Bytes;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("bytes")
            }

            fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Bytes, E> {
                Ok(Bytes(bytes.to_vec()))
            }

            fn visit_byte_buf<E: Error>(self, bytes: Vec<u8>) -> Result<Bytes, E> {
                Ok(Bytes(bytes))
            }
        }
        deserializer.deserialize_byte_buf(Whole)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_look_like_a_list() {
        let bytes: Vec<u8> = (0..=255).collect();
        let saved = postcard::to_stdvec(&bytes).expect("packed");
        assert_eq!(saved, postcard::to_stdvec(&Bytes(bytes.clone())).expect("packed"));
        assert_eq!(postcard::from_bytes::<Bytes>(&saved).expect("unpacked"), Bytes(bytes));
        assert!(postcard::from_bytes::<Bytes>(&saved[..100]).is_err());
    }
}
