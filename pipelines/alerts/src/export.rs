//! The rules for Prometheus and Alertmanager: the same limits over the metrics of `/metrics`, for
//! those who watch with Grafana.
//!
//! Prometheus sees the newest values only, whenever it looks, and no corrections; so it does not
//! say the same to the second, and withdraws nothing.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use headsup_stream::format_duration_ms;

use crate::rules::{Burn, Condition, Direction, Rule, Rules, Severity, Threshold};

const HEADER: &str = "# Generated from sql/alerts.toml by `headsup alerts export`; change that one.\n";
/// Prometheus does not look more often than this, nor less often than [`INTERVAL_MS_MAX`].
const INTERVAL_MS_MIN: i64 = 10_000;
const INTERVAL_MS_MAX: i64 = 60_000;

/// Rules for Prometheus 2.42 or newer, which has `keep_firing_for`.
pub fn prometheus_rules(rules: &Rules) -> String {
    let mut by_kpi: BTreeMap<&str, Vec<&Rule>> = BTreeMap::new();
    for rule in &rules.rules {
        by_kpi.entry(&rule.kpi).or_default().push(rule);
    }
    let mut out = HEADER.to_owned();
    out += "groups:\n";
    for (kpi, rules) in by_kpi {
        let left_out: Vec<&&Rule> = rules.iter().filter(|rule| expression(rule).is_none()).collect();
        for rule in &left_out {
            out += &format!(
                "  # {} compares with the same hour of weeks before; headsup alone evaluates it, and says so on topic alerts.\n",
                rule.name
            );
        }
        if left_out.len() == rules.len() {
            continue;
        }
        out += &format!(
            "  - name: headsup_{kpi}\n    interval: {}\n    rules:\n",
            format_duration_ms(interval_ms(rules[0]))
        );
        for rule in &rules {
            out += &prometheus_rule(rule).unwrap_or_default();
        }
    }
    out
}

fn prometheus_rule(rule: &Rule) -> Option<String> {
    let mut out = format!("      - alert: {}\n        expr: |\n", rule.name);
    for line in expression(rule)?.lines() {
        out += &format!("          {line}\n");
    }
    if rule.for_ms > 0 {
        out += &format!("        for: {}\n", format_duration_ms(rule.for_ms));
    }
    if rule.keep_firing_for_ms > 0 {
        out += &format!("        keep_firing_for: {}\n", format_duration_ms(rule.keep_firing_for_ms));
    }
    out += &format!("        labels:\n          severity: {}\n        annotations:\n", rule.severity.name());
    for (name, text) in annotations(rule) {
        out += &format!("          {name}: {}\n", quoted(&text));
    }
    Some(out)
}

/// How often Prometheus looks: whenever there can be a new value, within reason.
fn interval_ms(rule: &Rule) -> i64 {
    rule.slide_ms.clamp(INTERVAL_MS_MIN, INTERVAL_MS_MAX)
}

fn metric(rule: &Rule, value: &str) -> String {
    format!("headsup_kpi_{}_{value}{{grouped_by=\"{}\"}}", rule.kpi, rule.grouped_by)
}

/// `None` if Prometheus cannot say it.
fn expression(rule: &Rule) -> Option<String> {
    match &rule.condition {
        Condition::Threshold(threshold) => Some(threshold_expression(rule, threshold)),
        Condition::Burn(burn) => Some(burn_expression(rule, burn)),
        Condition::Baseline(_) => None,
    }
}

fn threshold_expression(rule: &Rule, threshold: &Threshold) -> String {
    let value = metric(rule, &rule.value);
    let enough = match rule.min_n {
        0 => String::new(),
        min_n => format!(" and {} >= {min_n}", metric(rule, &rule.n)),
    };
    let (fire, keep) = match threshold.direction {
        Direction::Above => (">", ">="),
        Direction::Below => ("<", "<="),
    };
    let fires = format!("{value} {fire} {}{enough}", threshold.fire);
    match threshold.clear {
        None => fires,
        Some(clear) => format!(
            "(\n  {fires}\n) or (\n  {value} {keep} {clear}{enough}\n  and on ({}) ALERTS{{alertname=\"{}\", alertstate=\"firing\"}} == 1\n)",
            rule.by.join(", "),
            rule.name
        ),
    }
}

