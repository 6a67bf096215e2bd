//! Models in folders, each named by its content.
//!
//! ```text
//! <registry>/<model>/
//!   <version>/manifest.json, model.onnx, model.ubj, MODEL_CARD.md, report.html, report.json, …
//!   history.jsonl   what was done to the model, by whom, when and why; only ever appended to
//!   aliases.json    {"champion": …, "challenger": …}, for other readers: history.jsonl decides
//!   .lock           held by the one process that writes
//! ```
//!
//! The manifest lists the SHA-256 of every other file, and a version is the first 16 digits of the
//! manifest's own: `sha256sum manifest.json` checks the one, the list the others. The same files
//! give the same version wherever and whenever they are stored.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::gates::Verdict;

const MANIFEST: &str = "manifest.json";
const HISTORY: &str = "history.jsonl";
const ALIASES: &str = "aliases.json";
const FORMAT: u32 = 1;

/// What a version is made of.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Files {
    /// `model.onnx`
    pub onnx: Vec<u8>,
    /// `model.ubj`, XGBoost's own format.
    pub ubj: Vec<u8>,
    /// `report.html`
    pub report_html: String,
    /// `report.json`
    pub report_json: String,
    /// `MODEL_CARD.md`
    pub card: String,
    /// `manifest.json`: an object; the registry adds `format` and `files` to it.
    pub manifest: serde_json::Value,
    /// Further files by name, without folders.
    pub extra: Vec<(String, Vec<u8>)>,
}

/// Who does something, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct By {
    /// A person or a job.
    pub who: String,
    /// ms since 1970-01-01 UTC; the registry reads no clock.
    pub at_ms: i64,
}

/// A version whose files are as they were stored.
#[derive(Debug, Clone, PartialEq)]
pub struct Version {
    /// Of the model.
    pub model: String,
    /// 16 hexadecimal digits.
    pub version: String,
    /// Where its files are.
    pub folder: PathBuf,
    /// With `format` and `files`.
    pub manifest: serde_json::Value,
    /// Every file but the manifest, by name.
    pub files: BTreeMap<String, Vec<u8>>,
}

/// A version in a list; its files were not looked at.
#[derive(Debug, Clone, PartialEq)]
pub struct Listed {
    /// 16 hexadecimal digits.
    pub version: String,
    /// `champion`, `challenger`, both or none.
    pub aliases: Vec<&'static str>,
    /// As stored.
    pub manifest: serde_json::Value,
}

/// Which version plays which part.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Aliases {
    /// Scores, and what others are measured by.
    pub champion: Option<String>,
    /// Is tried beside it.
    pub challenger: Option<String>,
}

/// What was done to a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// A version came in.
    Store,
    /// It became challenger.
    Challenge,
    /// It became champion.
    Promote,
    /// The champion before came back.
    Rollback,
}

/// One line of the history.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// ms since 1970-01-01 UTC.
    pub at_ms: i64,
    /// A person or a job.
    pub who: String,
    /// What was done.
    pub what: Action,
    /// To which version; of a rollback, the one that came back.
    pub version: String,
    /// The reason of a rollback or a forced promotion.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// Of a promotion.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gates: Option<Verdict>,
    /// Whether gates were overruled.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub forced: bool,
}

