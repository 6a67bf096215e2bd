//! One ClickHouse server, asked over HTTP through the official client.

use std::fmt;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use clickhouse::error::Error as Cause;
use clickhouse::query::BytesCursor;
use clickhouse::{Client, Compression};
use tokio::runtime::Runtime;

use crate::error::Error;

/// Compressed and sent at a time.
const CHUNK: usize = 1 << 20;
/// How often a wait for an answer looks whether it is to be given up.
const LOOK: Duration = Duration::from_millis(50);

/// Where ClickHouse is, and as whom to go there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerOptions {
    /// Its HTTP interface, such as `http://127.0.0.1:8123`.
    pub url: String,
    /// The database of headsup's tables.
    pub database: String,
    /// The user.
    pub user: String,
    /// The user's password; may be empty.
    pub password: Password,
    /// Longest wait for an answer.
    pub timeout: Duration,
}

/// A password, which is never printed.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Password(String);

impl Password {
    /// Of this text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(…)")
    }
}

/// What a server understands, by its version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dialect {
    modern: bool,
}

impl Dialect {
    /// Of a version such as `18.16.1`. What is used of a modern one is there since 22.2:
    /// deduplication tokens for tables that are not replicated, and times with fractions.
    fn of(version: &str) -> Option<Self> {
        let mut numbers = version.split('.').map(|part| part.parse::<u32>().ok());
        let version = (numbers.next().flatten()?, numbers.next().flatten()?);
        Some(Self { modern: version >= (22, 2) })
    }

    /// The type of times. An old server has none with fractions of a second: microseconds
    /// since the Unix epoch then.
    pub(crate) fn time(self) -> &'static str {
        if self.modern { "DateTime64(6, 'UTC')" } else { "Int64" }
    }

    pub(crate) fn epoch(self) -> &'static str {
        if self.modern { "toDateTime64(0, 6, 'UTC')" } else { "0" }
    }

    /// Whether an INSERT can carry a token.
    pub(crate) fn tokens(self) -> bool {
        self.modern
    }

    /// What follows `ORDER BY` of a table: how many tokens are remembered, and that rows are
    /// on disk before an INSERT is acknowledged.
    pub(crate) fn table_settings(self) -> &'static str {
        if self.modern {
            " SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1"
        } else {
            ""
        }
    }
}

/// A connection to it. Calls wait for their answer.
pub struct Server {
    options: ServerOptions,
    runtime: Runtime,
    client: Client,
    quit: Arc<AtomicBool>,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("options", &self.options).finish_non_exhaustive()
    }
}

