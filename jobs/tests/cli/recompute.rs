//! What came too late, and healing it.

use std::path::Path;

use super::{csv, ok};

fn simulate(folder: &Path) -> Vec<String> {
    ok(folder, &["simulate", "--customers", "3000", "--days", "1", "--out", "days.jsonl"]);
    let events = std::fs::read_to_string(folder.join("days.jsonl")).expect("written");
    events.lines().map(str::to_owned).collect()
}

/// Final values of all KPIs, and facts, but for when they became known.
fn all(folder: &Path, data: &str) -> Vec<String> {
    let mut rows = Vec::new();
    for table in ["contacts", "rounds", "ratings", "queue", "orders"] {
        let query = format!("SELECT * EXCEPT (known_at) FROM {table}");
        let (out, _) = ok(folder, &["sql", "--data", data, "--format", "csv", &query]);
        rows.extend(out.lines().map(|line| format!("{table} {line}")));
    }
    for (kpi, count) in [("aht", "contacts"), ("csat", "ratings"), ("backlog", "backlog"), ("art", "rounds")]
    {
        let query =
            format!("SELECT * EXCEPT (revision, at) FROM kpi.{kpi} WHERE final AND {count} IS NOT NULL");
        let (out, _) = ok(folder, &["sql", "--data", data, "--format", "csv", &query]);
        rows.extend(out.lines().map(|line| format!("{kpi} {line}")));
    }
    rows.sort();
    rows
}

#[test]
fn what_came_too_late_is_healed() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let events = simulate(folder);
    // A seventh of a morning comes an hour late, and a copy of some of it later still.
    let (third, length) = (events.len() / 3, events.len() / 10);
    let mut coming = events.clone();
    let mut late = Vec::new();
    let mut place = 0;
    let mut index = 0;
    coming.retain(|line| {
        index += 1;
        let inside = (third..third + length).contains(&index);
        place += usize::from(inside);
        if inside && place % 7 == 0 {
            late.push(line.clone());
            return false;
        }
        true
    });
    let copies = late[..20].to_vec();
    let at = third + 2 * length;
    coming.splice(at..at, late.iter().cloned().chain(copies));
    std::fs::write(folder.join("late.jsonl"), coming.join("\n")).expect("written");

    std::fs::create_dir(folder.join("kpis")).expect("made");
    for kpi in ["aht", "csat", "backlog"] {
        let sql = concat!(env!("CARGO_MANIFEST_DIR"), "/../sql/kpis/");
        std::fs::copy(format!("{sql}{kpi}.sql"), folder.join(format!("kpis/{kpi}.sql"))).expect("copied");
    }
    let log = "[log]\npartitions = 2\n[store]\nflush = \"300ms\"\n";
    std::fs::write(folder.join("c.toml"), log).expect("written");
    for (data, file) in [("in-time", "days.jsonl"), ("late", "late.jsonl")] {
        ok(folder, &["import", "--config", "c.toml", "--data", data, "events", file]);
        ok(folder, &["run", "--config", "c.toml", "--data", data, "--until-end", "--kpis", "kpis"]);
    }
    let expected = all(folder, "in-time");
    assert!(all(folder, "late") != expected, "nothing was late");

    let recompute = ["recompute", "--config", "c.toml", "--data", "late", "--kpis", "kpis"];
    let (dry, _) = ok(folder, &[&recompute[..], &["--dry-run"]].concat());
    assert!(dry.contains(&format!("{} events had come late\n", late.len() + 20)), "{dry}");
    assert!(
        dry.contains("rows  kpi.aht, with a higher revision") && dry.contains("nothing was changed"),
        "{dry}"
    );
    assert!(all(folder, "late") != expected, "a dry run has changed something");
    let (out, _) = ok(folder, &recompute);
    assert_eq!(out + "nothing was changed\n", dry);
    let healed = all(folder, "late");
    let differs = healed.iter().zip(&expected).find(|(a, b)| a != b);
    assert!(healed == expected, "{} rows, {} expected; first {differs:?}", healed.len(), expected.len());
    // Twice is once.
    let (out, _) = ok(folder, &recompute);
    assert!(out.contains("everything is as if they had not"), "{out}");
    assert_eq!(csv_rows(folder, "SELECT count(*) FROM kpi_history.aht WHERE revision > 1 AND final"), 1);
    // What is stored is what was shown.
    ok(folder, &["kpi", "recompute", "--data", "late", "--kpis", "kpis"]);
}

fn csv_rows(folder: &Path, query: &str) -> usize {
    let (out, _) = ok(folder, &["sql", "--data", "late", "--format", "csv", query]);
    out.lines().count() - 1
}

#[test]
fn without_a_run_there_is_nothing_to_heal() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    std::fs::create_dir(folder.join("headsup-data")).expect("made");
    let err = super::fails(folder, &["recompute"], 1);
    assert!(err.contains("there is nothing to heal in headsup-data"), "{err}");
    let err = super::fails(folder, &["recompute", "--from", "2026-03-02", "--to", "2026-03-01"], 2);
    assert!(err.contains("--from is not before --to"), "{err}");
    let err = super::fails(folder, &["recompute", "--from", "yesterday"], 2);
    assert!(err.contains("expected a day such as 2026-03-01"), "{err}");
    assert!(csv(folder, "SELECT count(*) FROM contacts").contains('0'));
}
