//! What can be read: scores, KPIs and alerts.

#![expect(unused_qualifications, reason = "utoipa writes them")]

use std::sync::Arc;

use axum::extract::State;
use axum::response::Json;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::backend::{KpiQuery, ScoreQuery};
use crate::model::{AlertState, AlertView, KpiRow, Score, ScorePage};
use crate::params::{ID_MAX, Id, Params, text, within};
use crate::problem::{Kind, Problem};
use crate::routes::Shared;
use crate::time::Time;

/// A customer's latest scores, one per model.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CustomerRisk {
    /// Of whom.
    customer_id: String,
    /// At least one.
    scores: Vec<Score>,
}

/// Windows of KPIs.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct KpiRows {
    /// The newest first.
    rows: Vec<KpiRow>,
}

/// Alerts.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Alerts {
    /// The newest first.
    alerts: Vec<AlertView>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ScoreParams {
    /// Of which model; else of all.
    #[param(min_length = 1, max_length = 512, pattern = "^[^\\x00-\\x1f\\x7f-\\x9f]+$", nullable = false)]
    model: Option<String>,
    /// Only those of at least this probability.
    #[serde(default)]
    #[param(minimum = 0, maximum = 1, default = 0)]
    min_probability: f64,
    /// So many at most.
    #[serde(default = "hundred")]
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: usize,
    /// The cursor of the page before.
    #[param(min_length = 1, max_length = 512, pattern = "^[^\\x00-\\x1f\\x7f-\\x9f]+$", nullable = false)]
    cursor: Option<String>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct KpiParams {
    /// Of which KPI; else of all.
    #[param(min_length = 1, max_length = 512, pattern = "^[^\\x00-\\x1f\\x7f-\\x9f]+$", nullable = false)]
    kpi: Option<String>,
    /// Only windows that end at this time (RFC 3339) or later.
    #[param(value_type = Option<String>, format = DateTime, nullable = false)]
    since: Option<Time>,
    /// So many at most.
    #[serde(default = "thousand")]
    #[param(minimum = 1, maximum = 10_000, default = 1000)]
    limit: usize,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct AlertParams {
    /// In which state; else all that are remembered.
    #[param(inline, nullable = false)]
    state: Option<AlertState>,
}

pub(crate) fn hundred() -> usize {
    100
}

fn thousand() -> usize {
    1000
}

/// The latest scores of a customer, one per model.
#[utoipa::path(get, path = "/v1/customers/{id}/risk", operation_id = "risk", tag = "scores",
    params(("id" = String, Path, description = "The customer's id.", min_length = 1, max_length = 512, pattern = "^[^\\x00-\\x1f\\x7f-\\x9f]+$")),
    responses((status = 200, description = "What models say of the customer.", body = CustomerRisk)),
    security(("token" = ["read"])))]
pub(crate) async fn risk(
    State(shared): State<Arc<Shared>>,
    Id(customer_id): Id,
) -> Result<Json<CustomerRisk>, Problem> {
    let scores = shared.backend.risk(&customer_id)?;
    if scores.is_empty() {
        let detail = format!("nobody has scored customer {customer_id}; see that the id is right");
        return Err(Problem::new(Kind::UnknownCustomer, detail));
    }
    Ok(Json(CustomerRisk { customer_id, scores }))
}

/// The latest scores, the highest probability first.
#[utoipa::path(get, path = "/v1/scores", operation_id = "scores", tag = "scores", params(ScoreParams),
    responses((status = 200, description = "A page of scores.", body = ScorePage)),
    security(("token" = ["read"])))]
pub(crate) async fn scores(
    State(shared): State<Arc<Shared>>,
    Params(params): Params<ScoreParams>,
) -> Result<Json<ScorePage>, Problem> {
    let query = ScoreQuery {
        model: text("model", params.model, ID_MAX)?,
        min_probability: within("min_probability", params.min_probability, 0.0, 1.0)?,
        limit: within("limit", params.limit, 1, 1000)?,
        cursor: text("cursor", params.cursor, ID_MAX)?,
    };
    Ok(Json(shared.backend.scores(&query)?))
}

/// The newest windows of KPIs.
#[utoipa::path(get, path = "/v1/kpis", operation_id = "kpis", tag = "kpis", params(KpiParams),
    responses((status = 200, description = "Windows, the newest first.", body = KpiRows)),
    security(("token" = ["read"])))]
pub(crate) async fn kpis(
    State(shared): State<Arc<Shared>>,
    Params(params): Params<KpiParams>,
) -> Result<Json<KpiRows>, Problem> {
    let query = KpiQuery {
        kpi: text("kpi", params.kpi, ID_MAX)?,
        since: params.since,
        limit: within("limit", params.limit, 1, 10_000)?,
    };
    Ok(Json(KpiRows { rows: shared.backend.kpis(&query)? }))
}

/// Alerts that fire, and the last that did.
#[utoipa::path(get, path = "/v1/alerts", operation_id = "alerts", tag = "alerts", params(AlertParams),
    responses((status = 200, description = "Alerts, the newest first.", body = Alerts)),
    security(("token" = ["read"])))]
pub(crate) async fn alerts(
    State(shared): State<Arc<Shared>>,
    Params(params): Params<AlertParams>,
) -> Result<Json<Alerts>, Problem> {
    Ok(Json(Alerts { alerts: shared.backend.alerts(params.state)? }))
}
