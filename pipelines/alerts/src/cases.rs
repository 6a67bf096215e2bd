//! Tests of rules, as data: what windows say, and what is expected of the rule.

use std::fmt;
use std::sync::Arc;

use headsup_events::parse_rfc3339_ms;
use headsup_stream::{format_duration_ms, parse_duration_ms};
use serde::Deserialize;
use toml::Spanned;

use crate::alerts::{Alerts, Unexplained};
use crate::change::Change;
use crate::rows::make;
use crate::rules::{Condition, Mistake, Rule, Rules, RulesError, hint};

/// A file of tests.
#[derive(Debug, Clone)]
pub struct Cases {
    /// In the order of the file.
    pub cases: Vec<Case>,
}

/// A test of a rule: one series, window by window.
#[derive(Debug, Clone)]
pub struct Case {
    /// What it shows.
    pub name: String,
    /// The rule.
    pub rule: Arc<Rule>,
    /// Line of the file, from 1.
    pub line: usize,
    /// Time 0 of the test, in ms. The first window ends at the first end of a window after it.
    start_ms: i64,
    rows: Vec<Row>,
    until_ms: i64,
    expect: Vec<Expected>,
}

/// A row: when it is said, the end of its window, the value and n.
#[derive(Debug, Clone, Copy)]
struct Row {
    at_ms: i64,
    end_ms: i64,
    value: Option<f64>,
    n: Option<f64>,
}

#[derive(Debug, Clone)]
struct Expected {
    at_ms: i64,
    kind: String,
    fields: Vec<(String, f64)>,
}

/// What became of a test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The rule.
    pub alert: String,
    /// The test.
    pub name: String,
    /// Line of the file, from 1.
    pub line: usize,
    /// What was expected and what came, a line each, `-` before what is missing and `+` before what
    /// is too much; empty if they are the same.
    pub differences: Vec<String>,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { alert, name, line, differences } = self;
        let what = if differences.is_empty() { "ok" } else { "FAILED" };
        write!(f, "{alert}: {name} (line {line}): {what}")?;
        differences.iter().try_for_each(|line| write!(f, "\n  {line}"))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    test: Vec<Spanned<Table>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    alert: Spanned<String>,
    name: Spanned<String>,
    start: Option<Spanned<String>>,
    values: Spanned<String>,
    #[serde(default)]
    corrections: Vec<Spanned<String>>,
    until: Option<Spanned<String>>,
    expect: Vec<Spanned<String>>,
}

/// A Monday.
const START: &str = "2026-01-05T00:00:00Z";
/// Windows of a test at most.
const WINDOWS_MAX: usize = 200_000;
/// What can be expected of a change besides when it comes.
const FIELDS: [&str; 5] = ["value", "n", "limit", "peak", "revision"];

impl Cases {
    /// Reads a file of tests of these rules. `file` is how messages call it.
    ///
    /// # Errors
    /// Everything that is wrong with it; of a file that is no such TOML, the first.
    pub fn parse(file: &str, text: &str, rules: &Rules) -> Result<Self, RulesError> {
        let line =
            |at: usize| text.as_bytes()[..at.min(text.len())].iter().filter(|&&b| b == b'\n').count() + 1;
        let mistake =
            |(at, message): (usize, String)| Mistake { file: file.to_owned(), line: Some(line(at)), message };
        let tables: File = toml::from_str(text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start);
            RulesError(vec![mistake((at, error.message().to_owned()))])
        })?;
        let (mut cases, mut mistakes) = (Vec::new(), Vec::new());
        for table in tables.test {
            let line = line(table.span().start);
            match case(table.into_inner(), line, rules) {
                Ok(case) => cases.push(case),
                Err(wrong) => mistakes.extend(wrong.into_iter().map(mistake)),
            }
        }
        if mistakes.is_empty() { Ok(Self { cases }) } else { Err(RulesError(mistakes)) }
    }

    /// Runs all tests.
    pub fn run(&self, rules: &Rules) -> Vec<Outcome> {
        self.cases.iter().map(|case| case.run(rules)).collect()
    }
}

/// Times of tests are at most ten years from their start.
fn duration_ms(text: &str) -> Option<i64> {
    parse_duration_ms(text).filter(|&ms| ms <= 10 * 366 * 86_400_000)
}

type Mistakes = Vec<(usize, String)>;

