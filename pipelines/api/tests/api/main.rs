//! The API over TCP, with a backend in memory.

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
