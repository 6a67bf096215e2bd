//! From rows to a version: the same bytes for the same rows, and what is said of rows that cannot be.

use std::fs::File;
use std::path::Path;

use headsup_models::audit::audit;
use headsup_models::backtest;
use headsup_models::frame::Frame;
use headsup_models::job::{JobError, run};
use headsup_models::registry::{By, Registry};
use headsup_models::spec::Spec;
use headsup_models::split::Split;
use polars::prelude::*;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

const SPEC: &str = r#"
title = "Test | 测试"
description = "Of the tests."
label = "order_return"
lead = "3d"
horizon = "7d"
every = "7d"
population = "true"
recency = "days_since"
[training]
seed = 7
folds = 2
fold_share = 0.4
trials = 2
bags = 2
max_rounds = 40
early_stopping = 10
metric = "log_loss"
calibration = "platt"
[training.search]
eta = [0.1, 0.2]
max_depth = [2, 3]
[monotone]
returns = 1
[profit]
hit_minor = 1000
contact_minor = 100
"#;

const CUSTOMERS: usize = 120;
const WEEKS: usize = 30;
const WEEK_US: i64 = 7 * 86_400_000_000;
/// After 24 of the weeks.
const TEST_US: i64 = 24 * WEEK_US;

/// Rows of all customers in all weeks; returns raise the odds of the label, the other columns do not.
fn rows() -> DataFrame {
    let mut random = ChaCha8Rng::seed_from_u64(1);
    let mut uniform = move || f64::from(random.next_u32()) / f64::from(u32::MAX);
    let count = CUSTOMERS * WEEKS;
    let (mut returns, mut noise, mut days_since, mut label) = (vec![], vec![], vec![], vec![]);
    for _ in 0..count {
        let n = (uniform() * 6.0).floor();
        returns.push(n as i64);
        noise.push((uniform() > 0.1).then(&mut uniform));
        days_since.push(uniform() * 100.0);
        label.push(uniform() < 0.02 + 0.12 * n);
    }
    let customers: Vec<String> = (0..count).map(|row| format!("u{:03}", row % CUSTOMERS)).collect();
    let at: Vec<i64> = (0..count).map(|row| (row / CUSTOMERS) as i64 * WEEK_US).collect();
    let event: Vec<Option<i64>> = label.iter().map(|label| label.then_some(4 * 86_400_000)).collect();
    let shop: Vec<&str> = (0..count).map(|row| if row % 3 == 0 { "one" } else { "two" }).collect();
    df!(
        "customer_id" => customers, "as_of" => at, "label" => label, "event_in_ms" => event, "shop" => shop,
        "returns" => returns, "noise" => noise, "days_since" => days_since
    )
    .and_then(|mut rows| {
        let at = rows.column("as_of")?.cast(&DataType::Datetime(TimeUnit::Microseconds, None))?;
        rows.with_column(at)?;
        Ok(rows)
    })
    .unwrap()
}

fn with(mut rows: DataFrame, name: &str, values: impl Fn(usize) -> Option<f64>) -> DataFrame {
    let values: Vec<Option<f64>> = (0..rows.height()).map(values).collect();
    rows.with_column(Column::new(name.into(), values)).unwrap();
    rows
}

fn write(path: &Path, mut rows: DataFrame) {
    ParquetWriter::new(File::create(path).unwrap()).finish(&mut rows).unwrap();
}

fn spec() -> Spec {
    Spec::parse("test.toml", "test", SPEC).unwrap()
}

fn trained(folder: &Path, rows: DataFrame) -> Result<(String, Vec<String>), JobError> {
    let path = folder.join("rows.parquet");
    write(&path, rows);
    let registry = Registry::open(folder.join("registry")).unwrap();
    let by = By { who: "a test".to_owned(), at_ms: 0 };
    run(&spec(), &path, TEST_US, &registry, &by, &mut |_| ()).map(|made| (made.version, made.warnings))
}

/// What is said when it cannot be.
fn refused(rows: DataFrame) -> String {
    let folder = tempfile::tempdir().unwrap();
    trained(folder.path(), rows).expect_err("it was to be refused").to_string()
}

#[test]
fn the_same_rows_give_the_same_bytes_in_any_order() {
    let [one, other] = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let (version, _) = trained(one.path(), rows()).unwrap();
    let turned = rows().reverse();
    assert_eq!(trained(other.path(), turned).unwrap().0, version);
    let registry = Registry::open(one.path().join("registry")).unwrap();
    let loaded = registry.load("test", &version).unwrap();
    for file in [
        "model.onnx",
        "model.ubj",
        "model.1.ubj",
        "report.html",
        "report.json",
        "MODEL_CARD.md",
        "profile.json",
    ] {
        assert!(loaded.files.contains_key(file), "{file} is not in {:?}", loaded.files.keys());
    }
    let auroc = loaded.manifest["metrics"]["auroc"].as_f64().unwrap();
    assert!((0.65..0.85).contains(&auroc), "{auroc}");
    let report = String::from_utf8_lossy(&loaded.files["report.html"]).into_owned();
    assert!(report.contains("returns") && !report.contains("http://") && !report.contains("<script src"));
}

#[test]
fn a_champion_is_what_the_next_is_held_against() {
    let folder = tempfile::tempdir().unwrap();
    let (first, _) = trained(folder.path(), rows()).unwrap();
    let registry = Registry::open(folder.path().join("registry")).unwrap();
    let by = By { who: "a test".to_owned(), at_ms: 1 };
    registry.promote("test", &first, &Default::default(), None, &by).unwrap();
    let (second, _) = trained(folder.path(), with(rows(), "more", |row| Some((row % 7) as f64))).unwrap();
    assert_ne!(first, second);
    let manifest = registry.load("test", &second).unwrap().manifest;
    assert_eq!(manifest["against"]["version"].as_str(), Some(first.as_str()));
    assert!(manifest["against"]["comparison"]["low"].as_f64().is_some());
}

