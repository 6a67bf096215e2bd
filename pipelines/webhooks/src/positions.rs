//! How far an endpoint has got in each partition, in a file that is whole or as it was before.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;

use headsup_connectors::{Disk, disk::replace};
use serde::{Deserialize, Serialize};

use crate::deliver::WebhookError;

/// The partitions of a topic.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Positions {
    pub topic: String,
    pub partitions: Vec<Progress>,
}

/// A partition: all before `next` is done, and some after it.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Progress {
    pub next: u64,
    pub done: BTreeSet<u64>,
}

impl Progress {
    /// Notes that `offset` needs nothing more.
    pub fn finish(&mut self, offset: u64) {
        if offset >= self.next {
            self.done.insert(offset);
        }
        while self.done.remove(&self.next) {
            self.next += 1;
        }
    }

    pub fn is_done(&self, offset: u64) -> bool {
        offset < self.next || self.done.contains(&offset)
    }
}

impl Positions {
    /// Those in the file, or the beginning of the topic.
    pub fn read(disk: &dyn Disk, path: &Path, topic: &str, partitions: usize) -> Result<Self, WebhookError> {
        let beginning = Self { topic: topic.to_owned(), partitions: vec![Progress::default(); partitions] };
        let bytes = match disk.read(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(beginning),
            other => other.map_err(WebhookError::io("read", path))?,
        };
        let damaged = |problem: String| WebhookError::Positions { path: path.to_owned(), problem };
        let found: Self = serde_json::from_slice(&bytes).map_err(|error| damaged(error.to_string()))?;
        if found.topic != topic || found.partitions.len() != partitions {
            return Err(damaged(format!(
                "it is of topic {} with {} partitions, and not {topic} with {partitions}",
                found.topic,
                found.partitions.len()
            )));
        }
        Ok(found)
    }

    pub fn write(&self, disk: &dyn Disk, path: &Path) -> io::Result<()> {
        replace(disk, path, &[&serde_json::to_vec(self)?])
    }
}
