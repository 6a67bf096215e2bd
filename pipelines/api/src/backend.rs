//! What the API asks of those who know.

use std::time::Duration;

use tokio::sync::watch;

use crate::act::{Act, ActError};
use crate::model::{AlertState, AlertView, EventAnswer, Feed, KpiRow, Score, ScorePage, TaskView};
use crate::time::Time;

/// Who knows. Answers are quick, from memory or a local log; [`Backend::act`] and [`Backend::ingest`]
/// may wait for the disk, and are called where that keeps nobody else waiting.
pub trait Backend: Send + Sync + 'static {
    /// The latest scores of a customer, one per model; none if nobody scored them.
    ///
    /// # Errors
    /// Not now.
    fn risk(&self, customer_id: &str) -> Result<Vec<Score>, Unavailable>;

    /// The latest score of each customer and model, the highest probability first.
    ///
    /// # Errors
    /// The cursor is none, or not now.
    fn scores(&self, query: &ScoreQuery) -> Result<ScorePage, ReadError>;

    /// Events of tasks behind `cursor`, `limit` at most, in the order of the log; without a cursor
    /// from the first that is kept. A cursor is 1 to 512 characters.
    ///
    /// # Errors
    /// The cursor is none, what it points at is not kept any more, or not now.
    fn feed(&self, cursor: Option<&str>, limit: usize) -> Result<Feed, ReadError>;

    /// A number that changes after events were added to the feed.
    fn feed_changes(&self) -> watch::Receiver<u64>;

    /// A task as it stands; `None` if there is none of this id.
    ///
    /// # Errors
    /// Not now.
    fn task(&self, task_id: &str) -> Result<Option<TaskView>, Unavailable>;

    /// Makes a transition, and gives the task behind it. The same key with the same transition again
    /// changes nothing and gives the same as the first time. See [`Act::apply`].
    ///
    /// # Errors
    /// It is not made.
    fn act(&self, act: &Act) -> Result<TaskView, ActError>;

    /// Takes events, each the bytes of a CloudEvent in JSON; gives an answer for each of them, in
    /// their order. What was accepted is on disk.
    ///
    /// # Errors
    /// There is no room now: none was taken.
    fn ingest(&self, events: Vec<Vec<u8>>) -> Result<Vec<EventAnswer>, Unavailable>;

    /// The newest windows of KPIs, the newest first.
    ///
    /// # Errors
    /// Not now.
    fn kpis(&self, query: &KpiQuery) -> Result<Vec<KpiRow>, Unavailable>;

    /// Alerts, the newest first; of a state, if one is given.
    ///
    /// # Errors
    /// Not now.
    fn alerts(&self, state: Option<AlertState>) -> Result<Vec<AlertView>, Unavailable>;
}

/// Which scores.
#[derive(Debug, Clone, PartialEq)]
pub struct ScoreQuery {
    /// Of which model; `None`: of all.
    pub model: Option<String>,
    /// Only those of at least this probability, 0 to 1.
    pub min_probability: f64,
    /// So many at most, 1 to 1,000.
    pub limit: usize,
    /// Behind the page that gave it.
    pub cursor: Option<String>,
}

/// Which windows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KpiQuery {
    /// Of which KPI; `None`: of all.
    pub kpi: Option<String>,
    /// Only those that end at this time or later.
    pub since: Option<Time>,
    /// So many at most, 1 to 10,000.
    pub limit: usize,
}

/// It cannot be answered now, and may be later.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{detail}; try again in {} s", .retry_after.as_secs())]
pub struct Unavailable {
    /// Why.
    pub detail: String,
    /// When to ask again.
    pub retry_after: Duration,
}

/// Why a page is not given.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// Nobody gave such a cursor.
    #[error("the cursor is not one that this endpoint gave; leave it out to begin anew")]
    BadCursor,
    /// What it points at was removed.
    #[error(
        "what is behind the cursor is no longer kept, so that events may be missed; leave it out to begin with the first that is kept"
    )]
    Gone,
    /// Not now.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}
