//! The file of rules, and everything that can be wrong with it.

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::DataType;
use headsup_stream::{format_duration_ms, parse_duration_ms};
use serde::Serialize;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::shape::KpiShape;

mod reading;
mod tuned;

use reading::Reading;

/// Rules, with the KPIs they are about.
#[derive(Debug, Clone)]
pub struct Rules {
    /// In the order of the file.
    pub rules: Vec<Arc<Rule>>,
    /// The KPIs, in the order they were given.
    pub shapes: Arc<[KpiShape]>,
}

/// A rule: when a series of a KPI is worth somebody's attention.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Rule {
    /// Its name, an identifier.
    pub name: String,
    /// English and Chinese, separated by `|`.
    pub title: String,
    /// The KPI's name.
    pub kpi: String,
    /// The value that is looked at; `burn_rate` of a burn rate.
    pub value: String,
    /// Keys of its series, in the order of the file; of none, everything is one series.
    pub by: Vec<String>,
    /// What makes it fire.
    pub condition: Condition,
    /// For how long the condition has to hold, in ms.
    pub for_ms: i64,
    /// For how long it fires after the last window that was not clear, in ms.
    pub keep_firing_for_ms: i64,
    /// A window of fewer says nothing.
    pub min_n: i64,
    /// The column that says of how many.
    pub n: String,
    /// How urgent it is.
    pub severity: Severity,
    /// Keys of those series that are notified together.
    pub group_by: Vec<String>,
    /// What to do, or where that is written.
    pub runbook: String,
    /// More series than this are left out.
    pub series_max: usize,
    /// `grouped_by` of the rows it is about.
    pub(crate) grouped_by: String,
    pub(crate) kpi_place: usize,
    pub(crate) size_ms: i64,
    pub(crate) slide_ms: i64,
    pub(crate) corrections_ms: i64,
}

/// What makes a rule fire.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    /// A value beyond a limit.
    Threshold(Threshold),
    /// A value beyond what is usual in its hour of the week.
    Baseline(Baseline),
    /// An error budget that is used up too fast.
    Burn(Burn),
}

/// A value beyond a limit.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Threshold {
    /// On which side of it.
    pub direction: Direction,
    /// The limit.
    pub fire: f64,
    /// The limit that it has to come back behind; `None`: back to where it would not fire.
    pub clear: Option<f64>,
}

/// A value further from the median of the same hour of the week (UTC) than `deviations` standard
/// deviations, which are estimated as 1.4826 times the median absolute deviation.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Baseline {
    /// On which side of the median.
    pub direction: Direction,
    /// How many weeks before are looked at.
    pub weeks: i64,
    /// How far from the median is too far.
    pub deviations: f64,
    /// How near it has to come back.
    pub clear_deviations: Option<f64>,
    /// The least number of earlier values to compare with.
    pub min_samples: usize,
    /// The least distance from the median that is too far.
    pub floor: f64,
}

/// Multi-window, multi-burn-rate alerts (Google, The Site Reliability Workbook, chapter 5): what
/// was not good ÷ all, over what the objective allows of it, in a long and a short window.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Burn {
    /// The column of what was good.
    pub good: String,
    /// The column of all.
    pub total: String,
    /// The share that should be good.
    pub objective: f64,
    /// Pairs of windows, of which one has to burn.
    pub windows: Vec<BurnWindow>,
    /// The lengths of all of them, the shortest first.
    pub(crate) lengths_ms: Vec<i64>,
}

/// A pair of windows, which both have to burn.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BurnWindow {
    /// Says that it matters, in ms.
    pub long_ms: i64,
    /// Says that it still goes on, in ms.
    pub short_ms: i64,
    /// The burn rate, 1 being that which uses up the budget exactly.
    pub rate: f64,
}

impl Burn {
    /// The longest window in ms.
    pub fn longest_ms(&self) -> i64 {
        self.windows.iter().map(|pair| pair.long_ms).max().unwrap_or(0)
    }
}

/// On which side of its limit a value is too far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// Too much.
    Above,
    /// Too little.
    Below,
}

impl Direction {
    /// Whether `value` is further in this direction than `limit`.
    #[inline]
    pub fn is_beyond(self, value: f64, limit: f64) -> bool {
        match self {
            Self::Above => value > limit,
            Self::Below => value < limit,
        }
    }

    /// 1 or -1.
    pub fn sign(self) -> f64 {
        match self {
            Self::Above => 1.0,
            Self::Below => -1.0,
        }
    }
}

/// How urgent an alert is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// For those who watch.
    Info,
    /// For the next day.
    Ticket,
    /// For now.
    Page,
}

impl Severity {
    /// All, the least urgent first.
    pub const ALL: [Self; 3] = [Self::Info, Self::Ticket, Self::Page];

    /// Its name in files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Ticket => "ticket",
            Self::Page => "page",
        }
    }
}

