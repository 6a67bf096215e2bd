//! What rules would have said about the past, and how that differs from what was said.

use std::collections::BTreeMap;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use headsup_events::parse_rfc3339_ms;
use serde_json::Value;

use crate::alerts::{Alerts, AlertsError, Unexplained};
use crate::change::{Change, State};
use crate::life::Episode;
use crate::rows::Texts;
use crate::rules::Rules;

/// A time in which a series fired under a rule.
#[derive(Debug, Clone, PartialEq)]
pub struct Fired {
    /// The rule's name.
    pub rule: String,
    /// The alert's id.
    pub id: String,
    /// Names and values of the series' keys.
    pub labels: Vec<(String, String)>,
    /// When, and what was seen.
    pub episode: Episode,
}

/// What came of a backtest.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Backtest {
    /// What is left in the end, by rule, in the order of the file, then by start and series.
    pub fired: Vec<Fired>,
    /// What was said and withdrawn again.
    pub withdrawn: Vec<Fired>,
    /// From the first window's end to the last row, in ms; `None` if there were no rows.
    pub span_ms: Option<(i64, i64)>,
    /// Rows that were read.
    pub rows: u64,
}

/// Runs rules over rows of KPIs, in the order of their `at`: each batch is of one window and one
/// grouping set (see [`runs`]). What fires at the end of the rows is not over.
///
/// # Errors
/// Rows of something else, or an error of their source.
pub fn backtest<E: From<AlertsError>>(
    rules: &Rules,
    rows: impl IntoIterator<Item = Result<(usize, RecordBatch), E>>,
) -> Result<Backtest, E> {
    let mut alerts = Alerts::without_contributors(rules);
    let mut backtest = Backtest::default();
    let mut said: BTreeMap<String, (usize, Change)> = BTreeMap::new();
    let mut out = Vec::new();
    let mut together: Vec<(usize, RecordBatch)> = Vec::new();
    let mut at_ms = i64::MIN;
    let places: BTreeMap<&str, usize> =
        rules.rules.iter().enumerate().map(|(place, rule)| (rule.name.as_str(), place)).collect();
    let mut take = |alerts: &mut Alerts, together: &mut Vec<(usize, RecordBatch)>, until_ms: i64| {
        alerts.advance(together, until_ms, &mut Unexplained, &mut out)?;
        together.clear();
        for change in out.drain(..) {
            let place = places.get(change.rule.name.as_str()).copied().unwrap_or(0);
            said.insert(change.alert.id.clone(), (place, change));
        }
        Ok::<_, AlertsError>(())
    };
    for row in rows {
        let (place, batch) = row?;
        if batch.num_rows() == 0 {
            continue;
        }
        let batch_at_ms = alerts.at_ms(place, &batch)?;
        if batch_at_ms > at_ms {
            take(&mut alerts, &mut together, at_ms)?;
            at_ms = batch_at_ms;
        }
        backtest.rows += batch.num_rows() as u64;
        backtest.span_ms = Some((backtest.span_ms.map_or(at_ms, |(first_ms, _)| first_ms), at_ms));
        together.push((place, batch));
    }
    take(&mut alerts, &mut together, at_ms)?;
    let mut all: Vec<(usize, Change)> = said.into_values().collect();
    // What goes on has been seen to since it was said.
    let firing: BTreeMap<&str, &Episode> = alerts.firing().collect();
    for (_, change) in &mut all {
        if let Some(episode) = firing.get(change.alert.id.as_str()) {
            change.alert.episode = **episode;
        }
    }
    all.sort_by(|(a_place, a), (b_place, b)| {
        let key = |place: usize, change: &Change| (place, change.alert.episode.started_ms);
        key(*a_place, a).cmp(&key(*b_place, b)).then_with(|| a.alert.key.cmp(&b.alert.key))
    });
    for (_, change) in all {
        let fired = Fired {
            rule: change.rule.name.clone(),
            id: change.alert.id.clone(),
            labels: change.labels().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
            episode: change.alert.episode,
        };
        match change.alert.state {
            State::Withdrawn => backtest.withdrawn.push(fired),
            _ => backtest.fired.push(fired),
        }
    }
    Ok(backtest)
}

/// Cuts stored rows of a KPI, in the order in which they were given out, into batches of one
/// window and one grouping set.
///
/// # Errors
/// A column that is no text.
pub fn runs(batch: &RecordBatch) -> Result<Vec<RecordBatch>, arrow::error::ArrowError> {
    let columns = batch.num_columns();
    let time = |column: usize| batch.column(column).as_primitive_opt::<TimestampMicrosecondType>();
    let revisions = batch.column(columns.saturating_sub(3)).as_primitive_opt::<Int64Type>();
    let (Some(ends), Some(revisions), Some(ats)) = (time(1), revisions, time(columns.saturating_sub(1)))
    else {
        return Err(arrow::error::ArrowError::SchemaError("these are no rows of a KPI".to_owned()));
    };
    let grouped_by = Texts::of(batch.column(2))?;
    let of = |row: usize| (ends.value(row), revisions.value(row), ats.value(row), grouped_by.get(row));
    let mut runs = Vec::new();
    let mut from = 0;
    for row in 1..=batch.num_rows() {
        if row == batch.num_rows() || of(row) != of(from) {
            runs.push(batch.slice(from, row - from));
            from = row;
        }
    }
    Ok(runs)
}

/// How often and how long a rule fired. Durations are in ms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Statistics {
    /// Episodes.
    pub episodes: usize,
    /// Series that had one.
    pub series: usize,
    /// Those that go on; the others are what durations are of.
    pub firing: usize,
    /// The ⌈n/2⌉-th shortest.
    pub median_ms: Option<i64>,
    /// The ⌈9n/10⌉-th shortest.
    pub p90_ms: Option<i64>,
    /// The longest.
    pub longest_ms: Option<i64>,
    /// All together; of those that go on, up to the last row.
    pub total_ms: i64,
}

