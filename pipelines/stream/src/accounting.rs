use std::fmt;
use std::ops::AddAssign;

use serde::{Deserialize, Serialize};

/// What became of every record read: nothing disappears.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accounting {
    /// Records read.
    pub read: u64,
    /// Events that went into the state.
    pub applied: u64,
    /// Events whose (`source`, `id`) was seen before.
    pub duplicate: u64,
    /// Events that came too late to be applied. They stay in the log.
    pub late: u64,
    /// Records set aside with a reason.
    pub quarantined: u64,
    /// Events of types that are not applied.
    pub ignored: u64,
}

impl Accounting {
    /// The counts by name, without `read`.
    pub fn outcomes(&self) -> [(&'static str, u64); 5] {
        [
            ("applied", self.applied),
            ("duplicate", self.duplicate),
            ("late", self.late),
            ("quarantined", self.quarantined),
            ("ignored", self.ignored),
        ]
    }

    /// How many of the records read are not accounted for yet. At the end of an
    /// input it must be 0; in between it is what waits for its turn.
    pub fn pending(&self) -> u64 {
        let known: u64 = self.outcomes().iter().map(|(_, count)| count).sum();
        assert!(known <= self.read, "more records accounted for than read: {self:?}");
        self.read - known
    }
}

impl AddAssign for Accounting {
    fn add_assign(&mut self, other: Self) {
        self.read += other.read;
        self.applied += other.applied;
        self.duplicate += other.duplicate;
        self.late += other.late;
        self.quarantined += other.quarantined;
        self.ignored += other.ignored;
    }
}

impl fmt::Display for Accounting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "read {}", self.read)?;
        let mut sign = '=';
        for (name, count) in self.outcomes() {
            write!(f, " {sign} {name} {count}")?;
            sign = '+';
        }
        match self.pending() {
            0 => Ok(()),
            pending => write!(f, " + pending {pending}"),
        }
    }
}
