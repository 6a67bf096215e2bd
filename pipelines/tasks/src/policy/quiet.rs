//! Hours in which nobody is contacted.

use jiff::civil::Time;
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};

/// From one time of the day to another, by the clocks of a zone; over midnight if it ends before
/// it begins.
#[derive(Debug, Clone, PartialEq)]
pub struct QuietHours {
    from: Time,
    to: Time,
    zone: TimeZone,
}

impl QuietHours {
    /// `from` is quiet, `to` no longer. If they are the same there are none.
    pub fn new(from: Time, to: Time, zone: TimeZone) -> Self {
        Self { from, to, zone }
    }

    /// Whose clocks.
    pub fn zone(&self) -> &TimeZone {
        &self.zone
    }

    fn covers(&self, clock: Time) -> bool {
        if self.from <= self.to {
            self.from <= clock && clock < self.to
        } else {
            self.from <= clock || clock < self.to
        }
    }

    /// Whether it is quiet at this time.
    pub fn is_quiet(&self, at_ms: i64) -> bool {
        Timestamp::from_millisecond(at_ms).is_ok_and(|at| self.covers(self.zone.to_datetime(at).time()))
    }

    /// This time or the first after it that is not quiet. When clocks are changed, what they show
    /// counts: an end that is left out comes when they are set forward.
    pub fn next_loud(&self, at_ms: i64) -> i64 {
        let Ok(at) = Timestamp::from_millisecond(at_ms) else { return at_ms };
        if !self.covers(self.zone.to_datetime(at).time()) {
            return at_ms;
        }
        let today = self.zone.to_datetime(at).date();
        // The end may be today or tomorrow, and clocks may be changed in between.
        let days = [0, 1, 2].into_iter().filter_map(|days| today.checked_add(Span::new().days(days)).ok());
        let ends = days.flat_map(|day| {
            let end = self.zone.to_ambiguous_timestamp(day.to_datetime(self.to));
            [end.earlier().ok(), end.later().ok()]
        });
        let changes = self.zone.following(at).map(|change| change.timestamp()).take(2).map(Some);
        let loud = ends.chain(changes).flatten().filter(|&end| end > at);
        loud.filter(|&end| !self.covers(self.zone.to_datetime(end).time()))
            .map(Timestamp::as_millisecond)
            .min()
            .unwrap_or(at_ms)
    }
}
