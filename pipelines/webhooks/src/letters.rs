//! Dead letters: events that were given up, until somebody sends them again.
//!
//! `dead/NNNNNN.jsonl` has a letter a line. To send one again is a file `resend/ID.json`, which is
//! `resend/ID.sent` when that is done.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use headsup_connectors::Disk;
use headsup_connectors::disk::{make_folders, replace};
use serde::{Deserialize, Serialize};

use crate::queue::Key;

/// The dead letters of an endpoint.
#[derive(Debug, Clone)]
pub struct Letters {
    disk: Arc<dyn Disk>,
    folder: PathBuf,
}

/// An event that was given up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Letter {
    /// Of the letter: partition, offset and round.
    pub id: String,
    /// The endpoint's name.
    pub endpoint: String,
    /// Where the event is in the topic.
    pub partition: u32,
    /// Where the event is in its partition.
    pub offset: u64,
    /// How often it has been sent again.
    pub round: u32,
    /// Why.
    pub reason: String,
    /// How many attempts counted.
    pub attempts: u32,
    /// When it was given up, in ms since the Unix epoch.
    pub at_ms: i64,
    /// The event as it is in the log.
    pub event: String,
}

/// What is wrong with letters.
#[derive(Debug, thiserror::Error)]
pub enum LetterError {
    /// A file or folder.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was attempted.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A line that is no letter.
    #[error("{} line {line} is no dead letter ({problem}); mend or remove the line", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        problem: String,
    },
    /// There is no such letter, or it has been sent again.
    #[error("there is no dead letter {id:?} in {}; list shows those there are", folder.display())]
    Unknown {
        /// What was asked for.
        id: String,
        /// Where.
        folder: PathBuf,
    },
}

impl Letters {
    /// Those of endpoint `name` in the data folder.
    pub fn of(disk: Arc<dyn Disk>, data: &Path, name: &str) -> Self {
        Self { disk, folder: data.join("webhooks").join(name) }
    }

    /// The letters that nobody has sent again, the oldest file first; and the lines that are damaged.
    ///
    /// # Errors
    /// A folder or file that cannot be read.
    pub fn list(&self) -> Result<(Vec<Letter>, Vec<LetterError>), LetterError> {
        let (mut letters, mut damaged) = (Vec::<Letter>::new(), Vec::new());
        let sent: Vec<String> = self.names("resend")?.iter().filter_map(|path| stem(path)).collect();
        let mut seen = std::collections::HashSet::new();
        for path in self.names("dead")?.into_iter().filter(|path| ends(path, "jsonl")) {
            let bytes = self.disk.read(&path).map_err(io_error("read", &path))?;
            for (place, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
                if line.is_empty() {
                    continue;
                }
                match serde_json::from_slice::<Letter>(line) {
                    Ok(letter) if letter.id != id((letter.partition, letter.offset, letter.round)) => {
                        let problem = "its id is not that of its place".to_owned();
                        damaged.push(LetterError::Line { path: path.clone(), line: place + 1, problem });
                    }
                    // One that was given up again after a kill is there twice.
                    Ok(letter) if !sent.contains(&letter.id) && seen.insert(letter.id.clone()) => {
                        letters.push(letter);
                    }
                    Ok(_) => {}
                    Err(error) => {
                        let problem = error.to_string();
                        damaged.push(LetterError::Line { path: path.clone(), line: place + 1, problem });
                    }
                }
            }
        }
        Ok((letters, damaged))
    }

    /// A letter.
    ///
    /// # Errors
    /// There is none of that id, or it has been sent again.
    pub fn show(&self, id: &str) -> Result<Letter, LetterError> {
        let found = self.list()?.0.into_iter().find(|letter| letter.id == id);
        found.ok_or_else(|| LetterError::Unknown { id: id.to_owned(), folder: self.folder.clone() })
    }

    /// Has a letter sent again, by the process that runs or the next one.
    ///
    /// # Errors
    /// Those of [`Letters::show`], or the disk.
    pub fn resend(&self, id: &str) -> Result<(), LetterError> {
        let letter = self.show(id)?;
        let folder = self.folder.join("resend");
        make_folders(&*self.disk, &self.folder, &folder).map_err(io_error("make", &folder))?;
        let path = folder.join(format!("{id}.json"));
        let bytes = serde_json::to_vec(&letter).map_err(|error| io_error("write", &path)(error.into()))?;
        replace(&*self.disk, &path, &[&bytes]).map_err(io_error("write", &path))
    }

    /// Those that are to be sent again.
    pub(crate) fn asked(&self) -> Result<Vec<Letter>, LetterError> {
        let asked = self.names("resend")?.into_iter().filter(|path| ends(path, "json"));
        asked
            .map(|path| {
                let bytes = self.disk.read(&path).map_err(io_error("read", &path))?;
                let problem = |error: serde_json::Error| LetterError::Line {
                    path: path.clone(),
                    line: 1,
                    problem: error.to_string(),
                };
                serde_json::from_slice(&bytes).map_err(problem)
            })
            .collect()
    }

    /// Notes that one needs nothing more.
    pub(crate) fn sent(&self, id: &str) -> Result<(), LetterError> {
        let folder = self.folder.join("resend");
        let path = folder.join(format!("{id}.json"));
        match self.disk.rename(&path, &folder.join(format!("{id}.sent"))) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => other.map_err(io_error("rename", &path))?,
        }
        self.disk.sync_folder(&folder).map_err(io_error("force to disk", &folder))
    }

    /// Writes letters to a file of their own.
    pub(crate) fn write(&self, letters: &[Letter]) -> Result<(), LetterError> {
        let folder = self.folder.join("dead");
        make_folders(&*self.disk, &self.folder, &folder).map_err(io_error("make", &folder))?;
        let numbers = self.names("dead")?;
        let last = numbers.iter().filter_map(|path| stem(path)?.parse::<u64>().ok()).max();
        let path = folder.join(format!("{:06}.jsonl", last.map_or(0, |last| last + 1)));
        let mut bytes = Vec::new();
        for letter in letters {
            let line = serde_json::to_vec(letter).map_err(|error| io_error("write", &path)(error.into()))?;
            bytes.extend(line);
            bytes.push(b'\n');
        }
        replace(&*self.disk, &path, &[&bytes]).map_err(io_error("write", &path))
    }

    fn names(&self, below: &str) -> Result<Vec<PathBuf>, LetterError> {
        let folder = self.folder.join(below);
        let mut names: Vec<PathBuf> = match self.disk.list(&folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.map_err(io_error("read", &folder))?.into_iter().map(|(path, _)| path).collect(),
        };
        names.retain(|path| !ends(path, "partial"));
        names.sort();
        Ok(names)
    }
}

pub(crate) fn id((partition, offset, round): Key) -> String {
    format!("{partition}-{offset}-{round}")
}

fn stem(path: &Path) -> Option<String> {
    Some(path.file_stem()?.to_str()?.to_owned())
}

fn ends(path: &Path, extension: &str) -> bool {
    path.extension().is_some_and(|found| found == extension)
}

fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> LetterError {
    let path = path.to_owned();
    move |source| LetterError::Io { action, path, source }
}
