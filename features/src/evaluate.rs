//! Features of a spine's rows.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, StringViewArray,
    TimestampMicrosecondArray,
};
use arrow::compute::{cast, concat_batches};
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use arrow::error::ArrowError;
use datafusion::error::DataFusionError;

use crate::aggregate::{Groups, aggregate};
use crate::history::{Base, History, Placement, Side};
use crate::plan::Plan;
use crate::tables::DERIVED;

/// Why features cannot be evaluated.
#[derive(Debug, thiserror::Error)]
pub enum FeatureError {
    /// Facts without a column.
    #[error("the facts of {table} have no column {column}; are they headsup's?")]
    NoColumn {
        /// The table.
        table: &'static str,
        /// The column.
        column: &'static str,
    },
    /// What an expression ran into, a division by zero, say.
    #[error("cannot evaluate the features: {0}")]
    DataFusion(#[from] DataFusionError),
    /// Batches that do not fit together.
    #[error("cannot evaluate the features: {0}")]
    Arrow(#[from] ArrowError),
}

/// Facts that are looked at together: enough to make up for what a batch costs, few enough to stay
/// in the caches.
const PAIRS: usize = 16 * 1024;

impl History {
    /// A row for each row of the spine, which is customers and times in µs; customers without
    /// facts have rows too. The columns are those of [`crate::Definitions::schema`]. On `threads`
    /// threads; their number does not change the result.
    ///
    /// # Errors
    /// What an expression runs into.
    pub fn evaluate(
        &self,
        customers: &StringViewArray,
        as_of_us: &[i64],
        side: Side,
        threads: usize,
    ) -> Result<RecordBatch, FeatureError> {
        assert_eq!(customers.len(), as_of_us.len(), "a customer and a time for each row");
        let spine = Spine { names: customers.clone(), as_of_us };
        let rows = as_of_us.len();
        let share = rows.div_ceil(threads.max(1)).max(1);
        let parts: Vec<Range<usize>> =
            (0..rows).step_by(share).map(|from| from..(from + share).min(rows)).collect();
        let parts: Vec<Result<Vec<RecordBatch>, FeatureError>> = std::thread::scope(|scope| {
            let (last, others) =
                parts.split_last().map_or((0..0, &[][..]), |(last, others)| (last.clone(), others));
            let spawned: Vec<_> = others
                .iter()
                .map(|part| scope.spawn(|| self.evaluate_part(&spine, part.clone(), side)))
                .collect();
            let last = self.evaluate_part(&spine, last, side);
            let join = |thread: std::thread::ScopedJoinHandle<'_, _>| match thread.join() {
                Ok(part) => part,
                Err(panic) => std::panic::resume_unwind(panic),
            };
            spawned.into_iter().map(join).chain([last]).collect()
        });
        let parts: Vec<RecordBatch> = parts.into_iter().collect::<Result<Vec<_>, _>>()?.concat();
        Ok(concat_batches(&self.definitions.schema(), &parts)?)
    }

    fn evaluate_part(
        &self,
        spine: &Spine<'_>,
        part: Range<usize>,
        side: Side,
    ) -> Result<Vec<RecordBatch>, FeatureError> {
        let customers: Vec<Option<u32>> =
            part.clone().map(|row| self.customer(spine.names.value(row))).collect();
        let mut columns: Vec<Vec<ArrayRef>> = Vec::new();
        for plan in &self.definitions.plans {
            let base = &self.bases[plan.kept];
            let mut of_plan: Vec<Vec<ArrayRef>> = plan.selected.iter().map(|_| Vec::new()).collect();
            let mut from = part.start;
            let (mut rows, mut bounds) = (Vec::new(), vec![0]);
            for row in part.clone() {
                if let Some(customer) = customers[row - part.start] {
                    base.rows(customer, spine.as_of_us[row], side, &mut rows);
                }
                bounds.push(rows.len());
                if rows.len() >= PAIRS || row + 1 == part.end {
                    let values =
                        self.evaluate_pairs(plan, base, &spine.slice(from..row + 1), &rows, &bounds)?;
                    for (column, values) in of_plan.iter_mut().zip(values) {
                        column.push(values);
                    }
                    from = row + 1;
                    rows.clear();
                    bounds.truncate(1);
                }
            }
            columns.extend(of_plan);
        }
        let of_spine = spine.slice(part.clone());
        let joined = columns.iter().zip(&self.definitions.columns).map(|(parts, (_, _, kind))| {
            let parts: Vec<&dyn Array> = parts.iter().map(AsRef::as_ref).collect();
            match parts.as_slice() {
                [] => Ok(arrow::array::new_empty_array(kind)),
                parts => arrow::compute::concat(parts),
            }
        });
        let mut joined = joined.collect::<Result<Vec<_>, _>>()?;
        let own = joined.len();
        if !self.definitions.combined.is_empty() {
            let mut fields = vec![Field::new("as_of", DERIVED[0].1.clone(), false)];
            fields.extend(
                self.definitions.columns[..own]
                    .iter()
                    .map(|(_, column, kind)| Field::new(&column.name, kind.clone(), true)),
            );
            let mut inputs = vec![of_spine.as_of()];
            inputs.extend(joined.iter().cloned());
            let inputs = RecordBatch::try_new(Arc::new(Schema::new(fields)), inputs)?;
            for combined in &self.definitions.combined {
                for (_, expr) in &combined.selected {
                    joined.push(expr.evaluate(&inputs)?.into_array(inputs.num_rows())?);
                }
            }
        }
        if part.is_empty() {
            return Ok(Vec::new());
        }
        Ok(vec![RecordBatch::try_new(self.definitions.schema(), joined)?])
    }

    /// The columns of a view for some rows of the spine. `rows` are the facts that they take: row g of the spine
    /// those from `bounds[g]` to `bounds[g + 1]`.
    fn evaluate_pairs(
        &self,
        plan: &Plan,
        base: &Base,
        spine: &Spine<'_>,
        rows: &[u32],
        bounds: &[usize],
    ) -> Result<Vec<ArrayRef>, FeatureError> {
        let mut as_of_us = Vec::with_capacity(rows.len());
        for (group, pair) in bounds.windows(2).enumerate() {
            as_of_us.resize(as_of_us.len() + pair[1] - pair[0], spine.as_of_us[group]);
        }
        let ages_us: Vec<i64> =
            rows.iter().zip(&as_of_us).map(|(row, as_of_us)| as_of_us - base.at_us[*row as usize]).collect();
        let columns = plan
            .pairs
            .fields()
            .iter()
            .map(|field| self.pair_column(plan, base, field, rows, &as_of_us, &ages_us))
            .collect();
        let pairs = RecordBatch::try_new(plan.pairs.clone(), columns)?;
        let exprs: Vec<ArrayRef> = plan
            .exprs
            .iter()
            .map(|expr| expr.evaluate(&pairs)?.into_array(rows.len()))
            .collect::<Result<_, _>>()?;

        let groups = Groups { bounds, ages_us: &ages_us };
        let all = vec![true; rows.len()];
        let mut masks: Vec<Option<Vec<bool>>> = exprs.iter().map(|_| None).collect();
        let mut aggregated = vec![Arc::new(spine.names.clone()) as ArrayRef, spine.as_of()];
        for (call, field) in plan.aggregates.iter().zip(&plan.aggregated.fields()[2..]) {
            let mask: &[bool] = match call.filter {
                None => &all,
                Some(place) => masks[place].get_or_insert_with(|| is_true(exprs[place].as_boolean())),
            };
            let values = match call.argument {
                None => aggregate(call.what, &groups, &[], mask),
                Some(place) => {
                    let values = cast(&exprs[place], &DataType::Int64)?;
                    let values = values.as_primitive::<Int64Type>();
                    match values.nulls().filter(|nulls| nulls.null_count() > 0) {
                        None => aggregate(call.what, &groups, values.values(), mask),
                        Some(nulls) => {
                            let mask: Vec<bool> = mask.iter().zip(nulls).map(|(a, b)| *a && b).collect();
                            aggregate(call.what, &groups, values.values(), &mask)
                        }
                    }
                }
            };
            aggregated.push(if values.data_type() == field.data_type() {
                values
            } else {
                cast(&values, field.data_type())?
            });
        }
        let aggregated = RecordBatch::try_new(plan.aggregated.clone(), aggregated)?;
        plan.selected
            .iter()
            .map(|(_, expr)| Ok(expr.evaluate(&aggregated)?.into_array(aggregated.num_rows())?))
            .collect()
    }

    /// A column of what a view's expressions are over.
    fn pair_column(
        &self,
        plan: &Plan,
        base: &Base,
        field: &Field,
        rows: &[u32],
        as_of_us: &[i64],
        ages_us: &[i64],
    ) -> ArrayRef {
        let placed = |of: fn(Placement) -> Option<i64>| {
            let known = rows.iter().zip(as_of_us).map(|(row, as_of_us)| {
                let placement = self.placements.get(base.placed[*row as usize]);
                (placement.known_us <= *as_of_us).then(|| of(placement)).flatten()
            });
            known.collect::<Int64Array>()
        };
        let sku = |of: fn((i64, i64)) -> i64| {
            let counts = rows
                .iter()
                .zip(as_of_us)
                .map(|(row, as_of_us)| of(self.skus.known(base.skus[*row as usize], *as_of_us)));
            Int64Array::from_iter_values(counts)
        };
        let times = |times: Int64Array| -> ArrayRef {
            let (_, values, nulls) = times.into_parts();
            Arc::new(TimestampMicrosecondArray::new(values, nulls))
        };
        match field.name().as_str() {
            "as_of" => times(Int64Array::from(as_of_us.to_vec())),
            "age_ms" => Arc::new(Int64Array::from_iter_values(ages_us.iter().map(|us| us.div_euclid(1_000)))),
            "ahead_ms" => Arc::new(Int64Array::from_iter_values(
                ages_us.iter().map(|us| us.saturating_neg().div_euclid(1_000)),
            )),
            "placed_at" => times(placed(|placement| Some(placement.at_us))),
            "placed_minor" => Arc::new(placed(|placement| placement.amount_minor)),
            "sku_bought" => Arc::new(sku(|(bought, _)| bought)),
            "sku_returned" => Arc::new(sku(|(_, returned)| returned)),
            stored => {
                let place = stored.strip_prefix("stored ").and_then(|place| place.parse::<usize>().ok());
                let place = place.unwrap_or_else(|| unreachable!("no column {stored}"));
                base.columns[plan.columns[place]].gather(field.data_type(), rows)
            }
        }
    }
}

/// Rows of a spine.
struct Spine<'a> {
    names: StringViewArray,
    as_of_us: &'a [i64],
}

impl Spine<'_> {
    fn slice(&self, rows: Range<usize>) -> Spine<'_> {
        Spine { names: self.names.slice(rows.start, rows.len()), as_of_us: &self.as_of_us[rows] }
    }

    fn as_of(&self) -> ArrayRef {
        Arc::new(TimestampMicrosecondArray::from(self.as_of_us.to_vec()))
    }
}

/// Where a condition is true: not false and not NULL.
fn is_true(condition: &BooleanArray) -> Vec<bool> {
    match condition.nulls().filter(|nulls| nulls.null_count() > 0) {
        None => condition.values().iter().collect(),
        Some(nulls) => condition.values().iter().zip(nulls).map(|(value, valid)| value && valid).collect(),
    }
}
