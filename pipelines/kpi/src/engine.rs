//! The windows of one KPI.
//!
//! Facts are aggregated once, by pane and finest key, into partial states. A
//! window's rows are merged from the partials of its panes whenever it shows
//! something: at its early ticks, at its end, after corrections, and when it is
//! final. All states are integers, so the order of merging changes no bit.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
    UInt32Array, new_null_array,
};
use arrow::compute::{concat_batches, filter_record_batch, take_arrays};
use arrow::datatypes::{Field, Int64Type, Schema};
use datafusion::common::ScalarValue;
use datafusion::error::Result;
use datafusion::logical_expr::{EmitTo, GroupsAccumulator};
use datafusion::physical_expr::GroupsAccumulatorAdapter;
use datafusion::physical_plan::aggregates::group_values::{GroupValues, new_group_values};
use datafusion::physical_plan::aggregates::order::GroupOrdering;
use headsup_operators::facts::Table;
use headsup_operators::{Windows, WindowsError, pack, unpack};
use serde::{Deserialize, Serialize};

use crate::definition::{Cell, Kpi, Step};

/// The state of one KPI: partial aggregates per pane, and what each window has
/// shown.
#[derive(Debug)]
pub struct KpiWindows {
    kpi: Arc<Kpi>,
    tick_ms: i64,
    /// Facts not aggregated yet.
    pending: Vec<RecordBatch>,
    pending_rows: usize,
    panes: BTreeMap<i64, Vec<Partial>>,
    windows: BTreeMap<i64, Shown>,
    /// Everything before has been shown.
    now_ms: Option<i64>,
    /// Counts partials, to tell what is new in a window.
    sequence: u64,
    refused: u64,
}

/// The aggregate states of some facts of one pane, by finest key.
#[derive(Debug, Clone)]
struct Partial {
    sequence: u64,
    keys: Vec<ArrayRef>,
    /// Per aggregate its state columns.
    states: Vec<Vec<ArrayRef>>,
    rows: usize,
}

/// What a window has shown.
#[derive(Debug, Default, Clone, Serialize, Deserialize)]
struct Shown {
    revision: i64,
    /// Partials up to this one are in what was shown.
    sequence: u64,
    complete: bool,
    dirty: bool,
}

/// The state as it is saved.
#[derive(Serialize, Deserialize)]
struct Saved {
    pending: Vec<u8>,
    /// Per partial its pane and sequence; their keys and states are the batches of
    /// `columns`.
    partials: Vec<(i64, u64)>,
    columns: Vec<u8>,
    /// How many columns the state of each aggregate has.
    widths: Vec<usize>,
    windows: BTreeMap<i64, Shown>,
    now_ms: Option<i64>,
    sequence: u64,
    refused: u64,
}

/// More partials than this in a pane are merged into one.
const PARTIALS_MAX: usize = 8;
/// Facts are aggregated when so many rows wait, even between ticks.
const PENDING_MAX: usize = 1 << 16;

impl Windows for KpiWindows {
    fn name(&self) -> &str {
        &self.kpi.name
    }

    fn tables(&self) -> Vec<Table> {
        self.kpi.tables()
    }

    fn columns(&self, table: Table) -> BTreeSet<usize> {
        self.kpi.columns(table)
    }

    fn tick_ms(&self) -> i64 {
        self.tick_ms
    }

    fn next_tick_ms(&self) -> Option<i64> {
        let soon = self.now_ms.map(|now| next_multiple(now, self.tick_ms));
        if self.pending_rows > 0 {
            return Some(soon.unwrap_or(i64::MIN));
        }
        self.windows
            .iter()
            .map(|(&start, shown)| {
                let end = start + self.kpi.windowing.size_ms();
                let due = if shown.complete { end + self.kpi.corrections_ms } else { end };
                match (shown.dirty, soon) {
                    (true, Some(soon)) if shown.complete => due.min(soon),
                    (true, Some(soon)) => match self.kpi.early_ms {
                        Some(early) => due.min(next_multiple(soon - 1, early)),
                        None => due,
                    },
                    _ => due,
                }
            })
            .min()
    }

