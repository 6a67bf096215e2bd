//! ClickHouse beside the offline store, whether it was built in or not: what a run calls,
//! and what the page and the metrics say of it.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use crate::config::Config;

/// Why there is no sink, or what it has not done.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// It is asked for and not there.
    #[error(
        "clickhouse.url is set, and this headsup was built without ClickHouse; build it with \
         --features clickhouse, or remove the key"
    )]
    NotBuilt,
    /// The password's file.
    #[error("cannot read clickhouse.password_file {}", path.display())]
    Password {
        /// The file.
        path: std::path::PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// ClickHouse.
    #[cfg(feature = "clickhouse")]
    #[error(transparent)]
    Clickhouse(#[from] headsup_clickhouse::Error),
}

/// How the sink does.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SinkHealth {
    /// Complete files that are not loaded, and their size.
    pub behind_files: u64,
    /// See `behind_files`.
    pub behind_bytes: u64,
    /// Rows loaded by this process.
    pub rows: u64,
    /// Attempts that failed.
    pub failures: u64,
    /// How long nothing has succeeded, if the last attempt failed; and why.
    pub failing: Option<(Duration, String)>,
    /// Whether the run waits for it.
    pub full: bool,
}

impl SinkHealth {
    /// What `/readyz` says, if the sink is not well.
    pub fn complaint(&self) -> Option<String> {
        let (since, error) = self.failing.as_ref()?;
        let waits = if self.full { "; the spill is full, and the input waits" } else { "" };
        Some(format!(
            "clickhouse: failing for {} s, {} files ({} bytes) behind{waits}: {error}",
            since.as_secs(),
            self.behind_files,
            self.behind_bytes
        ))
    }
}

/// The sink of a run. Clones are of the same one.
#[derive(Debug, Clone)]
pub struct Sink {
    #[cfg(feature = "clickhouse")]
    follower: Arc<headsup_clickhouse::Follower>,
    #[cfg(not(feature = "clickhouse"))]
    never: std::convert::Infallible,
}

#[cfg(feature = "clickhouse")]
impl Sink {
    /// Begins to follow the store with this tag and of this generation in the folder `data`;
    /// `None` if the configuration does not ask for it. `stop` ends every wait.
    ///
    /// # Errors
    /// A configuration that cannot be. A server that does not answer is no error: it is
    /// tried again, and [`Sink::health`] says so.
    pub fn start(
        config: &Config,
        data: &Path,
        tag: Option<String>,
        generation: u64,
        stop: &Arc<AtomicBool>,
    ) -> Result<Option<Self>, SinkError> {
        let Some(server) = server_options(config)? else {
            return Ok(None);
        };
        let options = headsup_clickhouse::FollowerOptions {
            server,
            data: data.to_owned(),
            tag,
            generation,
            spill_bytes_max: config.clickhouse.spill_bytes_max,
            retry_max: Duration::from_millis(config.clickhouse.retry_ms_max as u64),
        };
        let follower = headsup_clickhouse::Follower::start(options, stop.clone())?;
        Ok(Some(Self { follower: Arc::new(follower) }))
    }

    /// Files numbered below `next` are complete and never change again. Waits while more is
    /// behind than the spill may hold.
    ///
    /// # Errors
    /// The store cannot be listed.
    pub fn completed(&self, next: u64) -> Result<(), SinkError> {
        Ok(self.follower.completed(next)?)
    }

    /// How it does now.
    pub fn health(&self) -> SinkHealth {
        let health = self.follower.health();
        SinkHealth {
            behind_files: health.behind_files,
            behind_bytes: health.behind_bytes,
            rows: health.rows,
            failures: health.failures,
            failing: health.failing_for.zip(health.last_error),
            full: health.full,
        }
    }

    /// Waits until all is loaded, at most for as long as said, and ends the sink.
    ///
    /// # Errors
    /// What is not loaded, and why. It is loaded by the next run.
    pub fn finish(&self, most: Duration) -> Result<(), SinkError> {
        Ok(self.follower.finish(most)?)
    }
}

#[cfg(not(feature = "clickhouse"))]
impl Sink {
    /// There is none; an error if the configuration asks for it.
    ///
    /// # Errors
    /// See above.
    pub fn start(
        config: &Config,
        _data: &Path,
        _tag: Option<String>,
        _generation: u64,
        _stop: &Arc<AtomicBool>,
    ) -> Result<Option<Self>, SinkError> {
        if config.clickhouse.url.is_empty() { Ok(None) } else { Err(SinkError::NotBuilt) }
    }

    /// Never called.
    ///
    /// # Errors
    /// None.
    pub fn completed(&self, _next: u64) -> Result<(), SinkError> {
        match self.never {}
    }

    /// Never called.
    pub fn health(&self) -> SinkHealth {
        match self.never {}
    }

    /// Never called.
    ///
    /// # Errors
    /// None.
    pub fn finish(&self, _most: Duration) -> Result<(), SinkError> {
        match self.never {}
    }
}

/// The server that the configuration names, if it does.
///
/// # Errors
/// The password cannot be read.
#[cfg(feature = "clickhouse")]
pub fn server_options(config: &Config) -> Result<Option<headsup_clickhouse::ServerOptions>, SinkError> {
    let clickhouse = &config.clickhouse;
    if clickhouse.url.is_empty() {
        return Ok(None);
    }
    let password = match &clickhouse.password_file {
        Some(path) => std::fs::read_to_string(path)
            .map_err(|source| SinkError::Password { path: path.clone(), source })?,
        None => std::env::var(PASSWORD).unwrap_or_default(),
    };
    Ok(Some(headsup_clickhouse::ServerOptions {
        url: clickhouse.url.clone(),
        database: clickhouse.database.clone(),
        user: clickhouse.user.clone(),
        password: headsup_clickhouse::Password::new(password.trim_end_matches(['\r', '\n'])),
        timeout: Duration::from_millis(clickhouse.timeout_ms as u64),
    }))
}

/// Has the password if no file has.
#[cfg(feature = "clickhouse")]
const PASSWORD: &str = "HEADSUP_CLICKHOUSE_PASSWORD";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sink_that_is_well_is_not_complained_of() {
        let mut health = SinkHealth { behind_files: 2, behind_bytes: 300, ..SinkHealth::default() };
        assert_eq!(health.complaint(), None);
        health.failing = Some((Duration::from_secs(61), "cannot reach it".to_owned()));
        let complaint = "clickhouse: failing for 61 s, 2 files (300 bytes) behind: cannot reach it";
        assert_eq!(health.complaint().as_deref(), Some(complaint));
        health.full = true;
        assert!(health.complaint().is_some_and(|complaint| complaint.contains("the input waits")));
    }

    #[cfg(not(feature = "clickhouse"))]
    #[test]
    fn without_it_a_url_is_an_error() {
        let start = |config: &Config| Sink::start(config, Path::new("."), None, 0, &Arc::default());
        assert!(start(&Config::default()).is_ok_and(|sink| sink.is_none()));
        let config = Config::parse("[clickhouse]\nurl = \"http://127.0.0.1:8123\"\n").expect("a URL");
        let error = start(&config).expect_err("it is not built in").to_string();
        assert!(error.contains("build it with --features clickhouse"), "{error}");
    }
}