/// Windows overlap, so they are looked at end to end: a subquery with a step of a window's length.
/// Its range ends are both inclusive, hence the millisecond.
fn burn_expression(rule: &Rule, burn: &Burn) -> String {
    let sum = |column: &str, length_ms: i64| {
        format!(
            "sum_over_time({}[{}:{}])",
            metric(rule, column),
            promql_duration(length_ms - 1),
            promql_duration(rule.size_ms)
        )
    };
    let pairs = burn.windows.iter().map(|pair| {
        let burns = |length_ms: i64| {
            let (good, all) = (sum(&burn.good, length_ms), sum(&burn.total, length_ms));
            format!("({all} - {good}) / {all} > {} * (1 - {})", pair.rate, burn.objective)
        };
        format!(
            "(\n  {}\n  and {}\n  and {} >= {}\n)",
            burns(pair.long_ms),
            burns(pair.short_ms),
            sum(&burn.total, pair.long_ms),
            rule.min_n.max(1)
        )
    });
    pairs.collect::<Vec<_>>().join(" or ")
}

/// With every unit, since PromQL has no fractions: `59m59s999ms`.
fn promql_duration(mut ms: i64) -> String {
    let mut out = String::new();
    for (unit, unit_ms) in [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)] {
        if ms >= unit_ms {
            out += &format!("{}{unit}", ms / unit_ms);
            ms %= unit_ms;
        }
    }
    out
}

fn annotations(rule: &Rule) -> Vec<(&'static str, String)> {
    let plain = |text: &str| text.trim().replace("{{", "{{ \"{{\" }}");
    let mut parts = rule.title.split('|');
    let mut all = vec![("summary", plain(parts.next().unwrap_or_default()))];
    if let Some(chinese) = parts.next() {
        all.push(("summary_zh", plain(chinese)));
    }
    all.push(("description", description(rule, |key| format!("{{{{ $labels.{key} }}}}"), "{{ $value }}")));
    if !rule.runbook.is_empty() {
        let is_url = rule.runbook.starts_with("http://") || rule.runbook.starts_with("https://");
        all.push((if is_url { "runbook_url" } else { "runbook" }, plain(&rule.runbook)));
    }
    all
}

fn description(rule: &Rule, label: impl Fn(&str) -> String, value: &str) -> String {
    let keys: Vec<String> = rule.by.iter().map(|key| format!("{key} {}", label(key))).collect();
    let of = if keys.is_empty() { String::new() } else { format!(" of {}", keys.join(", ")) };
    match &rule.condition {
        Condition::Burn(burn) => format!(
            "share of {} that is not {}{of}: {value}, allowed {}",
            burn.total,
            burn.good,
            // As it is written down, not as it is computed.
            (1e9 * (1.0 - burn.objective)).round() / 1e9
        ),
        Condition::Threshold(threshold) => {
            let side = if threshold.direction == Direction::Above { "above" } else { "below" };
            format!("{}{of}: {value} (fires {side} {})", rule.value, threshold.fire)
        }
        Condition::Baseline(_) => format!("{}{of}: {value}", rule.value),
    }
}

/// A text of YAML, in which all that JSON escapes is escaped the same.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// A configuration of Alertmanager, with routes by severity and the rules' groups. Where the
/// receivers are has to be filled in.
pub fn alertmanager(rules: &Rules) -> String {
    let mut out = HEADER.to_owned();
    out += "# Fill in where each receiver is.\n\
            route:\n  receiver: info\n  group_by: [alertname]\n  group_wait: 30s\n  group_interval: 5m\n  repeat_interval: 12h\n  routes:\n";
    for severity in Severity::ALL.into_iter().rev() {
        let (wait, interval, repeat) = match severity {
            Severity::Page => ("10s", "1m", "1h"),
            Severity::Ticket => ("1m", "5m", "12h"),
            Severity::Info => ("5m", "30m", "24h"),
        };
        let _ = write!(
            out,
            "    - receiver: {name}\n      matchers: ['severity=\"{name}\"']\n      group_wait: {wait}\n      group_interval: {interval}\n      repeat_interval: {repeat}\n",
            name = severity.name()
        );
        let of: Vec<_> = rules
            .rules
            .iter()
            .filter(|rule| {
                rule.severity == severity && !rule.group_by.is_empty() && expression(rule).is_some()
            })
            .collect();
        if !of.is_empty() {
            out += "      routes:\n";
        }
        for rule in of {
            let _ = write!(
                out,
                "        - matchers: ['alertname=\"{}\"']\n          group_by: [alertname, {}]\n",
                rule.name,
                rule.group_by.join(", ")
            );
        }
    }
    out += "receivers:\n";
    for severity in Severity::ALL.into_iter().rev() {
        let _ = write!(
            out,
            "  - name: {name}\n    webhook_configs:\n      - url: http://alerts.invalid/{name}\n        send_resolved: true\n",
            name = severity.name()
        );
    }
    out
}

