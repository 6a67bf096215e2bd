//! What partial aggregates say of themselves: their tick, and their panes.

use std::ops::Range;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::Int64Type;
use headsup_operators::is_time;

/// The tick that partial aggregates are of. `None`: these are none.
pub fn tick_of(batch: &RecordBatch) -> Option<i64> {
    let ticks = batch.columns().first()?.as_primitive_opt::<Int64Type>()?;
    ticks.iter().next().flatten()
}

/// The panes in a batch of partial aggregates: start, facts, and rows.
pub(crate) fn panes(batch: &RecordBatch) -> Option<Vec<(i64, u64, Range<usize>)>> {
    let [_, panes, facts, ..] = batch.columns() else {
        return None;
    };
    let panes = panes.as_primitive_opt::<Int64Type>()?.values();
    let facts = facts.as_primitive_opt::<Int64Type>()?.values();
    let mut all: Vec<(i64, u64, Range<usize>)> = Vec::new();
    for (row, (&pane, &facts)) in panes.iter().zip(facts).enumerate() {
        if !is_time(pane) || facts < 0 {
            return None;
        }
        match all.last_mut() {
            Some((last, _, rows)) if *last == pane => rows.end = row + 1,
            _ => all.push((pane, facts as u64, row..row + 1)),
        }
    }
    Some(all)
}
