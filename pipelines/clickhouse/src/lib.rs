//! ClickHouse as sink and as source of the stored tables.
//!
//! The offline store is the truth and the spill: [`Follower`] loads its complete files in the
//! order of their numbers, notes how far it has come, and tries again for as long as it
//! takes. Nothing is kept for ClickHouse alone, so nothing is lost with it: an emptied
//! database is filled again from the files.
//!
//! Every row has an identity (share, generation, file, row in the file; of KPIs: window,
//! keys, revision), by which the tables keep one row however often it comes. What people
//! query are views that show the newest generation alone.
//!
//! This crate never decides what a row is; it moves rows. Start reading at [`follow`]. Then
//!
//! - [`migrate`]: how tables come to be, from `sql/clickhouse/` and from KPI definitions.
//! - [`rowbinary`]: Arrow columns to ClickHouse's row format and back.
//! - [`source`]: rows out of ClickHouse, for batch jobs.

pub mod error;
pub mod files;
pub mod follow;
mod generations;
mod load;
pub mod migrate;
pub mod position;
pub mod rowbinary;
pub mod server;
pub mod source;
pub mod tables;

pub use error::Error;
pub use follow::{Follower, FollowerOptions, Health};
pub use generations::{forget, prune};
pub use migrate::{Migrated, migrate};
pub use server::{Password, Server, ServerOptions};
pub use source::{Status, read_table, status};
pub use tables::KpiTable;