/// Tests of [`prometheus_rules`] for `promtool test rules`: each rule fires, says nothing of too
/// few, goes on between its limits, and ends. `rules_file` is where the rules are, seen from the
/// tests.
pub fn prometheus_tests(rules: &Rules, rules_file: &str) -> String {
    let of: Vec<&Rule> =
        rules.rules.iter().map(|rule| &**rule).filter(|rule| expression(rule).is_some()).collect();
    let mut out = HEADER.to_owned();
    let _ = write!(
        out,
        "rule_files: [{rules_file}]\nevaluation_interval: {}\ntests:\n",
        format_duration_ms(TEST_MS)
    );
    for rule in of {
        let test = match &rule.condition {
            Condition::Threshold(threshold) => threshold_test(rule, threshold),
            Condition::Burn(burn) => burn_test(rule, burn),
            Condition::Baseline(_) => continue,
        };
        out += &test;
    }
    out
}

/// In tests, Prometheus looks so often, at a value each: more often takes minutes to test.
const TEST_MS: i64 = 60_000;

/// Metrics and alerts, step by step.
struct Test<'a> {
    rule: &'a Rule,
    /// Per column, value and how many steps.
    series: BTreeMap<&'a str, Vec<(f64, i64)>>,
    /// When, in ms, and the value of the alert that fires then.
    alerts: Vec<(i64, Option<f64>)>,
    now_ms: i64,
}

impl<'a> Test<'a> {
    fn new(rule: &'a Rule) -> Self {
        Self { rule, series: BTreeMap::new(), alerts: Vec::new(), now_ms: 0 }
    }

