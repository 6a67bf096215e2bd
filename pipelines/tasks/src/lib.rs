//! Proactive service: who is contacted, the life of a task, and whether it helped.

pub mod power;
