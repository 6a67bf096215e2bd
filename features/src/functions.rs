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
//! BG/NBD: Fader, Hardie, Lee, "Counting Your Customers" the Easy Way, Marketing Science 24 (2005):
//! `alive` from its likelihood, `expected_purchases` is equation (10).

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

/// The probability that a customer is alive: `[x, t_x, T]` are repeat purchases, time of the last and of
/// now, both after the first; `[r, α, a, b]` the fitted parameters.
pub fn alive([x, t, age]: [f64; 3], [r, alpha, a, b]: [f64; 4]) -> f64 {
    if x <= 0.0 {
        return 1.0;
    }
    1.0 / (1.0 + a / (b + x - 1.0) * libm::pow((alpha + age) / (alpha + t), r + x))
}

/// Purchases to expect within `horizon`; the other arguments as in [`alive`].
pub fn expected_purchases(horizon: f64, [x, t, age]: [f64; 3], [r, alpha, a, b]: [f64; 4]) -> f64 {
    let shrinks = libm::pow((alpha + age) / (alpha + age + horizon), r + x);
    let series = gauss_2f1(r + x, b + x, a + b + x - 1.0, horizon / (alpha + age + horizon));
    (a + b + x - 1.0) / (a - 1.0) * (1.0 - shrinks * series) * alive([x, t, age], [r, alpha, a, b])
}

/// The hypergeometric function ₂F₁(a, b; c; z), 0 ≤ z < 1, by its series.
fn gauss_2f1(a: f64, b: f64, c: f64, z: f64) -> f64 {
    let (mut sum, mut term) = (1.0, 1.0);
    for n in 0..10_000 {
        let n = f64::from(n);
        term *= (a + n) * (b + n) / ((c + n) * (n + 1.0)) * z;
        sum += term;
        if term.abs() <= 1e-15 * sum.abs() {
            break;
        }
    }
    sum
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

#[cfg(test)]
mod tests {
    use super::*;

    /// The CDNOW sample's parameters in weeks. Values by the paper's companion spreadsheet, and by
    /// an independent implementation of equation (10) with SciPy's 2F1.
    #[test]
    fn bgnbd_as_published() {
        let fitted = [0.243, 4.414, 0.793, 2.426];
        let customer = [2.0, 30.43, 38.86];
        let alive = alive(customer, fitted);
        assert!((alive - 0.7266).abs() < 5e-4, "{alive}");
        let expected = expected_purchases(39.0, customer, fitted);
        assert!((expected - 1.226).abs() < 2e-3, "{expected}");
        assert_eq!(super::alive([0.0, 0.0, 10.0], fitted), 1.0);
    }
}
