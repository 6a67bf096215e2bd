//! What is shown now: the newest values of every KPI and the state of the
//! pipeline. The runner writes it, the page, the metrics and the terminal read it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, Int64Type};
use headsup_alerts::{Alert, Change, Rule, State as AlertState};
use headsup_kpi::Kpi;
use headsup_stream::Accounting;

use crate::core::Produced;
use crate::rows::KpiRows;
use crate::sink::Sink;

/// Shared between the runner and those who watch.
#[derive(Debug, Default)]
pub struct Board {
    state: Mutex<State>,
    changed: Condvar,
}

/// The newest of everything.
#[derive(Debug, Default, Clone)]
pub struct State {
    /// Grows with every change.
    pub version: u64,
    /// Per KPI, in the order of their names.
    pub kpis: Vec<KpiBoard>,
    /// Per partition.
    pub partitions: Vec<PartitionBoard>,
    /// The watermark in ms, once every partition has one.
    pub watermark_ms: Option<i64>,
    /// Records set aside, by reason.
    pub quarantined: BTreeMap<&'static str, u64>,
    /// Facts given out, by table.
    pub facts: BTreeMap<&'static str, u64>,
    /// Scores given out, by model and role.
    pub scores: BTreeMap<(String, String), u64>,
    /// What became of proactive service, by campaign and type of event.
    pub tasks: BTreeMap<(String, String), u64>,
    /// Where events of tasks are sent.
    pub webhooks: Vec<WebhookBoard>,
    /// Sizes of the operators' states.
    pub sizes: Vec<(&'static str, usize)>,
    /// How long batches took, in seconds: count, sum, and counts up to each of
    /// [`BATCH_SECONDS`].
    pub batches: (u64, f64, [u64; BATCH_SECONDS.len()]),
    /// Flushes that are complete, with a checkpoint or without.
    pub flushes: u64,
    /// Checkpoints written, and the size of the last one in bytes.
    pub checkpoints: u64,
    /// See `checkpoints`.
    pub checkpoint_bytes: u64,
    /// How long the operators stood still for checkpoints: count, sum and the longest, in
    /// seconds.
    pub checkpoint_stalls: Stalls,
    /// What alerts go by.
    pub rules: Vec<Arc<Rule>>,
    /// What fires, and what has become of alerts.
    pub alerts: AlertBoard,
    /// The sink ClickHouse, if there is one.
    pub sink: Option<Sink>,
    /// Whether the input has been drained.
    pub ended: bool,
    /// Why the pipeline cannot go on, if so.
    pub failure: Option<String>,
}

/// Somewhere that events of tasks are sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookBoard {
    /// The endpoint.
    pub name: String,
    /// Events that it has taken.
    pub delivered: u64,
    /// Attempts after the first.
    pub retried: u64,
    /// Events given up.
    pub dead: u64,
    /// Tasks that were over before they could be sent.
    pub skipped: u64,
    /// Events that it has not taken yet.
    pub waiting: u64,
    /// What went wrong last.
    pub complaint: Option<String>,
}

/// Upper bounds of the histogram of batch times, in seconds.
pub const BATCH_SECONDS: [f64; 8] = [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0];
/// Values kept of the series over everything, for a trend.
const TREND_MAX: usize = 120;
/// So many rows are sorted in even if nobody looks.
const UNREAD_MAX: usize = 1 << 17;

/// How long something took, in seconds.
#[derive(Debug, Default, Clone, Copy)]
pub struct Stalls {
    /// How many times.
    pub count: u64,
    /// All together.
    pub sum: f64,
    /// The longest.
    pub max: f64,
}

impl Stalls {
    /// One more.
    pub(crate) fn push(&mut self, seconds: f64) {
        self.count += 1;
        self.sum += seconds;
        self.max = self.max.max(seconds);
    }
}

