//! The facts behind the newest windows of some KPIs: what a mean was made of.
//!
//! A KPI's rows say by its own keys where a rise comes from. By agent and intent, and which
//! conversations did most for it, only the facts can say.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch};
use arrow::compute::{cast, concat_batches, filter_record_batch};
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use datafusion::error::Result;
use datafusion::physical_expr::expressions::Column;
use headsup_operators::facts::Table;
use headsup_operators::{Bytes, Copied, Windows, WindowsError, is_time, pack, unpack};

use crate::definition::{Cell, Kpi, Step};

/// Facts of the windows that can still show something. Copies are of the same facts: one goes
/// into the pipeline, as windows that show nothing, and one is asked.
#[derive(Debug, Clone)]
pub struct Details(Arc<Mutex<Vec<Detail>>>);

/// A mean or quantile of a column, in one KPI.
#[derive(Debug)]
struct Detail {
    kpi: Arc<Kpi>,
    value: String,
    table: Table,
    /// Columns that are kept, by their places in the table, after the time: the value, then texts.
    columns: Vec<usize>,
    schema: Arc<Schema>,
    /// In the order they came.
    facts: VecDeque<Facts>,
    rows: usize,
}

#[derive(Debug)]
struct Facts {
    /// The tick at which they were new, in ms.
    now_ms: i64,
    /// The latest time among them, in ms.
    last_ms: i64,
    batch: RecordBatch,
}

/// What is to be explained.
#[derive(Debug, Clone, Copy)]
pub struct Rise<'a> {
    /// Names and values of the series' keys.
    pub keys: &'a [(&'a str, &'a str)],
    /// The window [start, end), in ms.
    pub window_ms: (i64, i64),
    /// By the facts that were there at this tick.
    pub now_ms: i64,
    /// What is beyond this; `None`: beyond the mean.
    pub limit: Option<f64>,
    /// Above it, else below.
    pub above: bool,
}

/// A part of a rise.
#[derive(Debug, Clone, PartialEq)]
pub struct Part {
    /// By what: `agent_id` or `intent`.
    pub dimension: String,
    /// Which.
    pub value: String,
    /// Facts of it.
    pub n: i64,
    /// Its share, from 0 to 1, of all that is beyond the limit.
    pub share: f64,
    /// The mean of its facts.
    pub mean: f64,
}

/// Texts by which parts are told.
const DIMENSIONS: [&str; 2] = ["agent_id", "intent"];
const CONVERSATION: &str = "conversation_id";
/// Parts of a dimension, and conversations, that are named.
const NAMED_MAX: usize = 5;
/// Facts that are kept of a KPI at most; the oldest go first.
const ROWS_MAX: usize = 200_000;

impl Details {
    /// Of these values of KPIs, by name; those that are no mean or quantile of a column of one
    /// table are left out.
    pub fn new(values: impl IntoIterator<Item = (Arc<Kpi>, String)>) -> Self {
        let mut details: Vec<Detail> = Vec::new();
        for (kpi, value) in values {
            if !details.iter().any(|detail| detail.kpi.name == kpi.name && detail.value == value) {
                details.extend(Detail::new(kpi, value));
            }
        }
        Self(Arc::new(Mutex::new(details)))
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Detail>> {
        // Nothing is left half done by a panic that a further fact does not put right.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets the facts of windows that were final before `now_ms`. To be called when everything
    /// before has been explained.
    pub fn forget(&self, now_ms: i64) {
        self.lock().iter_mut().for_each(|detail| detail.forget(now_ms));
    }

    /// Where a KPI's value comes from: parts by agent and intent, and the ids of the conversations
    /// that did most. Empty where it is not known.
    pub fn explain(&self, kpi: &str, value: &str, rise: &Rise<'_>) -> (Vec<Part>, Vec<String>) {
        let details = self.lock();
        let detail = details.iter().find(|detail| detail.kpi.name == kpi && detail.value == value);
        detail.map(|detail| detail.explain(rise)).unwrap_or_default()
    }
}

/// One fact.
struct Fact<'b> {
    value: i64,
    batch: &'b RecordBatch,
    row: usize,
}

impl Detail {
    fn new(kpi: Arc<Kpi>, value: String) -> Option<Self> {
        let [branch] = kpi.branches.as_slice() else { return None };
        if branch.steps.iter().any(|step| matches!(step, Step::Project(..))) {
            return None;
        }
        // The value is what an aggregate says, and that is of a column.
        let (_, expr) = kpi.values.iter().find(|(name, _)| *name == value)?;
        let cell = kpi.cells.get(expr.downcast_ref::<Column>()?.index())?;
        let Cell::Aggregate(place) = *cell else { return None };
        let aggregate = &kpi.aggregates.get(place)?.aggregate;
        if !matches!(aggregate.fun().name(), "avg_ms" | "quantile" | "max" | "min") {
            return None;
        }
        let arguments = aggregate.expressions();
        let number = arguments.first()?.downcast_ref::<Column>()?.index();
        let table = branch.table;
        let names: Vec<&str> = table.columns().iter().map(|(name, ..)| *name).collect();
        let keys = kpi.keys.iter().filter_map(|key| names.iter().position(|name| *name == key.name));
        let others = DIMENSIONS.iter().chain([&CONVERSATION]);
        let others = others.filter_map(|wanted| names.iter().position(|name| name == wanted));
        let mut columns = vec![number];
        for column in keys.chain(others) {
            if !columns.contains(&column) {
                columns.push(column);
            }
        }
        let texts = columns.iter().skip(1).map(|&column| Field::new(names[column], DataType::Utf8, true));
        let first = ["at_ms", "value"].map(|name| Field::new(name, DataType::Int64, true));
        let schema = Arc::new(Schema::new(first.into_iter().chain(texts).collect::<Vec<_>>()));
        Some(Self { kpi, value, table, columns, schema, facts: VecDeque::new(), rows: 0 })
    }

