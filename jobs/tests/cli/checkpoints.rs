//! Runs that are killed, interrupted, and go on.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::{contact, csv, fails, ok};

/// A day of a small shop in a log of many small batches, in `folder`/headsup-data.
fn small_log(folder: &Path) {
    use headsup_connectors::{EmbeddedLog, EmbeddedOptions, EventLog, Record};
    let args = ["simulate", "--customers", "4000", "--days", "1", "--out", "day.jsonl"];
    ok(folder, &args);
    let events = std::fs::read_to_string(folder.join("day.jsonl")).expect("written");
    let log = EmbeddedLog::open(folder.join("headsup-data/log"), EmbeddedOptions::default()).expect("a log");
    for topic in ["conversations", "orders"] {
        log.create_topic(topic, 2).expect("made");
    }
    let mut lines: Vec<&str> = events.lines().collect();
    lines.insert(lines.len() / 2, "not json");
    for some in lines.chunks(100) {
        for (topic, orders) in [("conversations", false), ("orders", true)] {
            let here = some.iter().filter(|line| line.contains(r#""type":"order."#) == orders);
            let key = |line: &str| {
                let at = line.find("customer_id").unwrap_or(0);
                line.as_bytes()[at..line.len().min(at + 24)].to_vec()
            };
            let keyed: Vec<_> = here.map(|line| (key(line), line.as_bytes())).collect();
            let records: Vec<_> = keyed.iter().map(|(key, value)| Record { key, value }).collect();
            log.append(topic, &records).expect("appended");
        }
    }
}

/// Every row of every table, sorted.
fn all_rows(folder: &Path) -> Vec<String> {
    let mut rows = Vec::new();
    for table in [
        "contacts",
        "rounds",
        "ratings",
        "queue",
        "orders",
        "quarantine",
        "kpi_history.aht",
        "kpi_history.csat",
    ] {
        let out = csv(folder, &format!("SELECT * FROM {table}"));
        rows.extend(out.lines().map(|line| format!("{table} {line}")));
    }
    rows.sort();
    rows
}

const UNTIL_END: &[&str] = &["run", "--kpis", "two", "--config", "often.toml", "--until-end"];

fn two_kpis(folder: &Path) {
    std::fs::create_dir(folder.join("two")).expect("made");
    for kpi in ["aht", "csat"] {
        let sql = concat!(env!("CARGO_MANIFEST_DIR"), "/../sql/kpis/");
        std::fs::copy(format!("{sql}{kpi}.sql"), folder.join(format!("two/{kpi}.sql"))).expect("copied");
    }
    std::fs::write(folder.join("often.toml"), "[store]\nflush = \"100ms\"\n").expect("written");
}

/// Kills the process at as many moments as `HEADSUP_TEST_KILLS` says (10) and then lets it
/// finish.
#[test]
fn killed_at_any_moment_the_tables_are_the_same() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    small_log(folder);
    two_kpis(folder);
    let begun = Instant::now();
    let (_, account) = ok(folder, UNTIL_END);
    // However fast the machine is, most moments are within a run.
    let whole_ms = begun.elapsed().as_millis() as u64;
    let account = account.lines().find(|line| line.contains("= applied")).expect("an account").to_owned();
    assert!(account.contains("quarantined 1 "), "{account}");
    let expected = all_rows(folder);
    assert!(expected.len() > 10_000, "{}", expected.len());
    // Nothing is new, and nothing is done again.
    let (_, again) = ok(folder, UNTIL_END);
    assert!(again.contains("went on from a checkpoint, after ") && again.contains(&account), "{again}");
    assert!(all_rows(folder) == expected);

    std::fs::remove_dir_all(folder.join("headsup-data/checkpoint")).expect("removed");
    let kills: u64 = std::env::var("HEADSUP_TEST_KILLS").map_or(10, |n| n.parse().expect("a number"));
    let seed = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a time").as_nanos();
    let mut dice = seed as u64;
    let mut resumed = 0;
    for _ in 0..kills {
        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        resumed += u64::from(checkpoint(folder).is_some());
        let mut run = Command::new(env!("CARGO_BIN_EXE_headsup"))
            .args(UNTIL_END)
            .current_dir(folder)
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the binary was built");
        std::thread::sleep(Duration::from_millis(100 + (dice >> 33) % whole_ms.max(1_900)));
        run.kill().expect("killed, or over");
        run.wait().expect("over");
    }
    assert!(resumed > 0 || kills < 5, "no run went on from a checkpoint: nothing was tested");
    let (_, again) = ok(folder, UNTIL_END);
    assert!(again.contains(&account), "{account}\n{again}");
    assert!(all_rows(folder) == expected, "rows differ; killed {kills} times, seed {seed}");
}

/// The newest checkpoint; the first one, which is of the beginning, does not count.
fn checkpoint(folder: &Path) -> Option<PathBuf> {
    let entries = std::fs::read_dir(folder.join("headsup-data/checkpoint")).ok()?;
    let mut paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    paths.find(|path| path.extension().is_some_and(|ext| ext == "ckpt") && !path.ends_with("000000.ckpt"))
}

/// Interrupts a run when it has written a checkpoint, and says where its last one is.
pub fn interrupted(folder: &Path, args: &[&str]) -> PathBuf {
    let newest = || checkpoint(folder);
    // One of a run that came to its end is no sign that this one has begun.
    std::fs::remove_dir_all(folder.join("headsup-data/checkpoint")).ok();
    let run = Command::new(env!("CARGO_BIN_EXE_headsup"))
        .args(args)
        .current_dir(folder)
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary was built");
    let begun = Instant::now();
    while newest().is_none() && begun.elapsed() < Duration::from_secs(60) {
        std::thread::sleep(Duration::from_millis(20));
    }
    let stop = Command::new("kill").args(["-INT", &run.id().to_string()]).status().expect("kill");
    assert!(stop.success());
    let over = run.wait_with_output().expect("over");
    assert!(over.status.success(), "{}", String::from_utf8_lossy(&over.stderr));
    newest().expect("a checkpoint")
}

#[test]
fn a_run_goes_on_where_it_was_stopped_and_says_why_it_cannot() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    small_log(folder);
    two_kpis(folder);
    std::fs::write(
        folder.join("often.toml"),
        "[log]\npartitions = 2\n[store]\nflush = \"100ms\"\n[http]\nlisten = \"127.0.0.1:0\"\n[time]\nheartbeat = \"1h\"\n",
    )
    .expect("written");
    ok(folder, UNTIL_END);
    let expected = all_rows(folder);
    let live = ["run", "--kpis", "two", "--config", "often.toml"];
    let path = interrupted(folder, &live);

    // Another definition, another format, another byte: each is told, and nothing changes.
    let sql = std::fs::read_to_string(folder.join("two/aht.sql")).expect("read");
    std::fs::write(folder.join("two/aht.sql"), sql.replace("proactive", "nobody")).expect("written");
    let message = fails(folder, UNTIL_END, 1);
    assert!(message.contains("this has changed: KPI aht; undo that, or"), "{message}");
    std::fs::write(folder.join("two/aht.sql"), sql).expect("written");
    let whole = std::fs::read(&path).expect("read");
    for (place, told) in
        [(8, "is of format"), (whole.len() - 1, "do not match their hash"), (0, "no checkpoint")]
    {
        let mut spoiled = whole.clone();
        spoiled[place] ^= 0x40;
        std::fs::write(&path, spoiled).expect("written");
        let message = fails(folder, UNTIL_END, 1);
        assert!(message.contains(told) && message.contains("--from-start"), "{message}");
    }
    std::fs::write(&path, &whole).expect("written");

    let (_, err) = ok(folder, UNTIL_END);
    assert!(err.contains("went on from a checkpoint"), "{err}");
    assert!(all_rows(folder) == expected, "after an interruption");

    // A log that has lost what an earlier run has read.
    interrupted(folder, &live);
    let (log, kept) = (folder.join("headsup-data/log"), folder.join("kept"));
    std::fs::rename(&log, &kept).expect("renamed");
    let message = fails(folder, UNTIL_END, 1);
    assert!(message.contains("of the log ends at offset 0, and the checkpoint is of"), "{message}");
    std::fs::remove_dir_all(&log).expect("removed");
    std::fs::rename(&kept, &log).expect("renamed");

    let mut from_start = UNTIL_END.to_vec();
    from_start.push("--from-start");
    let (_, err) = ok(folder, &from_start);
    assert!(!err.contains("went on from a checkpoint"), "{err}");
    assert!(all_rows(folder) == expected, "from the start");

    // Other rules of alerts keep nobody from going on; they begin anew, and that is said.
    let rule =
        "[[alert]]\nname = \"slow\"\nkpi = \"aht\"\nvalue = \"aht_ms\"\nby = []\nfire_above = 60_000\n";
    std::fs::write(folder.join("two/alerts.toml"), rule).expect("written");
    let (_, err) = ok(folder, &[UNTIL_END, &["--from-start"]].concat());
    assert!(!err.contains("alerts begin anew") && err.contains("rows  alerts"), "{err}");
    interrupted(folder, &live);
    std::fs::write(folder.join("two/alerts.toml"), rule.replace("60_000", "70_000")).expect("written");
    let (_, err) = ok(folder, UNTIL_END);
    assert!(err.contains("alerts begin anew") && err.contains("slow"), "{err}");
}

