//! Columns of the rows of KPIs, whatever their types.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray,
    StringViewArray, TimestampMicrosecondArray,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Float64Type, Int64Type, Schema, TimeUnit};
use arrow::error::ArrowError;

use crate::shape::KpiShape;

/// A column of texts. What is missing is empty.
#[derive(Clone)]
pub(crate) enum Texts {
    Plain(StringArray),
    Views(StringViewArray),
}

impl Texts {
    pub fn of(column: &ArrayRef) -> Result<Self, ArrowError> {
        Ok(match column.data_type() {
            DataType::Utf8 => Self::Plain(column.as_string::<i32>().clone()),
            DataType::Utf8View => Self::Views(column.as_string_view().clone()),
            _ => Self::Plain(cast(column, &DataType::Utf8)?.as_string::<i32>().clone()),
        })
    }

    #[inline]
    pub fn get(&self, row: usize) -> &str {
        match self {
            Self::Plain(texts) if texts.is_valid(row) => texts.value(row),
            Self::Views(texts) if texts.is_valid(row) => texts.value(row),
            _ => "",
        }
    }
}

/// A column of numbers.
#[derive(Clone)]
pub(crate) enum Numbers {
    Whole(Int64Array),
    Float(Float64Array),
}

impl Numbers {
    pub fn of(column: &ArrayRef) -> Result<Self, ArrowError> {
        Ok(match column.data_type() {
            DataType::Int64 => Self::Whole(column.as_primitive::<Int64Type>().clone()),
            DataType::Float64 => Self::Float(column.as_primitive::<Float64Type>().clone()),
            whole if whole.is_integer() => {
                Self::Whole(cast(column, &DataType::Int64)?.as_primitive::<Int64Type>().clone())
            }
            _ => Self::Float(cast(column, &DataType::Float64)?.as_primitive::<Float64Type>().clone()),
        })
    }

    /// What is infinite or no number is missing: there is nothing to compare it with.
    #[inline]
    pub fn float(&self, row: usize) -> Option<f64> {
        match self {
            Self::Whole(numbers) => numbers.is_valid(row).then(|| numbers.value(row) as f64),
            Self::Float(numbers) => {
                numbers.is_valid(row).then(|| numbers.value(row)).filter(|number| number.is_finite())
            }
        }
    }

    #[inline]
    pub fn whole(&self, row: usize) -> Option<i64> {
        match self {
            Self::Whole(numbers) => numbers.is_valid(row).then(|| numbers.value(row)),
            Self::Float(_) => self.float(row).map(|number| number as i64),
        }
    }
}

/// A row that is made up: values of the keys that it is grouped by, and of all values.
pub(crate) type Made<'a> = (Vec<&'a str>, Vec<Option<f64>>);

/// Rows of one window and one grouping set, as the KPI gives them out.
pub(crate) fn make(
    shape: &KpiShape,
    set: &[String],
    end_ms: i64,
    (revision, is_final, at_ms): (i64, bool, i64),
    rows: &[Made<'_>],
) -> Result<RecordBatch, ArrowError> {
    let time = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let times = |ms: i64| -> ArrayRef {
        Arc::new(TimestampMicrosecondArray::from(vec![ms * 1_000; rows.len()]).with_timezone("UTC"))
    };
    let mut fields = vec![
        Field::new("window_start", time.clone(), false),
        Field::new("window_end", time.clone(), false),
        Field::new("grouped_by", DataType::Utf8, false),
    ];
    let mut columns = vec![
        times(end_ms - shape.size_ms),
        times(end_ms),
        Arc::new(StringArray::from(vec![set.join(","); rows.len()])) as ArrayRef,
    ];
    for key in &shape.keys {
        let place = set.iter().position(|other| other == key);
        let texts =
            rows.iter().map(|(keys, _)| place.map(|place| keys[place]).filter(|text| !text.is_empty()));
        fields.push(Field::new(key, DataType::Utf8, true));
        columns.push(Arc::new(texts.collect::<StringArray>()));
    }
    for (place, (name, kind)) in shape.values.iter().enumerate() {
        let numbers: Float64Array = rows.iter().map(|(_, values)| values[place]).collect();
        fields.push(Field::new(name, kind.clone(), true));
        columns.push(cast(&numbers, kind)?);
    }
    fields.push(Field::new("revision", DataType::Int64, false));
    columns.push(Arc::new(Int64Array::from(vec![revision; rows.len()])));
    fields.push(Field::new("final", DataType::Boolean, false));
    columns.push(Arc::new(BooleanArray::from(vec![is_final; rows.len()])));
    fields.push(Field::new("at", time, false));
    columns.push(times(at_ms));
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
}