    fn absorb(&mut self, now_ms: i64, facts: &RecordBatch) -> Result<()> {
        if self.kpi.branches.iter().all(|branch| self.kpi.is_before_all(branch, facts)) {
            return Ok(());
        }
        let mut batch = facts.clone();
        for step in self.kpi.branches.iter().flat_map(|branch| &branch.steps) {
            if let Step::Filter(predicate) = step {
                let keep = predicate.evaluate(&batch)?.into_array(batch.num_rows())?;
                batch = filter_record_batch(&batch, keep.as_boolean())?;
            }
        }
        if batch.num_rows() == 0 {
            return Ok(());
        }
        let times = self.kpi.time.evaluate(&batch)?.into_array(batch.num_rows())?;
        let times = times.as_primitive::<Int64Type>();
        let times: Int64Array = times.iter().map(|us| us.map(|us| us.div_euclid(1_000))).collect();
        let Some(last_ms) = times.iter().flatten().max() else { return Ok(()) };
        let mut columns: Vec<ArrayRef> = vec![Arc::new(times)];
        for (place, &column) in self.columns.iter().enumerate() {
            let as_type = if place == 0 { DataType::Int64 } else { DataType::Utf8 };
            columns.push(cast(batch.column(column), &as_type)?);
        }
        let batch = RecordBatch::try_new(self.schema.clone(), columns)?;
        self.rows += batch.num_rows();
        self.facts.push_back(Facts { now_ms, last_ms, batch });
        while self.rows > ROWS_MAX
            && let Some(oldest) = self.facts.pop_front()
        {
            self.rows -= oldest.batch.num_rows();
        }
        Ok(())
    }

    fn forget(&mut self, now_ms: i64) {
        let kept_ms = self.kpi.windowing.size_ms().saturating_add(self.kpi.corrections_ms);
        let from_ms = now_ms.saturating_sub(kept_ms);
        self.facts.retain(|facts| facts.last_ms >= from_ms);
        self.rows = self.facts.iter().map(|facts| facts.batch.num_rows()).sum();
    }

    fn explain(&self, rise: &Rise<'_>) -> (Vec<Part>, Vec<String>) {
        let Rise { keys, window_ms: (start_ms, end_ms), now_ms, limit, above } = *rise;
        let mut facts = Vec::new();
        for Facts { batch, .. } in self.facts.iter().filter(|facts| facts.now_ms <= now_ms) {
            let times = batch.column(0).as_primitive::<Int64Type>();
            let values = batch.column(1).as_primitive::<Int64Type>();
            for row in 0..batch.num_rows() {
                let inside = times.is_valid(row) && (start_ms..end_ms).contains(&times.value(row));
                let of_series = || keys.iter().all(|(key, value)| text(batch, row, key) == *value);
                if inside && values.is_valid(row) && of_series() {
                    facts.push(Fact { value: values.value(row), batch, row });
                }
            }
        }
        let sign = if above { 1 } else { -1 };
        let of = |facts: &mut dyn Iterator<Item = i64>| {
            facts.fold((0i64, 0i128), |(n, sum), value| (n + 1, sum + i128::from(value)))
        };
        let mean = |(n, sum): (i64, i128)| sum as f64 / n as f64;
        let all = of(&mut facts.iter().map(|fact| fact.value));
        if all.0 == 0 {
            return Default::default();
        }
        let limit = limit.unwrap_or_else(|| mean(all));
        let mut parts = Vec::new();
        for dimension in DIMENSIONS.iter().filter(|name| self.schema.column_with_name(name).is_some()) {
            let mut by: BTreeMap<&str, (i64, i128)> = BTreeMap::new();
            for fact in &facts {
                let (n, sum) = by.entry(text(fact.batch, fact.row, dimension)).or_default();
                (*n, *sum) = (*n + 1, *sum + i128::from(fact.value));
            }
            // What a part has beyond what it would have at the limit.
            let excess = |(n, sum): (i64, i128)| (f64::from(sign) * (sum as f64 - n as f64 * limit)).max(0.0);
            let total: f64 = by.values().map(|&part| excess(part)).sum();
            let mut of_dimension: Vec<Part> = by
                .into_iter()
                .filter(|(value, part)| excess(*part) > 0.0 && !value.is_empty())
                .map(|(value, part)| Part {
                    dimension: (*dimension).to_owned(),
                    value: value.to_owned(),
                    n: part.0,
                    share: excess(part) / total,
                    mean: mean(part),
                })
                .collect();
            of_dimension.sort_by(|a, b| b.share.total_cmp(&a.share).then_with(|| a.value.cmp(&b.value)));
            of_dimension.truncate(NAMED_MAX);
            parts.extend(of_dimension);
        }
        facts.sort_by_key(|fact| {
            (-i128::from(sign) * i128::from(fact.value), text(fact.batch, fact.row, CONVERSATION))
        });
        let worst = facts.iter().map(|fact| text(fact.batch, fact.row, CONVERSATION));
        let worst = worst.filter(|id| !id.is_empty()).take(NAMED_MAX).map(str::to_owned).collect();
        (parts, worst)
    }

