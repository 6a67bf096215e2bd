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
    ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
    UInt32Array,
};
use arrow::compute::{filter_record_batch, take_record_batch};
use arrow::datatypes::UInt32Type;
use datafusion::common::ScalarValue;
use datafusion::error::Result;
use datafusion::logical_expr::EmitTo;
use headsup_operators::facts::Table;
use headsup_operators::{Bytes, Copied, Windows, WindowsError, is_time, pack, unpack};
use serde::{Deserialize, Serialize};

use crate::definition::{Cell, Kpi};
use crate::gather::Gather;
use crate::groups::{Merged, Partial, partial_of};

/// The state of one KPI: partial aggregates per pane, and what each window has
/// shown.
#[derive(Debug)]
pub struct KpiWindows {
    kpi: Arc<Kpi>,
    tick_ms: i64,
    gather: Gather,
    panes: BTreeMap<i64, Vec<Partial>>,
    windows: BTreeMap<i64, Shown>,
    /// Everything before has been shown.
    now_ms: Option<i64>,
    /// Counts partials, to tell what is new in a window.
    sequence: u64,
    refused: u64,
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
    pending: Bytes,
    /// Per partial its pane and sequence; their keys and states are the batches of
    /// `columns`.
    partials: Vec<(i64, u64)>,
    columns: Bytes,
    /// How many columns the state of each aggregate has.
    widths: Vec<usize>,
    windows: BTreeMap<i64, Shown>,
    now_ms: Option<i64>,
    sequence: u64,
    refused: u64,
}

/// More partials than this in a pane are merged into one.
const PARTIALS_MAX: usize = 8;

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
        if !self.gather.is_empty() {
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

    fn absorb(&mut self, now_ms: i64, table: Table, facts: &RecordBatch) -> Result<(), WindowsError> {
        self.gather.absorb(table, facts)?;
        if self.gather.is_full() {
            self.aggregate(next_multiple(now_ms.saturating_sub(1), self.tick_ms))?;
        }
        Ok(())
    }

    fn tick(&mut self, now_ms: i64, rows: &mut Vec<RecordBatch>) -> Result<(), WindowsError> {
        if now_ms.rem_euclid(self.tick_ms) != 0 {
            return Ok(());
        }
        self.aggregate(now_ms)?;
        Ok(self.show(now_ms, rows)?)
    }

    fn refused(&self) -> u64 {
        self.refused
    }

    fn save(&self) -> Copied {
        let pending = self.gather.save();
        let panes = self.panes.clone();
        let windows = self.windows.clone();
        let (now_ms, sequence, refused) = (self.now_ms, self.sequence, self.refused);
        Copied::new(move || {
            let partials =
                || panes.iter().flat_map(|(&pane, partials)| partials.iter().map(move |p| (pane, p)));
            let columns = partials().map(|(_, partial)| partial.columns()).collect::<Result<Vec<_>>>()?;
            let saved = Saved {
                pending: Bytes(pending.pack()?),
                partials: partials().map(|(pane, partial)| (pane, partial.sequence)).collect(),
                columns: Bytes(pack(&columns)?),
                widths: partials().next().map_or(vec![], |(_, p)| p.states.iter().map(Vec::len).collect()),
                windows,
                now_ms,
                sequence,
                refused,
            };
            Ok(postcard::to_stdvec(&saved)?)
        })
    }

    fn restore(&mut self, saved: &[u8]) -> Result<(), WindowsError> {
        let saved: Saved = postcard::from_bytes(saved)?;
        let panes = saved.partials.iter().map(|&(pane, _)| pane);
        let counts =
            saved.partials.iter().map(|&(_, sequence)| sequence).chain([saved.sequence, saved.refused]);
        let revisions = saved.windows.values().map(|shown| shown.revision);
        if !panes.chain(saved.windows.keys().copied()).chain(saved.now_ms).chain(revisions).all(is_time)
            || counts.into_iter().any(|count| count > i64::MAX as u64)
            || saved.partials.iter().any(|&(pane, _)| self.kpi.windowing.pane_start(pane) != pane)
            || saved.windows.keys().any(|start| !self.kpi.windowing.is_start(*start))
        {
            return Err(format!("a damaged state of KPI {}", self.kpi.name).into());
        }
        self.gather.restore(&saved.pending.0)?;
        self.panes.clear();
        for ((pane, sequence), batch) in saved.partials.into_iter().zip(unpack(&saved.columns.0)?) {
            let Some(partial) = Partial::of_columns(&self.kpi, batch.columns(), batch.num_rows())? else {
                return Err(format!("a state of another KPI than {}", self.kpi.name).into());
            };
            self.panes.entry(pane).or_default().push(Partial { sequence, ..partial });
        }
        self.windows = saved.windows;
        (self.now_ms, self.sequence, self.refused) = (saved.now_ms, saved.sequence, saved.refused);
        Ok(())
    }
}

