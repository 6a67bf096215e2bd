//! Where events come from and results go: the event log, files, and the offline store.
//!
//! All I/O of the pipeline is here. This crate never looks into a record: it moves bytes, and
//! decoding them is the business of `headsup-events`. No result depends on its clock; append
//! times are recorded once and replayed.
//!
//! Start reading at [`log`]: [`EventLog`], [`Reader`] and the [`Chunk`] that every source yields.
//! Then
//!
//! - [`embedded`]: the log in a folder, for one process.
//! - [`lines`]: JSON-lines files (plain, gzip, zstd) and standard input.
//! - [`store`]: tables as Parquet files.

pub mod checkpoint;
pub mod claim;
pub mod disk;
pub mod embedded;
pub mod lines;
pub mod log;
pub mod store;

pub use checkpoint::{CheckpointError, Checkpoints};
pub use claim::{Claim, ClaimError};
pub use disk::{Disk, DiskFile, RealDisk};
pub use embedded::{EmbeddedLog, EmbeddedOptions};
pub use lines::{Lines, LinesOptions};
pub use log::{Chunk, EventLog, LogError, Reader, Record, Topic, check_topic_name, partition_of};
pub use store::{Store, StoreError};
