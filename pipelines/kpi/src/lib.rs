//! KPIs: SQL files over facts, evaluated in windows of event time.
//!
//! Like the operators, it does no I/O and reads no clock; all state is integers.
//!
//! `definition` reads a file and checks it, `functions`, `calendar` and `sketch` are what SQL
//! can call, `engine` keeps the windows. One engine serves the stream and the
//! batch: facts go in with [`KpiWindows::absorb`], rows come out of
//! [`KpiWindows::tick`]. Over a share of the events there are [`KpiPartials`] instead, which
//! [`Merge`] puts together.

mod calendar;
mod definition;
mod details;
mod engine;
mod functions;
mod gather;
mod groups;
mod merge;
mod settings;
mod shares;
mod sketch;
pub mod sql;
mod ticks;

pub use calendar::{Calendar, Schedule};
pub use definition::{Kpi, KpiError, Parameter};
pub use details::{Details, Part, Rise};
pub use engine::KpiWindows;
pub use functions::register;
pub use merge::{Merge, Merged, Progress, Share, ShareRecord, ShareSays};
pub use settings::Settings;
pub use shares::KpiPartials;
pub use ticks::tick_of;
