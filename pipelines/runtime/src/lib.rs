//! Everything around the operators: configuration, threads, what is shown, HTTP.
//!
//! Start reading at [`run`]. Time enters here (heartbeats, flushing, waiting) and
//! never goes into a result.

mod board;
mod config;
mod http;
mod metrics;
mod query;
mod resume;
mod run;
mod sink;
mod write;

pub use board::{Board, KpiBoard, PartitionBoard, Point, Series, Stalls, State};
pub use config::{ClickhouseConfig, Config, ConfigError};
pub use http::serve;
pub use metrics::render;
pub use query::{recompute, recompute_from, register_rows, session};
pub use run::{Input, Job, Report, RunError, run};
#[cfg(feature = "clickhouse")]
pub use sink::server_options;
pub use sink::{Sink, SinkError, SinkHealth};
