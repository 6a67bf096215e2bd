//! Events of producers.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Json;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::body;
use crate::cloudevents::{self, Mode};
use crate::model::{EventAnswer, EventStatus};
use crate::problem::Problem;
use crate::routes::Shared;

/// What became of events.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({
    "accepted": 1, "refused": 1, "answers": [
        {"index": 0, "id": "m-8", "status": "accepted"},
        {"index": 1, "id": "m-9", "status": "refused", "reason": "missing_field", "detail": "data has no customer_id"}
    ]
}))]
pub(crate) struct Taken {
    /// How many were taken.
    accepted: usize,
    /// How many were not.
    refused: usize,
    /// For each event, in the order of the request.
    answers: Vec<EventAnswer>,
}

/// A CloudEvent as docs/events.md has it. What else is wrong with one is said in its answer.
#[derive(ToSchema)]
#[schema(example = json!({
    "specversion": "1.0", "id": "m-8", "source": "chat", "type": "conversation.message", "subject": "conv-1",
    "time": "2026-03-02T10:00:00Z",
    "data": {"customer_id": "c-1042", "shop": "north", "channel": "app", "role": "customer"}
}))]
#[expect(dead_code, reason = "it is only described")]
pub(crate) struct Event {
    /// Always `1.0`.
    specversion: String,
    /// With the source it identifies the event: the same pair again changes nothing.
    id: String,
    /// Who says so.
    source: String,
    /// Such as `conversation.message`.
    #[schema(rename = "type")]
    kind: String,
    /// The conversation's or order's id.
    subject: Option<String>,
    /// When it happened, RFC 3339 with an offset.
    #[schema(format = DateTime)]
    time: Option<String>,
    /// By type.
    #[schema(value_type = Option<Object>)]
    data: Option<Value>,
}

/// Takes events; the good ones of a batch if some are bad.
///
/// One CloudEvent in structured mode, up to 10,000 as a batch, or one in binary mode, which is
/// `application/json` with the attributes in headers `ce-…`.
#[utoipa::path(post, path = "/v1/events", operation_id = "events", tag = "events",
    params(
        ("ce-specversion" = Option<String>, Header, description = "Binary mode: always 1.0.", nullable = false),
        ("ce-id" = Option<String>, Header, description = "Binary mode: the event's id.", nullable = false),
        ("ce-source" = Option<String>, Header, description = "Binary mode: who says so.", nullable = false),
        ("ce-type" = Option<String>, Header, description = "Binary mode: the type.", nullable = false),
        ("ce-subject" = Option<String>, Header, description = "Binary mode: the subject.", nullable = false),
        ("ce-time" = Option<String>, Header, description = "Binary mode: the time.", nullable = false),
    ),
    request_body(content(
        (Event = "application/cloudevents+json"),
        (Vec<Event> = "application/cloudevents-batch+json"),
        (Value = "application/json"),
    ), description = "One event, a batch of them, or the data of one."),
    responses((status = 200, description = "What became of each.", body = Taken)),
    security(("token" = ["ingest"])))]
pub(crate) async fn events(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Taken>, Problem> {
    let mode = Mode::of(&body::media_type(&headers)?, &headers)?;
    let (bytes, place) = body::bytes(&shared, &headers, body).await?;
    let events = cloudevents::events(mode, &headers, &bytes)?;
    let backend = shared.backend.clone();
    let taken = tokio::task::spawn_blocking(move || {
        let _place = place;
        backend.ingest(events)
    });
    let mut answers = taken.await.map_err(|_| Problem::internal())??;
    for (index, answer) in answers.iter_mut().enumerate() {
        answer.index = index;
    }
    let accepted = answers.iter().filter(|answer| answer.status == EventStatus::Accepted).count();
    Ok(Json(Taken { accepted, refused: answers.len() - accepted, answers }))
}