/// What the registry could not do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Disk.
    #[error("cannot {what} {}: {source}; see whether it exists, is writable, and the disk has room", path.display())]
    Io {
        /// As `write`.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Not a name.
    #[error("{name:?} is no name for a {what}; use {rule}")]
    Name {
        /// `model`, `file`.
        what: &'static str,
        /// Found.
        name: String,
        /// Allowed.
        rule: &'static str,
    },
    /// No such model.
    #[error("no model {model:?} in {}{}", folder.display(), meant(nearest, "`headsup train` makes one"))]
    Model {
        /// Asked for.
        model: String,
        /// The registry.
        folder: PathBuf,
        /// Did you mean.
        nearest: Option<String>,
    },
    /// No such version.
    #[error(
        "model {model:?} has no version {version:?}{}",
        meant(nearest, "`headsup models list` shows what there is")
    )]
    Version {
        /// Of this model.
        model: String,
        /// Asked for.
        version: String,
        /// Did you mean.
        nearest: Option<String>,
    },
    /// A file is not what was stored.
    #[error(
        "{} is damaged: expected SHA-256 {expected}, found {found}; restore it from a copy, or remove the \
         folder and train again: the same data and seed give the same version",
        path.display()
    )]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// As listed, of the manifest the first 16 digits.
        expected: String,
        /// Computed, or `nothing` where there is no file.
        found: String,
    },
    /// Not what the registry writes.
    #[error("cannot read {}: {problem}; restore it from a copy", path.display())]
    Malformed {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// Gates are shut.
    #[error("{model} {version} is not promoted: {}; mend the model, or force it with a reason", failures.join(", "))]
    Gates {
        /// Of this model.
        model: String,
        /// Which was to be promoted.
        version: String,
        /// Each gate that is shut.
        failures: Vec<String>,
    },
    /// Forced or rolled back without a reason.
    #[error("{what} needs a reason, which the history keeps; give one")]
    Reason {
        /// What was to be done.
        what: &'static str,
    },
    /// Nothing to go back to.
    #[error("{model} has no earlier champion to go back to; promote another version")]
    NoEarlier {
        /// Which model.
        model: String,
    },
}

fn meant(nearest: &Option<String>, otherwise: &str) -> String {
    match nearest {
        Some(nearest) => format!("; did you mean {nearest:?}?"),
        None => format!("; {otherwise}"),
    }
}

/// A folder of models. Any number of processes may read and write it at once.
#[derive(Debug, Clone)]
pub struct Registry {
    folder: PathBuf,
}

impl Registry {
    /// Opens the registry in `folder`, which is made if need be.
    ///
    /// # Errors
    /// The folder cannot be made.
    pub fn open(folder: impl Into<PathBuf>) -> Result<Self, Error> {
        let folder = folder.into();
        fs::create_dir_all(&folder).map_err(io_error("make", &folder))?;
        Ok(Self { folder })
    }

    /// Stores a version of a model and returns its name; the same files again change nothing. It is
    /// there as a whole or not at all, whenever power fails.
    ///
    /// # Errors
    /// A name that is none, a manifest that is no object, the disk; an equal version that is damaged.
    pub fn store(&self, model: &str, files: &Files, by: &By) -> Result<String, Error> {
        const RULE: &str = "lowercase letters, digits, - and _, starting with a letter";
        let letters = |name: &str| {
            name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_".contains(&b))
        };
        if !letters(model) || !model.starts_with(|first: char| first.is_ascii_lowercase()) {
            return Err(Error::Name { what: "model", name: model.to_owned(), rule: RULE });
        }
        let folder = self.folder.join(model);
        let contents = contents(files, &folder)?;
        let version = digest(&contents[MANIFEST])[..16].to_owned();
        fs::create_dir_all(&folder).map_err(io_error("make", &folder))?;
        let _lock = self.lock(model)?;
        let target = folder.join(&version);
        if target.exists() {
            self.read(model, &version)?;
        } else {
            // Under the lock the name is free: what a crash left there goes.
            let temporary = folder.join(".storing");
            if temporary.exists() {
                fs::remove_dir_all(&temporary).map_err(io_error("remove", &temporary))?;
            }
            fs::create_dir(&temporary).map_err(io_error("make", &temporary))?;
            for (name, bytes) in &contents {
                write(&temporary.join(name), bytes)?;
            }
            sync(&temporary)?;
            fs::rename(&temporary, &target).map_err(io_error("rename to", &target))?;
            sync(&folder)?;
        }
        // A crash may have come between the folder and its line.
        if !self.entries(model)?.iter().any(|entry| entry.version == version) {
            self.append(model, Entry::new(by, Action::Store, &version))?;
        }
        Ok(version)
    }

