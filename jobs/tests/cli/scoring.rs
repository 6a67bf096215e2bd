//! Customers are scored in the stream: as recomputed, whenever it is killed, by the version in force.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use headsup_clickhouse_engine::{Kind, Server};

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

/// Contacts many, so that there is much to see; half are left alone.
const POLICY: &str = r#"
accepted_for = "4h"
[[cap]]
contacts = 2
per = "7d"
[quiet_hours]
from = "22:00"
to = "08:00"
zone = "Asia/Shanghai"
[[channel]]
name = "wechat"
reach = "48h"
pushes_max = 5
[[channel]]
name = "app"
reach = "48h"
[[channel]]
name = "web"
[[campaign]]
name = "save_order"
title = "Save | 挽回"
model = "returns"
threshold = 0.08
channels = ["wechat", "app", "web"]
cooldown = "3d"
expires_after = "1d"
orders_within = "30d"
control_share = 0.5
[[campaign]]
name = "best"
title = "Best | 最佳"
model = "returns"
top_k = 1
channels = ["web"]
cooldown = "5d"
expires_after = "12h"
"#;

const TASKS: &str = "SELECT * FROM tasks ORDER BY at, event, id";
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
const RUN: [&str; 9] =
    ["run", "--until-end", "--registry", "models", "--kpis", "kpis", "--policy", "p.toml", "--data"];

fn run(folder: &Path, data: &str) {
    ok(folder, &[RUN.as_slice(), &[data]].concat());
}

/// Not a test: the engine, when a test has started this binary again for it.
#[test]
fn serves_the_engine() {
    headsup_clickhouse_engine::serve_if_asked();
}

/// The same from the beginning, and what is of customers is in ClickHouse too.
fn run_into_clickhouse(folder: &Path, data: &str, kind: Kind) {
    let engine = folder.join(format!("{kind:?}"));
    let again = [RUN.as_slice(), &[data, "--from-start"]].concat();
    let Some(server) = Server::start(kind, &engine, "scoring::serves_the_engine") else {
        return ok(folder, &again).0.clear();
    };
    let tables = "[\"contacts\", \"rounds\", \"ratings\", \"orders\", \"turns\", \"resolutions\", \"inquiries\", \"signals\"]";
    let config = format!("[clickhouse]\nurl = \"{}\"\n[store]\ntables = {tables}\n", server.url());
    std::fs::write(folder.join("ck.toml"), config).expect("written");
    ok(folder, &["clickhouse", "migrate", "--config", "ck.toml", "--kpis", "kpis"]);
    ok(folder, &[again.as_slice(), &["--config", "ck.toml"]].concat());
    for (table, numbers) in [
        (
            "scores",
            "count(DISTINCT customer_id), CAST(1e6 * max(margin) AS BIGINT), CAST(1e6 * min(percentile) AS BIGINT), sum(length(reasons))",
        ),
        (
            "tasks",
            "count(DISTINCT id), max(revision), sum(value_minor), CAST(1e6 * max(probability) AS BIGINT), sum(length(data))",
        ),
        ("signals", "count(DISTINCT id), count(DISTINCT type), count(retryable)"),
    ] {
        let query = format!("SELECT count(*) AS n, {numbers} FROM");
        let ours = ok(folder, &["sql", "--format", "csv", "--data", data, &format!("{query} {table}")]).0;
        let ours = ours.lines().nth(1).unwrap_or_default().replace(',', "\t");
        let theirs = query.replace("length(", "lengthUTF8(");
        assert_eq!(server.say(&format!("{theirs} headsup.{table}")), ours, "{kind:?}: {table}");
    }
}

