//! A task for an agent, and its life.
//!
//! ```text
//! created ── offered ── accepted ── completed
//!               │ ▲
//!               ▼ │ if retryable
//!            rejected
//! ```
//!
//! What is open can also expire or be cancelled: the customer came first, or the order is already
//! back. Every change has a revision, and an id by which it is recognised when it comes again.

use std::fmt;

use jiff::Timestamp;
use jiff::fmt::temporal::DateTimePrinter;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use xxhash_rust::xxh3::xxh3_128;

/// A task that was offered so often is not offered again, so that what is remembered of it stays
/// small.
pub const OFFERS_MAX: u32 = 32;

/// What a customer was assigned to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Arm {
    /// To be contacted.
    Treated,
    /// To be left alone, for comparison.
    Control,
}

impl Arm {
    /// Its name in events.
    pub fn name(self) -> &'static str {
        match self {
            Self::Treated => "treated",
            Self::Control => "control",
        }
    }
}

/// What an agent should see first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Priority {
    /// When there is nothing else.
    Low,
    /// In its turn.
    Normal,
    /// Before others.
    High,
}

impl Priority {
    /// All, the lowest first.
    pub const ALL: [Self; 3] = [Self::Low, Self::Normal, Self::High];

    /// Its name in files and events.
    pub fn name(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Normal => "normal",
            Self::High => "high",
        }
    }
}

/// What is feared of a customer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Risk {
    /// The name of the model, such as `order_return`.
    pub kind: String,
    /// Calibrated, 0 to 1.
    pub probability: f64,
    /// Where that stands among the scores of the last day, 0 to 100.
    pub percentile: Option<f64>,
    /// How long it takes at least until it happens.
    pub lead_ms: u64,
    /// The version of the model.
    pub model: String,
}

/// Why the risk is high.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// The group of features.
    pub group: String,
    /// In English.
    pub en: String,
    /// In Chinese.
    pub zh: String,
}

/// A channel that the customer can be reached by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reach {
    /// Its name.
    pub channel: String,
    /// Only before this time; `None`: as long as the task is open.
    pub until_ms: Option<i64>,
}

/// A customer's assignment to an arm of a campaign, made before anything else is looked at.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Assignment {
    /// A stable hash of the campaign, the customer and the time.
    pub assignment_id: String,
    /// The campaign.
    pub campaign: String,
    /// The customer.
    pub customer_id: String,
    /// The shop, as scored.
    pub shop: String,
    /// The channel, as scored.
    pub channel: String,
    /// The orders in question.
    pub order_ids: Vec<String>,
    /// What is feared.
    pub risk: Risk,
    /// Why.
    pub reasons: Vec<Reason>,
    /// To which.
    pub arm: Arm,
    /// What averting it would be worth, minor units.
    pub value_minor: i64,
    /// What a contact costs, minor units.
    pub cost_minor: i64,
    /// When.
    pub at_ms: i64,
}

/// Somebody should get in touch with a customer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Task {
    /// The campaign and the key.
    pub task_id: String,
    /// A stable hash of the campaign, the customer, the orders and the window: the same task has the
    /// same, however often it is computed.
    pub idempotency_key: String,
    /// Of which assignment.
    pub assignment_id: String,
    /// The campaign.
    pub campaign: String,
    /// English and Chinese, separated by `|`.
    pub title: String,
    /// Who.
    pub customer_id: String,
    /// The shop, as scored.
    pub shop: String,
    /// The orders in question.
    pub order_ids: Vec<String>,
    /// What is feared.
    pub risk: Risk,
    /// Why.
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
    pub created_ms: i64,
    /// No contact before.
    pub not_before_ms: i64,
    /// No contact from then on, unless it was accepted before.
    pub expires_ms: i64,
    /// Always [`Arm::Treated`]: there are no tasks for the control group.
    pub arm: Arm,
    /// What has become of it.
    pub life: Life,
}

/// Where a task stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
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

impl State {
    /// All.
    pub const ALL: [Self; 8] = [
        Self::Created,
        Self::Offered,
        Self::Accepted,
        Self::Returned,
        Self::Rejected,
        Self::Completed,
        Self::Expired,
        Self::Cancelled,
    ];

