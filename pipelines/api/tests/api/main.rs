//! The API over TCP, with a backend in memory.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "these are tests")]

mod acts;
mod description;
mod events;
mod feed;
mod limits;
mod memory;
mod reads;
mod server;
mod tls;
mod tokens;
