//! What the page asks for besides the board: the past of KPIs and alerts, and customers, their tasks, campaigns.

mod backtest;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{Path, Query, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::get;
use headsup_api::{Backend, ReadError, Scope, ScoreQuery, TaskView, Tokens};
use headsup_kpi::{Calendar, Kpi};
use headsup_runtime::Board;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::api::Running;
use crate::sql::{explain, objects, tokio_runtime};
use crate::{Failure, Place, lift, policy};

/// Points of a chart; of more, every n-th is sent.
const POINTS_MAX: i64 = 1_500;
/// Windows of a chart at least, however long they are.
const WINDOWS_MIN: i64 = 12;
/// Rows of a customer's past, of each kind.
const ROWS_MAX: usize = 200;
/// Lift is computed again after so long at the earliest.
const LIFT_EVERY: Duration = Duration::from_secs(60);
/// And where nothing can be said yet, after so long.
const LIFT_AGAIN: Duration = Duration::from_secs(10);
const HOUR_MS: i64 = 3_600_000;
const WEEK_MS: i64 = 7 * 24 * HOUR_MS;

/// Where a run keeps what it has computed, and by what.
pub struct Stored {
    /// The data folder and the configuration.
    pub place: Place,
    /// The run's KPIs.
    pub kpis: Vec<Arc<Kpi>>,
    /// For `business_ms`.
    pub calendar: Arc<Calendar>,
    /// The run's policy, if not the one built in.
    pub policy: Option<PathBuf>,
}

/// What the routes share.
struct Page {
    stored: Stored,
    board: Arc<Board>,
    running: Option<Arc<Running>>,
    /// The pipeline comes first: of all that reads stored files, one at a time.
    turn: Arc<Semaphore>,
    /// What takes long is not waited for: there is one backtest or none.
    backtests: Arc<Semaphore>,
    /// What was found, and until when that holds.
    lifts: Mutex<BTreeMap<String, (Instant, Value)>>,
}

/// The routes. Those that tell of customers want a token of scope `read`; without tokens they are there for this
/// machine only.
pub fn routes(
    stored: Stored,
    board: Arc<Board>,
    running: Option<Arc<Running>>,
    tokens: Option<Tokens>,
    address: IpAddr,
) -> Router {
    let one = || Arc::new(Semaphore::new(1));
    let page =
        Arc::new(Page { stored, board, running, turn: one(), backtests: one(), lifts: Mutex::default() });
    let of_customers = Router::new()
        .route("/live/customers", get(customers))
        .route("/live/customers/{id}", get(customer))
        .route("/live/conversations/{id}", get(conversation))
        .route("/live/campaigns", get(campaigns))
        .route("/live/campaigns/{name}/lift", get(campaign_lift))
        .with_state(page.clone());
    let of_customers = match tokens {
        Some(tokens) => headsup_api::guarded(of_customers, tokens, Scope::Read),
        None if address.is_loopback() => of_customers.route_layer(from_fn(this_machine)),
        None => of_customers.route_layer(from_fn(nobody)),
    };
    Router::new()
        .route("/live/history", get(history))
        .route("/live/alerts", get(alerts))
        .route("/live/alerts/{rule}/backtest", get(backtest::backtest))
        .with_state(page)
        .merge(of_customers)
}

/// Why something is not shown.
struct Refused(StatusCode, String);

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        (self.0, Json(json!({"status": self.0.as_u16(), "detail": self.1}))).into_response()
    }
}

impl From<Failure> for Refused {
    fn from(failure: Failure) -> Self {
        Self(StatusCode::SERVICE_UNAVAILABLE, failure.message)
    }
}

impl From<ReadError> for Refused {
    fn from(error: ReadError) -> Self {
        Self(StatusCode::SERVICE_UNAVAILABLE, error.to_string())
    }
}

type Answer = Result<Json<Value>, Refused>;

/// Lets in who has asked for this machine by its own name, so that no other name can be made to lead here.
async fn this_machine(headers: HeaderMap, request: Request, next: Next) -> Response {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    };
    let name = name.trim_start_matches('[').trim_end_matches(']');
    if name == "localhost" || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback()) {
        return next.run(request).await;
    }
    nobody(request, next).await
}

async fn nobody(_: Request, _: Next) -> Response {
    let detail = "customers are shown to this machine only, as long as there are no tokens; make one, and name its file \
         in api.tokens, see docs/api.md, Tokens";
    Refused(StatusCode::FORBIDDEN, detail.to_owned()).into_response()
}

