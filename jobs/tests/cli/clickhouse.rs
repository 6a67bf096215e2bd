//! ClickHouse beside a run: what the run has stored is there once, whoever is killed.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use headsup_clickhouse_engine::{Kind, Server};

use crate::{csv, fails, get, ok};

/// Not a test: the engine, when a test has started this binary again for it.
#[test]
fn serves_the_engine() {
    headsup_clickhouse_engine::serve_if_asked();
}

#[test]
fn without_a_url_the_message_says_what_to_do() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let message = fails(folder, &["clickhouse", "status"], 2);
    assert!(message.contains("the configuration names no ClickHouse; set clickhouse.url"), "{message}");
}

/// Ends its process when it is dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().expect("it is ours");
        self.0.wait().expect("it is ours");
    }
}

/// A run over the log that goes on until it is stopped; and its page's address.
fn running(folder: &Path) -> (Running, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_headsup"))
        .args(["run", "--config", "c.toml"])
        .current_dir(folder)
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary was built");
    let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines();
    let page = lines
        .find_map(|line| {
            let line = line.expect("UTF-8");
            let rest = line.split_once("page at http://")?.1;
            Some(rest.split('/').next()?.to_owned())
        })
        .expect("it says where the page is");
    // Whatever it says later must not fill the pipe.
    std::thread::spawn(move || lines.for_each(drop));
    (Running(child), page)
}

fn until(what: &str, holds: impl Fn() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < Duration::from_secs(300), "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn clickhouse_is_killed_in_the_middle_of_a_run() {
    for kind in [Kind::Modern, Kind::Old] {
        let folder = tempfile::tempdir().expect("a folder");
        let folder = folder.path();
        let serving = "clickhouse::serves_the_engine";
        let Some(mut server) = Server::start(kind, &folder.join("server"), serving) else {
            continue;
        };
        let config = format!(
            "[clickhouse]\nurl = \"{}\"\nretry_max = \"500ms\"\n[store]\nflush = \"100ms\"\n[http]\nlisten = \"127.0.0.1:0\"\n",
            server.url()
        );
        std::fs::write(folder.join("c.toml"), config).expect("written");
        let (out, _) = ok(folder, &["clickhouse", "migrate", "--config", "c.toml"]);
        assert!(out.contains("applied 0001_facts") && out.contains("made KPI aht"), "{out}");
        ok(folder, &["simulate", "--days", "1", "--customers", "8000"]);
        let (running, page) = running(folder);
        let number = |name: &str| {
            let metrics = get(&page, "/metrics");
            let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<f64>().ok());
            line.unwrap_or(0.0)
        };
        until("rows are loaded", || number("headsup_clickhouse_rows_total") > 0.0);
        server.kill();
        // The run goes on, and says what is the matter.
        until("it notices", || number("headsup_clickhouse_behind_files") > 0.0);
        until("it says so", || get(&page, "/readyz").contains("clickhouse: failing for"));
        // HEADSUP_TEST_DOWN_SECONDS=60 is a minute.
        let down = std::env::var("HEADSUP_TEST_DOWN_SECONDS").ok().and_then(|text| text.parse().ok());
        std::thread::sleep(Duration::from_secs(down.unwrap_or(0)));
        server.restart();
        until("it has caught up", || {
            number("headsup_clickhouse_behind_files") == 0.0 && number("headsup_log_lag_records") == 0.0
        });
        assert!(!get(&page, "/readyz").contains("clickhouse"));
        // Killed too, it goes on where its checkpoint and its note say.
        drop(running);
        ok(folder, &["run", "--until-end", "--config", "c.toml"]);
        let same = |clickhouse: &str, ours: &str| {
            let ours = csv(folder, ours);
            let ours = ours.lines().nth(1).unwrap_or_default().replace(',', "\t");
            assert_eq!(server.say(clickhouse), ours, "{kind:?}: {clickhouse}");
        };
        for (table, sum) in [
            ("contacts", "sum(handle_ms)"),
            ("rounds", "sum(reply_ms)"),
            ("orders", "sum(amount_minor)"),
            ("queue", "sum(waiting)"),
            ("turns", "sum(reply_ms)"),
            ("resolutions", "sum(after_ms)"),
            ("inquiries", "sum(after_ms)"),
            ("agents", "sum(busy_ms)"),
            ("alerts", "sum(revision)"),
        ] {
            same(
                &format!("SELECT count(), {sum} FROM headsup.{table}"),
                &format!("SELECT count(*), {sum} FROM {table}"),
            );
        }
        for kpi in ["aht", "csat", "backlog"] {
            same(
                &format!("SELECT count(), sum(revision) FROM headsup.kpi_{kpi}"),
                &format!("SELECT count(*), sum(revision) FROM kpi.{kpi}"),
            );
        }
        let (out, _) = ok(folder, &["clickhouse", "status", "--config", "c.toml"]);
        assert!(out.contains("6 of 6 migrations") && out.contains("are loaded"), "{out}");
        // A KPI over the facts that ClickHouse has.
        std::fs::create_dir(folder.join("kpis")).expect("made");
        std::fs::write(folder.join("kpis/csat.sql"), include_str!("../../../sql/kpis/csat.sql"))
            .expect("written");
        let recompute = ["kpi", "recompute", "--clickhouse", "--config", "c.toml", "--kpis", "kpis"];
        let (out, _) = ok(folder, &recompute);
        assert!(out.contains("csat: as shown, to the bit"), "{out}");
    }
}
