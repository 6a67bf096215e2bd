//! ClickHouse's `RowBinary`: row by row, numbers little-endian, texts after their length, a
//! byte before what may be NULL. Both old and new servers take it, and it says nothing about
//! time zones or precision, so a time is the same eight bytes in an `Int64` and in a
//! `DateTime64(6)`.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BinaryBuilder, BooleanArray, BooleanBuilder, Float64Array,
    Float64Builder, Int64Array, Int64Builder, RecordBatch, StringBuilder, StringViewBuilder,
    TimestampMicrosecondArray, TimestampMicrosecondBuilder, UInt64Array, UInt64Builder,
};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Field, Float64Type, Int64Type, SchemaRef, TimeUnit, TimestampMicrosecondType, UInt64Type,
};
use arrow::error::ArrowError;

/// What a column holds, as far as its bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Bytes, mostly UTF-8.
    Text,
    /// Whole number.
    Integer,
    /// Whole number, not negative.
    Unsigned,
    /// Double precision.
    Double,
    /// True or false.
    Boolean,
    /// UTC, microseconds since the Unix epoch.
    Time,
}

impl Kind {
    /// How an Arrow column is kept; `None` if it cannot be.
    pub fn of(data_type: &DataType) -> Option<Self> {
        Some(match data_type {
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Self::Text,
            DataType::Binary | DataType::LargeBinary | DataType::BinaryView => Self::Text,
            DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::Int64 => Self::Integer,
            DataType::UInt8 | DataType::UInt16 | DataType::UInt32 | DataType::UInt64 => Self::Unsigned,
            DataType::Float32 | DataType::Float64 => Self::Double,
            DataType::Boolean => Self::Boolean,
            DataType::Timestamp(..) | DataType::Date32 => Self::Time,
            _ => return None,
        })
    }

    /// The Arrow type whose values are written.
    fn arrow(self) -> DataType {
        match self {
            Self::Text => DataType::Binary,
            Self::Integer => DataType::Int64,
            Self::Unsigned => DataType::UInt64,
            Self::Double => DataType::Float64,
            Self::Boolean => DataType::Boolean,
            Self::Time => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        }
    }
}

/// A column that is ready to be written row by row.
#[derive(Debug)]
pub struct Column {
    values: Values,
    array: ArrayRef,
    nullable: bool,
}

#[derive(Debug)]
enum Values {
    Text(BinaryArray),
    Integer(Int64Array),
    Unsigned(UInt64Array),
    Double(Float64Array),
    Boolean(BooleanArray),
    Time(TimestampMicrosecondArray),
}

impl Column {
    /// A column of `kind`; `nullable` is whether ClickHouse's column is.
    ///
    /// # Errors
    /// Values that do not go into the kind; NULL where none may be.
    pub fn new(array: &ArrayRef, kind: Kind, nullable: bool) -> Result<Self, ArrowError> {
        if !nullable && array.null_count() > 0 {
            return Err(ArrowError::InvalidArgumentError("there is NULL where none may be".to_owned()));
        }
        // Binary views go by way of Binary; all else is cast at once.
        let array = cast(array, &kind.arrow())?;
        let values = match kind {
            Kind::Text => Values::Text(array.as_binary::<i32>().clone()),
            Kind::Integer => Values::Integer(array.as_primitive::<Int64Type>().clone()),
            Kind::Unsigned => Values::Unsigned(array.as_primitive::<UInt64Type>().clone()),
            Kind::Double => Values::Double(array.as_primitive::<Float64Type>().clone()),
            Kind::Boolean => Values::Boolean(array.as_boolean().clone()),
            Kind::Time => Values::Time(array.as_primitive::<TimestampMicrosecondType>().clone()),
        };
        Ok(Self { values, array, nullable })
    }

    /// Appends the value of a row.
    pub fn write(&self, row: usize, out: &mut Vec<u8>) {
        if self.nullable {
            let null = self.array.is_null(row);
            out.push(u8::from(null));
            if null {
                return;
            }
        }
        match &self.values {
            Values::Text(array) => write_text(array.value(row), out),
            Values::Integer(array) => out.extend_from_slice(&array.value(row).to_le_bytes()),
            Values::Unsigned(array) => out.extend_from_slice(&array.value(row).to_le_bytes()),
            Values::Double(array) => out.extend_from_slice(&array.value(row).to_le_bytes()),
            Values::Boolean(array) => out.push(u8::from(array.value(row))),
            Values::Time(array) => out.extend_from_slice(&array.value(row).to_le_bytes()),
        }
    }
}

