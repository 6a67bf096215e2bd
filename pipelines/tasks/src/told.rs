//! Tasks as their events tell: what those know who read topic `tasks`.

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use crate::task::{
    Arm, Cancelled, Disposition, Life, Priority, Reach, Reason, Risk, Task, TaskEvent, Transition,
};

/// What an event of topic `tasks` tells.
#[derive(Debug, Clone, PartialEq)]
pub enum Told {
    /// There is a task.
    Created(Box<Task>),
    /// Something became of it.
    Changed(Box<TaskEvent>),
    /// What an event said, its source and id, cannot become of a task.
    Refused {
        /// Of which task.
        task_id: String,
        /// Source and id of the event.
        cause: String,
    },
}

#[derive(Deserialize)]
struct Created {
    task_id: String,
    idempotency_key: String,
    assignment_id: String,
    campaign: String,
    title: String,
    customer_id: String,
    shop: String,
    order_ids: Vec<String>,
    risk: Risk,
    reasons: Vec<Reason>,
    recommended_actions: Vec<String>,
    required_skills: Vec<String>,
    channels: Vec<Channel>,
    priority: Priority,
    not_before: String,
    expires_at: String,
    arm: Arm,
}

#[derive(Deserialize)]
struct Channel {
    channel: String,
    until: Option<String>,
}

#[derive(Deserialize)]
struct Changed {
    task_id: String,
    idempotency_key: String,
    campaign: String,
    customer_id: String,
    revision: u32,
    cause: String,
}

#[derive(Deserialize)]
struct Rejected {
    reason: String,
    retryable: bool,
}

#[derive(Deserialize)]
struct Completed {
    disposition: Disposition,
    channel: Option<String>,
}

#[derive(Deserialize)]
struct Called {
    reason: Cancelled,
}

#[derive(Deserialize)]
struct Refused {
    task_id: String,
    event_id: String,
}

fn ms(text: &str) -> Option<i64> {
    text.parse().ok().map(Timestamp::as_millisecond)
}

impl Told {
    /// What an event as docs/task.schema.json has it tells of a task; `None` if nothing, as `task.assigned` does, and if it
    /// is no such event.
    pub fn of(event: &Value) -> Option<Self> {
        let at_ms = ms(event["time"].as_str()?)?;
        let kind = event["type"].as_str()?.strip_prefix("task.")?;
        let data = &event["data"];
        match kind {
            "created" => created(data, at_ms).map(|task| Self::Created(Box::new(task))),
            "refused" => {
                let Refused { task_id, event_id } = Refused::deserialize(data).ok()?;
                Some(Self::Refused { task_id, cause: event_id })
            }
            _ => {
                let agent_id = || data["agent_id"].as_str().map(str::to_owned);
                let transition = match kind {
                    "offered" => Transition::Offered { agent_id: agent_id() },
                    "accepted" => Transition::Accepted { agent_id: agent_id() },
                    "rejected" => {
                        let Rejected { reason, retryable } = Rejected::deserialize(data).ok()?;
                        Transition::Rejected { reason, retryable }
                    }
                    "completed" => {
                        let Completed { disposition, channel } = Completed::deserialize(data).ok()?;
                        Transition::Completed { disposition, channel }
                    }
                    "expired" => Transition::Expired,
                    "cancelled" => Transition::Cancelled { reason: Called::deserialize(data).ok()?.reason },
                    _ => return None,
                };
                let Changed { task_id, idempotency_key, campaign, customer_id, revision, cause } =
                    Changed::deserialize(data).ok()?;
                Some(Self::Changed(Box::new(TaskEvent {
                    task_id,
                    idempotency_key,
                    campaign,
                    customer_id,
                    revision,
                    at_ms,
                    transition,
                    cause,
                })))
            }
        }
    }
}

fn created(data: &Value, at_ms: i64) -> Option<Task> {
    let created = Created::deserialize(data).ok()?;
    let reach = |Channel { channel, until }: Channel| {
        let until_ms = match until {
            Some(until) => Some(ms(&until)?),
            None => None,
        };
        Some(Reach { channel, until_ms })
    };
    Some(Task {
        task_id: created.task_id,
        idempotency_key: created.idempotency_key,
        assignment_id: created.assignment_id,
        campaign: created.campaign,
        title: created.title,
        customer_id: created.customer_id,
        shop: created.shop,
        order_ids: created.order_ids,
        risk: created.risk,
        reasons: created.reasons,
        recommended_actions: created.recommended_actions,
        required_skills: created.required_skills,
        channels: created.channels.into_iter().map(reach).collect::<Option<_>>()?,
        priority: created.priority,
        created_ms: at_ms,
        not_before_ms: ms(&created.not_before)?,
        expires_ms: ms(&created.expires_at)?,
        arm: created.arm,
        life: Life::begin(at_ms),
    })
}