    fn absorb(&mut self, table: Table, facts: &RecordBatch) -> Result<(), WindowsError> {
        let kpi = self.kpi.clone();
        for branch in kpi.branches.iter().filter(|branch| branch.table == table) {
            let mut batch = facts.clone();
            for step in &branch.steps {
                batch = match step {
                    Step::Filter(predicate) => {
                        let keep = predicate.evaluate(&batch)?.into_array(batch.num_rows())?;
                        filter_record_batch(&batch, keep.as_boolean())?
                    }
                    Step::Project(exprs, schema) => {
                        let rows = batch.num_rows();
                        let columns = exprs
                            .iter()
                            .map(|expr| expr.evaluate(&batch)?.into_array(rows))
                            .collect::<Result<Vec<_>>>()?;
                        RecordBatch::try_new(schema.clone(), columns)?
                    }
                };
                if batch.num_rows() == 0 {
                    break;
                }
            }
            if batch.num_rows() > 0 {
                self.pending_rows += batch.num_rows();
                self.pending.push(batch);
            }
        }
        if self.pending_rows >= PENDING_MAX {
            self.aggregate()?;
        }
        Ok(())
    }

    fn tick(&mut self, now_ms: i64, rows: &mut Vec<RecordBatch>) -> Result<(), WindowsError> {
        if now_ms.rem_euclid(self.tick_ms) != 0 {
            return Ok(());
        }
        self.aggregate()?;
        Ok(self.show(now_ms, rows)?)
    }

    fn refused(&self) -> u64 {
        self.refused
    }

    fn save(&self) -> Result<Vec<u8>, WindowsError> {
        let partials =
            || self.panes.iter().flat_map(|(pane, partials)| partials.iter().map(move |p| (pane, p)));
        let columns = partials().map(|(_, partial)| partial.columns()).collect::<Result<Vec<_>>>()?;
        let pending = match self.pending.as_slice() {
            [] => Vec::new(),
            [first, ..] => pack(&[concat_batches(&first.schema(), &self.pending)?])?,
        };
        let saved = Saved {
            pending,
            partials: partials().map(|(&pane, partial)| (pane, partial.sequence)).collect(),
            columns: pack(&columns)?,
            widths: partials().next().map_or(vec![], |(_, p)| p.states.iter().map(Vec::len).collect()),
            windows: self.windows.clone(),
            now_ms: self.now_ms,
            sequence: self.sequence,
            refused: self.refused,
        };
        Ok(postcard::to_stdvec(&saved)?)
    }

    fn restore(&mut self, saved: &[u8]) -> Result<(), WindowsError> {
        let saved: Saved = postcard::from_bytes(saved)?;
        self.pending = unpack(&saved.pending)?;
        self.pending_rows = self.pending.iter().map(RecordBatch::num_rows).sum();
        self.panes.clear();
        let keys = self.kpi.keys.len();
        for ((pane, sequence), batch) in saved.partials.into_iter().zip(unpack(&saved.columns)?) {
            if saved.widths.len() != self.kpi.aggregates.len()
                || batch.num_columns() != keys + saved.widths.iter().sum::<usize>()
            {
                return Err(format!("a state of another KPI than {}", self.kpi.name).into());
            }
            let (keys, mut states) = batch.columns().split_at(keys);
            let mut of_aggregates = Vec::with_capacity(saved.widths.len());
            for &width in &saved.widths {
                let (state, rest) = states.split_at(width);
                of_aggregates.push(state.to_vec());
                states = rest;
            }
            let partial =
                Partial { sequence, keys: keys.to_vec(), states: of_aggregates, rows: batch.num_rows() };
            self.panes.entry(pane).or_default().push(partial);
        }
        self.windows = saved.windows;
        (self.now_ms, self.sequence, self.refused) = (saved.now_ms, saved.sequence, saved.refused);
        Ok(())
    }
}

