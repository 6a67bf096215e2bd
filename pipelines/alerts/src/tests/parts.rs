//! Where a rise comes from, and how that is said.

use arrow::array::RecordBatch;
use expect_test::{Expect, expect};

use super::{MINUTE, rules, shapes};
use crate::rows::make;
use crate::{Alerts, Change, Contributor, Explain, Rule, Rules, Unexplained};

/// Rows of a window that ends then, by shop, channel and skill: `shop/channel/skill=value/n` each,
/// and what they come to by shop.
fn window(rules: &Rules, minute: i64, text: &str) -> Vec<(usize, RecordBatch)> {
    let place = rules.rules[0].kpi_place();
    let shape = &rules.shapes[place];
    let mut fine = Vec::new();
    let mut shops: std::collections::BTreeMap<&str, (f64, f64)> = Default::default();
    for word in text.split_whitespace() {
        let (keys, value) = word.split_once('=').expect("keys=value");
        let (value, n) = value.split_once('/').expect("value/n");
        let keys: Vec<&str> = keys.split('/').collect();
        let (value, n): (f64, f64) = (value.parse().expect("a number"), n.parse().expect("a number"));
        let sums = shops.entry(keys[0]).or_default();
        *sums = (sums.0 + value * n, sums.1 + n);
        fine.push((keys, vec![Some(n), Some(value)]));
    }
    let coarse: Vec<_> =
        shops.iter().map(|(shop, (sum, n))| (vec![*shop], vec![Some(*n), Some(sum / n)])).collect();
    let said = (1, false, minute * MINUTE);
    [(&shape.sets[1], coarse), (&shape.sets[3], fine)]
        .map(|(set, rows)| (place, make(shape, set, minute * MINUTE, said, &rows).expect("rows")))
        .into()
}

const HIGH: &str = "title = \"Too long | 过长\"\nvalue = \"aht\"\nfire_above = 120\nfor = \"1m\"\nmin_n = 20\n\
                    severity = \"page\"\nrunbook = \"Ask them.\"";
const ROWS: &str = "a/chat/billing=200/50 a/phone/billing=110/30 a/phone/returns=90/20 a/mail/returns=130/100 \
                    b/chat/billing=900/50 c/chat/billing=1/50";

fn said(rules: &Rules, explain: &mut dyn Explain) -> Vec<Change> {
    let mut alerts = Alerts::new(rules);
    let mut out = Vec::new();
    for minute in 5..8 {
        let rows = window(rules, minute, if minute < 7 { ROWS } else { "a/chat/billing=1/30" });
        alerts.advance(&rows, minute * MINUTE, explain, &mut out).expect("rows");
        let saved = alerts.save().expect("saved");
        alerts = Alerts::new(rules);
        alerts.restore(&saved).expect("restored");
    }
    out
}

fn shown(contributors: &[Contributor]) -> String {
    let line = |c: &Contributor| {
        let Contributor { dimension, value, n, share, metric } = c;
        format!("{dimension} {value}: {n}, {share:.3} {metric:?}\n")
    };
    contributors.iter().map(line).collect()
}

fn check(changes: &[Change], expect: Expect) {
    let all = changes.iter().map(|change| {
        format!("{} {}\n{}", change.kind.name(), change.alert.id, shown(&change.alert.contributors))
    });
    expect.assert_eq(&all.collect::<String>());
}

