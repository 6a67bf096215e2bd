//! How far a data folder has been loaded: a small file that appears whole.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::files::{io, names};

/// The format's version.
const FORMAT: u32 = 1;

/// What `clickhouse.json` in the data folder says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    format: u32,
    /// Where the rows went, for people: what counts is whether a database knows `store`.
    pub url: String,
    /// The database, for people.
    pub database: String,
    /// Which share of the input the data folder is of.
    pub share: String,
    /// The store's generation.
    pub store_generation: u64,
    /// A number drawn for this data folder and generation, that tells it from all others.
    pub store: String,
    /// The generation in ClickHouse.
    pub generation: u64,
    /// Files below this number are loaded.
    pub loaded: u64,
    /// Files below this number are being loaded as one batch. After a crash the batch is the
    /// same again, and so are its tokens.
    pub until: u64,
}

impl Position {
    /// The beginning.
    pub(crate) fn new(
        url: &str,
        database: &str,
        share: &str,
        store_generation: u64,
        store: String,
        generation: u64,
    ) -> Self {
        let (url, database, share) = (url.to_owned(), database.to_owned(), share.to_owned());
        Self {
            format: FORMAT,
            url,
            database,
            share,
            store_generation,
            store,
            generation,
            loaded: 0,
            until: 0,
        }
    }

    /// Where it is kept.
    pub fn path(data: &Path, tag: Option<&str>) -> PathBuf {
        data.join(tag.map_or("clickhouse.json".to_owned(), |tag| format!("clickhouse-{tag}.json")))
    }

    /// What is noted; `None` if there is nothing, or it is not to be understood: then all is
    /// loaded again as a new generation, which is safe.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn read(data: &Path, tag: Option<&str>) -> Result<Option<Self>, Error> {
        let path = Self::path(data, tag);
        match fs::read(&path) {
            Ok(bytes) => {
                let read: Option<Self> = serde_json::from_slice(&bytes).ok();
                Ok(read.filter(|position| position.format == FORMAT))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(io("read", &path)(error)),
        }
    }

    /// Those of all shares in a data folder.
    ///
    /// # Errors
    /// A file or folder that cannot be read.
    pub fn all(data: &Path) -> Result<Vec<Self>, Error> {
        let mut all = Vec::new();
        for name in names(data)? {
            let Some(rest) = name.strip_prefix("clickhouse").and_then(|rest| rest.strip_suffix(".json"))
            else {
                continue;
            };
            all.extend(Self::read(data, rest.strip_prefix('-'))?);
        }
        all.sort_by(|a, b| a.share.cmp(&b.share));
        Ok(all)
    }

    /// On disk when it returns.
    pub(crate) fn write(&self, data: &Path, tag: Option<&str>) -> Result<(), Error> {
        let path = Self::path(data, tag);
        let partial = path.with_extension("json.partial");
        let written = File::create(&partial).and_then(|mut file| {
            serde_json::to_writer_pretty(&mut file, self)?;
            file.write_all(b"\n")?;
            file.sync_all()
        });
        written.map_err(io("write", &partial))?;
        fs::rename(&partial, &path).and_then(|()| File::open(data)?.sync_all()).map_err(io("complete", &path))
    }
}
