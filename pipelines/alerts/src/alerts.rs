use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{DataType, Int64Type, TimeUnit, TimestampMicrosecondType};
use arrow::error::ArrowError;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::change::{Alert, Change, State};
use crate::contributors::{Contributor, Fine, FineRows, SavedRows};
use crate::is_time;
use crate::life::Episode;
use crate::reading::Point;
use crate::rows::{Numbers, Texts};
use crate::rules::{Condition, Rule, Rules};
use crate::series::{Put, Series, Times};
use crate::shape::{BEFORE, KpiShape};

/// The state of all rules.
///
/// What it says depends on the rows and on the ticks alone; [`Alerts::advance`] chooses the ticks
/// so that it depends on the rows alone.
pub struct Alerts {
    shapes: Arc<[KpiShape]>,
    rules: Vec<RuleState>,
    fine: Vec<Fine>,
    now_ms: Option<i64>,
}

/// Says what the rows of KPIs do not: which agents and intents a rise comes from, and the worst
/// conversations.
pub trait Explain {
    /// Of a series, which has these values of the keys in the rule's `by`, in the window
    /// [start, end) in ms, by what was known at the tick `now_ms`: what contributed, and the ids of
    /// conversations.
    fn explain(
        &mut self,
        rule: &Rule,
        key: &[String],
        window_ms: (i64, i64),
        now_ms: i64,
    ) -> (Vec<Contributor>, Vec<String>);
}

/// Knows nothing besides.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unexplained;

impl Explain for Unexplained {
    fn explain(&mut self, _: &Rule, _: &[String], _: (i64, i64), _: i64) -> (Vec<Contributor>, Vec<String>) {
        (Vec::new(), Vec::new())
    }
}

