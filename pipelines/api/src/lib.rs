//! The HTTP API: what routers of tasks and producers of events ask and tell.
//!
//! [`router`] gives the routes under `/v1`, by a [`Backend`] that knows the answers and [`Tokens`]
//! that say who may ask. [`serve`] answers connections within [`Limits`]. docs/api.md is for those who
//! call it, and docs/openapi.json describes it, as does `/v1/openapi.json`.

mod act;
mod backend;
mod body;
mod cloudevents;
mod guard;
mod ingest;
mod model;
mod openapi;
mod params;
mod places;
mod problem;
mod reads;
mod routes;
mod serve;
mod stop;
mod tasks;
mod time;
mod tls;
mod tokens;

pub use act::{Act, ActError, IfMatch};
pub use backend::{Backend, KpiQuery, ReadError, ScoreQuery, Unavailable};
pub use model::{
    AlertState, AlertView, CloudEvent, EventAnswer, EventStatus, Feed, KpiRow, Priority, Reach, Reason, Risk,
    Score, ScorePage, Severity, TaskState, TaskView,
};
pub use openapi::openapi;
pub use problem::Problem;
pub use routes::{Options, Rate, guarded, router};
pub use serve::{Limits, serve};
pub use stop::Stop;
pub use time::Time;
pub use tls::{Tls, TlsError};
pub use tokens::{NewToken, Scope, Token, Tokens, TokensError, new_token};
