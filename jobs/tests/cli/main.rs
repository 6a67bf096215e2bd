//! The binary as its users call it.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test that panics has failed, as it should")]

mod alerts;
#[cfg(feature = "train")]
mod chain;
mod checkpoints;
#[cfg(feature = "clickhouse")]
mod clickhouse;
mod features;
mod fluvio;
mod lift;
mod prometheus;
mod recompute;
#[cfg(feature = "train")]
mod scoring;
#[cfg(feature = "fluvio")]
mod shares;
#[cfg(feature = "train")]
mod tasks;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

fn headsup(folder: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_headsup"))
        .args(args)
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .expect("the binary was built")
}

fn ok(folder: &Path, args: &[&str]) -> (String, String) {
    let output = headsup(folder, args);
    let out = String::from_utf8(output.stdout).expect("UTF-8");
    let err = String::from_utf8(output.stderr).expect("UTF-8");
    assert!(output.status.success(), "{args:?}: {:?}\n{out}\n{err}", output.status);
    (out, err)
}

fn fails(folder: &Path, args: &[&str], code: i32) -> String {
    let output = headsup(folder, args);
    assert_eq!(output.status.code(), Some(code), "{args:?}");
    let err = String::from_utf8(output.stderr).expect("UTF-8");
    assert!(!err.contains("panicked"), "{err}");
    err
}

fn csv(folder: &Path, query: &str) -> String {
    ok(folder, &["sql", "--format", "csv", query]).0
}

fn event(id: u32, time: &str, kind: &str, data: &str) -> String {
    format!(
        r#"{{"specversion":"1.0","id":"e{id}","source":"/web/s","type":"conversation.{kind}","subject":"c1","time":"2026-03-02T00:{time}Z","data":{{"customer_id":"u1","shop":"s","channel":"web"{data}}}}}"#
    )
}