/// What `headsup lift` takes of campaign save_order is what is there, counted customer by customer.
fn lift_is_as_counted(folder: &Path) {
    let of = |query: &str| ok(folder, &["sql", "--format", "csv", "--data", "whole", query]).0;
    let rows = |text: String| -> Vec<(String, String, i64)> {
        let row = |line: &str| {
            let mut cells = line.split(',').map(str::to_owned);
            let (customer, what) = (cells.next().expect("a customer"), cells.next().expect("a text"));
            (customer, what, cells.next().expect("a time").parse().expect("a number"))
        };
        text.lines().skip(1).map(row).collect()
    };
    let all = "arrow_cast(at, 'Int64') AS us FROM";
    let assigned = rows(of(&format!(
        "SELECT customer_id, arm, {all} tasks WHERE event = 'task.assigned' AND campaign = 'save_order' ORDER BY us"
    )));
    let orders = rows(of(&format!("SELECT customer_id, type || ' ' || coalesce(actor, ''), {all} orders")));
    let done = rows(of(&format!("SELECT customer_id, campaign, {all} tasks WHERE event = 'task.completed'")));
    let until = orders.iter().map(|(.., us)| *us).max().expect("orders");
    let horizon = 5 * 86_400_000_000;
    let (mut units, mut outcomes, mut contacted) = ([0_u64; 2], [0_u64; 2], [0_u64; 2]);
    let mut seen = std::collections::BTreeSet::new();
    for (customer, arm, at) in &assigned {
        if !seen.insert(customer) || at + horizon > until {
            continue;
        }
        let arm = usize::from(arm == "control");
        let averted = |(who, what, us): &(String, String, i64)| {
            who == customer
                && (what == "return_requested " || what == "cancelled customer")
                && *us > *at
                && *us <= at + horizon
        };
        units[arm] += 1;
        outcomes[arm] += u64::from(orders.iter().any(averted));
        contacted[arm] +=
            u64::from(done.iter().any(|(who, what, _)| who == customer && what == "save_order"));
    }
    assert!(units[0] > 20 && units[1] > 20 && outcomes[0] > 0 && contacted[0] > 0, "{units:?} {outcomes:?}");
    let outcome = include_str!("../../../sql/outcomes/order_return.sql");
    std::fs::write(folder.join("outcome.sql"), outcome).expect("written");
    let lift = ["lift", "save_order", "--policy", "p.toml", "--data", "whole"];
    assert!(fails(folder, &lift, 2).contains("name the file with --outcome"));
    let mine = ["--outcome", "outcome.sql", "--horizon", "5d"];
    let json = ok(folder, &[lift.as_slice(), &mine, &["--json"]].concat()).0;
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    for (place, arm) in ["treated", "control"].into_iter().enumerate() {
        let found =
            ["units", "outcomes", "contacted"].map(|what| json[arm][what].as_u64().expect("a number"));
        assert_eq!(found, [units[place], outcomes[place], contacted[place]], "{arm}");
    }
    assert_eq!(json["plan"]["control_share"], 0.5);
    assert_eq!(json["plan"]["horizon_days"], 5.0);
    let later = ["--outcome", "outcome.sql", "--horizon", "60d"];
    assert!(fails(folder, &[lift.as_slice(), &later].concat(), 1).contains("whose outcome is known already"));
    assert!(fails(folder, &["lift", "nobody", "--policy", "p.toml"], 2).contains("only save_order, best"));
}

fn time_of(line: &str) -> &str {
    let at = line.find("\"time\":\"").expect("a time") + 8;
    &line[at..at + 24]
}