/// Why rows or a saved state are not taken.
#[derive(Debug, Error)]
pub enum AlertsError {
    /// Rows that the KPI cannot have given out.
    #[error("these are no rows of KPI {kpi}: {what}")]
    OtherRows {
        /// The KPI.
        kpi: String,
        /// What is wrong.
        what: String,
    },
    /// A column that cannot be read.
    #[error("cannot read rows of KPI {kpi}")]
    Column {
        /// The KPI.
        kpi: String,
        /// Why.
        source: ArrowError,
    },
    /// A state that cannot be packed or unpacked.
    #[error("a damaged state of alerts")]
    Saved(#[from] postcard::Error),
    /// A state that contradicts itself.
    #[error("a damaged state of alerts: {0}")]
    Damaged(&'static str),
    /// A state of rules that were different.
    #[error("the state is of other alerts: {0}; begin from the start")]
    OtherRules(String),
}

struct RuleState {
    rule: Arc<Rule>,
    /// Places of the columns of `by`, of the value, and of n.
    by: Vec<usize>,
    value: usize,
    n: usize,
    series: Vec<Series>,
    /// By what [`encode`] makes of their keys.
    places: HashMap<Box<[u8]>, usize, BuildHasherDefault<Hash>>,
    times: Times,
    /// Whether a row has come for a window that had ended.
    dirty: bool,
    next_ms: Option<i64>,
    left_out: u64,
    late: u64,
}

/// The format of saved states.
const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
struct Saved {
    version: u32,
    now_ms: Option<i64>,
    rules: Vec<SavedRule>,
    fine: Vec<Vec<SavedRows>>,
}

#[derive(Serialize, Deserialize)]
struct SavedRule {
    name: String,
    /// Hash of what decides what it says.
    definition: u64,
    times: Times,
    dirty: bool,
    next_ms: Option<i64>,
    left_out: u64,
    late: u64,
    series: Vec<Series>,
}

/// A copy of the state of all rules.
pub struct CopiedAlerts {
    now_ms: Option<i64>,
    rules: Vec<SavedRule>,
    fine: Vec<Vec<FineRows>>,
}

impl CopiedAlerts {
    /// The state as bytes.
    ///
    /// # Errors
    /// A state that cannot be packed.
    pub fn pack(self) -> Result<Vec<u8>, AlertsError> {
        let Self { now_ms, mut rules, fine } = self;
        for rule in &mut rules {
            rule.series.sort_by(|a, b| a.key.cmp(&b.key));
        }
        let fine = fine.iter().map(|rows| rows.iter().map(FineRows::saved).collect()).collect();
        Ok(postcard::to_stdvec(&Saved { version: VERSION, now_ms, rules, fine })?)
    }
}

impl Alerts {
    /// Nothing has been seen yet.
    pub fn new(rules: &Rules) -> Self {
        let mut alerts = Self::without_contributors(rules);
        let of = |place| rules.rules.iter().map(Arc::as_ref).filter(move |rule| rule.kpi_place == place);
        let fine = rules.shapes.iter().enumerate();
        alerts.fine = fine.filter_map(|(place, shape)| Fine::new(place, shape, of(place))).collect();
        alerts
    }

    /// The same, but alerts do not say where a rise comes from.
    pub(crate) fn without_contributors(rules: &Rules) -> Self {
        let state = |rule: &Arc<Rule>| RuleState::new(rule.clone(), &rules.shapes[rule.kpi_place]);
        Self {
            shapes: rules.shapes.clone(),
            rules: rules.rules.iter().map(state).collect(),
            fine: Vec::new(),
            now_ms: None,
        }
    }

    /// Takes in rows of KPIs, in the order of their `at`, and does all that is due up to
    /// `until_ms`: every row that is given out by then has been taken in. `i64::MAX` is the end,
    /// see [`Alerts::finish`].
    ///
    /// There is a tick whenever rows come, and whenever one is due without; so what is said does
    /// not depend on how rows are cut into calls.
    ///
    /// # Errors
    /// Rows of something else.
    pub fn advance(
        &mut self,
        rows: &[(usize, RecordBatch)],
        until_ms: i64,
        explain: &mut dyn Explain,
        out: &mut Vec<Change>,
    ) -> Result<(), AlertsError> {
        let mut rows = rows.iter().filter(|(_, batch)| batch.num_rows() > 0).peekable();
        while let Some((place, batch)) = rows.next() {
            let at_ms = self.at_ms(*place, batch)?;
            while let Some(due_ms) = self.next_tick_ms().filter(|&due_ms| due_ms < at_ms) {
                self.tick_explained(due_ms, explain, out);
            }
            self.absorb(*place, batch)?;
            let more = rows.peek().map(|(place, batch)| self.at_ms(*place, batch)).transpose()?;
            if more.is_none_or(|next_ms| next_ms > at_ms) {
                self.tick_explained(at_ms, explain, out);
            }
        }
        if until_ms == i64::MAX {
            self.finish(explain, out);
            return Ok(());
        }
        while let Some(due_ms) = self.next_tick_ms().filter(|&due_ms| due_ms <= until_ms) {
            self.tick_explained(due_ms, explain, out);
        }
        Ok(())
    }

    /// Takes in rows of one window and one grouping set of the KPI at this place.
    ///
    /// # Errors
    /// Rows of something else.
    pub fn absorb(&mut self, kpi_place: usize, batch: &RecordBatch) -> Result<(), AlertsError> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        let at_ms = self.at_ms(kpi_place, batch)?;
        let shape = &self.shapes[kpi_place];
        let column = |source| AlertsError::Column { kpi: shape.name.clone(), source };
        let end_ms = first_ms(batch, 1);
        if !is_time(end_ms) || shape.last_end(end_ms) != end_ms {
            let what = format!("a window that ends at {end_ms} ms");
            return Err(AlertsError::OtherRows { kpi: shape.name.clone(), what });
        }
        let grouped_by = Texts::of(batch.column(BEFORE - 1)).map_err(column)?;
        let grouped_by = grouped_by.get(0);
        let revision = batch.column(batch.num_columns() - 3).as_primitive::<Int64Type>().value(0);
        for state in &mut self.rules {
            if state.rule.kpi_place == kpi_place && state.rule.grouped_by == grouped_by {
                state.absorb(at_ms, end_ms, revision, batch).map_err(column)?;
            }
        }
        for fine in &mut self.fine {
            if fine.kpi_place == kpi_place && fine.grouped_by == grouped_by {
                fine.absorb(self.now_ms, end_ms, batch).map_err(column)?;
            }
        }
        Ok(())
    }

    /// All rows that were given out up to `now_ms`, in event time, have been taken in: says what
    /// follows. A time before an earlier tick's says nothing.
    pub fn tick(&mut self, now_ms: i64, out: &mut Vec<Change>) {
        self.tick_explained(now_ms, &mut Unexplained, out);
    }

    /// The same, with what the caller knows of those that fire.
    pub fn tick_explained(&mut self, now_ms: i64, explain: &mut dyn Explain, out: &mut Vec<Change>) {
        if self.now_ms.is_some_and(|before_ms| now_ms < before_ms) || !is_time(now_ms) {
            return;
        }
        self.now_ms = Some(now_ms);
        for state in &mut self.rules {
            state.tick(now_ms, &self.shapes[state.rule.kpi_place], &self.fine, explain, out);
        }
        for fine in &mut self.fine {
            fine.forget(now_ms);
        }
    }

    /// When there is something to do even if no rows come, in ms.
    pub fn next_tick_ms(&self) -> Option<i64> {
        self.rules.iter().filter_map(|state| state.next_ms).min()
    }

    /// There are no more rows: time goes on until nothing can follow from those there were, so
    /// that all alerts end.
    pub fn finish(&mut self, explain: &mut dyn Explain, out: &mut Vec<Change>) {
        while let Some(due_ms) = self.next_tick_ms() {
            self.tick_explained(due_ms, explain, out);
        }
    }

    /// The rules.
    pub fn rules(&self) -> impl Iterator<Item = &Arc<Rule>> {
        self.rules.iter().map(|state| &state.rule)
    }

    /// The alerts that fire, as they were said last.
    pub fn living(&self) -> impl Iterator<Item = (&Arc<Rule>, &Alert)> {
        self.rules.iter().flat_map(|state| {
            let alerts = state.series.iter().flat_map(Series::firing);
            alerts.map(|alert| (&state.rule, alert))
        })
    }

    /// Series that are remembered, per rule.
    pub fn series(&self) -> impl Iterator<Item = (&Arc<Rule>, usize)> {
        self.rules.iter().map(|state| (&state.rule, state.series.len()))
    }

    /// Rows that were left out because there were `series_max` other series, per rule.
    pub fn left_out(&self) -> impl Iterator<Item = (&Arc<Rule>, u64)> {
        self.rules.iter().map(|state| (&state.rule, state.left_out))
    }

    /// Rows that came when their window was final, per rule.
    pub fn late(&self) -> impl Iterator<Item = (&Arc<Rule>, u64)> {
        self.rules.iter().map(|state| (&state.rule, state.late))
    }

    /// The state, for a checkpoint.
    ///
    /// # Errors
    /// A state that cannot be packed.
    pub fn save(&self) -> Result<Vec<u8>, AlertsError> {
        self.copy().pack()
    }

    /// A copy of the state, quick to make; another thread can pack it.
    pub fn copy(&self) -> CopiedAlerts {
        CopiedAlerts {
            now_ms: self.now_ms,
            rules: self.rules.iter().map(RuleState::save).collect(),
            fine: self.fine.iter().map(Fine::copy).collect(),
        }
    }

    /// Goes on from a state of the same rules.
    ///
    /// # Errors
    /// Bytes of something else. What was before is then undefined.
    pub fn restore(&mut self, bytes: &[u8]) -> Result<(), AlertsError> {
        // The version comes first, so that it can be read whatever follows.
        let (version, _): (u32, _) = postcard::take_from_bytes(bytes)?;
        if version != VERSION {
            return Err(AlertsError::OtherRules(format!("format {version}, expected {VERSION}")));
        }
        let (saved, rest): (Saved, &[u8]) = postcard::take_from_bytes(bytes)?;
        if !rest.is_empty() {
            return Err(AlertsError::Damaged("there is more than the state"));
        }
        let names = |names: &mut dyn Iterator<Item = &str>| names.collect::<Vec<_>>().join(", ");
        let (had, have) = (
            names(&mut saved.rules.iter().map(|rule| rule.name.as_str())),
            names(&mut self.rules.iter().map(|state| state.rule.name.as_str())),
        );
        if had != have {
            return Err(AlertsError::OtherRules(format!("it has {had}, the rules are {have}")));
        }
        if saved.fine.len() != self.fine.len() {
            return Err(AlertsError::Damaged("rows of other KPIs"));
        }
        if saved.now_ms.is_some_and(|now_ms| !is_time(now_ms)) {
            return Err(AlertsError::Damaged("a time that cannot be"));
        }
        self.now_ms = saved.now_ms;
        for (state, saved) in self.rules.iter_mut().zip(saved.rules) {
            state.restore(saved, self.now_ms, &self.shapes[state.rule.kpi_place])?;
        }
        for (fine, saved) in self.fine.iter_mut().zip(saved.fine) {
            fine.restore(saved).ok_or(AlertsError::Damaged("rows of another KPI"))?;
        }
        Ok(())
    }

    /// The alerts that fire now, with what has been seen since they were said.
    pub fn firing(&self) -> impl Iterator<Item = (&str, &Episode)> {
        let all = self.rules.iter().flat_map(|state| &state.series).flat_map(Series::said);
        let firing = all.filter(|alert| alert.state == State::Firing);
        firing.map(|alert| (alert.id.as_str(), &alert.episode))
    }

    /// When rows were given out, in ms.
    pub(crate) fn at_ms(&self, kpi_place: usize, batch: &RecordBatch) -> Result<i64, AlertsError> {
        let other = |kpi: &str, what: String| AlertsError::OtherRows { kpi: kpi.to_owned(), what };
        let Some(shape) = self.shapes.get(kpi_place) else {
            return Err(other(&format!("at place {kpi_place}"), "there is no such KPI".to_owned()));
        };
        let columns = batch.num_columns();
        if columns != shape.columns() {
            return Err(other(&shape.name, format!("expected {} columns, found {columns}", shape.columns())));
        }
        for (column, expected) in [
            (0, "a time"),
            (1, "a time"),
            (2, "a text"),
            (columns - 3, "a whole number"),
            (columns - 1, "a time"),
        ] {
            let found = batch.column(column).data_type();
            let as_expected = match expected {
                "a time" => matches!(found, DataType::Timestamp(TimeUnit::Microsecond, _)),
                "a text" => found.is_string(),
                _ => *found == DataType::Int64,
            };
            if !as_expected || batch.column(column).is_null(0) {
                return Err(other(&shape.name, format!("column {column} is {found}, expected {expected}")));
            }
        }
        Ok(first_ms(batch, columns - 1))
    }
}

/// A time of the first row, in ms.
fn first_ms(batch: &RecordBatch, column: usize) -> i64 {
    batch.column(column).as_primitive::<TimestampMicrosecondType>().value(0).div_euclid(1_000)
}

impl RuleState {
    fn new(rule: Arc<Rule>, shape: &KpiShape) -> Self {
        let value = match &rule.condition {
            Condition::Burn(burn) => &burn.good,
            _ => &rule.value,
        };
        let column = |name: &str| shape.value_column(name).map_or(BEFORE, |(place, _)| place);
        Self {
            by: rule.by.iter().filter_map(|key| shape.key_column(key)).collect(),
            value: column(value),
            n: column(&rule.n),
            rule,
            series: Vec::new(),
            places: HashMap::default(),
            times: Times::default(),
            dirty: false,
            next_ms: None,
            left_out: 0,
            late: 0,
        }
    }

