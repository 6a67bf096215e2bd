//! Proactive service: who is contacted, the life of a task, and whether it helped.

pub mod lift;
pub mod policy;
pub mod power;
pub mod proportions;
pub mod qini;
pub mod task;

pub use lift::{Lift, Unit};
pub use policy::{Decision, Policy, Rules, Score};
pub use task::{Task, TaskError, TaskEvent, Transition};