impl Page {
    /// Does something that takes a while, in a thread of its own, when it is its turn.
    async fn in_turn(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> Result<Value, Failure> + Send + 'static,
    ) -> Answer {
        let turn = self.turn.clone().acquire_owned().await;
        let turn = turn.map_err(|_| Refused::from(Failure::new("headsup is stopping")))?;
        self.aside(turn, work).await
    }

    /// Does it in a thread of its own. The turn lasts until it is done, even if nobody waits for it any more.
    async fn aside<E: Into<Refused> + Send + 'static>(
        self: &Arc<Self>,
        turn: OwnedSemaphorePermit,
        work: impl FnOnce(&Self) -> Result<Value, E> + Send + 'static,
    ) -> Answer {
        let ended = |_| Refused(StatusCode::INTERNAL_SERVER_ERROR, "it has ended unexpectedly".to_owned());
        let page = self.clone();
        let work = move || {
            let _turn = turn;
            work(&page)
        };
        let done = tokio::task::spawn_blocking(work).await.map_err(ended)?;
        Ok(Json(done.map_err(Into::into)?))
    }

    /// The rows of queries over the stored tables, by name; none where a table is not there.
    fn ask(&self, queries: Vec<(String, String)>) -> Result<BTreeMap<String, Vec<Value>>, Failure> {
        let Stored { place, kpis, calendar, .. } = &self.stored;
        let answers = tokio_runtime()?.block_on(async {
            let context = headsup_runtime::session(&place.data, kpis, calendar).await?;
            let mut answers = Vec::new();
            for (name, query) in queries {
                // Of these three nothing is there until somebody is scored.
                let missing = ["scores", "served", "tasks"].iter().any(|table| {
                    query.contains(&format!(" FROM {table} "))
                        && !context.table_exist(*table).unwrap_or(false)
                });
                let batches = if missing { Vec::new() } else { context.sql(&query).await?.collect().await? };
                answers.push((name, batches));
            }
            Ok(answers)
        });
        let answers =
            answers.map_err(|error: datafusion::error::DataFusionError| Failure::new(explain(&error)))?;
        answers.into_iter().map(|(name, batches)| Ok((name, objects(&batches)?))).collect()
    }

    fn running(&self) -> Result<&Running, Refused> {
        self.running.as_deref().ok_or_else(|| {
            let detail =
                "a run over files keeps no scores and tasks at hand; import the files, and run over the log";
            Refused(StatusCode::NOT_FOUND, detail.to_owned())
        })
    }
}

/// A text of SQL.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

#[derive(Deserialize)]
struct HistoryParams {
    /// Else all.
    kpi: Option<String>,
    shop: Option<String>,
    channel: Option<String>,
    skill: Option<String>,
    from_ms: i64,
}

/// Of KPIs, the windows of a series since a time, and the medians of the windows of the same hour a week before.
async fn history(State(page): State<Arc<Page>>, Query(params): Query<HistoryParams>) -> Answer {
    page.in_turn(move |page| page.history(&params)).await
}

