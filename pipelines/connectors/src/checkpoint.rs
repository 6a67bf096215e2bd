//! Checkpoints: what a run needs to go on after its process has ended, in files that
//! appear whole or not at all.
//!
//! `<data>/checkpoint/NNNNNN.ckpt` (of a share of the input in a folder of its own below
//! that): a magic word, the format's version, the length and an
//! XXH3 hash of the contents, then the contents. A file is written beside, forced to
//! disk, and renamed; the one before it is kept until then.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_128;

use crate::disk::{Disk, make_folders, remove_all, replace};

/// The folder of a run's checkpoints.
#[derive(Debug, Clone)]
pub struct Checkpoints {
    disk: Arc<dyn Disk>,
    root: PathBuf,
    folder: PathBuf,
}

/// Why there is no going on from a checkpoint, or none could be written.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
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
    /// The file is of a version that this program does not know.
    #[error(
        "cannot go on from {}: it is of format {found}, and this headsup knows {known}; \
         use the headsup that wrote it, or compute everything again from the log with --from-start",
        path.display()
    )]
    Format {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// The version that is read.
        known: u32,
    },
    /// The bytes are not those that were written.
    #[error(
        "cannot go on from {}: {problem}; restore the file from a copy, or compute everything \
         again from the log with --from-start",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What was found.
        problem: String,
    },
    /// It is of a run that computed something else.
    #[error(
        "cannot go on from {}: since it was written, this has changed: {}; undo that, or compute \
         everything again from the log with --from-start",
        path.display(), changed.join(", ")
    )]
    Other {
        /// The file.
        path: PathBuf,
        /// What is not as it was.
        changed: Vec<String>,
    },
}

const MAGIC: &[u8; 8] = b"headsup\n";
const HEADER: usize = 8 + 4 + 8 + 16;

impl Checkpoints {
    /// Those of the data folder `root`; of a run that shares it with others, its `tag`.
    pub fn of(disk: Arc<dyn Disk>, root: &Path, tag: Option<&str>) -> Self {
        let folder = root.join("checkpoint");
        let folder = tag.map_or(folder.clone(), |tag| folder.join(tag));
        Self { disk, root: root.to_owned(), folder }
    }

    /// The newest one: its file, the version of its format and its contents. `None` if there
    /// is none. What a crash left half-written is no checkpoint.
    ///
    /// # Errors
    /// A file that cannot be read, or is not what was written. `versions` are those that are
    /// understood.
    pub fn newest(&self, versions: &[u32]) -> Result<Option<(PathBuf, u32, Vec<u8>)>, CheckpointError> {
        let Some(&number) = self.numbers()?.last() else {
            return Ok(None);
        };
        let path = self.path(number);
        let bytes = self.disk.read(&path).map_err(io_error("read", &path))?;
        let damaged =
            |problem: &str| CheckpointError::Damaged { path: path.clone(), problem: problem.to_owned() };
        let Some((header, contents)) = bytes.split_at_checked(HEADER) else {
            return Err(damaged("it is shorter than its header"));
        };
        let (magic, rest) = header.split_at(8);
        let (found, rest) = rest.split_at(4);
        let (length, hash) = rest.split_at(8);
        if magic != MAGIC {
            return Err(damaged("it is no checkpoint"));
        }
        let found = found.try_into().map_or(0, u32::from_le_bytes);
        if !versions.contains(&found) {
            let known = versions.iter().copied().max().unwrap_or(0);
            return Err(CheckpointError::Format { path, found, known });
        }
        if length != (contents.len() as u64).to_le_bytes() {
            return Err(damaged("it has been cut off"));
        }
        if hash != xxh3_128(contents).to_le_bytes() {
            return Err(damaged("its contents do not match their hash"));
        }
        Ok(Some((path, found, bytes[HEADER..].to_vec())))
    }

