//! Facts on their way into the panes of a KPI.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch, UInt32Array};
use arrow::compute::{concat_batches, filter_record_batch, take_arrays};
use arrow::datatypes::{DataType, Int64Type, Schema};
use datafusion::error::Result;
use headsup_operators::facts::Table;
use headsup_operators::{Copied, WindowsError, pack, unpack};

use crate::definition::{Kpi, Step};

/// Facts that a KPI counts and that are not aggregated yet.
#[derive(Debug)]
pub(super) struct Gather {
    kpi: Arc<Kpi>,
    pending: Vec<RecordBatch>,
    rows: usize,
}

/// Facts are aggregated when so many rows wait, even between ticks.
const ROWS_MAX: usize = 1 << 16;

impl Gather {
    pub fn new(kpi: Arc<Kpi>) -> Self {
        Self { kpi, pending: Vec::new(), rows: 0 }
    }

    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    pub fn is_full(&self) -> bool {
        self.rows >= ROWS_MAX
    }

    /// Takes in those facts of a table that the KPI counts.
    pub fn absorb(&mut self, table: Table, facts: &RecordBatch) -> Result<()> {
        for branch in self.kpi.branches.iter().filter(|branch| branch.table == table) {
            if self.kpi.is_before_all(branch, facts) {
                continue;
            }
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
                self.rows += batch.num_rows();
                self.pending.push(batch);
            }
        }
        Ok(())
    }

    /// Gives out all facts, by the start of their pane.
    pub fn take(&mut self) -> Result<Vec<(i64, RecordBatch)>> {
        self.rows = 0;
        let pending = std::mem::take(&mut self.pending);
        let batch = match pending.as_slice() {
            [] => return Ok(Vec::new()),
            [one] => one.clone(),
            many => concat_batches(&many[0].schema(), many)?,
        };
        let times = self.kpi.time.evaluate(&batch)?.into_array(batch.num_rows())?;
        let times = times.as_primitive::<Int64Type>();
        let mut by_pane: BTreeMap<i64, Vec<u32>> = BTreeMap::new();
        for row in 0..batch.num_rows() {
            // A fact without the window's time (never accepted, say) has no window.
            if times.is_valid(row) {
                let pane = self.kpi.windowing.pane_start(times.value(row).div_euclid(1_000));
                if pane >= self.kpi.from_ms {
                    by_pane.entry(pane).or_default().push(row as u32);
                }
            }
        }
        let part = |(pane, rows): (i64, Vec<u32>)| {
            if rows.len() == batch.num_rows() {
                return Ok((pane, batch.clone()));
            }
            let columns = take_arrays(batch.columns(), &UInt32Array::from(rows), None)?;
            Ok((pane, RecordBatch::try_new(batch.schema(), columns)?))
        };
        by_pane.into_iter().map(part).collect()
    }

    /// The facts, for a checkpoint.
    pub fn save(&self) -> Copied {
        let pending = self.pending.clone();
        Copied::new(move || match pending.as_slice() {
            [] => Ok(Vec::new()),
            [first, ..] => Ok(pack(&[concat_batches(&first.schema(), &pending)?])?),
        })
    }

    /// Goes on from what [`Gather::save`] has saved.
    pub fn restore(&mut self, saved: &[u8]) -> Result<(), WindowsError> {
        let pending = unpack(saved)?;
        if !pending.iter().all(|batch| self.takes(&batch.schema())) {
            return Err(format!("a state with other facts than KPI {} reads", self.kpi.name).into());
        }
        self.pending = pending;
        self.rows = self.pending.iter().map(RecordBatch::num_rows).sum();
        Ok(())
    }

    /// Whether facts of these types come out of a branch of the KPI.
    fn takes(&self, schema: &Schema) -> bool {
        let types = |schema: &Schema| -> Vec<DataType> {
            schema.fields().iter().map(|field| field.data_type().clone()).collect()
        };
        let found = types(schema);
        self.kpi.branches.iter().any(|branch| {
            let projected = branch.steps.iter().rev().find_map(|step| match step {
                Step::Project(_, schema) => Some(schema.clone()),
                Step::Filter(_) => None,
            });
            types(&projected.unwrap_or_else(|| branch.table.schema())) == found
        })
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::new_null_array;

    use super::*;

    fn gather(name: &str, query: &str) -> Gather {
        let sql = format!("-- title: T\n-- unit: u\n-- corrections: 10 minutes\nSELECT {query}");
        Gather::new(Arc::new(Kpi::parse(name, name, &sql).unwrap_or_else(|error| panic!("{error}"))))
    }

    fn saved(gather: &mut Gather, table: Table) -> Vec<u8> {
        let columns =
            table.schema().fields().iter().map(|field| new_null_array(field.data_type(), 3)).collect();
        let facts = RecordBatch::try_new(table.schema(), columns).expect("columns of one length");
        gather.absorb(table, &facts).expect("evaluated");
        gather.save().pack().expect("packed")
    }

    #[test]
    fn facts_of_another_kpi_are_refused() {
        let contacts = "tumble(ended_at, INTERVAL '1 minute') AS p, count(*) AS n FROM contacts GROUP BY p";
        let points = "tumble(rated_at, INTERVAL '1 minute') AS p, sum(score) AS n FROM ratings GROUP BY p";
        let both = "tumble(at, INTERVAL '1 minute') AS p, sum(n) AS n FROM \
            (SELECT ended_at AS at, transfers AS n FROM contacts UNION ALL SELECT rated_at, score FROM ratings) \
            GROUP BY p";
        let kpis = [(contacts, Table::Contacts), (points, Table::Ratings), (both, Table::Ratings)];
        for (place, (query, table)) in kpis.into_iter().enumerate() {
            let bytes = saved(&mut gather("one", query), table);
            assert!(!bytes.is_empty());
            for (other, (query, _)) in kpis.into_iter().enumerate() {
                let mut restored = gather("other", query);
                match restored.restore(&bytes) {
                    Ok(()) => assert!(place == other && restored.rows == 3 && restored.take().is_ok()),
                    Err(error) => {
                        assert!(place != other && restored.is_empty());
                        assert_eq!(error.to_string(), "a state with other facts than KPI other reads");
                    }
                }
            }
        }
    }
}
