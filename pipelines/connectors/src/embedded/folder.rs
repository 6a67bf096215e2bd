//! The folder of a log: of which format it is, and who has it open.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::path::Path;

use super::{io_error, shortened};
use crate::log::LogError;

const FORMAT: u32 = 1;
const FORMAT_LINE: &str = "headsup event log, format ";

/// Whether the folder holds a log; not if it is empty.
pub(super) fn check_format(path: &Path) -> Result<bool, LogError> {
    let refuse = |problem: String| Err(LogError::Format { path: path.into(), problem });
    let file = path.join("FORMAT");
    match fs::read_to_string(&file) {
        Ok(text) => {
            match text.trim_end().strip_prefix(FORMAT_LINE).and_then(|version| version.parse::<u32>().ok()) {
                Some(FORMAT) => Ok(true),
                Some(later) => refuse(format!(
                    "it has format {later}, this program knows {FORMAT}; open it with the headsup that wrote it, or a newer one"
                )),
                None => refuse(format!(
                    "its FORMAT file says {:?}; restore the folder from a copy",
                    shortened(&text)
                )),
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            for entry in fs::read_dir(path).map_err(io_error("list the folder", path))? {
                let name = entry.map_err(io_error("list the folder", path))?.file_name();
                if name != "LOCK" && name != "FORMAT.new" {
                    return refuse(format!(
                        "it is not an event log (it holds {}); name an empty or new folder",
                        Path::new(&name).display()
                    ));
                }
            }
            Ok(false)
        }
        Err(error) => Err(io_error("read", &file)(error)),
    }
}

pub(super) fn write_format(path: &Path) -> Result<(), LogError> {
    let new = path.join("FORMAT.new");
    let write = || {
        let mut file = File::create(&new)?;
        writeln!(file, "{FORMAT_LINE}{FORMAT}")?;
        file.sync_all()?;
        fs::rename(&new, path.join("FORMAT"))?;
        // The name is durable only when the folder is.
        if cfg!(unix) { File::open(path)?.sync_all() } else { Ok(()) }
    };
    write().map_err(io_error("write", &new))
}

/// Takes the folder for this process, until the file is closed; the operating system lets go of
/// it after a crash.
pub(super) fn lock(path: &Path) -> Result<File, LogError> {
    let name = path.join("LOCK");
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&name)
        .map_err(io_error("open", &name))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            let told = (&mut file).take(200).read_to_string(&mut holder).is_ok() && !holder.trim().is_empty();
            let holder = if told { shortened(holder.trim()) } else { "another process".into() };
            return Err(LogError::Held { path: path.into(), holder });
        }
        Err(TryLockError::Error(error)) => return Err(io_error("lock", &name)(error)),
    }
    let program = std::env::current_exe().ok();
    let program =
        program.as_deref().and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned());
    let holder =
        format!("process {} ({})\n", std::process::id(), program.as_deref().unwrap_or("unknown program"));
    let written = file.set_len(0).and_then(|()| file.write_all(holder.as_bytes()));
    written.map_err(io_error("write", &name))?;
    Ok(file)
}