    /// What it can become.
    pub fn allowed(self) -> &'static [Self] {
        match self {
            Self::Created | Self::Returned => &[Self::Offered, Self::Expired, Self::Cancelled],
            Self::Offered => {
                &[Self::Accepted, Self::Returned, Self::Rejected, Self::Expired, Self::Cancelled]
            }
            Self::Accepted => &[Self::Completed, Self::Expired, Self::Cancelled],
            Self::Rejected | Self::Completed | Self::Expired | Self::Cancelled => &[],
        }
    }

    /// Whether something can still become of it.
    pub fn is_open(self) -> bool {
        !self.allowed().is_empty()
    }

    /// Its name in events.
    pub fn name(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Offered => "offered",
            Self::Accepted => "accepted",
            Self::Returned => "rejected, to be offered again",
            Self::Rejected => "rejected",
            Self::Completed => "completed",
            Self::Expired => "expired",
            Self::Cancelled => "cancelled",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How a contact went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Disposition {
    /// What troubled the customer is solved.
    Solved,
    /// The customer knows more; nothing was to be solved.
    Informed,
    /// The customer did not want help.
    Declined,
    /// The customer did not answer.
    NoAnswer,
    /// Anything else.
    Other,
}

impl Disposition {
    /// All.
    pub const ALL: [Self; 5] = [Self::Solved, Self::Informed, Self::Declined, Self::NoAnswer, Self::Other];

    /// Its name in events.
    pub fn name(self) -> &'static str {
        match self {
            Self::Solved => "solved",
            Self::Informed => "informed",
            Self::Declined => "declined",
            Self::NoAnswer => "no_answer",
            Self::Other => "other",
        }
    }
}

/// Why a task is no longer needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cancelled {
    /// The customer wrote or called.
    CustomerCameFirst,
    /// All its orders are cancelled or returned.
    OrderIsBack,
    /// The customer does not want to be contacted that way any more.
    ConsentWithdrawn,
    /// Somebody said so.
    ByHand,
    /// The policy has no such campaign any more, or leaves the customer alone.
    PolicyChanged,
}

impl Cancelled {
    /// All.
    pub const ALL: [Self; 5] = [
        Self::CustomerCameFirst,
        Self::OrderIsBack,
        Self::ConsentWithdrawn,
        Self::ByHand,
        Self::PolicyChanged,
    ];

    /// Its name in events.
    pub fn name(self) -> &'static str {
        match self {
            Self::CustomerCameFirst => "customer_came_first",
            Self::OrderIsBack => "order_is_back",
            Self::ConsentWithdrawn => "consent_withdrawn",
            Self::ByHand => "by_hand",
            Self::PolicyChanged => "policy_changed",
        }
    }
}

/// What becomes of a task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Transition {
    /// An agent has it before them.
    Offered {
        /// Who.
        agent_id: Option<String>,
    },
    /// An agent does it.
    Accepted {
        /// Who.
        agent_id: Option<String>,
    },
    /// An agent does not.
    Rejected {
        /// Why.
        reason: String,
        /// Whether it may be offered again.
        retryable: bool,
    },
    /// The customer was contacted.
    Completed {
        /// How it went.
        disposition: Disposition,
        /// By which channel.
        channel: Option<String>,
    },
    /// Its time is over.
    Expired,
    /// It is no longer needed.
    Cancelled {
        /// Why.
        reason: Cancelled,
    },
}

impl Transition {
    /// Where it leads.
    pub fn to(&self) -> State {
        match self {
            Self::Offered { .. } => State::Offered,
            Self::Accepted { .. } => State::Accepted,
            Self::Rejected { retryable: true, .. } => State::Returned,
            Self::Rejected { retryable: false, .. } => State::Rejected,
            Self::Completed { .. } => State::Completed,
            Self::Expired => State::Expired,
            Self::Cancelled { .. } => State::Cancelled,
        }
    }

    /// The type of its event.
    pub fn event_type(&self) -> &'static str {
        match self {
            Self::Offered { .. } => "task.offered",
            Self::Accepted { .. } => "task.accepted",
            Self::Rejected { .. } => "task.rejected",
            Self::Completed { .. } => "task.completed",
            Self::Expired => "task.expired",
            Self::Cancelled { .. } => "task.cancelled",
        }
    }
}

/// What has become of a task so far.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Life {
    /// Where it stands.
    pub state: State,
    /// Of its last event; 1 when it is created.
    pub revision: u32,
    /// Since when it stands there.
    pub since_ms: i64,
    /// How often it was offered.
    pub offers: u32,
    /// An agent has accepted it, so that the customer may have been contacted.
    pub accepted: bool,
    /// Ids of events, as hashes, and what each was.
    seen: Vec<(u128, Transition)>,
}

