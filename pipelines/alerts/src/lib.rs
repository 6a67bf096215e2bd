//! Alerts: rules over the rows of KPIs, and the life of what they find.
//!
//! It does no I/O and reads no clock: rows and ticks of event time go in, changes of alerts come
//! out, the same whenever and however often that is done.
//!
//! `rules` reads `sql/alerts.toml` and checks it. [`Alerts`] is the state: one machine (`life`) per
//! rule and series, over what its windows say (`reading`), and what was said about it (`series`).
//! Start reading at [`Alerts::advance`]; docs/alerts.md is for those who write rules.

mod alerts;
mod backtest;
mod cases;
mod change;
mod contributors;
pub mod export;
mod life;
mod reading;
mod rows;
mod rules;
mod series;
mod shape;
#[cfg(test)]
mod tests;

pub use alerts::{Alerts, AlertsError, CopiedAlerts, Explain, Unexplained};
pub use backtest::{Backtest, Diff, Fired, Statistics, backtest, diff, runs};
pub use cases::{Case, Cases, Outcome};
pub use change::{Alert, Change, Kind, State};
pub use contributors::Contributor;
pub use life::Episode;
pub use rules::{
    Baseline, Burn, BurnWindow, Condition, Direction, Mistake, Rule, Rules, RulesError, Severity, Threshold,
};
pub use shape::KpiShape;

pub(crate) use headsup_stream::is_time;