    /// Writes the next one; when it returns the one before is gone and this one is on
    /// disk.
    ///
    /// # Errors
    /// Disk full, or no permission. The one before is still there then.
    pub fn write(&self, version: u32, contents: &[u8]) -> Result<(), CheckpointError> {
        make_folders(&*self.disk, &self.root, &self.folder).map_err(io_error("make", &self.folder))?;
        let numbers = self.numbers()?;
        let path = self.path(numbers.last().map_or(0, |number| number + 1));
        let (length, hash) = (contents.len() as u64, xxh3_128(contents));
        let parts: [&[u8]; 5] =
            [MAGIC, &version.to_le_bytes(), &length.to_le_bytes(), &hash.to_le_bytes(), contents];
        replace(&*self.disk, &path, &parts).map_err(io_error("write", &path))?;
        for number in numbers {
            let path = self.path(number);
            self.disk.remove(&path).map_err(io_error("remove", &path))?;
        }
        Ok(())
    }

    /// Removes all. When it returns, they do not come back.
    ///
    /// # Errors
    /// No permission.
    pub fn clear(&self) -> Result<(), CheckpointError> {
        remove_all(&*self.disk, &self.folder).map_err(io_error("remove", &self.folder))
    }

    fn path(&self, number: u64) -> PathBuf {
        self.folder.join(format!("{number:06}.ckpt"))
    }

    fn numbers(&self) -> Result<Vec<u64>, CheckpointError> {
        let entries = match self.disk.list(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.map_err(io_error("read", &self.folder))?,
        };
        let number = |path: &Path| path.file_name()?.to_str()?.strip_suffix(".ckpt")?.parse().ok();
        let mut numbers: Vec<u64> = entries.iter().filter_map(|(path, _)| number(path)).collect();
        numbers.sort_unstable();
        Ok(numbers)
    }
}

fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> CheckpointError {
    let path = path.to_owned();
    move |source| CheckpointError::Io { action, path, source }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::disk::RealDisk;

    fn checkpoints() -> (tempfile::TempDir, Checkpoints) {
        let folder = tempfile::tempdir().expect("a folder");
        let checkpoints = Checkpoints::of(Arc::new(RealDisk), folder.path(), None);
        (folder, checkpoints)
    }

    #[test]
    fn the_newest_is_read_and_the_one_before_is_gone() {
        let (_folder, checkpoints) = checkpoints();
        assert!(checkpoints.newest(&[1]).expect("none").is_none());
        for contents in ["one", "two", "three"] {
            checkpoints.write(1, contents.as_bytes()).expect("written");
            let (_, _, newest) = checkpoints.newest(&[1]).expect("read").expect("one");
            assert_eq!(newest, contents.as_bytes());
        }
        assert_eq!(fs::read_dir(&checkpoints.folder).expect("a folder").count(), 1);
        // A crash while the next one is written, and one before the last is removed.
        fs::write(checkpoints.folder.join("000003.partial"), "thr").expect("written");
        fs::copy(checkpoints.path(2), checkpoints.path(1)).expect("copied");
        assert_eq!(checkpoints.newest(&[1]).expect("read").expect("one").2, b"three");
        checkpoints.clear().expect("removed");
        assert!(checkpoints.newest(&[1]).expect("none").is_none());
    }

    #[test]
    fn every_damage_is_told() {
        let (_folder, checkpoints) = checkpoints();
        checkpoints.write(7, b"the state of everything").expect("written");
        let path = checkpoints.path(0);
        let whole = fs::read(&path).expect("read");
        let message = |bytes: &[u8], version| {
            fs::write(&path, bytes).expect("written");
            match checkpoints.newest(&[version]) {
                Ok(_) => "read".to_owned(),
                Err(error) => error.to_string(),
            }
        };
        assert_eq!(message(&whole, 7), "read");
        for length in 0..whole.len() {
            assert!(message(&whole[..length], 7).contains("--from-start"), "cut to {length}");
        }
        for place in 0..whole.len() {
            let mut spoiled = whole.clone();
            spoiled[place] ^= 0x20;
            assert!(message(&spoiled, 7).contains("--from-start"), "byte {place}");
        }
        assert!(message(&whole, 6).contains("it is of format 7, and this headsup knows 6"));
    }
}
