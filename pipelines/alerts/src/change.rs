//! What is said about an alert.

use std::sync::Arc;

use headsup_events::format_rfc3339_ms;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::contributors::Contributor;
use crate::life::Episode;
use crate::rules::Rule;

/// An alert, as it was said last.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Alert {
    /// The rule, its series, and when it started as it was said first.
    pub id: String,
    /// Counts what was said of it, from 1.
    pub revision: u64,
    /// Where it is in its life.
    pub state: State,
    /// A value per key in the rule's `by`; empty where the facts have none.
    pub key: Vec<String>,
    /// When it started, as it was said first, in ms.
    pub first_ms: i64,
    /// When it fired, and what was seen then.
    pub episode: Episode,
    /// The value of the newest window, if that says something.
    pub latest: Option<f64>,
    /// Where the rise came from, when that was looked at last.
    pub contributors: Vec<Contributor>,
    /// The conversations that did most for it.
    pub worst: Vec<String>,
}

/// Where an alert is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It fires.
    Firing,
    /// It is over.
    Resolved,
    /// A correction has removed its cause: it should not have fired.
    Withdrawn,
}

/// What has become of an alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// It fires; or, after a correction, again.
    Firing,
    /// A correction has changed when it started or ended, or what was seen.
    Amended,
    /// It is over.
    Resolved,
    /// A correction has removed its cause.
    Withdrawn,
}

impl Kind {
    /// Its name in events.
    pub fn name(self) -> &'static str {
        match self {
            Self::Firing => "firing",
            Self::Amended => "amended",
            Self::Resolved => "resolved",
            Self::Withdrawn => "withdrawn",
        }
    }
}

impl State {
    /// Its name in events.
    pub fn name(self) -> &'static str {
        match self {
            Self::Firing => "firing",
            Self::Resolved => "resolved",
            Self::Withdrawn => "withdrawn",
        }
    }
}

/// A change of an alert.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// What has become of it.
    pub kind: Kind,
    /// The tick at which that was said, in ms of event time.
    pub at_ms: i64,
    /// The rule.
    pub rule: Arc<Rule>,
    /// The alert now.
    pub alert: Alert,
}

impl Change {
    /// Its key values by name, in the order of the rule.
    pub fn labels(&self) -> impl Iterator<Item = (&str, &str)> {
        self.rule.by.iter().map(String::as_str).zip(self.alert.key.iter().map(String::as_str))
    }

    /// What alerts are notified together by: the rule and the values of its `group_by`.
    pub fn group_key(&self) -> String {
        let mut key = self.rule.name.clone();
        for (name, value) in self.labels().filter(|(name, _)| self.is_grouped_by(name)) {
            key += &format!("/{name}={}", escaped(value));
        }
        key
    }

    fn is_grouped_by(&self, name: &str) -> bool {
        self.rule.group_by.iter().any(|other| other == name)
    }

    /// The window in which it started, in ms.
    pub fn window_ms(&self) -> (i64, i64) {
        let end_ms = self.alert.episode.started_ms;
        (end_ms - self.rule.size_ms, end_ms)
    }

    /// The CloudEvent that says so, and its id: the same for the same `generation` whenever it is
    /// said. docs/alerts.md describes it.
    pub fn event(&self, source: &str, generation: u64) -> (String, Value) {
        let Alert { id, revision, state, episode, .. } = &self.alert;
        let event_id = format!("{generation}-{id}-{revision}");
        let object = |wanted: &dyn Fn(&str) -> bool| {
            let pairs = self.labels().filter(|(name, _)| wanted(name));
            pairs.map(|(name, value)| (name.to_owned(), Value::from(value))).collect::<Map<_, _>>()
        };
        let (start_ms, end_ms) = self.window_ms();
        let event = json!({
            "specversion": "1.0",
            "id": event_id,
            "source": source,
            "type": format!("alert.{}", self.kind.name()),
            "subject": id,
            "time": format_rfc3339_ms(self.at_ms),
            "data": {
                "alert": self.rule.name,
                "generation": generation,
                "revision": revision,
                "state": state.name(),
                "severity": self.rule.severity.name(),
                "title": self.rule.title,
                "runbook": self.rule.runbook,
                "kpi": self.rule.kpi,
                "metric": self.rule.value,
                "labels": object(&|_| true),
                "group": object(&|name| self.is_grouped_by(name)),
                "group_key": self.group_key(),
                "since": format_rfc3339_ms(episode.since_ms),
                "started_at": format_rfc3339_ms(episode.started_ms),
                "resolved_at": episode.resolved_ms.map(format_rfc3339_ms),
                "window_start": format_rfc3339_ms(start_ms),
                "window_end": format_rfc3339_ms(end_ms),
                "value": episode.value,
                "n": episode.n,
                "limit": episode.limit,
                "peak": episode.peak,
                "peak_at": format_rfc3339_ms(episode.peak_ms),
                "latest": self.alert.latest,
                "contributors": self.alert.contributors,
                "worst": self.alert.worst,
            },
        });
        (event_id, event)
    }
}

/// The id of an alert of a series that was said first to start then.
pub(crate) fn id_of(rule: &Rule, key: &[String], started_ms: i64) -> String {
    let mut id = rule.name.clone();
    for value in key {
        id.push('/');
        id += &escaped(value);
    }
    id.push('/');
    id + &format_rfc3339_ms(started_ms)
}

/// A value in which nothing looks like what separates values.
fn escaped(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    for c in value.chars() {
        if c.is_control() || c.is_whitespace() || matches!(c, '/' | '%' | '=') {
            let mut bytes = [0; 4];
            for byte in c.encode_utf8(&mut bytes).bytes() {
                out += &format!("%{byte:02X}");
            }
        } else {
            out.push(c);
        }
    }
    out
}