impl Partial {
    /// Keys and states side by side.
    fn columns(&self) -> Result<RecordBatch> {
        let columns = self.keys.iter().chain(self.states.iter().flatten());
        let named = columns.enumerate().map(|(place, column)| (place.to_string(), column.clone(), true));
        Ok(RecordBatch::try_from_iter_with_nullable(named)?)
    }
}

impl KpiWindows {
    /// No facts yet.
    pub fn new(kpi: Arc<Kpi>) -> Self {
        Self {
            tick_ms: kpi.tick_ms(),
            kpi,
            pending: Vec::new(),
            pending_rows: 0,
            panes: BTreeMap::new(),
            windows: BTreeMap::new(),
            now_ms: None,
            sequence: 0,
            refused: 0,
        }
    }

    /// The definition.
    pub fn kpi(&self) -> &Arc<Kpi> {
        &self.kpi
    }

    /// For a batch: every window shows its final rows and nothing before.
    ///
    /// # Errors
    /// An expression that cannot be evaluated.
    pub fn finish(mut self, rows: &mut Vec<RecordBatch>) -> Result<()> {
        self.aggregate()?;
        let starts: Vec<i64> = self.windows.keys().copied().collect();
        for start in starts {
            let end = start + self.kpi.windowing.size_ms();
            self.emit(start, true, end + self.kpi.corrections_ms, rows)?;
        }
        Ok(())
    }

    fn show(&mut self, now_ms: i64, rows: &mut Vec<RecordBatch>) -> Result<()> {
        let kpi = self.kpi.clone();
        let size_ms = kpi.windowing.size_ms();
        let mut finals = Vec::new();
        let mut next_to_end = true;
        let starts: Vec<i64> = self.windows.keys().copied().collect();
        for start in starts {
            let end = start + size_ms;
            let shown = &self.windows[&start];
            let is_final = now_ms >= end + kpi.corrections_ms;
            let due = if now_ms >= end {
                is_final || shown.dirty || !shown.complete
            } else {
                let early = kpi.early_ms.is_some_and(|early| now_ms.rem_euclid(early) == 0);
                let due = early && shown.dirty && next_to_end;
                next_to_end = false;
                due
            };
            if due {
                self.emit(start, is_final, now_ms, rows)?;
                let shown = self.windows.entry(start).or_default();
                shown.complete |= now_ms >= end;
                shown.dirty = false;
                shown.sequence = self.sequence;
            }
            if is_final {
                finals.push(start);
            }
        }
        for start in finals {
            self.windows.remove(&start);
        }
        self.now_ms = Some(self.now_ms.map_or(now_ms, |before| before.max(now_ms)));
        // A pane is needed until the last window with it is final.
        while let Some((&pane, _)) = self.panes.first_key_value() {
            if self.open(pane) {
                break;
            }
            self.panes.pop_first();
        }
        Ok(())
    }

    /// Whether any window with this pane can still change.
    fn open(&self, pane: i64) -> bool {
        let windowing = &self.kpi.windowing;
        let last = *windowing.windows_of_pane(pane).end();
        self.now_ms.is_none_or(|now| last + windowing.size_ms() + self.kpi.corrections_ms > now)
    }

