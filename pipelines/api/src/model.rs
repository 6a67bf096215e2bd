//! What goes over the wire.

use std::collections::BTreeMap;

use headsup_tasks::task;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::time::Time;

/// What a model says of a customer.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[schema(example = json!({
    "customer_id": "c-1042", "model": "order_return", "version": "3", "probability": 0.71,
    "percentile": 98.4, "reasons": [{"group": "delivery", "en": "delivered late", "zh": "配送延迟"}],
    "at": "2026-03-02T10:00:00.000Z"
}))]
pub struct Score {
    /// Of whom.
    pub customer_id: String,
    /// The model's name.
    pub model: String,
    /// The model's version.
    pub version: String,
    /// Calibrated.
    #[schema(minimum = 0, maximum = 1)]
    pub probability: f64,
    /// Where that stands among the scores of the last day.
    #[schema(minimum = 0, maximum = 100, required = true)]
    pub percentile: Option<f64>,
    /// Why, the strongest first.
    pub reasons: Vec<Reason>,
    /// Of when.
    pub at: Time,
}

/// Scores, the highest first.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct ScorePage {
    /// One per customer and model.
    pub scores: Vec<Score>,
    /// Where the next page begins; null if there is none.
    #[schema(required = true)]
    pub cursor: Option<String>,
}

/// Why a risk is high.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Reason {
    /// The group of features.
    pub group: String,
    /// In English.
    pub en: String,
    /// In Chinese.
    pub zh: String,
}

impl From<&task::Reason> for Reason {
    fn from(reason: &task::Reason) -> Self {
        Self { group: reason.group.clone(), en: reason.en.clone(), zh: reason.zh.clone() }
    }
}

/// What is feared of a customer.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Risk {
    /// The name of the model.
    #[schema(example = "order_return")]
    pub kind: String,
    /// Calibrated.
    #[schema(minimum = 0, maximum = 1)]
    pub probability: f64,
    /// Where that stands among the scores of the last day.
    #[schema(minimum = 0, maximum = 100, required = true)]
    pub percentile: Option<f64>,
    /// How long it takes at least until it happens, in ms.
    pub lead_ms: u64,
    /// The version of the model.
    pub model: String,
}

/// A channel that the customer can be reached by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Reach {
    /// Its name.
    pub channel: String,
    /// Only before this time; null: as long as the task is open.
    #[schema(required = true)]
    pub until: Option<Time>,
}

/// What an agent should see first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Priority {
    /// When there is nothing else.
    Low,
    /// In its turn.
    Normal,
    /// Before others.
    High,
}

/// Where a task stands. `returned`: rejected, to be offered again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum TaskState {
    /// Nobody has seen it.
    Created,
    /// Somebody has it before them.
    Offered,
    /// Somebody does it.
    Accepted,
    /// Somebody does not, another may.
    Returned,
    /// Nobody does it.
    Rejected,
    /// Done.
    Completed,
    /// Its time is over.
    Expired,
    /// No longer needed.
    Cancelled,
}

impl From<task::State> for TaskState {
    fn from(state: task::State) -> Self {
        match state {
            task::State::Created => Self::Created,
            task::State::Offered => Self::Offered,
            task::State::Accepted => Self::Accepted,
            task::State::Returned => Self::Returned,
            task::State::Rejected => Self::Rejected,
            task::State::Completed => Self::Completed,
            task::State::Expired => Self::Expired,
            task::State::Cancelled => Self::Cancelled,
        }
    }
}

