//! Tasks: their feed, and what becomes of them.

#![expect(unused_qualifications, reason = "utoipa writes them")]

use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::header::{ETAG, IF_MATCH};
use axum::http::{HeaderMap, HeaderName};
use axum::response::{IntoResponse, Json, Response};
use headsup_tasks::task::{Cancelled, Disposition, TaskError, Transition};
use serde::Deserialize;
use tokio::time::Instant;
use utoipa::{IntoParams, ToSchema};

use crate::act::{Act, IfMatch};
use crate::body;
use crate::guard::Caller;
use crate::model::{Feed, TaskView};
use crate::params::{ID_MAX, Id, Params, text, within};
use crate::problem::{Kind, Problem};
use crate::reads::hundred;
use crate::routes::Shared;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const KEY_MAX: usize = 128;
const NAME_MAX: usize = 256;
const REASON_MAX: usize = 1000;

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct FeedParams {
    /// The cursor of the answer before; else from the first event that is kept.
    #[param(min_length = 1, max_length = 512, pattern = "^[^\\x00-\\x1f\\x7f-\\x9f]+$", nullable = false)]
    cursor: Option<String>,
    /// So many at most.
    #[serde(default = "hundred")]
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: usize,
    /// If there is nothing, how long to wait for something, in seconds.
    #[serde(default)]
    #[param(minimum = 0, maximum = 60, default = 0)]
    wait: u64,
}

/// Who it is about.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"agent_id": "a-7"}))]
pub(crate) struct Agent {
    /// The agent.
    #[schema(min_length = 1, max_length = 256)]
    agent_id: Option<String>,
}

/// Why an agent does not.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"reason": "busy", "retryable": true}))]
pub(crate) struct Rejection {
    /// Why.
    #[schema(min_length = 1, max_length = 1000)]
    reason: String,
    /// Whether it may be offered again.
    retryable: bool,
}

/// How a contact went.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"disposition": "solved", "channel": "app"}))]
pub(crate) struct Completion {
    /// How it went.
    #[schema(value_type = Outcome)]
    disposition: Disposition,
    /// By which channel.
    #[schema(min_length = 1, max_length = 256)]
    channel: Option<String>,
}

/// How a contact went.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
#[expect(dead_code, reason = "it is only described")]
pub(crate) enum Outcome {
    Solved,
    Informed,
    Declined,
    NoAnswer,
    Other,
}

/// Nothing else is to be said.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({}))]
pub(crate) struct Nothing {}

/// Events of tasks, in the order of the log; waits for one if asked to.
#[utoipa::path(get, path = "/v1/tasks", operation_id = "feed", tag = "tasks", params(FeedParams),
    responses((status = 200, description = "What came behind the cursor; nothing if nothing did.", body = Feed)),
    security(("token" = ["read"])))]
pub(crate) async fn feed(
    State(shared): State<Arc<Shared>>,
    Params(params): Params<FeedParams>,
) -> Result<Json<Feed>, Problem> {
    let cursor = text("cursor", params.cursor, ID_MAX)?;
    let limit = within("limit", params.limit, 1, 1000)?;
    let until = Instant::now() + Duration::from_secs(within("wait", params.wait, 0, 60)?);
    let mut changes = shared.backend.feed_changes();
    loop {
        // What is added behind this line is a change.
        changes.mark_unchanged();
        let feed = shared.backend.feed(cursor.as_deref(), limit)?;
        if !feed.events.is_empty() {
            return Ok(Json(feed));
        }
        let changed = tokio::select! {
            changed = changes.changed() => changed.is_ok(),
            () = tokio::time::sleep_until(until) => false,
            () = shared.options.stop.wait() => false,
        };
        if !changed {
            return Ok(Json(feed));
        }
    }
}

/// A task as it stands.
#[utoipa::path(get, path = "/v1/tasks/{id}", operation_id = "task", tag = "tasks",
    params(("id" = String, Path, description = "The task's id.", min_length = 1, max_length = 512, pattern = "^[^\\x00-\\x1f\\x7f-\\x9f]+$")),
    responses((status = 200, description = "The task.", body = TaskView,
        headers(("ETag" = String, description = "Its revision in quotes.")))),
    security(("token" = ["read"])))]
pub(crate) async fn task(State(shared): State<Arc<Shared>>, Id(task_id): Id) -> Result<Response, Problem> {
    match shared.backend.task(&task_id)? {
        Some(task) => Ok(answer(task)),
        None => Err(Problem::new(Kind::UnknownTask, TaskError::Unknown { task_id }.to_string())),
    }
}

fn answer(task: TaskView) -> Response {
    ([(ETAG, format!("\"{}\"", task.revision))], Json(task)).into_response()
}

/// Who asks for what.
pub(crate) struct Asked {
    task_id: String,
    key: String,
    if_match: Option<IfMatch>,
    by: String,
}

/// A request that changes a task, without its body.
type Parts = (State<Arc<Shared>>, Id, Extension<Caller>, HeaderMap);

