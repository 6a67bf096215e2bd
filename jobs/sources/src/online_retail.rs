//! `headsup import online-retail`: Online Retail II, the invoice lines of a UK
//! gift shop from December 2009 to December 2011, as Parquet (Daqing Chen, UCI
//! Machine Learning Repository, CC BY 4.0).
//!
//! A row is a line of an invoice. Lines are gathered by invoice:
//!
//! | column | becomes |
//! |---|---|
//! | `Invoice`, six digits | `order.placed`, and `order.paid` at the same time: an invoice is all the data says about payment. `subject` is the invoice; the event's id is the invoice and the type; `source` is `/online-retail` |
//! | `Invoice`, C and six digits | `order.cancelled`, `actor` customer, with the credit note's own number as `cancellation_id`. `subject` is the order it cancels, as far as that can be told (below) |
//! | `Invoice`, A and six digits | set aside: the shop writes off bad debts |
//! | `StockCode` | `sku` of a line, in capitals |
//! | `Quantity` | `quantity` of a line; positive also in a cancellation |
//! | `Price` | `unit_minor` of a line: pence |
//! | `InvoiceDate`, local time | event time; Europe/London. The first of its mapped lines, where an invoice spans several minutes |
//! | `Customer ID` | `customer_id`; without one, `unknown-` and the invoice, so that no two unknown customers are one |
//! | `Country` | `country` of the event |
//! | `Description` | not used |
//! | `sheet` | says which of two copies a line is (below); may be missing |
//!
//! `shop` is `online-retail`, `channel` is `web`, `currency` is GBP. Customer ids
//! are taken as they are; one of them (of 5,942) is also a customer of the bank,
//! so keep unrelated data sets in data folders of their own.
//!
//! **Money.** The price is read as the decimal number it was written as, never
//! as a binary fraction. `unit_minor` is that price in pence, and `amount_minor`
//! the sum over the lines of quantity × price in pence; each is rounded once,
//! half to even. Only 18 prices are not whole pence (0.001, of pads given away).
//!
//! **Cancelled, not returned.** The publisher says "cancellation", and so do we,
//! though the data has credit notes, of which few are cancellations before
//! delivery: of the lines that match an order, 11 % come within a day of it,
//! 36 % within a week, 57 % within two, 75 % within 30 days. The labels that
//! follow take a cancelled and a returned order alike, and telling them apart by
//! delay would be a guess that looks like a fact. A cancellation may be of a part
//! of an order: `amount_minor` and `lines` say of which.
//!
//! **Which order.** No column says. Each line of a cancellation is given to the
//! latest order of the same customer, not later than it, with at least its
//! quantity of its sku in all; the cancellation to the order that gets the
//! greatest amount of its lines (of equals, the latest). If no line finds an
//! order, `subject` is the cancellation itself; noted (638 of 7,407).
//!
//! # What is dubious, and what is done
//!
//! Counts are those of the whole file, 1,067,370 rows. A row is set aside for
//! the first of these reasons that holds:
//!
//! - **Two sheets overlap** from 1 to 9 December 2010: the 1,088 invoices of
//!   these days are in both, each with the same lines (the descriptions of 107
//!   differ: `nan`, `Unknown`). An invoice belongs to the file and sheet where it
//!   is met first; lines of it from another are set aside (22,523). So a file
//!   given twice adds nothing, and a file must not be cut within an invoice.
//! - **Invoices that begin with A**: set aside (6).
//! - **Codes that are no goods**: postage (POST, DOT, C2, C3), manual entries
//!   (M), discounts (D), samples (S), fees and commissions (BANK CHARGES,
//!   AMAZONFEE, CRUK), adjustments (ADJUST, ADJUST2, B), tests (TEST001,
//!   TEST002): set aside (5,705). So an amount is the value of goods, and
//!   a credit note that only corrects postage or grants a discount is no
//!   cancellation (885). Vouchers (GIFT…), PADS and DCGS… are goods.
//! - **Negative quantity outside a cancellation**, all without customer and at
//!   price 0: the shop writes off stock: set aside (3,392). Likewise a quantity
//!   of 0, and a quantity above 0 in a cancellation (none is left of either).
//! - **Price 0**: corrections of stock, mostly without customer, and a few
//!   presents: set aside (2,604); and prices below 0 (none is left).
//! - **A line repeated exactly within its invoice** (11,792 of the mapped): kept,
//!   and noted. An invoice often has several lines of one
//!   sku, as many with different quantities as with equal ones, and the repeated
//!   lines are rarely neighbours and mostly of quantity 1 (70 %, of all lines
//!   28 %): things rung up one by one, not a fault of the export.
//! - **No customer** (243,007 rows, 227,292 of the mapped): noted.
//! - **Lower case codes** (`85123a`): the same sku as in capitals; noted
//!   (3,317).
//! - **Invoices that span minutes** (83): noted for each line after the first
//!   minute.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, Int64Type, TimeUnit, TimestampMicrosecondType};
use jiff::tz::TimeZone;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use serde::Serialize;