/// The events, and among them what a router says of the tasks of the first days: in turn done, not done, said twice,
/// said too early.
fn with_feedback(folder: &Path) {
    let events = std::fs::read_to_string(folder.join("e.jsonl")).expect("a file");
    let mut lines: Vec<String> = events.lines().map(str::to_owned).collect();
    std::fs::write(folder.join("few.jsonl"), lines[..lines.len() / 3].join("\n")).expect("written");
    ok(folder, &["import", "events", "few.jsonl", "--data", "few"]);
    run(folder, "few");
    let query = "SELECT task_id, customer_id, arrow_cast(at, 'Int64') / 1000 AS ms FROM tasks WHERE event = 'task.created' ORDER BY at, id";
    let tasks = ok(folder, &["sql", "--format", "csv", "--data", "few", query]).0;
    assert!(tasks.lines().count() > 50, "{tasks}");
    for (place, task) in tasks.lines().skip(1).enumerate() {
        let [task, customer, ms] = task.split(',').collect::<Vec<_>>()[..] else { panic!("{task}") };
        let ms: i64 = ms.parse().expect("a time");
        let mut said = vec![("offered", ""), ("accepted", "")];
        match place % 4 {
            0 => said.push(("completed", ",\"disposition\":\"solved\",\"channel\":\"web\"")),
            1 => said[1] = ("rejected", ",\"reason\":\"no time\",\"retryable\":false"),
            2 => said.push(("accepted", "")),
            _ => said = vec![("completed", ",\"disposition\":\"other\"")],
        }
        for (minutes, (what, more)) in (1..).zip(said) {
            let time = headsup_events::format_rfc3339_ms(ms + minutes * 60_000);
            lines.push(format!(
                "{{\"specversion\":\"1.0\",\"id\":\"{task}-{minutes}\",\"source\":\"/router\",\"type\":\"task.{what}\",\"subject\":\"{task}\",\"time\":\"{time}\",\"recordedtime\":\"{time}\",\"data\":{{\"customer_id\":\"{customer}\"{more}}}}}"
            ));
        }
    }
    lines.sort_by(|a, b| time_of(a).cmp(time_of(b)));
    std::fs::write(folder.join("e.jsonl"), lines.join("\n")).expect("written");
}

#[test]
fn served_is_recomputed_and_a_kill_changes_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    ok(folder, &["simulate", "--customers", "400", "--days", "35", "--out", "e.jsonl"]);
    one_kpi(folder);
    std::fs::write(folder.join("p.toml"), POLICY).expect("written");
    ok(folder, &["run", "--input", "e.jsonl", "--until-end", "--kpis", "kpis", "--data", "past"]);
    assert!(fails(folder, &["check", "skew", "--data", "past"], 1).contains("nothing was served"));
    let first = train(folder, SPEC);
    let force = ["--force", "a test", "--registry", "models"];
    ok(folder, &[["models", "promote", "returns", &first].as_slice(), &force].concat());

    with_feedback(folder);
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

    let tasks = of("whole", TASKS);
    let kinds = of("whole", "SELECT DISTINCT event FROM tasks ORDER BY 1");
    let all = "accepted assigned cancelled completed created expired offered refused rejected suppressed";
    let all: String = all.split(' ').map(|kind| format!("task.{kind}\n")).collect();
    assert_eq!(kinds, format!("event\n{all}"));
    let none = |what: &str, query: &str| {
        assert_eq!(of("whole", &format!("SELECT count(*) FROM ({query})")), "count(*)\n0\n", "{what}");
    };
    none(
        "a task of a control",
        "SELECT t.id FROM tasks t JOIN tasks c ON c.campaign = t.campaign AND c.customer_id = t.customer_id WHERE c.arm = 'control' AND t.task_id IS NOT NULL",
    );
    none(
        "a task without an assignment",
        "SELECT id FROM tasks WHERE event = 'task.created' AND assignment_id NOT IN (SELECT assignment_id FROM tasks WHERE event = 'task.assigned')",
    );
    none(
        "a task without orders",
        "SELECT id FROM tasks WHERE event = 'task.created' AND campaign = 'save_order' AND data LIKE '%\"order_ids\":[]%'",
    );
    none(
        "a task twice",
        "SELECT task_id FROM tasks WHERE event = 'task.created' GROUP BY 1 HAVING count(*) > 1",
    );

    lift_is_as_counted(folder);

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
    assert_eq!(of("killed", TASKS), tasks);
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
    run_into_clickhouse(folder, "few", Kind::Modern);
    run_into_clickhouse(folder, "few", Kind::Old);
    super::tasks::over_http(folder);
    super::chain::everything_once(folder, POLICY);
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
