//! Features of customers: SQL files over the facts that were known at a time.
//!
//! A feature view is a file in `features/`: aggregates of `past.<table>`, which for each row of a
//! spine (a customer and a time, `as_of`) holds the customer's facts with `known_at <= as_of` and
//! an event time not after it. There is no other table, so that no feature can see the future. A
//! label is a file in `sql/labels/`: the same over `future.<table>`, the facts after `as_of`.
//!
//! One plan serves both executions. Offline, the facts come from the store and the spine from a
//! file; live, facts are appended as operators give them out, and the spine is the customers just
//! touched. All aggregates are of whole numbers and independent of the order of facts, so both
//! give the same bits.
//!
//! It does no I/O and reads no clock. Start reading at `view.rs` (a file), then `plan.rs` (what
//! SQL becomes), `history.rs` (facts by customer), `evaluate.rs`.

mod aggregate;
mod column;
mod evaluate;
mod functions;
mod history;
mod names;
mod plan;
mod population;
mod sku;
mod tables;
#[cfg(test)]
mod tests;
mod view;

pub use evaluate::FeatureError;
pub use history::{History, Side};
pub use names::Names;
pub use plan::Definitions;
pub use population::Population;
pub use tables::{DERIVED, Past};
pub use view::{Feature, View, ViewError};