/// Appends a text: its length, seven bits a byte, and its bytes.
pub fn write_text(text: &[u8], out: &mut Vec<u8>) {
    let mut length = text.len();
    while length >= 0x80 {
        out.push(length as u8 | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
    out.extend_from_slice(text);
}

/// Makes batches of a schema from bytes that come in any pieces. Every column is NULL-able.
#[derive(Debug)]
pub struct Decoder {
    schema: SchemaRef,
    kinds: Vec<Kind>,
    builders: Vec<Builder>,
    /// Bytes of a row that is not whole yet.
    rest: Vec<u8>,
    rows: usize,
}

#[derive(Debug)]
enum Builder {
    View(StringViewBuilder),
    Text(StringBuilder),
    Binary(BinaryBuilder),
    Integer(Int64Builder),
    Unsigned(UInt64Builder),
    Double(Float64Builder),
    Boolean(BooleanBuilder),
    Time(TimestampMicrosecondBuilder),
}

impl Builder {
    fn new(field: &Field) -> Option<Self> {
        Some(match field.data_type() {
            DataType::Utf8View => Self::View(StringViewBuilder::new()),
            DataType::Utf8 => Self::Text(StringBuilder::new()),
            DataType::Binary => Self::Binary(BinaryBuilder::new()),
            DataType::Int64 => Self::Integer(Int64Builder::new()),
            DataType::UInt64 => Self::Unsigned(UInt64Builder::new()),
            DataType::Float64 => Self::Double(Float64Builder::new()),
            DataType::Boolean => Self::Boolean(BooleanBuilder::new()),
            DataType::Timestamp(TimeUnit::Microsecond, zone) => {
                Self::Time(TimestampMicrosecondBuilder::new().with_timezone_opt(zone.clone()))
            }
            _ => return None,
        })
    }

    /// Appends a value, `None` for NULL. The bytes are as long as the kind says.
    fn push(&mut self, value: Option<&[u8]>) -> Result<(), String> {
        let word = |bytes: &[u8]| bytes.try_into().map(i64::from_le_bytes).unwrap_or_default();
        match self {
            Self::View(builder) => builder.append_option(value.map(text).transpose()?),
            Self::Text(builder) => builder.append_option(value.map(text).transpose()?),
            Self::Binary(builder) => builder.append_option(value),
            Self::Integer(builder) => builder.append_option(value.map(word)),
            Self::Unsigned(builder) => builder.append_option(value.map(|bytes| word(bytes) as u64)),
            Self::Double(builder) => {
                builder.append_option(value.map(|bytes| f64::from_bits(word(bytes) as u64)))
            }
            Self::Boolean(builder) => builder.append_option(value.map(|bytes| bytes != [0])),
            Self::Time(builder) => builder.append_option(value.map(word)),
        }
        Ok(())
    }

    fn finish(&mut self) -> ArrayRef {
        match self {
            Self::View(builder) => Arc::new(builder.finish()),
            Self::Text(builder) => Arc::new(builder.finish()),
            Self::Binary(builder) => Arc::new(builder.finish()),
            Self::Integer(builder) => Arc::new(builder.finish()),
            Self::Unsigned(builder) => Arc::new(builder.finish()),
            Self::Double(builder) => Arc::new(builder.finish()),
            Self::Boolean(builder) => Arc::new(builder.finish()),
            Self::Time(builder) => Arc::new(builder.finish()),
        }
    }
}

fn text(bytes: &[u8]) -> Result<&str, String> {
    std::str::from_utf8(bytes).map_err(|error| format!("a text is no UTF-8: {error}"))
}

impl Decoder {
    /// An empty one.
    ///
    /// # Errors
    /// A column of a type that is not read, by name.
    pub fn new(schema: SchemaRef) -> Result<Self, String> {
        let unknown = |field: &Field| format!("column {} is of type {}", field.name(), field.data_type());
        let kinds = schema.fields().iter().map(|f| Kind::of(f.data_type()).ok_or_else(|| unknown(f)));
        let kinds = kinds.collect::<Result<_, _>>()?;
        let builders = schema.fields().iter().map(|f| Builder::new(f).ok_or_else(|| unknown(f)));
        let builders = builders.collect::<Result<_, _>>()?;
        Ok(Self { schema, kinds, builders, rest: Vec::new(), rows: 0 })
    }

    /// Rows that are whole and not taken yet.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Whether bytes are left of a row that is not whole.
    pub fn is_cut_off(&self) -> bool {
        !self.rest.is_empty()
    }

    /// Takes in the next bytes.
    ///
    /// # Errors
    /// A text that is no UTF-8.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), String> {
        let mut all = std::mem::take(&mut self.rest);
        all.extend_from_slice(bytes);
        let mut at = 0;
        let mut cells: Vec<Option<(usize, usize)>> = Vec::with_capacity(self.kinds.len());
        while let Some(end) = self.row(&all, at, &mut cells) {
            for (builder, cell) in self.builders.iter_mut().zip(&cells) {
                builder.push(cell.and_then(|(from, to)| all.get(from..to)))?;
            }
            self.rows += 1;
            if end == at {
                // A schema without columns has rows without bytes.
                break;
            }
            at = end;
        }
        all.drain(..at);
        self.rest = all;
        Ok(())
    }

    /// Where the cells of the row that begins at `at` are, and where it ends; `None` if it
    /// is not whole.
    fn row(&self, all: &[u8], mut at: usize, cells: &mut Vec<Option<(usize, usize)>>) -> Option<usize> {
        cells.clear();
        for kind in &self.kinds {
            let null = *all.get(at)?;
            at += 1;
            if null != 0 {
                cells.push(None);
                continue;
            }
            let length = match kind {
                Kind::Text => {
                    let (mut length, mut shift) = (0_usize, 0);
                    loop {
                        let byte = *all.get(at)?;
                        at += 1;
                        length |= usize::from(byte & 0x7f).checked_shl(shift).unwrap_or(0);
                        shift += 7;
                        if byte & 0x80 == 0 {
                            break length;
                        }
                    }
                }
                Kind::Boolean => 1,
                Kind::Integer | Kind::Unsigned | Kind::Double | Kind::Time => 8,
            };
            let end = at.checked_add(length).filter(|&end| end <= all.len())?;
            cells.push(Some((at, end)));
            at = end;
        }
        Some(at)
    }

    /// The whole rows so far.
    ///
    /// # Errors
    /// Never of rows that ClickHouse gave for the schema.
    pub fn take(&mut self) -> Result<RecordBatch, ArrowError> {
        self.rows = 0;
        let columns = self.builders.iter_mut().map(Builder::finish).collect();
        RecordBatch::try_new(self.schema.clone(), columns)
    }
}
