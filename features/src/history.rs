//! The facts of customers, as far as definitions need them.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Int64Array, PrimitiveArray, RecordBatch, StringViewArray,
    new_null_array,
};
use arrow::compute::{cast, filter_record_batch};
use arrow::datatypes::{DataType, Float64Type, Int64Type, TimestampMicrosecondType};
use arrow::error::ArrowError;
use hashbrown::HashTable;
use headsup_operators::facts::Table;
use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

use crate::column::{Column, Values, reorder};
use crate::evaluate::FeatureError;
use crate::names::Names;
use crate::plan::{Definitions, Kept};
use crate::sku::Skus;
use crate::tables::Past;

/// Which facts of a customer a row of the spine takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Those known at `as_of`.
    Past,
    /// Those after `as_of`, until so many ms later (inclusive).
    Future {
        /// How far it looks.
        until_ms: i64,
    },
}

/// Facts by customer, of which features or labels are evaluated ([`History::evaluate`]).
///
/// Memory: for each fact 10 to 30 bytes, and a bit to 8 bytes for each number that views need of it; for each
/// order 40 to 50. Texts are not kept.
pub struct History {
    pub(crate) definitions: Arc<Definitions>,
    customers: Names,
    /// Of each of [`Definitions::kept`].
    pub(crate) bases: Vec<Base>,
    pub(crate) placements: Placements,
    pub(crate) skus: Skus,
    /// What was bought of skus has been counted elsewhere.
    counted: bool,
}

/// No row.
const NONE: u32 = u32::MAX;

/// What is stored of facts: a row for each.
#[derive(Default)]
pub(crate) struct Base {
    pub at_us: Vec<i64>,
    /// How much later than of `at_us` it was known, in µs, wrapping.
    later_us: Values,
    pub columns: Vec<Column>,
    /// The placement of the order; only of `orders` and `lines`.
    pub placed: Vec<u32>,
    /// Only of `lines`.
    pub skus: Vec<u64>,
    /// Rows below are in the order of customer and time; those of customer c begin at `starts[c]`.
    sorted: usize,
    starts: Vec<u32>,
    /// The customers of the rows that came later.
    customers: Vec<u32>,
    /// Each customer's last row that came later, and of each such row the one before; [`NONE`] if there
    /// is none.
    last: Vec<u32>,
    before: Vec<u32>,
    /// Some fact is of a time at which it was already known: a clock that is ahead.
    pub ahead: bool,
}

/// When orders were placed.
#[derive(Default)]
pub(crate) struct Placements {
    by_order: HashTable<u32>,
    /// Of each order, a hash of its name and the customer's.
    orders: Vec<u128>,
    known_us: Vec<i64>,
    at_us: Vec<i64>,
    amounts_minor: Vec<i64>,
    has_amount: Vec<bool>,
}

/// What became known first about an order's placement.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Placement {
    pub known_us: i64,
    pub at_us: i64,
    pub amount_minor: Option<i64>,
}

impl fmt::Debug for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows: usize = self.bases.iter().map(|base| base.at_us.len()).sum();
        f.debug_struct("History").field("customers", &self.customers.len()).field("rows", &rows).finish()
    }
}

impl History {
    /// No facts.
    pub fn new(definitions: Arc<Definitions>) -> Self {
        let bases = definitions.kept.iter().map(|kept| Base {
            columns: kept.stored.iter().map(|_| Column::default()).collect(),
            ..Base::default()
        });
        Self {
            bases: bases.collect(),
            definitions,
            customers: Names::default(),
            placements: Placements::default(),
            skus: Skus::default(),
            counted: false,
        }
    }

    /// Without customers, for facts of some of those that `self` has taken in all of: what was bought of a sku by all
    /// is known.
    pub fn for_some(&self) -> Self {
        Self { skus: self.skus.clone(), counted: true, ..Self::new(self.definitions.clone()) }
    }

    /// The number of customers.
    pub fn customers(&self) -> usize {
        self.customers.len()
    }