impl Server {
    /// Does not ask the server anything yet.
    ///
    /// # Errors
    /// An address or a name of a database that cannot be.
    pub fn new(options: ServerOptions) -> Result<Self, Error> {
        let name = options.database.as_str();
        let well_named = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        if !well_named {
            return Err(Error::Configuration(format!(
                "\"{name}\" cannot be clickhouse.database; expected a-z, 0-9 and _, a letter first"
            )));
        }
        if !options.url.starts_with("http://") {
            return Err(Error::Configuration(format!(
                "\"{}\" cannot be clickhouse.url; expected an address such as \"http://127.0.0.1:8123\"",
                options.url
            )));
        }
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Error::Configuration(format!("cannot start a runtime for network: {error}")))?;
        let mut client = Client::default()
            .with_url(&options.url)
            .with_user(&options.user)
            .with_compression(Compression::Lz4);
        if options.password != Password::default() {
            client = client.with_password(&options.password.0);
        }
        Ok(Self { options, runtime, client, quit: Arc::default() })
    }

    /// The same, but no wait goes on once `quit` is set; what was asked may be done or not.
    pub(crate) fn until(self, quit: Arc<AtomicBool>) -> Self {
        Self { quit, ..self }
    }

    /// Where and what it is.
    pub fn options(&self) -> &ServerOptions {
        &self.options
    }

    /// The database, as it stands in statements.
    pub(crate) fn database(&self) -> &str {
        &self.options.database
    }

    /// The server's version.
    ///
    /// # Errors
    /// It does not answer.
    pub fn version(&self) -> Result<String, Error> {
        let rows = self.query("ask for the version", "SELECT version()")?;
        Ok(rows.into_iter().flatten().next().unwrap_or_default())
    }

    pub(crate) fn dialect(&self) -> Result<Dialect, Error> {
        let version = self.version()?;
        Dialect::of(&version).ok_or_else(|| Error::Server {
            action: "tell the version".to_owned(),
            message: format!("\"{version}\""),
            code: 0,
        })
    }

    /// A statement without an answer. `action` says in messages what was attempted.
    pub(crate) fn command(&self, action: &str, sql: &str) -> Result<(), Error> {
        self.wait(action, self.client.query_raw(sql).execute())
    }

    /// The rows of a query, as texts.
    pub(crate) fn query(&self, action: &str, sql: &str) -> Result<Vec<Vec<String>>, Error> {
        let text = self.wait(action, async {
            let mut cursor = self.client.query_raw(sql).fetch_bytes("TabSeparated")?;
            cursor.collect().await
        })?;
        let text = String::from_utf8_lossy(&text);
        Ok(text.lines().map(|line| line.split('\t').map(unescaped).collect()).collect())
    }

    /// The rows of a query in `RowBinary`, to be fetched with [`Server::next`].
    pub(crate) fn rows(&self, action: &str, sql: &str) -> Result<BytesCursor, Error> {
        self.wait(action, async { self.client.query_raw(sql).fetch_bytes("RowBinary") })
    }

    /// The next bytes of an answer; `None` at its end.
    pub(crate) fn next(&self, action: &str, cursor: &mut BytesCursor) -> Result<Option<Vec<u8>>, Error> {
        let bytes = self.wait(action, cursor.next())?;
        Ok(bytes.map(|bytes| bytes.to_vec()))
    }

    /// Rows in `RowBinary` into what `insert`, an `INSERT … FORMAT RowBinary`, names. A second
    /// one with the same token changes nothing.
    pub(crate) fn insert(
        &self,
        action: &str,
        insert: &str,
        token: Option<&str>,
        rows: &[u8],
    ) -> Result<(), Error> {
        self.wait(action, async {
            let mut insert = self.client.insert_formatted_with(insert);
            if let Some(token) = token {
                insert = insert.with_setting("insert_deduplication_token", token);
            }
            for chunk in rows.chunks(CHUNK) {
                insert.send(chunk.to_vec().into()).await?;
            }
            insert.end().await
        })
    }

    fn wait<T>(&self, action: &str, work: impl Future<Output = Result<T, Cause>>) -> Result<T, Error> {
        let ends = Instant::now() + self.options.timeout;
        let outcome = self.runtime.block_on(async {
            let mut work = pin!(work);
            loop {
                match tokio::time::timeout(LOOK, &mut work).await {
                    Ok(outcome) => return Some(outcome),
                    Err(_) if self.quit.load(Ordering::Relaxed) || Instant::now() >= ends => return None,
                    Err(_) => {}
                }
            }
        });
        match outcome {
            Some(Ok(done)) => Ok(done),
            Some(Err(cause)) => Err(self.explain(action, &cause)),
            None => Err(Error::TimedOut {
                url: self.options.url.clone(),
                seconds: self.options.timeout.as_secs(),
                action: action.to_owned(),
            }),
        }
    }

    fn explain(&self, action: &str, cause: &Cause) -> Error {
        let url = self.options.url.clone();
        let message = match cause {
            Cause::BadResponse(message) => message.trim().to_owned(),
            Cause::Network(network) => {
                return Error::Unreachable { url, problem: innermost(network.as_ref()) };
            }
            Cause::InvalidParams(problem) => {
                return Error::Configuration(format!("\"{url}\" cannot be clickhouse.url: {problem}"));
            }
            other => other.to_string(),
        };
        let code = message.strip_prefix("Code: ").unwrap_or_default();
        let code: u32 =
            code.chars().take_while(char::is_ascii_digit).collect::<String>().parse().unwrap_or(0);
        match code {
            // No such user, wrong password; a new server tells neither.
            192..=194 | 516 => Error::Refused { url, user: self.options.user.clone(), message },
            81 => Error::NoDatabase { url, database: self.options.database.clone() },
            // No such table or column.
            60 | 16 | 47 => Error::Outdated { found: format!("cannot {action}: ClickHouse says: {message}") },
            _ => Error::Server { action: action.to_owned(), message, code },
        }
    }
}

/// The cause that all others come from: "Connection refused" and the like.
fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut last = error;
    while let Some(source) = last.source() {
        last = source;
    }
    last.to_string()
}

/// A cell of `TabSeparated`.
fn unescaped(cell: &str) -> String {
    let mut out = String::with_capacity(cell.len());
    let mut rest = cell.chars();
    while let Some(c) = rest.next() {
        match c {
            '\\' => match rest.next() {
                Some('t') => out.push('\t'),
                Some('n') => out.push('\n'),
                Some(other) => out.push(other),
                None => {}
            },
            c => out.push(c),
        }
    }
    out
}

/// A text as it stands in SQL.
pub(crate) fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}
