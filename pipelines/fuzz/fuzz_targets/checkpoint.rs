//! Checkpoint files, as they are and with a length and hash that fit.
#![no_main]

use std::any::Any;
use std::io::{self, Error, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use headsup_connectors::{Checkpoints, Disk, DiskFile};
use libfuzzer_sys::fuzz_target;
use xxhash_rust::xxh3::xxh3_128;

fuzz_target!(|bytes: &[u8]| {
    let mut bytes = bytes.to_vec();
    check(&bytes);
    if let Some((_, contents)) = bytes.split_at_checked(36) {
        let (length, hash) = (contents.len() as u64, xxh3_128(contents));
        bytes[12..20].copy_from_slice(&length.to_le_bytes());
        bytes[20..36].copy_from_slice(&hash.to_le_bytes());
        check(&bytes);
    }
});

fn check(bytes: &[u8]) {
    let checkpoints = Checkpoints::of(Arc::new(OneFile(bytes.to_vec())), Path::new("data"), None);
    match checkpoints.newest(&[1, 2]) {
        Ok(found) => {
            let (_, format, contents) = found.expect("there is a file");
            assert!(format == 1 || format == 2);
            assert_eq!(contents, bytes[36..]);
        }
        Err(error) => assert!(error.to_string().contains("--from-start"), "{error}"),
    }
}

/// A folder that holds one file.
#[derive(Debug)]
struct OneFile(Vec<u8>);

impl Disk for OneFile {
    fn read(&self, _: &Path) -> io::Result<Vec<u8>> {
        Ok(self.0.clone())
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<(PathBuf, bool)>> {
        Ok(vec![(folder.join("000001.ckpt"), false)])
    }

    fn create(&self, _: &Path) -> io::Result<Box<dyn DiskFile>> {
        Err(Error::from(ErrorKind::Unsupported))
    }

    fn rename(&self, _: &Path, _: &Path) -> io::Result<()> {
        Err(Error::from(ErrorKind::Unsupported))
    }

    fn remove(&self, _: &Path) -> io::Result<()> {
        Err(Error::from(ErrorKind::Unsupported))
    }

    fn make_folder(&self, _: &Path) -> io::Result<()> {
        Err(Error::from(ErrorKind::Unsupported))
    }

    fn sync_folder(&self, _: &Path) -> io::Result<()> {
        Err(Error::from(ErrorKind::Unsupported))
    }

    fn lock(&self, _: &Path) -> io::Result<Option<Box<dyn Any + Send + Sync>>> {
        Err(Error::from(ErrorKind::Unsupported))
    }
}