    /// Takes in facts of a table, of the customers that `takes` takes. What was bought of a sku is
    /// counted of all.
    ///
    /// # Errors
    /// Facts without the columns of their table, and what expressions of definitions run into.
    pub fn append(
        &mut self,
        table: Table,
        facts: &RecordBatch,
        takes: impl Fn(&str) -> bool,
    ) -> Result<(), FeatureError> {
        let definitions = self.definitions.clone();
        let mut lines: Option<RecordBatch> = None;
        if table == Table::Orders && definitions.tables().contains(&table) {
            self.placements.learn(&as_table(Past::Orders, facts)?, &takes);
        }
        for (place, kept) in definitions.kept.iter().enumerate().filter(|(_, k)| k.past.source() == table) {
            let rows = if kept.past == Past::Lines {
                match &lines {
                    Some(lines) => lines.clone(),
                    None => {
                        let exploded = crate::tables::lines(facts)?;
                        if !self.counted {
                            self.count_skus(&exploded);
                        }
                        lines.insert(exploded).clone()
                    }
                }
            } else {
                as_table(kept.past, facts)?
            };
            self.store(place, kept, rows, &takes)?;
        }
        Ok(())
    }

    fn count_skus(&mut self, lines: &RecordBatch) {
        let [kinds, actors, skus] = ["type", "actor", "sku"].map(|name| text(lines, name));
        let known = times(lines, "known_at");
        for row in 0..lines.num_rows() {
            if skus.is_null(row) || known.is_null(row) {
                continue;
            }
            let bought = match kinds.value(row) {
                "placed" => true,
                "return_requested" => false,
                "cancelled" if actors.is_valid(row) && actors.value(row) == "customer" => false,
                _ => continue,
            };
            self.skus.count(xxh3_64(skus.value(row).as_bytes()), known.value(row), bought);
        }
    }

    fn store(
        &mut self,
        place: usize,
        kept: &Kept,
        rows: RecordBatch,
        takes: &impl Fn(&str) -> bool,
    ) -> Result<(), FeatureError> {
        let names = text(&rows, "customer_id");
        let at = times(&rows, kept.past.event_time());
        let mut keep: BooleanArray = (0..rows.num_rows())
            .map(|row| Some(names.is_valid(row) && at.is_valid(row) && takes(names.value(row))))
            .collect();
        if let Some(condition) = &kept.condition {
            let condition = condition.evaluate(&rows)?.into_array(rows.num_rows())?;
            keep = arrow::compute::and_kleene(&keep, condition.as_boolean())?;
        }
        let rows = filter_record_batch(&rows, &keep)?;
        let (names, at, known) =
            (text(&rows, "customer_id"), times(&rows, kept.past.event_time()), times(&rows, "known_at"));
        let base = &mut self.bases[place];
        let mut later_us = Vec::with_capacity(rows.num_rows());
        for row in 0..rows.num_rows() {
            let (customer, _) = self.customers.insert(names.value(row));
            let fact = base.at_us.len() as u32;
            base.customers.push(customer);
            if base.last.len() <= customer as usize {
                base.last.resize(customer as usize + 1, NONE);
            }
            base.before.push(std::mem::replace(&mut base.last[customer as usize], fact));
            let at_us = at.value(row);
            let known_us = if known.is_valid(row) { known.value(row) } else { at_us };
            base.at_us.push(at_us);
            later_us.push(known_us.wrapping_sub(at_us));
            base.ahead |= at_us > known_us;
        }
        base.later_us.extend(later_us.into_iter());
        if matches!(kept.past, Past::Orders | Past::Lines) {
            let orders = text(&rows, "order_id");
            for row in 0..rows.num_rows() {
                let key = Placements::key(names.value(row), orders, row);
                base.placed.push(self.placements.place(key));
            }
        }
        if kept.past == Past::Lines {
            let skus = text(&rows, "sku");
            base.skus.extend((0..rows.num_rows()).map(|row| xxh3_64(skus.value(row).as_bytes())));
        }
        for (column, stored) in base.columns.iter_mut().zip(&kept.stored) {
            let values = stored.expr.evaluate(&rows)?.into_array(rows.num_rows())?;
            column.extend(&whole(&values, stored.hashed)?);
        }
        Ok(())
    }

    /// Brings the facts into the order of customers, which makes evaluating many customers faster. Facts
    /// appended later stay beside it.
    pub fn sort(&mut self) {
        let customers = self.customers.len();
        let ahead = self.definitions.ahead;
        for base in &mut self.bases {
            base.sort(customers, ahead);
        }
    }

    pub(crate) fn customer(&self, name: &str) -> Option<u32> {
        self.customers.get(name)
    }

    /// The tables of facts that are read.
    pub fn tables(&self) -> Vec<Table> {
        self.definitions.tables()
    }