fn asked((_, Id(task_id), Extension(Caller(by)), headers): &Parts) -> Result<Asked, Problem> {
    let wrong = |detail: String| Problem::new(Kind::Header, detail);
    let mut keys = headers.get_all(IDEMPOTENCY_KEY).iter();
    let is_key = |key: &[u8]| (1..=KEY_MAX).contains(&key.len()) && key.iter().all(u8::is_ascii_graphic);
    let key = match (keys.next(), keys.next()) {
        (Some(key), None) if is_key(key.as_bytes()) => String::from_utf8_lossy(key.as_bytes()).into_owned(),
        _ => {
            let detail = format!(
                "there has to be one header Idempotency-Key of 1 to {KEY_MAX} visible ASCII characters, the same when the request is sent again"
            );
            return Err(wrong(detail));
        }
    };
    let tags: Vec<&[u8]> = headers.get_all(IF_MATCH).iter().map(|value| value.as_bytes()).collect();
    let if_match = if tags.is_empty() {
        None
    } else {
        let read = std::str::from_utf8(&tags.join(&b", "[..])).ok().and_then(IfMatch::parse);
        let detail = || wrong("If-Match is malformed; give the task's ETag, such as \"1\"".to_owned());
        Some(read.ok_or_else(detail)?)
    };
    Ok(Asked { task_id: task_id.clone(), key, if_match, by: by.to_string() })
}

async fn act<T: for<'de> Deserialize<'de>>(
    parts: Parts,
    body: Body,
    transition: impl FnOnce(T) -> Result<Transition, Problem>,
) -> Result<Response, Problem> {
    let Asked { task_id, key, if_match, by } = asked(&parts)?;
    let (State(shared), .., headers) = parts;
    let transition = transition(body::json(&shared, &headers, body).await?)?;
    let act = Act { task_id, key, if_match, transition, by };
    let backend = shared.backend.clone();
    let done = tokio::task::spawn_blocking(move || backend.act(&act));
    Ok(answer(done.await.map_err(|_| Problem::internal())??))
}

/// A text of a body that says something.
fn said(name: &str, text: String, most: usize) -> Result<String, Problem> {
    if text.is_empty() || text.chars().count() > most {
        let detail = format!("{name} is empty or longer than {most} characters");
        return Err(Problem::new(Kind::Content, detail));
    }
    Ok(text)
}

fn agent(agent: Agent) -> Result<Option<String>, Problem> {
    agent.agent_id.map(|id| said("agent_id", id, NAME_MAX)).transpose()
}

/// An agent has the task before them.
#[utoipa::path(post, path = "/v1/tasks/{id}/offer", operation_id = "offer", tag = "tasks",
    request_body = Agent, responses((status = 200, description = "The task behind it.", body = TaskView)),
    security(("token" = ["act"])))]
pub(crate) async fn offer(
    state: State<Arc<Shared>>,
    id: Id,
    caller: Extension<Caller>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    act((state, id, caller, headers), body, |said: Agent| Ok(Transition::Offered { agent_id: agent(said)? }))
        .await
}

/// An agent does it.
#[utoipa::path(post, path = "/v1/tasks/{id}/accept", operation_id = "accept", tag = "tasks",
    request_body = Agent, responses((status = 200, description = "The task behind it.", body = TaskView)),
    security(("token" = ["act"])))]
pub(crate) async fn accept(
    state: State<Arc<Shared>>,
    id: Id,
    caller: Extension<Caller>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    act((state, id, caller, headers), body, |said: Agent| Ok(Transition::Accepted { agent_id: agent(said)? }))
        .await
}

/// An agent does not.
#[utoipa::path(post, path = "/v1/tasks/{id}/reject", operation_id = "reject", tag = "tasks",
    request_body = Rejection, responses((status = 200, description = "The task behind it.", body = TaskView)),
    security(("token" = ["act"])))]
pub(crate) async fn reject(
    state: State<Arc<Shared>>,
    id: Id,
    caller: Extension<Caller>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    act((state, id, caller, headers), body, |rejection: Rejection| {
        let reason = said("reason", rejection.reason, REASON_MAX)?;
        Ok(Transition::Rejected { reason, retryable: rejection.retryable })
    })
    .await
}

/// The customer was contacted.
#[utoipa::path(post, path = "/v1/tasks/{id}/complete", operation_id = "complete", tag = "tasks",
    request_body = Completion, responses((status = 200, description = "The task behind it.", body = TaskView)),
    security(("token" = ["act"])))]
pub(crate) async fn complete(
    state: State<Arc<Shared>>,
    id: Id,
    caller: Extension<Caller>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    act((state, id, caller, headers), body, |completion: Completion| {
        let channel = completion.channel.map(|channel| said("channel", channel, NAME_MAX)).transpose()?;
        Ok(Transition::Completed { disposition: completion.disposition, channel })
    })
    .await
}

/// The task is not needed any more: somebody says so.
#[utoipa::path(post, path = "/v1/tasks/{id}/cancel", operation_id = "cancel", tag = "tasks",
    request_body = Nothing, responses((status = 200, description = "The task behind it.", body = TaskView)),
    security(("token" = ["act"])))]
pub(crate) async fn cancel(
    state: State<Arc<Shared>>,
    id: Id,
    caller: Extension<Caller>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    act((state, id, caller, headers), body, |Nothing {}| {
        Ok(Transition::Cancelled { reason: Cancelled::ByHand })
    })
    .await
}