    /// Names of all models, sorted.
    ///
    /// # Errors
    /// The disk.
    pub fn models(&self) -> Result<Vec<String>, Error> {
        Ok(folders(&self.folder)?
            .into_iter()
            .filter(|name| self.folder.join(name).join(HISTORY).exists())
            .collect())
    }

    /// All versions of a model, in the order in which they were stored.
    ///
    /// # Errors
    /// An unknown model, a history or manifest that cannot be read.
    pub fn list(&self, model: &str) -> Result<Vec<Listed>, Error> {
        let entries = self.history(model)?;
        let aliases = aliases(&entries);
        let stored = entries.iter().filter(|entry| entry.what == Action::Store);
        let mut listed = Vec::new();
        for version in stored.map(|entry| entry.version.as_str()) {
            let path = self.folder.join(model).join(version).join(MANIFEST);
            let parts = [("champion", &aliases.champion), ("challenger", &aliases.challenger)];
            let played = parts.into_iter().filter(|(_, of)| of.as_deref() == Some(version));
            listed.push(Listed {
                version: version.to_owned(),
                aliases: played.map(|(alias, _)| alias).collect(),
                manifest: parse(&path, &read(&path)?)?,
            });
        }
        Ok(listed)
    }

    /// Which versions are champion and challenger.
    ///
    /// # Errors
    /// An unknown model, or a history that cannot be read.
    pub fn aliases(&self, model: &str) -> Result<Aliases, Error> {
        Ok(aliases(&self.history(model)?))
    }

    /// Everything that was done to a model, oldest first.
    ///
    /// # Errors
    /// An unknown model, or a history that cannot be read.
    pub fn history(&self, model: &str) -> Result<Vec<Entry>, Error> {
        let models = self.models()?;
        if !models.iter().any(|known| known == model) {
            let nearest = nearest(model, models.iter().map(String::as_str));
            return Err(Error::Model { model: model.to_owned(), folder: self.folder.clone(), nearest });
        }
        self.entries(model)
    }

    /// Reads a version, by name or as `champion` or `challenger`, and checks every file.
    ///
    /// # Errors
    /// An unknown model or version; a damaged file.
    pub fn load(&self, model: &str, version: &str) -> Result<Version, Error> {
        let version = self.resolve(model, version)?;
        self.read(model, &version)
    }

