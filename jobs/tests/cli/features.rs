//! Features of customers: what is written, what a view may not do, and what is said of bad input.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::{contact, fails, ok};

/// 2026-03-02T00:00:00Z.
const DAY_US: i64 = 1_772_409_600_000_000;
const MINUTE_US: i64 = 60_000_000;

/// The facts of one contact: accepted at 0:40, over at 3:30, rated at 4:00.
fn facts(folder: &Path) {
    let recorded = contact().into_iter().map(|event| {
        let at = event.find(r#""time":"#).expect("a time");
        let time = &event[at..at + r#""time":"2026-03-02T00:00:00Z""#.len()];
        let both = format!("{time},{}", time.replace("time", "recordedtime"));
        event.replace(time, &both)
    });
    let recorded: Vec<String> = recorded.collect();
    std::fs::write(folder.join("e.jsonl"), recorded.join("\n")).expect("written");
    ok(folder, &["run", "--input", "e.jsonl", "--until-end"]);
}

fn times(us: &[i64]) -> ArrayRef {
    Arc::new(TimestampMicrosecondArray::from(us.to_vec()).with_timezone("UTC"))
}

fn texts(all: &[&str]) -> ArrayRef {
    Arc::new(StringArray::from(all.to_vec()))
}

fn write(path: &Path, columns: Vec<(&str, ArrayRef)>) {
    let rows = RecordBatch::try_from_iter_with_nullable(
        columns.into_iter().map(|(name, column)| (name, column, true)),
    );
    let rows = rows.expect("columns of one length");
    let mut writer =
        ArrowWriter::try_new(File::create(path).expect("made"), rows.schema(), None).expect("a writer");
    writer.write(&rows).expect("written");
    writer.close().expect("written");
}

fn read(path: &Path) -> RecordBatch {
    let builder =
        ParquetRecordBatchReaderBuilder::try_new(File::open(path).expect("a file")).expect("Parquet");
    let batches: Vec<_> = builder.build().expect("a reader").map(|batch| batch.expect("rows")).collect();
    arrow::compute::concat_batches(&batches[0].schema(), &batches).expect("one schema")
}

fn integers(rows: &RecordBatch, name: &str) -> Vec<Option<i64>> {
    rows.column_by_name(name).expect(name).as_primitive::<Int64Type>().iter().collect()
}

/// A folder `kpis` with one: all of them over weeks take longer than what is looked at here.
pub fn one_kpi(folder: &Path) {
    std::fs::create_dir(folder.join("kpis")).expect("made");
    std::fs::write(folder.join("kpis/daily.sql"), include_str!("../oracle/kpi.sql")).expect("written");
}

#[test]
fn nobody_sees_a_contact_before_it_is_over() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    facts(folder);
    let at = [2, 3, 4, 5].map(|minutes| DAY_US + minutes * MINUTE_US);
    write(
        &folder.join("spine.parquet"),
        vec![
            ("customer_id", texts(&["u1"; 4])),
            ("as_of", times(&at)),
            ("campaign", Arc::new(Int64Array::from(vec![7, 8, 9, 10]))),
        ],
    );
    let args = ["features", "--spine", "spine.parquet", "--out", "f.parquet"];
    let (out, err) = ok(folder, &args);
    assert!(out.starts_with("4 rows with 138 features, 0 left out"), "{out}");
    let rows = read(&folder.join("f.parquet"));
    assert_eq!(integers(&rows, "contacts_1d"), [0, 0, 1, 1].map(Some));
    assert_eq!(integers(&rows, "campaign"), [7, 8, 9, 10].map(Some));
    // The last of the facts is the rating at 4:00.
    assert!(err.contains("1 row is later than the last fact, of 2026-03-02T00:04:00.000Z"), "{err}");
    // The same again, byte for byte.
    let bytes = std::fs::read(folder.join("f.parquet")).expect("written");
    ok(folder, &args);
    assert_eq!(std::fs::read(folder.join("f.parquet")).expect("written"), bytes);
}

#[test]
fn a_view_cannot_look_ahead() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    facts(folder);
    std::fs::create_dir(folder.join("views")).expect("made");
    let group = "GROUP BY customer_id, as_of";
    for (query, expected) in [
        (
            format!("SELECT\n  count(*) AS n, -- n | 数\nFROM future.orders {group}"),
            "leak.sql: line 4: no facts table \"future.orders\"; there are past.contacts",
        ),
        (
            format!("SELECT\n  count(*) AS n, -- n | 数\nFROM orders {group}"),
            "leak.sql: line 4: no facts table \"orders\"; there are past.contacts",
        ),
        (
            format!("SELECT\n  count(label) AS n, -- n | 数\nFROM past.orders {group}"),
            "leak.sql: line 3: no column \"label\" in past.orders",
        ),
        (
            format!(
                "SELECT\n  count(*) FILTER (WHERE ended_at < now()) AS n, -- n | 数\nFROM past.contacts {group}"
            ),
            "leak.sql: line 3: now() differs from call to call; the time that counts is as_of",
        ),
        (
            format!(
                "SELECT\n  count(*) AS n, -- n | 数\nFROM past.orders o JOIN past.contacts USING (customer_id) {group}"
            ),
            "leak.sql: ",
        ),
        (
            "SELECT\n  count(*) AS n, -- n | 数\nFROM past.orders GROUP BY customer_id".to_owned(),
            "expected GROUP BY customer_id, as_of",
        ),
        (format!("SELECT\n  count(*) AS n,\nFROM past.orders {group}"), "leak.sql: line 3: "),
    ] {
        std::fs::write(folder.join("views/leak.sql"), format!("-- title: a leak | 泄漏\n{query}\n"))
            .expect("written");
        let error = fails(folder, &["features", "check", "--views", "views"], 2);
        assert!(error.contains(expected), "{query}\n{error}");
        let error =
            fails(folder, &["features", "--every", "1h", "--views", "views", "--out", "f.parquet"], 2);
        assert!(error.contains(expected), "{query}\n{error}");
    }
    assert!(!folder.join("f.parquet").exists());
}