impl Life {
    /// The life of a task that begins.
    pub fn begin(at_ms: i64) -> Self {
        Self {
            state: State::Created,
            revision: 1,
            since_ms: at_ms,
            offers: 0,
            accepted: false,
            seen: Vec::new(),
        }
    }
}

/// Something became of a task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TaskEvent {
    /// Of which.
    pub task_id: String,
    /// The task's.
    pub idempotency_key: String,
    /// The task's campaign.
    pub campaign: String,
    /// The task's customer.
    pub customer_id: String,
    /// The number of the event among those of the task, which begin with 1.
    pub revision: u32,
    /// When.
    pub at_ms: i64,
    /// What.
    pub transition: Transition,
    /// By which it is recognised: source and id of the event that said it, or what headsup calls it.
    pub cause: String,
}

/// Why a transition is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TaskError {
    /// It leads nowhere from here.
    #[error("task {task_id} is {from} and cannot become {to}; {}", allowed_text(.allowed))]
    Impossible {
        /// Of which task.
        task_id: String,
        /// Where it stands.
        from: State,
        /// Where it should go.
        to: State,
        /// Where it can go.
        allowed: Vec<State>,
    },
    /// One id for two things.
    #[error(
        "task {task_id}: event {event_id} made it {before} and shall now make it {now}; give every event an id of its own"
    )]
    IdTwice {
        /// Of which task.
        task_id: String,
        /// The id.
        event_id: String,
        /// What it was for.
        before: State,
        /// What it is for now.
        now: State,
    },
    /// No such task.
    #[error(
        "there is no task {task_id}: it was never created, or was over so long ago that it is forgotten; check the id"
    )]
    Unknown {
        /// The id.
        task_id: String,
    },
}

fn allowed_text(allowed: &[State]) -> String {
    if allowed.is_empty() {
        return "it is over, and nothing becomes of it any more".to_owned();
    }
    let names: Vec<&str> = allowed.iter().map(|state| state.name()).collect();
    format!("it can become: {}", names.join("; "))
}

impl Task {
    /// Where it can go from here.
    pub fn allowed(&self) -> Vec<State> {
        let tired = self.life.offers >= OFFERS_MAX;
        let allowed = self.life.state.allowed().iter().copied();
        allowed.filter(|&to| !(tired && to == State::Offered)).collect()
    }

    /// Makes a transition. `None` if it was made before, by an event of the same id. A time before
    /// the last change counts as that of the last change.
    ///
    /// # Errors
    /// It is not possible from here, or the id belongs to another transition. Nothing has changed
    /// then.
    pub fn apply(
        &mut self,
        transition: Transition,
        event_id: &str,
        at_ms: i64,
    ) -> Result<Option<TaskEvent>, TaskError> {
        let id = xxh3_128(event_id.as_bytes());
        if let Some((_, before)) = self.life.seen.iter().find(|(seen, _)| *seen == id) {
            if *before == transition {
                return Ok(None);
            }
            return Err(TaskError::IdTwice {
                task_id: self.task_id.clone(),
                event_id: event_id.to_owned(),
                before: before.to(),
                now: transition.to(),
            });
        }
        let to = transition.to();
        let allowed = self.allowed();
        if !allowed.contains(&to) {
            return Err(TaskError::Impossible {
                task_id: self.task_id.clone(),
                from: self.life.state,
                to,
                allowed,
            });
        }
        let life = &mut self.life;
        life.state = to;
        life.revision += 1;
        life.since_ms = life.since_ms.max(at_ms);
        life.offers += u32::from(to == State::Offered);
        life.accepted |= to == State::Accepted;
        life.seen.push((id, transition.clone()));
        Ok(Some(TaskEvent {
            task_id: self.task_id.clone(),
            idempotency_key: self.idempotency_key.clone(),
            campaign: self.campaign.clone(),
            customer_id: self.customer_id.clone(),
            revision: self.life.revision,
            at_ms: self.life.since_ms,
            transition,
            cause: event_id.to_owned(),
        }))
    }