use crate::timeline::{CloudEvent, Timeline};
use crate::{ImportError, Imported, Progress, SourceEvent, Summary};

/// The columns read, as the schema names them; `sheet` may be missing.
pub const COLUMNS: [&str; 8] =
    ["Invoice", "StockCode", "Quantity", "InvoiceDate", "Price", "Customer ID", "Country", "sheet"];

/// Stock codes, in capitals, that are no goods.
pub const NO_GOODS: [&str; 17] = [
    "ADJUST",
    "ADJUST2",
    "AMAZONFEE",
    "B",
    "BANK CHARGES",
    "C2",
    "C3",
    "CRUK",
    "D",
    "DOT",
    "M",
    "POST",
    "POSTAGE",
    "S",
    "SAMPLES",
    "TEST001",
    "TEST002",
];

/// Reads the invoice lines of all `paths` (Parquet, in any order) and answers
/// their events in event-time order.
pub fn read(paths: &[PathBuf], progress: Progress<'_>) -> Result<Imported, ImportError> {
    let mut readers = Vec::new();
    let mut total = 0;
    for path in paths {
        let (builder, rows) = open(path)?;
        total += rows;
        readers.push((path, builder));
    }
    let mut reading = Reading::default();
    for (file, (path, builder)) in readers.into_iter().enumerate() {
        let batches = builder.with_batch_size(8192).build().map_err(|source| parquet_error(path, source))?;
        let mut row = 0;
        for batch in batches {
            let batch = batch.map_err(|e| parquet_error(path, e.into()))?;
            let columns = Columns::of(path, &batch)?;
            for at in 0..batch.num_rows() {
                row += 1;
                reading.line(path, row, file, &columns.line(at));
            }
            progress(reading.summary.rows_read, total);
        }
    }
    let (invoices, summary) = reading.finish();
    summary.check();
    let moments = |invoice: &Invoice| match invoice.kind {
        Kind::Order => vec![(invoice.time_ms, PLACED), (invoice.time_ms, PAID)],
        Kind::Cancellation { .. } => vec![(invoice.time_ms, CANCELLED)],
    };
    let events = Timeline::new(invoices, moments, render);
    Ok((Box::new(events), summary))
}

/// An order's events, at their ranks: the order within a millisecond.
const KINDS: [&str; 3] = ["order.placed", "order.paid", "order.cancelled"];
const PLACED: u8 = 0;
const PAID: u8 = 1;
const CANCELLED: u8 = 2;

/// One row, as it was read.
struct Row<'a> {
    invoice: Option<&'a str>,
    sku: Option<&'a str>,
    quantity: Option<i64>,
    /// Local time in microseconds, as if it were UTC.
    local_us: Option<i64>,
    price: Option<f64>,
    customer: Option<i64>,
    country: Option<&'a str>,
    sheet: &'a str,
}

