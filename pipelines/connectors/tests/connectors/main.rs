//! One test binary: the event log in a folder, and the lines of files.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test that panics has failed, as it should")]

mod embedded;
mod kill;
mod lines;