    /// Aggregates what is pending into partials of their panes.
    fn aggregate(&mut self) -> Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        self.pending_rows = 0;
        let pending = std::mem::take(&mut self.pending);
        let batch = match pending.as_slice() {
            [one] => one.clone(),
            many => concat_batches(&many[0].schema(), many)?,
        };
        let kpi = self.kpi.clone();
        let times = kpi.time.evaluate(&batch)?.into_array(batch.num_rows())?;
        let times = times.as_primitive::<Int64Type>();
        let mut by_pane: BTreeMap<i64, Vec<u32>> = BTreeMap::new();
        for row in 0..batch.num_rows() {
            // A fact without the window's time (never accepted, say) has no window.
            if times.is_valid(row) {
                let pane = kpi.windowing.pane_start(times.value(row).div_euclid(1_000));
                by_pane.entry(pane).or_default().push(row as u32);
            }
        }
        for (pane, rows) in by_pane {
            if !self.open(pane) {
                self.refused += rows.len() as u64;
                continue;
            }
            let part = if rows.len() == batch.num_rows() {
                batch.clone()
            } else {
                let columns = take_arrays(batch.columns(), &UInt32Array::from(rows), None)?;
                RecordBatch::try_new(batch.schema(), columns)?
            };
            let mut partial = partial_of(&kpi, &part)?;
            self.sequence += 1;
            partial.sequence = self.sequence;
            let partials = self.panes.entry(pane).or_default();
            partials.push(partial);
            for start in kpi.windowing.windows_of_pane(pane).step_by(kpi.windowing.slide_ms() as usize) {
                let end = start + kpi.windowing.size_ms() + kpi.corrections_ms;
                if self.now_ms.is_none_or(|now| end > now) {
                    self.windows.entry(start).or_default().dirty = true;
                }
            }
            self.compact(pane)?;
        }
        Ok(())
    }

    /// What is in the panes of a window, by finest key, and which of it has changed
    /// since `sequence`. `None` if there is nothing.
    fn merged(&self, panes: Range<i64>, sequence: u64) -> Result<Option<(Cow<'_, Partial>, Vec<bool>)>> {
        let partials: Vec<&Partial> = self.panes.range(panes).flat_map(|(_, partials)| partials).collect();
        match partials.as_slice() {
            [] => Ok(None),
            [only] => Ok(Some((Cow::Borrowed(only), vec![only.sequence > sequence; only.rows]))),
            many => {
                let set: Vec<usize> = (0..self.kpi.keys.len()).collect();
                let mut merged = Merged::new(&self.kpi, &set)?;
                let mut changed = Vec::new();
                for partial in many {
                    merged.add(partial, &set)?;
                    changed.resize(merged.total, false);
                    if partial.sequence > sequence {
                        merged.groups.iter().for_each(|&group| changed[group] = true);
                    }
                }
                Ok(Some((Cow::Owned(merged.into_partial()?), changed)))
            }
        }
    }

    /// Merges a pane's partials that no window tells apart: those between which
    /// none has shown anything.
    fn compact(&mut self, pane: i64) -> Result<()> {
        let kpi = &self.kpi;
        let windows = self.windows.range(kpi.windowing.windows_of_pane(pane));
        let shown: Vec<u64> = windows.map(|(_, shown)| shown.sequence).collect();
        let Some(partials) = self.panes.get_mut(&pane).filter(|all| all.len() > PARTIALS_MAX) else {
            return Ok(());
        };
        let set: Vec<usize> = (0..kpi.keys.len()).collect();
        let seen_by = |partial: &Partial| shown.iter().filter(|&&s| partial.sequence <= s).count();
        let mut compacted = Vec::new();
        for run in partials.chunk_by(|a, b| seen_by(a) == seen_by(b)) {
            let mut merged = Merged::new(kpi, &set)?;
            for partial in run {
                merged.add(partial, &set)?;
            }
            let mut partial = merged.into_partial()?;
            partial.sequence = run.iter().map(|partial| partial.sequence).max().unwrap_or(0);
            compacted.push(partial);
        }
        *partials = compacted;
        Ok(())
    }

    /// Appends the rows of one window that are new, or all if it is final.
    fn emit(&mut self, start: i64, is_final: bool, now_ms: i64, rows: &mut Vec<RecordBatch>) -> Result<()> {
        let kpi = self.kpi.clone();
        let end = start + kpi.windowing.size_ms();
        let shown = &self.windows[&start];
        let revision = shown.revision + 1;
        let mut any = false;
        let Some((fine, changed)) = self.merged(start..end, shown.sequence)? else {
            return Ok(());
        };
        for set in &kpi.sets {
            let mut merged = Merged::new(&kpi, set)?;
            if set.len() == kpi.keys.len() {
                merged.take(&fine, set)?;
            } else {
                merged.add(&fine, set)?;
            }
            let mut dirty = vec![false; merged.total];
            for (&group, &changed) in merged.groups.iter().zip(changed.iter()) {
                dirty[group] |= changed;
            }
            if merged.total == 0 {
                continue;
            }
            let total = merged.total;
            let keys = merged.keys()?;
            let aggregated = kpi
                .cells
                .iter()
                .zip(kpi.aggregated.fields())
                .map(|(cell, field)| match *cell {
                    Cell::Window => {
                        ScalarValue::TimestampMicrosecond(Some(start * 1_000), Some("UTC".into()))
                            .to_array_of_size(total)
                    }
                    Cell::Key(key) => Ok(match set.iter().position(|&other| other == key) {
                        Some(place) => keys[place].clone(),
                        None => new_null_array(field.data_type(), total),
                    }),
                    Cell::GroupingId => ScalarValue::new_zero(field.data_type())?.to_array_of_size(total),
                    Cell::Aggregate(place) => merged.accumulators[place].evaluate(EmitTo::All),
                })
                .collect::<Result<Vec<_>>>()?;
            let aggregated = RecordBatch::try_new(kpi.aggregated.clone(), aggregated)?;
            let grouped_by: Vec<&str> = set.iter().map(|&key| kpi.keys[key].name.as_str()).collect();
            let mut columns: Vec<ArrayRef> = vec![
                times(start, total),
                times(end, total),
                Arc::new(StringArray::from(vec![grouped_by.join(","); total])),
            ];
            for (place, key) in kpi.keys.iter().enumerate() {
                columns.push(match set.iter().position(|&other| other == place) {
                    Some(place) => keys[place].clone(),
                    None => new_null_array(&key.data_type, total),
                });
            }
            for (_, value) in &kpi.values {
                columns.push(value.evaluate(&aggregated)?.into_array(total)?);
            }
            columns.push(Arc::new(Int64Array::from(vec![revision; total])));
            columns.push(Arc::new(BooleanArray::from(vec![is_final; total])));
            columns.push(times(now_ms, total));
            let batch = RecordBatch::try_new(kpi.rows.clone(), columns)?;
            let mut keep = BooleanArray::from(if is_final { vec![true; total] } else { dirty });
            if let Some(having) = &kpi.having {
                let having = having.evaluate(&aggregated)?.into_array(total)?;
                keep = arrow::compute::and_kleene(&keep, having.as_boolean())?;
            }
            let batch = filter_record_batch(&batch, &keep)?;
            if batch.num_rows() > 0 {
                any = true;
                rows.push(batch);
            }
        }
        if any {
            self.windows.entry(start).or_default().revision = revision;
        }
        Ok(())
    }
}

