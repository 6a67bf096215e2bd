//! The built-in page, `/metrics`, `/healthz`, `/readyz`, and what the page reads.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State as Shared;
use axum::http::{StatusCode, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::get;
use futures_util::stream;
use headsup_alerts::{Alert, Rule};
use headsup_stream::Accounting;
use serde_json::{Value, json};

use crate::board::{Board, KpiBoard, Point, State};
use crate::metrics;
use crate::sink::Sink;

/// The page as `npm run build` makes it from the source in dashboards/live; a test holds the two against each other.
const PAGE: &str = include_str!("../../../dashboards/live/dist/index.html");
const SCRIPT: &str = include_str!("../../../dashboards/live/dist/page.js");
const STYLE: &str = include_str!("../../../dashboards/live/dist/page.css");
/// All that the page needs comes from here.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
/// How often the page is told of changes at most.
const PAGE_EVERY: Duration = Duration::from_millis(100);

/// What is served of a run but its API.
pub fn routes(board: Arc<Board>) -> Router {
    Router::new()
        .route("/", get(|| async { asset("text/html; charset=utf-8", PAGE) }))
        .route("/page.js", get(|| async { asset("text/javascript; charset=utf-8", SCRIPT) }))
        .route("/page.css", get(|| async { asset("text/css; charset=utf-8", STYLE) }))
        .route("/metrics", get(metrics_page))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/live", get(live))
        .route("/live/events", get(events))
        .with_state(board)
}

/// A file of the page. Another version of headsup has others of the same name, so browsers ask each time.
fn asset(kind: &'static str, text: &'static str) -> Response {
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::CACHE_CONTROL, "no-cache"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
    ];
    (headers, text).into_response()
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
    Json(Watcher::default().news(&board).1)
}

/// What `/live` says, and whenever something changes, what is new of it, as server-sent events.
async fn events(Shared(board): Shared<Arc<Board>>) -> impl IntoResponse {
    let changes = stream::unfold((board, None, Watcher::default()), async |(board, seen, mut watcher)| {
        if seen.is_some() {
            tokio::time::sleep(PAGE_EVERY).await;
        }
        while seen == Some(board.read(|state| state.version)) {
            tokio::time::sleep(PAGE_EVERY).await;
        }
        let (version, news) = watcher.news(&board);
        let event = Event::default().data(news.to_string());
        Some((Ok::<_, Infallible>(event), (board, Some(version), watcher)))
    });
    Sse::new(changes).keep_alive(KeepAlive::default())
}

/// Somebody who looks at the board, by what they have been told.
#[derive(Default)]
struct Watcher {
    /// Per KPI its `rows`; none if nothing has been told yet.
    rows: Vec<u64>,
    alerts: Value,
}

impl Watcher {
    /// What they do not know yet, and the version of the board that it is of. Everything, the first time; then the
    /// counters, and of KPIs and alerts what has changed.
    fn news(&mut self, board: &Board) -> (u64, Value) {
        board.read_series(|state| {
            let mut news = counters(state);
            let first = self.rows.is_empty();
            self.rows.resize(state.kpis.len(), 0);
            let kpis = state.kpis.iter().zip(&mut self.rows);
            let kpis = kpis.filter(|(kpi, seen)| first || kpi.rows > **seen).map(|(kpi, seen)| {
                let news = kpi_news(kpi, *seen, first);
                *seen = kpi.rows;
                news
            });
            news["kpis"] = kpis.collect();
            let alerts = json!({
                "firing": state.alerts.firing.values().map(|(rule, alert)| alert_json(rule, alert)).collect::<Vec<_>>(),
                "changes": state.alerts.recent.iter().map(|change| json!({
                    "kind": change.kind.name(),
                    "at_ms": change.at_ms,
                    "alert": alert_json(&change.rule, &change.alert),
                })).collect::<Vec<_>>(),
            });
            if self.alerts != alerts {
                news["alerts"] = alerts.clone();
                self.alerts = alerts;
            }
            if first {
                news["rules"] = state.rules.iter().map(|rule| rule_json(rule)).collect();
            }
            (state.version, news)
        })
    }
}

