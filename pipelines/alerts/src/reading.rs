//! What the windows of a series say to a rule.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use crate::rules::{BURN_PAIRS_MAX, Baseline, Burn, Condition, Rule};

/// A row of a series. Of a burn rate `value` is what was good and `n` all.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Point {
    pub end_ms: i64,
    pub revision: i64,
    pub value: Option<f64>,
    pub n: Option<i64>,
}

/// What can be relied on of a window.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Reading {
    pub value: f64,
    pub n: i64,
    /// What the value is compared with.
    pub limit: f64,
    /// Whether it makes an alert fire.
    pub hot: bool,
    /// Whether it lets an alert be over.
    pub clear: bool,
}

/// Values of earlier weeks, by the hour since the Unix epoch.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct Samples {
    pub hours: BTreeMap<i64, Vec<f64>>,
    #[serde(skip)]
    known: Option<(i64, Option<Usual>)>,
}

/// What is usual in an hour of the week.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Usual {
    median: f64,
    /// Median of the absolute deviations from the median.
    mad: f64,
}

const HOUR_MS: i64 = 3_600_000;
const WEEK_HOURS: i64 = 7 * 24;
/// What the MAD of a normal distribution is multiplied by to give its standard deviation
/// (Rousseeuw and Croux, "Alternatives to the median absolute deviation", 1993).
const MAD_TO_DEVIATION: f64 = 1.4826;

impl Samples {
    /// Remembers a value for the weeks to come.
    pub fn push(&mut self, end_ms: i64, value: f64) {
        self.hours.entry(hour(end_ms)).or_default().push(value);
    }

    /// Forgets what no window after `settled_ms` is compared with.
    pub fn forget(&mut self, settled_ms: i64, weeks: i64) {
        let first = hour(settled_ms) - weeks * WEEK_HOURS;
        while self.hours.first_key_value().is_some_and(|(&hour, _)| hour < first) {
            self.hours.pop_first();
        }
    }

    /// Median and MAD of the same hour of the week, over the weeks before. They do not change any
    /// more once the hour has come: corrections of a KPI with such a rule take less than 6 days.
    fn usual(&mut self, end_ms: i64, baseline: &Baseline) -> Option<Usual> {
        let hour = hour(end_ms);
        if let Some((known, usual)) = self.known
            && known == hour
        {
            return usual;
        }
        let mut all: Vec<f64> = (1..=baseline.weeks)
            .filter_map(|week| self.hours.get(&(hour - week * WEEK_HOURS)))
            .flatten()
            .copied()
            .collect();
        let usual = (all.len() >= baseline.min_samples.max(1)).then(|| {
            let median = median(&mut all);
            all.iter_mut().for_each(|value| *value = (*value - median).abs());
            Usual { median, mad: self::median(&mut all) }
        });
        self.known = Some((hour, usual));
        usual
    }
}

/// The hour that a window ending then lies in, since the Unix epoch.
fn hour(end_ms: i64) -> i64 {
    (end_ms - 1).div_euclid(HOUR_MS)
}

/// The mean of the two in the middle, if their number is even.
fn median(values: &mut [f64]) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 { values[middle] } else { f64::midpoint(values[middle - 1], values[middle]) }
}

impl Rule {
    /// What the window that ends at `end_ms` says. `upto` is how many of the points end by then.
    pub(crate) fn reading(
        &self,
        points: &VecDeque<Point>,
        upto: usize,
        end_ms: i64,
        samples: &mut Samples,
    ) -> Option<Reading> {
        if let Condition::Burn(burn) = &self.condition {
            return self.burning(burn, points, upto, end_ms);
        }
        let point = upto.checked_sub(1).map(|last| &points[last]).filter(|point| point.end_ms == end_ms)?;
        let value = self.relied_on(point)?;
        let n = point.n.unwrap_or(0);
        match &self.condition {
            Condition::Threshold(threshold) => {
                let hot = threshold.direction.is_beyond(value, threshold.fire);
                let clear = match threshold.clear {
                    Some(clear) => threshold.direction.is_beyond(clear, value),
                    None => !hot,
                };
                Some(Reading { value, n, limit: threshold.fire, hot, clear })
            }
            Condition::Baseline(baseline) => {
                let usual = samples.usual(end_ms, baseline)?;
                let limit = |deviations: f64, floor: f64| {
                    let distance = (deviations * MAD_TO_DEVIATION * usual.mad).max(floor);
                    usual.median + baseline.direction.sign() * distance
                };
                let fire = limit(baseline.deviations, baseline.floor);
                let hot = baseline.direction.is_beyond(value, fire);
                let clear = match baseline.clear_deviations {
                    Some(deviations) => {
                        let floor = baseline.floor * deviations / baseline.deviations;
                        baseline.direction.is_beyond(limit(deviations, floor), value)
                    }
                    None => !hot,
                };
                Some(Reading { value, n, limit: fire, hot, clear })
            }
            Condition::Burn(_) => None,
        }
    }

    /// The value of a point, if it is of enough.
    pub(crate) fn relied_on(&self, point: &Point) -> Option<f64> {
        point.value.filter(|_| point.n.unwrap_or(0) >= self.min_n)
    }

    /// The pair of windows that burns most, in terms of its own rate.
    fn burning(&self, burn: &Burn, points: &VecDeque<Point>, upto: usize, end_ms: i64) -> Option<Reading> {
        // Windows overlap, so those that lie end to end are added up, back to the end of each length.
        let mut sums = [(0.0, 0i64); 2 * BURN_PAIRS_MAX];
        let mut sum = (0.0, 0i64);
        let mut place = upto;
        let mut ends_ms = end_ms;
        let stride = (self.size_ms / self.slide_ms) as usize;
        for (length, &length_ms) in burn.lengths_ms.iter().enumerate() {
            while ends_ms > end_ms - length_ms && place > 0 {
                if points[place - 1].end_ms != ends_ms {
                    place = points.partition_point(|point| point.end_ms <= ends_ms);
                }
                if let Some(point) = place.checked_sub(1).map(|last| &points[last])
                    && point.end_ms == ends_ms
                {
                    sum.0 += point.value.unwrap_or(0.0);
                    sum.1 = sum.1.saturating_add(point.n.unwrap_or(0));
                }
                ends_ms -= self.size_ms;
                // Where it is if no window is missing.
                place = match place.checked_sub(stride) {
                    Some(before) if before > 0 => before,
                    _ => points.partition_point(|point| point.end_ms <= ends_ms),
                };
            }
            sums[length] = sum;
        }
        let of = |length_ms: i64| sums[burn.lengths_ms.iter().position(|&l| l == length_ms).unwrap_or(0)];
        let budget = 1.0 - burn.objective;
        burn.windows
            .iter()
            .map(|pair| (pair, [of(pair.long_ms), of(pair.short_ms)]))
            .filter(|(_, [long, short])| long.1 >= self.min_n.max(1) && short.1 > 0)
            .map(|(pair, sums)| {
                // The less of the two: both have to burn.
                let rate = sums.map(|(good, all)| (all as f64 - good) / all as f64 / budget);
                let value = rate[0].min(rate[1]);
                let hot = value > pair.rate;
                Reading { value, n: sums[0].1, limit: pair.rate, hot, clear: !hot }
            })
            .max_by(|a, b| (a.value / a.limit).total_cmp(&(b.value / b.limit)))
    }
}