/// Facts of one pane to aggregate states.
fn partial_of(kpi: &Kpi, batch: &RecordBatch) -> Result<Partial> {
    let rows = batch.num_rows();
    let set: Vec<usize> = (0..kpi.keys.len()).collect();
    let mut merged = Merged::new(kpi, &set)?;
    let keys =
        kpi.keys.iter().map(|key| key.expr.evaluate(batch)?.into_array(rows)).collect::<Result<Vec<_>>>()?;
    merged.groups_of(&keys, rows)?;
    let mut states = Vec::with_capacity(kpi.aggregates.len());
    for (aggregate, accumulator) in kpi.aggregates.iter().zip(&mut merged.accumulators) {
        let values = aggregate
            .aggregate
            .expressions()
            .iter()
            .map(|expr| expr.evaluate(batch)?.into_array(rows))
            .collect::<Result<Vec<_>>>()?;
        let filter = match &aggregate.filter {
            Some(filter) => Some(filter.evaluate(batch)?.into_array(rows)?),
            None => None,
        };
        let filter = filter.as_ref().map(|filter| filter.as_boolean());
        accumulator.update_batch(&values, &merged.groups, filter, merged.total)?;
        states.push(accumulator.state(EmitTo::All)?);
    }
    let total = merged.total;
    Ok(Partial { sequence: 0, keys: merged.keys()?, states, rows: total })
}

