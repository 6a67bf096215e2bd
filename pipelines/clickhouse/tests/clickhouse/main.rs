//! Against ClickHouse: the 26.7 engine behind our HTTP front, and Debian's server 18.16. Each
//! test does the same with both, as far as the environment says where they are, and checks by
//! SQL on the server itself.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test that panics has failed, as it should")]

mod fixture;
mod follow;
mod messages;
mod tables;

/// Not a test: the engine, when a test has started this binary again for it.
#[test]
fn serves_the_engine() {
    headsup_clickhouse_engine::serve_if_asked();
}