#[test]
fn a_bad_spine_is_told_what_is_wrong_with_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let args = ["features", "--spine", "spine.parquet", "--out", "f.parquet"];
    assert!(fails(folder, &args, 1).contains("there is no data folder headsup-data"));
    facts(folder);
    assert!(fails(folder, &args, 1).contains("cannot read the spine spine.parquet: No such file"));
    std::fs::write(folder.join("spine.parquet"), "customer_id,as_of\nu1,2026-03-02\n").expect("written");
    assert!(fails(folder, &args, 1).contains("cannot read the spine spine.parquet: "));
    let at = || times(&[DAY_US, DAY_US]);
    let two = || texts(&["u1", "u2"]);
    let one_missing: ArrayRef = Arc::new(StringArray::from(vec![Some("u1"), None]));
    for (columns, expected) in [
        (
            vec![("customer", two()), ("as_of", at())],
            "it has no column customer_id; there are customer, as_of",
        ),
        (vec![("customer_id", two()), ("time", at())], "it has no column as_of; there are customer_id, time"),
        (vec![("customer_id", one_missing), ("as_of", at())], "row 2: customer_id is missing"),
        (vec![("customer_id", two()), ("as_of", two())], "as_of is Utf8; it must be a time or a date"),
        (
            vec![("customer_id", two()), ("as_of", at()), ("orders_30d", at())],
            "the spine has a column orders_30d, and one of that name is computed; rename the spine's",
        ),
        (vec![("customer_id", texts(&[])), ("as_of", times(&[]))], "the spine has no rows"),
    ] {
        write(&folder.join("spine.parquet"), columns);
        let error = fails(folder, &args, 1);
        assert!(error.contains(expected), "{error}");
        assert!(!folder.join("f.parquet").exists());
    }
    write(&folder.join("spine.parquet"), vec![("customer_id", two()), ("as_of", at())]);
    for (more, expected) in [
        (
            &["--label", "order_retur"][..],
            "there is no label \"order_retur\"; did you mean \"order_return\"?",
        ),
        (
            &["--population", "order_30d > 0"],
            "no column \"order_30d\" in features; did you mean \"orders_30d\"?",
        ),
        (&["--label", "churn", "--population", "label"], "the population: no column \"label\""),
        (
            &["--population", "orders_30d"],
            "the population: expected one condition, true or false; found Int64",
        ),
        (&["--views", "nothing"], "nothing"),
    ] {
        let error = fails(folder, &[&args[..], more].concat(), 2);
        assert!(error.contains(expected), "{error}");
    }
    // Customers that nobody knows have features too: nothing was ever known of them.
    ok(folder, &args);
    assert_eq!(integers(&read(&folder.join("f.parquet")), "contacts_1d"), [Some(0), Some(0)]);
}

#[test]
fn the_page_of_features_is_what_the_files_say() {
    let (page, _) = ok(Path::new("."), &["features", "list", "--markdown"]);
    let committed = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/features.md"));
    assert_eq!(
        page,
        committed.expect("a page"),
        "write it with headsup features list --markdown > docs/features.md"
    );
}

#[test]
fn in_parts_the_same_rows_come_out() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    ok(folder, &["simulate", "--customers", "300", "--days", "25", "--out", "e.jsonl"]);
    one_kpi(folder);
    ok(folder, &["run", "--input", "e.jsonl", "--until-end", "--kpis", "kpis"]);
    let same = |args: &[&str]| {
        let run = |parts: &str| {
            let out = format!("{parts}.parquet");
            let args = [&["features", "--parts", parts, "--out", &out], args].concat();
            let (said, _) = ok(folder, &args);
            (said.replace(&out, ""), read(&folder.join(out)))
        };
        let whole = run("1");
        assert_eq!(run("7"), whole);
        whole.1
    };
    let every = ["--every", "3d", "--label", "order_return", "--lead", "1d", "--horizon", "2d"];
    let rows = same(&[every.as_slice(), &["--population", "orders_30d > 0"]].concat());
    assert!(rows.num_rows() > 500, "{}", rows.num_rows());

    // In the order of the spine, whatever that is; a customer who is not known, and one more than once.
    let known = rows.column_by_name("customer_id").expect("customers").as_string_view();
    let mut customers: Vec<&str> = known.iter().flatten().collect();
    customers.reverse();
    customers.push("nobody");
    let as_of = rows.column_by_name("as_of").expect("times").as_primitive::<TimestampMicrosecondType>();
    let mut times_us: Vec<i64> = as_of.values().iter().rev().map(|us| us + 1).collect();
    times_us.push(DAY_US);
    let numbers: Vec<i64> = (0..times_us.len() as i64).collect();
    write(
        &folder.join("spine.parquet"),
        vec![
            ("campaign", Arc::new(Int64Array::from(numbers.clone()))),
            ("customer_id", texts(&customers)),
            ("as_of", times(&times_us)),
        ],
    );
    let rows = same(&["--spine", "spine.parquet"]);
    assert_eq!(integers(&rows, "campaign"), numbers.into_iter().map(Some).collect::<Vec<_>>());

    let left = std::fs::read_dir(folder).expect("a folder").flatten();
    let left: Vec<_> = left.filter(|entry| entry.file_name().to_string_lossy().contains(".part")).collect();
    assert!(left.is_empty(), "{left:?}");
    assert!(
        fails(folder, &["features", "--parts", "0", "--every", "1d", "--out", "x"], 2).contains("--parts")
    );
}