    /// Makes a version the challenger.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn challenge(&self, model: &str, version: &str, by: &By) -> Result<(), Error> {
        let version = self.resolve(model, version)?;
        let _lock = self.lock(model)?;
        self.read(model, &version)?;
        self.append(model, Entry::new(by, Action::Challenge, &version))
    }

    /// Makes a version the champion. A challenger that is promoted is no longer challenger.
    ///
    /// # Errors
    /// As [`load`](Self::load); gates are shut and no reason to force them is given.
    pub fn promote(
        &self,
        model: &str,
        version: &str,
        gates: &Verdict,
        force: Option<&str>,
        by: &By,
    ) -> Result<(), Error> {
        let version = self.resolve(model, version)?;
        if force.is_some_and(|reason| reason.trim().is_empty()) {
            return Err(Error::Reason { what: "forcing a promotion" });
        }
        if !gates.passed() && force.is_none() {
            return Err(Error::Gates { model: model.to_owned(), version, failures: gates.failures() });
        }
        let _lock = self.lock(model)?;
        self.read(model, &version)?;
        let entry = Entry {
            why: force.map(str::to_owned),
            forced: !gates.passed(),
            gates: Some(gates.clone()),
            ..Entry::new(by, Action::Promote, &version)
        };
        self.append(model, entry)
    }

    /// Brings back the champion before the present one, and returns its version. Again, the one
    /// before that.
    ///
    /// # Errors
    /// An unknown model, no reason, no earlier champion, or one that is damaged.
    pub fn rollback(&self, model: &str, reason: &str, by: &By) -> Result<String, Error> {
        self.history(model)?;
        if reason.trim().is_empty() {
            return Err(Error::Reason { what: "a rollback" });
        }
        let _lock = self.lock(model)?;
        let champions = champions(&self.entries(model)?);
        let Some(earlier) = champions.iter().rev().nth(1) else {
            return Err(Error::NoEarlier { model: model.to_owned() });
        };
        self.read(model, earlier)?;
        let entry = Entry { why: Some(reason.to_owned()), ..Entry::new(by, Action::Rollback, earlier) };
        self.append(model, entry)?;
        Ok(earlier.clone())
    }

    fn resolve(&self, model: &str, version: &str) -> Result<String, Error> {
        let entries = self.history(model)?;
        let aliases = aliases(&entries);
        let named = match version {
            "champion" => aliases.champion,
            "challenger" => aliases.challenger,
            _ => entries.iter().find(|entry| entry.version == version).map(|entry| entry.version.clone()),
        };
        named.ok_or_else(|| {
            let known = entries.iter().map(|entry| entry.version.as_str());
            let nearest =
                nearest(version, known.chain(["champion", "challenger"]).filter(|&known| known != version));
            Error::Version { model: model.to_owned(), version: version.to_owned(), nearest }
        })
    }

    /// Reads and checks what is in a version's folder.
    fn read(&self, model: &str, version: &str) -> Result<Version, Error> {
        let folder = self.folder.join(model).join(version);
        let path = folder.join(MANIFEST);
        let bytes = intact(&path, version)?;
        let manifest: serde_json::Value = parse(&path, &bytes)?;
        let format = manifest.get("format").and_then(serde_json::Value::as_u64);
        if format != Some(FORMAT.into()) {
            let problem = format!("its format is {format:?}, this program reads {FORMAT}");
            return Err(Error::Malformed { path, problem });
        }
        let Some(listed) = manifest.get("files").and_then(serde_json::Value::as_object) else {
            return Err(Error::Malformed { path, problem: "it has no list of files".to_owned() });
        };
        let mut files = BTreeMap::new();
        for (name, expected) in listed {
            let bytes = intact(&folder.join(name), expected.as_str().unwrap_or_default())?;
            files.insert(name.clone(), bytes);
        }
        Ok(Version { model: model.to_owned(), version: version.to_owned(), folder, manifest, files })
    }

    /// Waits until no other process or thread writes to the model. Let go when dropped, or when the
    /// process dies.
    fn lock(&self, model: &str) -> Result<File, Error> {
        let path = self.folder.join(model).join(".lock");
        let file = OpenOptions::new().create(true).write(true).truncate(false).open(&path);
        let file = file.map_err(io_error("open", &path))?;
        file.lock().map_err(io_error("lock", &path))?;
        Ok(file)
    }

    fn entries(&self, model: &str) -> Result<Vec<Entry>, Error> {
        let path = self.folder.join(model).join(HISTORY);
        if !path.exists() {
            return Ok(Vec::new());
        }
        let bytes = read(&path)?;
        // What follows the last line's end was being written when power failed.
        let whole = bytes.iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1);
        let lines = bytes[..whole].split(|&byte| byte == b'\n').filter(|line| !line.is_empty());
        lines
            .enumerate()
            .map(|(number, line)| {
                serde_json::from_slice(line).map_err(|error| Error::Malformed {
                    path: path.clone(),
                    problem: format!("line {}: {error}", number + 1),
                })
            })
            .collect()
    }

    /// Under the lock: adds to the history, then writes the aliases that follow from it.
    fn append(&self, model: &str, entry: Entry) -> Result<(), Error> {
        let folder = self.folder.join(model);
        let path = folder.join(HISTORY);
        let mut line = serde_json::to_vec(&entry).map_err(malformed(&path))?;
        line.push(b'\n');
        let append = || -> io::Result<()> {
            let mut file = OpenOptions::new().create(true).read(true).append(true).open(&path)?;
            let mut bytes = Vec::new();
            file.seek(SeekFrom::Start(0))?;
            file.read_to_end(&mut bytes)?;
            let whole = bytes.iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1);
            file.set_len(whole as u64)?;
            file.write_all(&line)?;
            file.sync_all()
        };
        append().map_err(io_error("write", &path))?;
        let path = folder.join(ALIASES);
        let mut bytes =
            serde_json::to_vec_pretty(&aliases(&self.entries(model)?)).map_err(malformed(&path))?;
        bytes.push(b'\n');
        let temporary = folder.join(".aliases");
        write(&temporary, &bytes)?;
        fs::rename(&temporary, &path).map_err(io_error("rename to", &path))?;
        sync(&folder)
    }
}