fn kpi_news(kpi: &KpiBoard, seen: u64, first: bool) -> Value {
    let values = |point: &Point| json!([point.window_end_ms, point.is_final, point.values]);
    let is_new = |point: &Point| first || point.changed > seen;
    let series = kpi.series.iter().filter(|(_, point)| is_new(point));
    let mut news = json!({
        "name": kpi.name,
        "newest_ms": (kpi.newest_ms != i64::MIN).then_some(kpi.newest_ms),
        "trend": kpi.trend.iter().filter(|point| is_new(point)).map(values).collect::<Vec<_>>(),
        "series": series.map(|(series, point)| json!([series.grouped_by, series.keys, values(point)])).collect::<Vec<_>>(),
    });
    if first {
        news["title"] = json!(kpi.title);
        news["unit"] = json!(kpi.unit);
        news["keys"] = json!(kpi.keys);
        news["values"] = json!(kpi.values);
        news["size_ms"] = json!(kpi.size_ms);
    }
    news
}

fn rule_json(rule: &Rule) -> Value {
    let mut told = json!(rule);
    told["values"] = json!(rule.values());
    told
}

fn alert_json(rule: &Rule, alert: &Alert) -> Value {
    let episode = &alert.episode;
    json!({
        "id": alert.id,
        "revision": alert.revision,
        "state": alert.state.name(),
        "name": rule.name,
        "title": rule.title,
        "severity": rule.severity.name(),
        "kpi": rule.kpi,
        "metric": rule.value,
        "by": rule.by,
        "key": alert.key,
        "value": episode.value,
        "latest": alert.latest,
        "peak": episode.peak,
        "limit": episode.limit,
        "n": episode.n,
        "started_ms": episode.started_ms,
        "resolved_ms": episode.resolved_ms,
        "contributors": alert.contributors,
        "worst": alert.worst,
        "runbook": rule.runbook,
    })
}

/// How the pipeline is.
fn counters(state: &State) -> Value {
    let mut total = Accounting::default();
    for partition in &state.partitions {
        total += partition.accounting;
    }
    let account = |accounting: &Accounting| {
        let outcomes: BTreeMap<&str, u64> = accounting.outcomes().into_iter().collect();
        json!({"read": accounting.read, "pending": accounting.pending(), "outcomes": outcomes})
    };
    let by_two = |counts: &BTreeMap<(String, String), u64>| {
        counts.iter().map(|((a, b), count)| json!([a, b, count])).collect::<Vec<_>>()
    };
    let (batches, seconds, _) = state.batches;
    let sink = state.sink.as_ref().map(Sink::health).map(|sink| {
        json!({
            "behind_files": sink.behind_files,
            "behind_bytes": sink.behind_bytes,
            "rows": sink.rows,
            "failures": sink.failures,
            "complaint": sink.complaint(),
            "full": sink.full,
        })
    });
    json!({
        "watermark_ms": state.watermark_ms.filter(|&ms| ms != i64::MAX),
        "ended": state.ended,
        "failure": state.failure,
        "events": account(&total),
        "behind": state.partitions.iter().filter_map(|partition| partition.behind).sum::<u64>(),
        "partitions": state.partitions.iter().map(|partition| json!({
            "name": partition.name,
            "events": account(&partition.accounting),
            "latest_ms": partition.latest_ms,
            "behind": partition.behind,
        })).collect::<Vec<_>>(),
        "quarantined": state.quarantined,
        "facts": state.facts,
        "scores": by_two(&state.scores),
        "tasks": by_two(&state.tasks),
        "sizes": state.sizes,
        "batches": {"count": batches, "seconds": seconds},
        "checkpoints": {
            "count": state.checkpoints,
            "bytes": state.checkpoint_bytes,
            "stalls": {
                "count": state.checkpoint_stalls.count,
                "sum": state.checkpoint_stalls.sum,
                "max": state.checkpoint_stalls.max,
            },
        },
        "sink": sink,
        "webhooks": state.webhooks.iter().map(|webhook| json!({
            "name": webhook.name,
            "delivered": webhook.delivered,
            "retried": webhook.retried,
            "dead": webhook.dead,
            "skipped": webhook.skipped,
            "waiting": webhook.waiting,
            "complaint": webhook.complaint,
        })).collect::<Vec<_>>(),
        "alerts_left_out": state.alerts.left_out.iter().map(|(rule, rows, late)| json!([rule, rows, late])).collect::<Vec<_>>(),
        "series_left_out": state.kpis.iter().map(|kpi| kpi.series_over).sum::<u64>(),
    })
}

