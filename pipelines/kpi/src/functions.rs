//! The SQL functions that KPI files have beside those of DataFusion.
//!
//! | function | is |
//! |---|---|
//! | `tumble(t, size)`, `hop(t, slide, size)` | mark the window; only in GROUP BY. A further INTERVAL is how much after the Unix epoch one begins |
//! | `avg_ms(x)` | the exact mean of whole numbers: sum and count are integers, divided once |
//! | `quantile(x, q)` | the ⌈q·n⌉-th smallest whole number, to within 1.1 % |
//! | `ratio(a, b)` | a / b as a double; NULL if b is 0 |
//! | `local_minute(t, 'Asia/Shanghai')` | the minute of the day, 0 to 1439, that clocks there show |
//! | `business_ms(shop, from, to)` | the ms between two times in which the shop is open |

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BinaryBuilder, BooleanArray, Float64Array, Float64Builder,
    Int64Array, PrimitiveArray,
};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Field, FieldRef, Float64Type, Int64Type, TimeUnit, TimestampMicrosecondType,
};
use datafusion::common::{Result, ScalarValue, exec_err, not_impl_err, plan_err};
use datafusion::execution::FunctionRegistry;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, ColumnarValue, EmitTo, GroupsAccumulator,
    ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, TypeSignature, Volatility,
};
use datafusion::physical_expr::expressions::Literal;

use crate::calendar::{Calendar, local_minute, time_zone};
use crate::sketch::Sketch;

/// Makes the functions known to a session.
pub fn register(registry: &mut dyn FunctionRegistry, calendar: &Arc<Calendar>) -> Result<()> {
    registry.register_udf(Arc::new(ScalarUDF::from(Window::new("tumble", 2))))?;
    registry.register_udf(Arc::new(ScalarUDF::from(Window::new("hop", 3))))?;
    registry.register_udf(Arc::new(ScalarUDF::from(LocalMinute::new())))?;
    registry.register_udf(Arc::new(ScalarUDF::from(BusinessMs::new(calendar.clone()))))?;
    registry.register_udf(Arc::new(ScalarUDF::from(Ratio::new())))?;
    registry.register_udaf(Arc::new(AggregateUDF::from(AvgMs::new())))?;
    registry.register_udaf(Arc::new(AggregateUDF::from(Quantile::new())))?;
    Ok(())
}

/// `tumble` and `hop`. The engine takes them out of the plan; they cannot be
/// evaluated by themselves.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Window {
    name: &'static str,
    signature: Signature,
}