/// Aggregation of partials by some of their keys.
struct Merged {
    values: Option<Box<dyn GroupValues>>,
    accumulators: Vec<Box<dyn GroupsAccumulator>>,
    groups: Vec<usize>,
    total: usize,
    /// The keys, if they have not been through `values`.
    only: Option<Vec<ArrayRef>>,
}

impl Merged {
    fn new(kpi: &Kpi, set: &[usize]) -> Result<Self> {
        let values = if set.is_empty() {
            None
        } else {
            let fields: Vec<Field> = set
                .iter()
                .map(|&key| Field::new(&kpi.keys[key].name, kpi.keys[key].data_type.clone(), true))
                .collect();
            Some(new_group_values(Arc::new(Schema::new(fields)), &GroupOrdering::None)?)
        };
        let accumulators = kpi
            .aggregates
            .iter()
            .map(|aggregate| {
                let aggregate = &aggregate.aggregate;
                if aggregate.groups_accumulator_supported() {
                    aggregate.create_groups_accumulator()
                } else {
                    let aggregate = aggregate.clone();
                    Ok(Box::new(GroupsAccumulatorAdapter::new(move || aggregate.create_accumulator()))
                        as Box<dyn GroupsAccumulator>)
                }
            })
            .collect::<Result<_>>()?;
        Ok(Self { values, accumulators, groups: Vec::new(), total: 0, only: None })
    }

    /// Finds the group of each row.
    fn groups_of(&mut self, keys: &[ArrayRef], rows: usize) -> Result<()> {
        match &mut self.values {
            Some(values) => {
                values.intern(keys, &mut self.groups)?;
                self.total = values.len();
            }
            None => {
                self.groups.clear();
                self.groups.resize(rows, 0);
                self.total = 1;
            }
        }
        Ok(())
    }

    /// Merges a partial in; `groups` says into which groups.
    fn add(&mut self, partial: &Partial, set: &[usize]) -> Result<()> {
        let keys: Vec<ArrayRef> = set.iter().map(|&key| partial.keys[key].clone()).collect();
        self.groups_of(&keys, partial.rows)?;
        for (accumulator, state) in self.accumulators.iter_mut().zip(&partial.states) {
            accumulator.merge_batch(state, &self.groups, self.total)?;
        }
        Ok(())
    }

    /// Takes the only partial there is, by all its keys, which are distinct.
    fn take(&mut self, partial: &Partial, set: &[usize]) -> Result<()> {
        self.groups = (0..partial.rows).collect();
        self.total = partial.rows;
        self.only = Some(set.iter().map(|&key| partial.keys[key].clone()).collect());
        for (accumulator, state) in self.accumulators.iter_mut().zip(&partial.states) {
            accumulator.merge_batch(state, &self.groups, self.total)?;
        }
        Ok(())
    }

    fn into_partial(mut self) -> Result<Partial> {
        let states = self
            .accumulators
            .iter_mut()
            .map(|accumulator| accumulator.state(EmitTo::All))
            .collect::<Result<_>>()?;
        Ok(Partial { sequence: 0, rows: self.total, keys: self.keys()?, states })
    }

    fn keys(&mut self) -> Result<Vec<ArrayRef>> {
        if let Some(keys) = self.only.take() {
            return Ok(keys);
        }
        match &mut self.values {
            Some(values) => values.emit(EmitTo::All),
            None => Ok(Vec::new()),
        }
    }
}

fn times(ms: i64, rows: usize) -> ArrayRef {
    Arc::new(TimestampMicrosecondArray::from(vec![ms.saturating_mul(1_000); rows]).with_timezone("UTC"))
}

/// The smallest multiple of `step` after `time_ms`.
fn next_multiple(time_ms: i64, step: i64) -> i64 {
    (time_ms.div_euclid(step) + 1) * step
}
