//! One KPI over a share of the events: partial aggregates instead of rows.
//!
//! When the partitions of the log are divided among processes, each of them aggregates what
//! it sees, and [`crate::Merge`] puts the parts of all shares into windows.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Field, Schema};
use datafusion::error::Result;
use headsup_operators::facts::Table;
use headsup_operators::{Bytes, Copied, Windows, WindowsError, is_time, pack, unpack};
use serde::{Deserialize, Serialize};

use crate::definition::Kpi;
use crate::gather::Gather;
use crate::groups::{Merged, Partial, partial_of};

/// Partial aggregates of one KPI, given out at every tick at which there are new facts.
///
/// A row is a pane and a finest key: `tick` and `pane` (start) in ms since the Unix epoch, the
/// number of `facts` in all of the pane's rows, then keys and aggregate states.
#[derive(Debug)]
pub struct KpiPartials {
    kpi: Arc<Kpi>,
    tick_ms: i64,
    gather: Gather,
    /// By pane, how many facts, and their states.
    panes: BTreeMap<i64, (u64, Vec<Partial>)>,
    /// The last tick.
    now_ms: Option<i64>,
}

/// Columns before the keys.
pub(super) const HEADER: usize = 3;

/// The state as it is saved.
#[derive(Serialize, Deserialize)]
struct Saved {
    pending: Bytes,
    /// Pane and facts of each batch of `columns`.
    panes: Vec<(i64, u64)>,
    columns: Bytes,
    now_ms: Option<i64>,
}

impl KpiPartials {
    /// No facts yet.
    pub fn new(kpi: Arc<Kpi>) -> Self {
        Self {
            tick_ms: kpi.tick_ms(),
            gather: Gather::new(kpi.clone()),
            kpi,
            panes: BTreeMap::new(),
            now_ms: None,
        }
    }

    fn aggregate(&mut self) -> Result<()> {
        for (pane, facts) in self.gather.take()? {
            let partial = partial_of(&self.kpi, &facts)?;
            let (count, partials) = self.panes.entry(pane).or_default();
            *count += facts.num_rows() as u64;
            partials.push(partial);
        }
        Ok(())
    }
}

impl Windows for KpiPartials {
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
        let waits = !self.gather.is_empty() || !self.panes.is_empty();
        let next = self.now_ms.map_or(i64::MIN, |now| (now.div_euclid(self.tick_ms) + 1) * self.tick_ms);
        waits.then_some(next)
    }

    fn absorb(&mut self, _now_ms: i64, table: Table, facts: &RecordBatch) -> Result<(), WindowsError> {
        self.gather.absorb(table, facts)?;
        if self.gather.is_full() {
            self.aggregate()?;
        }
        Ok(())
    }

    fn tick(&mut self, now_ms: i64, rows: &mut Vec<RecordBatch>) -> Result<(), WindowsError> {
        if now_ms.rem_euclid(self.tick_ms) != 0 {
            return Ok(());
        }
        self.now_ms = Some(now_ms);
        self.aggregate()?;
        let mut batches = Vec::new();
        for (pane, (facts, partials)) in std::mem::take(&mut self.panes) {
            let mut merged = Merged::new(&self.kpi)?;
            for partial in &partials {
                merged.add(partial)?;
            }
            batches.push(with_header(now_ms, pane, facts, &merged.into_partial()?)?);
        }
        if let Some(first) = batches.first() {
            rows.push(concat_batches(&first.schema(), &batches)?);
        }
        Ok(())
    }

    fn refused(&self) -> u64 {
        // That is for the windows to say.
        0
    }

    fn save(&self) -> Copied {
        let pending = self.gather.save();
        let panes = self.panes.clone();
        let now_ms = self.now_ms;
        Copied::new(move || {
            let partials = || {
                panes.iter().flat_map(|(&pane, (facts, partials))| {
                    let counts = std::iter::once(*facts).chain(std::iter::repeat(0));
                    partials.iter().zip(counts).map(move |(partial, facts)| (pane, facts, partial))
                })
            };
            let columns = partials().map(|(.., partial)| partial.columns()).collect::<Result<Vec<_>>>()?;
            let saved = Saved {
                pending: Bytes(pending.pack()?),
                panes: partials().map(|(pane, facts, _)| (pane, facts)).collect(),
                columns: Bytes(pack(&columns)?),
                now_ms,
            };
            Ok(postcard::to_stdvec(&saved)?)
        })
    }

    fn restore(&mut self, saved: &[u8]) -> Result<(), WindowsError> {
        let saved: Saved = postcard::from_bytes(saved)?;
        self.gather.restore(&saved.pending.0)?;
        let times = saved.panes.iter().map(|&(pane, _)| pane).chain(saved.now_ms);
        if !times.into_iter().all(is_time)
            || saved.panes.iter().any(|&(_, facts)| facts > u64::from(u32::MAX))
        {
            return Err(format!("a damaged state of KPI {}", self.kpi.name).into());
        }
        self.now_ms = saved.now_ms;
        self.panes.clear();
        for ((pane, facts), batch) in saved.panes.into_iter().zip(unpack(&saved.columns.0)?) {
            let Some(partial) = Partial::of_columns(&self.kpi, batch.columns(), batch.num_rows())? else {
                return Err(format!("a state of another KPI than {}", self.kpi.name).into());
            };
            let (count, partials) = self.panes.entry(pane).or_default();
            *count += facts;
            partials.push(partial);
        }
        Ok(())
    }
}

fn with_header(tick_ms: i64, pane: i64, facts: u64, partial: &Partial) -> Result<RecordBatch> {
    let columns = partial.columns()?;
    let mut fields: Vec<Field> =
        ["tick", "pane", "facts"].map(|name| Field::new(name, DataType::Int64, false)).into();
    fields.extend(columns.schema().fields().iter().map(|field| field.as_ref().clone()));
    let repeated = |value: i64| Arc::new(Int64Array::from(vec![value; partial.rows])) as ArrayRef;
    let header = [repeated(tick_ms), repeated(pane), repeated(facts as i64)];
    let columns = header.into_iter().chain(columns.columns().iter().cloned()).collect();
    Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?)
}