/// Something that is wrong with a file of rules, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// The file, as it was named.
    pub file: String,
    /// The line, from 1, if it is known.
    pub line: Option<usize>,
    /// What was found and what to do.
    pub message: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.file)?;
        if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        f.write_str(&self.message)
    }
}

/// All that is wrong with a file, a line each, in the order of its lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RulesError(pub Vec<Mistake>);

impl fmt::Display for RulesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, mistake) in self.0.iter().enumerate() {
            let end = if place > 0 { "\n" } else { "" };
            write!(f, "{end}{mistake}")?;
        }
        Ok(())
    }
}

impl std::error::Error for RulesError {}

const SAMPLE_MS_MIN: i64 = 300_000;
/// Durations in rules are at most so long: a state remembers that much.
const DURATION_MS_MAX: i64 = 31 * 86_400_000;
/// Corrections that a seasonal rule can wait for: a week's values have to be final the week after.
const SEASONAL_CORRECTIONS_MS_MAX: i64 = 6 * 86_400_000;
/// Pairs of windows of a burn rate.
pub(crate) const BURN_PAIRS_MAX: usize = 8;
/// Windows of a KPI in the longest window of a burn rate.
const BURN_POINTS_MAX: i64 = 50_000;

impl Rules {
    /// Reads a file of rules about these KPIs. `file` is how messages call it.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn parse(file: &str, text: &str, shapes: &[KpiShape]) -> Result<Self, RulesError> {
        let mut reading = Reading { text, mistakes: Vec::new() };
        let (document, errors) = DeTable::parse_recoverable(text);
        for error in errors {
            let at = error.span().map_or(0, |span| span.start);
            reading.mistake(at, error.message().to_owned());
        }
        let mut rules = Vec::new();
        // A file that is no TOML has enough to be mended.
        if reading.mistakes.is_empty() {
            rules = reading.rules(document.get_ref(), shapes);
        }
        if reading.mistakes.is_empty() {
            return Ok(Self { rules: rules.into_iter().map(Arc::new).collect(), shapes: shapes.into() });
        }
        reading.mistakes.sort_by_key(|(at, _)| *at);
        let line =
            |at: usize| text.as_bytes()[..at.min(text.len())].iter().filter(|&&b| b == b'\n').count() + 1;
        let mistakes = reading.mistakes.into_iter().map(|(at, message)| Mistake {
            file: file.to_owned(),
            line: Some(line(at)),
            message,
        });
        Err(RulesError(mistakes.collect()))
    }
}

impl Rule {
    /// On which side of its limit a value is too far.
    pub fn direction(&self) -> Direction {
        match &self.condition {
            Condition::Threshold(threshold) => threshold.direction,
            Condition::Baseline(baseline) => baseline.direction,
            Condition::Burn(_) => Direction::Above,
        }
    }

    /// The place of its KPI among those given.
    pub fn kpi_place(&self) -> usize {
        self.kpi_place
    }

    /// Length of its KPI's windows in ms.
    pub fn size_ms(&self) -> i64 {
        self.size_ms
    }

    /// From one window to the next, in ms.
    pub fn slide_ms(&self) -> i64 {
        self.slide_ms
    }

    /// For how long after a row its series can still say something without a further one: a
    /// burn rate changes also when good windows fall out of it.
    pub(crate) fn echo_ms(&self) -> i64 {
        match &self.condition {
            Condition::Burn(burn) => burn.windows.iter().map(|pair| pair.short_ms).max().unwrap_or(0),
            _ => 0,
        }
    }

    /// How far apart values of a baseline are.
    pub(crate) fn sample_ms(&self) -> i64 {
        sample_ms(self.size_ms, self.slide_ms)
    }

    /// How long settled rows have to be kept.
    pub(crate) fn memory_ms(&self) -> i64 {
        match &self.condition {
            Condition::Burn(burn) => burn.longest_ms(),
            _ => 0,
        }
    }
}

/// Values of a baseline are so far apart that overlapping windows do not count several times, and
/// that a state stays small.
fn sample_ms(size_ms: i64, slide_ms: i64) -> i64 {
    (size_ms.max(SAMPLE_MS_MIN) as u64).div_ceil(slide_ms as u64) as i64 * slide_ms
}

/// `; did you mean "x"?` if a known name is near, or else `; there are` all.
pub(crate) fn hint<'a>(
    name: &str,
    there_are: &str,
    known: impl IntoIterator<Item = &'a str> + Clone,
) -> String {
    let meant = did_you_mean(name, known.clone());
    if !meant.is_empty() {
        return meant;
    }
    let all: Vec<&str> = known.into_iter().collect();
    format!("; {there_are} {}", if all.is_empty() { "none".to_owned() } else { all.join(", ") })
}

/// `; did you mean "x"?` if a known name is near.
fn did_you_mean<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    known
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(name, candidate), candidate))
        .min()
        .filter(|(distance, candidate)| *distance <= 1 + candidate.len() / 4)
        .map(|(_, candidate)| format!("; did you mean \"{candidate}\"?"))
        .unwrap_or_default()
}

pub(crate) fn is_identifier(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}
