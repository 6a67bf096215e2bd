//! Rules over the stored rows of KPIs: when they would have fired; and when they did.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::TimestampMicrosecondType;
use headsup_alerts::{AlertsError, Backtest, Fired, Rules, backtest, runs};
use headsup_connectors::store::{read_files, table_files};
use headsup_events::parse_rfc3339_ms;
use headsup_kpi::{Calendar, Kpi};

use crate::Failure;
use crate::sql::tokio_runtime;

/// Rows of one window and one grouping: when they were given out, and of which KPI.
pub type Run = (i64, usize, RecordBatch);

impl From<AlertsError> for Failure {
    fn from(error: AlertsError) -> Self {
        Self::from_error(error)
    }
}

/// The rows that KPIs showed, with every revision, day by day: so many are held at once.
pub struct History<'a> {
    kpis: &'a [Arc<Kpi>],
    /// By the place of a KPI the groupings that rules ask for. Nothing is kept of what no rule does.
    wanted: BTreeMap<usize, Vec<Vec<String>>>,
    /// Folders of a day, and their files with the places of KPIs.
    days: BTreeMap<String, Vec<(usize, PathBuf)>>,
}

impl<'a> History<'a> {
    /// What is stored of the KPIs that these rules are about.
    ///
    /// # Errors
    /// A folder that cannot be read.
    pub fn of(data: &Path, kpis: &'a [Arc<Kpi>], rules: &Rules) -> Result<Self, Failure> {
        let mut history = Self { kpis, wanted: BTreeMap::new(), days: BTreeMap::new() };
        for (place, kpi) in kpis.iter().enumerate() {
            let of_kpi = rules.rules.iter().filter(|rule| rule.kpi == kpi.name);
            let wanted: Vec<Vec<String>> = of_kpi.map(|rule| sorted(&rule.by)).collect();
            if wanted.is_empty() {
                continue;
            }
            history.wanted.insert(place, wanted);
            let files = table_files(data, &format!("kpi_history/{}", kpi.name));
            for path in files.map_err(Failure::from_error)? {
                let day = path.parent().and_then(Path::file_name).unwrap_or_default();
                let day = day.to_string_lossy().into_owned();
                history.days.entry(day).or_default().push((place, path));
            }
        }
        Ok(history)
    }

    /// When the last day (UTC) of which there is something began, in ms.
    pub fn last_day_ms(&self) -> Option<i64> {
        self.days.keys().filter_map(|day| began_ms(day)).max()
    }

    /// Only the days that began then or later.
    pub fn since(mut self, ms: i64) -> Self {
        self.days.retain(|day, _| began_ms(day).is_none_or(|began_ms| began_ms >= ms));
        self
    }

    /// When rules would have fired.
    ///
    /// # Errors
    /// A file that cannot be read, or is of something else; it is not done by `deadline`.
    pub fn backtest(self, rules: &Rules, deadline: Option<Instant>) -> Result<Backtest, Failure> {
        let Self { kpis, wanted, days } = self;
        // A window is in the folder of the day in which it starts, so what is given out before a day is in those before.
        let (mut left, mut until_ms) = (Vec::new(), i64::MAX);
        for (day, files) in days.into_iter().rev() {
            left.push((until_ms, files));
            until_ms = until_ms.min(began_ms(&day).unwrap_or(i64::MIN));
        }
        backtest(
            rules,
            Rows { kpis, wanted, left, deadline, waiting: Vec::new(), ready: Vec::new().into_iter() },
        )
    }
}

/// When the day of a folder began, in ms.
fn began_ms(folder: &str) -> Option<i64> {
    parse_rfc3339_ms(&format!("{}T00:00:00Z", folder.strip_prefix("dt=")?))
}

fn sorted<T: AsRef<str>>(keys: &[T]) -> Vec<String> {
    let mut keys: Vec<String> = keys.iter().map(|key| key.as_ref().to_owned()).collect();
    keys.sort_unstable();
    keys
}

