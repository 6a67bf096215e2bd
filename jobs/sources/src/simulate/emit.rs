//! Writing events: the CloudEvent as one line of JSON, and the order in which events leave.

use std::collections::{BinaryHeap, VecDeque};
use std::fmt::Write;

use super::config::{DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS};
use super::dice::mix;
use crate::SourceEvent;

/// What is the same for all events of one conversation, order or agent.
pub(super) struct Subject<'a> {
    pub(super) topic: &'static str,
    /// The log's key: the customer's or agent's id.
    pub(super) key: String,
    /// First part of `source`.
    pub(super) system: &'a str,
    /// Second part of `source`.
    pub(super) shop: &'a str,
    /// The conversation's, order's or agent's id.
    pub(super) id: String,
    /// Identifies the subject in the randomness of delays and duplicates.
    pub(super) stream: u64,
}

/// Sources record an event this long after it happened, at least and (without disorder) at most.
const RECORDING_MS_MIN: i64 = 20;
const RECORDING_MS_MAX: i64 = 400;

/// Takes events in event-time order and gives them out in the order that is asked for.
pub(super) struct Outbox {
    seed: u64,
    disorder_ms: i64,
    duplicate_rate: f64,
    ordered: VecDeque<SourceEvent>,
    /// By recorded time, when `disorder_ms` > 0.
    recorded: BinaryHeap<Recorded>,
    taken: u64,
    day: DayText,
}

impl Outbox {
    pub(super) fn new(seed: u64, disorder_ms: u32, duplicate_rate: f64) -> Self {
        Self {
            seed,
            disorder_ms: disorder_ms.into(),
            duplicate_rate,
            ordered: VecDeque::new(),
            recorded: BinaryHeap::new(),
            taken: 0,
            day: DayText { day: i64::MIN, text: String::new() },
        }
    }

