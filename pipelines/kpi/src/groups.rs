//! Aggregate states by key: of facts, and merged from other states.

use std::iter::{self, repeat_n};
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch, UInt32Array, new_null_array};
use arrow::compute::concat;
use arrow::datatypes::{DataType, Field, Schema};
use datafusion::error::Result;
use datafusion::logical_expr::{EmitTo, GroupsAccumulator};
use datafusion::physical_expr::GroupsAccumulatorAdapter;
use datafusion::physical_plan::aggregates::group_values::{GroupValues, new_group_values};
use datafusion::physical_plan::aggregates::order::GroupOrdering;

use crate::definition::{Key, Kpi};

/// The aggregate states of some facts of one pane, by finest key.
#[derive(Debug, Clone)]
pub(super) struct Partial {
    pub sequence: u64,
    pub keys: Vec<ArrayRef>,
    /// Per aggregate its state columns.
    pub states: Vec<Vec<ArrayRef>>,
    pub rows: usize,
}

impl Partial {
    /// Keys and states side by side.
    pub(super) fn columns(&self) -> Result<RecordBatch> {
        let columns = self.keys.iter().chain(self.states.iter().flatten());
        let named = columns.enumerate().map(|(place, column)| (place.to_string(), column.clone(), true));
        Ok(RecordBatch::try_from_iter_with_nullable(named)?)
    }

    /// The partial of what [`Partial::columns`] has put side by side, if `columns` are
    /// those of this KPI.
    pub(super) fn of_columns(kpi: &Kpi, columns: &[ArrayRef], rows: usize) -> Result<Option<Self>> {
        let Some((keys, mut rest)) = columns.split_at_checked(kpi.keys.len()) else {
            return Ok(None);
        };
        let same = |(key, column): (&Key, &ArrayRef)| key.data_type == *column.data_type();
        if !kpi.keys.iter().zip(keys).all(same) {
            return Ok(None);
        }
        let mut states = Vec::with_capacity(kpi.aggregates.len());
        for aggregate in &kpi.aggregates {
            let fields = aggregate.aggregate.state_fields()?;
            let Some((state, others)) = rest.split_at_checked(fields.len()) else {
                return Ok(None);
            };
            if fields.iter().zip(state).any(|(field, column)| field.data_type() != column.data_type()) {
                return Ok(None);
            }
            states.push(state.to_vec());
            rest = others;
        }
        Ok(rest.is_empty().then(|| Self { sequence: 0, keys: keys.to_vec(), states, rows }))
    }
}

/// Facts of one pane to aggregate states.
pub(super) fn partial_of(kpi: &Kpi, batch: &RecordBatch) -> Result<Partial> {
    let rows = batch.num_rows();
    let mut merged = Merged::new(kpi)?;
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

/// Aggregation of partials by their keys.
pub(super) struct Merged {
    values: Option<Box<dyn GroupValues>>,
    pub accumulators: Vec<Box<dyn GroupsAccumulator>>,
    pub groups: Vec<usize>,
    pub total: usize,
    /// The keys, if they have not been through `values`.
    only: Option<Vec<ArrayRef>>,
}

impl Merged {
    /// By all keys of the KPI.
    pub(super) fn new(kpi: &Kpi) -> Result<Self> {
        Self::by(kpi, kpi.keys.iter().map(Key::field).collect())
    }

    /// Of one partial all grouping sets at once: the first key is the set, and keys that a set
    /// has not are NULL. Groups come in the order of the sets, and in each in that of the rows.
    pub(super) fn by_sets(kpi: &Kpi, partial: &Partial) -> Result<Self> {
        let rows = partial.rows;
        let sets = kpi.sets.len();
        let set_of: ArrayRef =
            Arc::new((0..sets as u32).flat_map(|set| repeat_n(set, rows)).collect::<UInt32Array>());
        if let [_] = kpi.sets.as_slice() {
            // The only set has all keys, and they are distinct.
            let mut merged = Self::by(kpi, Vec::new())?;
            merged.groups = (0..rows).collect();
            merged.total = rows;
            merged.only = Some(iter::once(set_of).chain(partial.keys.iter().cloned()).collect());
            merged.merge(&partial.states)?;
            return Ok(merged);
        }
        let field = Field::new("set", DataType::UInt32, false);
        let mut merged = Self::by(kpi, iter::once(field).chain(kpi.keys.iter().map(Key::field)).collect())?;
        let mut keys = vec![set_of];
        for (place, key) in partial.keys.iter().enumerate() {
            let none = new_null_array(key.data_type(), rows);
            let of_set = |set: &Vec<usize>| if set.contains(&place) { key.as_ref() } else { none.as_ref() };
            keys.push(concat(&kpi.sets.iter().map(of_set).collect::<Vec<_>>())?);
        }
        merged.groups_of(&keys, rows * sets)?;
        let repeated = |state: &ArrayRef| Ok(concat(&vec![state.as_ref(); sets])?);
        let states = partial.states.iter().map(|state| state.iter().map(repeated).collect());
        merged.merge(&states.collect::<Result<Vec<_>>>()?)?;
        Ok(merged)
    }

    fn by(kpi: &Kpi, keys: Vec<Field>) -> Result<Self> {
        let values = if keys.is_empty() {
            None
        } else {
            Some(new_group_values(Arc::new(Schema::new(keys)), &GroupOrdering::None)?)
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
    pub(super) fn add(&mut self, partial: &Partial) -> Result<()> {
        self.groups_of(&partial.keys, partial.rows)?;
        self.merge(&partial.states)
    }

    fn merge(&mut self, states: &[Vec<ArrayRef>]) -> Result<()> {
        for (accumulator, state) in self.accumulators.iter_mut().zip(states) {
            accumulator.merge_batch(state, &self.groups, self.total)?;
        }
        Ok(())
    }

    pub(super) fn into_partial(mut self) -> Result<Partial> {
        let states = self
            .accumulators
            .iter_mut()
            .map(|accumulator| accumulator.state(EmitTo::All))
            .collect::<Result<_>>()?;
        Ok(Partial { sequence: 0, rows: self.total, keys: self.keys()?, states })
    }

    pub(super) fn keys(&mut self) -> Result<Vec<ArrayRef>> {
        if let Some(keys) = self.only.take() {
            return Ok(keys);
        }
        match &mut self.values {
            Some(values) => values.emit(EmitTo::All),
            None => Ok(Vec::new()),
        }
    }
}
