//! Proactive service: who is contacted, the life of a task, and whether it helped.

pub mod lift;
pub mod power;
pub mod proportions;
pub mod qini;

pub use lift::{Lift, Unit};