    /// For at least so long, these are the values of the columns.
    fn during(&mut self, ms: i64, values: &[(&'a str, f64)]) {
        let steps = (ms as u64).div_ceil(TEST_MS as u64) as i64;
        for &(column, value) in values {
            self.series.entry(column).or_default().push((value, steps));
        }
        self.now_ms += steps * TEST_MS;
    }

    fn expects(&mut self, at_ms: i64, value: Option<f64>) {
        self.alerts.push((at_ms, value));
    }

    fn text(&self, name: &str) -> String {
        let rule = self.rule;
        let labels: Vec<(&str, String)> =
            rule.by.iter().map(|key| (key.as_str(), format!("{key}-1"))).collect();
        let mut out = format!(
            "  - name: {}\n    interval: {}\n    input_series:\n",
            quoted(&format!("{}: {name}", rule.name)),
            format_duration_ms(TEST_MS)
        );
        for (column, runs) in &self.series {
            let mut selector = metric(rule, column).trim_end_matches('}').to_owned();
            labels.iter().for_each(|(key, value)| selector += &format!(",{key}=\"{value}\""));
            let runs: Vec<String> =
                runs.iter().map(|(value, steps)| format!("{value}+0x{}", steps - 1)).collect();
            let _ = write!(out, "      - series: '{selector}}}'\n        values: '{}'\n", runs.join(" "));
        }
        out += "    alert_rule_test:\n";
        for &(at_ms, value) in &self.alerts {
            let _ = write!(
                out,
                "      - alertname: {}\n        eval_time: {}\n",
                rule.name,
                promql_duration(at_ms)
            );
            let Some(value) = value else { continue };
            let _ = write!(
                out,
                "        exp_alerts:\n          - exp_labels:\n              severity: {}\n",
                rule.severity.name()
            );
            // To Prometheus an empty label is none.
            if !rule.grouped_by.is_empty() {
                out += &format!("              grouped_by: {}\n", quoted(&rule.grouped_by));
            }
            labels.iter().for_each(|(key, value)| out += &format!("              {key}: {value}\n"));
            out += "            exp_annotations:\n";
            for (name, text) in annotations(rule) {
                let text = match name {
                    "description" => description(rule, |key| format!("{key}-1"), &value.to_string()),
                    _ => text.replace("{{ \"{{\" }}", "{{"),
                };
                let _ = writeln!(out, "              {name}: {}", quoted(&text));
            }
        }
        out
    }
}

fn threshold_test(rule: &Rule, threshold: &Threshold) -> String {
    let sign = threshold.direction.sign();
    let beyond = |limit: f64, sign: f64| rounded(limit + sign * (limit.abs() / 16.0).max(1.0 / 16.0));
    let clear_limit = threshold.clear.unwrap_or(threshold.fire);
    let (mut hot, calm) = (beyond(threshold.fire, sign), beyond(clear_limit, -sign));
    let between = rounded((threshold.fire + clear_limit) / 2.0);
    let enough = rule.min_n.max(1) as f64;
    // A count says itself whether it is enough.
    let is_count = rule.n == rule.value;
    if is_count {
        hot = hot.max(rule.min_n as f64);
    }
    let with_n = |value: f64, n: f64| {
        if is_count || rule.min_n == 0 {
            vec![(rule.value.as_str(), value)]
        } else {
            vec![(rule.value.as_str(), value), (rule.n.as_str(), n)]
        }
    };
    let mut test = Test::new(rule);
    test.during(3 * TEST_MS, &with_n(calm, enough));
    let hot_ms = test.now_ms;
    test.during(rule.for_ms + 2 * TEST_MS, &with_n(hot, enough));
    if rule.for_ms >= TEST_MS {
        test.expects(hot_ms + rule.for_ms - TEST_MS, None);
    }
    test.expects(test.now_ms - TEST_MS, Some(hot));
    let is_enough = !is_count || between >= rule.min_n as f64;
    if is_enough && threshold.clear.is_some_and(|clear| clear != threshold.fire) {
        test.during(rule.keep_firing_for_ms + 3 * TEST_MS, &with_n(between, enough));
        test.expects(test.now_ms - TEST_MS, Some(between));
    }
    let calm_ms = test.now_ms;
    test.during(rule.keep_firing_for_ms + 3 * TEST_MS, &with_n(calm, enough));
    if rule.keep_firing_for_ms > TEST_MS {
        test.expects(
            calm_ms + rule.keep_firing_for_ms - TEST_MS,
            Some(kept(test.series[rule.value.as_str()].as_slice())),
        );
    }
    test.expects(test.now_ms - TEST_MS, None);
    let mut out = test.text("fires, goes on between its limits, and ends");
    if !is_count && rule.min_n > 0 {
        let mut few = Test::new(rule);
        few.during(rule.for_ms + 5 * TEST_MS, &with_n(hot, enough - 1.0));
        few.expects(few.now_ms - TEST_MS, None);
        out += &few.text("too few say nothing");
    }
    out
}

/// The value that Prometheus shows of an alert whose expression is no longer true: the last one.
fn kept(runs: &[(f64, i64)]) -> f64 {
    runs.len().checked_sub(2).map_or(0.0, |last| runs[last].0)
}

fn burn_test(rule: &Rule, burn: &Burn) -> String {
    let long_ms = burn.longest_ms();
    let windows = (long_ms / rule.size_ms).max(1);
    let all = rule.min_n.max(100) as f64;
    let values = |good: f64, all: f64| [(burn.good.as_str(), good), (burn.total.as_str(), all)];
    let mut test = Test::new(rule);
    test.during(long_ms, &values(all, all));
    test.expects(test.now_ms - TEST_MS, None);
    // All of the long window fails.
    test.during(long_ms + rule.for_ms, &values(0.0, all));
    test.expects(test.now_ms - TEST_MS, Some(1.0));
    // All of it is good.
    test.during(long_ms + rule.keep_firing_for_ms + 2 * TEST_MS, &values(all, all));
    test.expects(test.now_ms - TEST_MS, None);
    let mut out = test.text("burns, and is good again");
    let few = ((rule.min_n - 1) / windows) as f64;
    if few >= 1.0 {
        let mut test = Test::new(rule);
        test.during(long_ms + rule.for_ms, &values(0.0, few));
        test.expects(test.now_ms - TEST_MS, None);
        out += &test.text("too few say nothing");
    }
    out
}

/// Such a number as somebody writes down, which both sides print the same.
fn rounded(value: f64) -> f64 {
    (value * 1e6).round() / 1e6
}