impl Page {
    fn history(&self, params: &HistoryParams) -> Result<Value, Failure> {
        let newest: BTreeMap<String, i64> =
            self.board.read(|state| state.kpis.iter().map(|kpi| (kpi.name.clone(), kpi.newest_ms)).collect());
        let mut history = BTreeMap::new();
        for kpi in &self.stored.kpis {
            let newest_ms = newest.get(&kpi.name).copied().unwrap_or(i64::MIN);
            let is_wanted = params.kpi.as_ref().is_none_or(|name| *name == kpi.name);
            let names: Vec<&str> =
                kpi.rows.fields()[3..3 + kpi.key_count].iter().map(|field| field.name().as_str()).collect();
            let asked: Vec<(&str, &str)> =
                [("shop", &params.shop), ("channel", &params.channel), ("skill", &params.skill)]
                    .into_iter()
                    .filter_map(|(name, value)| Some((name, value.as_deref()?)))
                    .collect();
            if !is_wanted || newest_ms == i64::MIN || asked.iter().any(|(name, _)| !names.contains(name)) {
                continue;
            }
            let of = |name: &&str| asked.iter().find(|(asked, _)| asked == name);
            let grouped_by: Vec<&str> = names.iter().copied().filter(|name| of(name).is_some()).collect();
            let keys: Vec<&str> = names.iter().map(|name| of(name).map_or("", |(_, value)| *value)).collect();
            let (size_ms, slide_ms) = (kpi.windowing.size_ms(), kpi.windowing.slide_ms());
            let from_ms = params.from_ms.min(newest_ms - WINDOWS_MIN * size_ms).max(newest_ms - 5 * WEEK_MS);
            // A window that ends on the hour is of the hour before.
            let hour_ms = (newest_ms - 1).div_euclid(HOUR_MS) * HOUR_MS - WEEK_MS;
            let ranges = [(from_ms, newest_ms), (hour_ms, hour_ms + HOUR_MS)];
            let windows =
                headsup_runtime::windows(kpi, &self.stored.place.data, &grouped_by.join(","), &keys, &ranges)
                    .map_err(Failure::from_error)?;
            let step = ((newest_ms - from_ms) / slide_ms / POINTS_MAX).max(0) + 1;
            let points = windows
                .range(from_ms + 1..)
                .filter(|(end_ms, _)| (newest_ms - **end_ms) / slide_ms % step == 0)
                .map(|(end_ms, values)| json!([end_ms, values]));
            let week: Vec<&Vec<Option<f64>>> =
                windows.range(hour_ms + 1..=hour_ms + HOUR_MS).map(|(_, values)| values).collect();
            let values = kpi.rows.fields().len() - 6 - kpi.key_count;
            let medians =
                (0..values).map(|place| median(week.iter().filter_map(|values| values[place]).collect()));
            history.insert(
                kpi.name.clone(),
                json!({
                    "points": points.collect::<Vec<_>>(),
                    "week": (!week.is_empty()).then(|| medians.collect::<Vec<_>>()),
                }),
            );
        }
        Ok(json!(history))
    }
}

/// The middle one, or the mean of the two in the middle.
fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let upper = *values.get(values.len() / 2)?;
    let lower = values[(values.len() - 1) / 2];
    Some(lower + (upper - lower) / 2.0)
}

/// What has become of alerts, the newest first, as it is stored.
async fn alerts(State(page): State<Arc<Page>>) -> Answer {
    page.in_turn(|page| {
        let query = "SELECT alert_id, revision, name, state, severity, kpi, value_name, grouped_by, keys, value, threshold, n, peak, \
             contributors, worst, runbook, arrow_cast(started_at, 'Int64') / 1000 AS started_ms, \
             arrow_cast(resolved_at, 'Int64') / 1000 AS resolved_ms, arrow_cast(at, 'Int64') / 1000 AS at_ms \
             FROM alerts ORDER BY at DESC, alert_id, revision DESC LIMIT 500";
        let mut answers = page.ask(vec![("alerts".to_owned(), query.to_owned())])?;
        let mut rows = answers.remove("alerts").unwrap_or_default();
        for row in &mut rows {
            parse(row, &["keys", "contributors", "worst"]);
        }
        Ok(json!({"changes": rows}))
    })
    .await
}

/// Puts what texts say as JSON in their place.
fn parse(row: &mut Value, names: &[&str]) {
    for name in names {
        row[*name] = row[*name].as_str().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    }
}

#[derive(Deserialize)]
struct CustomerParams {
    model: Option<String>,
    limit: Option<usize>,
}

/// The highest scores, each with the customer's newest task.
async fn customers(State(page): State<Arc<Page>>, Query(params): Query<CustomerParams>) -> Answer {
    let running = page.running()?;
    let limit = params.limit.unwrap_or(100).clamp(1, 1_000);
    let scores = running
        .scores(&ScoreQuery { model: params.model, min_probability: 0.0, limit, cursor: None })?
        .scores;
    let tasks = running.newest_tasks(&scores.iter().map(|score| score.customer_id.as_str()).collect());
    let (models, known) = running.scored();
    Ok(Json(json!({"scores": scores, "tasks": tasks, "models": models, "known": known})))
}

