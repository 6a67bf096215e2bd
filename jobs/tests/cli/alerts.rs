//! Alerts, from an incident to its end.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use headsup_events::format_rfc3339_ms;
use headsup_stream::format_duration_ms;
use serde_json::Value;

use super::{fails, get, ok};

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

/// Three contacts a minute of two skills, on some days from 10 to 11; billing is slow for ten minutes, refund on one day
/// for five.
fn days_of_contacts() -> String {
    let mut events = Vec::new();
    let mut contact = |skill: &str, day: i64, second: i64, took: i64| {
        let subject = format!("{skill}-{day}-{second}");
        for (at, kind, data) in [
            (second - took, "queued", format!(r#","skill":"{skill}""#)),
            (second - took, "accepted", r#","agent_id":"a""#.to_owned()),
            (second, "wrapped", r#","agent_id":"a""#.to_owned()),
        ] {
            let time = format!("2026-03-{day:02}T{:02}:{:02}:{:02}Z", at / 3_600, at / 60 % 60, at % 60);
            let event = format!(
                r#"{{"specversion":"1.0","id":"{subject}-{kind}","source":"/t","type":"conversation.{kind}","subject":"{subject}","time":"{time}","data":{{"customer_id":"u","shop":"s","channel":"web"{data}}}}}"#
            );
            events.push((time, event));
        }
    };
    for day in [2, 3, 5] {
        for minute in 0..60 {
            let slow = |is_slow: bool| if is_slow { 200 } else { 60 };
            for second in [5, 25, 45] {
                let second = 10 * 3_600 + minute * 60 + second;
                contact("billing", day, second, slow((20..30).contains(&minute)));
                contact("refund", day, second, slow(day == 3 && (40..45).contains(&minute)));
            }
        }
    }
    // Time goes on.
    contact("refund", 5, 13 * 3_600, 60);
    events.sort();
    events.into_iter().map(|(_, event)| event + "\n").collect()
}

const LONG: &str = r#"
[[alert]]
name = "aht_long"
kpi = "aht"
value = "aht_ms"
by = ["skill"]
fire_above = 120_000
clear_below = 110_000
for = "1m"
keep_firing_for = "2m"
min_n = 5
"#;

/// What the page's backtest says: the status and the answer.
fn answer(text: &str) -> (u16, Value) {
    let status = text.get(9..12).and_then(|status| status.parse().ok()).expect("a status");
    let (_, body) = text.split_once("\r\n\r\n").expect("a body");
    (status, serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {text}")))
}

#[test]
fn the_page_tries_a_rule_on_the_past_as_the_command_does() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    std::fs::create_dir(folder.join("kpis")).expect("made");
    std::fs::copy(format!("{SQL}/kpis/aht.sql"), folder.join("kpis/aht.sql")).expect("copied");
    std::fs::write(folder.join("kpis/alerts.toml"), LONG).expect("written");
    let config = "[http]\nlisten = \"127.0.0.1:0\"\n[store]\nflush = \"500ms\"\n";
    std::fs::write(folder.join("c.toml"), config).expect("written");
    let mut run = Command::new(env!("CARGO_BIN_EXE_headsup"))
        .args(["run", "--config", "c.toml", "--kpis", "kpis", "--input", "-", "--until-end", "--serve"])
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("started");
    let mut said = BufReader::new(run.stderr.take().expect("piped"));
    let address = loop {
        let mut line = String::new();
        assert!(said.read_line(&mut line).expect("readable") > 0, "it has ended");
        if let Some(rest) = line.strip_prefix("page at http://") {
            break rest.split('/').next().expect("an address").to_owned();
        }
    };
    let path = |query: &str| format!("/live/alerts/aht_long/backtest?{query}");
    let asked = |query: &str| answer(&get(&address, &path(query)));
    let until = |what: &str, holds: &dyn Fn(&(u16, Value)) -> bool| {
        let begun = Instant::now();
        loop {
            let now = asked("days=92");
            if holds(&now) {
                return;
            }
            assert!(begun.elapsed() < Duration::from_secs(60), "{what}: {now:?}");
            std::thread::sleep(Duration::from_millis(100));
        }
    };
    let detail =
        |answer: &Value, part: &str| answer["detail"].as_str().is_some_and(|text| text.contains(part));
    until("nothing is stored", &|(status, answer)| {
        *status == 404 && detail(answer, "no rows of KPI aht are stored yet")
    });
    let mut input = run.stdin.take().expect("piped");
    input.write_all(days_of_contacts().as_bytes()).and_then(|()| input.flush()).expect("written");
    until("what has fired is stored", &|(_, answer)| answer["counts"]["same"] == 4);

    // What the page is told of is what the command prints of the same rule in a file.
    let same_as_command = |query: &str, changes: &[(&str, &str)]| {
        let (status, answer) = asked(&format!("days=92&{query}"));
        assert_eq!(status, 200, "{answer}");
        let file = changes.iter().fold(LONG.to_owned(), |file, (old, new)| {
            assert!(file.contains(old), "{old}");
            file.replace(old, new)
        });
        std::fs::write(folder.join("changed.toml"), file).expect("written");
        let args = ["alerts", "backtest", "--kpis", "kpis", "--alerts", "changed.toml", "--all"];
        let (out, _) = ok(folder, &args);
        let count = |name: &str| answer["counts"][name].as_u64().expect("a count");
        let would = format!("would have fired {} times", count("would"));
        let did = format!(
            "did fire {} times: {} the same, {} at other times, {} would not have, {} would have besides",
            count("did"),
            count("same"),
            count("moved"),
            count("only_did"),
            count("only_would")
        );
        assert!(out.contains(&would) && out.contains(&did), "{query}\n{answer:#}\n{out}");
        let episodes = answer["episodes"].as_array().expect("episodes");
        for one in episodes {
            let gone = one["would"].is_null();
            let episode = if gone { &one["did"] } else { &one["would"] };
            let ms = |name: &str| episode[name].as_i64().expect("a time");
            let line = format!(
                "  {} {} {}  skill {}  value",
                if gone { "-" } else { " " },
                format_rfc3339_ms(ms("from_ms")),
                format_duration_ms(ms("to_ms") - ms("from_ms")),
                one["labels"]["skill"].as_str().expect("a skill"),
            );
            let peak = format!("peak {:.0}", episode["peak"].as_f64().expect("a peak"));
            assert!(
                out.lines().any(|shown| shown.starts_with(&line) && shown.ends_with(&peak)),
                "{line}{peak}\n{out}"
            );
        }
        assert_eq!(out.lines().filter(|line| line.contains("  skill ")).count(), episodes.len(), "{out}");
        answer
    };
    let now = same_as_command("", &[]);
    assert_eq!(now["values"][0], serde_json::json!(["fire_above", "120000"]));
    assert_eq!(now["episodes"][0]["labels"]["skill"], "billing", "the newest first");
    let none = same_as_command(
        "fire_above=300000&clear_below=290_000",
        &[("120_000", "300_000"), ("110_000", "290_000")],
    );
    assert_eq!(none["counts"]["only_did"], 4);
    assert_eq!(none["episodes"][0]["kind"], "only_did");
    let sooner = same_as_command(
        "fire_above=90000&clear_below=",
        &[("120_000", "90_000"), ("clear_below = 110_000\n", "")],
    );
    assert_eq!(sooner["counts"]["moved"], 4);
    let longer = same_as_command("for=6m", &[("for = \"1m\"", "for = \"6m\"")]);
    assert_eq!((&longer["counts"]["would"], &longer["counts"]["only_did"]), (&3.into(), &1.into()));
    same_as_command("min_n=16", &[("min_n = 5", "min_n = 16")]);

    // Days are counted back from the last one of which rows are stored; what is of none is looked at for a week.
    for (query, days, did) in [("days=1", 1, 1), ("days=3", 3, 3), ("days=4", 4, 4), ("", 7, 4)] {
        let (_, answer) = asked(query);
        assert_eq!((&answer["days"], &answer["counts"]["did"]), (&days.into(), &did.into()), "{answer:#}");
        assert_eq!(answer["counts"]["same"], did, "{answer:#}");
        assert_eq!(
            answer["to_ms"].as_i64().map(format_rfc3339_ms).as_deref().map(|time| &time[..10]),
            Some("2026-03-05")
        );
    }

    for (query, part) in [
        ("days=0", "days: expected a whole number from 1 to 92, found \"0\""),
        ("days=93", "from 1 to 92"),
        ("days=week", "found \"week\""),
        ("fire_above=much", "fire_above: expected a number, found \"much\""),
        ("fire_above=100000", "clear_below = 110000 is beyond fire_above = 100000"),
        ("fire_abov=1", "rule aht_long has no value \"fire_abov\"; did you mean \"fire_above\"?"),
        ("fire_below=1", "no value \"fire_below\""),
        ("for=soon", "for: expected a duration"),
        ("min_n=-1", "min_n: expected a whole number of at least 0"),
    ] {
        let (status, answer) = asked(query);
        assert!(status == 400 && detail(&answer, part), "{query}: {status} {answer}");
    }
    let (status, unknown) = answer(&get(&address, "/live/alerts/nothing/backtest"));
    assert!(status == 404 && detail(&unknown, "there is no rule \"nothing\""), "{unknown}");

    // One at a time; who comes meanwhile is told so, and the pipeline goes on.
    let mut streams: Vec<TcpStream> =
        (0..16).map(|_| TcpStream::connect(&address).expect("it listens")).collect();
    for stream in &mut streams {
        write!(stream, "GET {} HTTP/1.0\r\nHost: x\r\n\r\n", path("days=92")).expect("sent");
    }
    let answers: Vec<(u16, Value)> = streams
        .into_iter()
        .map(|mut stream| {
            let mut text = String::new();
            stream.read_to_string(&mut text).expect("an answer");
            answer(&text)
        })
        .collect();
    let (done, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(|(status, _)| *status == 200);
    assert!(!done.is_empty() && !refused.is_empty(), "{} done", done.len());
    for (status, answer) in refused {
        assert!(status == 503 && detail(&answer, "another rule is being tried"), "{status} {answer}");
    }
    drop(input);
    let mut rest = String::new();
    said.read_to_string(&mut rest).expect("readable");
    assert!(run.wait().expect("ended").success() && !rest.contains("panicked"), "{rest}");
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
