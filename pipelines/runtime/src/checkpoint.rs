//! What is in a checkpoint, in the format of now and in those of before.

use std::collections::BTreeMap;

use headsup_operators::Bytes;
use serde::{Deserialize, Serialize};

use crate::publish::Positions;

/// The format's version: one more with every change of what is saved.
pub(crate) const FORMAT: u32 = 3;

/// The versions that are read.
pub(crate) const FORMATS: [u32; 3] = [1, 2, FORMAT];

/// A snapshot with its state packed.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Packed {
    pub positions: BTreeMap<String, u64>,
    pub state: Bytes,
    pub ended: bool,
}

/// What the writer adds to it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Checkpoint {
    /// What the state depends on besides the log.
    pub definitions: BTreeMap<String, String>,
    pub snapshot: Packed,
    /// Files of tables from this number on are not of this checkpoint.
    pub next_file: u64,
    /// Rows written, by table.
    pub rows: BTreeMap<String, u64>,
    /// Records set aside, by reason.
    pub quarantined: BTreeMap<String, u64>,
    /// Of which generation the tables are.
    pub generation: u64,
    /// Where the topics ended that the run writes. `None` in format 1, which wrote none.
    pub outputs: Option<Positions>,
    /// Of which format it was: that of the state within.
    #[serde(skip)]
    pub format: u32,
}

/// Format 1.
#[derive(Deserialize)]
struct Checkpoint1 {
    definitions: BTreeMap<String, String>,
    positions: BTreeMap<String, u64>,
    state: Bytes,
    next_file: u64,
    rows: BTreeMap<String, u64>,
    quarantined: BTreeMap<String, u64>,
}

impl Checkpoint {
    /// What a file of one of [`FORMATS`] holds.
    ///
    /// # Errors
    /// Bytes of something else.
    pub fn unpack(format: u32, contents: &[u8]) -> Result<Self, postcard::Error> {
        if format > 1 {
            return Ok(Self { format, ..postcard::from_bytes(contents)? });
        }
        let Checkpoint1 { definitions, positions, state, next_file, rows, quarantined } =
            postcard::from_bytes(contents)?;
        let snapshot = Packed { positions, state, ended: false };
        Ok(Self { definitions, snapshot, next_file, rows, quarantined, generation: 0, outputs: None, format })
    }
}
