//! Which versions of a model serve when.
//!
//! A new champion is taken up at the next tick, which depends on when somebody promoted it. So the time is written
//! down before anything is scored with it, and whoever computes the same again switches there.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Which versions serve from a time on.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Switch {
    /// Event time in ms.
    pub at_ms: i64,
    /// Scores.
    #[serde(default)]
    pub champion: Option<String>,
    /// Scores in the shadow.
    #[serde(default)]
    pub challenger: Option<String>,
}

/// What is wrong with the file.
#[derive(Debug, thiserror::Error)]
pub enum TimelineError {
    /// Disk.
    #[error("cannot {what} {}: {source}", path.display())]
    Io {
        /// As `read`.
        what: &'static str,
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Not what was written.
    #[error(
        "{} line {line}: {problem}; restore it from a copy, or remove it: then the present champion serves for all time, \
         and `headsup run --from-start` makes earlier scores agree with that",
        path.display()
    )]
    Malformed {
        /// Which.
        path: PathBuf,
        /// Where.
        line: usize,
        /// What.
        problem: String,
    },
}

/// The switches of a model, `serving.jsonl` in its folder.
#[derive(Debug)]
pub struct Timeline {
    path: PathBuf,
    switches: Vec<Switch>,
}

impl Timeline {
    /// Reads a file, which may be missing. A last line without an end was being written when power failed, and
    /// nothing was scored with it.
    ///
    /// # Errors
    /// It cannot be read, or is not what was written.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, TimelineError> {
        let path = path.into();
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
            Err(source) => return Err(TimelineError::Io { what: "read", path, source }),
        };
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        if whole < text.len() {
            let file = OpenOptions::new().write(true).open(&path);
            file.and_then(|file| file.set_len(whole as u64)).map_err(|source| TimelineError::Io {
                what: "mend",
                path: path.clone(),
                source,
            })?;
        }
        let mut switches: Vec<Switch> = Vec::new();
        for (number, line) in text[..whole].lines().enumerate() {
            let malformed =
                |problem: String| TimelineError::Malformed { path: path.clone(), line: number + 1, problem };
            let switch: Switch = serde_json::from_str(line).map_err(|error| malformed(error.to_string()))?;
            if switches.last().is_some_and(|last| last.at_ms >= switch.at_ms) {
                return Err(malformed("it is not later than the one before".to_owned()));
            }
            switches.push(switch);
        }
        Ok(Self { path, switches })
    }

    /// All, oldest first.
    pub fn switches(&self) -> &[Switch] {
        &self.switches
    }

    /// The one in force at a time in ms.
    pub fn at(&self, at_ms: i64) -> Option<&Switch> {
        let after = self.switches.partition_point(|switch| switch.at_ms <= at_ms);
        after.checked_sub(1).map(|place| &self.switches[place])
    }

    /// Writes down a switch later than all; it is on disk when this returns.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn push(&mut self, switch: Switch) -> Result<(), TimelineError> {
        debug_assert!(self.switches.last().is_none_or(|last| last.at_ms < switch.at_ms));
        append(&self.path, &switch).map_err(|source| TimelineError::Io {
            what: "write",
            path: self.path.clone(),
            source,
        })?;
        self.switches.push(switch);
        Ok(())
    }
}

fn append(path: &Path, switch: &Switch) -> std::io::Result<()> {
    let is_new = !path.exists();
    let mut file = OpenOptions::new().create(true).append(true).open(path)?;
    file.write_all((serde_json::to_string(switch)? + "\n").as_bytes())?;
    file.sync_all()?;
    match path.parent() {
        Some(folder) if is_new => File::open(folder)?.sync_all(),
        _ => Ok(()),
    }
}
