//! The SQL functions that definitions have beside those of KPIs and of DataFusion.
//!
//! | function | is |
//! |---|---|
//! | `days(n)`, `hours(n)` | so many days or hours in ms |
//! | `count`, `sum`, `min`, `max`, `bool_or`, `bool_and` | as in SQL, of whole numbers |
//! | `mean(x)`, `stddev(x)` | mean, and standard deviation of a sample: sums are whole, the division comes last |
//! | `median(x)` | the middle one, of an even number the lower |
//! | `gap_mean(x)`, `gap_stddev(x)` | the same of the differences between neighbours in order of size: of `age_ms`, the time from one to the next |
//! | `last(x)`, `first(x)` | of the latest and the earliest event; of equal times the greatest |
//! | `alive(x, t, age, r, alpha, a, b)` | BG/NBD: probability that a customer with x repeat purchases, the last t after the first, age after the first, has not left |
//! | `expected_purchases(h, x, t, age, r, alpha, a, b)` | BG/NBD: purchases to expect in the next h |
//!
//! BG/NBD is in `headsup_models::bgnbd`, with what fits its parameters.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, Int64Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, FieldRef, Float64Type, Int64Type};
use datafusion::common::{Result, not_impl_err};
use datafusion::execution::FunctionRegistry;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl,
    Signature, Volatility,
};
use headsup_models::bgnbd::{alive, expected_purchases};

/// Makes the functions known to a session.
pub fn register(registry: &mut dyn FunctionRegistry) -> Result<()> {
    headsup_kpi::register(registry, &Arc::default())?;
    for (name, ms) in [("days", 86_400_000), ("hours", 3_600_000)] {
        registry.register_udf(Arc::new(ScalarUDF::from(Length::new(name, ms))))?;
    }
    registry.register_udf(Arc::new(ScalarUDF::from(Bgnbd::new("alive", 7))))?;
    registry.register_udf(Arc::new(ScalarUDF::from(Bgnbd::new("expected_purchases", 8))))?;
    let aggregates = [
        ("mean", DataType::Float64),
        ("stddev", DataType::Float64),
        ("median", DataType::Int64),
        ("gap_mean", DataType::Float64),
        ("gap_stddev", DataType::Float64),
        ("last", DataType::Int64),
        ("first", DataType::Int64),
    ];
    for (name, gives) in aggregates {
        registry.register_udaf(Arc::new(AggregateUDF::from(Ours::new(name, gives))))?;
    }
    Ok(())
}

/// `days` and `hours`.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Length {
    name: &'static str,
    ms: i64,
    signature: Signature,
}

impl Length {
    fn new(name: &'static str, ms: i64) -> Self {
        Self { name, ms, signature: Signature::exact(vec![DataType::Int64], Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for Length {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Int64)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let numbers = args.args[0].to_array(args.number_rows)?;
        let lengths: Int64Array = numbers.as_primitive::<Int64Type>().unary(|n| n.saturating_mul(self.ms));
        Ok(ColumnarValue::Array(Arc::new(lengths)))
    }
}

/// `alive` and `expected_purchases`.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Bgnbd {
    name: &'static str,
    signature: Signature,
}

impl Bgnbd {
    fn new(name: &'static str, arguments: usize) -> Self {
        let signature = Signature::exact(vec![DataType::Float64; arguments], Volatility::Immutable);
        Self { name, signature }
    }
}

impl ScalarUDFImpl for Bgnbd {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Float64)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arrays: Vec<ArrayRef> = args
            .args
            .iter()
            .map(|value| Ok(cast(&value.to_array(args.number_rows)?, &DataType::Float64)?))
            .collect::<Result<_>>()?;
        let columns: Vec<&Float64Array> =
            arrays.iter().map(|array| array.as_primitive::<Float64Type>()).collect();
        let values: Float64Array = (0..args.number_rows)
            .map(|row| {
                if columns.iter().any(|column| column.is_null(row)) {
                    return None;
                }
                let at = |place: usize| columns[place].value(row);
                let value = match columns.len() {
                    7 => alive([at(0), at(1), at(2)], [at(3), at(4), at(5), at(6)]),
                    _ => expected_purchases(at(0), [at(1), at(2), at(3)], [at(4), at(5), at(6), at(7)]),
                };
                value.is_finite().then_some(value)
            })
            .collect();
        Ok(ColumnarValue::Array(Arc::new(values)))
    }
}

/// An aggregate that [`crate::aggregate`] computes; DataFusion only has to know its name and type.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Ours {
    name: &'static str,
    gives: DataType,
    signature: Signature,
}

impl Ours {
    fn new(name: &'static str, gives: DataType) -> Self {
        Self { name, gives, signature: Signature::exact(vec![DataType::Int64], Volatility::Immutable) }
    }
}

impl AggregateUDFImpl for Ours {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(self.gives.clone())
    }

    fn state_fields(&self, _: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        Ok(Vec::new())
    }

    fn accumulator(&self, _: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        not_impl_err!("{} is only in feature views", self.name)
    }
}
