//! One process at a time writes what belongs to a run.
//!
//! `<data>/runs/<run>/claim` holds two numbers: the epoch, one more with every process that
//! takes the run over, and the generation of its tables, one more every time they are begun
//! anew. A lock beside it keeps a second process out while the first one lives. Where locks
//! do not reach (a folder shared by machines), a process that was given up but is still there
//! finds at its next commit that the epoch has moved on, and stops.

use std::any::Any;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::disk::{Disk, make_folders, replace};

/// The right to write the tables and checkpoints of a run.
pub struct Claim {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    epoch: u64,
    generation: u64,
    _lock: Box<dyn Any + Send + Sync>,
}

/// Why a run cannot be taken over, or is no longer ours.
#[derive(Debug, thiserror::Error)]
pub enum ClaimError {
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
    /// Another process writes it.
    #[error(
        "another process is writing this run ({} is locked); stop that process, or name another --data",
        path.display()
    )]
    Held {
        /// The lock.
        path: PathBuf,
    },
    /// Another process has taken over.
    #[error(
        "another process has taken this run over (epoch {found} in {}, ours is {ours}); this one stops",
        path.display()
    )]
    TakenOver {
        /// The claim.
        path: PathBuf,
        /// The epoch in it.
        found: u64,
        /// The one of this process.
        ours: u64,
    },
    /// The file is not what was written.
    #[error(
        "cannot read {}: expected an epoch and a generation; write \"1 1\" into it, or remove the data folder",
        path.display()
    )]
    Damaged {
        /// The claim.
        path: PathBuf,
    },
}

impl Claim {
    /// Takes the run `run` of the data folder `root` over.
    ///
    /// # Errors
    /// [`ClaimError::Held`], or a file that cannot be written.
    pub fn take(disk: Arc<dyn Disk>, root: &Path, run: &str) -> Result<Self, ClaimError> {
        let folder = root.join("runs").join(run);
        make_folders(&*disk, root, &folder).map_err(io_error("make", &folder))?;
        let lock = folder.join("lock");
        let held = disk.lock(&lock).map_err(io_error("lock", &lock))?;
        let Some(held) = held else {
            return Err(ClaimError::Held { path: lock });
        };
        let path = folder.join("claim");
        let (epoch, generation) = read(&*disk, &path)?.unwrap_or((0, 0));
        let claim = Self { disk, path, epoch: epoch + 1, generation, _lock: held };
        claim.write()?;
        Ok(claim)
    }

    /// Whether the run is still ours. To be asked before a commit.
    ///
    /// # Errors
    /// [`ClaimError::TakenOver`], or a file that cannot be read.
    pub fn check(&self) -> Result<(), ClaimError> {
        match read(&*self.disk, &self.path)? {
            Some((epoch, _)) if epoch == self.epoch => Ok(()),
            other => Err(ClaimError::TakenOver {
                path: self.path.clone(),
                found: other.map_or(0, |(epoch, _)| epoch),
                ours: self.epoch,
            }),
        }
    }

    /// How many processes have had the run, this one included.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// How many times the run's tables have been begun.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// The tables are begun anew. When this returns, it is on disk.
    ///
    /// # Errors
    /// Those of [`Claim::check`], or a file that cannot be written.
    pub fn begin_generation(&mut self) -> Result<(), ClaimError> {
        self.check()?;
        self.generation += 1;
        self.write()
    }

    /// The tables are of this generation, which is more than the claim knows of: its file has been
    /// lost.
    ///
    /// # Errors
    /// Those of [`Claim::check`], or a file that cannot be written.
    pub fn adopt_generation(&mut self, generation: u64) -> Result<(), ClaimError> {
        self.check()?;
        self.generation = generation;
        self.write()
    }

    fn write(&self) -> Result<(), ClaimError> {
        let text = format!("{} {}\n", self.epoch, self.generation);
        replace(&*self.disk, &self.path, &[text.as_bytes()]).map_err(io_error("write", &self.path))
    }
}

fn read(disk: &dyn Disk, path: &Path) -> Result<Option<(u64, u64)>, ClaimError> {
    let bytes = match disk.read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(io_error("read", path))?,
    };
    let numbers = std::str::from_utf8(&bytes).ok().and_then(|text| {
        let (epoch, generation) = text.trim_end().split_once(' ')?;
        Some((epoch.parse().ok()?, generation.parse().ok()?))
    });
    numbers.map(Some).ok_or_else(|| ClaimError::Damaged { path: path.to_owned() })
}

fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> ClaimError {
    let path = path.to_owned();
    move |source| ClaimError::Io { action, path, source }
}

impl fmt::Debug for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Claim")
            .field("path", &self.path)
            .field("epoch", &self.epoch)
            .field("generation", &self.generation)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::RealDisk;

    #[test]
    fn one_process_at_a_time_and_a_zombie_stops() {
        let folder = tempfile::tempdir().expect("a folder");
        let take = |run: &str| Claim::take(Arc::new(RealDisk), folder.path(), run);
        let mut first = take("all").expect("free");
        assert_eq!(first.generation(), 0);
        first.begin_generation().expect("ours");
        assert!(matches!(take("all"), Err(ClaimError::Held { .. })));
        take("0-3").expect("another run");
        // As after a lock was lost: the file is all that tells.
        let path = folder.path().join("runs/all/claim");
        assert_eq!(std::fs::read(&path).expect("read"), b"1 1\n");
        std::fs::write(&path, "2 1\n").expect("written");
        let message = first.check().expect_err("not ours").to_string();
        assert!(message.contains("epoch 2") && message.contains("ours is 1"), "{message}");
        assert!(first.begin_generation().is_err());
        drop(first);
        let third = take("all").expect("free again");
        assert_eq!((third.epoch, third.generation()), (3, 1));
        std::fs::write(&path, "3").expect("written");
        assert!(matches!(third.check(), Err(ClaimError::Damaged { .. })));
    }
}
