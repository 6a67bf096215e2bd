//! Which incidents hold at an instant, and how hard they strike.

use super::config::{IncidentKind, Trouble};

/// Handle times under `aht`, as a multiple, unless it is said.
pub(super) const SLOWER: f64 = 2.5;
/// Share of one sku's units that are faulty under `bad_batch`.
pub(super) const BAD_BATCH_FAULTY: f64 = 0.6;
/// Share of agents whose desk is down under `outage`.
pub(super) const OUTAGE_SHARE: f64 = 0.8;

/// The incidents of a run.
pub(super) struct Incidents(Vec<Trouble>);

impl Incidents {
    pub(super) fn new(troubles: Vec<Trouble>) -> Self {
        Self(troubles)
    }

    pub(super) fn all(&self) -> &[Trouble] {
        &self.0
    }

    /// What handle times of a skill are multiplied with.
    pub(super) fn slowness(&self, at_ms: i64, skill: usize) -> f64 {
        let strikes = |trouble: &&Trouble| {
            trouble.kind == IncidentKind::Aht
                && trouble.target == skill
                && (trouble.from_ms..trouble.to_ms).contains(&at_ms)
        };
        self.0.iter().find(strikes).map_or(1.0, |trouble| trouble.factor)
    }

    pub(super) fn outage(&self, at_ms: i64) -> bool {
        self.holds(IncidentKind::Outage, at_ms, None)
    }

    pub(super) fn bot_down(&self, at_ms: i64) -> bool {
        self.holds(IncidentKind::BotDown, at_ms, None)
    }

    pub(super) fn carrier_delayed(&self, at_ms: i64, carrier: usize) -> bool {
        self.holds(IncidentKind::LateDelivery, at_ms, Some(carrier))
    }

    pub(super) fn batch_bad(&self, at_ms: i64, sku: usize) -> bool {
        self.holds(IncidentKind::BadBatch, at_ms, Some(sku))
    }

    fn holds(&self, kind: IncidentKind, at_ms: i64, target: Option<usize>) -> bool {
        self.0.iter().any(|trouble| {
            trouble.kind == kind
                && (trouble.from_ms..trouble.to_ms).contains(&at_ms)
                && target.is_none_or(|target| target == trouble.target)
        })
    }
}
