//! The events of customer service: what they are, and how bytes become columns.
//!
//! Bytes of JSON lines come in as a [`Chunk`], typed Arrow columns go out as an
//! [`EventBatch`], and whatever is no event goes out as [`Quarantined`] with its
//! reason, bytes and position. This crate does no I/O and reads no clock.
//!
//! Start reading at [`Decoder::decode`]. `model` says which events there are,
//! `scan` is the fast path of the parser, `strict` the one that explains mistakes.

mod batch;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod both;
mod chunk;
mod decode;
mod model;
mod names;
mod quarantine;
mod scan;
mod shape;
mod strict;
mod time;

pub use batch::{EventBatch, Flag, Number, Role, SavedEvent, Text};
pub use chunk::Chunk;
pub use decode::{Decoded, Decoder, Limits};
pub use model::EventType;
pub use quarantine::{Quarantined, Reason};
pub use time::{format_rfc3339_ms, parse_rfc3339_ms};
