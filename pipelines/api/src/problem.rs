//! What went wrong, as RFC 9457 has it.

use std::time::Duration;

use axum::http::header::{CONNECTION, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use headsup_tasks::TaskError;
use serde::Serialize;
use utoipa::ToSchema;

use crate::act::ActError;
use crate::backend::{ReadError, Unavailable};
use crate::model::TaskState;

/// The media type of problems.
pub(crate) const PROBLEM_JSON: &str = "application/problem+json";

/// Why a request was not answered (RFC 9457).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(example = json!({
    "type": "urn:headsup:impossible", "title": "the task cannot become that", "status": 409,
    "detail": "task late-parcels-5f3c2a is completed and cannot become offered; it is over, and nothing becomes of it any more",
    "allowed": []
}))]
pub struct Problem {
    /// Which kind of problem: `urn:headsup:` and a name, see docs/api.md.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// The kind in words.
    pub title: &'static str,
    /// The status of the answer.
    #[schema(minimum = 400, maximum = 599)]
    pub status: u16,
    /// What exactly, and what to do.
    pub detail: String,
    /// Only of `impossible`: what the task can become.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub allowed: Option<Vec<TaskState>>,
    /// Only of `revision`: the task's.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub revision: Option<u32>,
    #[serde(skip)]
    headers: Vec<(HeaderName, HeaderValue)>,
}

/// All kinds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Query,
    Path,
    Header,
    Json,
    Token,
    Scope,
    NoSuchPath,
    UnknownCustomer,
    UnknownTask,
    Method,
    Slow,
    Impossible,
    Gone,
    Revision,
    TooLarge,
    MediaType,
    Content,
    KeyReused,
    Rate,
    Internal,
    Unavailable,
}

impl Kind {
    /// Its name, status and title.
    fn parts(self) -> (&'static str, StatusCode, &'static str) {
        match self {
            Self::Query => ("urn:headsup:query", StatusCode::BAD_REQUEST, "the query is malformed"),
            Self::Path => ("urn:headsup:path", StatusCode::BAD_REQUEST, "the path is malformed"),
            Self::Header => {
                ("urn:headsup:header", StatusCode::BAD_REQUEST, "a header is missing or malformed")
            }
            Self::Json => ("urn:headsup:json", StatusCode::BAD_REQUEST, "the body is not JSON"),
            Self::Token => ("urn:headsup:token", StatusCode::UNAUTHORIZED, "there is no valid token"),
            Self::Scope => ("urn:headsup:scope", StatusCode::FORBIDDEN, "the token does not allow it"),
            Self::NoSuchPath => ("urn:headsup:no-such-path", StatusCode::NOT_FOUND, "there is nothing here"),
            Self::UnknownCustomer => {
                ("urn:headsup:unknown-customer", StatusCode::NOT_FOUND, "nobody scored the customer")
            }
            Self::UnknownTask => ("urn:headsup:unknown-task", StatusCode::NOT_FOUND, "there is no such task"),
            Self::Method => {
                ("urn:headsup:method", StatusCode::METHOD_NOT_ALLOWED, "the path has other methods")
            }
            Self::Slow => ("urn:headsup:slow", StatusCode::REQUEST_TIMEOUT, "the body took too long"),
            Self::Impossible => {
                ("urn:headsup:impossible", StatusCode::CONFLICT, "the task cannot become that")
            }
            Self::Gone => ("urn:headsup:gone", StatusCode::GONE, "what is behind the cursor is gone"),
            Self::Revision => {
                ("urn:headsup:revision", StatusCode::PRECONDITION_FAILED, "the task has changed")
            }
            Self::TooLarge => {
                ("urn:headsup:too-large", StatusCode::PAYLOAD_TOO_LARGE, "the body is too large")
            }
            Self::MediaType => (
                "urn:headsup:media-type",
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "the body is of another media type",
            ),
            Self::Content => {
                ("urn:headsup:content", StatusCode::UNPROCESSABLE_ENTITY, "the body says something else")
            }
            Self::KeyReused => (
                "urn:headsup:key-reused",
                StatusCode::UNPROCESSABLE_ENTITY,
                "the key belongs to another request",
            ),
            Self::Rate => ("urn:headsup:rate", StatusCode::TOO_MANY_REQUESTS, "there are too many requests"),
            Self::Internal => {
                ("urn:headsup:internal", StatusCode::INTERNAL_SERVER_ERROR, "something went wrong")
            }
            Self::Unavailable => ("urn:headsup:unavailable", StatusCode::SERVICE_UNAVAILABLE, "not now"),
        }
    }
}

impl Problem {
    pub(crate) fn new(kind: Kind, detail: impl Into<String>) -> Self {
        let (name, status, title) = kind.parts();
        let problem = Self {
            kind: name,
            title,
            status: status.as_u16(),
            detail: detail.into(),
            allowed: None,
            revision: None,
            headers: Vec::new(),
        };
        match kind {
            // What was not read stands between this request and the next.
            Kind::Slow | Kind::TooLarge => problem.with(CONNECTION, HeaderValue::from_static("close")),
            _ => problem,
        }
    }

    pub(crate) fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// No or no valid token.
    pub(crate) fn token(detail: &str, challenge: &'static str) -> Self {
        Self::new(Kind::Token, detail).with(WWW_AUTHENTICATE, HeaderValue::from_static(challenge))
    }

    /// To be tried again.
    pub(crate) fn later(kind: Kind, detail: impl Into<String>, after: Duration) -> Self {
        let seconds = after.as_millis().div_ceil(1000).clamp(1, 86_400) as u64;
        Self::new(kind, detail).with(RETRY_AFTER, seconds.into())
    }

    /// What the call of a [`crate::Backend`] came to, if its thread did not end as it should.
    pub(crate) fn internal() -> Self {
        Self::new(Kind::Internal, "the request was given up within headsup; see its log, and try again")
    }
}

impl IntoResponse for Problem {
    fn into_response(mut self) -> Response {
        let headers = std::mem::take(&mut self.headers);
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        // Texts and numbers are always JSON.
        let body = serde_json::to_string(&self).unwrap_or_default();
        let mut response = (status, [(CONTENT_TYPE, PROBLEM_JSON)], body).into_response();
        response.headers_mut().extend(headers);
        response
    }
}

impl From<Unavailable> for Problem {
    fn from(error: Unavailable) -> Self {
        Self::later(Kind::Unavailable, error.to_string(), error.retry_after)
    }
}

impl From<ReadError> for Problem {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::BadCursor => Self::new(Kind::Query, error.to_string()),
            ReadError::Gone => Self::new(Kind::Gone, error.to_string()),
            ReadError::Unavailable(error) => error.into(),
        }
    }
}

impl From<ActError> for Problem {
    fn from(error: ActError) -> Self {
        let detail = error.to_string();
        match error {
            ActError::Task(TaskError::Unknown { .. }) => Self::new(Kind::UnknownTask, detail),
            ActError::Task(TaskError::IdTwice { .. }) => Self::new(Kind::KeyReused, detail),
            ActError::Task(TaskError::Impossible { allowed, .. }) => Self {
                allowed: Some(allowed.into_iter().map(TaskState::from).collect()),
                ..Self::new(Kind::Impossible, detail)
            },
            ActError::Revision { revision, .. } => {
                Self { revision: Some(revision), ..Self::new(Kind::Revision, detail) }
            }
            ActError::Unavailable(error) => error.into(),
        }
    }
}
