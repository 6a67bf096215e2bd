//! Times, as they are in JSON.

use jiff::Timestamp;
use jiff::fmt::temporal::DateTimePrinter;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use utoipa::ToSchema;

/// A time in ms since the Unix epoch. In JSON it is RFC 3339 in UTC with milliseconds; what no
/// calendar reaches is cut to the last time that one does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ToSchema)]
#[schema(value_type = String, format = DateTime, example = "2026-03-02T10:00:00.000Z")]
pub struct Time(pub i64);

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        const PRINTER: DateTimePrinter = DateTimePrinter::new().precision(Some(3));
        let (min, max) = (Timestamp::MIN, Timestamp::MAX);
        let at = self.0.clamp(min.as_millisecond(), max.as_millisecond());
        let at = Timestamp::from_millisecond(at).unwrap_or(max);
        serializer.serialize_str(&PRINTER.timestamp_to_string(&at))
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let at: Timestamp = text
            .parse()
            .map_err(|_| de::Error::custom("it is not a time by RFC 3339, such as 2026-03-02T10:00:00Z"))?;
        Ok(Self(at.as_millisecond()))
    }
}
