//! Event time: windows and panes, watermarks, and the account of every event.
//!
//! Pure functions and small states; no I/O, no clock, no threads. Times are in
//! ms since the Unix epoch, in UTC, and may be negative.
//!
//! Start reading at [`Windowing`]; [`PartitionClock`] says what is late.

mod accounting;
mod duration;
mod watermark;
mod windowing;

pub use accounting::Accounting;
pub use duration::{DURATION_MS_MAX, format_duration_ms, parse_duration_ms};
pub use watermark::{PartitionClock, Placed};
pub use windowing::{Windowing, WindowingError, gcd};

/// Whether this can be a time of an event, in ms, or the time between two: so far from what an
/// integer holds that sums of them do not overflow, also in microseconds.
pub fn is_time(ms: i64) -> bool {
    (-1 << 52..1 << 52).contains(&ms)
}