/// Files that lie among those of tables and are not of them.
#[test]
fn files_of_something_else_are_told_by_their_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    pinned(folder);
    let (before, after) = two_contacts();
    std::fs::write(folder.join("e.jsonl"), [before, after].concat().join("\n")).expect("written");
    ok(folder, &["import", "--config", "pinned.toml", "events", "e.jsonl"]);
    let run = ["run", "--until-end", "--config", "pinned.toml", "--kpis", "kpis"];
    let recompute = ["recompute", "--config", "pinned.toml", "--kpis", "kpis"];
    ok(folder, &run);
    let shown = rows_of_handled(folder);
    let facts = std::fs::read_dir(folder.join("headsup-data/facts/contacts/dt=2026-03-02")).expect("a day");
    let facts = facts.map(|entry| entry.expect("a file").path()).next().expect("a file");

    // Facts among the rows of a KPI, and what is no Parquet file.
    let foreign = "headsup-data/kpi_history/handled/dt=2026-03-02/zz.parquet";
    for (bytes, told) in [
        (
            std::fs::read(&facts).expect("read"),
            "column 1 is conversation_id (Utf8View) instead of window_start",
        ),
        (b"nothing of the kind".to_vec(), ""),
    ] {
        std::fs::write(folder.join(foreign), bytes).expect("written");
        for args in [&run[..], &recompute[..]] {
            let message = fails(folder, args, 1);
            assert!(
                message.contains(&format!("cannot read {foreign}: ")) && message.contains(told),
                "{message}"
            );
            assert!(message.contains("move it out of the data folder"), "{message}");
        }
    }
    let rows = std::fs::read_dir(folder.join("headsup-data/kpi_history/handled/dt=2026-03-02"));
    let mut rows = rows.expect("a day").map(|entry| entry.expect("a file").path());
    let rows = rows.find(|path| !path.ends_with("zz.parquet")).expect("a file");
    std::fs::remove_file(folder.join(foreign)).expect("removed");
    ok(folder, &run);
    assert_eq!(rows_of_handled(folder), shown);

    // Rows of a KPI among the facts.
    let foreign = "headsup-data/facts/contacts/dt=2026-03-01/zz.parquet";
    std::fs::create_dir(folder.join("headsup-data/facts/contacts/dt=2026-03-01")).expect("made");
    std::fs::copy(rows, folder.join(foreign)).expect("copied");
    for args in [&recompute[..], &["kpi", "recompute", "--kpis", "kpis"]] {
        let message = fails(folder, args, 1);
        let told = "column 1 is window_start";
        assert!(message.contains(&format!("cannot read {foreign}: {told}")), "{message}");
    }
}