/// An invoice: an order, or the cancellation of one.
struct Invoice {
    id: String,
    kind: Kind,
    customer: String,
    country: String,
    /// First local time of its lines (microseconds) while reading, and then the
    /// event time.
    local_us: i64,
    time_ms: i64,
    amount_minor: i64,
    lines: Vec<Line>,
}

enum Kind {
    Order,
    Cancellation { of: Option<String> },
}

struct Line {
    sku: Arc<str>,
    /// Above 0.
    quantity: i64,
    unit_minor: i64,
    amount_minor: i64,
}

/// What has been read so far.
#[derive(Default)]
struct Reading {
    summary: Summary,
    /// The file and sheet where an invoice was met first.
    home: HashMap<String, (usize, u32)>,
    sheets: HashMap<String, u32>,
    skus: HashMap<String, Arc<str>>,
    invoices: HashMap<String, Invoice>,
    /// Hashes of the lines so far: to note repetitions.
    lines: HashSet<u64>,
}

impl Reading {
    fn line(&mut self, path: &Path, at: u64, file: usize, row: &Row<'_>) {
        self.summary.rows_read += 1;
        match self.map(file, row) {
            Ok(()) => self.summary.rows_mapped += 1,
            Err((reason, found)) => self.summary.set_aside(path, at, reason, found),
        }
    }

    fn map(&mut self, file: usize, row: &Row<'_>) -> Result<(), (&'static str, String)> {
        let missing = |column: usize| ("a value is missing", format!("{} is null", COLUMNS[column]));
        let id = row.invoice.ok_or_else(|| missing(0))?.trim().to_uppercase();
        let raw_sku = row.sku.ok_or_else(|| missing(1))?.trim();
        let quantity = row.quantity.ok_or_else(|| missing(2))?;
        let local_us = row.local_us.ok_or_else(|| missing(3))?;
        let price = row.price.ok_or_else(|| missing(4))?;

        let digits = id.strip_prefix(['A', 'C']).unwrap_or(&id);
        if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return Err(("not an invoice number", format!("Invoice {id:?}")));
        }
        let sheets = self.sheets.len() as u32;
        let sheet = match self.sheets.get(row.sheet) {
            Some(sheet) => *sheet,
            None => *self.sheets.entry(row.sheet.to_owned()).or_insert(sheets),
        };
        let home = match self.home.get(&id) {
            Some(home) => *home,
            None => *self.home.entry(id.clone()).or_insert((file, sheet)),
        };
        if home != (file, sheet) {
            let found = format!("Invoice {id} in sheet {:?}", row.sheet);
            return Err(("second copy of an invoice, in another sheet or file", found));
        }
        if id.starts_with('A') {
            return Err(("bad debt adjustment (invoice A…)", format!("Invoice {id}")));
        }
        let sku = raw_sku.to_uppercase();
        if sku.is_empty() {
            return Err(missing(1));
        }
        if NO_GOODS.contains(&sku.as_str()) {
            return Err(("the code is no goods", format!("Invoice {id}, StockCode {sku}")));
        }
        let cancels = id.starts_with('C');
        let found = || format!("Invoice {id}, StockCode {sku}, Quantity {quantity}, Price {price}");
        if quantity == 0 {
            return Err(("quantity 0", found()));
        }
        if !cancels && quantity < 0 {
            return Err(("negative quantity outside a cancellation", found()));
        }
        if cancels && quantity > 0 {
            return Err(("positive quantity in a cancellation", found()));
        }
        if price == 0.0 {
            return Err(("price 0", found()));
        }
        let quantity_abs = quantity
            .checked_abs()
            .filter(|quantity| *quantity < 1 << 31)
            .ok_or_else(|| ("quantity beyond belief", found()))?;
        let (Some(unit_minor), Some(amount_minor)) = (pence(price, 1), pence(price, quantity_abs)) else {
            return Err(("price below 0 or beyond belief", found()));
        };