    fn absorb(
        &mut self,
        at_ms: i64,
        end_ms: i64,
        revision: i64,
        batch: &RecordBatch,
    ) -> Result<(), ArrowError> {
        let rows = batch.num_rows() as u64;
        // Not only by the ticks there were, because others would make it come out differently.
        if at_ms > end_ms + self.rule.corrections_ms
            || self.times.settled.is_some_and(|settled| end_ms <= settled)
        {
            self.late += rows;
            return Ok(());
        }
        let keys: Vec<Texts> =
            self.by.iter().map(|&column| Texts::of(batch.column(column))).collect::<Result<_, _>>()?;
        let values = Numbers::of(batch.column(self.value))?;
        let ns = Numbers::of(batch.column(self.n))?;
        let mut key = Vec::new();
        for row in 0..batch.num_rows() {
            key.clear();
            keys.iter().for_each(|texts| encode(texts.get(row), &mut key));
            let place = match self.places.get(key.as_slice()) {
                Some(&place) => place,
                None if self.series.len() >= self.rule.series_max => {
                    self.left_out += 1;
                    continue;
                }
                None => {
                    let values = keys.iter().map(|texts| texts.get(row).to_owned()).collect();
                    self.places.insert(key.as_slice().into(), self.series.len());
                    self.series.push(Series::new(values));
                    self.series.len() - 1
                }
            };
            let point = Point { end_ms, revision, value: values.float(row), n: ns.whole(row) };
            if self.series[place].put(point, self.times) == Put::New {
                self.dirty |= self.times.done.is_some_and(|done| end_ms <= done);
            }
        }
        if self.times.done.is_none_or(|done| end_ms > done) {
            self.next_ms = Some(self.next_ms.map_or(end_ms, |next_ms| next_ms.min(end_ms)));
        }
        Ok(())
    }

