//! Webhooks: where the events of topic `tasks` are sent, and what could not be delivered.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::{Args, Subcommand};
use headsup_connectors::{EventLog, RealDisk};
use headsup_runtime::{Board, Config, TASKS, WebhookBoard};
use headsup_stream::parse_duration_ms;
use headsup_webhooks::{Deliver, Endpoint, Letters, Settings};
use serde::Deserialize;

use crate::rules::read;
use crate::{Failure, Place, output};

/// How often the board is told how it goes.
const TELL: Duration = Duration::from_millis(500);

/// List, show and send again what webhooks could not deliver.
///
/// `webhooks.file` of the configuration names the file that says where tasks are sent; docs/webhooks.md is for those
/// who receive them.
#[derive(Debug, Args)]
pub struct WebhooksArgs {
    #[command(flatten)]
    place: Place,
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Dead letters: events that were refused, or tried too often
    List {
        /// The endpoint, as its file calls it
        endpoint: String,
    },
    /// One of them, with the event
    Show {
        /// The endpoint, as its file calls it
        endpoint: String,
        /// The event's id
        id: String,
    },
    /// Have it delivered again, by the run that goes on or the next one
    Resend {
        /// The endpoint, as its file calls it
        endpoint: String,
        /// The event's id
        id: String,
    },
}

pub fn webhooks(args: &WebhooksArgs) -> Result<(), Failure> {
    let letters = |endpoint: &str| {
        // A name that no endpoint can have leads to no other folder.
        let fits = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-');
        let folder = args.place.data.join("webhooks").join(endpoint);
        if !endpoint.bytes().all(fits) || !folder.is_dir() {
            return Err(Failure::new(format!(
                "{} has sent nothing to an endpoint {endpoint:?}; its folder would be {}",
                args.place.data.display(),
                folder.display()
            )));
        }
        Ok(Letters::of(Arc::new(RealDisk), &args.place.data, endpoint))
    };
    match &args.what {
        What::List { endpoint } => {
            let (letters, damaged) = letters(endpoint)?.list().map_err(Failure::from_error)?;
            let line = |letter: &headsup_webhooks::Letter| {
                format!(
                    "{}  {}  after {} attempts: {}\n",
                    letter.id,
                    headsup_events::format_rfc3339_ms(letter.at_ms),
                    letter.attempts,
                    letter.reason
                )
            };
            output::print(letters.iter().map(line).collect::<String>())?;
            for error in &damaged {
                eprintln!("note: {error}");
            }
            eprintln!("{} dead letters", letters.len());
            Ok(())
        }
        What::Show { endpoint, id } => {
            let letter = letters(endpoint)?.show(id).map_err(Failure::from_error)?;
            eprintln!("after {} attempts: {}", letter.attempts, letter.reason);
            output::print(letter.event + "\n")
        }
        What::Resend { endpoint, id } => {
            letters(endpoint)?.resend(id).map_err(Failure::from_error)?;
            output::print(format!("{id} is going to be delivered again\n"))
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    webhook: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    url: String,
    secrets: Vec<String>,
    #[serde(default)]
    types: Vec<String>,
    timeout: Option<String>,
    attempts_max: Option<u32>,
    backoff_first: Option<String>,
    backoff_max: Option<String>,
    breaker_failures: Option<u32>,
    breaker_open: Option<String>,
}

impl Entry {
    fn endpoint(self) -> Result<Endpoint, String> {
        let length = |key: &str, text: &Option<String>, default: Duration| match text {
            None => Ok(default),
            Some(text) => match parse_duration_ms(text) {
                Some(ms) if ms >= 0 => Ok(Duration::from_millis(ms.unsigned_abs())),
                _ => Err(format!(
                    "endpoint {}: {key} = {text:?}: expected a duration such as \"15s\"",
                    self.name
                )),
            },
        };
        let default = Settings::default();
        let settings = Settings {
            timeout: length("timeout", &self.timeout, default.timeout)?,
            attempts_max: self.attempts_max.unwrap_or(default.attempts_max),
            backoff_first: length("backoff_first", &self.backoff_first, default.backoff_first)?,
            backoff_max: length("backoff_max", &self.backoff_max, default.backoff_max)?,
            breaker_failures: self.breaker_failures.unwrap_or(default.breaker_failures),
            breaker_open: length("breaker_open", &self.breaker_open, default.breaker_open)?,
        };
        Endpoint::new(&self.name, &self.url, &self.secrets, self.types, settings)
            .map_err(|error| error.to_string())
    }
}

/// Those that a file names.
///
/// # Errors
/// A file that cannot be read, and the first mistake in it.
fn endpoints(file: &str) -> Result<Vec<Endpoint>, Failure> {
    let wrong = |message: String| Failure { code: 2, message: format!("{file}: {message}") };
    let parsed: File = toml::from_str(&read(Path::new(file))?)
        // The text may have a secret in it, so that it is not shown.
        .map_err(|error| {
            wrong(format!(
                "{}; a [[webhook]] has name, url and secrets, see docs/webhooks.md",
                error.message()
            ))
        })?;
    let endpoints: Vec<Endpoint> =
        parsed.webhook.into_iter().map(Entry::endpoint).collect::<Result<_, _>>().map_err(wrong)?;
    let mut names: Vec<&str> = endpoints.iter().map(Endpoint::name).collect();
    names.sort_unstable();
    match names.windows(2).find(|two| two[0] == two[1]) {
        Some(two) => Err(wrong(format!("there are two endpoints {}; give each its own name", two[0]))),
        None => Ok(endpoints),
    }
}

/// What sends while a run goes on; it ends when this is dropped.
pub struct Sending {
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Drop for Sending {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Begins to send topic `tasks` where the configuration says; `None` if nowhere.
///
/// # Errors
/// A mistake in the file, another process that sends from the same data folder, or the disk.
pub fn send(
    config: &Config,
    data: &Path,
    log: &Arc<dyn EventLog>,
    board: &Arc<Board>,
) -> Result<Option<Sending>, Failure> {
    if config.webhooks_file.is_empty() {
        return Ok(None);
    }
    let start = |endpoint: Endpoint| {
        let name = endpoint.name().to_owned();
        let deliver = Deliver::start(log.clone(), TASKS, data, Arc::new(RealDisk), endpoint);
        deliver.map(|deliver| (name, deliver)).map_err(Failure::from_error)
    };
    let all: Vec<(String, Deliver)> =
        endpoints(&config.webhooks_file)?.into_iter().map(start).collect::<Result<_, _>>()?;
    let (stop, board) = (Arc::new(AtomicBool::new(false)), board.clone());
    let stopped = stop.clone();
    let thread = std::thread::Builder::new().name("webhooks".to_owned()).spawn(move || {
        loop {
            let statuses = all.iter().map(|(name, deliver)| {
                let status = deliver.status();
                WebhookBoard {
                    name: name.clone(),
                    delivered: status.delivered,
                    retried: status.retried,
                    dead: status.dead,
                    skipped: status.skipped,
                    waiting: status.waiting,
                    complaint: status.last_error,
                }
            });
            let statuses: Vec<_> = statuses.collect();
            board.update(|state| state.webhooks = statuses);
            if stopped.load(Ordering::Relaxed) {
                return;
            }
            std::thread::sleep(TELL);
        }
    });
    let thread = thread.map_err(|error| Failure::new(format!("cannot send webhooks: {error}")))?;
    Ok(Some(Sending { stop, thread: Some(thread) }))
}