impl Backtest {
    /// Of a rule, by its name.
    pub fn statistics(&self, rule: &str) -> Statistics {
        let of: Vec<&Fired> = self.fired.iter().filter(|fired| fired.rule == rule).collect();
        let end_ms = self.span_ms.map_or(0, |(_, end_ms)| end_ms);
        let mut durations: Vec<i64> = of.iter().filter_map(|fired| fired.duration_ms()).collect();
        durations.sort_unstable();
        let mut series: Vec<_> = of.iter().map(|fired| &fired.labels).collect();
        series.sort_unstable();
        series.dedup();
        let smallest = |place: usize| place.checked_sub(1).and_then(|place| durations.get(place).copied());
        Statistics {
            episodes: of.len(),
            series: series.len(),
            firing: of.len() - durations.len(),
            median_ms: smallest(durations.len().div_ceil(2)),
            p90_ms: smallest((durations.len() * 9).div_ceil(10)),
            longest_ms: durations.last().copied(),
            total_ms: of
                .iter()
                .map(|fired| fired.episode.resolved_ms.unwrap_or(end_ms) - fired.episode.started_ms)
                .sum(),
        }
    }
}

impl Fired {
    /// How long it fired, in ms; `None` while it does.
    pub fn duration_ms(&self) -> Option<i64> {
        self.episode.resolved_ms.map(|over_ms| over_ms - self.episode.started_ms)
    }

    /// What is left of alerts that were published, from their events in any order: of the newest
    /// generation and the highest revision, those that were not withdrawn.
    pub fn of_events<'a>(events: impl IntoIterator<Item = &'a Value>) -> Vec<Self> {
        let mut last: BTreeMap<String, ((u64, u64), &Value)> = BTreeMap::new();
        let mut newest = 0;
        for event in events {
            let data = &event["data"];
            let (Some(id), Some(generation), Some(revision)) =
                (event["subject"].as_str(), data["generation"].as_u64(), data["revision"].as_u64())
            else {
                continue;
            };
            newest = newest.max(generation);
            let entry = last.entry(id.to_owned()).or_insert(((generation, revision), data));
            if entry.0 < (generation, revision) {
                *entry = ((generation, revision), data);
            }
        }
        let alive = last.iter().filter(|(_, ((generation, _), data))| {
            *generation == newest && data["state"] != State::Withdrawn.name()
        });
        let mut all: Vec<Self> = alive.filter_map(|(id, (_, data))| Self::of_data(id, data)).collect();
        all.sort_by(|a, b| {
            (&a.rule, a.episode.started_ms, &a.labels).cmp(&(&b.rule, b.episode.started_ms, &b.labels))
        });
        all
    }

    fn of_data(id: &str, data: &Value) -> Option<Self> {
        let time = |name: &str| data[name].as_str().and_then(parse_rfc3339_ms);
        let started_ms = time("started_at")?;
        Some(Self {
            rule: data["alert"].as_str()?.to_owned(),
            id: id.to_owned(),
            labels: data["labels"]
                .as_object()?
                .iter()
                .map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())))
                .collect::<Option<_>>()?,
            episode: Episode {
                since_ms: time("since")?,
                started_ms,
                value: data["value"].as_f64()?,
                n: data["n"].as_i64()?,
                limit: data["limit"].as_f64()?,
                peak: data["peak"].as_f64()?,
                peak_ms: time("peak_at")?,
                last_ms: started_ms,
                resolved_ms: time("resolved_at"),
            },
        })
    }
}

/// How two lists of alerts differ.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Diff<'a> {
    /// In both, with the same start and end: the first list's and the second's.
    pub same: Vec<(&'a Fired, &'a Fired)>,
    /// In both, at overlapping times.
    pub moved: Vec<(&'a Fired, &'a Fired)>,
    /// Only in the first.
    pub gone: Vec<&'a Fired>,
    /// Only in the second.
    pub new: Vec<&'a Fired>,
}

/// What fired and what would have: those of the same rule and series that overlap are the same
/// alert, the earliest first.
pub fn diff<'a>(fired: &'a [Fired], would: &'a [Fired]) -> Diff<'a> {
    type Key<'a> = (&'a str, Vec<(&'a str, &'a str)>);
    fn key(fired: &Fired) -> Key<'_> {
        let mut labels: Vec<_> = fired.labels.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
        labels.sort_unstable();
        (&fired.rule, labels)
    }
    let mut by_series: BTreeMap<Key<'_>, [Vec<&Fired>; 2]> = BTreeMap::new();
    for (side, list) in [fired, would].into_iter().enumerate() {
        for one in list {
            by_series.entry(key(one)).or_default()[side].push(one);
        }
    }
    let mut diff = Diff::default();
    for mut sides in by_series.into_values() {
        sides.iter_mut().for_each(|side| side.sort_by_key(|one| one.episode.started_ms));
        let [before, after] = sides;
        let mut after = after.into_iter().peekable();
        for old in before {
            while let Some(new) = after.next_if(|new| {
                new.episode.started_ms < old.episode.started_ms && !new.episode.overlaps(&old.episode)
            }) {
                diff.new.push(new);
            }
            match after.next_if(|new| new.episode.overlaps(&old.episode)) {
                Some(new) => {
                    let times = |one: &Fired| (one.episode.started_ms, one.episode.resolved_ms);
                    let both = if times(old) == times(new) { &mut diff.same } else { &mut diff.moved };
                    both.push((old, new));
                }
                None => diff.gone.push(old),
            }
        }
        diff.new.extend(after);
    }
    diff
}