#[cfg(test)]
mod tests {
    use arrow::array::{
        ArrayRef, BooleanArray, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
    };
    use headsup_kpi::Kpi;

    use super::*;
    use crate::rows::KpiRows;

    const SQL: &str = "-- title: N\n-- unit: n\n-- early: none\nSELECT tumble(ended_at, INTERVAL '1 minute') AS period, shop, count(*) AS contacts \
        FROM contacts GROUP BY GROUPING SETS ((period), (period, shop))";

    /// A row of a window that ends at this minute.
    fn row(kpi: &Arc<Kpi>, minute: i64, shop: Option<&str>, contacts: i64) -> KpiRows {
        let minutes = |minute: i64| -> ArrayRef {
            Arc::new(TimestampMicrosecondArray::from(vec![minute * 60_000_000]).with_timezone("UTC"))
        };
        let columns: Vec<ArrayRef> = vec![
            minutes(minute - 1),
            minutes(minute),
            Arc::new(StringArray::from(vec![shop.map_or("", |_| "shop")])),
            Arc::new(StringArray::from(vec![shop])),
            Arc::new(Int64Array::from(vec![contacts])),
            Arc::new(Int64Array::from(vec![1])),
            Arc::new(BooleanArray::from(vec![false])),
            minutes(minute),
        ];
        let batch = kpi.rows.fields().iter().zip(columns);
        let columns =
            batch.map(|(field, column)| arrow::compute::cast(&column, field.data_type()).expect("castable"));
        let batch = RecordBatch::try_new(kpi.rows.clone(), columns.collect()).expect("rows of the KPI");
        KpiRows::of(kpi, batch).expect("rows of the KPI")
    }

    #[test]
    fn a_watcher_is_told_everything_once_and_then_what_changes() {
        let kpi = Arc::new(Kpi::parse("n.sql", "n", SQL).expect("a KPI"));
        let board = Board::new(std::slice::from_ref(&kpi), 100);
        let absorb = |rows: KpiRows| board.update(|state| state.kpis[0].absorb(&rows));
        absorb(row(&kpi, 1, None, 5));
        absorb(row(&kpi, 1, Some("a"), 3));
        absorb(row(&kpi, 1, Some("b"), 2));

        let mut watcher = Watcher::default();
        let (_, all) = watcher.news(&board);
        assert_eq!(all["kpis"][0]["values"], json!(["contacts"]));
        assert_eq!(all["kpis"][0]["trend"], json!([[60_000, false, [5.0]]]));
        assert_eq!(
            all["kpis"][0]["series"],
            json!([
                ["", [""], [60_000, false, [5.0]]],
                ["shop", ["a"], [60_000, false, [3.0]]],
                ["shop", ["b"], [60_000, false, [2.0]]],
            ])
        );
        assert!(all["rules"].is_array() && all["alerts"].is_object());

        let (_, nothing) = watcher.news(&board);
        assert_eq!(nothing["kpis"], json!([]));
        assert!(nothing.get("alerts").is_none() && nothing.get("rules").is_none());

        // A correction of one series; another watcher has looked meanwhile.
        absorb(row(&kpi, 1, Some("b"), 4));
        let (_, other) = Watcher::default().news(&board);
        assert_eq!(other["kpis"][0]["series"].as_array().map(Vec::len), Some(3));
        let (_, one) = watcher.news(&board);
        assert_eq!(one["kpis"][0]["series"], json!([["shop", ["b"], [60_000, false, [4.0]]]]));
        assert_eq!(one["kpis"][0]["trend"], json!([]));
        assert!(one["kpis"][0].get("title").is_none());
    }
}