impl KpiWindows {
    /// No facts yet.
    pub fn new(kpi: Arc<Kpi>) -> Self {
        Self {
            tick_ms: kpi.tick_ms(),
            gather: Gather::new(kpi.clone()),
            kpi,
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
        self.aggregate(i64::MIN)?;
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
            if self.last_final_ms(pane) > now_ms {
                break;
            }
            self.panes.pop_first();
        }
        Ok(())
    }

    /// When the last window with this pane is final.
    fn last_final_ms(&self, pane: i64) -> i64 {
        let windowing = &self.kpi.windowing;
        *windowing.windows_of_pane(pane).end() + windowing.size_ms() + self.kpi.corrections_ms
    }

    /// Aggregates what is pending into partials of their panes, at the tick `now_ms`.
    fn aggregate(&mut self, now_ms: i64) -> Result<()> {
        for (pane, facts) in self.gather.take()? {
            if self.takes(pane, now_ms) {
                let partial = partial_of(&self.kpi, &facts)?;
                self.put(pane, partial, now_ms)?;
            } else {
                self.refused += facts.num_rows() as u64;
            }
        }
        Ok(())
    }

    /// Whether a window with this pane had not been final before the tick `now_ms`. That
    /// depends on nothing but the two, not on which ticks there was something to do at.
    fn takes(&self, pane: i64, now_ms: i64) -> bool {
        self.last_final_ms(pane) > now_ms.saturating_sub(self.tick_ms)
    }

    /// Puts a partial into its pane, which makes windows dirty.
    fn put(&mut self, pane: i64, partial: Partial, now_ms: i64) -> Result<()> {
        let kpi = self.kpi.clone();
        self.sequence += 1;
        let sequence = self.sequence;
        self.panes.entry(pane).or_default().push(Partial { sequence, ..partial });
        for start in kpi.windowing.windows_of_pane(pane).step_by(kpi.windowing.slide_ms() as usize) {
            let final_ms = start + kpi.windowing.size_ms() + kpi.corrections_ms;
            if start >= kpi.from_ms && final_ms > now_ms.saturating_sub(self.tick_ms) {
                self.windows.entry(start).or_default().dirty = true;
            }
        }
        self.compact(pane)
    }

