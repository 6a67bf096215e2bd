//! For tests only: a place to run SQL of ClickHouse, twice.
//!
//! - The ClickHouse 26.7 engine (`libchdb.so`) behind our own HTTP front. It speaks as much
//!   of ClickHouse's HTTP interface as the client uses. It is no ClickHouse server: no users
//!   and grants, no replication, no settings but deduplication tokens.
//! - Debian's `clickhouse-server` 18.16, a real server of 2018.
//!
//! Where they are is said by the environment variables `HEADSUP_TEST_CHDB` (the library) and
//! `HEADSUP_TEST_CLICKHOUSE_SERVER` (the program), which `./test` sets. Start reading at
//! [`Server`].
//!
//! The engine lives in the process that loads it, and a test kills that process. So the test
//! binary starts itself again: a test of it calls [`serve_if_asked`].

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "for tests only")]

mod chdb;
mod frames;
mod front;
mod server;

pub use front::serve_if_asked;
pub use server::{Kind, Server};