    /// `task.created`, as docs/task.schema.json has it. `source` is a CloudEvent's.
    pub fn created_event(&self, source: &str) -> Value {
        let channels: Vec<Value> = self
            .channels
            .iter()
            .map(|reach| json!({"channel": reach.channel, "until": reach.until_ms.map(rfc3339_ms)}))
            .collect();
        let data = json!({
            "task_id": self.task_id,
            "idempotency_key": self.idempotency_key,
            "assignment_id": self.assignment_id,
            "revision": 1,
            "campaign": self.campaign,
            "title": self.title,
            "customer_id": self.customer_id,
            "shop": self.shop,
            "order_ids": self.order_ids,
            "risk": self.risk,
            "reasons": self.reasons,
            "recommended_actions": self.recommended_actions,
            "required_skills": self.required_skills,
            "channels": channels,
            "priority": self.priority,
            "not_before": rfc3339_ms(self.not_before_ms),
            "expires_at": rfc3339_ms(self.expires_ms),
            "arm": self.arm,
            "origin": "proactive",
        });
        let id = format!("{}/1", self.task_id);
        cloud_event("task.created", &id, &self.task_id, source, self.created_ms, data)
    }
}

impl TaskEvent {
    /// As docs/task.schema.json has it. `source` is a CloudEvent's.
    pub fn event(&self, source: &str) -> Value {
        let mut data = json!({
            "task_id": self.task_id,
            "idempotency_key": self.idempotency_key,
            "revision": self.revision,
            "campaign": self.campaign,
            "customer_id": self.customer_id,
            "cause": self.cause,
            "origin": "proactive",
        });
        match &self.transition {
            Transition::Offered { agent_id } | Transition::Accepted { agent_id } => {
                data["agent_id"] = json!(agent_id);
            }
            Transition::Rejected { reason, retryable } => {
                data["reason"] = json!(reason);
                data["retryable"] = json!(retryable);
            }
            Transition::Completed { disposition, channel } => {
                data["disposition"] = json!(disposition);
                data["channel"] = json!(channel);
            }
            Transition::Expired => {}
            Transition::Cancelled { reason } => data["reason"] = json!(reason),
        }
        let id = format!("{}/{}", self.task_id, self.revision);
        cloud_event(self.transition.event_type(), &id, &self.task_id, source, self.at_ms, data)
    }
}

impl Assignment {
    /// `task.assigned`, as docs/task.schema.json has it. `source` is a CloudEvent's.
    pub fn event(&self, source: &str) -> Value {
        let data = json!({
            "assignment_id": self.assignment_id,
            "campaign": self.campaign,
            "customer_id": self.customer_id,
            "shop": self.shop,
            "channel": self.channel,
            "order_ids": self.order_ids,
            "risk": self.risk,
            "reasons": self.reasons,
            "arm": self.arm,
            "value_minor": self.value_minor,
            "cost_minor": self.cost_minor,
            "origin": "proactive",
        });
        cloud_event("task.assigned", &self.assignment_id, &self.customer_id, source, self.at_ms, data)
    }
}

pub(crate) fn cloud_event(
    kind: &str,
    id: &str,
    subject: &str,
    source: &str,
    at_ms: i64,
    data: Value,
) -> Value {
    json!({
        "specversion": "1.0",
        "id": id,
        "source": source,
        "type": kind,
        "subject": subject,
        "time": rfc3339_ms(at_ms),
        "datacontenttype": "application/json",
        "data": data,
    })
}

/// `2026-03-02T10:00:00.000Z`. What no calendar reaches is cut to the last time that one does.
pub(crate) fn rfc3339_ms(at_ms: i64) -> String {
    const PRINTER: DateTimePrinter = DateTimePrinter::new().precision(Some(3));
    let (min, max) = (Timestamp::MIN, Timestamp::MAX);
    let at = at_ms.clamp(min.as_millisecond(), max.as_millisecond());
    PRINTER.timestamp_to_string(&Timestamp::from_millisecond(at).unwrap_or(max))
}

/// A hash of texts, in hexadecimal, that differs if any of them does.
pub(crate) fn stable_hash<'a>(parts: impl IntoIterator<Item = &'a str>) -> String {
    format!("{:032x}", xxh3_128(&joined(parts)))
}

/// Texts one after another, each after its length, so that no two lists make the same.
pub(crate) fn joined<'a>(parts: impl IntoIterator<Item = &'a str>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for part in parts {
        bytes.extend_from_slice(&(part.len() as u64).to_le_bytes());
        bytes.extend_from_slice(part.as_bytes());
    }
    bytes
}

#[cfg(test)]
mod tests;