fn case(table: Table, line: usize, rules: &Rules) -> Result<Case, Mistakes> {
    let at = table.alert.span().start;
    let Some(rule) = rules.rules.iter().find(|rule| rule.name == *table.alert.get_ref()) else {
        let there =
            hint(table.alert.get_ref(), "there are", rules.rules.iter().map(|rule| rule.name.as_str()));
        return Err(vec![(at, format!("no rule \"{}\"{there}", table.alert.get_ref()))]);
    };
    let mut mistakes = Vec::new();
    let start = table.start.as_ref().map_or(START, |start| start.get_ref());
    let start_ms = parse_rfc3339_ms(start).unwrap_or_else(|| {
        let at = table.start.as_ref().map_or(at, |start| start.span().start);
        mistakes.push((at, format!("start: expected a time such as \"{START}\", found \"{start}\"")));
        0
    });
    let shape = &rules.shapes[rule.kpi_place];
    let first_ms = shape.last_end(start_ms) + rule.slide_ms;
    let mut rows = Vec::new();
    match values(table.values.get_ref()) {
        Ok(values) => {
            for (place, value) in values.into_iter().enumerate() {
                if let Some((value, n)) = value {
                    let end_ms = first_ms + place as i64 * rule.slide_ms;
                    rows.push(Row { at_ms: end_ms, end_ms, value, n: n.or(Some(1e9)) });
                }
            }
        }
        Err(message) => mistakes.push((table.values.span().start, message)),
    }
    for correction in &table.corrections {
        match correction_of(correction.get_ref()) {
            Some((at_ms, end_ms, value, n)) => {
                let (at_ms, end_ms) = (start_ms + at_ms, start_ms + end_ms);
                if shape.last_end(end_ms) != end_ms {
                    let found = format_duration_ms(end_ms - start_ms);
                    mistakes.push((correction.span().start, format!("no window ends at {found}")));
                }
                rows.push(Row { at_ms, end_ms, value, n: n.or(Some(1e9)) });
            }
            None => mistakes.push((
                correction.span().start,
                format!(
                    "expected \"when: end of window = value/n\", such as \"8m: 5m = 119/21\", found \"{}\"",
                    correction.get_ref()
                ),
            )),
        }
    }
    rows.sort_by_key(|row| row.at_ms);
    let last_ms = rows.last().map_or(start_ms, |row| row.at_ms);
    let until_ms = match &table.until {
        Some(until) => match duration_ms(until.get_ref()) {
            Some(ms) => start_ms + ms,
            None => {
                mistakes.push((until.span().start, format!("until: no duration \"{}\"", until.get_ref())));
                last_ms
            }
        },
        None => last_ms,
    };
    let mut expect = Vec::new();
    for expected in &table.expect {
        match expected_of(start_ms, expected.get_ref()) {
            Ok(expected) => expect.push(expected),
            Err(message) => mistakes.push((expected.span().start, message)),
        }
    }
    if !mistakes.is_empty() {
        return Err(mistakes);
    }
    let name = table.name.into_inner();
    Ok(Case { name, rule: rule.clone(), line, start_ms, rows, until_ms, expect })
}

type Value = (Option<f64>, Option<f64>);

/// `120/20 -x3 130x2`: a value and n per window, `-` for none, `x` how many times.
fn values(text: &str) -> Result<Vec<Option<Value>>, String> {
    let mut values = Vec::new();
    for word in text.split_whitespace() {
        let (value, times) = match word.rsplit_once('x') {
            Some((value, times)) => (value, times.parse().ok()),
            None => (word, Some(1usize)),
        };
        let parsed = if value == "-" { Some(None) } else { value_of(value).map(Some) };
        let (Some(value), Some(times)) = (parsed, times) else {
            return Err(format!(
                "expected a value with n and how many times, such as 130000/25x3, or - for no row, found {word}"
            ));
        };
        if values.len().saturating_add(times) > WINDOWS_MAX {
            return Err(format!("more than {WINDOWS_MAX} windows"));
        }
        values.extend(std::iter::repeat_n(value, times));
    }
    Ok(values)
}

/// `130/25`, `130`, `null/25`.
fn value_of(text: &str) -> Option<Value> {
    let (value, n) = match text.split_once('/') {
        Some((value, n)) => (value, Some(n.trim().parse::<f64>().ok().filter(|n| n.is_finite())?)),
        None => (text, None),
    };
    let value = match value.trim() {
        "null" => None,
        value => Some(value.parse::<f64>().ok().filter(|value| value.is_finite())?),
    };
    Some((value, n))
}

