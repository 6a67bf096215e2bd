//! Customers are scored in the stream: as recomputed, whenever it is killed, by the version in force.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::features::one_kpi;
use super::{fails, headsup, ok};

/// Who asks for a return within three days: quick to train, of events that 300 customers have often enough.
const SPEC: &str = r#"
title = "Returns | 退货"
description = "A test's."
label = "order_return"
lead = "0d"
horizon = "5d"
every = "2d"
population = "orders_30d > 0"
recency = "days_since_order"

[training]
seed = 1
folds = 1
fold_share = 0.3
trials = 1
bags = 1
max_rounds = 20
early_stopping = 20
metric = "log_loss"
calibration = "platt"

[training.search]
max_depth = [3]

[profit]
hit_minor = 1500
contact_minor = 200

[scoring]
on = ["order.placed", "contact.ended"]
sweep = true
explain_from = 0.05
"#;

const SCORES: &str = "SELECT * FROM scores ORDER BY at, customer_id, model, role";

fn version(out: &str) -> String {
    let at = out.rfind("version ").expect("a version") + "version ".len();
    out[at..at + 16].to_owned()
}

fn train(folder: &Path, spec: &str) -> String {
    std::fs::write(folder.join("returns.toml"), spec).expect("written");
    let args =
        ["train", "returns.toml", "--data", "past", "--registry", "models", "--test-from", "2026-03-24"];
    version(&ok(folder, &args).0)
}

/// Reads the log of a folder to its end.
const RUN: [&str; 7] = ["run", "--until-end", "--registry", "models", "--kpis", "kpis", "--data"];

fn run(folder: &Path, data: &str) {
    ok(folder, &[RUN.as_slice(), &[data]].concat());
}

#[test]
fn served_is_recomputed_and_a_kill_changes_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    ok(folder, &["simulate", "--customers", "400", "--days", "35", "--out", "e.jsonl"]);
    one_kpi(folder);
    ok(folder, &["run", "--input", "e.jsonl", "--until-end", "--kpis", "kpis", "--data", "past"]);
    assert!(fails(folder, &["check", "skew", "--data", "past"], 1).contains("nothing was served"));
    let first = train(folder, SPEC);
    let force = ["--force", "a test", "--registry", "models"];
    ok(folder, &[["models", "promote", "returns", &first].as_slice(), &force].concat());

    ok(folder, &["import", "events", "e.jsonl", "--data", "whole"]);
    run(folder, "whole");
    let of = |data: &str, query: &str| ok(folder, &["sql", "--format", "csv", "--data", data, query]).0;
    let whole = of("whole", SCORES);
    assert!(whole.lines().count() > 2_000, "{}", whole.lines().count());
    let triggers = of("whole", "SELECT DISTINCT trigger FROM scores ORDER BY 1");
    assert_eq!(triggers, "trigger\ncontact.ended\norder.placed\nsweep\n");
    assert_eq!(
        of("whole", "SELECT count(*) FROM scores WHERE reasons LIKE '%\"zh\":%' AND probability < 0.05"),
        "count(*)\n0\n"
    );
    assert_ne!(of("whole", "SELECT count(*) FROM scores WHERE reasons LIKE '%\"zh\":%'"), "count(*)\n0\n");
    let (said, _) = ok(folder, &["check", "skew", "--data", "whole"]);
    assert!(said.contains("all as computed again"), "{said}");

    // Killed again and again on the way.
    ok(folder, &["import", "events", "e.jsonl", "--data", "killed"]);
    std::fs::write(folder.join("c.toml"), "[store]\nflush = \"100ms\"\n").expect("written");
    let mut kills = 0;
    loop {
        let mut child = Command::new(env!("CARGO_BIN_EXE_headsup"))
            .args(RUN)
            .args(["killed", "--config", "c.toml"])
            .current_dir(folder)
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("started");
        let mut waited = 0;
        let ended = loop {
            if let Some(status) = child.try_wait().expect("a status") {
                break Some(status);
            }
            waited += 50;
            if waited > 400 + 50 * (kills % 7) && kills < 12 {
                child.kill().expect("killed");
                child.wait().expect("a status");
                break None;
            }
            std::thread::sleep(Duration::from_millis(50));
        };
        match ended {
            Some(status) => break assert!(status.success(), "{status}"),
            None => kills += 1,
        }
    }
    assert!(kills > 3, "{kills}");
    assert_eq!(of("killed", SCORES), whole);
    assert_eq!(
        of("killed", "SELECT * FROM served ORDER BY 2, 1"),
        of("whole", "SELECT * FROM served ORDER BY 2, 1")
    );

    // The other version serves from the time on that was written down, whenever it is computed.
    let second = train(folder, &SPEC.replace("seed = 1", "seed = 2"));
    assert_ne!(second, first);
    let middle = headsup_events::parse_rfc3339_ms("2026-03-20T00:00:00Z").expect("a time");
    let line = |at_ms: i64, version: &str| format!("{{\"at_ms\":{at_ms},\"champion\":\"{version}\"}}\n");
    let serving = folder.join("models/returns/serving.jsonl");
    assert_eq!(std::fs::read_to_string(&serving).expect("a file").lines().count(), 1);
    std::fs::write(&serving, line(i64::MIN, &first) + &line(middle, &second)).expect("written");
    ok(folder, &[["models", "promote", "returns", &second].as_slice(), &force].concat());
    ok(folder, &[RUN.as_slice(), &["whole", "--from-start"]].concat());
    let by_version = "SELECT version, min(at) < '2026-03-20' AS before, max(at) < '2026-03-20' AS all_before FROM scores GROUP BY 1 ORDER BY 2 DESC";
    let expected = format!("version,before,all_before\n{first},true,true\n{second},false,false\n");
    assert_eq!(of("whole", by_version), expected);
    let now = of("whole", SCORES);
    let earlier: Vec<&str> = now.lines().filter(|line| line.contains(&first)).collect();
    assert!(whole.contains(&earlier.join("\n")), "scores before the switch are as they were");
    ok(folder, &["check", "skew", "--data", "whole"]);

    // A file that is not what was written is told, and nothing is lost.
    std::fs::write(&serving, "nonsense\n").expect("written");
    let said =
        String::from_utf8(headsup(folder, &[RUN.as_slice(), &["whole", "--from-start"]].concat()).stderr);
    assert!(said.expect("UTF-8").contains("serving.jsonl line 1"), "what is wrong is said");
    assert_eq!(of("whole", SCORES), now);
}