    /// All customers in the order of their bytes, each with the first time at which anything was known of it, in µs.
    pub fn first_known_us(&self) -> Vec<(&str, i64)> {
        let mut first_us = vec![i64::MAX; self.customers.len()];
        for base in &self.bases {
            for (row, customer) in base.customers_of_rows().enumerate() {
                let first_us = &mut first_us[customer as usize];
                *first_us = (*first_us).min(base.known_us(row));
            }
        }
        let mut all: Vec<(&str, i64)> = self.customers.iter().zip(first_us).collect();
        all.sort_unstable();
        all
    }
}

impl Base {
    /// When a row was known.
    fn known_us(&self, row: usize) -> i64 {
        self.at_us[row].wrapping_add(self.later_us.get(row))
    }

    /// The customer of each row.
    fn customers_of_rows(&self) -> impl Iterator<Item = u32> {
        let of = |(customer, ends): (usize, &[u32])| {
            std::iter::repeat_n(customer as u32, (ends[1] - ends[0]) as usize)
        };
        self.starts.windows(2).enumerate().flat_map(of).chain(self.customers.iter().copied())
    }

    fn sort(&mut self, customers: usize, ahead: bool) {
        let of_rows: Vec<u32> = self.customers_of_rows().collect();
        (self.customers, self.last, self.before) = Default::default();
        let time = |row: u32| if ahead { self.at_us[row as usize] } else { self.known_us(row as usize) };
        let mut order: Vec<u32> = (0..of_rows.len() as u32).collect();
        order.sort_unstable_by_key(|&row| (of_rows[row as usize], time(row), row));
        self.sorted = of_rows.len();
        self.starts.clear();
        let mut place = 0;
        for customer in 0..=customers as u32 {
            while place < order.len() && of_rows[order[place] as usize] < customer {
                place += 1;
            }
            self.starts.push(place as u32);
        }
        drop(of_rows);
        reorder(&mut self.at_us, &order);
        self.later_us.reorder(&order);
        reorder(&mut self.placed, &order);
        reorder(&mut self.skus, &order);
        for column in &mut self.columns {
            column.reorder(&order);
        }
    }

    /// Appends the rows of a customer that a row of the spine takes.
    pub fn rows(&self, customer: u32, as_of_us: i64, side: Side, out: &mut Vec<u32>) {
        let place = customer as usize;
        let sorted = match self.starts.get(place..place + 2) {
            Some(ends) => ends[0] as usize..ends[1] as usize,
            None => 0..0,
        };
        match side {
            Side::Past => {
                let known = partition_point(sorted.clone(), |row| self.known_us(row) <= as_of_us);
                let rows = sorted.start as u32..known as u32;
                if self.ahead {
                    out.extend(rows.filter(|row| self.at_us[*row as usize] <= as_of_us));
                } else {
                    out.extend(rows);
                }
            }
            Side::Future { until_ms } => {
                let times = &self.at_us[sorted.clone()];
                let until_us = as_of_us.saturating_add(until_ms.saturating_mul(1_000));
                let first = times.partition_point(|at_us| *at_us <= as_of_us);
                let last = times.partition_point(|at_us| *at_us <= until_us);
                out.extend((sorted.start + first) as u32..(sorted.start + last.max(first)) as u32);
            }
        }
        let mut next = self.last.get(place).copied().unwrap_or(NONE);
        while next != NONE {
            let row = next;
            next = self.before[row as usize - self.sorted];
            let (at_us, known_us) = (self.at_us[row as usize], self.known_us(row as usize));
            let takes = match side {
                Side::Past => known_us <= as_of_us && at_us <= as_of_us,
                Side::Future { until_ms } => {
                    at_us > as_of_us && at_us <= as_of_us.saturating_add(until_ms.saturating_mul(1_000))
                }
            };
            if takes {
                out.push(row);
            }
        }
    }
}

impl Placements {
    fn key(customer: &str, orders: &StringViewArray, row: usize) -> Option<u128> {
        orders.is_valid(row).then(|| {
            let order = orders.value(row).as_bytes();
            xxh3_128(&[&(order.len() as u64).to_le_bytes(), order, customer.as_bytes()].concat())
        })
    }