/// `8m: 5m = 119/21`.
fn correction_of(text: &str) -> Option<(i64, i64, Option<f64>, Option<f64>)> {
    let (at, rest) = text.split_once(':')?;
    let (end, value) = rest.split_once('=')?;
    let (value, n) = value_of(value.trim())?;
    Some((duration_ms(at)?, duration_ms(end)?, value, n))
}

/// `7m firing value=130000 n=25`.
fn expected_of(start_ms: i64, text: &str) -> Result<Expected, String> {
    let mut words = text.split_whitespace();
    let after = words.next().unwrap_or_default();
    let after_ms = duration_ms(after).ok_or_else(|| {
        format!("expected when and what, such as \"7m firing value=130\", found \"{text}\"")
    })?;
    let kinds = ["firing", "amended", "resolved", "withdrawn"];
    let kind = words.next().unwrap_or_default();
    if !kinds.contains(&kind) {
        return Err(format!("no change \"{kind}\"{}", hint(kind, "there are", kinds)));
    }
    let mut fields = Vec::new();
    for word in words {
        let (name, number) = word.split_once('=').unwrap_or((word, ""));
        if !FIELDS.contains(&name) {
            return Err(format!("a change has no \"{name}\"{}", hint(name, "it has", FIELDS)));
        }
        match number.parse() {
            Ok(number) => fields.push((name.to_owned(), number)),
            Err(_) => return Err(format!("{name}: expected a number, found \"{number}\"")),
        }
    }
    Ok(Expected { at_ms: start_ms + after_ms, kind: kind.to_owned(), fields })
}

impl Case {
    /// Runs it: its rule alone, with one series.
    pub fn run(&self, rules: &Rules) -> Outcome {
        let came = match self.changes(rules) {
            Ok(changes) => changes,
            Err(message) => return self.outcome(vec![format!("! {message}")]),
        };
        let mut differences = Vec::new();
        let mut came = came.iter().peekable();
        let mut any = false;
        for expected in &self.expect {
            // What comes before, and is not expected.
            while let Some(change) = came.next_if(|change| {
                (change.at_ms, change.kind.name()) != (expected.at_ms, &expected.kind)
                    && change.at_ms <= expected.at_ms
            }) {
                any = true;
                differences.push(format!("+ {}", self.shown(change)));
            }
            let after = |ms: i64| format_duration_ms(ms - self.start_ms);
            let mut line = format!("{} {}", after(expected.at_ms), expected.kind);
            expected.fields.iter().for_each(|(name, number)| line += &format!(" {name}={number}"));
            let found =
                came.next_if(|change| (change.at_ms, change.kind.name()) == (expected.at_ms, &expected.kind));
            match found {
                Some(change)
                    if expected.fields.iter().all(|(name, number)| is_near(field(change, name), *number)) =>
                {
                    differences.push(format!("  {line}"));
                }
                Some(change) => {
                    any = true;
                    differences.push(format!("- {line}"));
                    differences.push(format!("+ {}", self.shown(change)));
                }
                None => {
                    any = true;
                    differences.push(format!("- {line}"));
                }
            }
        }
        for change in came {
            any = true;
            differences.push(format!("+ {}", self.shown(change)));
        }
        self.outcome(if any { differences } else { Vec::new() })
    }

    fn outcome(&self, differences: Vec<String>) -> Outcome {
        Outcome { alert: self.rule.name.clone(), name: self.name.clone(), line: self.line, differences }
    }

    fn changes(&self, rules: &Rules) -> Result<Vec<Change>, String> {
        let one = Rules { rules: vec![self.rule.clone()], shapes: rules.shapes.clone() };
        let shape = &rules.shapes[self.rule.kpi_place];
        let value = match &self.rule.condition {
            Condition::Burn(burn) => &burn.good,
            _ => &self.rule.value,
        };
        let set: Vec<String> =
            self.rule.grouped_by.split(',').filter(|key| !key.is_empty()).map(str::to_owned).collect();
        let mut alerts = Alerts::without_contributors(&one);
        let mut batches = Vec::new();
        for (revision, row) in self.rows.iter().enumerate() {
            // Of a count, the value is its own n.
            let of = |name: &String| {
                if name == value { row.value } else { row.n.filter(|_| *name == self.rule.n) }
            };
            let values = shape.values.iter().map(|(name, _)| of(name)).collect();
            let said = (revision as i64 + 1, false, row.at_ms);
            let keys = set.iter().map(String::as_str).collect();
            let batch =
                make(shape, &set, row.end_ms, said, &[(keys, values)]).map_err(|error| error.to_string())?;
            batches.push((self.rule.kpi_place, batch));
        }
        let mut out = Vec::new();
        let until_ms = self.until_ms.max(self.rows.last().map_or(self.start_ms, |row| row.at_ms));
        alerts.advance(&batches, until_ms, &mut Unexplained, &mut out).map_err(|error| error.to_string())?;
        Ok(out)
    }

