//! Names of the log's topics that a run writes.

/// What becomes of alerts, as events.
pub const ALERTS: &str = "alerts";
/// Rows of KPIs, as events.
pub const KPIS: &str = "kpis";
/// Scores of customers, as events.
pub const SCORES: &str = "scores";
/// What becomes of proactive service: who was assigned, tasks, and what became of them, as events.
pub const TASKS: &str = "tasks";
/// Records that were set aside, as events.
pub const QUARANTINE: &str = "quarantine";
/// What shares say ([`ShareRecord`]).
pub const PARTIALS: &str = "partials";
