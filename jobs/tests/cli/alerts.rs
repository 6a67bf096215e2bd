//! Alerts, from an incident to its end.

use std::path::Path;

use super::{fails, ok};

const SQL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../sql");

/// Half a day of one busy shop; from 14:00 on logistics takes 60 % longer for an hour.
fn incident(folder: &Path) {
    let world = r#"
customers = 40_000
days = 1
rate_scale = 4.0
shops = ["shop-1"]
texts = false
truth = false
[[incidents]]
kind = "aht"
at = "14h"
lasting = "1h"
target = "logistics"
factor = 1.6
"#;
    std::fs::write(folder.join("world.toml"), world).expect("written");
    ok(folder, &["simulate", "--world", "world.toml", "--out", "day.jsonl"]);
    let day = std::fs::read_to_string(folder.join("day.jsonl")).expect("written");
    let inside = |line: &&str| {
        let hour = line.split(r#""time":"2026-03-02T"#).nth(1).and_then(|rest| rest.get(..2));
        hour.is_some_and(|hour| ("11".."18").contains(&hour))
    };
    let some: Vec<&str> = day.lines().filter(inside).collect();
    assert!(some.len() > 50_000, "{}", some.len());
    std::fs::write(folder.join("day.jsonl"), some.join("\n")).expect("written");
}

/// The KPI AHT, and a rule of the file that comes with headsup beside one over everything.
fn rules(folder: &Path) {
    let kpis = folder.join("kpis");
    std::fs::create_dir(&kpis).expect("made");
    std::fs::copy(format!("{SQL}/kpis/aht.sql"), kpis.join("aht.sql")).expect("copied");
    let all = std::fs::read_to_string(format!("{SQL}/alerts.toml")).expect("rules");
    let aht = all.split("[[alert]]").find(|rule| rule.contains("\"aht_high\"")).expect("a rule");
    let whole = r#"
name = "aht_of_all"
kpi = "aht"
value = "aht_ms"
by = []
fire_above = 88_000
clear_below = 86_000
for = "1m"
keep_firing_for = "5m"
min_n = 50
"#;
    std::fs::write(kpis.join("alerts.toml"), format!("[[alert]]{aht}\n[[alert]]{whole}")).expect("written");
}

fn csv(folder: &Path, query: &str) -> Vec<String> {
    let (out, _) = ok(folder, &["sql", "--kpis", "kpis", "--format", "csv", query]);
    out.lines().skip(1).map(str::to_owned).collect()
}

#[test]
fn an_incident_fires_names_its_cause_and_clears() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    incident(folder);
    rules(folder);
    ok(folder, &["run", "--input", "day.jsonl", "--until-end", "--kpis", "kpis"]);

    // Once, for the skill that slowed down, and never for another.
    let life = csv(
        folder,
        "SELECT state, keys, at, started_at FROM alerts WHERE name = 'aht_high' AND state <> 'amended' ORDER BY at",
    );
    assert_eq!(life.len(), 2, "{life:?}");
    assert!(life[0].starts_with(r#"firing,"{""shop"":""shop-1"",""skill"":""logistics""}""#), "{life:?}");
    assert!(life[1].starts_with("resolved,"), "{life:?}");

    // By the KPI's rows alone: the first window at whose end the limit had been passed for a minute,
    // by at least 20 contacts. That is when it fires, at the very tick.
    let proven = "SELECT min(b.window_end) FROM kpi_history.aht a JOIN kpi_history.aht b \
        ON b.window_end = a.window_end + INTERVAL '1 minute' AND a.skill = b.skill \
        WHERE a.grouped_by = 'shop,skill' AND b.grouped_by = 'shop,skill' AND a.revision = 1 AND b.revision = 1 \
        AND a.aht_ms > 120000 AND b.aht_ms > 120000 AND a.contacts >= 20 AND b.contacts >= 20";
    let proven = csv(folder, proven);
    let fired = life[0].rsplit(',').nth(1).expect("a time").to_owned();
    assert_eq!(proven, std::slice::from_ref(&fired));
    assert!(("2026-03-02T14:00:00Z".."2026-03-02T14:20:00Z").contains(&fired.as_str()), "{fired}");

    // Of everything, the rise comes from that skill before all others; and conversations are named.
    let of_all = csv(
        folder,
        "SELECT contributors, worst FROM alerts WHERE name = 'aht_of_all' AND state = 'firing' AND at >= TIMESTAMP '2026-03-02T14:00:00Z' ORDER BY at LIMIT 1",
    );
    let first = of_all[0].split(r#"""dimension"":""skill"""#).nth(1).expect("skills").split('}').next();
    assert!(first.is_some_and(|first| first.contains(r#"""value"":""logistics"""#)), "{of_all:?}");
    assert!(of_all[0].contains(r#"""dimension"":""agent_id"""#) && of_all[0].contains("conv-"), "{of_all:?}");
    let worst = csv(folder, "SELECT worst FROM alerts WHERE name = 'aht_high' AND state = 'firing'");
    let worst = worst[0].replace("\"\"", "\"");
    let id = worst.split('"').nth(2).expect("an id");
    let longest = format!(
        "SELECT c.conversation_id = '{id}' FROM contacts c JOIN alerts a ON c.ended_at >= a.window_start AND c.ended_at < a.window_end WHERE a.name = 'aht_high' AND a.state = 'firing' AND c.skill = 'logistics' AND c.handle_ms IS NOT NULL AND c.origin <> 'proactive' ORDER BY c.handle_ms DESC LIMIT 1"
    );
    assert_eq!(csv(folder, &longest), ["true"]);

    // The past tells the same, and what another limit would have done.
    let (out, _) = ok(folder, &["alerts", "backtest", "--kpis", "kpis", "--all"]);
    assert!(
        out.contains("would have fired 1 times") && out.contains("did fire 1 times: 1 the same"),
        "{out}"
    );
    let (out, _) = ok(folder, &["alerts", "backtest", "--kpis", "kpis", "--facts"]);
    assert!(out.contains("would have fired 1 times"), "{out}");
    let text = std::fs::read_to_string(folder.join("kpis/alerts.toml")).expect("rules");
    let higher = text
        .replace("fire_above = 120_000", "fire_above = 300_000")
        .replace("clear_below = 110_000", "clear_below = 290_000");
    std::fs::write(folder.join("higher.toml"), higher).expect("written");
    let (out, _) = ok(folder, &["alerts", "backtest", "--kpis", "kpis", "--alerts", "higher.toml"]);
    assert!(out.contains("would have fired 0 times") && out.contains("1 would not have"), "{out}");
    // Of fewer contacts than asked for nothing follows.
    std::fs::write(folder.join("more.toml"), text.replace("min_n = 20", "min_n = 2_000")).expect("written");
    let (out, _) = ok(folder, &["alerts", "backtest", "--kpis", "kpis", "--alerts", "more.toml"]);
    assert!(out.contains("would have fired 0 times"), "{out}");
}

#[test]
fn rules_are_checked_tested_and_exported() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    assert_eq!(ok(folder, &["alerts", "check"]).0, "8 alerts, no mistakes\n");
    assert!(ok(folder, &["alerts", "test"]).0.ends_with("tests, all passed\n"));
    ok(folder, &["alerts", "export", "--out", "made"]);
    ok(folder, &["alerts", "export", "--out", "made", "--check"]);
    let committed = concat!(env!("CARGO_MANIFEST_DIR"), "/../dashboards/prometheus");
    for name in ["alerts.yml", "alerts_test.yml", "alertmanager.yml"] {
        let read = |folder: &Path| std::fs::read_to_string(folder.join(name)).expect("a file");
        assert_eq!(read(&folder.join("made")), read(Path::new(committed)), "{name}: headsup alerts export");
    }
    std::fs::write(folder.join("made/alerts.yml"), "groups: []\n").expect("written");
    let error = fails(folder, &["alerts", "export", "--out", "made", "--check"], 3);
    assert!(error.contains("made/alerts.yml is not what the rules say"), "{error}");

    let rule = |keys: &str| {
        format!(
            "[[alert]]\nname = \"a\"\nkpi = \"aht\"\nvalue = \"aht_ms\"\nby = [\"shop\", \"skill\"]\n{keys}\n"
        )
    };
    for (text, line, expected) in [
        (rule("fire_above = 120_000").replace("aht_ms", "ath_ms"), 4, "did you mean"),
        (rule("fire_above = 120_000\nclear_below = 130_000"), 7, "clear_below"),
        (rule("fire_above = 1").replace("\"shop\", \"skill\"", "\"agent_id\""), 5, "agent_id"),
        (rule("fire_above = 1") + &rule("fire_above = 2"), 8, "another rule named"),
        (rule(""), 1, "fire_above"),
        (rule("fire_abov = 1\nfire_above = 1"), 6, "fire_above"),
    ] {
        std::fs::write(folder.join("a.toml"), &text).expect("written");
        let error = fails(folder, &["alerts", "check", "--alerts", "a.toml"], 2);
        assert!(error.contains(&format!("a.toml: line {line}: ")) && error.contains(expected), "{error}");
        let error = fails(folder, &["run", "--alerts", "a.toml", "--input", "none.jsonl", "--until-end"], 2);
        assert!(error.contains("a.toml: line "), "{error}");
    }
    let error = fails(folder, &["alerts", "backtest", "--data", "nothing"], 1);
    assert!(error.contains("there is no data folder nothing"), "{error}");
}

#[test]
fn the_page_of_kpis_is_what_the_files_say() {
    let (page, _) = ok(Path::new("."), &["kpi", "list", "--markdown"]);
    let committed = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/kpis.md"));
    assert_eq!(page, committed.expect("a page"), "write it with headsup kpi list --markdown > docs/kpis.md");
}