        if raw_sku != sku {
            self.summary.note("stock code in lower case: the same sku as in capitals");
        }
        let mut hasher = DefaultHasher::new();
        (&id, &sku, quantity, price.to_bits(), local_us).hash(&mut hasher);
        if !self.lines.insert(hasher.finish()) {
            self.summary.note("the same line again within its invoice: kept");
        }
        if row.customer.is_none() {
            self.summary.note("no customer: an id of the invoice's own");
        }
        let sku = match self.skus.get(&sku) {
            Some(sku) => sku.clone(),
            None => self.skus.entry(sku.clone()).or_insert(sku.into()).clone(),
        };
        let line = Line { sku, quantity: quantity_abs, unit_minor, amount_minor };
        match self.invoices.entry(id) {
            Entry::Occupied(mut old) => {
                let invoice = old.get_mut();
                if local_us != invoice.local_us {
                    self.summary.note("stamped another minute than its invoice's first line");
                }
                invoice.local_us = invoice.local_us.min(local_us);
                invoice.amount_minor += amount_minor;
                invoice.lines.push(line);
            }
            Entry::Vacant(new) => {
                let id = new.key().clone();
                let kind = match cancels {
                    true => Kind::Cancellation { of: None },
                    false => Kind::Order,
                };
                new.insert(Invoice {
                    kind,
                    customer: match row.customer {
                        Some(customer) => customer.to_string(),
                        None => format!("unknown-{id}"),
                    },
                    id,
                    country: row.country.unwrap_or_default().trim().to_owned(),
                    local_us,
                    time_ms: 0,
                    amount_minor,
                    lines: vec![line],
                });
            }
        }
        Ok(())
    }

    /// The invoices with their event times, cancellations with their orders.
    fn finish(self) -> (Vec<Invoice>, Summary) {
        let mut summary = self.summary;
        #[expect(clippy::expect_used, reason = "the database of zones is compiled in")]
        let zone = TimeZone::get("Europe/London").expect("the zone is in the bundled database");
        let mut invoices: Vec<Invoice> = self.invoices.into_values().collect();
        for invoice in &mut invoices {
            invoice.time_ms = to_utc_ms(&zone, invoice.local_us);
        }
        invoices.sort_unstable_by(|a, b| (a.time_ms, &a.id).cmp(&(b.time_ms, &b.id)));
        find_orders(&mut invoices);
        for invoice in &invoices {
            match &invoice.kind {
                Kind::Order => {
                    summary.event(KINDS[PLACED as usize]);
                    summary.event(KINDS[PAID as usize]);
                }
                Kind::Cancellation { of } => {
                    summary.event(KINDS[CANCELLED as usize]);
                    if of.is_none() {
                        for _ in &invoice.lines {
                            summary.note("cancels no order that is there: subject is itself");
                        }
                    }
                }
            }
        }
        (invoices, summary)
    }
}

/// Gives each cancellation the order it cancels, if one can be told. `invoices`
/// are in event-time order.
fn find_orders(invoices: &mut [Invoice]) {
    /// (time, index, quantity in all) of an order of a sku.
    type Bought = (i64, usize, i64);
    // By customer and sku, in event-time order.
    let mut bought: HashMap<(&str, &str), Vec<Bought>> = HashMap::new();
    for (at, order) in invoices.iter().enumerate() {
        if matches!(order.kind, Kind::Order) {
            for line in &order.lines {
                let orders = bought.entry((&order.customer, &line.sku)).or_default();
                match orders.last_mut() {
                    Some((_, last, quantity)) if *last == at => *quantity += line.quantity,
                    _ => orders.push((order.time_ms, at, line.quantity)),
                }
            }
        }
    }
    let mut found = Vec::new();
    for (at, note) in invoices.iter().enumerate() {
        if matches!(note.kind, Kind::Order) {
            continue;
        }
        let mut amounts: HashMap<usize, i64> = HashMap::new();
        for line in &note.lines {
            let orders = bought.get(&(note.customer.as_str(), &*line.sku));
            let latest = orders
                .into_iter()
                .flatten()
                .rev()
                .find(|(time, _, quantity)| *time <= note.time_ms && *quantity >= line.quantity);
            if let Some((_, order, _)) = latest {
                *amounts.entry(*order).or_default() += line.amount_minor;
            }
        }
        // The greatest amount; of equals the latest, which is the last.
        if let Some((order, _)) = amounts.into_iter().max_by_key(|(order, sum)| (*sum, *order)) {
            found.push((at, invoices[order].id.clone()));
        }
    }
    for (at, order) in found {
        invoices[at].kind = Kind::Cancellation { of: Some(order) };
    }
}