fn rows_of_handled(folder: &Path) -> String {
    let query = "SELECT * FROM kpi_history.handled ORDER BY window_start, revision";
    ok(folder, &["sql", "--kpis", "kpis", "--format", "csv", query]).0
}

/// All that a checkpoint depends on besides the log, and one KPI.
fn pinned(folder: &Path) {
    let config = r#"
[input]
event_bytes_max = 1048576
max_skew = "5m"
[time]
max_disorder = "2s"
allowed_lateness = "10m"
heartbeat = "1h"
[contacts]
idle = "30m"
served = "4h"
queue = "12h"
wrap = "10m"
linger = "30m"
[queue]
tick = "10s"
[log]
partitions = 1
[store]
tables = ["contacts"]
flush = "100ms"
[http]
listen = "127.0.0.1:0"
"#;
    std::fs::write(folder.join("pinned.toml"), config).expect("written");
    std::fs::create_dir(folder.join("kpis")).expect("made");
    let kpi = "-- title: Handled\n-- unit: contacts\n-- corrections: 10 minutes\nSELECT tumble(ended_at, INTERVAL '1 minute') AS period, skill, count(*) AS contacts, quantile(handle_ms, 0.5) AS p50_ms FROM contacts GROUP BY period, skill\n";
    std::fs::write(folder.join("kpis/handled.sql"), kpi).expect("written");
}