/// All that is known of a customer.
async fn customer(State(page): State<Arc<Page>>, Path(id): Path<String>) -> Answer {
    let (scores, tasks) = match &page.running {
        Some(running) => (running.risk(&id).map_err(ReadError::from)?, running.tasks_of(&id)),
        None => (Vec::new(), Vec::<TaskView>::new()),
    };
    page.in_turn(move |page| {
        let customer = quoted(&id);
        let of = |name: &str, columns: &str, time: &str, and: &str| {
            let query = format!(
                "SELECT {columns} FROM {name} WHERE customer_id = {customer}{and} ORDER BY {time} DESC LIMIT {ROWS_MAX}"
            );
            (name.to_owned(), query)
        };
        let mut answers = page.ask(vec![
            of(
                "contacts",
                "conversation_id, contact, shop, channel, skill, agent_id, intent, order_id, origin, started_at, ended_at, \
                 ended_by, wait_ms, handle_ms, transfers, abandoned, resolved, bot_only",
                "ended_at",
                "",
            ),
            of("orders", "order_id, type, shop, channel, amount_minor, currency, actor, reason, score, at", "at", ""),
            of("ratings", "conversation_id, score, agent_id, rated_at", "rated_at", ""),
            of("scores", "at, model, version, trigger, probability, percentile, reasons", "at", " AND role = 'champion'"),
            of("tasks", "event, at, campaign, arm, task_id, reason, disposition, agent_id, channel", "at, id", ""),
            of("served", "*", "at", " AND role = 'champion'"),
        ])?;
        let served = answers.remove("served").unwrap_or_default();
        let mut features: BTreeMap<String, Value> = BTreeMap::new();
        for row in served {
            // The newest comes first.
            let model = row["model"].as_str().unwrap_or_default().to_owned();
            features.entry(model).or_insert(row);
        }
        let mut past = answers.remove("scores").unwrap_or_default();
        past.iter_mut().for_each(|row| parse(row, &["reasons"]));
        Ok(json!({
            "customer_id": id,
            "scores": scores,
            "tasks": tasks,
            "contacts": answers.remove("contacts"),
            "orders": answers.remove("orders"),
            "ratings": answers.remove("ratings"),
            "past_scores": past,
            "decisions": answers.remove("tasks"),
            "features": features.into_values().collect::<Vec<_>>(),
        }))
    })
    .await
}

/// The facts of a conversation.
async fn conversation(State(page): State<Arc<Page>>, Path(id): Path<String>) -> Answer {
    page.in_turn(move |page| {
        let of = |name: &str, time: &str| {
            let id = quoted(&id);
            let query =
                format!("SELECT * FROM {name} WHERE conversation_id = {id} ORDER BY {time} LIMIT {ROWS_MAX}");
            (name.to_owned(), query)
        };
        let answers =
            page.ask(vec![of("contacts", "ended_at"), of("rounds", "asked_at"), of("ratings", "rated_at")])?;
        Ok(json!(answers))
    })
    .await
}

/// Campaigns: of each, tasks by state, assignments by arm, and why somebody was not contacted.
async fn campaigns(State(page): State<Arc<Page>>) -> Answer {
    let open = page.running.as_ref().map(|running| running.task_states()).unwrap_or_default();
    page.in_turn(move |page| {
        let rules = policy::load(page.stored.policy.as_deref())?;
        let counts = "SELECT campaign, event, arm, reason, count(*) AS n, count(DISTINCT customer_id) AS customers \
             FROM tasks WHERE campaign IS NOT NULL GROUP BY campaign, event, arm, reason ORDER BY campaign, event, arm, reason";
        let mut answers = page.ask(vec![("counts".to_owned(), counts.to_owned())])?;
        let campaigns = rules.campaigns.iter().map(|campaign| {
            json!({
                "name": campaign.name,
                "title": campaign.title,
                "model": campaign.model,
                "control_share": campaign.control_share,
            })
        });
        Ok(json!({
            "campaigns": campaigns.collect::<Vec<_>>(),
            "states": open,
            "counts": answers.remove("counts"),
        }))
    })
    .await
}

/// Whether a campaign helped, as of a minute ago at most.
async fn campaign_lift(State(page): State<Arc<Page>>, Path(name): Path<String>) -> Answer {
    page.in_turn(move |page| {
        let lifts = || page.lifts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((until, lift)) = lifts().get(&name)
            && Instant::now() < *until
        {
            return Ok(lift.clone());
        }
        // What is wrong, such as that no outcome is known yet, is an answer too.
        let found = lift::of_campaign(&page.stored.place, page.stored.policy.as_deref(), &name);
        let (lift, holds) = match found {
            Ok(lift) => (json!({"text": lift.to_string(), "lift": lift}), LIFT_EVERY),
            Err(failure) => (json!({"none": failure.message}), LIFT_AGAIN),
        };
        lifts().insert(name, (Instant::now() + holds, lift.clone()));
        Ok(lift)
    })
    .await
}
