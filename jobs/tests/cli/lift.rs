//! Whether a campaign helped.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch};
use parquet::arrow::ArrowWriter;

use super::{fails, ok};

fn write(path: &Path, columns: Vec<(&str, ArrayRef)>) {
    let rows = RecordBatch::try_from_iter(columns).expect("columns of one length");
    let file = File::create(path).expect("made");
    let mut writer = ArrowWriter::try_new(file, rows.schema(), None).expect("a writer");
    writer.write(&rows).expect("written");
    writer.close().expect("written");
}

#[test]
fn a_campaign_is_planned_and_judged() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    // The issue of every campaign: how many does it take? Equal arms, 18 % less, α 0.05, power 0.8.
    for (rate, size) in [("0.03", "14,291"), ("0.05", "8,413"), ("0.1", "4,004"), ("0.2", "1,799")] {
        let (out, _) = ok(folder, &["lift", "--base-rate", rate, "--per-day", "500"]);
        let line = out.lines().find(|line| line.starts_with("equal arms")).expect("a line");
        assert_eq!(line.matches(size).count(), 2, "{line}");
        assert!(line.ends_with(" days"), "{line}");
    }

    // 9,000 and 1,000 customers, 5 % and 10 % with the outcome.
    let all: Vec<(bool, bool)> =
        (0..10_000).map(|i| (i < 9_000, i % 9_000 < if i < 9_000 { 450 } else { 100 })).collect();
    let treated: ArrayRef = Arc::new(all.iter().map(|(treated, _)| Some(*treated)).collect::<BooleanArray>());
    let outcome: ArrayRef = Arc::new(all.iter().map(|(_, outcome)| Some(*outcome)).collect::<BooleanArray>());
    write(&folder.join("u.parquet"), vec![("treated", treated.clone()), ("outcome", outcome.clone())]);
    let (out, _) = ok(folder, &["lift", "--units", "u.parquet", "--json"]);
    let lift: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(lift["verdict"]["verdict"], "helped", "{out}");
    let difference = &lift["effect"]["difference"];
    assert!((difference["value"].as_f64().expect("a number") + 0.05).abs() < 1e-12, "{difference}");
    // Newcombe's method 10 by hand: −0.05 − √((0.05 − 0.04568)² + (0.12013 − 0.1)²) and so on.
    assert!((difference["low"].as_f64().expect("a number") + 0.0706).abs() < 1e-4, "{difference}");
    let (out, _) = ok(folder, &["lift", "--units", "u.parquet"]);
    assert!(out.contains("-5.0") || out.contains("−5.0"), "{out}");

    // Arms that are not of the promised sizes: no verdict.
    let query = "SELECT * FROM units WHERE treated OR outcome";
    let (out, _) = ok(folder, &["lift", "--units", "u.parquet", "--sql", query, "--json"]);
    let lift: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    assert_ne!(lift["verdict"]["verdict"], "helped", "{out}");

    write(&folder.join("v.parquet"), vec![("treated", treated)]);
    assert!(fails(folder, &["lift", "--units", "v.parquet"], 2).contains("no column outcome, only treated"));
    assert!(fails(folder, &["lift"], 2).contains("--base-rate"));
    assert!(fails(folder, &["lift", "--base-rate", "7"], 2).contains("base_rate"));
    assert!(fails(folder, &["lift", "--units", "missing.parquet"], 1).contains("missing.parquet"));
    let wrong = ["lift", "--units", "u.parquet", "--sql", "SELECT 1 AS treated, outcome FROM units"];
    assert!(fails(folder, &wrong, 2).contains("true or false"));
}