    fn shown(&self, change: &Change) -> String {
        let mut line = format!("{} {}", format_duration_ms(change.at_ms - self.start_ms), change.kind.name());
        FIELDS.iter().for_each(|name| line += &format!(" {name}={}", field(change, name)));
        line
    }
}

fn field(change: &Change, name: &str) -> f64 {
    let episode = &change.alert.episode;
    match name {
        "value" => episode.value,
        "n" => episode.n as f64,
        "limit" => episode.limit,
        "peak" => episode.peak,
        _ => change.alert.revision as f64,
    }
}

/// As near as somebody writes a number down.
fn is_near(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-6 * a.abs().max(b.abs()).max(1e-3)
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::tests::rules;

    #[test]
    fn differences_are_shown() {
        let rules = rules("value = \"aht\"\nfire_above = 120\nmin_n = 20\n");
        let text = "[[test]]\nalert = \"high\"\nname = \"up and down\"\nvalues = \"130/20 130/20 110 null/20 140/30\"\n\
                    corrections = [\"4m: 1m = 121.5/21\"]\n\
                    expect = [\"1m firing value=130\", \"2m resolved\", \"5m firing n=31\", \"7m resolved\"]";
        let cases = Cases::parse("alerts_test.toml", text, &rules).expect("right");
        let outcomes = cases.run(&rules);
        expect![[r#"
            high: up and down (line 1): FAILED
                1m firing value=130
              - 2m resolved
              + 3m resolved value=130 n=20 limit=120 peak=130 revision=2
              + 4m amended value=121.5 n=21 limit=120 peak=130 revision=3
              - 5m firing n=31
              + 5m firing value=140 n=30 limit=120 peak=140 revision=1
              - 7m resolved"#]]
        .assert_eq(&outcomes[0].to_string());
    }

    #[test]
    fn mistakes() {
        let rules = rules("value = \"aht\"\nfire_above = 120\n");
        let check =
            |text: &str| Cases::parse("alerts_test.toml", text, &rules).expect_err("mistakes").to_string();
        expect!["alerts_test.toml: line 3: unknown field `nme`, expected one of `alert`, `name`, `start`, `values`, `corrections`, `until`, `expect`"].assert_eq(&check("[[test]]\nalert = \"high\"\nnme = \"a\""));
        let text = r#"
            [[test]]
            alert = "hihg"
            name = "a"
            values = ""
            expect = []

            [[test]]
            alert = "high"
            name = "b"
            start = "yesterday"
            values = "1/2 3/x"
            corrections = ["soon", "3m: 90s = 3/4"]
            until = "late"
            expect = ["firing", "3m fires", "3m firing size=3", "3m firing n=some"]

            [[test]]
            alert = "high"
            name = "c"
            values = "1x1000000"
            expect = []
        "#;
        expect![[r#"
            alerts_test.toml: line 3: no rule "hihg"; did you mean "high"?
            alerts_test.toml: line 11: start: expected a time such as "2026-01-05T00:00:00Z", found "yesterday"
            alerts_test.toml: line 12: expected a value with n and how many times, such as 130000/25x3, or - for no row, found 3/x
            alerts_test.toml: line 13: expected "when: end of window = value/n", such as "8m: 5m = 119/21", found "soon"
            alerts_test.toml: line 13: no window ends at 90s
            alerts_test.toml: line 14: until: no duration "late"
            alerts_test.toml: line 15: expected when and what, such as "7m firing value=130", found "firing"
            alerts_test.toml: line 15: no change "fires"; there are firing, amended, resolved, withdrawn
            alerts_test.toml: line 15: a change has no "size"; it has value, n, limit, peak, revision
            alerts_test.toml: line 15: n: expected a number, found "some"
            alerts_test.toml: line 20: more than 200000 windows"#]].assert_eq(&check(text));
    }
}
