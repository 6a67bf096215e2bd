//! Where the rise of a value comes from, by the other keys of its KPI.

use std::collections::{BTreeMap, HashMap, VecDeque};

use arrow::array::{Float64Array, RecordBatch, StringArray};
use arrow::error::ArrowError;
use serde::{Deserialize, Serialize};

use crate::rows::{Numbers, Texts};
use crate::rules::{Condition, Direction, Rule};
use crate::shape::KpiShape;

/// A part of what an alert is about.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Contributor {
    /// What it is a part by: a key of the KPI, or what the caller knows besides.
    pub dimension: String,
    /// Which part.
    pub value: String,
    /// Of how many.
    pub n: i64,
    /// Its share of what is beyond the limit, from 0 to 1; of a count, its share of it.
    pub share: f64,
    /// The alert's value of this part alone.
    pub metric: Option<f64>,
}

/// Parts of one dimension that are named.
const PARTS_MAX: usize = 5;

/// The rows of a KPI's finest grouping set, of the newest windows.
pub(crate) struct Fine {
    pub kpi_place: usize,
    pub grouped_by: String,
    keys: Vec<String>,
    key_columns: Vec<usize>,
    values: Vec<String>,
    value_columns: Vec<usize>,
    size_ms: i64,
    slide_ms: i64,
    /// By end; of the same key, the last row counts.
    rows: VecDeque<FineRows>,
}

#[derive(Clone)]
pub(crate) struct FineRows {
    end_ms: i64,
    len: usize,
    keys: Vec<Texts>,
    values: Vec<Numbers>,
}

impl FineRows {
    /// As they are saved.
    pub fn saved(&self) -> SavedRows {
        let texts = |key: &Texts| (0..self.len).map(|row| key.get(row).to_owned()).collect();
        let numbers = |value: &Numbers| (0..self.len).map(|row| value.float(row)).collect();
        SavedRows {
            end_ms: self.end_ms,
            keys: self.keys.iter().map(texts).collect(),
            values: self.values.iter().map(numbers).collect(),
        }
    }
}

/// [`FineRows`] as they are saved.
#[derive(Serialize, Deserialize)]
pub(crate) struct SavedRows {
    end_ms: i64,
    keys: Vec<Vec<String>>,
    values: Vec<Vec<Option<f64>>>,
}

impl Fine {
    /// For rules over one KPI, if one has a grouping set with further keys.
    pub fn new<'a>(
        kpi_place: usize,
        shape: &KpiShape,
        rules: impl Iterator<Item = &'a Rule>,
    ) -> Option<Self> {
        let rules: Vec<&Rule> = rules.filter(|rule| rule.kpi_place == kpi_place).collect();
        let set = shape.sets.iter().rev().max_by_key(|set| set.len())?;
        if !rules.iter().any(|rule| rule.by.len() < set.len()) {
            return None;
        }
        let mut values: Vec<String> =
            rules.iter().flat_map(|rule| parts_of(rule)).map(str::to_owned).collect();
        values.sort_unstable();
        values.dedup();
        Some(Self {
            kpi_place,
            grouped_by: set.join(","),
            key_columns: set.iter().filter_map(|key| shape.key_column(key)).collect(),
            keys: set.clone(),
            value_columns: values
                .iter()
                .filter_map(|v| shape.value_column(v))
                .map(|(place, _)| place)
                .collect(),
            values,
            size_ms: shape.size_ms,
            slide_ms: shape.slide_ms,
            rows: VecDeque::new(),
        })
    }

    /// Takes in rows of one window. Those of windows long over are not looked at.
    pub fn absorb(
        &mut self,
        now_ms: Option<i64>,
        end_ms: i64,
        batch: &RecordBatch,
    ) -> Result<(), ArrowError> {
        if now_ms.is_some_and(|now_ms| self.is_over(now_ms, end_ms)) {
            return Ok(());
        }
        let keys = self.key_columns.iter().map(|&column| Texts::of(batch.column(column)));
        let values = self.value_columns.iter().map(|&column| Numbers::of(batch.column(column)));
        let rows = FineRows {
            end_ms,
            len: batch.num_rows(),
            keys: keys.collect::<Result<_, _>>()?,
            values: values.collect::<Result<_, _>>()?,
        };
        let place = self.rows.partition_point(|other| other.end_ms <= end_ms);
        self.rows.insert(place, rows);
        Ok(())
    }

    /// Keeps the window that has ended last, and those that have not.
    pub fn forget(&mut self, now_ms: i64) {
        while self.rows.front().is_some_and(|rows| self.is_over(now_ms, rows.end_ms)) {
            self.rows.pop_front();
        }
    }

    fn is_over(&self, now_ms: i64, end_ms: i64) -> bool {
        let last_ms = now_ms.saturating_sub(now_ms.saturating_sub(self.size_ms).rem_euclid(self.slide_ms));
        end_ms < last_ms
    }

    /// Which parts of a series are beyond the limit in the window that ends then; `None` if its
    /// rows are not known any more.
    pub fn contributors(
        &self,
        rule: &Rule,
        key: &[String],
        end_ms: i64,
        limit: f64,
    ) -> Option<Vec<Contributor>> {
        let first = self.rows.partition_point(|rows| rows.end_ms < end_ms);
        let rows: Vec<&FineRows> =
            self.rows.range(first..).take_while(|rows| rows.end_ms == end_ms).collect();
        if rows.is_empty() {
            return None;
        }
        let wanted: Vec<(usize, &str)> = rule
            .by
            .iter()
            .zip(key)
            .map(|(name, value)| Some((self.keys.iter().position(|other| other == name)?, value.as_str())))
            .collect::<Option<_>>()?;
        let parts: Vec<usize> = parts_of(rule)
            .map(|name| self.values.iter().position(|other| other == name))
            .collect::<Option<_>>()?;
        // The last row of each key.
        let mut last: HashMap<Vec<&str>, (&FineRows, usize)> = HashMap::new();
        for rows in rows {
            for row in 0..rows.len {
                if wanted.iter().all(|&(place, value)| rows.keys[place].get(row) == value) {
                    let key = rows.keys.iter().map(|key| key.get(row)).collect();
                    last.insert(key, (rows, row));
                }
            }
        }
        let mut contributors = Vec::new();
        for (place, name) in self.keys.iter().enumerate().filter(|(_, name)| !rule.by.contains(name)) {
            let mut sums: BTreeMap<&str, Part> = BTreeMap::new();
            for (key, &(rows, row)) in &last {
                let sum = sums.entry(key[place]).or_default();
                sum.add(rule, rows.values[parts[0]].float(row), rows.values[parts[1]].whole(row));
            }
            contributors.extend(shares(rule, limit, name, &sums));
        }
        Some(contributors)
    }

    /// A copy of the rows, which shares their columns.
    pub fn copy(&self) -> Vec<FineRows> {
        self.rows.iter().cloned().collect()
    }

    /// `None` if the rows are of something else.
    pub fn restore(&mut self, saved: Vec<SavedRows>) -> Option<()> {
        self.rows.clear();
        for rows in saved {
            let len = rows.keys.first().map_or(0, Vec::len);
            let whole = rows.keys.len() == self.keys.len()
                && rows.values.len() == self.values.len()
                && rows.keys.iter().all(|key| key.len() == len)
                && rows.values.iter().all(|value| value.len() == len)
                && crate::is_time(rows.end_ms)
                && self.rows.back().is_none_or(|before| before.end_ms <= rows.end_ms);
            if !whole {
                return None;
            }
            self.rows.push_back(FineRows {
                end_ms: rows.end_ms,
                len,
                keys: rows.keys.into_iter().map(|key| Texts::Plain(StringArray::from(key))).collect(),
                values: rows.values.into_iter().map(|v| Numbers::Float(Float64Array::from(v))).collect(),
            });
        }
        Some(())
    }
}

