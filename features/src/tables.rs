//! The tables `past.*` and `future.*`: facts of customers, with what depends on `as_of`.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Builder, RecordBatch, StringViewBuilder, UInt32Array};
use arrow::compute::{cast, take};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow::error::ArrowError;
use headsup_operators::facts::{Kind, Table};

/// A table of facts that features can be made of: those that name a customer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Past {
    /// As in the facts.
    Contacts,
    /// As in the facts.
    Rounds,
    /// As in the facts.
    Ratings,
    /// As in the facts.
    Turns,
    /// As in the facts.
    Resolutions,
    /// As in the facts.
    Inquiries,
    /// As in the facts, and what is known of the order's placement.
    Orders,
    /// A row per line of an order event, with what is known of its sku.
    Lines,
}

/// A column that depends on `as_of`: name, type, what it is.
pub type Derived = (&'static str, DataType, &'static str);

const fn time() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, None)
}

/// The columns that depend on `as_of`. The first two are of all tables, the next two of `orders`
/// and `lines`, the last two of `lines`.
pub static DERIVED: [Derived; 6] = [
    ("as_of", time(), "the time of the spine's row"),
    (
        "age_ms",
        DataType::Int64,
        "from the event to as_of; in future.* it is ahead_ms, from as_of to the event",
    ),
    ("placed_at", time(), "when the order was placed; null unless that was known at as_of"),
    ("placed_minor", DataType::Int64, "the amount it was placed with; null unless known at as_of"),
    (
        "sku_bought",
        DataType::Int64,
        "lines of this sku in orders placed, by anybody, known before the UTC day of as_of",
    ),
    (
        "sku_returned",
        DataType::Int64,
        "lines of this sku in cancellations by customers and requests to return, by anybody, known before the UTC day of as_of",
    ),
];

/// Columns of `lines` besides those of `orders` that it shares.
const LINE: [(&str, Kind, &str); 4] = [
    ("sku", Kind::Text, "what was bought or given back"),
    ("quantity", Kind::Integer, "how many"),
    ("unit_minor", Kind::Integer, "price of one in minor units"),
    ("line_minor", Kind::Integer, "quantity times price"),
];
const SHARED: [&str; 10] =
    ["order_id", "type", "customer_id", "shop", "channel", "currency", "actor", "reason", "at", "known_at"];

impl Past {
    /// All of them.
    pub const ALL: [Past; 8] = [
        Past::Contacts,
        Past::Rounds,
        Past::Ratings,
        Past::Turns,
        Past::Resolutions,
        Past::Inquiries,
        Past::Orders,
        Past::Lines,
    ];

    /// The name in SQL.
    pub const fn name(self) -> &'static str {
        match self {
            Past::Lines => "lines",
            other => other.source().name(),
        }
    }

    /// The table of facts that it is made from.
    pub const fn source(self) -> Table {
        match self {
            Past::Contacts => Table::Contacts,
            Past::Rounds => Table::Rounds,
            Past::Ratings => Table::Ratings,
            Past::Turns => Table::Turns,
            Past::Resolutions => Table::Resolutions,
            Past::Inquiries => Table::Inquiries,
            Past::Orders | Past::Lines => Table::Orders,
        }
    }

    /// The column that dates a row.
    pub const fn event_time(self) -> &'static str {
        self.source().event_time()
    }

    /// The columns that do not depend on `as_of`: name, kind, what it is.
    pub fn columns(self) -> Vec<(&'static str, Kind, &'static str)> {
        let columns = self.source().columns();
        match self {
            Past::Lines => {
                let shared = columns.iter().filter(|(name, ..)| SHARED.contains(name)).copied();
                let (before, after): (Vec<_>, Vec<_>) = shared.partition(|(_, kind, _)| *kind == Kind::Text);
                before.into_iter().chain(LINE).chain(after).collect()
            }
            Past::Orders => columns.iter().filter(|(name, ..)| *name != "lines").copied().collect(),
            _ => columns.to_vec(),
        }
    }

    /// The columns that depend on `as_of`, as `future.*` calls them if `ahead`.
    pub fn derived(self, ahead: bool) -> impl Iterator<Item = (&'static str, DataType)> {
        let count = match self {
            Past::Lines => 6,
            Past::Orders => 4,
            _ => 2,
        };
        DERIVED.iter().take(count).map(move |(name, kind, _)| match *name {
            "age_ms" if ahead => ("ahead_ms", kind.clone()),
            name => (name, kind.clone()),
        })
    }

    /// The schema of the columns that do not depend on `as_of`.
    pub fn base_schema(self) -> SchemaRef {
        let fields = self.columns().into_iter().map(|(name, kind, _)| {
            let kind = match kind {
                Kind::Text => DataType::Utf8View,
                Kind::Integer => DataType::Int64,
                Kind::Boolean => DataType::Boolean,
                Kind::Time => time(),
            };
            Field::new(name, kind, true)
        });
        Arc::new(Schema::new(fields.collect::<Vec<_>>()))
    }

    /// The schema of the table in SQL.
    pub fn schema(self, ahead: bool) -> SchemaRef {
        let mut fields: Vec<Field> =
            self.base_schema().fields().iter().map(|field| field.as_ref().clone()).collect();
        fields.extend(self.derived(ahead).map(|(name, kind)| Field::new(name, kind, true)));
        Arc::new(Schema::new(fields))
    }
}

/// A line as the event has it.
#[derive(serde::Deserialize)]
struct Line<'a> {
    #[serde(borrow)]
    sku: std::borrow::Cow<'a, str>,
    quantity: Option<i64>,
    unit_minor: Option<i64>,
}

/// The rows of `lines` that order events come to. Lines that cannot be read are left out: decoding has
/// let only arrays of such objects in.
pub(crate) fn lines(orders: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let mut of: Vec<u32> = Vec::new();
    let mut skus = StringViewBuilder::new();
    let mut numbers = [(); 3].map(|()| Int64Builder::new());
    if let Some(lines) = orders.column_by_name("lines") {
        let lines = cast(lines, &DataType::Utf8View)?;
        for (row, text) in lines.as_string_view().iter().enumerate() {
            let lines: Vec<Line<'_>> =
                text.and_then(|text| sonic_rs::from_str(text).ok()).unwrap_or_default();
            for line in lines {
                of.push(row as u32);
                skus.append_value(&line.sku);
                let [quantity, unit, sum] = &mut numbers;
                quantity.append_option(line.quantity);
                unit.append_option(line.unit_minor);
                let both = line.quantity.zip(line.unit_minor);
                sum.append_option(both.map(|(quantity, unit)| quantity.saturating_mul(unit)));
            }
        }
    }
    let of = UInt32Array::from(of);
    let [quantity, unit, sum] = numbers.each_mut().map(|builder| Arc::new(builder.finish()) as ArrayRef);
    let skus: ArrayRef = Arc::new(skus.finish());
    let schema = Past::Lines.base_schema();
    let columns = schema.fields().iter().map(|field| match field.name().as_str() {
        "sku" => Ok(skus.clone()),
        "quantity" => Ok(quantity.clone()),
        "unit_minor" => Ok(unit.clone()),
        "line_minor" => Ok(sum.clone()),
        name => match orders.column_by_name(name) {
            Some(column) => take(&cast(column, field.data_type())?, &of, None),
            None => Ok(arrow::array::new_null_array(field.data_type(), of.len())),
        },
    });
    let columns = columns.collect::<Result<Vec<_>, _>>()?;
    RecordBatch::try_new(schema.clone(), columns)
}
