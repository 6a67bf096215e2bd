//! What can go wrong, said with what to do.

use std::path::PathBuf;

/// Why something with ClickHouse could not be done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address or a name in the configuration cannot be.
    #[error("{0}")]
    Configuration(String),
    /// Nobody answers.
    #[error("cannot reach ClickHouse at {url}: {problem}; is it running, and is clickhouse.url right?")]
    Unreachable {
        /// Where.
        url: String,
        /// What the network says.
        problem: String,
    },
    /// It takes too long.
    #[error("ClickHouse at {url} has not answered within {seconds} s while asked to {action}")]
    TimedOut {
        /// Where.
        url: String,
        /// How long was waited.
        seconds: u64,
        /// What was attempted.
        action: String,
    },
    /// Wrong user or password.
    #[error(
        "ClickHouse at {url} does not let user \"{user}\" in; check clickhouse.user and the password \
         (clickhouse.password_file or HEADSUP_CLICKHOUSE_PASSWORD): {message}"
    )]
    Refused {
        /// Where.
        url: String,
        /// Who.
        user: String,
        /// What the server says.
        message: String,
    },
    /// There is no such database.
    #[error("ClickHouse at {url} has no database {database}; `headsup clickhouse migrate` makes it")]
    NoDatabase {
        /// Where.
        url: String,
        /// Which.
        database: String,
    },
    /// Tables are missing or older than this program.
    #[error("{found}; `headsup clickhouse migrate` brings the tables up to date")]
    Outdated {
        /// What was found.
        found: String,
    },
    /// What is in the database is not what migrations have made.
    #[error("cannot migrate database {database}: {found}")]
    Migration {
        /// Which.
        database: String,
        /// What was found, and what to do.
        found: String,
    },
    /// The server did not do what it was asked.
    #[error("cannot {action}: ClickHouse says: {message}")]
    Server {
        /// What was attempted.
        action: String,
        /// The server's words.
        message: String,
        /// The number of its error, 0 if it gave none.
        code: u32,
    },
    /// A column that ClickHouse has no type for, or that does not fit its table.
    #[error("cannot load column {column} of {table}: {problem}")]
    Column {
        /// The table.
        table: String,
        /// The column.
        column: String,
        /// What does not fit.
        problem: String,
    },
    /// What came back is not what was asked for.
    #[error("cannot read {table} from ClickHouse: {problem}")]
    Answer {
        /// The table.
        table: String,
        /// What was found.
        problem: String,
    },
    /// A file or folder.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was attempted.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A file of the offline store.
    #[error(transparent)]
    Store(#[from] headsup_connectors::StoreError),
    /// Not everything was loaded in the time that was given.
    #[error(
        "{files} files ({bytes} bytes) are not in ClickHouse yet{}; they are kept, and the next \
         run loads them",
        last_error.as_ref().map(|error| format!(", because it {error}")).unwrap_or_default()
    )]
    Unfinished {
        /// How many files are left.
        files: u64,
        /// Their size.
        bytes: u64,
        /// What went wrong last.
        last_error: Option<String>,
    },
}