    /// Writes one event; `data` writes the inside of `data` after the common fields, which it writes too.
    pub(super) fn put(
        &mut self,
        subject: Subject,
        number: u32,
        kind: &str,
        time_ms: i64,
        data: impl FnOnce(&mut String),
    ) {
        let chance = mix(mix(self.seed ^ subject.stream) ^ u64::from(number));
        let recorded_ms = time_ms + self.recording_ms(chance);
        let mut json = String::with_capacity(448);
        json.push_str(r#"{"specversion":"1.0","id":""#);
        json.push_str(&subject.id);
        json.push('.');
        push_number(&mut json, number.into());
        push_all(
            &mut json,
            &["\",\"source\":\"/", subject.system, "/", subject.shop, "\",\"type\":\"", kind],
        );
        push_all(&mut json, &["\",\"subject\":\"", &subject.id, "\",\"time\":\""]);
        self.day.write(&mut json, time_ms);
        json.push_str(r#"","recordedtime":""#);
        self.day.write(&mut json, recorded_ms);
        json.push_str(r#"","data":{"#);
        data(&mut json);
        json.push_str("}}");
        let event = SourceEvent { topic: subject.topic, key: subject.key, time_ms, json };
        let again = mix(chance) as f64 / u64::MAX as f64;
        if again < self.duplicate_rate {
            let copy =
                SourceEvent { topic: event.topic, key: event.key.clone(), time_ms, json: event.json.clone() };
            self.take(event, recorded_ms);
            // The same bytes a second time, as when a sender retries.
            let copy_ms = time_ms + self.recording_ms(mix(chance ^ 1));
            self.take(copy, copy_ms.max(recorded_ms));
        } else {
            self.take(event, recorded_ms);
        }
    }

    /// The next event that nothing to come can precede. `now_ms` is the simulation's clock.
    pub(super) fn pop(&mut self, now_ms: i64, finished: bool) -> Option<SourceEvent> {
        if self.disorder_ms == 0 {
            return self.ordered.pop_front();
        }
        // What is still to happen is recorded at `now_ms + RECORDING_MS_MIN` or later.
        let ready =
            self.recorded.peek().is_some_and(|next| finished || next.at_ms < now_ms + RECORDING_MS_MIN);
        if ready { self.recorded.pop().map(|next| next.event) } else { None }
    }

    fn take(&mut self, event: SourceEvent, recorded_ms: i64) {
        if self.disorder_ms == 0 {
            self.ordered.push_back(event);
        } else {
            self.taken += 1;
            self.recorded.push(Recorded { at_ms: recorded_ms, number: self.taken, event });
        }
    }

    /// An event is emitted when it is recorded, and what was emitted before it was recorded before
    /// it; so it comes at most the largest delay minus the smallest behind a later event.
    fn recording_ms(&self, chance: u64) -> i64 {
        let usual = RECORDING_MS_MAX - RECORDING_MS_MIN;
        let widest = match self.disorder_ms {
            0 => usual,
            bound if chance.is_multiple_of(50) => bound,
            bound => usual.min(bound),
        };
        RECORDING_MS_MIN + (chance >> 16) as i64 % (widest + 1)
    }
}

struct Recorded {
    at_ms: i64,
    number: u64,
    event: SourceEvent,
}

impl PartialEq for Recorded {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Recorded {}

impl PartialOrd for Recorded {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Recorded {
    /// The earliest is the greatest, so that the heap gives it first.
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (other.at_ms, other.number).cmp(&(self.at_ms, self.number))
    }
}

/// Writes times as RFC 3339 with milliseconds; keeps the day's text, since most times share it.
struct DayText {
    day: i64,
    text: String,
}

impl DayText {
    fn write(&mut self, out: &mut String, at_ms: i64) {
        let day = at_ms.div_euclid(DAY_MS);
        if day != self.day {
            self.day = day;
            let (year, month, date) = civil(day);
            self.text = format!("{year:04}-{month:02}-{date:02}T");
        }
        out.push_str(&self.text);
        let of_day_ms = at_ms.rem_euclid(DAY_MS);
        two_digits(out, of_day_ms / HOUR_MS);
        out.push(':');
        two_digits(out, of_day_ms / MINUTE_MS % 60);
        out.push(':');
        two_digits(out, of_day_ms / SECOND_MS % 60);
        out.push('.');
        out.push(digit(of_day_ms / 100 % 10));
        two_digits(out, of_day_ms % 100);
        out.push('Z');
    }
}

/// An instant as RFC 3339 with milliseconds.
pub(super) fn rfc3339(at_ms: i64) -> String {
    let mut out = String::with_capacity(24);
    DayText { day: i64::MIN, text: String::new() }.write(&mut out, at_ms);
    out
}

fn two_digits(out: &mut String, number: i64) {
    out.push(digit(number / 10));
    out.push(digit(number % 10));
}

fn digit(number: i64) -> char {
    (b'0' + number as u8) as char
}

/// Days since 1970-01-01 as year, month, day (Hinnant, "chrono-compatible low-level date algorithms").
fn civil(day: i64) -> (i64, i64, i64) {
    let shifted = day + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let date = of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, date)
}

/// A prefix and a number, as ids are.
pub(super) fn numbered(prefix: &str, number: u64) -> String {
    let mut id = String::with_capacity(prefix.len() + 10);
    id.push_str(prefix);
    push_number(&mut id, number);
    id
}

/// A prefix, the customer's number and the number for the customer.
pub(super) fn numbered_twice(prefix: &str, customer: u64, number: u32) -> String {
    let mut id = String::with_capacity(prefix.len() + 16);
    id.push_str(prefix);
    push_number(&mut id, customer);
    id.push('-');
    push_number(&mut id, number.into());
    id
}

/// Decimal digits, without the machinery of `write!`: ids are in every event, several times.
pub(super) fn push_number(out: &mut String, number: u64) {
    let mut digits = [0; 20];
    let (mut at, mut left) = (digits.len(), number);
    loop {
        at -= 1;
        digits[at] = b'0' + (left % 10) as u8;
        left /= 10;
        if left == 0 {
            break;
        }
    }
    digits[at..].iter().for_each(|digit| out.push(char::from(*digit)));
}

pub(super) fn push_all(out: &mut String, parts: &[&str]) {
    parts.iter().for_each(|part| out.push_str(part));
}

/// The common fields of `data`.
pub(super) fn push_common(out: &mut String, customer: u64, shop: &str, channel: &str) {
    out.push_str("\"customer_id\":\"cust-");
    push_number(out, customer);
    push_all(out, &["\",\"shop\":\"", shop, "\",\"channel\":\"", channel, "\""]);
}

/// A number in hundredths as decimal text, without passing through a float's printing.
pub(super) fn push_hundredths(out: &mut String, hundredths: i64) {
    let sign = if hundredths < 0 { "-" } else { "" };
    _ = write!(out, "{sign}{}.{:02}", hundredths.abs() / 100, hundredths.abs() % 100);
}
