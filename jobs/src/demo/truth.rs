//! What a campaign did in truth: the same shop on the same days, without it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};

use headsup_sources::SourceEvent;
use headsup_sources::simulate::{Config, Simulator};
use serde_json::Value;

use crate::Failure;

/// When each customer cancelled an order or asked to return one, in ms.
pub type Outcomes = HashMap<String, Vec<i64>>;

/// The outcomes of a world that nobody acts on. Every draw in it is that of the same world with contacts.
///
/// # Errors
/// A world that cannot be.
pub fn untouched(config: Config, stop: &AtomicBool) -> Result<Outcomes, Failure> {
    let mut outcomes = Outcomes::new();
    for event in Simulator::new(config).map_err(Failure::from_error)? {
        note(&event, &mut outcomes);
        if stop.load(Ordering::Relaxed) {
            break;
        }
    }
    Ok(outcomes)
}

fn note(event: &SourceEvent, outcomes: &mut Outcomes) {
    if event.topic != "orders"
        || !(event.json.contains("\"order.cancelled\"") || event.json.contains("\"order.return_requested\""))
    {
        return;
    }
    let Ok(json) = serde_json::from_str::<Value>(&event.json) else { return };
    let by_customer = json["type"] == "order.return_requested" || json["data"]["actor"] == "customer";
    if by_customer {
        outcomes.entry(event.key.clone()).or_default().push(event.time_ms);
    }
}

/// The share of customers with an outcome within so long after a time of theirs.
pub fn rate(customers: &[(String, i64)], horizon_ms: i64, outcomes: &Outcomes) -> f64 {
    let within = |(customer, at_ms): &&(String, i64)| {
        let times = outcomes.get(customer).map(Vec::as_slice).unwrap_or_default();
        times.iter().any(|time_ms| time_ms > at_ms && *time_ms <= at_ms + horizon_ms)
    };
    customers.iter().filter(within).count() as f64 / customers.len() as f64
}