impl Entry {
    fn new(by: &By, what: Action, version: &str) -> Self {
        let (who, version) = (by.who.clone(), version.to_owned());
        Self { at_ms: by.at_ms, who, what, version, why: None, gates: None, forced: false }
    }
}

/// Every file by its name, the manifest with the others' hashes in it.
fn contents(files: &Files, folder: &Path) -> Result<BTreeMap<String, Vec<u8>>, Error> {
    const RULE: &str = "letters, digits, ., - and _, starting with no dot, each name once";
    let mut contents: BTreeMap<String, Vec<u8>> = [
        ("model.onnx", files.onnx.as_slice()),
        ("model.ubj", &files.ubj),
        ("report.html", files.report_html.as_bytes()),
        ("report.json", files.report_json.as_bytes()),
        ("MODEL_CARD.md", files.card.as_bytes()),
    ]
    .map(|(name, bytes)| (name.to_owned(), bytes.to_vec()))
    .into();
    for (name, bytes) in &files.extra {
        let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b".-_".contains(&b));
        if !plain
            || name.is_empty()
            || name.starts_with('.')
            || name == MANIFEST
            || contents.contains_key(name)
        {
            return Err(Error::Name { what: "file", name: name.clone(), rule: RULE });
        }
        contents.insert(name.clone(), bytes.clone());
    }
    let path = folder.join(MANIFEST);
    let mut manifest = files.manifest.clone();
    let Some(object) = manifest.as_object_mut() else {
        return Err(Error::Malformed { path, problem: "the manifest is no JSON object".to_owned() });
    };
    let hashes: serde_json::Map<String, serde_json::Value> =
        contents.iter().map(|(name, bytes)| (name.clone(), digest(bytes).into())).collect();
    object.insert("format".to_owned(), FORMAT.into());
    object.insert("files".to_owned(), hashes.into());
    let mut bytes = serde_json::to_vec_pretty(&manifest).map_err(malformed(&path))?;
    bytes.push(b'\n');
    contents.insert(MANIFEST.to_owned(), bytes);
    Ok(contents)
}

fn aliases(entries: &[Entry]) -> Aliases {
    let champion = champions(entries).pop();
    let mut challenger = None;
    for entry in entries {
        match entry.what {
            Action::Challenge => challenger = Some(&entry.version),
            Action::Promote if challenger == Some(&entry.version) => challenger = None,
            _ => {}
        }
    }
    Aliases { champion, challenger: challenger.cloned() }
}

/// The champion and those that a rollback leads to, the present one last.
fn champions(entries: &[Entry]) -> Vec<String> {
    let mut champions = Vec::new();
    for entry in entries {
        match entry.what {
            Action::Promote if champions.last() != Some(&entry.version) => {
                champions.push(entry.version.clone())
            }
            Action::Rollback => drop(champions.pop()),
            _ => {}
        }
    }
    champions
}

