//! Servers, and a store with rows of every kind.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use arrow::array::{
    ArrayRef, AsArray, BinaryArray, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray,
    StringViewArray, TimestampMicrosecondArray,
};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit, TimestampMicrosecondType};
use headsup_clickhouse::{Follower, FollowerOptions, KpiTable, Password, Server, ServerOptions};
use headsup_clickhouse_engine::{Kind, Server as Engine};
use headsup_operators::facts::Table;
use parquet::arrow::ArrowWriter;

/// Writes files as the offline store does: a file for every append and day.
pub struct Files {
    root: PathBuf,
    prefix: &'static str,
    pub next: u64,
}

impl Files {
    pub fn of(root: &Path) -> Self {
        std::fs::create_dir_all(root).expect("a folder");
        Self { root: root.to_owned(), prefix: "part-", next: 0 }
    }

    pub fn tagged(root: &Path, prefix: &'static str) -> Self {
        Self { prefix, ..Self::of(root) }
    }

    pub fn append(&mut self, table: &str, dated_by: &str, rows: &RecordBatch) {
        let times =
            rows.column_by_name(dated_by).expect("a column").as_primitive::<TimestampMicrosecondType>();
        let days: Vec<i64> = times.values().iter().map(|time| time.div_euclid(DAY_US)).collect();
        for day in BTreeSet::from_iter(days.clone()) {
            let date = format!("dt={}", times_date(day));
            let folder = self.root.join(table).join(date);
            std::fs::create_dir_all(&folder).expect("made");
            let of_day = BooleanArray::from_iter(days.iter().map(|other| Some(*other == day)));
            let rows = filter_record_batch(rows, &of_day).expect("as many");
            let path = folder.join(format!("{}{:06}.parquet", self.prefix, self.next));
            let file = std::fs::File::create(path).expect("created");
            let mut writer = ArrowWriter::try_new(file, rows.schema(), None).expect("a writer");
            writer.write(&rows).expect("written");
            writer.close().expect("written");
            self.next += 1;
        }
    }
}

fn times_date(day: i64) -> String {
    headsup_events::format_rfc3339_ms(day * 86_400_000).chars().take(10).collect()
}

pub const DAY_US: i64 = 86_400_000_000;
/// 2026-01-01.
pub const NEW_YEAR_US: i64 = 20_454 * DAY_US;

/// Calls `test` for each server that there is, with a folder that is empty.
pub fn each(test: impl Fn(&mut Engine, &Path)) {
    for kind in [Kind::Modern, Kind::Old] {
        let folder = tempfile::tempdir().expect("a folder");
        if let Some(mut engine) = Engine::start(kind, folder.path(), "serves_the_engine") {
            test(&mut engine, folder.path());
        }
    }
}

pub fn options(engine: &Engine) -> ServerOptions {
    ServerOptions {
        url: engine.url(),
        database: "headsup".to_owned(),
        user: "default".to_owned(),
        password: Password::default(),
        timeout: Duration::from_secs(30),
    }
}

pub fn server(engine: &Engine) -> Server {
    Server::new(options(engine)).expect("options that can be")
}

/// A migrated database with a KPI.
pub fn migrated(engine: &Engine) -> Server {
    let server = server(engine);
    headsup_clickhouse::migrate(&server, &[kpi()]).expect("migrated");
    server
}

pub fn follower_options(engine: &Engine, data: &Path) -> FollowerOptions {
    FollowerOptions {
        server: options(engine),
        data: data.to_owned(),
        tag: None,
        generation: 0,
        spill_bytes_max: u64::MAX,
        retry_max: Duration::from_millis(300),
    }
}

pub fn follow(options: FollowerOptions) -> Follower {
    Follower::start(options, Arc::new(AtomicBool::new(false))).expect("it starts")
}

/// Loads all that is complete in a store.
pub fn load(options: FollowerOptions, store: &Files) {
    let follower = follow(options);
    follower.completed(store.next).expect("listed");
    follower.finish(Duration::from_secs(60)).expect("loaded");
}

pub fn time() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

/// A KPI with a text and a number as keys.
pub fn kpi() -> KpiTable {
    KpiTable { name: "aht".to_owned(), rows: kpi_schema(&["contacts", "aht_ms"]), key_count: 2 }
}

pub fn kpi_schema(values: &[&str]) -> SchemaRef {
    let mut fields = vec![
        Field::new("window_start", time(), false),
        Field::new("window_end", time(), false),
        Field::new("grouped_by", DataType::Utf8, false),
        Field::new("shop", DataType::Utf8View, true),
        Field::new("score", DataType::Int64, true),
    ];
    for value in values {
        let data_type = if value.ends_with("_ms") { DataType::Float64 } else { DataType::Int64 };
        fields.push(Field::new(*value, data_type, true));
    }
    fields.push(Field::new("revision", DataType::Int64, false));
    fields.push(Field::new("final", DataType::Boolean, false));
    fields.push(Field::new("at", time(), false));
    Arc::new(Schema::new(fields))
}