    fn tick(
        &mut self,
        now_ms: i64,
        shape: &KpiShape,
        fine: &[Fine],
        explain: &mut dyn Explain,
        out: &mut Vec<Change>,
    ) {
        let after = Times {
            done: Some(shape.last_end(now_ms)),
            settled: Some(shape.last_end(now_ms - shape.corrections_ms)),
        };
        if after == self.times && !self.dirty {
            // Only a damaged state has a next time at which nothing is due; it must not come again and again.
            self.next_ms = self.next_ms.filter(|&next_ms| next_ms > now_ms);
            return;
        }
        let (rule, before) = (self.rule.clone(), self.times);
        let fine = fine.iter().find(|fine| fine.kpi_place == rule.kpi_place);
        let mut fill = |key: &[String], end_ms: i64, limit: f64| {
            let parts = fine.and_then(|fine| fine.contributors(&rule, key, end_ms, limit));
            let (more, worst) = explain.explain(&rule, key, (end_ms - rule.size_ms, end_ms), now_ms);
            (parts.into_iter().flatten().chain(more).collect(), worst)
        };
        let first = out.len();
        let mut next_ms: Option<i64> = None;
        let mut place = 0;
        while place < self.series.len() {
            let series = &mut self.series[place];
            series.tick(&rule, now_ms, before, after, &mut fill, out);
            if series.is_idle() {
                self.forget(place);
                continue;
            }
            let series_ms = after.done.and_then(|done| series.next_ms(&rule, done));
            next_ms = next_ms.into_iter().chain(series_ms).min();
            place += 1;
        }
        // Changes come in the order of the series, however these came to be known.
        out[first..].sort_by(|a, b| a.alert.key.cmp(&b.alert.key));
        (self.times, self.dirty, self.next_ms) = (after, false, next_ms);
    }

