/// Where an event stands in time, given what its partition has shown before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placed {
    /// It takes its turn at this time, in ms: its own event time, or, if that is
    /// behind the watermark, the watermark.
    At(i64),
    /// It is behind the watermark by more than the allowed lateness.
    TooLate,
}

/// The event time of one partition.
///
/// Its watermark is the largest event time seen minus the allowed disorder. That
/// depends on the partition's records and their order alone, not on how fast
/// they are read, how batches are cut, or what other partitions do; so what is
/// late is late in every replay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartitionClock {
    disorder_ms_max: i64,
    lateness_ms_max: i64,
    latest_ms: Option<i64>,
}

impl PartitionClock {
    /// A clock that expects events to be out of order by up to `disorder_ms_max`
    /// and gives up on those that are later than that by `lateness_ms_max`.
    pub fn new(disorder_ms_max: i64, lateness_ms_max: i64) -> Self {
        Self { disorder_ms_max, lateness_ms_max, latest_ms: None }
    }

    /// The watermark in ms: no event before it is on time. `None` before the
    /// first event.
    pub fn watermark_ms(&self) -> Option<i64> {
        self.latest_ms.map(|latest| latest.saturating_sub(self.disorder_ms_max))
    }

    /// The largest event time seen, in ms.
    pub fn latest_ms(&self) -> Option<i64> {
        self.latest_ms
    }

    /// When the turn of an event of this time is.
    #[inline]
    pub fn place(&self, time_ms: i64) -> Placed {
        match self.watermark_ms() {
            Some(watermark) if time_ms < watermark => {
                if time_ms < watermark.saturating_sub(self.lateness_ms_max) {
                    Placed::TooLate
                } else {
                    Placed::At(watermark)
                }
            }
            _ => Placed::At(time_ms),
        }
    }

    /// Takes in an event of this time.
    #[inline]
    pub fn see(&mut self, time_ms: i64) {
        self.latest_ms = Some(self.latest_ms.map_or(time_ms, |latest| latest.max(time_ms)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn late_is_what_is_behind_the_watermark() {
        let mut clock = PartitionClock::new(2, 10);
        assert_eq!(clock.watermark_ms(), None);
        let turns: Vec<_> = [100, 98, 97, 120, 119, 108, 107, 121]
            .map(|time_ms| {
                let placed = clock.place(time_ms);
                clock.see(time_ms);
                placed
            })
            .into();
        use Placed::*;
        assert_eq!(turns, [At(100), At(98), At(98), At(120), At(119), At(118), TooLate, At(121)]);
        assert_eq!(clock.watermark_ms(), Some(119));
    }
}