/// A contact before and after the sample: one that is over and in the KPI's panes, and the
/// first half of another.
fn two_contacts() -> (Vec<String>, Vec<String>) {
    let first = contact();
    let second: Vec<String> = contact()
        .iter()
        .map(|line| {
            line.replace("c1", "c2").replace("02T00:0", "02T00:1").replace(r#""id":"e"#, r#""id":"f"#)
        })
        .collect();
    // The other topic must not hold back time.
    let order = r#"{"specversion":"1.0","id":"o1","source":"/web/s","type":"order.placed","subject":"o1","time":"2026-03-02T00:10:55Z","data":{"customer_id":"u1","shop":"s","channel":"web","amount_minor":100,"currency":"CNY"}}"#;
    let before = first.into_iter().chain(second[..5].iter().cloned()).chain([order.to_owned()]).collect();
    (before, second[5..].to_vec())
}

const SAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cli/checkpoints");

#[test]
fn checkpoints_of_every_format_are_read() {
    let mut samples: Vec<_> =
        std::fs::read_dir(SAMPLES).expect("samples").map(|e| e.expect("one").path()).collect();
    samples.sort();
    assert!(!samples.is_empty());
    for sample in samples {
        let folder = tempfile::tempdir().expect("a folder");
        let folder = folder.path();
        pinned(folder);
        let (before, after) = two_contacts();
        std::fs::write(folder.join("e.jsonl"), [before, after].concat().join("\n")).expect("written");
        ok(folder, &["import", "--config", "pinned.toml", "events", "e.jsonl"]);
        std::fs::create_dir(folder.join("headsup-data/checkpoint")).expect("made");
        std::fs::copy(&sample, folder.join("headsup-data/checkpoint/000004.ckpt")).expect("copied");
        let run = ["run", "--until-end", "--config", "pinned.toml", "--kpis", "kpis"];
        let (_, err) = ok(folder, &run);
        assert!(err.contains("went on from a checkpoint, after 16 records"), "{err}");
        assert!(err.contains("read 21 = applied 21 "), "{err}");
        // Of the first contact only the final row is new; it is made of the saved panes.
        let rows = ok(folder, &["sql", "--kpis", "kpis", "--format", "csv",
            "SELECT window_start, skill, contacts, p50_ms, revision, final FROM kpi_history.handled ORDER BY 1, 5"]).0;
        let expected = "window_start,skill,contacts,p50_ms,revision,final
2026-03-02T00:03:00.000Z,refund,1,150879.82570352597,2,true
2026-03-02T00:13:00.000Z,refund,1,150879.82570352597,1,false
2026-03-02T00:13:00.000Z,refund,1,150879.82570352597,2,true
";
        assert_eq!(rows, expected, "{}", sample.display());
    }
}

/// With `HEADSUP_TEST_WRITE_SAMPLE` set it is written, to be committed.
#[test]
fn the_format_that_is_written_has_a_sample() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    pinned(folder);
    std::fs::write(folder.join("e.jsonl"), two_contacts().0.join("\n")).expect("written");
    ok(folder, &["import", "--config", "pinned.toml", "events", "e.jsonl"]);
    let path = interrupted(folder, &["run", "--config", "pinned.toml", "--kpis", "kpis"]);
    let format = std::fs::read(&path).expect("read")[8];
    let sample = PathBuf::from(format!("{SAMPLES}/format-{format}.ckpt"));
    if std::env::var_os("HEADSUP_TEST_WRITE_SAMPLE").is_some() {
        std::fs::copy(path, &sample).expect("copied");
    }
    assert!(sample.exists(), "format {format} has no sample yet: set HEADSUP_TEST_WRITE_SAMPLE=1 once");
}