#[test]
fn by_the_other_keys() {
    let rules = rules(HIGH);
    check(
        &said(&rules, &mut Unexplained),
        expect![[r#"
        firing high/a/1970-01-01T00:06:00.000Z
        channel chat: 50, 0.800 Some(200.0)
        channel mail: 100, 0.200 Some(130.0)
        skill billing: 80, 0.902 Some(166.25)
        skill returns: 120, 0.098 Some(123.33333333333333)
        firing high/b/1970-01-01T00:06:00.000Z
        channel chat: 50, 1.000 Some(900.0)
        skill billing: 50, 1.000 Some(900.0)
        resolved high/a/1970-01-01T00:06:00.000Z
        channel chat: 50, 0.800 Some(200.0)
        channel mail: 100, 0.200 Some(130.0)
        skill billing: 80, 0.902 Some(166.25)
        skill returns: 120, 0.098 Some(123.33333333333333)
        resolved high/b/1970-01-01T00:06:00.000Z
        channel chat: 50, 1.000 Some(900.0)
        skill billing: 50, 1.000 Some(900.0)
    "#]],
    );
}

struct Agents;

impl Explain for Agents {
    fn explain(
        &mut self,
        rule: &Rule,
        key: &[String],
        window_ms: (i64, i64),
        _: i64,
    ) -> (Vec<Contributor>, Vec<String>) {
        assert_eq!((rule.name.as_str(), window_ms), ("high", (MINUTE, 6 * MINUTE)));
        let agent = Contributor {
            dimension: "agent_id".to_owned(),
            value: format!("agent-of-{}", key[0]),
            n: 10,
            share: 0.5,
            metric: None,
        };
        (vec![agent], vec!["conversation-1".to_owned()])
    }
}

#[test]
fn an_event_says_all_of_it() {
    let rules = rules(HIGH);
    let changes = said(&rules, &mut Agents);
    let (id, event) = changes[0].event("/headsup/all", 3);
    expect!["3-high/a/1970-01-01T00:06:00.000Z-1"].assert_eq(&id);
    expect![[r#"
        {
          "data": {
            "alert": "high",
            "contributors": [
              {
                "dimension": "channel",
                "metric": 200.0,
                "n": 50,
                "share": 0.8,
                "value": "chat"
              },
              {
                "dimension": "channel",
                "metric": 130.0,
                "n": 100,
                "share": 0.2,
                "value": "mail"
              },
              {
                "dimension": "skill",
                "metric": 166.25,
                "n": 80,
                "share": 0.9024390243902439,
                "value": "billing"
              },
              {
                "dimension": "skill",
                "metric": 123.33333333333333,
                "n": 120,
                "share": 0.0975609756097561,
                "value": "returns"
              },
              {
                "dimension": "agent_id",
                "metric": null,
                "n": 10,
                "share": 0.5,
                "value": "agent-of-a"
              }
            ],
            "generation": 3,
            "group": {
              "shop": "a"
            },
            "group_key": "high/shop=a",
            "kpi": "aht",
            "labels": {
              "shop": "a"
            },
            "latest": 140.5,
            "limit": 120.0,
            "metric": "aht",
            "n": 200,
            "peak": 140.5,
            "peak_at": "1970-01-01T00:05:00.000Z",
            "resolved_at": null,
            "revision": 1,
            "runbook": "Ask them.",
            "severity": "page",
            "since": "1970-01-01T00:05:00.000Z",
            "started_at": "1970-01-01T00:06:00.000Z",
            "state": "firing",
            "title": "Too long | 过长",
            "value": 140.5,
            "window_end": "1970-01-01T00:06:00.000Z",
            "window_start": "1970-01-01T00:01:00.000Z",
            "worst": [
              "conversation-1"
            ]
          },
          "id": "3-high/a/1970-01-01T00:06:00.000Z-1",
          "source": "/headsup/all",
          "specversion": "1.0",
          "subject": "high/a/1970-01-01T00:06:00.000Z",
          "time": "1970-01-01T00:06:00.000Z",
          "type": "alert.firing"
        }"#]]
    .assert_eq(&serde_json::to_string_pretty(&event).expect("JSON"));
    let (id, event) = changes[2].event("/headsup/all", 3);
    expect!["3-high/a/1970-01-01T00:06:00.000Z-2"].assert_eq(&id);
    assert_eq!(event["type"], "alert.resolved");
    assert_eq!(event["data"]["worst"][0], "conversation-1", "what was found stays with the alert");
}

#[test]
fn of_a_count_its_shares() {
    let rules = rules("value = \"contacts\"\nfire_above = 150\n");
    check(
        &said(&rules, &mut Unexplained)[..1],
        expect![[r#"
        firing high/a/1970-01-01T00:05:00.000Z
        channel mail: 100, 0.500 Some(100.0)
        channel chat: 50, 0.250 Some(50.0)
        channel phone: 50, 0.250 Some(50.0)
        skill returns: 120, 0.600 Some(120.0)
        skill billing: 80, 0.400 Some(80.0)
    "#]],
    );
}

#[test]
fn of_too_little() {
    let rules = rules("value = \"aht\"\nfire_below = 5\n");
    check(
        &said(&rules, &mut Unexplained)[..1],
        expect![[r#"
        firing high/c/1970-01-01T00:05:00.000Z
        channel chat: 50, 1.000 Some(1.0)
        skill billing: 50, 1.000 Some(1.0)
    "#]],
    );
}

#[test]
fn of_a_budget_that_burns() {
    let mut shapes = shapes();
    shapes[0].values[1].1 = arrow::datatypes::DataType::Int64;
    let text = "[[alert]]\nname = \"high\"\nkpi = \"aht\"\nby = []\nburn = { good = \"aht\", total = \"contacts\", \
                objective = 0.5, windows = [{ long = \"5m\", short = \"5m\", rate = 1.2 }] }";
    let rules = Rules::parse("alerts.toml", text, &shapes).expect("rules");
    let shape = &rules.shapes[0];
    let row = |keys: [&'static str; 3], good: f64, all: f64| (keys.to_vec(), vec![Some(all), Some(good)]);
    let said = (1, false, 5 * MINUTE);
    let everything = make(shape, &[], 5 * MINUTE, said, &[(vec![], vec![Some(100.0), Some(30.0)])]);
    let fine = [
        row(["a", "chat", "billing"], 1.0, 50.0),
        row(["a", "phone", "billing"], 9.0, 30.0),
        row(["b", "phone", "returns"], 20.0, 20.0),
    ];
    let fine = make(shape, &shape.sets[3], 5 * MINUTE, said, &fine);
    let mut out = Vec::new();
    let mut alerts = Alerts::new(&rules);
    let rows = [(0, everything.expect("rows")), (0, fine.expect("rows"))];
    alerts.advance(&rows, 5 * MINUTE, &mut Unexplained, &mut out).expect("rows");
    check(
        &out,
        expect![[r#"
        firing high/1970-01-01T00:05:00.000Z
        shop a: 80, 1.000 Some(1.75)
        channel chat: 50, 1.000 Some(1.96)
        skill billing: 80, 1.000 Some(1.75)
    "#]],
    );
}

#[test]
fn ids_and_groups_are_unambiguous() {
    let text = "[[alert]]\nname = \"high\"\nkpi = \"aht\"\nvalue = \"aht\"\nby = [\"skill\", \"shop\"]\nfire_above = 1\n\
                group_by = [\"shop\"]";
    let rules = Rules::parse("alerts.toml", text, &shapes()).expect("rules");
    let shape = &rules.shapes[0];
    let rows = [(vec!["a/b", "账单 退款"], vec![Some(9.0), Some(9.0)])];
    let rows = make(shape, &shape.sets[2], 5 * MINUTE, (1, false, 5 * MINUTE), &rows).expect("rows");
    let mut out = Vec::new();
    Alerts::new(&rules).advance(&[(0, rows)], 5 * MINUTE, &mut Unexplained, &mut out).expect("rows");
    expect!["high/账单%20退款/a%2Fb/1970-01-01T00:05:00.000Z"].assert_eq(&out[0].alert.id);
    expect!["high/shop=a%2Fb"].assert_eq(&out[0].group_key());
}

#[test]
fn rows_of_something_else_are_refused() {
    let rules = rules(HIGH);
    let mut alerts = Alerts::new(&rules);
    let mut refused =
        |place: usize, batch: &RecordBatch| alerts.absorb(place, batch).expect_err("refused").to_string();
    let rows = window(&rules, 5, ROWS);
    expect!["these are no rows of KPI levels: expected 10 columns, found 11"]
        .assert_eq(&refused(1, &rows[0].1));
    expect!["these are no rows of KPI at place 9: there is no such KPI"].assert_eq(&refused(9, &rows[0].1));
    let other = make(&rules.shapes[0], &[], 5 * MINUTE + 1, (1, false, 0), &[(vec![], vec![None, None])]);
    expect!["these are no rows of KPI aht: a window that ends at 300001 ms"]
        .assert_eq(&refused(0, &other.expect("rows")));
    let columns = [2, 1, 0, 3, 4, 5, 6, 7, 8, 9, 10];
    let mixed = rows[0].1.project(&columns).expect("columns");
    let text = refused(0, &mixed);
    expect!["these are no rows of KPI aht: column 0 is Utf8, expected a time"].assert_eq(&text);
}

#[test]
fn a_state_of_other_rules_is_refused() {
    let saved = Alerts::new(&rules(HIGH)).save().expect("saved");
    let refused = |rule: &str| Alerts::new(&rules(rule)).restore(&saved).expect_err("refused").to_string();
    expect!["the state is of other alerts: rule high has changed; begin from the start"]
        .assert_eq(&refused(&HIGH.replace("120", "121")));
    Alerts::new(&rules(&HIGH.replace("Ask", "Tell"))).restore(&saved).expect("what to do decides nothing");
    let mut old = saved.clone();
    old[0] = 9;
    let error = Alerts::new(&rules(HIGH)).restore(&old).expect_err("refused");
    expect!["the state is of other alerts: format 9, expected 1; begin from the start"]
        .assert_eq(&error.to_string());
}

/// An agent of the first look, and nothing of later ones.
struct Once(bool);

impl Explain for Once {
    fn explain(
        &mut self,
        rule: &Rule,
        key: &[String],
        _: (i64, i64),
        now_ms: i64,
    ) -> (Vec<Contributor>, Vec<String>) {
        let first = !std::mem::replace(&mut self.0, true);
        if first { Agents.explain(rule, key, (MINUTE, 6 * MINUTE), now_ms) } else { Default::default() }
    }
}

#[test]
fn what_is_not_known_any_more_stays() {
    let rules = rules(HIGH);
    let mut alerts = Alerts::new(&rules);
    let (mut out, mut once) = (Vec::new(), Once(false));
    for minute in 5..8 {
        let rows = window(&rules, minute, "a/chat/billing=200/50");
        alerts.advance(&rows, minute * MINUTE, &mut once, &mut out).expect("rows");
    }
    // A correction of a window that is over, by shop alone.
    let shape = &rules.shapes[0];
    let row = [(vec!["a"], vec![Some(51.0), Some(210.0)])];
    let row = make(shape, &shape.sets[1], 6 * MINUTE, (2, false, 8 * MINUTE), &row).expect("rows");
    alerts.advance(&[(0, row)], 8 * MINUTE, &mut once, &mut out).expect("rows");
    check(
        &out,
        expect![[r#"
        firing high/a/1970-01-01T00:06:00.000Z
        channel chat: 50, 1.000 Some(200.0)
        skill billing: 50, 1.000 Some(200.0)
        agent_id agent-of-a: 10, 0.500 None
        amended high/a/1970-01-01T00:06:00.000Z
        channel chat: 50, 1.000 Some(200.0)
        skill billing: 50, 1.000 Some(200.0)
        agent_id agent-of-a: 10, 0.500 None
        resolved high/a/1970-01-01T00:06:00.000Z
        channel chat: 50, 1.000 Some(200.0)
        skill billing: 50, 1.000 Some(200.0)
        agent_id agent-of-a: 10, 0.500 None
    "#]],
    );
    assert_eq!(out[1].alert.worst, ["conversation-1"]);
}