/// Alerts.
#[derive(Debug, Default, Clone)]
pub struct AlertBoard {
    /// Those that fire, by id.
    pub firing: BTreeMap<String, (Arc<Rule>, Alert)>,
    /// The last changes, the newest first.
    pub recent: VecDeque<Change>,
    /// By rule, rows of series that were left out because there were so many, and rows that came
    /// when their window was final.
    pub left_out: Vec<(String, u64, u64)>,
    /// How many changes, by rule and kind.
    pub counts: BTreeMap<(String, &'static str), u64>,
}

/// Changes of alerts that are shown.
const CHANGES_MAX: usize = 50;

impl AlertBoard {
    /// Takes in what has become of an alert.
    pub fn take(&mut self, change: &Change) {
        let Change { rule, alert, kind, .. } = change;
        match alert.state {
            AlertState::Firing => {
                self.firing.insert(alert.id.clone(), (rule.clone(), alert.clone()));
            }
            _ => drop(self.firing.remove(&alert.id)),
        }
        *self.counts.entry((rule.name.clone(), kind.name())).or_default() += 1;
        self.recent.push_front(change.clone());
        self.recent.truncate(CHANGES_MAX);
    }
}

/// One KPI.
#[derive(Debug, Clone)]
pub struct KpiBoard {
    /// Name, as of the file.
    pub name: String,
    /// Title, English and Chinese.
    pub title: String,
    /// Unit.
    pub unit: String,
    /// Names of the keys.
    pub keys: Vec<String>,
    /// Names of the values.
    pub values: Vec<String>,
    /// Size of a window in ms.
    pub size_ms: i64,
    /// End of the newest window, in ms.
    pub newest_ms: i64,
    /// Rows so far.
    pub rows: u64,
    /// Facts that came after all their windows were final.
    pub refused: u64,
    /// The newest window of each series, at most `series_max` of them.
    pub series: BTreeMap<Series, Point>,
    /// How many rows were left out because there were so many series already.
    pub series_over: u64,
    series_max: usize,
    /// Rows that are not in `series` yet, each batch of one window: they are sorted in
    /// when somebody looks. Who reads a year of events in a minute looks rarely.
    unread: VecDeque<KpiRows>,
    unread_rows: usize,
    /// The last windows of the series over everything.
    pub trend: VecDeque<Point>,
}

/// What a series is of: which keys it is grouped by, and their values.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Series {
    /// Names of the keys, with commas; empty for everything.
    pub grouped_by: String,
    /// A value per key of the KPI; empty where it is not grouped by.
    pub keys: Vec<String>,
}

/// The values of one window.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    /// End of the window, in ms.
    pub window_end_ms: i64,
    /// A value per value column.
    pub values: Vec<Option<f64>>,
    /// No more corrections.
    pub is_final: bool,
    /// The KPI's `rows` when this became so: who has seen the board at fewer has not seen it.
    pub changed: u64,
}

/// One partition of the input.
#[derive(Debug, Clone, Default)]
pub struct PartitionBoard {
    /// Topic and partition, or file.
    pub name: String,
    /// What became of its records.
    pub accounting: Accounting,
    /// The largest event time seen, in ms.
    pub latest_ms: Option<i64>,
    /// Records in the log that have not been read; `None` if unknown.
    pub behind: Option<u64>,
}

impl Board {
    /// An empty board for these KPIs, each with at most `series_max` series.
    pub fn new(kpis: &[Arc<Kpi>], series_max: usize) -> Self {
        let board = Self::default();
        board.update(|state| {
            state.kpis = kpis.iter().map(|kpi| KpiBoard::new(kpi, series_max)).collect();
        });
        board
    }

    /// Changes the state and wakes those who wait.
    pub fn update(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.lock();
        change(&mut state);
        state.version += 1;
        drop(state);
        self.changed.notify_all();
    }

    /// Reads the state without the series of the KPIs.
    pub fn read<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.lock())
    }

    /// Reads the state with the series of the KPIs.
    pub fn read_series<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        let mut state = self.lock();
        state.kpis.iter_mut().for_each(KpiBoard::sort_in);
        look(&state)
    }

    /// Waits until the version is no longer `version`, or `wait` has passed, and
    /// reads the version.
    pub fn wait(&self, version: u64, wait: Duration) -> u64 {
        let state = self.lock();
        let (state, _) = self
            .changed
            .wait_timeout_while(state, wait, |state| state.version == version)
            .unwrap_or_else(PoisonError::into_inner);
        state.version
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A reader that panicked has not left the state half-written.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Takes in what the operators have given out.
    pub(crate) fn take(&mut self, produced: &Produced) {
        let Produced { alerts, facts, rows, scores, tasks, says: _ } = produced;
        for (table, rows) in facts {
            *self.facts.entry(table.name()).or_default() += rows.num_rows() as u64;
        }
        for (place, rows) in rows {
            if let Some(kpi) = self.kpis.get_mut(*place) {
                kpi.absorb(rows);
            }
        }
        alerts.iter().for_each(|change| self.alerts.take(change));
        scores.iter().for_each(|rows| count(&mut self.scores, rows, ["model", "role"]));
        tasks.iter().for_each(|rows| count(&mut self.tasks, rows, ["campaign", "event"]));
    }
}

/// Counts rows by two columns.
fn count(counts: &mut BTreeMap<(String, String), u64>, rows: &RecordBatch, by: [&str; 2]) {
    let columns = by.map(|name| rows.column_by_name(name).and_then(|column| column.as_string_opt::<i32>()));
    let [Some(first), Some(second)] = columns else { return };
    for row in 0..rows.num_rows() {
        *counts.entry((first.value(row).to_owned(), second.value(row).to_owned())).or_default() += 1;
    }
}

