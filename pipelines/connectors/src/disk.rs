//! The disk, as far as tables and checkpoints need one.
//!
//! [`RealDisk`] is the operating system's. A test can put another in its place that fails,
//! loses what was not forced to disk, and forgets names whose folder was not.

use std::any::Any;
use std::fmt::Debug;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// What is done with files and folders.
///
/// As with a real one, what was written is safe only after [`DiskFile::sync`], and a name (of a
/// file that was created, renamed or removed, and of a folder) only after [`Disk::sync_folder`]
/// of the folder that holds it.
pub trait Disk: Send + Sync + Debug {
    /// A new file to write, in place of one of that name.
    ///
    /// # Errors
    /// Disk full, no permission, or no such folder.
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;

    /// The whole of a file.
    ///
    /// # Errors
    /// It is not there, or cannot be read.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;

    /// Gives a file another name, in place of a file that has it.
    ///
    /// # Errors
    /// It is not there, or no permission.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    /// It is not there, or no permission.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes one folder; that it is there already is no error.
    ///
    /// # Errors
    /// The folder above it is not there, or no permission.
    fn make_folder(&self, path: &Path) -> io::Result<()>;

    /// What a folder holds: paths, and whether each is a folder.
    ///
    /// # Errors
    /// It is not there, or cannot be read.
    fn list(&self, folder: &Path) -> io::Result<Vec<(PathBuf, bool)>>;

    /// Forces the names in a folder to disk.
    ///
    /// # Errors
    /// The disk has failed.
    fn sync_folder(&self, folder: &Path) -> io::Result<()>;

    /// Locks a file against other processes until the answer is dropped. `None`: another
    /// one has it.
    ///
    /// # Errors
    /// The file cannot be made or locked.
    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Any + Send + Sync>>>;
}

/// A file being written.
pub trait DiskFile: Write + Send {
    /// Forces it to disk.
    ///
    /// # Errors
    /// The disk has failed or is full.
    fn sync(&mut self) -> io::Result<()>;
}

/// The operating system's disk.
#[derive(Debug, Clone, Copy, Default)]
pub struct RealDisk;

impl Disk for RealDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(File::create(path)?))
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        fs::read(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn make_folder(&self, path: &Path) -> io::Result<()> {
        match fs::create_dir(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
            other => other,
        }
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<(PathBuf, bool)>> {
        let entry = |entry: io::Result<fs::DirEntry>| {
            let path = entry?.path();
            let is_folder = path.is_dir();
            Ok((path, is_folder))
        };
        fs::read_dir(folder)?.map(entry).collect()
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        // Elsewhere a folder cannot be opened, and names are safe without.
        if cfg!(unix) { File::open(folder)?.sync_all() } else { Ok(()) }
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Any + Send + Sync>>> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Box::new(file))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

impl DiskFile for File {
    fn sync(&mut self) -> io::Result<()> {
        self.sync_all()
    }
}

/// Makes the folder `root` and, below it, `folder`, as far as they are missing, and forces their
/// names to disk. Also of those that are there: who made them may have been stopped before
/// that.
///
/// # Errors
/// No permission, or a file is in the way.
pub fn make_folders(disk: &dyn Disk, root: &Path, folder: &Path) -> io::Result<()> {
    if folder != root
        && folder.starts_with(root)
        && let Some(above) = folder.parent()
    {
        make_folders(disk, root, above)?;
        disk.make_folder(folder)?;
        return disk.sync_folder(above);
    }
    let above = root.parent().map(|above| if above.as_os_str().is_empty() { Path::new(".") } else { above });
    if let (Err(error), Some(above)) = (disk.list(root), above) {
        if error.kind() != io::ErrorKind::NotFound {
            return Err(error);
        }
        make_folders(disk, above, above)?;
        disk.make_folder(root)?;
    }
    match above.map(|above| disk.sync_folder(above)) {
        // It is not ours, and others see to it.
        Some(Err(error)) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        other => other.unwrap_or(Ok(())),
    }
}

/// Forced to disk together: a file system may have whoever forces a few bytes to disk wait for all that others have
/// written.
const SYNC_BYTES: usize = 2 << 20;

/// Writes a file so that it is there whole or, after a crash, as it was before.
///
/// # Errors
/// Disk full, or no permission. The file is as it was before, then.
pub fn replace(disk: &dyn Disk, path: &Path, parts: &[&[u8]]) -> io::Result<()> {
    let partial = path.with_extension("partial");
    let mut file = disk.create(&partial)?;
    let mut written = 0;
    for piece in parts.iter().flat_map(|part| part.chunks(SYNC_BYTES)) {
        file.write_all(piece)?;
        written += piece.len();
        if written >= SYNC_BYTES {
            file.sync()?;
            written = 0;
        }
    }
    file.sync()?;
    drop(file);
    disk.rename(&partial, path)?;
    path.parent().map_or(Ok(()), |folder| disk.sync_folder(folder))
}

/// Removes all files below a folder, so that they do not come back; that there is none is no
/// error.
///
/// # Errors
/// No permission.
pub fn remove_all(disk: &dyn Disk, folder: &Path) -> io::Result<()> {
    let entries = match disk.list(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    for (path, is_folder) in entries {
        if is_folder {
            remove_all(disk, &path)?;
        } else {
            disk.remove(&path)?;
        }
    }
    disk.sync_folder(folder)
}