/// The columns that parts are computed from: the value and n; of a burn rate, good and all.
fn parts_of(rule: &Rule) -> impl Iterator<Item = &str> {
    let value = match &rule.condition {
        Condition::Burn(burn) => burn.good.as_str(),
        _ => rule.value.as_str(),
    };
    [value, rule.n.as_str()].into_iter()
}

/// Sums over the rows of a part.
#[derive(Default)]
struct Part {
    n: i64,
    /// Of n × value; of a count or a burn rate, of the value.
    sum: f64,
}

impl Part {
    fn add(&mut self, rule: &Rule, value: Option<f64>, n: Option<i64>) {
        let (Some(value), Some(n)) = (value, n) else { return };
        self.n = self.n.saturating_add(n);
        self.sum += if is_sum(rule) { value } else { value * n as f64 };
    }
}

fn is_sum(rule: &Rule) -> bool {
    rule.value == rule.n || matches!(rule.condition, Condition::Burn(_))
}

fn shares(rule: &Rule, limit: f64, dimension: &str, sums: &BTreeMap<&str, Part>) -> Vec<Contributor> {
    // What of each is beyond the limit, and its own value.
    let of = |part: &Part| {
        let n = part.n as f64;
        match &rule.condition {
            Condition::Burn(burn) => {
                let budget = 1.0 - burn.objective;
                (n - part.sum - budget * n, (n - part.sum) / n / budget)
            }
            _ if rule.value != rule.n => (rule.direction().sign() * (part.sum - limit * n), part.sum / n),
            // Of a count that is too small nothing is beyond the limit.
            _ if rule.direction() == Direction::Below => (0.0, part.sum),
            _ => (part.sum, part.sum),
        }
    };
    let mut parts: Vec<Contributor> = sums
        .iter()
        .filter(|(_, part)| part.n > 0)
        .map(|(&value, part)| (value, part.n, of(part)))
        .filter(|(_, _, (excess, _))| *excess > 0.0)
        .map(|(value, n, (share, metric))| Contributor {
            dimension: dimension.to_owned(),
            value: value.to_owned(),
            n,
            share,
            metric: metric.is_finite().then_some(metric),
        })
        .collect();
    let all: f64 = parts.iter().map(|part| part.share).sum();
    parts.iter_mut().for_each(|part| part.share /= all);
    // Stable, and they come in the order of their values.
    parts.sort_by(|a, b| b.share.total_cmp(&a.share));
    parts.truncate(PARTS_MAX);
    parts
}
