//! Scores of customers in the stream.
//!
//! An operator behind the facts, like the windows of KPIs ([`Scoring`]): it keeps the facts by customer, and when
//! one is named by a model's specification, or a customer's turn in the sweep has come, it computes the features
//! as of then, by the same plan as offline, and the models' probabilities.
//!
//! A score is of a time, `at`. It is computed at the first tick after it, when every fact that was known at it is
//! there, and later facts are known later. So computing the features again from the stored facts gives the same bits,
//! and a replay the same scores.
//!
//! [`Acting`] has it inside, and gives the champions' scores to the policy of proactive service, with the facts that it
//! goes by: tasks come out beside the scores.
//!
//! Start reading at `scoring.rs` and `acting.rs`; `model.rs` is a version of a model that serves, `timeline.rs` which one does when,
//! `known.rs` what is known of a customer's orders, `percentile.rs` where a score stands among others.

mod acting;
mod known;
mod model;
mod percentile;
mod scoring;
mod timeline;

pub use acting::Acting;
pub use model::{Model, ModelError};
pub use percentile::Population;
pub use scoring::{News, Scoring};
pub use timeline::{Switch, Timeline, TimelineError};
