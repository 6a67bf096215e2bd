//! The life of one series under one rule, window by window.

use serde::{Deserialize, Serialize};

use crate::reading::Reading;
use crate::rules::Rule;

/// A time in which a series fired. Times are ends of windows, in ms.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Episode {
    /// From when on the condition held without a break.
    pub since_ms: i64,
    /// When it had held for as long as the rule says.
    pub started_ms: i64,
    /// The value then.
    pub value: f64,
    /// Of how many it was then.
    pub n: i64,
    /// What it was compared with then.
    pub limit: f64,
    /// The value furthest beyond the limit.
    pub peak: f64,
    /// The window that had it.
    pub peak_ms: i64,
    /// The last window that was not clear.
    pub last_ms: i64,
    /// When it was over; `None` while it fires.
    pub resolved_ms: Option<i64>,
}

impl Episode {
    /// Whether two were firing at the same time.
    pub fn overlaps(&self, other: &Self) -> bool {
        let before = |a: &Self, b: &Self| a.resolved_ms.is_some_and(|end_ms| end_ms <= b.started_ms);
        !before(self, other) && !before(other, self)
    }
}

/// Where a series is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub(crate) enum Life {
    #[default]
    Idle,
    /// The condition holds, not yet for as long as the rule says.
    Pending {
        since_ms: i64,
        peak: f64,
        peak_ms: i64,
    },
    Firing(Episode),
}

impl Life {
    /// What becomes of it at the end of a window that says this; `None` if it says nothing
    /// that can be relied on. Gives out the episode that is over.
    pub fn step(&mut self, rule: &Rule, end_ms: i64, reading: Option<Reading>) -> Option<Episode> {
        if let Self::Firing(episode) = self {
            if let Some(reading) = reading {
                if rule.direction().is_beyond(reading.value, episode.peak) {
                    (episode.peak, episode.peak_ms) = (reading.value, end_ms);
                }
                if !reading.clear {
                    episode.last_ms = end_ms;
                    return None;
                }
            }
            if end_ms - episode.last_ms < rule.keep_firing_for_ms {
                return None;
            }
            let over = Episode { resolved_ms: Some(end_ms), ..*episode };
            *self = Self::Idle;
            return Some(over);
        }
        let Some(reading) = reading.filter(|reading| reading.hot) else {
            *self = Self::Idle;
            return None;
        };
        let (since_ms, peak, peak_ms) = match *self {
            Self::Pending { since_ms, peak, peak_ms } if !rule.direction().is_beyond(reading.value, peak) => {
                (since_ms, peak, peak_ms)
            }
            Self::Pending { since_ms, .. } => (since_ms, reading.value, end_ms),
            _ => (end_ms, reading.value, end_ms),
        };
        *self = if end_ms - since_ms < rule.for_ms {
            Self::Pending { since_ms, peak, peak_ms }
        } else {
            Self::Firing(Episode {
                since_ms,
                started_ms: end_ms,
                value: reading.value,
                n: reading.n,
                limit: reading.limit,
                peak,
                peak_ms,
                last_ms: end_ms,
                resolved_ms: None,
            })
        };
        None
    }

    /// The episode that goes on.
    pub fn firing(&self) -> Option<&Episode> {
        match self {
            Self::Firing(episode) => Some(episode),
            _ => None,
        }
    }
}