/// Rows in the order in which they were given out; of one tick, in the order of the KPIs.
struct Rows<'a> {
    kpis: &'a [Arc<Kpi>],
    wanted: BTreeMap<usize, Vec<Vec<String>>>,
    /// Days that are still to be read, the first one last, each with the time before which no later one has rows.
    left: Vec<(i64, Vec<(usize, PathBuf)>)>,
    deadline: Option<Instant>,
    waiting: Vec<Run>,
    ready: std::vec::IntoIter<Run>,
}

impl Iterator for Rows<'_> {
    type Item = Result<(usize, RecordBatch), Failure>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some((_, place, run)) = self.ready.next() {
                return Some(Ok((place, run)));
            }
            let (until_ms, files) = self.left.pop()?;
            for (place, path) in files {
                if let Err(failure) = self.read(place, path) {
                    return Some(Err(failure));
                }
            }
            in_order(&mut self.waiting);
            let later = self.waiting.partition_point(|(at_ms, ..)| *at_ms < until_ms);
            let later = self.waiting.split_off(later);
            self.ready = std::mem::replace(&mut self.waiting, later).into_iter();
        }
    }
}

impl Rows<'_> {
    fn read(&mut self, place: usize, path: PathBuf) -> Result<(), Failure> {
        if self.deadline.is_some_and(|deadline| Instant::now() > deadline) {
            return Err(Failure::new("it takes too long; ask for fewer days"));
        }
        let (Some(kpi), Some(wanted)) = (self.kpis.get(place), self.wanted.get(&place)) else {
            return Ok(());
        };
        for batch in read_files(vec![path]) {
            let batch = batch.map_err(Failure::from_error)?;
            let batch = headsup_runtime::KpiRows::of(kpi, batch).map_err(|problem| {
                Failure::new(format!("cannot read the rows of KPI {}: {problem}", kpi.name))
            })?;
            for run in runs(batch.batch()).map_err(Failure::from_error)? {
                let grouped_by = run.column(2).as_string_opt::<i32>().map_or("", |text| text.value(0));
                let keys: Vec<&str> = grouped_by.split(',').filter(|key| !key.is_empty()).collect();
                if wanted.contains(&sorted(&keys)) {
                    self.waiting.push((at_ms(&run), place, run));
                }
            }
        }
        Ok(())
    }
}

/// When rules would have fired by these rows, in any order.
///
/// # Errors
/// Rows of something else.
pub fn of_runs(rules: &Rules, mut rows: Vec<Run>) -> Result<Backtest, Failure> {
    in_order(&mut rows);
    backtest(rules, rows.into_iter().map(|(_, place, run)| Ok((place, run))))
}

/// By when they were given out; of one tick, in the order of the KPIs and as they were stored.
fn in_order(rows: &mut [Run]) {
    rows.sort_by_key(|(at_ms, place, _)| (*at_ms, *place));
}

/// When rows were given out, in ms.
pub fn at_ms(batch: &RecordBatch) -> i64 {
    let column =
        batch.columns().last().and_then(|column| column.as_primitive_opt::<TimestampMicrosecondType>());
    column.and_then(|times| times.iter().next().flatten()).unwrap_or(0).div_euclid(1_000)
}

/// What fired, by table `alerts`.
///
/// # Errors
/// A file that cannot be read.
pub fn fired(data: &Path, kpis: &[Arc<Kpi>], calendar: &Arc<Calendar>) -> Result<Vec<Fired>, Failure> {
    let runtime = tokio_runtime()?;
    let batches = runtime.block_on(async {
        let context = headsup_runtime::session(data, kpis, calendar).await?;
        context.sql(headsup_runtime::FIRED).await?.collect().await
    });
    let batches = batches.map_err(|error| Failure::new(error.strip_backtrace()))?;
    Ok(headsup_runtime::fired(&batches))
}