/// A task as it stands: somebody should get in touch with a customer.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[schema(as = Task, example = json!({
    "task_id": "late-parcels-5f3c2a", "idempotency_key": "0f0e0d0c0b0a09080706050403020100",
    "assignment_id": "000102030405060708090a0b0c0d0e0f", "campaign": "late-parcels",
    "title": "Late parcel | 包裹延迟", "customer_id": "c-1042", "shop": "north", "order_ids": ["o-77"],
    "risk": {"kind": "order_return", "probability": 0.71, "percentile": 98.4, "lead_ms": 86_400_000, "model": "3"},
    "reasons": [{"group": "delivery", "en": "delivered late", "zh": "配送延迟"}],
    "recommended_actions": ["apologise"], "required_skills": ["returns"],
    "channels": [{"channel": "app", "until": null}], "priority": "high",
    "created_at": "2026-03-02T10:00:00.000Z", "not_before": "2026-03-02T10:00:00.000Z",
    "expires_at": "2026-03-03T10:00:00.000Z", "state": "created", "revision": 1,
    "since": "2026-03-02T10:00:00.000Z", "offers": 0, "allowed": ["offered", "expired", "cancelled"]
}))]
pub struct TaskView {
    /// Its id.
    pub task_id: String,
    /// The same task has the same, however often it is computed.
    pub idempotency_key: String,
    /// Of which assignment.
    pub assignment_id: String,
    /// The campaign.
    pub campaign: String,
    /// English and Chinese, separated by `|`.
    pub title: String,
    /// Who.
    pub customer_id: String,
    /// The shop.
    pub shop: String,
    /// The orders in question.
    pub order_ids: Vec<String>,
    /// What is feared.
    pub risk: Risk,
    /// Why, the strongest first.
    pub reasons: Vec<Reason>,
    /// What an agent could do, the best first.
    pub recommended_actions: Vec<String>,
    /// What an agent has to be able to.
    pub required_skills: Vec<String>,
    /// How the customer can be reached, the preferred channel first.
    pub channels: Vec<Reach>,
    /// Its place among others.
    pub priority: Priority,
    /// When it was created.
    pub created_at: Time,
    /// No contact before.
    pub not_before: Time,
    /// No contact from then on, unless it was accepted before.
    pub expires_at: Time,
    /// Where it stands.
    pub state: TaskState,
    /// Counts what became of it, from 1; its ETag.
    #[schema(minimum = 1)]
    pub revision: u32,
    /// Since when it stands there.
    pub since: Time,
    /// How often it was offered.
    pub offers: u32,
    /// What it can become.
    pub allowed: Vec<TaskState>,
}

impl From<&task::Task> for TaskView {
    fn from(task: &task::Task) -> Self {
        let reach =
            |reach: &task::Reach| Reach { channel: reach.channel.clone(), until: reach.until_ms.map(Time) };
        Self {
            task_id: task.task_id.clone(),
            idempotency_key: task.idempotency_key.clone(),
            assignment_id: task.assignment_id.clone(),
            campaign: task.campaign.clone(),
            title: task.title.clone(),
            customer_id: task.customer_id.clone(),
            shop: task.shop.clone(),
            order_ids: task.order_ids.clone(),
            risk: Risk {
                kind: task.risk.kind.clone(),
                probability: task.risk.probability,
                percentile: task.risk.percentile,
                lead_ms: task.risk.lead_ms,
                model: task.risk.model.clone(),
            },
            reasons: task.reasons.iter().map(Reason::from).collect(),
            recommended_actions: task.recommended_actions.clone(),
            required_skills: task.required_skills.clone(),
            channels: task.channels.iter().map(reach).collect(),
            priority: match task.priority {
                task::Priority::Low => Priority::Low,
                task::Priority::Normal => Priority::Normal,
                task::Priority::High => Priority::High,
            },
            created_at: Time(task.created_ms),
            not_before: Time(task.not_before_ms),
            expires_at: Time(task.expires_ms),
            state: task.life.state.into(),
            revision: task.life.revision,
            since: Time(task.life.since_ms),
            offers: task.life.offers,
            allowed: task.allowed().into_iter().map(TaskState::from).collect(),
        }
    }
}

/// An event of a task, a CloudEvent as docs/task.schema.json has it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({
    "specversion": "1.0", "id": "late-parcels-5f3c2a/2", "source": "headsup", "type": "task.offered",
    "subject": "late-parcels-5f3c2a", "time": "2026-03-02T10:00:05.000Z",
    "datacontenttype": "application/json",
    "data": {"task_id": "late-parcels-5f3c2a", "idempotency_key": "0f0e0d0c0b0a09080706050403020100",
        "revision": 2, "campaign": "late-parcels", "customer_id": "c-1042", "origin": "proactive", "agent_id": "a-7"}
}))]
pub struct CloudEvent {
    /// Always `1.0`.
    pub specversion: String,
    /// The same whenever the event is computed again.
    pub id: String,
    /// Who says so.
    pub source: String,
    /// Such as `task.created`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The task's id; of `task.assigned` and `task.suppressed` the customer's.
    pub subject: String,
    /// When, RFC 3339.
    pub time: String,
    /// Always `application/json`.
    pub datacontenttype: String,
    /// By type, see docs/task.schema.json.
    #[schema(value_type = Object)]
    pub data: Value,
}

/// Events of tasks, in the order of the log.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Feed {
    /// What came behind the cursor.
    pub events: Vec<CloudEvent>,
    /// Behind the last of them; to be given with the next request.
    pub cursor: String,
    /// What time it is for the run: by the clock, or, where it reads events of the past, that of the newest of them. By it
    /// `not_before` and `expires_at` are to be read.
    pub now: Time,
}