#[test]
fn rows_that_cannot_be_are_refused_with_the_reason() {
    let none = rows().head(Some(0));
    assert!(refused(none).contains("rows.parquet has no rows; is the population too narrow?"));
    let gone = rows().drop("returns").unwrap();
    assert!(
        refused(gone)
            .contains("the specification names returns as monotone, and the rows have no such feature")
    );
    let no_time = rows().drop("as_of").unwrap();
    assert!(refused(no_time).contains("has no column as_of; headsup features writes such files"));
    let unlabelled = rows().drop("label").unwrap();
    assert!(refused(unlabelled).contains("no row has a label: either they were written without one"));
    let mut one_class = rows();
    one_class.with_column(Column::new("label".into(), vec![false; CUSTOMERS * WEEKS])).unwrap();
    assert!(refused(one_class).contains("have the label false; a model needs both"));
    let mut text = rows();
    text.with_column(Column::new("label".into(), vec!["yes"; CUSTOMERS * WEEKS])).unwrap();
    assert!(refused(text).contains("label is str; expected a truth value"));
    let mut ahead = rows();
    ahead.with_column(Column::new("label".into(), vec![None::<bool>; CUSTOMERS * WEEKS])).unwrap();
    assert!(refused(ahead).contains("lead and horizon end after the last fact"));
    let infinite = with(rows(), "more", |row| Some(if row == 5 { f64::INFINITY } else { 0.0 }));
    assert!(refused(infinite).contains("more is infinite in 1 rows"));
    let mut constant = rows();
    for name in ["returns", "noise", "days_since"] {
        constant = with(constant, name, |_| Some(1.0));
    }
    assert!(refused(constant).contains("no feature has two different values"));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rows.parquet");
    std::fs::write(&path, "customer_id,as_of\n").unwrap();
    assert!(Frame::read(&path).unwrap_err().to_string().contains("cannot read "));
    assert!(Frame::read(&folder.path().join("no.parquet")).unwrap_err().to_string().contains("No such file"));
}

#[test]
fn a_constant_feature_is_left_out_and_told_of() {
    let folder = tempfile::tempdir().unwrap();
    let (version, warnings) = trained(folder.path(), with(rows(), "always", |_| Some(3.0))).unwrap();
    assert_eq!(warnings, ["1 of 4 features have one value in all training rows and are not used: always"]);
    let manifest =
        Registry::open(folder.path().join("registry")).unwrap().load("test", &version).unwrap().manifest;
    assert_eq!(manifest["features"], serde_json::json!(["returns", "noise", "days_since"]));
}

#[test]
fn two_million_rows_twice_are_refused() {
    let many = 1_000_000;
    let customers: Vec<String> = (0..2 * many).map(|row| format!("u{}", row % many)).collect();
    let label: Vec<bool> = (0..2 * many).map(|row| row % 5 == 0).collect();
    let at = Column::new("as_of".into(), vec![0_i64; 2 * many]);
    let mut rows = df!("customer_id" => customers, "label" => label).unwrap();
    rows.with_column(at.cast(&DataType::Datetime(TimeUnit::Microseconds, None)).unwrap()).unwrap();
    let error = refused(rows);
    assert!(
        error
            .contains("1000000 rows are of a customer and a time that came before, such as u0 at 1970-01-01"),
        "{error}"
    );
}

#[test]
fn a_feature_that_knows_the_label_is_found() {
    let label: Vec<bool> = rows().column("label").unwrap().bool().unwrap().iter().flatten().collect();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rows.parquet");
    let copy = with(rows(), "label_copy", |row| Some(f64::from(u8::from(label[row]))));
    let by_missing = with(copy, "return_delay", |row| label[row].then_some(3.0));
    write(&path, by_missing);
    let frame = Frame::read(&path).unwrap();
    let spec = spec();
    let split = Split::new(&frame, TEST_US, spec.mature_us(), 2, 0.4).unwrap();
    // The same rows, of which the later facts were removed: one feature is another.
    write(&path, with(rows(), "days_since", |row| Some(row as f64)));
    let cut = Frame::read(&path).unwrap();
    let found = audit(&frame, &split, &[(frame.clone(), cut)]);
    let names: Vec<&str> = found.leaks.iter().map(|leak| leak.feature.as_str()).collect();
    assert_eq!(names, ["label_copy", "return_delay", "days_since"], "{found:?}");
    assert!(
        found.text().contains("120 of the 120 customers of the test are in training too"),
        "{}",
        found.text()
    );
    // Nothing is found in honest rows.
    write(&path, rows());
    let frame = Frame::read(&path).unwrap();
    let found = audit(&frame, &split, &[(frame.clone(), frame.clone())]);
    assert!(found.leaks.is_empty() && found.warnings.is_empty(), "{found:?}");
}

#[test]
fn a_backtest_trains_again_at_every_origin() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rows.parquet");
    write(&path, rows());
    let frame = Frame::read(&path).unwrap();
    let found = backtest::run(&spec(), &frame, 6, &mut |_, _| ()).unwrap();
    assert_eq!(found.folds.len(), 6, "{found:?}");
    assert!(found.folds.iter().all(|fold| fold.headline.auroc.value > 0.6), "{}", found.table());
    assert!(found.folds.windows(2).all(|pair| pair[0].to < pair[1].from));
}