/// One contact: queued at 0:10, accepted at 0:40, held for 20 s, closed at 3:00,
/// wrapped at 3:30.
fn contact() -> Vec<String> {
    vec![
        event(1, "00:00", "started", r#","origin":"inbound""#),
        event(2, "00:05", "message", r#","role":"customer""#),
        event(3, "00:10", "queued", r#","skill":"refund""#),
        event(4, "00:40", "accepted", r#","agent_id":"a1""#),
        event(5, "00:50", "message", r#","role":"agent","agent_id":"a1""#),
        event(6, "01:00", "held", r#","agent_id":"a1""#),
        event(7, "01:20", "resumed", r#","agent_id":"a1""#),
        event(8, "03:00", "closed", r#","agent_id":"a1","resolved":true"#),
        event(9, "03:30", "wrapped", r#","agent_id":"a1""#),
        event(10, "04:00", "rated", r#","score":5"#),
    ]
}

#[test]
fn a_contact_from_json_to_sql() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    std::fs::write(folder.join("e.jsonl"), contact().join("\n")).expect("written");
    let (out, err) = ok(folder, &["run", "--input", "e.jsonl", "--until-end"]);
    assert_eq!(out, "");
    assert!(err.contains("read 10 = applied 10 + duplicate 0 + late 0 + quarantined 0 + ignored 0"), "{err}");
    assert_eq!(
        csv(
            folder,
            "SELECT skill, agent_id, wait_ms, handle_ms, hold_ms, wrap_ms, first_reply_ms, resolved, ended_by FROM contacts"
        ),
        "skill,agent_id,wait_ms,handle_ms,hold_ms,wrap_ms,first_reply_ms,resolved,ended_by\nrefund,a1,30000,150000,20000,30000,40000,true,wrapped\n"
    );
    assert_eq!(
        csv(
            folder,
            "SELECT window_start, contacts, aht_ms FROM kpi.aht WHERE grouped_by = 'shop' ORDER BY 1 LIMIT 1"
        ),
        "window_start,contacts,aht_ms\n2026-03-01T23:59:00.000Z,1,150000.0\n"
    );
    assert_eq!(
        ok(folder, &["sql", "--format", "json", "SELECT score, shop FROM ratings"]).0,
        "{\"score\":5,\"shop\":\"s\"}\n"
    );
    let (out, _) = ok(folder, &["kpi", "recompute"]);
    assert_eq!(out.matches("as shown, to the bit").count(), out.lines().count(), "{out}");
}

#[test]
fn through_the_log_is_the_same() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    std::fs::write(folder.join("e.jsonl"), contact().join("\n")).expect("written");
    ok(folder, &["run", "--input", "e.jsonl", "--until-end"]);
    let query = "SELECT * FROM kpi.aht ORDER BY window_start, grouped_by";
    let direct = csv(folder, query);
    let (out, _) = ok(folder, &["import", "events", "e.jsonl"]);
    assert!(out.contains("10  lines read"), "{out}");
    let (_, err) = ok(folder, &["run", "--until-end"]);
    assert!(err.contains("read 10 = applied 10"), "{err}");
    assert_eq!(csv(folder, query), direct);
    // Importing it again changes nothing.
    ok(folder, &["import", "events", "e.jsonl"]);
    let (_, err) = ok(folder, &["run", "--until-end"]);
    assert!(err.contains("read 20 = applied 10 + duplicate 10 + late 0"), "{err}");
    assert_eq!(csv(folder, query), direct);
}

#[test]
fn bad_input_is_set_aside_and_the_rest_goes_on() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let mut bytes = Vec::new();
    let good = contact();
    let mut bad: Vec<Vec<u8>> = vec![
        b"not json".to_vec(),
        good[0].as_bytes()[..60].to_vec(),
        b"".to_vec(),
        event(20, "00:20", "message", r#","role":"customer","text":"#).into_bytes()[..10].to_vec(),
        event(21, "00:20", "message", "").into_bytes(),
        event(22, "00:20", "rated", r#","score":"five""#).into_bytes(),
        event(23, "00:20", "message", r#","role":"customer","typing_ms":-5"#).into_bytes(),
        event(24, "00:20", "message", r#","role":"customer""#).replace("2026", "3000").into_bytes(),
        event(25, "00:20", "message", &format!(r#","role":"customer","text":"{}""#, "x".repeat(10_000_000)))
            .into_bytes(),
    ];
    // Cut in the middle of a character.
    let mut cut = event(26, "00:20", "message", r#","role":"customer","text":"退"#).into_bytes();
    let place = cut.windows(3).position(|bytes| bytes == "退".as_bytes()).expect("it is there");
    cut.truncate(place + 2);
    bad.push(cut);
    let count = bad.len();
    for (place, line) in good.iter().enumerate() {
        bytes.extend_from_slice(line.as_bytes());
        bytes.push(b'\n');
        if let Some(bad) = bad.get(place) {
            bytes.extend_from_slice(bad);
            bytes.push(b'\n');
        }
    }
    // The same event twice, and an unknown type.
    bytes.extend_from_slice((good[3].clone() + "\n").as_bytes());
    bytes.extend_from_slice((event(30, "04:10", "closed.v2", "") + "\n").as_bytes());
    std::fs::write(folder.join("e.jsonl"), &bytes).expect("written");
    let (_, err) = ok(folder, &["run", "--input", "e.jsonl", "--until-end"]);
    let account =
        format!("read {} = applied 10 + duplicate 1 + late 0 + quarantined {count} + ignored 1", 12 + count);
    assert!(err.contains(&account), "{err}\n{account}");
    assert_eq!(csv(folder, "SELECT handle_ms FROM contacts"), "handle_ms\n150000\n");
    assert_eq!(
        csv(folder, "SELECT reason, count(*) AS n FROM quarantine GROUP BY 1 ORDER BY 1"),
        "reason,n\nempty,1\nin_the_future,1\nmissing_field,1\nmistyped_field,1\nnegative_duration,1\nnot_json,3\nnot_utf8,1\ntoo_long,1\n"
    );
    // Its bytes are kept whole; they print as two digits each.
    let long = csv(folder, "SELECT bytes FROM quarantine WHERE reason = 'too_long'");
    assert!(long.len() > 20_000_000, "{}", long.len());
    assert_eq!(csv(folder, "SELECT \"offset\" FROM quarantine WHERE reason = 'empty'"), "offset\n5\n");
}

#[test]
fn what_was_set_aside_is_mended_and_put_back() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let mut lines = contact();
    let rated = lines[9].clone();
    lines[9] = rated.replace(r#""score":5"#, r#""score":"five""#);
    lines.push("not json".to_owned());
    std::fs::write(folder.join("e.jsonl"), lines.join("\n")).expect("written");
    std::fs::write(folder.join("one.toml"), "[log]\npartitions = 1\n").expect("written");
    let run = ["run", "--until-end", "--config", "one.toml"];
    let in_log = |args: &[&str]| ok(folder, &[args, &["--config", "one.toml"]].concat()).0;

    let message = fails(folder, &["quarantine", "list"], 1);
    assert!(message.contains("there is no data folder headsup-data"), "{message}");
    in_log(&["import", "events", "e.jsonl"]);
    assert_eq!(in_log(&["quarantine", "list"]), "nothing was set aside\n");
    ok(folder, &run);
    assert_eq!(csv(folder, "SELECT score FROM ratings"), "score\n");
    let list = in_log(&["quarantine", "list"]);
    assert!(list.starts_with("             1  mistyped_field\n             1  not_json\n\n"), "{list}");
    let detail = r#" conversations/0 9  data.score: expected an integer, found "five""#;
    assert!(list.contains(detail), "{list}");
    assert_eq!(
        in_log(&["quarantine", "list", "--reason", "not_json", "--limit", "0"]),
        "             1  not_json\n"
    );
    assert_eq!(in_log(&["quarantine", "show", "conversations/0", "9"]), lines[9].clone() + "\n");
    let message = fails(folder, &["quarantine", "show", "conversations/0", "4"], 1);
    assert!(message.contains("`headsup quarantine list` shows which were"), "{message}");
    let message = fails(folder, &["quarantine", "list", "--reason", "bad"], 2);
    assert!(message.contains("missing_field"), "{message}");

    // As they are, none of them is an event.
    assert_eq!(in_log(&["quarantine", "retry"]), "0 put back into the log, 2 still no events\n");
    std::fs::write(folder.join("mended.jsonl"), rated + "\n{}\n").expect("written");
    let output = headsup(folder, &["quarantine", "retry", "--dry-run", "mended.jsonl"]);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "1 would be put back, 1 still no events\n");
    let output = headsup(folder, &["quarantine", "retry", "mended.jsonl"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "1 put back into the log, 1 still no events\n");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(told.contains("mended.jsonl:2: missing_field: specversion: missing or empty"), "{told}");
    // Again: it is in the log twice and counts once.
    headsup(folder, &["quarantine", "retry", "mended.jsonl"]);
    let (_, err) = ok(folder, &run);
    assert!(err.contains("read 13 = applied 10 + duplicate 1 + late 0 + quarantined 2 + ignored 0"), "{err}");
    assert_eq!(csv(folder, "SELECT score FROM ratings"), "score\n5\n");
}

#[test]
fn an_end_before_its_start_gives_no_negative_duration() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let lines = [
        event(1, "05:00", "queued", r#","skill":"refund""#),
        event(2, "04:59", "wrapped", r#","agent_id":"a1""#),
        event(3, "05:10", "accepted", r#","agent_id":"a1""#),
        event(4, "05:09", "closed", r#","agent_id":"a1""#),
        event(5, "05:08", "resumed", r#","agent_id":"a1""#),
    ];
    std::fs::write(folder.join("e.jsonl"), lines.join("\n")).expect("written");
    ok(folder, &["run", "--input", "e.jsonl", "--until-end"]);
    let bad =
        "SELECT count(*) AS n FROM contacts WHERE wait_ms < 0 OR handle_ms < 0 OR hold_ms < 0 OR wrap_ms < 0";
    assert_eq!(csv(folder, bad), "n\n0\n");
}

#[test]
fn mistakes_are_explained() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    std::fs::create_dir(folder.join("k")).expect("made");
    let kpi = |name: &str, sql: &str| std::fs::write(folder.join("k").join(name), sql).expect("written");
    kpi(
        "a.sql",
        "-- title: A\nSELECT tumble(ended_at, INTERVAL '1 minute') AS p,\n count(*) AS n, avg_ms(handel_ms) AS x\nFROM contacts GROUP BY p\n",
    );
    kpi("b.sql", "-- title: B\nSELECT shop, count(*) AS n FROM contacts GROUP BY shop\n");
    kpi(
        "c.sql",
        "-- title: C\nSELECT tumble(ended_at, INTERVAL '1 minute') AS p, avg(handle_ms) AS x FROM contacts GROUP BY p\n",
    );
    kpi("d.sql", "-- title: D\nSELECT tumble(ended_at, INTERVAL '1 minute') AS p, shop FROM contacts\n");
    kpi(
        "e.sql",
        "-- title: E\nSELECT tumble(ended_at, INTERVAL '1 minute') AS p, count(*) AS n FROM contact GROUP BY p\n",
    );
    kpi("f.sql", "SELEC 1");
    let err = fails(folder, &["kpi", "check", "--kpis", "k"], 2);
    for expect in [
        "k/a.sql: line 3: no column \"handel_ms\" in contacts; did you mean \"handle_ms\"?",
        "k/b.sql: line 2: there is no window",
        "k/c.sql: line 2: avg depends on the order of the facts",
        "k/d.sql: there is no aggregate",
        "k/e.sql: line 2: no facts table \"contact\"; did you mean \"contacts\"?",
        "k/f.sql: line 1: the header has no title",
    ] {
        assert!(err.contains(expect), "{expect}\n{err}");
    }
    std::fs::write(folder.join("c.toml"), "[time]\nmax_disordr = \"2s\"\n").expect("written");
    let err = fails(folder, &["run", "--config", "c.toml", "--input", "x", "--until-end"], 2);
    assert!(err.contains("line 2: unknown key time.max_disordr; did you mean max_disorder?"), "{err}");
    let err = fails(folder, &["run", "--input", "missing.jsonl", "--until-end"], 1);
    assert!(err.contains("missing.jsonl"), "{err}");
    let err = fails(folder, &["sql", "--data", "nowhere", "SELECT 1"], 1);
    assert!(err.contains("there is no data folder nowhere"), "{err}");
    let err = fails(folder, &["kpi", "list", "--kpis", "nowhere"], 2);
    assert!(err.contains("nowhere"), "{err}");
    fails(folder, &["nonsense"], 2);
    fails(folder, &[], 2);
    for command in ["demo", "run", "import", "simulate", "sql", "kpi", "config"] {
        let (out, _) = ok(folder, &[command, "--help"]);
        assert!(out.contains("Usage: headsup"), "{out}");
    }
}

#[test]
fn the_committed_configuration_is_the_printed_one() {
    let (out, _) = ok(Path::new("."), &["config"]);
    let committed = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/headsup.toml");
    assert_eq!(
        std::fs::read_to_string(committed).unwrap_or_default(),
        out,
        "run: headsup config > deploy/headsup.toml"
    );
}

#[test]
fn the_simulator_writes_the_same_bytes() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    for name in ["a.jsonl", "b.jsonl"] {
        ok(folder, &["simulate", "--days", "1", "--customers", "500", "--out", name]);
    }
    let read = |name: &str| std::fs::read(folder.join(name)).expect("written");
    assert!(read("a.jsonl") == read("b.jsonl"));
    assert!(read("a.jsonl.truth.jsonl") == read("b.jsonl.truth.jsonl"));
    assert!(!read("a.jsonl.truth.jsonl").is_empty());
    let (_, err) = ok(folder, &["run", "--input", "a.jsonl", "--until-end"]);
    assert!(err.contains("duplicate 0 + late 0 + quarantined 0 + ignored 0"), "{err}");
}

fn get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(Duration::from_secs(5))).expect("a timeout");
    write!(stream, "GET {path} HTTP/1.0\r\nHost: x\r\n\r\n").expect("sent");
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    answer
}

#[test]
fn the_demo_shows_kpis_and_stops() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("c.toml"), "[http]\nlisten = \"127.0.0.1:0\"\n").expect("written");
    // A copy of the KPIs, of which one is changed.
    std::fs::create_dir(folder.path().join("my-kpis")).expect("made");
    let built_in = Path::new(env!("CARGO_MANIFEST_DIR")).join("../sql/kpis");
    for file in std::fs::read_dir(built_in).expect("readable") {
        let file = file.expect("readable");
        let sql = std::fs::read_to_string(file.path()).expect("readable");
        let sql = sql.replace("quantile(handle_ms, 0.9) AS p90_ms", "quantile(handle_ms, 0.8) AS p80_ms");
        std::fs::write(folder.path().join("my-kpis").join(file.file_name()), sql).expect("written");
    }
    let mut child = Command::new(env!("CARGO_BIN_EXE_headsup"))
        .args(["demo", "--config", "c.toml", "--weeks", "0", "--speed", "240", "--seconds", "60"])
        .args(["--kpis", "my-kpis"])
        .current_dir(folder.path())
        .stderr(Stdio::piped())
        .spawn()
        .expect("started");
    let mut err = std::io::BufReader::new(child.stderr.take().expect("piped"));
    let mut address = String::new();
    while address.is_empty() {
        let mut line = String::new();
        assert!(std::io::BufRead::read_line(&mut err, &mut line).expect("readable") > 0, "it has ended");
        if let Some(rest) = line.strip_prefix("page at http://") {
            address = rest.split('/').next().expect("an address").to_owned();
        }
    }
    let began = Instant::now();
    let metrics = loop {
        let metrics = get(&address, "/metrics");
        let shown = metrics
            .lines()
            .any(|line| line.starts_with("headsup_kpi_aht_aht_ms{") && line.contains("grouped_by=\"\""));
        if shown || began.elapsed() > Duration::from_secs(50) {
            assert!(shown, "no handle time within 50 s:\n{metrics}");
            break metrics;
        }
        std::thread::sleep(Duration::from_millis(200));
    };
    assert!(metrics.contains("headsup_events_total{"), "{metrics}");
    assert!(!metrics.contains("cust-"), "a customer in the metrics");
    assert!(get(&address, "/").contains("<title>headsup</title>"));
    assert!(get(&address, "/readyz").contains("ready"));
    let live = get(&address, "/live");
    assert!(live.contains("\"aht_ms\"") && live.contains("\"p80_ms\""), "{live}");
    assert!(live.contains("aht_high"), "the demo's own rules: {live}");
    child.kill().expect("killed");
    child.wait().expect("ended");
}

/// Every dependency between our crates follows the arrows of ARCHITECTURE.md, and
/// every arrow is a dependency.
#[test]
fn dependencies_are_as_drawn() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let text = std::fs::read_to_string(root.join("ARCHITECTURE.md")).expect("readable");
    let mut drawn: Vec<(String, String)> = Vec::new();
    for line in text.lines().filter(|line| line.contains(" ← ") && !line.contains('─')) {
        let names: Vec<String> = line.split(" ← ").map(|name| name.trim().to_owned()).collect();
        drawn.extend(names.windows(2).map(|pair| (pair[0].clone(), pair[1].clone())));
    }
    assert!(drawn.len() >= 5, "{drawn:?}");
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--format-version", "1", "--offline"])
        .current_dir(&root)
        .output()
        .expect("cargo runs");
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let short = |name: &str| name.strip_prefix("headsup-").map_or("jobs".to_owned(), str::to_owned);
    let mut actual: Vec<(String, String)> = Vec::new();
    for package in metadata["packages"].as_array().expect("packages") {
        for dependency in package["dependencies"].as_array().expect("dependencies") {
            if dependency["kind"].is_null() && dependency["path"].is_string() {
                let name = |value: &serde_json::Value| short(value["name"].as_str().expect("a name"));
                actual.push((name(dependency), name(package)));
            }
        }
    }
    let mut allowed = drawn.clone();
    loop {
        let further: Vec<(String, String)> = allowed
            .iter()
            .flat_map(|(a, b)| {
                drawn.iter().filter(move |(c, _)| b == c).map(move |(_, d)| (a.clone(), d.clone()))
            })
            .filter(|edge| !allowed.contains(edge))
            .collect();
        if further.is_empty() {
            break;
        }
        allowed.extend(further);
    }
    for edge in &actual {
        assert!(allowed.contains(edge), "{} uses {}, which is not drawn", edge.1, edge.0);
    }
    for edge in &drawn {
        assert!(actual.contains(edge), "{} does not use {}, as drawn", edge.1, edge.0);
    }
}
