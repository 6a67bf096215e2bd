//! What is where.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{any, get, post};
use tokio::sync::Semaphore;

use crate::backend::Backend;
use crate::guard::{Gate, guard, harden};
use crate::openapi::openapi;
use crate::problem::{Kind, Problem};
use crate::stop::Stop;
use crate::tokens::{Scope, Tokens};
use crate::{body, ingest, reads, tasks};

/// Who is let in, and how much of what.
#[derive(Debug, Clone)]
pub struct Options {
    /// Who may ask; `None`: nobody, but for the description.
    pub tokens: Option<Tokens>,
    /// How often a token may ask.
    pub rate: Rate,
    /// Largest body, in bytes.
    pub body_max: usize,
    /// Room for all bodies at once, in bytes; at least for one.
    pub bodies_max: usize,
    /// How long a body may take.
    pub body_timeout: Duration,
    /// Ends what waits for tasks.
    pub stop: Stop,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            tokens: None,
            rate: Rate::default(),
            body_max: 1 << 20,
            bodies_max: 64 << 20,
            body_timeout: Duration::from_secs(30),
            stop: Stop::default(),
        }
    }
}

/// How often a token may ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// In the long run.
    pub per_second: NonZeroU32,
    /// At once.
    pub burst: NonZeroU32,
}

impl Default for Rate {
    fn default() -> Self {
        let per_second = NonZeroU32::MIN.saturating_add(99);
        Self { per_second, burst: per_second.saturating_add(100) }
    }
}

/// What all requests share.
pub(crate) struct Shared {
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) room: Arc<Semaphore>,
    pub(crate) options: Options,
}

/// Everything under `/v1`, to be merged into a server.
pub fn router(backend: Arc<dyn Backend>, mut options: Options) -> Router {
    let gate = Arc::new(Gate::new(options.tokens.take(), options.rate));
    let shared =
        Arc::new(Shared { backend, room: body::room(options.bodies_max.max(options.body_max)), options });
    let guarded = |scope| from_fn_with_state((gate.clone(), scope), guard);
    let read = Router::new()
        .route("/customers/{id}/risk", get(reads::risk))
        .route("/scores", get(reads::scores))
        .route("/kpis", get(reads::kpis))
        .route("/alerts", get(reads::alerts))
        .route("/tasks", get(tasks::feed))
        .route("/tasks/{id}", get(tasks::task))
        .route_layer(guarded(Scope::Read));
    let act = Router::new()
        .route("/tasks/{id}/offer", post(tasks::offer))
        .route("/tasks/{id}/accept", post(tasks::accept))
        .route("/tasks/{id}/reject", post(tasks::reject))
        .route("/tasks/{id}/complete", post(tasks::complete))
        .route("/tasks/{id}/cancel", post(tasks::cancel))
        .route_layer(guarded(Scope::Act));
    let take = Router::new().route("/events", post(ingest::events)).route_layer(guarded(Scope::Ingest));
    let description = openapi();
    let nothing = async || Problem::new(Kind::NoSuchPath, "see /v1/openapi.json for what there is");
    let routes = read
        .merge(act)
        .merge(take)
        .route("/openapi.json", get(async || ([(CONTENT_TYPE, "application/json")], description)))
        .method_not_allowed_fallback(async || Problem::new(Kind::Method, "see the header Allow"))
        .fallback(nothing)
        .layer(from_fn(harden))
        .with_state(shared);
    // What is nested answers for all behind the slash, but not for the slash.
    let slash = any(nothing).layer(from_fn(harden));
    Router::new().nest("/v1", routes).route("/v1/", slash)
}

/// Other routes of the same server, for those only who have a token of this scope.
pub fn guarded(routes: Router, tokens: Tokens, scope: Scope) -> Router {
    let gate = Arc::new(Gate::new(Some(tokens), Rate::default()));
    routes.route_layer(from_fn_with_state((gate, scope), guard)).layer(from_fn(harden))
}
