//! When the rule of an alert would have fired with other values, and when it did.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use headsup_alerts::{Fired, Rule, Rules, diff};
use serde_json::{Value, json};

use super::{Answer, Page, Refused};
use crate::past::{self, History};

/// Days that are looked at, if nothing is said of it.
const DAYS: i64 = 7;
const DAYS_MAX: i64 = 92;
/// Of more, only the newest are sent.
const EPISODES_MAX: usize = 200;
/// The processor is the pipeline's.
const TIME_MAX: Duration = Duration::from_secs(60);
const DAY_MS: i64 = 86_400_000;

/// Over the last `days` of which rows are stored; all else that is asked for are values of the rule, named as in
/// alerts.toml.
pub(super) async fn backtest(
    State(page): State<Arc<Page>>,
    Path(name): Path<String>,
    Query(asked): Query<Vec<(String, String)>>,
) -> Answer {
    let rules = Rules {
        rules: page.board.read(|state| state.rules.clone()),
        shapes: headsup_runtime::shapes(&page.stored.kpis).into(),
    };
    let wrong = |message: String| Refused(StatusCode::BAD_REQUEST, message);
    let Some(rule) = rules.rules.iter().find(|rule| rule.name == name) else {
        return Err(Refused(StatusCode::NOT_FOUND, format!("there is no rule \"{name}\"")));
    };
    let (days, changes): (Vec<_>, Vec<_>) = asked.into_iter().partition(|(key, _)| key == "days");
    let days = match days.last() {
        None => DAYS,
        Some((_, text)) => {
            text.parse().ok().filter(|days| (1..=DAYS_MAX).contains(days)).ok_or_else(|| {
                wrong(format!("days: expected a whole number from 1 to {DAYS_MAX}, found {text:?}"))
            })?
        }
    };
    let rule = rules.tuned(rule, &changes).map_err(wrong)?;
    let turn = page.backtests.clone().try_acquire_owned().map_err(|_| {
        let detail = "another rule is being tried on the past; try again when that is done";
        Refused(StatusCode::SERVICE_UNAVAILABLE, detail.to_owned())
    })?;
    page.aside(turn, move |page| page.backtest(rule, days)).await
}

impl Page {
    fn backtest(&self, rule: Rule, days: i64) -> Result<Value, Refused> {
        let (place, kpis) = (&self.stored.place, &self.stored.kpis);
        let rules =
            Rules { rules: vec![Arc::new(rule.clone())], shapes: headsup_runtime::shapes(kpis).into() };
        let history = History::of(&place.data, kpis, &rules)?;
        let Some(last_ms) = history.last_day_ms() else {
            let detail = format!("no rows of KPI {} are stored yet", rule.kpi);
            return Err(Refused(StatusCode::NOT_FOUND, detail));
        };
        let from_ms = last_ms.saturating_sub((days - 1) * DAY_MS);
        // What it says at first depends on what was before; and what fires then may have begun the day before.
        let before_ms = from_ms.saturating_sub(rule.looks_back_ms() + DAY_MS);
        let would = history.since(before_ms).backtest(&rules, Some(Instant::now() + TIME_MAX))?;
        let mut did = past::fired(&place.data, kpis, &self.stored.calendar)?;
        did.retain(|fired| fired.rule == rule.name);

        let diff = diff(&did, &would.fired);
        let pairs = diff.same.iter().map(|(did, would)| ("same", Some(*did), Some(*would)));
        let pairs = pairs.chain(diff.moved.iter().map(|(did, would)| ("moved", Some(*did), Some(*would))));
        let pairs = pairs.chain(diff.gone.iter().map(|did| ("only_did", Some(*did), None)));
        let pairs = pairs.chain(diff.new.iter().map(|would| ("only_would", None, Some(*would))));
        let is_in = |fired: &&Fired| fired.episode.resolved_ms.is_none_or(|over_ms| over_ms > from_ms);
        let mut episodes = Vec::new();
        let mut counts: BTreeMap<&str, usize> =
            ["same", "moved", "only_did", "only_would", "did", "would"].map(|name| (name, 0)).into();
        for (kind, did, would) in pairs {
            if !did.iter().chain(&would).any(is_in) {
                continue;
            }
            for (name, is_of) in [(kind, true), ("did", did.is_some()), ("would", would.is_some())] {
                *counts.entry(name).or_default() += usize::from(is_of);
            }
            let Some(shown) = would.or(did) else { continue };
            let labels: BTreeMap<&String, &String> =
                shown.labels.iter().map(|(key, value)| (key, value)).collect();
            let row = json!({"kind": kind, "labels": labels, "did": did.map(told), "would": would.map(told)});
            episodes.push((shown.episode.started_ms, row));
        }
        // The newest first.
        episodes.sort_by_key(|(started_ms, _)| Reverse(*started_ms));
        let more = episodes.len().saturating_sub(EPISODES_MAX);
        let episodes: Vec<Value> = episodes.into_iter().map(|(_, row)| row).take(EPISODES_MAX).collect();
        Ok(json!({
            "rule": rule.name,
            "values": rule.values(),
            "days": days,
            "from_ms": from_ms,
            "to_ms": would.span_ms.map_or(last_ms, |(_, to_ms)| to_ms),
            "counts": counts,
            "episodes": episodes,
            "more": more,
        }))
    }
}

fn told(fired: &Fired) -> Value {
    let episode = &fired.episode;
    json!({
        "from_ms": episode.started_ms,
        "to_ms": episode.resolved_ms,
        "value": episode.value,
        "peak": episode.peak,
        "limit": episode.limit,
        "n": episode.n,
    })
}
