//! The rules that come with headsup.

use arrow::datatypes::DataType;

use super::MINUTE;
use crate::{Cases, KpiShape, Rules};

/// The KPIs of `sql/kpis` that rules are about.
pub(super) fn shapes() -> Vec<KpiShape> {
    let names = |list: &[&str]| list.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let shape =
        |name: &str, title: &str, (slide, size, corrections): (i64, i64, i64), values: &[&str]| KpiShape {
            name: name.to_owned(),
            title: title.to_owned(),
            keys: names(&["shop", "channel", "skill"]),
            sets: [
                &[] as &[&str],
                &["shop"],
                &["channel"],
                &["skill"],
                &["shop", "skill"],
                &["shop", "channel", "skill"],
            ]
            .map(names)
            .to_vec(),
            values: values
                .iter()
                .map(|name| match name.strip_suffix(':') {
                    Some(name) => (name.to_owned(), DataType::Float64),
                    None => ((*name).to_owned(), DataType::Int64),
                })
                .collect(),
            size_ms: size,
            slide_ms: slide,
            offset_ms: 0,
            corrections_ms: corrections,
        };
    let five = (MINUTE, 5 * MINUTE, 10 * MINUTE);
    let queue = (MINUTE / 6, MINUTE / 6, 0);
    let half_hour = (MINUTE, 30 * MINUTE, 10 * MINUTE);
    vec![
        shape(
            "abandonment",
            "Abandonment | 放弃率",
            five,
            &["queued", "abandoned", "short_abandons", "abandonment_rate:"],
        ),
        shape(
            "aht",
            "Average handle time | 平均处理时长",
            five,
            &["contacts", "handle_ms", "aht_ms:", "p90_ms:"],
        ),
        shape("backlog", "Backlog | 积压", queue, &["backlog", "longest_wait_ms", "open_contacts"]),
        shape("csat", "Customer satisfaction | 满意度", half_hour, &["ratings", "satisfied", "csat_rate:"]),
        shape("frt", "First response time | 首响时长", five, &["replied", "frt_ms:", "answered", "asa_ms:"]),
        shape(
            "service_level",
            "Service level | 服务水平",
            five,
            &["offered", "answered_in_time", "service_level:"],
        ),
    ]
}

pub(super) fn rules() -> Rules {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../sql/alerts.toml");
    let text = std::fs::read_to_string(path).expect("readable");
    Rules::parse("sql/alerts.toml", &text, &shapes()).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn they_are_right() {
    let rules = rules();
    let names: Vec<&str> = rules.rules.iter().map(|rule| rule.name.as_str()).collect();
    assert_eq!(names[0], "aht_high");
    assert_eq!(names.len(), 8, "{names:?}");
    for rule in &rules.rules {
        assert!(rule.title.contains('|'), "{} has no Chinese title", rule.name);
        assert!(!rule.runbook.is_empty(), "{} does not say what to do", rule.name);
    }
}

#[test]
fn their_tests_pass() {
    let rules = rules();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../sql/alerts_test.toml");
    let text = std::fs::read_to_string(path).expect("readable");
    let cases = Cases::parse("sql/alerts_test.toml", &text, &rules).unwrap_or_else(|error| panic!("{error}"));
    let outcomes = cases.run(&rules);
    let failed: Vec<String> =
        outcomes.iter().filter(|outcome| !outcome.differences.is_empty()).map(ToString::to_string).collect();
    assert!(failed.is_empty(), "\n{}", failed.join("\n"));
    for rule in &rules.rules {
        assert!(cases.cases.iter().any(|case| case.rule == *rule), "{} has no test", rule.name);
    }
}

/// What docs/alerts.md shows is so.
#[test]
fn examples_of_the_documentation_hold() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/alerts.md");
    let text = std::fs::read_to_string(path).expect("readable");
    let examples: Vec<&str> =
        text.split("```toml\n").skip(1).map(|rest| rest.split("```").next().expect("an example")).collect();
    let [rule, test] = examples.as_slice() else { panic!("{examples:?}") };
    let shown = Rules::parse("docs/alerts.md", rule, &shapes()).unwrap_or_else(|error| panic!("{error}"));
    let mut ours = (*rules().rules[0]).clone();
    ours.runbook.clone_from(&shown.rules[0].runbook);
    assert_eq!(*shown.rules[0], ours);
    let cases = Cases::parse("docs/alerts.md", test, &shown).unwrap_or_else(|error| panic!("{error}"));
    let outcome = cases.run(&shown).pop().expect("a test");
    assert!(outcome.differences.is_empty(), "{outcome}");
}