    /// The place of an order; of no order, one that is never known.
    fn place(&mut self, key: Option<u128>) -> u32 {
        if self.orders.is_empty() {
            self.add(0);
        }
        let Some(key) = key else { return 0 };
        if let Some(place) = self.by_order.find(key as u64, |place| self.orders[*place as usize] == key) {
            return *place;
        }
        let place = self.orders.len() as u32;
        self.add(key);
        let Self { by_order, orders, .. } = self;
        *by_order.insert_unique(key as u64, place, |place| orders[*place as usize] as u64).get()
    }

    fn add(&mut self, key: u128) {
        self.orders.push(key);
        self.known_us.push(i64::MAX);
        self.at_us.push(i64::MAX);
        self.amounts_minor.push(0);
        self.has_amount.push(false);
    }

    /// What is known of a place.
    pub fn get(&self, place: u32) -> Placement {
        let place = place as usize;
        Placement {
            known_us: self.known_us[place],
            at_us: self.at_us[place],
            amount_minor: self.has_amount[place].then(|| self.amounts_minor[place]),
        }
    }

    fn learn(&mut self, rows: &RecordBatch, takes: impl Fn(&str) -> bool) {
        let [orders, kinds, customers] = ["order_id", "type", "customer_id"].map(|name| text(rows, name));
        let (at, known) = (times(rows, "at"), times(rows, "known_at"));
        let amounts = rows["amount_minor"].as_primitive::<Int64Type>();
        for row in 0..rows.num_rows() {
            let placed = kinds.is_valid(row) && kinds.value(row) == "placed";
            if !placed || customers.is_null(row) || at.is_null(row) || !takes(customers.value(row)) {
                continue;
            }
            let place = self.place(Self::key(customers.value(row), orders, row));
            if place == 0 {
                continue;
            }
            let placement = Placement {
                known_us: if known.is_valid(row) { known.value(row) } else { at.value(row) },
                at_us: at.value(row),
                amount_minor: amounts.is_valid(row).then(|| amounts.value(row)),
            };
            if placement < self.get(place) {
                let place = place as usize;
                self.known_us[place] = placement.known_us;
                self.at_us[place] = placement.at_us;
                self.amounts_minor[place] = placement.amount_minor.unwrap_or_default();
                self.has_amount[place] = placement.amount_minor.is_some();
            }
        }
    }
}

/// The first of these rows, which are in order, that it does not take, or the end.
fn partition_point(rows: Range<usize>, takes: impl Fn(usize) -> bool) -> usize {
    let (mut from, mut until) = (rows.start, rows.end);
    while from < until {
        let middle = from + (until - from) / 2;
        if takes(middle) {
            from = middle + 1;
        } else {
            until = middle;
        }
    }
    from
}

/// Values as [`Column`] keeps them.
fn whole(values: &ArrayRef, hashed: bool) -> Result<Int64Array, ArrowError> {
    if hashed {
        let texts = cast(values, &DataType::Utf8View)?;
        let hashes = texts.as_string_view().iter().map(|text| text.map(|t| xxh3_64(t.as_bytes()) as i64));
        return Ok(hashes.collect());
    }
    match values.data_type() {
        DataType::Float64 => {
            let bits = values.as_primitive::<Float64Type>().iter();
            Ok(bits.map(|value| value.map(|value| value.to_bits() as i64)).collect::<Int64Array>())
        }
        _ => Ok(cast(values, &DataType::Int64)?.as_primitive::<Int64Type>().clone()),
    }
}

/// Facts with the columns and types of a table. A column that older files lack is NULL.
fn as_table(past: Past, facts: &RecordBatch) -> Result<RecordBatch, FeatureError> {
    let schema = past.base_schema();
    let columns: Vec<ArrayRef> = schema
        .fields()
        .iter()
        .map(|field| match facts.column_by_name(field.name()) {
            Some(column) => cast(column, field.data_type()),
            None => Ok(new_null_array(field.data_type(), facts.num_rows())),
        })
        .collect::<Result<_, _>>()?;
    for needed in ["customer_id", "known_at", past.event_time()] {
        if facts.column_by_name(needed).is_none() {
            return Err(FeatureError::NoColumn { table: past.source().name(), column: needed });
        }
    }
    Ok(RecordBatch::try_new(schema, columns)?)
}

fn text<'a>(rows: &'a RecordBatch, name: &str) -> &'a StringViewArray {
    rows[name].as_string_view()
}

fn times<'a>(rows: &'a RecordBatch, name: &str) -> &'a PrimitiveArray<TimestampMicrosecondType> {
    rows[name].as_primitive()
}
