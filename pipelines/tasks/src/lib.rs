//! Proactive service: who is contacted, the life of a task, and whether it helped.
//!
//! [`policy`] decides, by models/policy.toml, and [`task`] is what comes of it; docs/task.schema.json
//! has their events, which [`Told`] reads. [`lift`] compares those who were assigned, [`power`] says how many it takes.

pub mod lift;
pub mod policy;
pub mod power;
pub mod proportions;
pub mod qini;
pub mod task;
mod told;

pub use lift::{Lift, Unit};
pub use policy::{Decision, Policy, Rules, Score};
pub use task::{Task, TaskError, TaskEvent, Transition};
pub use told::Told;