    /// The facts with the ticks at which they were new.
    fn save(&self) -> Vec<(i64, RecordBatch)> {
        self.facts.iter().map(|facts| (facts.now_ms, facts.batch.clone())).collect()
    }

    fn restore(&mut self, ticks: Vec<i64>, batches: Vec<RecordBatch>) -> Option<()> {
        if ticks.len() != batches.len() || !ticks.iter().copied().all(is_time) {
            return None;
        }
        for (now_ms, batch) in ticks.into_iter().zip(batches) {
            let times = batch.column_by_name("at_ms")?.as_primitive_opt::<Int64Type>()?;
            if batch.schema() != self.schema || !times.iter().flatten().all(is_time) {
                return None;
            }
            let last_ms = times.iter().flatten().max()?;
            self.rows += batch.num_rows();
            self.facts.push_back(Facts { now_ms, last_ms, batch });
        }
        Some(())
    }
}

/// KPI, value, ticks, and the facts of each.
type Saved = (String, String, Vec<i64>, Bytes);

fn text<'b>(batch: &'b RecordBatch, row: usize, column: &str) -> &'b str {
    match batch.column_by_name(column).map(|column| column.as_string::<i32>()) {
        Some(column) if column.is_valid(row) => column.value(row),
        _ => "",
    }
}

impl Windows for Details {
    fn name(&self) -> &str {
        "details of alerts"
    }

    fn tables(&self) -> Vec<Table> {
        self.lock().iter().map(|detail| detail.table).collect()
    }

    fn columns(&self, table: Table) -> BTreeSet<usize> {
        let details = self.lock();
        let of_table = details.iter().filter(|detail| detail.table == table);
        of_table.flat_map(|detail| detail.columns.iter().copied().chain(detail.kpi.columns(table))).collect()
    }

    fn tick_ms(&self) -> i64 {
        0
    }

    fn next_tick_ms(&self) -> Option<i64> {
        None
    }

    fn absorb(&mut self, now_ms: i64, table: Table, facts: &RecordBatch) -> Result<(), WindowsError> {
        for detail in self.lock().iter_mut().filter(|detail| detail.table == table) {
            detail.absorb(now_ms, facts)?;
        }
        Ok(())
    }

    fn tick(&mut self, _: i64, _: &mut Vec<RecordBatch>) -> Result<(), WindowsError> {
        Ok(())
    }

    fn refused(&self) -> u64 {
        0
    }

    fn save(&self) -> Copied {
        let details = self.lock();
        let saved: Vec<_> = details.iter().map(|d| (d.kpi.name.clone(), d.value.clone(), d.save())).collect();
        Copied::new(move || {
            let packed = saved.into_iter().map(|(kpi, value, facts)| {
                let (mut ticks, mut batches) = (Vec::new(), Vec::new());
                // Those of one tick in a batch.
                for facts in facts.chunk_by(|a, b| a.0 == b.0) {
                    let schema = facts[0].1.schema();
                    ticks.push(facts[0].0);
                    batches.push(concat_batches(&schema, facts.iter().map(|(_, batch)| batch))?);
                }
                Ok::<Saved, WindowsError>((kpi, value, ticks, Bytes(pack(&batches)?)))
            });
            Ok(postcard::to_stdvec(&packed.collect::<Result<Vec<_>, _>>()?)?)
        })
    }

    /// What the rules that there are now do not ask for is forgotten; what they ask for anew
    /// begins now.
    fn restore(&mut self, saved: &[u8]) -> Result<(), WindowsError> {
        let saved: Vec<Saved> = postcard::from_bytes(saved)?;
        let mut details = self.lock();
        for (kpi, value, ticks, bytes) in saved {
            let detail = details.iter_mut().find(|detail| detail.kpi.name == kpi && detail.value == value);
            if let Some(detail) = detail {
                detail.restore(ticks, unpack(&bytes.0)?).ok_or("facts behind alerts of another KPI")?;
            }
        }
        Ok(())
    }
}
