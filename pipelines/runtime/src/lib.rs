//! Everything around the operators: configuration, threads, what is shown, HTTP.
//!
//! Start reading at [`run`]. Time enters here (heartbeats, flushing, waiting) and
//! never goes into a result.

mod board;
mod config;
mod metrics;

pub use board::{Board, KpiBoard, PartitionBoard, Point, Series, State};
pub use config::{Config, ConfigError};
pub use metrics::render;
