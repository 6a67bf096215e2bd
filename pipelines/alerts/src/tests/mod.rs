//! Tests of what several files do together.

mod defaults;
mod exported;
mod lives;
mod mistakes;
mod oracle;
mod parts;
mod past;
mod tuned;

use std::fmt::Write as _;

use arrow::array::RecordBatch;
use arrow::datatypes::DataType;

use crate::rows::{Made, make};
use crate::{Alerts, Change, KpiShape, Rules, Unexplained};

const MINUTE: i64 = 60_000;

/// `aht` by minute over 5 minutes, with corrections for 4; `levels`, which tumbles every
/// 5 minutes, without; `calls` by minute over 3; `hourly`.
fn shapes() -> Vec<KpiShape> {
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let mut shapes = vec![
        KpiShape {
            name: "aht".to_owned(),
            title: "Average handle time | 平均处理时长".to_owned(),
            keys: names(&["shop", "channel", "skill"]),
            sets: vec![
                names(&[]),
                names(&["shop"]),
                names(&["shop", "skill"]),
                names(&["shop", "channel", "skill"]),
            ],
            values: vec![("contacts".to_owned(), DataType::Int64), ("aht".to_owned(), DataType::Float64)],
            size_ms: 5 * MINUTE,
            slide_ms: MINUTE,
            offset_ms: 0,
            corrections_ms: 4 * MINUTE,
        },
        KpiShape {
            name: "levels".to_owned(),
            title: "Service level | 服务水平".to_owned(),
            keys: names(&["shop"]),
            sets: vec![names(&[]), names(&["shop"])],
            values: vec![
                ("offered".to_owned(), DataType::Int64),
                ("good".to_owned(), DataType::Int64),
                ("level".to_owned(), DataType::Float64),
            ],
            size_ms: 5 * MINUTE,
            slide_ms: 5 * MINUTE,
            offset_ms: 0,
            corrections_ms: 0,
        },
    ];
    shapes.push(KpiShape {
        name: "calls".to_owned(),
        size_ms: 3 * MINUTE,
        slide_ms: MINUTE,
        offset_ms: 0,
        corrections_ms: 4 * MINUTE,
        ..shapes[1].clone()
    });
    shapes.push(KpiShape {
        name: "hourly".to_owned(),
        size_ms: 60 * MINUTE,
        slide_ms: 60 * MINUTE,
        offset_ms: 0,
        corrections_ms: 120 * MINUTE,
        ..shapes[0].clone()
    });
    shapes
}

/// One rule over KPI `aht` by shop, with these further keys.
pub(crate) fn rules(text: &str) -> Rules {
    let text = format!("[[alert]]\nname = \"high\"\nkpi = \"aht\"\nby = [\"shop\"]\n{text}");
    Rules::parse("alerts.toml", &text, &shapes()).unwrap_or_else(|error| panic!("{error}"))
}

/// Rows of the rule's KPI: a line per tick, its minute and then `[window:]shop=value/n` for each
/// row; without a window, that which ends then. `-` is a value that is missing.
fn batches(rules: &Rules, script: &str) -> Vec<(i64, Vec<(usize, RecordBatch)>)> {
    let rule = &rules.rules[0];
    let shape = &rules.shapes[rule.kpi_place()];
    // Also of a script that goes on from another one.
    let mut revision =
        script.split_whitespace().next().and_then(|minute| minute.parse().ok()).unwrap_or(0) * 100;
    let mut ticks = Vec::new();
    for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let mut words = line.split_whitespace();
        let minute: i64 = words.next().expect("a minute").parse().expect("a number");
        let mut rows = Vec::new();
        for word in words {
            revision += 1;
            let (series, value) = word.split_once('=').expect("shop=value");
            let (window, shop) = match series.split_once(':') {
                Some((window, shop)) => (window.parse().expect("a minute"), shop),
                None => (minute, series),
            };
            let (value, n) = value.split_once('/').expect("value/n");
            let number = |text: &str| (text != "-").then(|| text.parse::<f64>().expect("a number"));
            let made: Made<'_> = match shape.name.as_str() {
                "aht" => (vec![shop], vec![number(n), number(value)]),
                _ => (vec![shop], vec![number(n), number(value), None]),
            };
            let said = (revision, false, minute * MINUTE);
            let batch = make(shape, &["shop".to_owned()], window * MINUTE, said, &[made]);
            rows.push((rule.kpi_place(), batch.expect("rows")));
        }
        ticks.push((minute * MINUTE, rows));
    }
    ticks
}

/// What is said at the ticks of a script, a line each.
fn said(rules: &Rules, script: &str) -> Vec<Change> {
    let mut alerts = Alerts::new(rules);
    let mut out = Vec::new();
    for (at_ms, rows) in batches(rules, script) {
        alerts.advance(&rows, at_ms, &mut Unexplained, &mut out).expect("rows");
        // A saved state goes on the same.
        let saved = alerts.save().expect("saved");
        alerts = Alerts::new(rules);
        alerts.restore(&saved).expect("restored");
        assert_eq!(alerts.save().expect("saved"), saved);
    }
    out
}

fn shown(changes: &[Change]) -> String {
    let mut text = String::new();
    for change in changes {
        let alert = &change.alert;
        let episode = &alert.episode;
        let minute = |ms: i64| ms as f64 / MINUTE as f64;
        let started = alert.id.rsplit_once('/').expect("an id").1.get(11..16).expect("a time");
        write!(
            text,
            "{} {} {} #{} {started}: since {} started {}",
            minute(change.at_ms),
            change.kind.name(),
            alert.key.join(","),
            alert.revision,
            minute(episode.since_ms),
            minute(episode.started_ms)
        )
        .expect("written");
        if let Some(ms) = episode.resolved_ms {
            write!(text, " resolved {}", minute(ms)).expect("written");
        }
        let limit = (episode.limit * 1e6).round() / 1e6;
        let value = (episode.value * 1e6).round() / 1e6;
        let peak = (episode.peak * 1e6).round() / 1e6;
        writeln!(
            text,
            ", {value} of {} against {limit}, peak {peak} at {}",
            episode.n,
            minute(episode.peak_ms)
        )
        .expect("written");
    }
    text
}
