#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that panics has failed, as it should")]

use std::sync::Arc;

use serde_json::{Value, json};

use crate::task::{Disposition, Reason};

use super::*;

mod chance;
mod filters;
mod mistakes;
mod quiet;
mod schema;

pub(super) const MINUTE: i64 = 60_000;
pub(super) const HOUR: i64 = 60 * MINUTE;
pub(super) const DAY: i64 = 24 * HOUR;
/// 2026-03-02T04:00:00Z, noon in Shanghai.
pub(super) const NOON: i64 = 1_772_424_000_000;

pub(super) fn policy(text: &str) -> Policy {
    Policy::new(Arc::new(Rules::parse("p.toml", text).unwrap_or_else(|error| panic!("{error}"))))
}

/// Of model `m`, at a time.
pub(super) fn score(customer: &str, probability: f64, at_ms: i64) -> Score {
    Score {
        customer_id: customer.to_owned(),
        model: "m".to_owned(),
        version: "m@1".to_owned(),
        probability,
        percentile: Some(100.0 * probability),
        lead_ms: 3 * DAY as u64,
        order_ids: vec!["o1".to_owned()],
        reasons: vec![Reason { group: "returns".into(), en: "Returns: 3".into(), zh: "退单 3 次".into() }],
        shop: "s".to_owned(),
        channel: "wechat".to_owned(),
        at_ms,
    }
}

/// What one input brings.
pub(super) fn of<T>(act: impl FnOnce(&mut Vec<Decision>) -> T) -> Vec<Decision> {
    let mut out = Vec::new();
    act(&mut out);
    out
}

/// What happened, in short.
pub(super) fn short(decisions: &[Decision]) -> Vec<String> {
    decisions
        .iter()
        .map(|decision| match decision {
            Decision::Assigned(a) => format!("{} {} {}", a.customer_id, a.campaign, a.arm.name()),
            Decision::Created(t) => format!("{} {} task", t.customer_id, t.campaign),
            Decision::Changed(e) => format!("{} {} {}", e.customer_id, e.campaign, e.transition.event_type()),
            Decision::Suppressed(s) => format!("{} {} {}", s.customer_id, s.campaign, s.reason.name()),
            Decision::Refused(r) => format!("{} no {}", r.task_id, r.refused),
        })
        .collect()
}

pub(super) fn created(decisions: &[Decision]) -> Vec<&Task> {
    let tasks = decisions.iter().filter_map(|decision| match decision {
        Decision::Created(task) => Some(&**task),
        _ => None,
    });
    tasks.collect()
}

/// Brings a task to its end by a contact.
pub(super) fn contact(policy: &mut Policy, task_id: &str, at_ms: i64, out: &mut Vec<Decision>) {
    let done = Transition::Completed { disposition: Disposition::Solved, channel: None };
    let steps = [Transition::Offered { agent_id: None }, Transition::Accepted { agent_id: None }, done];
    for (step, transition) in steps.into_iter().enumerate() {
        policy.feedback(task_id, transition, &format!("{task_id}/{step}"), at_ms, out).unwrap();
    }
}

#[test]
fn the_default_policy_is_read() {
    let rules = Rules::parse("models/policy.toml", include_str!("../../../../models/policy.toml")).unwrap();
    let names: Vec<&str> = rules.campaigns.iter().map(|campaign| campaign.name.as_str()).collect();
    assert_eq!(names, ["save_order", "win_back"]);
    assert_eq!(rules.models(), ["churn", "order_return"]);
    assert_eq!(rules.caps, [Cap { contacts: 1, per_ms: 7 * DAY }, Cap { contacts: 3, per_ms: 30 * DAY }]);
    assert_eq!(rules.memory_ms(), 60 * DAY);
    let wechat = rules.channel("wechat").unwrap();
    assert_eq!((wechat.reach_ms, wechat.pushes_max, wechat.consent), (Some(48 * HOUR), Some(5), false));
    assert_eq!(rules.campaign("win_back").unwrap().pick, Pick::TopK(20));
    assert_eq!(rules.campaign("save_order").unwrap().control_share, 0.10);
    assert_eq!(rules.zone().unwrap().iana_name(), Some("Asia/Shanghai"));
}
