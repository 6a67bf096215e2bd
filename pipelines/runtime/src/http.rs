//! The built-in page, `/metrics`, `/healthz`, `/readyz`, and what the page reads.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State as Shared;
use axum::http::{StatusCode, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{Html, IntoResponse, Json, Response};
use axum::routing::get;
use futures_util::stream;
use headsup_alerts::{Alert, Rule};
use headsup_stream::Accounting;
use serde_json::{Value, json};

use crate::board::Board;
use crate::metrics;
use crate::sink::Sink;

const PAGE: &str = include_str!("../../../dashboards/live/index.html");
/// How often the page is told of changes at most.
const PAGE_EVERY: Duration = Duration::from_millis(250);

/// What is served of a run but its API.
pub fn routes(board: Arc<Board>) -> Router {
    Router::new()
        .route("/", get(|| async { Html(PAGE) }))
        .route("/metrics", get(metrics_page))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/live", get(live))
        .route("/live/events", get(events))
        .with_state(board)
}

async fn metrics_page(Shared(board): Shared<Arc<Board>>) -> Response {
    let state = board.read_series(Clone::clone);
    match metrics::render(&state) {
        Ok(text) => ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

/// Ready once every partition has shown an event, and as long as nothing failed. A sink that
/// is down is said and no reason to send nobody here: the page goes on; unless the input
/// waits for it.
async fn ready(Shared(board): Shared<Arc<Board>>) -> (StatusCode, String) {
    let sink = board.read(|state| state.sink.as_ref().map(Sink::health)).unwrap_or_default();
    let (status, mut text) = board.read(|state| match (&state.failure, state.watermark_ms) {
        (Some(failure), _) => (StatusCode::SERVICE_UNAVAILABLE, format!("failed: {failure}\n")),
        (None, None) => {
            (StatusCode::SERVICE_UNAVAILABLE, "waiting for events of every partition\n".to_owned())
        }
        (None, Some(_)) if sink.full => (StatusCode::SERVICE_UNAVAILABLE, String::new()),
        (None, Some(_)) => (StatusCode::OK, "ready\n".to_owned()),
    });
    if let Some(complaint) = sink.complaint() {
        text += &format!("{complaint}\n");
    }
    (status, text)
}

async fn live(Shared(board): Shared<Arc<Board>>) -> Json<Value> {
    Json(snapshot(&board))
}

/// The same as `/live`, pushed as server-sent events whenever it changes.
async fn events(Shared(board): Shared<Arc<Board>>) -> impl IntoResponse {
    let changes = stream::unfold((board, None), async |(board, seen)| {
        loop {
            let version = board.read(|state| state.version);
            if seen != Some(version) {
                let event = Event::default().data(snapshot(&board).to_string());
                if seen.is_some() {
                    tokio::time::sleep(PAGE_EVERY).await;
                }
                return Some((Ok::<_, Infallible>(event), (board, Some(version))));
            }
            tokio::time::sleep(PAGE_EVERY).await;
        }
    });
    Sse::new(changes).keep_alive(KeepAlive::default())
}

fn alert_json(rule: &Rule, alert: &Alert) -> Value {
    json!({
        "id": alert.id,
        "name": rule.name,
        "title": rule.title,
        "severity": rule.severity.name(),
        "kpi": rule.kpi,
        "metric": rule.value,
        "by": rule.by,
        "key": alert.key,
        "value": alert.episode.value,
        "latest": alert.latest,
        "peak": alert.episode.peak,
        "limit": alert.episode.limit,
        "n": alert.episode.n,
        "started_ms": alert.episode.started_ms,
        "resolved_ms": alert.episode.resolved_ms,
        "contributors": alert.contributors,
        "worst": alert.worst,
        "runbook": rule.runbook,
    })
}

/// What the page shows, as JSON.
fn snapshot(board: &Board) -> Value {
    board.read_series(|state| {
        let mut total = Accounting::default();
        for partition in &state.partitions {
            total += partition.accounting;
        }
        let outcomes: BTreeMap<&str, u64> = total.outcomes().into_iter().collect();
        json!({
            "watermark_ms": state.watermark_ms.filter(|&ms| ms != i64::MAX),
            "ended": state.ended,
            "failure": state.failure,
            "events": {"read": total.read, "pending": total.pending(), "outcomes": outcomes},
            "behind": state.partitions.iter().filter_map(|partition| partition.behind).sum::<u64>(),
            "quarantined": state.quarantined,
            "alerts": state.alerts.firing.values().map(|(rule, alert)| alert_json(rule, alert)).collect::<Vec<_>>(),
            "alert_changes": state.alerts.recent.iter().map(|change| json!({
                "kind": change.kind.name(),
                "at_ms": change.at_ms,
                "alert": alert_json(&change.rule, &change.alert),
            })).collect::<Vec<_>>(),
            "kpis": state.kpis.iter().map(|kpi| json!({
                "name": kpi.name,
                "title": kpi.title,
                "unit": kpi.unit,
                "values": kpi.values,
                "trend": kpi.trend,
                "series": kpi.series.iter().map(|(series, point)| json!({
                    "grouped_by": series.grouped_by,
                    "keys": series.keys,
                    "window_end_ms": point.window_end_ms,
                    "final": point.is_final,
                    "values": point.values,
                })).collect::<Vec<_>>(),
            })).collect::<Vec<_>>(),
        })
    })
}