    /// Takes in what [`crate::KpiPartials`] of the same KPI has given out at the tick
    /// `now_ms`, over a share of the events.
    ///
    /// # Errors
    /// Rows of something else.
    pub fn absorb_partials(&mut self, now_ms: i64, batch: &RecordBatch) -> Result<(), WindowsError> {
        let kpi = self.kpi.clone();
        let other = || format!("partial aggregates of another KPI than {}", kpi.name);
        let panes = crate::ticks::panes(batch).ok_or_else(other)?;
        if panes.iter().any(|&(pane, ..)| kpi.windowing.pane_start(pane) != pane) {
            return Err(other().into());
        }
        for (pane, facts, rows) in panes {
            let part = batch.slice(rows.start, rows.len());
            let columns = &part.columns()[crate::shares::HEADER..];
            let partial = Partial::of_columns(&kpi, columns, part.num_rows())?.ok_or_else(other)?;
            if self.takes(pane, now_ms) {
                self.put(pane, partial, now_ms)?;
            } else {
                self.refused = self.refused.saturating_add(facts);
            }
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
                let mut merged = Merged::new(&self.kpi)?;
                let mut changed = Vec::new();
                for partial in many {
                    merged.add(partial)?;
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
        let seen_by = |partial: &Partial| shown.iter().filter(|&&s| partial.sequence <= s).count();
        let mut compacted = Vec::new();
        for run in partials.chunk_by(|a, b| seen_by(a) == seen_by(b)) {
            let mut merged = Merged::new(kpi)?;
            for partial in run {
                merged.add(partial)?;
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
        let Some((fine, changed)) = self.merged(start..end, shown.sequence)? else {
            return Ok(());
        };
        let mut merged = Merged::by_sets(&kpi, &fine)?;
        let total = merged.total;
        let mut keep = vec![is_final; total];
        for (&group, &changed) in merged.groups.iter().zip(changed.iter().cycle()) {
            keep[group] |= changed;
        }
        let keys = merged.keys()?;
        let (set_of, keys) = (keys[0].as_primitive::<UInt32Type>().values(), &keys[1..]);
        let aggregated = kpi
            .cells
            .iter()
            .zip(kpi.aggregated.fields())
            .map(|(cell, field)| match *cell {
                Cell::Window => Ok(times(start, total)),
                Cell::Key(key) => Ok(keys[key].clone()),
                Cell::GroupingId => ScalarValue::new_zero(field.data_type())?.to_array_of_size(total),
                Cell::Aggregate(place) => merged.accumulators[place].evaluate(EmitTo::All),
            })
            .collect::<Result<Vec<_>>>()?;
        let aggregated = RecordBatch::try_new(kpi.aggregated.clone(), aggregated)?;
        let grouped_by = set_of.iter().map(|&set| kpi.grouped_by[set as usize].as_str());
        let mut columns: Vec<ArrayRef> =
            vec![times(start, total), times(end, total), Arc::new(StringArray::from_iter_values(grouped_by))];
        columns.extend(keys.iter().cloned());
        for (_, value) in &kpi.values {
            columns.push(value.evaluate(&aggregated)?.into_array(total)?);
        }
        columns.push(Arc::new(Int64Array::from_value(revision, total)));
        columns.push(Arc::new(BooleanArray::from(vec![is_final; total])));
        columns.push(times(now_ms, total));
        let mut keep = BooleanArray::from(keep);
        if let Some(having) = &kpi.having {
            let having = having.evaluate(&aggregated)?.into_array(total)?;
            keep = arrow::compute::and_kleene(&keep, having.as_boolean())?;
        }
        let batch = RecordBatch::try_new(kpi.rows.clone(), columns)?;
        let all = keep.true_count() == total;
        let batch = if all { batch } else { filter_record_batch(&batch, &keep)? };
        if batch.num_rows() > 0 {
            self.windows.entry(start).or_default().revision = revision;
        }
        let kept = set_of.iter().zip(&keep).filter(|(_, keep)| *keep == Some(true));
        by_set(batch, kept.map(|(set, _)| *set).collect(), rows)
    }
}

/// A batch for each set. Groups come in the order of the sets, but that those whose hashes are equal come last, and missing
/// values are not in the hash.
fn by_set(mut batch: RecordBatch, mut sets: Vec<u32>, rows: &mut Vec<RecordBatch>) -> Result<()> {
    if !sets.is_sorted() {
        let mut order: Vec<u32> = (0..sets.len() as u32).collect();
        order.sort_by_key(|&row| sets[row as usize]);
        batch = take_record_batch(&batch, &UInt32Array::from(order))?;
        sets.sort_unstable();
    }
    let mut first = 0;
    for run in sets.chunk_by(|a, b| a == b) {
        rows.push(batch.slice(first, run.len()));
        first += run.len();
    }
    Ok(())
}

fn times(ms: i64, rows: usize) -> ArrayRef {
    Arc::new(TimestampMicrosecondArray::from(vec![ms.saturating_mul(1_000); rows]).with_timezone("UTC"))
}

/// The smallest multiple of `step` after `time_ms`.
fn next_multiple(time_ms: i64, step: i64) -> i64 {
    (time_ms.div_euclid(step) + 1).saturating_mul(step)
}
