//! Files as they come: plain, gzip or zstd, told apart by their first bytes,
//! never by their name; and how far they have been read.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use crate::ImportError;

const GZIP: [u8; 2] = [0x1f, 0x8b];
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// Several files read one after the other, as one piece of progress.
pub(crate) struct Inputs {
    /// Bytes of all files as they lie on disk.
    pub(crate) total: u64,
    done: Rc<Cell<u64>>,
}

impl Inputs {
    /// Looks at the sizes of all files, so that a missing one stops the import
    /// before the first is read.
    pub(crate) fn new(paths: &[PathBuf]) -> Result<Inputs, ImportError> {
        let mut total = 0;
        for path in paths {
            let meta = std::fs::metadata(path).map_err(|e| ImportError::io(path, e))?;
            if meta.is_dir() {
                return Err(ImportError::io(path, io::ErrorKind::IsADirectory.into()));
            }
            total += meta.len();
        }
        Ok(Inputs { total, done: Rc::default() })
    }

    /// Bytes read so far, of [`Inputs::total`].
    pub(crate) fn done(&self) -> u64 {
        self.done.get().min(self.total)
    }

    /// The content of one file, decompressed.
    pub(crate) fn open(&self, path: &Path) -> Result<Box<dyn Read>, ImportError> {
        let mut file = File::open(path).map_err(|e| ImportError::io(path, e))?;
        let mut magic = Vec::with_capacity(4);
        (&mut file).take(4).read_to_end(&mut magic).map_err(|e| ImportError::io(path, e))?;
        let counted = BufReader::new(Counted { file, done: self.done.clone() });
        let whole = io::Cursor::new(magic.clone()).chain(counted);
        Ok(if magic.starts_with(&GZIP) {
            Box::new(flate2::read::MultiGzDecoder::new(BufReader::new(whole)))
        } else if magic.starts_with(&ZSTD) {
            let decoder = zstd::Decoder::new(whole).map_err(|e| ImportError::io(path, e))?;
            Box::new(decoder)
        } else {
            Box::new(whole)
        })
    }
}

/// What a failed read of an opened file means: the disk, or the content.
pub(crate) fn read_error(path: &Path, error: io::Error) -> ImportError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof
        | io::ErrorKind::InvalidData
        | io::ErrorKind::InvalidInput
        | io::ErrorKind::Other => ImportError::Damaged { path: path.to_owned(), what: error.to_string() },
        _ => ImportError::io(path, error),
    }
}

struct Counted {
    file: File,
    done: Rc<Cell<u64>>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.file.read(buffer)?;
        self.done.set(self.done.get() + n as u64);
        Ok(n)
    }
}
