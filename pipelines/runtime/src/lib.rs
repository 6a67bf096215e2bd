//! Everything around the operators: configuration, threads, what is shown, HTTP.
//!
//! Start reading at [`run`]. Time enters here (heartbeats, flushing, waiting) and
//! never goes into a result.

mod alerting;
mod begin;
mod board;
mod checkpoint;
mod config;
mod core;
mod heal;
mod heart;
mod http;
mod metrics;
mod publish;
mod query;
mod resume;
mod rows;
mod run;
mod sink;
mod topics;
mod write;

pub use self::core::{Batch, Core, Decode, Produced, Role};
pub use alerting::{FIRED, fired, shapes};
pub use begin::{Begun, begin};
pub use board::{Board, KpiBoard, PartitionBoard, Point, Series, Stalls, State, WebhookBoard};
pub use config::{ClickhouseConfig, Config, ConfigError};
pub use heal::{HealError, Healed, Range, has_values, heal};
pub use http::routes;
pub use metrics::render;
pub use publish::SCORE_COLUMNS;
pub use query::{recompute, recompute_from, register_rows, session};
pub use resume::Snapshot;
pub use rows::{KpiRows, windows};
pub use run::{Input, Job, MakeScores, Report, RunError, run};
#[cfg(feature = "clickhouse")]
pub use sink::server_options;
pub use sink::{Sink, SinkError, SinkHealth};
pub use topics::{ALERTS, KPIS, PARTIALS, QUARANTINE, SCORES, TASKS};
pub use write::{Unfinished, Write, Writer};
