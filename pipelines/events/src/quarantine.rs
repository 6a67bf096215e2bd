use std::fmt;

/// Why a record is no event that can be applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// The record has no bytes besides white space.
    Empty,
    /// The record is longer than the limit.
    TooLong,
    /// The bytes are not UTF-8 (a record cut in the middle of a character, say).
    NotUtf8,
    /// The bytes are not one JSON object.
    NotJson,
    /// A required attribute or data field is missing, null or empty.
    MissingField,
    /// An attribute or data field has the wrong JSON type or an impossible value.
    MistypedField,
    /// A data field ending in `_ms` is negative.
    NegativeDuration,
    /// `time` is no RFC 3339 time.
    BadTime,
    /// `time` is further ahead of the log's append time than `max_skew`.
    InTheFuture,
    /// A record of topic `partials` that is not what a share of this headsup says.
    NoPartials,
}

impl Reason {
    /// All reasons, in the order of the checks.
    pub const ALL: [Reason; 10] = [
        Reason::Empty,
        Reason::TooLong,
        Reason::NotUtf8,
        Reason::NotJson,
        Reason::MissingField,
        Reason::MistypedField,
        Reason::NegativeDuration,
        Reason::BadTime,
        Reason::InTheFuture,
        Reason::NoPartials,
    ];

    /// The name used in tables, metrics and messages.
    pub const fn name(self) -> &'static str {
        match self {
            Reason::Empty => "empty",
            Reason::TooLong => "too_long",
            Reason::NotUtf8 => "not_utf8",
            Reason::NotJson => "not_json",
            Reason::MissingField => "missing_field",
            Reason::MistypedField => "mistyped_field",
            Reason::NegativeDuration => "negative_duration",
            Reason::BadTime => "bad_time",
            Reason::InTheFuture => "in_the_future",
            Reason::NoPartials => "no_partials",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A record set aside, with all that is needed to mend it and put it back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quarantined {
    /// Offset of the record in its partition; of a file, its line number from 0.
    pub offset: u64,
    /// When the log took it in, in ms since the Unix epoch.
    pub appended_at_ms: i64,
    /// The class of the mistake.
    pub reason: Reason,
    /// What was found and what was expected, for a person.
    pub detail: String,
    /// The record as it came (of an oversized line, its beginning).
    pub bytes: Vec<u8>,
}