/// `quantity` × `price` pounds in pence, rounded half to even. `None` if the
/// price is below 0, not a number, or too great.
fn pence(price: f64, quantity: i64) -> Option<i64> {
    if !(0.0..1e9).contains(&price) {
        return None;
    }
    // The shortest decimal that reads as this number is what was written.
    let text = price.to_string();
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    let scale = 10_i128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    let digits: i128 = format!("{whole}{fraction}").parse().ok()?;
    let numerator = digits.checked_mul(100)?.checked_mul(i128::from(quantity))?;
    let (floor, rest) = (numerator / scale, numerator % scale);
    let up = match (rest * 2).cmp(&scale) {
        std::cmp::Ordering::Less => 0,
        std::cmp::Ordering::Equal => floor % 2,
        std::cmp::Ordering::Greater => 1,
    };
    i64::try_from(floor + up).ok()
}

/// Local microseconds, written as if they were UTC, as an event time.
fn to_utc_ms(zone: &TimeZone, local_us: i64) -> i64 {
    let civil = jiff::Timestamp::from_microsecond(local_us)
        .map(|written| TimeZone::UTC.to_datetime(written))
        .unwrap_or(jiff::civil::DateTime::ZERO);
    zone.to_ambiguous_timestamp(civil).compatible().map_or(0, |time| time.as_millisecond())
}

/// Checks that the file is the data set, and answers its reader and row count.
fn open(path: &Path) -> Result<(ParquetRecordBatchReaderBuilder<File>, u64), ImportError> {
    let wrong = |place, found: String| ImportError::NotThisDataSet {
        path: path.to_owned(),
        data_set: "online-retail",
        place,
        found,
        advice: "give Online Retail II as Parquet, with the columns of the published sheets".to_owned(),
    };
    let mut file = File::open(path).map_err(|e| ImportError::io(path, e))?;
    let mut magic = [0; 4];
    std::io::Read::read_exact(&mut file, &mut magic).map_err(|e| match e.kind() {
        std::io::ErrorKind::UnexpectedEof => wrong("start", "the file is empty".to_owned()),
        _ => ImportError::io(path, e),
    })?;
    if &magic != b"PAR1" {
        return Err(wrong("start", "not a Parquet file".to_owned()));
    }
    // The types of pandas' own schema (large strings and such) are of no use.
    let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
    let builder = ParquetRecordBatchReaderBuilder::try_new_with_options(file, options)
        .map_err(|source| parquet_error(path, source))?;
    let names: Vec<_> = builder.schema().fields().iter().map(|field| field.name().as_str()).collect();
    for name in &COLUMNS[..7] {
        if !names.contains(name) {
            return Err(wrong("schema", format!("no column {name:?} among {}", names.join(", "))));
        }
    }
    let wanted = names
        .iter()
        .enumerate()
        .filter(|(_, name)| COLUMNS.contains(name))
        .map(|(at, _)| at)
        .collect::<Vec<_>>();
    let mask = ProjectionMask::roots(builder.parquet_schema(), wanted);
    let rows = u64::try_from(builder.metadata().file_metadata().num_rows()).unwrap_or(0);
    Ok((builder.with_projection(mask), rows))
}

fn parquet_error(path: &Path, source: parquet::errors::ParquetError) -> ImportError {
    ImportError::Parquet { path: path.to_owned(), source }
}