/// Whether an event was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum EventStatus {
    /// It is in the log, or was before.
    Accepted,
    /// It is not, and would not be if it were sent again.
    Refused,
}

/// What became of one event of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(example = json!({"index": 0, "id": "m-9", "status": "refused", "reason": "missing_field", "detail": "data has no customer_id"}))]
pub struct EventAnswer {
    /// Its place in the request, from 0.
    pub index: usize,
    /// Its id, if it could be read.
    #[schema(required = true)]
    pub id: Option<String>,
    /// Whether it was taken.
    pub status: EventStatus,
    /// Why not, one of the reasons of quarantine.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub reason: Option<String>,
    /// What exactly is wrong with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub detail: Option<String>,
}

impl EventAnswer {
    /// It was taken. [`crate::router`] fills in the place.
    pub fn accepted(id: impl Into<String>) -> Self {
        let status = EventStatus::Accepted;
        Self { index: 0, id: Some(id.into()), status, reason: None, detail: None }
    }

    /// It was not. [`crate::router`] fills in the place.
    pub fn refused(id: Option<String>, reason: impl Into<String>, detail: impl Into<String>) -> Self {
        let status = EventStatus::Refused;
        Self { index: 0, id, status, reason: Some(reason.into()), detail: Some(detail.into()) }
    }
}

/// A window of a series of a KPI.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[schema(example = json!({
    "kpi": "aht", "title": "Average handle time | 平均处理时长", "unit": "ms", "keys": {"shop": "north"},
    "window_start": "2026-03-02T10:00:00.000Z", "window_end": "2026-03-02T10:01:00.000Z", "final": false,
    "values": {"aht_ms": 93_000.0, "contacts": 31.0}
}))]
pub struct KpiRow {
    /// The KPI's name.
    pub kpi: String,
    /// English and Chinese, separated by `|`.
    pub title: String,
    /// The unit of its values.
    pub unit: String,
    /// The keys that it is grouped by; none: everything.
    pub keys: BTreeMap<String, String>,
    /// Where the window begins.
    pub window_start: Time,
    /// Where it ends, exclusively.
    pub window_end: Time,
    /// No corrections come any more.
    #[serde(rename = "final")]
    pub is_final: bool,
    /// By column; null where there is nothing to compute one of.
    pub values: BTreeMap<String, Option<f64>>,
}

/// Where an alert is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum AlertState {
    /// It fires.
    Firing,
    /// It is over.
    Resolved,
    /// A correction has removed its cause: it should not have fired.
    Withdrawn,
}

/// How urgent an alert is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// For those who watch.
    Info,
    /// For the next day.
    Ticket,
    /// For now.
    Page,
}

/// An alert.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[schema(as = Alert, example = json!({
    "id": "aht_high/north/2026-03-02T10:00:00Z", "name": "aht_high", "title": "Average handle time above 120 s",
    "severity": "page", "state": "firing", "revision": 1, "kpi": "aht", "metric": "aht_ms",
    "keys": {"shop": "north"}, "value": 131_000.0, "latest": 128_000.0, "peak": 140_000.0, "limit": 120_000.0,
    "n": 31, "started_at": "2026-03-02T10:00:00.000Z", "resolved_at": null, "runbook": "See which channel."
}))]
pub struct AlertView {
    /// Its id.
    pub id: String,
    /// The rule's name.
    pub name: String,
    /// English and Chinese, separated by `|`.
    pub title: String,
    /// How urgent it is.
    pub severity: Severity,
    /// Where it is in its life.
    pub state: AlertState,
    /// Counts what was said of it, from 1.
    #[schema(minimum = 1)]
    pub revision: u64,
    /// The KPI's name.
    pub kpi: String,
    /// The column that is looked at.
    pub metric: String,
    /// Of which series.
    pub keys: BTreeMap<String, String>,
    /// The value when it started.
    pub value: f64,
    /// The value of the newest window, if that says something.
    #[schema(required = true)]
    pub latest: Option<f64>,
    /// The value furthest beyond the limit.
    pub peak: f64,
    /// What it was compared with.
    pub limit: f64,
    /// Of how many the value was.
    pub n: i64,
    /// When it started.
    pub started_at: Time,
    /// When it was over; null while it fires.
    #[schema(required = true)]
    pub resolved_at: Option<Time>,
    /// What to do, or where that is written.
    pub runbook: String,
}
