//! The operators between events and what is known about the service.
//!
//! They are synchronous state machines: batches and watermarks in, batches out.
//! None of them does I/O, reads a clock, or spawns a thread; the same events give
//! the same bits.
//!
//! In the order of the data, a file each: [`Dedup`], [`Reorder`], [`Contacts`],
//! `orders`, [`facts`]. [`Pipeline`] puts them in a row, and windows behind them: start
//! reading at [`Pipeline::advance`].

mod dedup;
mod reorder;

mod contacts;
mod orders;
mod signals;

pub mod facts;

mod pipeline;

mod bytes;
mod chunks;
mod copied;
mod saved;

pub use bytes::Bytes;
pub use contacts::{Applied, ContactFacts, ContactLimits, Contacts, FollowLimits};
pub use copied::Copied;
pub use dedup::Dedup;
pub use pipeline::{Output, Pipeline, PipelineConfig, Profile, Windows, WindowsError, is_time};
pub use reorder::{Reorder, Turn};
pub use saved::{pack, unpack};