impl Window {
    fn new(name: &'static str, arguments: usize) -> Self {
        let takes = [arguments, arguments + 1].map(TypeSignature::Any);
        Self { name, signature: Signature::one_of(takes.into(), Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for Window {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())))
    }

    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> Result<ColumnarValue> {
        plan_err!(
            "{} marks the window of a KPI and has no value of its own; in other queries use date_bin",
            self.name
        )
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Ratio {
    signature: Signature,
}

impl Ratio {
    fn new() -> Self {
        Self {
            signature: Signature::uniform(2, vec![DataType::Int64, DataType::Float64], Volatility::Immutable),
        }
    }
}

impl ScalarUDFImpl for Ratio {
    fn name(&self) -> &str {
        "ratio"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Float64)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arrays = ColumnarValue::values_to_arrays(&args.args)?;
        let numbers = |array: &ArrayRef| cast(array, &DataType::Float64);
        let (a, b) = (numbers(&arrays[0])?, numbers(&arrays[1])?);
        let (a, b) = (a.as_primitive::<Float64Type>(), b.as_primitive::<Float64Type>());
        let ratios: Float64Array = a
            .iter()
            .zip(b)
            .map(|pair| match pair {
                (Some(a), Some(b)) if b != 0.0 => Some(a / b),
                _ => None,
            })
            .collect();
        Ok(ColumnarValue::Array(Arc::new(ratios)))
    }
}

/// Times as microseconds.
const TIME: DataType = DataType::Timestamp(TimeUnit::Microsecond, None);

#[derive(Debug, PartialEq, Eq, Hash)]
struct LocalMinute {
    signature: Signature,
}

impl LocalMinute {
    fn new() -> Self {
        Self { signature: Signature::any(2, Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for LocalMinute {
    fn name(&self) -> &str {
        "local_minute"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        match types {
            [DataType::Timestamp(..), zone] if zone.is_string() => Ok(DataType::Int64),
            _ => plan_err!("local_minute(t, zone) takes a time and a time zone such as 'Asia/Shanghai'"),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let zone = match &args.args[1] {
            ColumnarValue::Scalar(zone) => zone.try_as_str().flatten().map(str::to_owned),
            ColumnarValue::Array(_) => None,
        };
        let Some(zone) = zone else {
            return plan_err!(
                "local_minute(t, zone) needs one time zone for all rows, such as 'Asia/Shanghai'"
            );
        };
        let zone = match time_zone(&zone) {
            Ok(zone) => zone,
            Err(problem) => return plan_err!("local_minute: {problem}"),
        };
        let times = cast(&args.args[0].to_array(args.number_rows)?, &TIME)?;
        let times = times.as_primitive::<TimestampMicrosecondType>();
        let minutes: Int64Array =
            times.iter().map(|us| us.and_then(|us| local_minute(&zone, us.div_euclid(1_000)))).collect();
        Ok(ColumnarValue::Array(Arc::new(minutes)))
    }
}

#[derive(Debug)]
struct BusinessMs {
    signature: Signature,
    calendar: Arc<Calendar>,
}

impl PartialEq for BusinessMs {
    fn eq(&self, other: &Self) -> bool {
        self.calendar == other.calendar
    }
}

impl Eq for BusinessMs {}

impl std::hash::Hash for BusinessMs {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.calendar.to_string().hash(state);
    }
}

impl BusinessMs {
    fn new(calendar: Arc<Calendar>) -> Self {
        Self { signature: Signature::any(3, Volatility::Immutable), calendar }
    }
}

impl ScalarUDFImpl for BusinessMs {
    fn name(&self) -> &str {
        "business_ms"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        match types {
            [shop, DataType::Timestamp(..), DataType::Timestamp(..)] if shop.is_string() => {
                Ok(DataType::Int64)
            }
            _ => plan_err!("business_ms(shop, from, to) takes a shop and two times"),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arrays = ColumnarValue::values_to_arrays(&args.args)?;
        let shops = cast(&arrays[0], &DataType::Utf8)?;
        let (from, to) = (cast(&arrays[1], &TIME)?, cast(&arrays[2], &TIME)?);
        let shops = shops.as_string::<i32>();
        let from = from.as_primitive::<TimestampMicrosecondType>();
        let to = to.as_primitive::<TimestampMicrosecondType>();
        let open = (0..shops.len()).map(|row| {
            let shop = if shops.is_valid(row) { shops.value(row) } else { "" };
            let ms = |times: &PrimitiveArray<TimestampMicrosecondType>| {
                times.is_valid(row).then(|| times.value(row).div_euclid(1_000))
            };
            Some(self.calendar.of(shop).open_ms(ms(from)?, ms(to)?))
        });
        Ok(ColumnarValue::Array(Arc::new(open.collect::<Int64Array>())))
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct AvgMs {
    signature: Signature,
}

impl AvgMs {
    fn new() -> Self {
        Self { signature: Signature::exact(vec![DataType::Int64], Volatility::Immutable) }
    }
}

impl AggregateUDFImpl for AvgMs {
    fn name(&self) -> &str {
        "avg_ms"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Float64)
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        Ok(vec![
            Arc::new(Field::new(format!("{}[sum]", args.name), DataType::Int64, false)),
            Arc::new(Field::new(format!("{}[count]", args.name), DataType::Int64, false)),
        ])
    }

    fn accumulator(&self, _: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(Single(Means::default())))
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs) -> bool {
        !args.is_distinct
    }

    fn create_groups_accumulator(&self, _: AccumulatorArgs) -> Result<Box<dyn GroupsAccumulator>> {
        Ok(Box::new(Means::default()))
    }
}

#[derive(Debug, Default)]
struct Means {
    sums: Vec<i64>,
    counts: Vec<i64>,
}

impl GroupsAccumulator for Means {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        total: usize,
    ) -> Result<()> {
        self.sums.resize(total, 0);
        self.counts.resize(total, 0);
        let values = values[0].as_primitive::<Int64Type>();
        for (row, &group) in groups.iter().enumerate() {
            if values.is_valid(row) && takes(filter, row) {
                self.sums[group] = self.sums[group].wrapping_add(values.value(row));
                self.counts[group] += 1;
            }
        }
        Ok(())
    }

    fn merge_batch(&mut self, values: &[ArrayRef], groups: &[usize], total: usize) -> Result<()> {
        self.sums.resize(total, 0);
        self.counts.resize(total, 0);
        let sums = values[0].as_primitive::<Int64Type>();
        let counts = values[1].as_primitive::<Int64Type>();
        for (row, &group) in groups.iter().enumerate() {
            self.sums[group] = self.sums[group].wrapping_add(sums.value(row));
            self.counts[group] += counts.value(row);
        }
        Ok(())
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let sums = emit_to.take_needed(&mut self.sums);
        let counts = emit_to.take_needed(&mut self.counts);
        let means: Float64Array = sums
            .into_iter()
            .zip(counts)
            .map(|(sum, count)| (count > 0).then(|| sum as f64 / count as f64))
            .collect();
        Ok(Arc::new(means))
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        Ok(vec![
            Arc::new(Int64Array::from(emit_to.take_needed(&mut self.sums))),
            Arc::new(Int64Array::from(emit_to.take_needed(&mut self.counts))),
        ])
    }

    fn convert_to_state(&self, _: &[ArrayRef], _: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        not_impl_err!("avg_ms is always aggregated")
    }

    fn size(&self) -> usize {
        (self.sums.capacity() + self.counts.capacity()) * size_of::<i64>()
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Quantile {
    signature: Signature,
}

impl Quantile {
    fn new() -> Self {
        Self { signature: Signature::exact(vec![DataType::Int64, DataType::Float64], Volatility::Immutable) }
    }

    fn sketches(args: &AccumulatorArgs) -> Result<Sketches> {
        let q = args.exprs.get(1).and_then(|expr| {
            let literal = expr.downcast_ref::<Literal>()?;
            match literal.value() {
                ScalarValue::Float64(q) => *q,
                _ => None,
            }
        });
        match q {
            Some(q) if (0.0..=1.0).contains(&q) => {
                Ok(Sketches { per_million: (q * 1e6).round() as u32, sketches: Vec::new() })
            }
            _ => plan_err!("quantile(x, q) needs a number from 0 to 1 as q"),
        }
    }
}

impl AggregateUDFImpl for Quantile {
    fn name(&self) -> &str {
        "quantile"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Float64)
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        Ok(vec![Arc::new(Field::new(format!("{}[sketch]", args.name), DataType::Binary, false))])
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(Single(Self::sketches(&args)?)))
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs) -> bool {
        !args.is_distinct
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn GroupsAccumulator>> {
        Ok(Box::new(Self::sketches(&args)?))
    }
}

#[derive(Debug)]
struct Sketches {
    per_million: u32,
    sketches: Vec<Sketch>,
}

impl GroupsAccumulator for Sketches {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        total: usize,
    ) -> Result<()> {
        self.sketches.resize_with(total, Sketch::default);
        let values = values[0].as_primitive::<Int64Type>();
        for (row, &group) in groups.iter().enumerate() {
            if values.is_valid(row) && takes(filter, row) {
                self.sketches[group].add(values.value(row));
            }
        }
        Ok(())
    }

    fn merge_batch(&mut self, values: &[ArrayRef], groups: &[usize], total: usize) -> Result<()> {
        self.sketches.resize_with(total, Sketch::default);
        let states: &BinaryArray = values[0].as_binary();
        for (row, &group) in groups.iter().enumerate() {
            if self.sketches[group].merge(states.value(row)).is_none() {
                return exec_err!("a partial state of quantile is damaged");
            }
        }
        Ok(())
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let mut quantiles = Float64Builder::new();
        for sketch in emit_to.take_needed(&mut self.sketches) {
            quantiles.append_option(sketch.quantile(self.per_million));
        }
        Ok(Arc::new(quantiles.finish()))
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        let mut states = BinaryBuilder::new();
        let mut bytes = Vec::new();
        for sketch in emit_to.take_needed(&mut self.sketches) {
            bytes.clear();
            sketch.write(&mut bytes);
            states.append_value(&bytes);
        }
        Ok(vec![Arc::new(states.finish())])
    }

    fn convert_to_state(&self, _: &[ArrayRef], _: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        not_impl_err!("quantile is always aggregated")
    }

    fn size(&self) -> usize {
        self.sketches.capacity() * size_of::<Sketch>()
    }
}

fn takes(filter: Option<&BooleanArray>, row: usize) -> bool {
    filter.is_none_or(|filter| filter.is_valid(row) && filter.value(row))
}

/// A groups accumulator with one group, for queries without GROUP BY.
#[derive(Debug)]
struct Single<G>(G);

impl<G: GroupsAccumulator + std::fmt::Debug + Sync> Accumulator for Single<G> {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.0.update_batch(values, &vec![0; values[0].len()], None, 1)
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.0.merge_batch(states, &vec![0; states[0].len()], 1)
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        self.0.update_batch(&self.none(), &[], None, 1)?;
        ScalarValue::try_from_array(&self.0.evaluate(EmitTo::All)?, 0)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        self.0.update_batch(&self.none(), &[], None, 1)?;
        let states = self.0.state(EmitTo::All)?;
        states.iter().map(|state| ScalarValue::try_from_array(state, 0)).collect()
    }

    fn size(&self) -> usize {
        self.0.size()
    }
}

impl<G> Single<G> {
    /// No values, which makes sure that the one group exists.
    fn none(&self) -> [ArrayRef; 1] {
        [Arc::new(Int64Array::from(Vec::<i64>::new()))]
    }
}
