//! How long a backtest of a month takes, and how large the state gets.
//!
//! `cargo run --release -p headsup-alerts --example month [series] [days]`

use std::sync::Arc;
use std::time::Instant;

use arrow::array::{
    ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
    new_null_array,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use headsup_alerts::{Alerts, AlertsError, KpiShape, Rules, Unexplained, backtest};

const MINUTE: i64 = 60_000;

fn main() {
    let mut arguments = std::env::args().skip(1).map(|argument| argument.parse::<i64>());
    let mut next = |default: i64| arguments.next().and_then(Result::ok).unwrap_or(default);
    let (series, days) = (next(100), next(30));
    let shape = shape();
    for (what, rule) in [
        (
            "limit",
            "value = \"aht_ms\"\nfire_above = 120\nclear_below = 110\nfor = \"1m\"\nkeep_firing_for = \"5m\"\nmin_n = 20",
        ),
        (
            "burn",
            "burn = { good = \"good\", total = \"contacts\", objective = 0.8, windows = [{ long = \"6h\", short = \"30m\", rate = 1.2 }, { long = \"1h\", short = \"5m\", rate = 2 }] }",
        ),
        ("baseline", "value = \"aht_ms\"\nmin_n = 20\nbaseline = { weeks = 2, floor = 5 }"),
    ] {
        let text = format!("[[alert]]\nname = \"{what}\"\nkpi = \"aht\"\nby = [\"shop\"]\n{rule}");
        let rules = match Rules::parse("alerts.toml", &text, std::slice::from_ref(&shape)) {
            Ok(rules) => rules,
            Err(error) => return eprintln!("{error}"),
        };
        // Each row as it is first, and once more as final.
        let rows = |minutes: std::ops::Range<i64>| {
            let (shape, schema) = (shape.clone(), schema());
            minutes.flat_map(move |minute| {
                let at = minute * MINUTE;
                let first = batch(&shape, &schema, series, at, at);
                let last = batch(&shape, &schema, series, at - 10 * MINUTE, at);
                [last, first].map(|batch| Ok::<_, AlertsError>((0, batch)))
            })
        };
        let started = Instant::now();
        let made =
            rows(0..days * 1_440).fold(0, |sum, row| sum + row.map_or(0, |(_, batch)| batch.num_rows()));
        let making = started.elapsed();
        let started = Instant::now();
        let result = match backtest(&rules, rows(0..days * 1_440)) {
            Ok(result) => result,
            Err(error) => return eprintln!("{error}"),
        };
        let took = started.elapsed().saturating_sub(making).as_secs_f64();
        let mut alerts = Alerts::new(&rules);
        let some: Vec<_> = rows(0..2_880).flatten().collect();
        let saved = alerts
            .advance(&some, 2_880 * MINUTE, &mut Unexplained, &mut Vec::new())
            .and_then(|()| alerts.save());
        println!(
            "{what}: {made} rows in {took:.2} s, {:.2} M rows a second; {} episodes; state after two days {} kB",
            made as f64 / took / 1e6,
            result.fired.len(),
            saved.map_or(0, |bytes| bytes.len() / 1_000),
        );
    }
}

fn shape() -> KpiShape {
    let names = |list: &[&str]| list.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    KpiShape {
        size_ms: 5 * MINUTE,
        slide_ms: MINUTE,
        corrections_ms: 10 * MINUTE,
        ..KpiShape::of_rows("aht", &schema(), 2, vec![names(&["shop"])])
    }
}

fn schema() -> SchemaRef {
    let time = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let fields = [
        ("window_start", time.clone()),
        ("window_end", time.clone()),
        ("grouped_by", DataType::Utf8),
        ("shop", DataType::Utf8),
        ("skill", DataType::Utf8),
        ("contacts", DataType::Int64),
        ("good", DataType::Int64),
        ("aht_ms", DataType::Float64),
        ("revision", DataType::Int64),
        ("final", DataType::Boolean),
        ("at", time),
    ];
    Arc::new(Schema::new(fields.map(|(name, kind)| Field::new(name, kind, true)).to_vec()))
}

/// Values that wander, so that every series fires a few times a day.
fn batch(shape: &KpiShape, schema: &SchemaRef, series: i64, end_ms: i64, at_ms: i64) -> RecordBatch {
    let times = |ms: i64| -> ArrayRef {
        Arc::new(TimestampMicrosecondArray::from(vec![ms * 1_000; series as usize]).with_timezone("UTC"))
    };
    let minute = end_ms / MINUTE;
    let wave =
        |of: i64| ((minute + of * 37) as f64 / 50.0).sin() + ((minute * (of % 7 + 1)) as f64 / 11.0).sin();
    let len = series as usize;
    let columns: Vec<ArrayRef> = vec![
        times(end_ms - shape.size_ms),
        times(end_ms),
        Arc::new(StringArray::from(vec!["shop"; len])),
        Arc::new((0..series).map(|of| Some(format!("shop-{of}"))).collect::<StringArray>()),
        new_null_array(&DataType::Utf8, len),
        Arc::new((0..series).map(|of| 25 + (minute + of) % 10).collect::<Int64Array>()),
        Arc::new((0..series).map(|of| 20 - (wave(of) * 5.0) as i64).collect::<Int64Array>()),
        Arc::new((0..series).map(|of| 95.0 + 15.0 * wave(of)).collect::<Float64Array>()),
        Arc::new(Int64Array::from(vec![1; len])),
        Arc::new(BooleanArray::from(vec![at_ms > end_ms; len])),
        times(at_ms),
    ];
    RecordBatch::try_new(schema.clone(), columns).unwrap_or_else(|_| RecordBatch::new_empty(schema.clone()))
}