/// The bytes of a file whose SHA-256 starts with `expected`.
fn intact(path: &Path, expected: &str) -> Result<Vec<u8>, Error> {
    let damaged = |found: &str| Error::Damaged {
        path: path.to_owned(),
        expected: expected.to_owned(),
        found: found.to_owned(),
    };
    if !path.exists() {
        return Err(damaged("nothing"));
    }
    let bytes = read(path)?;
    let found = digest(&bytes);
    match found.starts_with(expected) && expected.len() >= 16 {
        true => Ok(bytes),
        false => Err(damaged(&found[..expected.len().clamp(16, 64)])),
    }
}

/// SHA-256 in hexadecimal.
fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn nearest<'a>(asked: &str, known: impl Iterator<Item = &'a str>) -> Option<String> {
    let near = known.map(|name| (strsim::jaro_winkler(asked, name), name)).filter(|(near, _)| *near > 0.75);
    near.max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, name)| name.to_owned())
}

fn folders(path: &Path) -> Result<Vec<String>, Error> {
    let mut names = Vec::new();
    for entry in fs::read_dir(path).map_err(io_error("list", path))? {
        let entry = entry.map_err(io_error("list", path))?;
        if entry.path().is_dir() {
            names.extend(entry.file_name().into_string().ok());
        }
    }
    names.sort_unstable();
    Ok(names)
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let write = || -> io::Result<()> {
        let mut file = File::create(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    write().map_err(io_error("write", path))
}

/// Makes the names in a folder survive a power cut.
fn sync(folder: &Path) -> Result<(), Error> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(io_error("sync", folder))
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    fs::read(path).map_err(io_error("read", path))
}

fn parse(path: &Path, bytes: &[u8]) -> Result<serde_json::Value, Error> {
    serde_json::from_slice(bytes).map_err(malformed(path))
}

fn malformed(path: &Path) -> impl FnOnce(serde_json::Error) -> Error {
    let path = path.to_owned();
    move |error| Error::Malformed { path, problem: error.to_string() }
}

fn io_error(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Io { what, path, source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gates::Gate;
    use serde_json::json;

    fn files(seed: u8) -> Files {
        Files {
            onnx: vec![seed; 1000],
            ubj: b"ubj".to_vec(),
            report_html: "<p>".to_owned(),
            report_json: "{}".to_owned(),
            card: "# card".to_owned(),
            manifest: json!({ "seed": seed, "auc_pr": 0.1 + f64::from(seed) }),
            extra: vec![("profile.json".to_owned(), b"{}".to_vec())],
        }
    }

    fn by(at_ms: i64) -> By {
        By { who: "ada".to_owned(), at_ms }
    }

    fn open() -> (tempfile::TempDir, Registry) {
        let folder = tempfile::tempdir().unwrap();
        let registry = Registry::open(folder.path().join("registry")).unwrap();
        (folder, registry)
    }

    fn shut() -> Verdict {
        let note = "0.0310 > 0.0200".to_owned();
        Verdict {
            gates: vec![Gate {
                name: "max_ece".to_owned(),
                value: Some(0.031),
                limit: 0.02,
                passed: false,
                note,
            }],
        }
    }

    #[test]
    fn what_is_stored_comes_back() {
        let (_folder, registry) = open();
        let version = registry.store("churn", &files(1), &by(1)).unwrap();
        assert_eq!(registry.store("churn", &files(1), &by(2)).unwrap(), version);
        let other = registry.store("churn", &files(2), &by(3)).unwrap();
        assert_ne!(version, other);
        let found = registry.load("churn", &version).unwrap();
        assert_eq!(found.files["model.onnx"], files(1).onnx);
        assert_eq!(found.files["profile.json"], b"{}");
        assert_eq!(found.manifest["auc_pr"], json!(1.1));
        assert_eq!(registry.models().unwrap(), ["churn"]);
        let listed: Vec<String> =
            registry.list("churn").unwrap().into_iter().map(|listed| listed.version).collect();
        assert_eq!(listed, [version, other]);
        assert_eq!(registry.history("churn").unwrap().len(), 2);
    }

    /// The persisted format: whoever changes these bytes changes every version's name. By Python's
    /// `json` and `hashlib`.
    #[test]
    fn a_version_is_the_hash_of_its_manifest() {
        let (_folder, registry) = open();
        let version = registry.store("churn", &files(1), &by(1)).unwrap();
        assert_eq!(version, "b07bec5fbd012fc6");
        let manifest = fs::read(registry.folder.join("churn").join(&version).join(MANIFEST)).unwrap();
        assert!(digest(&manifest).starts_with(&version));
        // FIPS 180-4, example of the empty message.
        assert!(digest(b"").starts_with("e3b0c44298fc1c149afbf4c8996fb924"));
    }

    #[test]
    fn promotion_goes_through_the_gates() {
        let (_folder, registry) = open();
        let [first, second] = [1, 2].map(|seed| registry.store("churn", &files(seed), &by(0)).unwrap());
        let open_gates = Verdict::default();
        registry.promote("churn", &first, &open_gates, None, &by(1)).unwrap();
        registry.challenge("churn", &second, &by(2)).unwrap();
        let refused = registry.promote("churn", "challenger", &shut(), None, &by(3)).unwrap_err().to_string();
        assert_eq!(
            refused,
            format!(
                "churn {second} is not promoted: max_ece: 0.0310 > 0.0200; mend the model, or force it with a reason"
            )
        );
        assert!(registry.promote("churn", &second, &shut(), Some(" "), &by(3)).is_err());
        assert_eq!(registry.load("churn", "champion").unwrap().version, first);
        registry.promote("churn", "challenger", &shut(), Some("the old one broke"), &by(4)).unwrap();
        let aliases = registry.aliases("churn").unwrap();
        assert_eq!(aliases, Aliases { champion: Some(second.clone()), challenger: None });
        let file = fs::read(registry.folder.join("churn").join(ALIASES)).unwrap();
        assert_eq!(serde_json::from_slice::<Aliases>(&file).unwrap(), aliases);
        let last = registry.history("churn").unwrap().pop().unwrap();
        assert_eq!((last.at_ms, last.what, last.forced), (4, Action::Promote, true));
        assert_eq!(last.why.as_deref(), Some("the old one broke"));
        assert_eq!(last.gates, Some(shut()));
    }

    #[test]
    fn rollback_goes_back_step_by_step() {
        let (_folder, registry) = open();
        let versions = [1, 2, 3].map(|seed| registry.store("churn", &files(seed), &by(0)).unwrap());
        for version in &versions {
            registry.promote("churn", version, &Verdict::default(), None, &by(1)).unwrap();
        }
        assert!(registry.rollback("churn", "", &by(2)).is_err());
        assert_eq!(registry.rollback("churn", "complaints", &by(2)).unwrap(), versions[1]);
        assert_eq!(registry.rollback("churn", "more", &by(3)).unwrap(), versions[0]);
        assert_eq!(registry.load("churn", "champion").unwrap().version, versions[0]);
        let error = registry.rollback("churn", "more", &by(4)).unwrap_err().to_string();
        assert_eq!(error, "churn has no earlier champion to go back to; promote another version");
    }

    #[test]
    fn unknown_names_are_answered_with_the_nearest() {
        let (_folder, registry) = open();
        let version = registry.store("order_return", &files(1), &by(0)).unwrap();
        let error = |model: &str, version: &str| registry.load(model, version).unwrap_err().to_string();
        assert!(error("order_retrun", "champion").ends_with("; did you mean \"order_return\"?"));
        assert!(error("zzz", "champion").ends_with("; `headsup train` makes one"));
        assert!(error("order_return", "champoin").ends_with("; did you mean \"champion\"?"));
        assert!(
            error("order_return", "champion")
                .starts_with("model \"order_return\" has no version \"champion\"")
        );
        assert!(error("order_return", &version[..15]).ends_with(&format!("; did you mean {version:?}?")));
        for name in ["../x", "", "Churn", "9a", ".lock"] {
            assert!(matches!(registry.store(name, &files(1), &by(0)), Err(Error::Name { .. })), "{name}");
        }
        for name in ["../x", "", ".x", "manifest.json", "model.onnx"] {
            let files = Files { extra: vec![(name.to_owned(), Vec::new())], ..files(1) };
            assert!(matches!(registry.store("churn", &files, &by(0)), Err(Error::Name { .. })), "{name}");
        }
    }

    #[test]
    fn damage_is_found_and_named() {
        let (_folder, registry) = open();
        let version = registry.store("churn", &files(1), &by(0)).unwrap();
        let folder = registry.folder.join("churn").join(&version);
        for name in ["model.onnx", "model.ubj", "MODEL_CARD.md", "report.html", "profile.json", MANIFEST] {
            let path = folder.join(name);
            let before = fs::read(&path).unwrap();
            let mut bytes = before.clone();
            bytes[0] ^= 1;
            fs::write(&path, &bytes).unwrap();
            let expected = if name == MANIFEST { version.clone() } else { digest(&before) };
            let error = registry.load("churn", &version).unwrap_err().to_string();
            let start = format!("{} is damaged: expected SHA-256 {expected}, found ", path.display());
            assert!(error.starts_with(&start), "{error}");
            assert!(registry.promote("churn", &version, &Verdict::default(), None, &by(0)).is_err());
            assert!(registry.store("churn", &files(1), &by(0)).is_err());
            fs::remove_file(&path).unwrap();
            assert!(registry.load("churn", &version).unwrap_err().to_string().contains(", found nothing; "));
            fs::write(&path, before).unwrap();
        }
        registry.load("churn", &version).unwrap();
    }

    /// Killed in the middle of a store and of an append; then life goes on.
    #[test]
    fn what_a_crash_left_does_no_harm() {
        let (_folder, registry) = open();
        let first = registry.store("churn", &files(1), &by(0)).unwrap();
        let folder = registry.folder.join("churn");
        fs::create_dir(folder.join(".storing")).unwrap();
        fs::write(folder.join(".storing/model.onnx"), b"half").unwrap();
        OpenOptions::new()
            .append(true)
            .open(folder.join(HISTORY))
            .unwrap()
            .write_all(b"{\"at_ms\":5,\"wh")
            .unwrap();
        assert_eq!(registry.history("churn").unwrap().len(), 1);
        let second = registry.store("churn", &files(2), &by(1)).unwrap();
        let versions: Vec<String> =
            registry.history("churn").unwrap().into_iter().map(|e| e.version).collect();
        assert_eq!(versions, [first, second]);
    }

    #[test]
    fn writers_at_once_lose_nothing() {
        let (_folder, registry) = open();
        let shared = registry.store("churn", &files(100), &by(0)).unwrap();
        std::thread::scope(|scope| {
            for thread in 0..8 {
                let (registry, shared) = (&registry, &shared);
                scope.spawn(move || {
                    for round in 0..5 {
                        let own = registry.store("churn", &files(thread * 5 + round), &by(1)).unwrap();
                        assert_eq!(&registry.store("churn", &files(100), &by(1)).unwrap(), shared);
                        registry.promote("churn", &own, &Verdict::default(), None, &by(2)).unwrap();
                        registry.load("churn", "champion").unwrap();
                    }
                });
            }
        });
        let history = registry.history("churn").unwrap();
        let count = |what| history.iter().filter(|entry| entry.what == what).count();
        assert_eq!((count(Action::Store), count(Action::Promote)), (41, 40));
        assert_eq!(
            registry.aliases("churn").unwrap().champion,
            Some(history.last().unwrap().version.clone())
        );
        for listed in registry.list("churn").unwrap() {
            registry.load("churn", &listed.version).unwrap();
        }
    }
}