/// The columns of a batch, as the types they are read as.
struct Columns {
    columns: Vec<Option<Arc<dyn Array>>>,
}

impl Columns {
    fn of(path: &Path, batch: &RecordBatch) -> Result<Columns, ImportError> {
        let types = [
            DataType::Utf8,
            DataType::Utf8,
            DataType::Int64,
            DataType::Timestamp(TimeUnit::Microsecond, None),
            DataType::Float64,
            DataType::Int64,
            DataType::Utf8,
            DataType::Utf8,
        ];
        let columns = COLUMNS.iter().zip(types).map(|(name, kind)| {
            let column = batch.column_by_name(name);
            column.map(|column| cast(column, &kind)).transpose().map_err(|e| ImportError::NotThisDataSet {
                path: path.to_owned(),
                data_set: "online-retail",
                place: "schema",
                found: format!("column {name:?}: {e}"),
                advice: "give Online Retail II as Parquet, with the types of the \
                             published sheets"
                    .to_owned(),
            })
        });
        Ok(Columns { columns: columns.collect::<Result<_, _>>()? })
    }

    fn text(&self, column: usize, at: usize) -> Option<&str> {
        let column = self.columns[column].as_ref()?.as_string::<i32>();
        column.is_valid(at).then(|| column.value(at))
    }

    fn line(&self, at: usize) -> Row<'_> {
        let integer = |column: usize| {
            let column = self.columns[column].as_ref()?.as_primitive::<Int64Type>();
            column.is_valid(at).then(|| column.value(at))
        };
        let time = self.columns[3].as_ref().and_then(|column| {
            let column = column.as_primitive::<TimestampMicrosecondType>();
            column.is_valid(at).then(|| column.value(at))
        });
        let price = self.columns[4].as_ref().and_then(|column| {
            let column = column.as_primitive::<Float64Type>();
            column.is_valid(at).then(|| column.value(at))
        });
        Row {
            invoice: self.text(0, at),
            sku: self.text(1, at),
            quantity: integer(2),
            local_us: time,
            price,
            customer: integer(5),
            country: self.text(6, at),
            sheet: self.text(7, at).unwrap_or_default(),
        }
    }
}

/// `data` of every event; absent fields are left out.
#[derive(Serialize)]
struct Data<'a> {
    customer_id: &'a str,
    shop: &'static str,
    channel: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    actor: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cancellation_id: Option<&'a str>,
    amount_minor: i64,
    currency: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    country: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lines: Option<Vec<DataLine<'a>>>,
}

#[derive(Serialize)]
struct DataLine<'a> {
    sku: &'a str,
    quantity: i64,
    unit_minor: i64,
}

fn render(invoice: &Invoice, time_ms: i64, rank: u8) -> SourceEvent {
    let kind = KINDS[rank as usize];
    let (subject, cancels) = match &invoice.kind {
        Kind::Order => (&invoice.id, false),
        Kind::Cancellation { of } => (of.as_ref().unwrap_or(&invoice.id), true),
    };
    let lines = || {
        invoice
            .lines
            .iter()
            .map(|each| DataLine { sku: &each.sku, quantity: each.quantity, unit_minor: each.unit_minor })
            .collect()
    };
    let data = Data {
        customer_id: &invoice.customer,
        shop: "online-retail",
        channel: "web",
        actor: cancels.then_some("customer"),
        cancellation_id: cancels.then_some(&invoice.id),
        amount_minor: invoice.amount_minor,
        currency: "GBP",
        country: Some(invoice.country.as_str()).filter(|country| !country.is_empty()),
        lines: (rank != PAID).then(lines),
    };
    let id = format!("{}:{kind}", invoice.id);
    SourceEvent {
        topic: "orders",
        key: invoice.customer.clone(),
        time_ms,
        json: CloudEvent::line(&id, "/online-retail", kind, subject, time_ms, data),
    }
}

#[cfg(test)]
mod tests;
