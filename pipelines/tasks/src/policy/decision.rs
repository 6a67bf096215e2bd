//! What goes into a policy and what comes out, as events.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::task::{Arm, Assignment, Reason, Task, TaskEvent, cloud_event, stable_hash};

/// What a model says of a customer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Score {
    /// Of whom.
    pub customer_id: String,
    /// The model's name; campaigns are of models.
    pub model: String,
    /// The model's version.
    pub version: String,
    /// Calibrated, 0 to 1.
    pub probability: f64,
    /// Where that stands among the scores of the last day, 0 to 100.
    pub percentile: Option<f64>,
    /// How long it takes at least until what is feared happens.
    pub lead_ms: u64,
    /// The orders in question, if it is about orders.
    pub order_ids: Vec<String>,
    /// Why.
    pub reasons: Vec<Reason>,
    /// The shop that it is about.
    pub shop: String,
    /// The channel that it is about.
    pub channel: String,
    /// Of when.
    pub at_ms: i64,
}

/// Why a score is refused.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ScoreError {
    /// Nothing where there has to be something.
    #[error(
        "score of customer {customer_id:?} by {model}: {what} is empty; leave out what there is not, and score nobody without an id"
    )]
    Missing {
        /// Of whom.
        customer_id: String,
        /// By which model.
        model: String,
        /// What is empty.
        what: &'static str,
    },
    /// Not from 0 to 1.
    #[error(
        "score of customer {customer_id} by {model}: probability {probability} is not from 0 to 1; see what the model gives out"
    )]
    Probability {
        /// Of whom.
        customer_id: String,
        /// By which model.
        model: String,
        /// What was given.
        probability: f64,
    },
    /// Not from 0 to 100.
    #[error(
        "score of customer {customer_id} by {model}: percentile {percentile} is not from 0 to 100; give none if it is not known"
    )]
    Percentile {
        /// Of whom.
        customer_id: String,
        /// By which model.
        model: String,
        /// What was given.
        percentile: f64,
    },
}

/// Why a treated customer has no task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Suppressed {
    /// The score is older than a task would be worth doing.
    Expired,
    /// The customer has one.
    OpenTask,
    /// The campaign had one for the customer a short time ago.
    Cooldown,
    /// The customer was contacted often enough.
    Cap,
    /// The customer has not agreed to any channel, or has withdrawn.
    NoConsent,
    /// By no channel can the customer be reached.
    Unreachable,
    /// It would be over before quiet hours are.
    QuietHours,
    /// Too many customers wait.
    Backlog,
    /// Agents have enough of them.
    Capacity,
}

impl Suppressed {
    /// All.
    pub const ALL: [Self; 9] = [
        Self::Expired,
        Self::OpenTask,
        Self::Cooldown,
        Self::Cap,
        Self::NoConsent,
        Self::Unreachable,
        Self::QuietHours,
        Self::Backlog,
        Self::Capacity,
    ];

    /// Its name in events.
    pub fn name(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::OpenTask => "open_task",
            Self::Cooldown => "cooldown",
            Self::Cap => "cap",
            Self::NoConsent => "no_consent",
            Self::Unreachable => "unreachable",
            Self::QuietHours => "quiet_hours",
            Self::Backlog => "backlog",
            Self::Capacity => "capacity",
        }
    }
}

/// A treated customer has no task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Suppression {
    /// Of which assignment.
    pub assignment_id: String,
    /// Of which campaign.
    pub campaign: String,
    /// Who.
    pub customer_id: String,
    /// Why.
    pub reason: Suppressed,
    /// When.
    pub at_ms: i64,
}

/// What comes out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Decision {
    /// A campaign is for a customer, who was assigned to an arm.
    Assigned(Box<Assignment>),
    /// A task for an agent.
    Created(Box<Task>),
    /// Something became of a task.
    Changed(Box<TaskEvent>),
    /// A treated customer has no task.
    Suppressed(Box<Suppression>),
    /// What somebody said of a task cannot become of it.
    Refused(Box<Refusal>),
}

/// What somebody said of a task that cannot become of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// Of which task.
    pub task_id: String,
    /// Its customer, if there is such a task.
    pub customer_id: Option<String>,
    /// The id of the event that said it.
    pub event_id: String,
    /// The type of the event.
    pub refused: String,
    /// Why not.
    pub reason: String,
    /// When.
    pub at_ms: i64,
}

impl Decision {
    /// When.
    pub fn at_ms(&self) -> i64 {
        match self {
            Self::Assigned(assignment) => assignment.at_ms,
            Self::Created(task) => task.created_ms,
            Self::Changed(event) => event.at_ms,
            Self::Suppressed(suppression) => suppression.at_ms,
            Self::Refused(refusal) => refusal.at_ms,
        }
    }

    /// As a CloudEvent; docs/task.schema.json has all.
    pub fn event(&self, source: &str) -> Value {
        match self {
            Self::Assigned(assignment) => assignment.event(source),
            Self::Created(task) => task.created_event(source),
            Self::Changed(event) => event.event(source),
            Self::Suppressed(suppression) => suppression.event(source),
            Self::Refused(refusal) => refusal.event(source),
        }
    }
}

impl Suppression {
    /// `task.suppressed`, as docs/task.schema.json has it. `source` is a CloudEvent's.
    pub fn event(&self, source: &str) -> Value {
        let at = self.at_ms.to_string();
        let id = stable_hash([self.assignment_id.as_str(), self.reason.name(), &at]);
        let data = json!({
            "assignment_id": self.assignment_id,
            "campaign": self.campaign,
            "customer_id": self.customer_id,
            "reason": self.reason,
            "arm": Arm::Treated,
            "origin": "proactive",
        });
        cloud_event("task.suppressed", &id, &self.customer_id, source, self.at_ms, data)
    }
}

impl Refusal {
    /// `task.refused`, as docs/task.schema.json has it. `source` is a CloudEvent's.
    pub fn event(&self, source: &str) -> Value {
        let id = stable_hash([self.task_id.as_str(), &self.event_id, &self.refused, &self.at_ms.to_string()]);
        let data = json!({
            "task_id": self.task_id,
            "customer_id": self.customer_id,
            "event_id": self.event_id,
            "refused": self.refused,
            "reason": self.reason,
            "origin": "proactive",
        });
        cloud_event("task.refused", &id, &self.task_id, source, self.at_ms, data)
    }
}