impl KpiBoard {
    fn new(kpi: &Kpi, series_max: usize) -> Self {
        let names: Vec<String> = kpi.rows.fields().iter().map(|field| field.name().clone()).collect();
        let values = 3 + kpi.key_count..names.len() - 3;
        Self {
            name: kpi.name.clone(),
            title: kpi.title.clone(),
            unit: kpi.unit.clone(),
            keys: names[3..3 + kpi.key_count].to_vec(),
            values: names[values].to_vec(),
            size_ms: kpi.windowing.size_ms(),
            newest_ms: i64::MIN,
            rows: 0,
            refused: 0,
            series: BTreeMap::new(),
            series_over: 0,
            series_max,
            unread: VecDeque::new(),
            unread_rows: 0,
            trend: VecDeque::new(),
        }
    }

    /// Takes in rows of one window and one grouping as the KPI gave them out.
    pub fn absorb(&mut self, rows: &KpiRows) {
        if rows.is_empty() {
            return;
        }
        let end_ms = rows.end_ms(0);
        self.rows += rows.len() as u64;
        if rows.grouped_by(0).is_empty() {
            let values = self.values(rows);
            let point = Point {
                window_end_ms: end_ms,
                values: values.iter().map(|column| column.as_ref().and_then(|c| c[0])).collect(),
                is_final: rows.is_final(0),
                changed: self.rows,
            };
            match self.trend.iter_mut().rev().find(|shown| shown.window_end_ms == end_ms) {
                Some(shown) => *shown = point,
                None => self.trend.push_back(point),
            }
            if self.trend.len() > TREND_MAX {
                self.trend.pop_front();
            }
        }
        self.unread_rows += rows.len();
        self.unread.push_back(rows.clone());
        if end_ms > self.newest_ms {
            self.newest_ms = end_ms;
            // A series that the last whole windows know nothing of is gone.
            let gone_ms = end_ms.saturating_sub(self.size_ms.saturating_mul(2));
            while let Some(oldest) = self.unread.front()
                && oldest.end_ms(0) <= gone_ms
            {
                self.unread_rows -= oldest.len();
                self.unread.pop_front();
            }
        }
        if self.unread_rows > UNREAD_MAX {
            self.sort_in();
        }
    }

    fn sort_in(&mut self) {
        self.unread_rows = 0;
        for rows in std::mem::take(&mut self.unread) {
            self.sort_in_rows(&rows);
        }
        let gone_ms = self.newest_ms.saturating_sub(self.size_ms.saturating_mul(2));
        self.series.retain(|_, point| point.window_end_ms > gone_ms);
    }

    fn sort_in_rows(&mut self, rows: &KpiRows) {
        let keys: Vec<_> = rows.cells()[..self.keys.len()]
            .iter()
            .map(|key| cast(key, &DataType::Utf8))
            .collect::<Result<_, _>>()
            .unwrap_or_default();
        let values = self.values(rows);
        for row in 0..rows.len() {
            let point = Point {
                window_end_ms: rows.end_ms(row),
                values: values.iter().map(|column| column.as_ref().and_then(|c| c[row])).collect(),
                is_final: rows.is_final(row),
                changed: self.rows,
            };
            let series = Series {
                grouped_by: rows.grouped_by(row).to_owned(),
                keys: keys
                    .iter()
                    .map(|column| {
                        let column = column.as_string::<i32>();
                        if column.is_valid(row) { column.value(row).to_owned() } else { String::new() }
                    })
                    .collect(),
            };
            let full = self.series.len() >= self.series_max;
            match self.series.get_mut(&series) {
                Some(shown) if shown.window_end_ms > point.window_end_ms => {}
                Some(shown) => *shown = point,
                None if full => self.series_over += 1,
                None => drop(self.series.insert(series, point)),
            }
        }
    }

    /// The value columns as numbers; `None` for one that is none.
    fn values(&self, rows: &KpiRows) -> Vec<Option<Vec<Option<f64>>>> {
        rows.cells()[self.keys.len()..].iter().map(number).collect()
    }
}

/// A column as numbers; `None` if it is none.
pub(crate) fn number(column: &ArrayRef) -> Option<Vec<Option<f64>>> {
    match column.data_type() {
        DataType::Int64 => {
            Some(column.as_primitive::<Int64Type>().iter().map(|v| v.map(|v| v as f64)).collect())
        }
        DataType::Boolean => None,
        _ => {
            let column = cast(column, &DataType::Float64).ok()?;
            Some(column.as_primitive::<Float64Type>().iter().collect())
        }
    }
}