    fn forget(&mut self, place: usize) {
        let mut key = Vec::new();
        let series = self.series.swap_remove(place);
        series.key.iter().for_each(|value| encode(value, &mut key));
        self.places.remove(key.as_slice());
        if let Some(moved) = self.series.get(place) {
            key.clear();
            moved.key.iter().for_each(|value| encode(value, &mut key));
            self.places.insert(key.as_slice().into(), place);
        }
    }

    /// What decides what it says.
    fn definition(&self) -> u64 {
        let Rule {
            name, kpi, value, by, condition, for_ms, keep_firing_for_ms, min_n, n, series_max, ..
        } = &*self.rule;
        let Rule { grouped_by, size_ms, slide_ms, corrections_ms, .. } = &*self.rule;
        let text = serde_json::to_string(&(
            (name, kpi, value, by, condition, for_ms, keep_firing_for_ms),
            (min_n, n, series_max, grouped_by, size_ms, slide_ms, corrections_ms),
        ));
        let mut hash = Hash::default();
        hash.write(text.unwrap_or_default().as_bytes());
        hash.finish()
    }

    fn save(&self) -> SavedRule {
        let series = self.series.clone();
        SavedRule {
            name: self.rule.name.clone(),
            definition: self.definition(),
            times: self.times,
            dirty: self.dirty,
            next_ms: self.next_ms,
            left_out: self.left_out,
            late: self.late,
            series,
        }
    }