/// Of a KPI: window, shop, score, mean, revision.
pub type KpiRow<'a> = (i64, Option<&'a str>, Option<i64>, Option<f64>, i64);

pub fn kpi_rows(rows: &[KpiRow<'_>]) -> RecordBatch {
    let times = |shift: i64| -> ArrayRef {
        let times = rows.iter().map(|row| NEW_YEAR_US + row.0 * 60_000_000 + shift);
        Arc::new(TimestampMicrosecondArray::from_iter_values(times).with_timezone("UTC"))
    };
    let grouped = rows.iter().map(|row| match (row.1, row.2) {
        (None, None) => "",
        (Some(_), None) => "shop",
        (None, Some(_)) => "score",
        (Some(_), Some(_)) => "shop,score",
    });
    let columns: Vec<ArrayRef> = vec![
        times(0),
        times(60_000_000),
        Arc::new(StringArray::from_iter_values(grouped)),
        Arc::new(StringViewArray::from_iter(rows.iter().map(|row| row.1))),
        Arc::new(Int64Array::from_iter(rows.iter().map(|row| row.2))),
        Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.0))),
        Arc::new(Float64Array::from_iter(rows.iter().map(|row| row.3))),
        Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.4))),
        Arc::new(BooleanArray::from_iter(rows.iter().map(|row| Some(row.4 > 1)))),
        times(60_000_000),
    ];
    RecordBatch::try_new(kpi_schema(&["contacts", "aht_ms"]), columns).expect("as the schema says")
}

/// Rows of a facts table, of every kind of value: NULL, empty, not ASCII, negative, extreme.
pub fn facts(table: Table, rows: usize) -> RecordBatch {
    let texts = ["", "退货", "a\tb\nc'd\\e\0f", "shop-12", "😀"];
    let numbers = [i64::MIN, -1, 0, 1, i64::MAX, 86_400_000];
    let times = [0, -1, NEW_YEAR_US + 1, NEW_YEAR_US + 123_456, i64::MAX, i64::MIN, 253_402_300_799_999_999];
    let schema = table.schema();
    let columns = schema.fields().iter().enumerate().map(|(place, field)| -> ArrayRef {
        let seed = |row: usize| row * 7 + place;
        let null = |row: usize| seed(row) % 5 == 0;
        match field.data_type() {
            DataType::Utf8View => Arc::new(StringViewArray::from_iter(
                (0..rows).map(|row| (!null(row)).then(|| texts[seed(row) % texts.len()])),
            )),
            DataType::Int64 => Arc::new(Int64Array::from_iter(
                (0..rows).map(|row| (!null(row)).then(|| numbers[seed(row) % numbers.len()])),
            )),
            DataType::Boolean => Arc::new(BooleanArray::from_iter(
                (0..rows).map(|row| (!null(row)).then(|| seed(row) % 2 == 0)),
            )),
            // The column that dates the row is of few days.
            _ if field.name() == table.event_time() => Arc::new(
                TimestampMicrosecondArray::from_iter_values(
                    (0..rows).map(|row| NEW_YEAR_US + (row % 3) as i64 * 20 * DAY_US + row as i64),
                )
                .with_timezone("UTC"),
            ),
            _ => Arc::new(
                TimestampMicrosecondArray::from_iter(
                    (0..rows).map(|row| (!null(row)).then(|| times[seed(row) % times.len()])),
                )
                .with_timezone("UTC"),
            ),
        }
    });
    RecordBatch::try_new(schema.clone(), columns.collect()).expect("as the schema says")
}

/// A contact a row, whose `contact` counts from `from`.
pub fn contacts(from: i64, rows: i64) -> RecordBatch {
    let schema = Table::Contacts.schema();
    let columns = schema.fields().iter().map(|field| -> ArrayRef {
        let count = rows as usize;
        match field.name().as_str() {
            "contact" => Arc::new(Int64Array::from_iter_values(from..from + rows)),
            "ended_at" => Arc::new(
                TimestampMicrosecondArray::from_iter_values((from..from + rows).map(|n| NEW_YEAR_US + n))
                    .with_timezone("UTC"),
            ),
            _ => arrow::array::new_null_array(field.data_type(), count),
        }
    });
    RecordBatch::try_new(schema.clone(), columns.collect()).expect("as the schema says")
}

pub fn quarantine() -> RecordBatch {
    let bytes: Vec<&[u8]> = vec![b"not json", b"\xff\xfe\x00", b""];
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("known_at", Arc::new(TimestampMicrosecondArray::from(vec![NEW_YEAR_US; 3]).with_timezone("UTC"))),
        ("partition", Arc::new(StringArray::from(vec!["conversations/0"; 3]))),
        ("offset", Arc::new(Int64Array::from(vec![1, 2, 3]))),
        ("reason", Arc::new(StringArray::from(vec!["not_json", "not_utf8", "empty"]))),
        ("detail", Arc::new(StringArray::from(vec!["", "退", "x"]))),
        ("bytes", Arc::new(BinaryArray::from_vec(bytes))),
    ];
    RecordBatch::try_from_iter(columns).expect("of one length")
}