    fn restore(
        &mut self,
        saved: SavedRule,
        now_ms: Option<i64>,
        shape: &KpiShape,
    ) -> Result<(), AlertsError> {
        if saved.definition != self.definition() {
            return Err(AlertsError::OtherRules(format!("rule {} has changed", saved.name)));
        }
        let times = match now_ms {
            None => Times::default(),
            Some(now_ms) => Times {
                done: Some(shape.last_end(now_ms)),
                settled: Some(shape.last_end(now_ms - shape.corrections_ms)),
            },
        };
        if saved.times != times {
            return Err(AlertsError::Damaged("a rule that is at another time"));
        }
        if saved.next_ms.is_some_and(|next| !is_time(next) || now_ms.is_some_and(|now_ms| next <= now_ms)) {
            return Err(AlertsError::Damaged("a next time that has been"));
        }
        if saved.series.len() > self.rule.series_max {
            return Err(AlertsError::Damaged("more series than a rule may have"));
        }
        self.places.clear();
        self.series = saved.series;
        for (place, series) in self.series.iter_mut().enumerate() {
            if !series.is_whole(&self.rule, times, shape) {
                return Err(AlertsError::Damaged("a series that cannot be"));
            }
            series.restored(&self.rule, times);
            let mut key = Vec::new();
            series.key.iter().for_each(|value| encode(value, &mut key));
            if self.places.insert(key.as_slice().into(), place).is_some() {
                return Err(AlertsError::Damaged("a series that is there twice"));
            }
        }
        (self.times, self.dirty, self.next_ms) = (times, saved.dirty, saved.next_ms);
        (self.left_out, self.late) = (saved.left_out, saved.late);
        Ok(())
    }
}

/// Appends a value of a key, so that no two keys look the same.
#[inline]
fn encode(value: &str, key: &mut Vec<u8>) {
    key.extend_from_slice(&(value.len() as u32).to_le_bytes());
    key.extend_from_slice(value.as_bytes());
}

/// FxHash (of Firefox and rustc), eight bytes at a time: keys are short, and at most `series_max`
/// of them are kept.
#[derive(Default)]
struct Hash(u64);

impl Hasher for Hash {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.0 = (self.0.rotate_left(5) ^ u64::from_le_bytes(word)).wrapping_mul(0x517c_c1b7_2722_0a95);
        }
    }

    fn write_u8(&mut self, _: u8) {}

    fn write_usize(&mut self, number: usize) {
        self.write(&(number as u64).to_le_bytes());
    }

    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 32)
    }
}
