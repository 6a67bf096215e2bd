use std::sync::Arc;

use arrow::array::{BooleanBuilder, Int64Builder, StringViewArray, make_view};
use arrow::buffer::{Buffer, ScalarBuffer};

use crate::batch::{EventBatch, Flag, Number, Role, Text};
use crate::scan::{KIND, RECORDED, Raw, SPECVERSION, Scanner, TIME};
use crate::strict::{Mistake, parse};
use crate::time::Midnight;
use crate::{Chunk, EventType, Quarantined, Reason};

/// What a record may be at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Longest record, in bytes.
    pub event_bytes_max: usize,
    /// How far `time` may be ahead of the log's append time, in ms.
    pub skew_ms_max: i64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { event_bytes_max: 1 << 20, skew_ms_max: 300_000 }
    }
}

/// What became of the records of a chunk.
#[derive(Debug)]
pub struct Decoded {
    /// How many records there were: events + quarantined + ignored.
    pub read: u64,
    /// The events to apply.
    pub events: EventBatch,
    /// The records that are no events.
    pub quarantined: Vec<Quarantined>,
    /// Events of types that headsup does not apply.
    pub ignored: u64,
}

/// Turns chunks of JSON lines into event batches.
///
/// The result depends on the chunk alone; the decoder only keeps its buffers.
#[derive(Debug)]
pub struct Decoder {
    limits: Limits,
    /// Bit per text column to fill.
    wanted: u32,
    scanner: Scanner,
    midnight: Midnight,
    arena: String,
}

impl Decoder {
    /// A decoder that fills these text columns and leaves the others empty.
    pub fn new(limits: Limits, columns: &[Text]) -> Self {
        let wanted = columns.iter().fold(0, |bits, &column| bits | 1 << column as u32);
        Self { limits, wanted, scanner: Scanner::new(), midnight: Midnight::default(), arena: String::new() }
    }

    /// Decodes every record of `chunk`.
    pub fn decode(&mut self, chunk: &Chunk) -> Decoded {
        let mut columns = Columns::new(chunk, self.wanted);
        let mut quarantined = Vec::new();
        let mut ignored = 0;
        let mut raw = Raw::EMPTY;
        let all_utf8 = simdutf8::basic::from_utf8(&chunk.bytes).is_ok();
        for (index, &(start, end)) in chunk.spans.iter().enumerate() {
            let bytes = &chunk.bytes[start as usize..end as usize];
            let result = if chunk.oversized.binary_search(&(index as u32)).is_ok() {
                Err(too_long(bytes.len(), self.limits.event_bytes_max, true))
            } else if bytes.len() > self.limits.event_bytes_max {
                Err(too_long(bytes.len(), self.limits.event_bytes_max, false))
            } else if !(all_utf8 && whole(&chunk.bytes, start) && whole(&chunk.bytes, end))
                && simdutf8::basic::from_utf8(bytes).is_err()
            {
                Err(not_utf8(bytes))
            } else {
                self.record(
                    &chunk.bytes[start as usize..],
                    bytes.len(),
                    chunk.appended_at_ms,
                    &mut raw,
                    &mut columns,
                )
            };
            match result {
                Ok(true) => {}
                Ok(false) => ignored += 1,
                Err(Mistake { reason, detail }) => quarantined.push(Quarantined {
                    offset: chunk.first_offset + index as u64,
                    appended_at_ms: chunk.appended_at_ms,
                    reason,
                    detail,
                    bytes: bytes.to_vec(),
                }),
            }
        }
        Decoded { read: chunk.spans.len() as u64, events: columns.finish(chunk), quarantined, ignored }
    }

    /// Whether the record `text[..length]`, which is UTF-8, is an event to apply, and
    /// then its row.
    fn record<'a>(
        &mut self,
        text: &'a [u8],
        length: usize,
        appended_at_ms: i64,
        raw: &mut Raw<'a>,
        columns: &mut Columns<'_>,
    ) -> Result<bool, Mistake> {
        if self.scanner.scan(text, length, raw).is_some() {
            return self.check(raw, appended_at_ms, columns, true);
        }
        let line = &text[..length];
        if line.trim_ascii().is_empty() {
            return Err(Mistake { reason: Reason::Empty, detail: "an empty line".to_owned() });
        }
        let mut arena = std::mem::take(&mut self.arena);
        let result = parse(line, &mut arena).and_then(|raw| self.check(&raw, appended_at_ms, columns, false));
        self.arena = arena;
        result
    }

    fn check(
        &mut self,
        raw: &Raw<'_>,
        appended_at_ms: i64,
        columns: &mut Columns<'_>,
        in_chunk: bool,
    ) -> Result<bool, Mistake> {
        match raw.string(SPECVERSION) {
            b"1.0" => {}
            b"" => return Err(missing("specversion")),
            other => return Err(impossible("specversion", "\"1.0\"", &shown(other))),
        }
        need(raw, ENVELOPE)?;
        let time_ms = self.time("time", raw.string(TIME))?;
        let known_ms = match raw.string(RECORDED) {
            b"" => appended_at_ms,
            text => self.time("recordedtime", text)?,
        };
        if time_ms > appended_at_ms.saturating_add(self.limits.skew_ms_max) {
            return Err(Mistake {
                reason: Reason::InTheFuture,
                detail: format!(
                    "time: {} is {} s ahead of when it was taken in; at most {} s are allowed (input.max_skew)",
                    shown(raw.string(TIME)),
                    (time_ms - appended_at_ms) / 1_000,
                    self.limits.skew_ms_max / 1_000,
                ),
            });
        }
        let Some(kind) = EventType::parse(raw.string(KIND)) else {
            return Ok(false);
        };
        let role = check_data(kind, raw)?;
        columns.push(kind, role, time_ms, known_ms, raw, in_chunk);
        Ok(true)
    }

    #[inline]
    fn time(&mut self, name: &str, text: &[u8]) -> Result<i64, Mistake> {
        self.midnight.parse(text).ok_or_else(|| Mistake {
            reason: Reason::BadTime,
            detail: format!(
                "{name}: expected an RFC 3339 time such as 2026-03-02T00:00:08.297Z, found \"{}\"",
                shown(text)
            ),
        })
    }
}

/// Whether no character is cut at `at`, in bytes that are UTF-8 as a whole: records
/// that follow each other could make up a character together.
#[inline]
fn whole(bytes: &[u8], at: u32) -> bool {
    bytes.get(at as usize).is_none_or(|&byte| byte & 0xc0 != 0x80)
}

/// The strings that something cannot be without: as bits, and by name.
type Needed = (u32, &'static [(usize, &'static str)]);

macro_rules! needed {
    ($(($place:expr, $name:literal)),* $(,)?) => {
        (0 $(| 1 << ($place as u32))*, &[$(($place as usize, $name)),*])
    };
}

const ENVELOPE: Needed = needed![(Text::Id, "id"), (Text::Source, "source"), (KIND, "type"), (TIME, "time")];

/// What every event about a conversation or an order has.
const SUBJECT: Needed = needed![
    (Text::Subject, "subject"),
    (Text::CustomerId, "data.customer_id"),
    (Text::Shop, "data.shop"),
    (Text::Channel, "data.channel"),
];

#[inline]
fn need(raw: &Raw<'_>, (bits, names): Needed) -> Result<(), Mistake> {
    if raw.present & bits == bits {
        return Ok(());
    }
    let name = names.iter().find(|(place, _)| raw.present & (1 << place) == 0);
    Err(missing(name.map_or("", |(_, name)| name)))
}

/// Holds `data` against the contract of its type. Who wrote, if it is a message.
fn check_data(kind: EventType, raw: &Raw<'_>) -> Result<Option<Role>, Mistake> {
    if kind == EventType::Heartbeat {
        return Ok(None);
    }
    if !raw.has_data {
        return Err(missing("data"));
    }
    if !raw.negative.is_empty() {
        return Err(Mistake {
            reason: Reason::NegativeDuration,
            detail: format!("data.{}: a duration cannot be negative", raw.negative),
        });
    }
    let one_of = |name: &str, column: Text, allowed: &[&str]| match raw.string(column as usize) {
        value if value.is_empty() || allowed.iter().any(|other| other.as_bytes() == value) => Ok(()),
        value => Err(impossible(name, &format!("one of {}", allowed.join(", ")), &shown(value))),
    };
    let number = |column: Number, least: i64, most: i64| match raw.numbers[column as usize] {
        None => Err(missing(&format!("data.{}", column.name()))),
        Some(value) if (least..=most).contains(&value) => Ok(()),
        Some(value) => Err(impossible(
            &format!("data.{}", column.name()),
            &match most {
                i64::MAX => format!("an integer of at least {least}"),
                _ => format!("an integer from {least} to {most}"),
            },
            &value.to_string(),
        )),
    };
    if kind.is_conversation() || kind.is_order() {
        need(raw, SUBJECT)?;
    }
    match kind {
        EventType::ConversationMessage => {
            need(raw, needed![(Text::Role, "data.role")])?;
            return Ok(Some(match raw.string(Text::Role as usize) {
                b"customer" => Role::Customer,
                b"agent" => Role::Agent,
                b"bot" => Role::Bot,
                b"system" => Role::System,
                other => {
                    let expected = "one of customer, agent, bot, system";
                    return Err(impossible("data.role", expected, &shown(other)));
                }
            }));
        }
        EventType::ConversationStarted => {
            one_of("data.origin", Text::Origin, &["inbound", "proactive"])?;
            one_of("data.entry", Text::Entry, &["bot", "queue"])
        }
        EventType::ConversationQueued => need(raw, needed![(Text::Skill, "data.skill")]),
        EventType::ConversationAccepted => need(raw, needed![(Text::AgentId, "data.agent_id")]),
        EventType::ConversationLabelled => need(raw, needed![(Text::Intent, "data.intent")]),
        EventType::ConversationRated | EventType::OrderReviewed => number(Number::Score, 1, 5),
        EventType::AgentStateChanged => {
            need(raw, needed![(Text::AgentId, "data.agent_id"), (Text::State, "data.state")])?;
            one_of("data.state", Text::State, &["available", "away", "offline"])?;
            number(Number::Capacity, 0, i64::MAX)
        }
        EventType::OrderPlaced => {
            need(raw, needed![(Text::Currency, "data.currency")])?;
            number(Number::AmountMinor, 0, i64::MAX)
        }
        EventType::OrderCancelled => {
            need(raw, needed![(Text::Actor, "data.actor")])?;
            one_of("data.actor", Text::Actor, &["customer", "merchant", "platform", "timeout"])
        }
        _ => Ok(()),
    }?;
    Ok(None)
}

#[cold]
fn missing(name: &str) -> Mistake {
    Mistake { reason: Reason::MissingField, detail: format!("{name}: missing or empty") }
}

#[cold]
fn impossible(name: &str, expected: &str, found: &str) -> Mistake {
    Mistake {
        reason: Reason::MistypedField,
        detail: format!("{name}: expected {expected}, found \"{found}\""),
    }
}

#[cold]
fn too_long(bytes: usize, most: usize, cut: bool) -> Mistake {
    let detail = if cut {
        format!("longer than the longest line that is read; its first {bytes} bytes are kept")
    } else {
        format!("{bytes} bytes; at most {most} are allowed (input.event_bytes_max)")
    };
    Mistake { reason: Reason::TooLong, detail }
}

#[cold]
fn not_utf8(bytes: &[u8]) -> Mistake {
    let valid = std::str::from_utf8(bytes).map_or_else(|e| e.valid_up_to(), str::len);
    Mistake { reason: Reason::NotUtf8, detail: format!("not UTF-8 from byte {valid} on") }
}

/// The beginning of a text, for a message.
fn shown(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.into_owned(),
    }
}

/// The columns of a batch while it is built.
struct Columns<'c> {
    /// Bit per text column to fill.
    wanted: u32,
    /// The chunk's bytes; a slice of them becomes an offset.
    bytes: &'c [u8],
    /// How many rows there are at most.
    records: usize,
    kinds: Vec<EventType>,
    ranks: Vec<u8>,
    roles: Vec<Option<Role>>,
    times_ms: Vec<i64>,
    known_ms: Vec<i64>,
    /// Views into the chunk (buffer 0) and `unescaped` (buffer 1); of all records, or
    /// none if no row has used the column yet.
    views: [Vec<u128>; Text::COUNT],
    unescaped: Vec<u8>,
    numbers: [Option<Int64Builder>; Number::COUNT],
    flags: [Option<BooleanBuilder>; Flag::COUNT],
}

impl<'c> Columns<'c> {
    fn new(chunk: &'c Chunk, wanted: u32) -> Self {
        let rows = chunk.spans.len();
        Self {
            wanted,
            bytes: chunk.bytes.as_slice(),
            records: rows,
            kinds: Vec::with_capacity(rows),
            ranks: Vec::with_capacity(rows),
            roles: Vec::with_capacity(rows),
            times_ms: Vec::with_capacity(rows),
            known_ms: Vec::with_capacity(rows),
            views: std::array::from_fn(|_| Vec::new()),
            unescaped: Vec::new(),
            numbers: std::array::from_fn(|_| None),
            flags: std::array::from_fn(|_| None),
        }
    }

    fn push(
        &mut self,
        kind: EventType,
        role: Option<Role>,
        time_ms: i64,
        known_ms: i64,
        raw: &Raw<'_>,
        in_chunk: bool,
    ) {
        let row = self.kinds.len();
        self.kinds.push(kind);
        self.ranks.push(rank(kind, role));
        self.roles.push(role);
        self.times_ms.push(time_ms);
        self.known_ms.push(known_ms);
        let mut present = raw.present & self.wanted;
        while present != 0 {
            let column = present.trailing_zeros() as usize;
            present &= present - 1;
            let value = raw.string(column);
            let views = &mut self.views[column];
            if views.is_empty() {
                *views = vec![0; self.records];
            }
            views[row] = if in_chunk {
                view_of(self.bytes, value)
            } else {
                let offset = self.unescaped.len() as u32;
                if value.len() > 12 {
                    self.unescaped.extend_from_slice(value);
                }
                make_view(value, 1, offset)
            };
        }
        for (builder, &value) in self.numbers.iter_mut().zip(&raw.numbers) {
            if value.is_some() {
                let builder = builder.get_or_insert_default();
                builder.append_nulls(row - builder.values_slice().len());
                builder.append_option(value);
            }
        }
        for (builder, &value) in self.flags.iter_mut().zip(&raw.flags) {
            if value.is_some() {
                let builder = builder.get_or_insert_default();
                builder.append_nulls(row - arrow::array::ArrayBuilder::len(builder));
                builder.append_option(value);
            }
        }
    }

    fn finish(self, chunk: &Chunk) -> EventBatch {
        let rows = self.kinds.len();
        let buffers: Arc<[Buffer]> = Arc::from([chunk.bytes.clone(), Buffer::from_vec(self.unescaped)]);
        EventBatch {
            kinds: self.kinds,
            ranks: self.ranks,
            roles: self.roles,
            times_ms: self.times_ms,
            known_ms: self.known_ms,
            texts: self.views.map(|mut views| {
                if views.is_empty() {
                    return None;
                }
                views.truncate(rows);
                Some(string_view(views, &buffers))
            }),
            numbers: self.numbers.map(|builder| {
                let mut builder = builder?;
                builder.append_nulls(rows - builder.values_slice().len());
                Some(builder.finish())
            }),
            flags: self.flags.map(|builder| {
                let mut builder = builder?;
                builder.append_nulls(rows - arrow::array::ArrayBuilder::len(&builder));
                Some(builder.finish())
            }),
        }
    }
}

/// The bytes of a text that its view holds, by its length.
const INLINE: [u128; 13] = {
    let mut masks = [0; 13];
    let mut length = 1;
    while length < masks.len() {
        masks[length] = u128::MAX >> (128 - 8 * length);
        length += 1;
    }
    masks
};

/// The view of `value`, which is a slice of `bytes`, in buffer 0.
#[inline]
fn view_of(bytes: &[u8], value: &[u8]) -> u128 {
    let offset = value.as_ptr() as usize - bytes.as_ptr() as usize;
    let length = value.len();
    match bytes.get(offset..).and_then(<[u8]>::first_chunk::<16>) {
        // The length in the low four bytes, and above it the text (if it is no
        // longer than twelve bytes) or its prefix, buffer and offset.
        Some(text) => {
            let text = u128::from_le_bytes(*text);
            match INLINE.get(length) {
                Some(kept) => (text & kept) << 32 | length as u128,
                None => (offset as u128) << 96 | (text & 0xffff_ffff) << 32 | length as u128,
            }
        }
        // The last few bytes of the chunk.
        None => make_view(value, 0, offset as u32),
    }
}

/// The column of `views` into `buffers`. Checking every view again would cost as
/// much as making it.
#[expect(unsafe_code)]
fn string_view(views: Vec<u128>, buffers: &Arc<[Buffer]>) -> StringViewArray {
    // SAFETY: every view was made from bytes of a whole UTF-8 text that lie at their
    // offset in buffer 0 (the chunk, which `buffers` keeps alive) or buffer 1, or
    // is inline; a view of 0 is the empty string.
    unsafe { StringViewArray::new_unchecked(ScalarBuffer::from(views), buffers.clone(), None) }
}

/// Events of the same millisecond apply by their type's place in the life cycle;
/// an agent's message comes after the acceptance, a customer's before the queue.
fn rank(kind: EventType, role: Option<Role>) -> u8 {
    match (kind, role) {
        (EventType::ConversationMessage, Some(Role::Agent)) => EventType::ConversationAccepted as u8 * 2 + 1,
        _ => kind as u8 * 2,
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use proptest::prelude::*;

    use super::*;

    const ALL: [Text; 4] = [Text::Id, Text::Subject, Text::CustomerId, Text::Lines];
    /// 2026-03-02T00:10:00Z, when the test's log takes everything in.
    const APPENDED_AT_MS: i64 = 1_772_410_200_000;

    fn event(time: &str, kind: &str, data: &str) -> String {
        format!(
            r#"{{"specversion":"1.0","id":"e1","source":"/web/shop-1","type":"{kind}","subject":"c1","time":"{time}","data":{{"customer_id":"u1","shop":"s","channel":"web"{data}}}}}"#
        )
    }

    fn outcome(line: &str) -> String {
        outcome_of(&Chunk::of_lines(line, 7, APPENDED_AT_MS))
    }

    fn outcome_of(chunk: &Chunk) -> String {
        let decoded = Decoder::new(Limits::default(), &ALL).decode(chunk);
        assert_eq!(
            decoded.read,
            decoded.events.len() as u64 + decoded.quarantined.len() as u64 + decoded.ignored
        );
        let mut out = String::new();
        for row in 0..decoded.events.len() {
            let e = &decoded.events;
            out += &format!("{} {} {}\n", e.time_ms(row), e.kind(row).name(), e.text(Text::CustomerId, row));
        }
        for q in decoded.quarantined {
            out += &format!("{} {}: {}\n", q.offset, q.reason, q.detail);
        }
        out += &"ignored\n".repeat(decoded.ignored as usize);
        out
    }

    fn check(line: &str, expect: Expect) {
        expect.assert_eq(&outcome(line));
    }

    const T: &str = "2026-03-02T00:00:08.297Z";

    #[test]
    fn a_good_event() {
        check(
            &event(T, "conversation.queued", r#","skill":"refund""#),
            expect![[r#"
                1772409608297 conversation.queued u1
            "#]],
        );
    }

    #[test]
    fn not_json() {
        check(
            "not json",
            expect![[r#"
                7 not_json: Invalid literal (`true`, `false`, or a `null`) while parsing at line 1 column 4
            "#]],
        );
        check(
            &event(T, "conversation.queued", r#","skill":"refund""#)[..80],
            expect![[r#"
            7 not_json: EOF while parsing at line 1 column 80
        "#]],
        );
        check(
            "[1]",
            expect![[r#"
            7 not_json: invalid type: sequence, expected a JSON object at line 1 column 3
        "#]],
        );
        check(
            &(event(T, "conversation.queued", r#","skill":"x""#) + "x"),
            expect![[r#"
            7 not_json: JSON has non-whitespace trailing characters after the value at line 1 column 200
        "#]],
        );
    }

    #[test]
    fn empty_lines() {
        check(
            "\n",
            expect![[r#"
            7 empty: an empty line
        "#]],
        );
        check(
            "  \t \n",
            expect![[r#"
            7 empty: an empty line
        "#]],
        );
    }

    #[test]
    fn truncated_utf8() {
        let mut bytes = event(T, "conversation.queued", r#","skill":"退款""#).into_bytes();
        let cut = bytes.iter().position(|&b| b == 0xe9).unwrap_or(bytes.len()) + 2;
        bytes.truncate(cut);
        let good = event(T, "conversation.queued", r#","skill":"退款""#);
        let second = bytes.len() as u32 + 1;
        bytes.push(b'\n');
        bytes.extend_from_slice(good.as_bytes());
        let chunk = Chunk {
            spans: vec![(0, second - 1), (second, bytes.len() as u32)],
            bytes: Buffer::from(bytes),
            ..Chunk::of_lines("", 7, APPENDED_AT_MS)
        };
        expect![[r#"
            1772409608297 conversation.queued u1
            7 not_utf8: not UTF-8 from byte 195 on
        "#]]
        .assert_eq(&outcome_of(&chunk));
    }

    #[test]
    fn missing_and_mistyped_fields() {
        let good = event(T, "conversation.rated", r#","score":5"#);
        let all: String = [
            (r#""id":"e1","#, ""),
            (r#""subject":"c1","#, r#""subject":null,"#),
            (r#""customer_id":"u1","#, r#""customer_id":"","#),
            (r#""specversion":"1.0""#, r#""specversion":"0.3""#),
            (r#""id":"e1""#, r#""id":17"#),
            (r#""score":5"#, r#""score":"five""#),
            (r#""score":5"#, r#""score":4.5"#),
            (r#""score":5"#, r#""score":6"#),
            (r#","score":5"#, ""),
            (r#""score":5"#, r#""score":5,"wait_ms":-3"#),
            (r#""score":5"#, r#""score":5,"wait_ms":"3""#),
        ]
        .iter()
        .map(|(from, to)| good.replace(from, to) + "\n")
        .collect();
        check(
            &all,
            expect![[r#"
            7 missing_field: id: missing or empty
            8 missing_field: subject: missing or empty
            9 missing_field: data.customer_id: missing or empty
            10 mistyped_field: specversion: expected "1.0", found "0.3"
            11 mistyped_field: id: expected a string, found 17
            12 mistyped_field: data.score: expected an integer, found "five"
            13 mistyped_field: data.score: expected an integer, found 4.5
            14 mistyped_field: data.score: expected an integer from 1 to 5, found "6"
            15 missing_field: data.score: missing or empty
            16 negative_duration: data.wait_ms: a duration cannot be negative
            17 mistyped_field: data.wait_ms: expected a whole number of ms, found "3"
        "#]],
        );
        check(
            &event(T, "conversation.message", r#","role":"boss""#),
            expect![[r#"
            7 mistyped_field: data.role: expected one of customer, agent, bot, system, found "boss"
        "#]],
        );
        check(
            r#"{"specversion":"1.0","id":"1","source":"s","type":"order.paid","subject":"o","time":"2026-03-02T00:00:00Z","data":"x"}"#,
            expect![[r#"
                7 mistyped_field: data: expected an object, found "x"
            "#]],
        );
    }

    #[test]
    fn times_that_cannot_be() {
        check(
            &event("3000-01-01T00:00:00Z", "conversation.queued", r#","skill":"x""#),
            expect![[r#"
            7 in_the_future: time: 3000-01-01T00:00:00Z is 30731269800 s ahead of when it was taken in; at most 300 s are allowed (input.max_skew)
        "#]],
        );
        check(
            &event("yesterday", "conversation.queued", r#","skill":"x""#),
            expect![[r#"
            7 bad_time: time: expected an RFC 3339 time such as 2026-03-02T00:00:08.297Z, found "yesterday"
        "#]],
        );
    }

    #[test]
    fn unknown_types_and_fields_are_fine() {
        check(
            &event(T, "conversation.closed.v2", ""),
            expect![[r#"
            ignored
        "#]],
        );
        check(
            &event(T, "conversation.rated", r#","score":5,"new":{"a":[1,2.5,"\u00e9"]},"x":1e9"#),
            expect![[r#"
                1772409608297 conversation.rated u1
            "#]],
        );
    }

    #[test]
    fn many_shapes() {
        // Names that never come again, long ones, long values, and one event in between
        // that has nothing unusual.
        let good = event(T, "conversation.queued", r#","skill":"refund""#);
        let lines: Vec<String> = (0..3_000)
            .map(|n| match n % 4 {
                0 => good.clone(),
                1 => event(T, "conversation.queued", &format!(r#","skill":"refund","x{n}":"y""#)),
                2 => event(T, "conversation.queued", &format!(r#","skill":"refund","{}":1"#, "n".repeat(n))),
                _ => event(T, "conversation.queued", &format!(r#","skill":"{}""#, "s".repeat(n))),
            })
            .collect();
        let chunk = Chunk::of_lines(&lines.join("\n"), 0, APPENDED_AT_MS);
        let decoded = Decoder::new(Limits::default(), &[Text::Skill, Text::Channel]).decode(&chunk);
        assert_eq!(decoded.events.len(), lines.len());
        for row in 0..lines.len() {
            let skill = if row % 4 == 3 { "s".repeat(row) } else { "refund".to_owned() };
            assert_eq!(decoded.events.text(Text::Skill, row), skill, "{row}");
            assert_eq!(decoded.events.text(Text::Channel, row), "web", "{row}");
        }
    }

    /// In a log nothing need be between records.
    #[test]
    fn records_without_a_gap() {
        let good = event(T, "conversation.queued", r#","skill":"refund""#);
        let cut = &good[..good.len() - 30];
        let mut bytes = Vec::new();
        let mut spans = Vec::new();
        for record in [good.as_str(), &good, cut, &good, &good] {
            spans.push((bytes.len() as u32, (bytes.len() + record.len()) as u32));
            bytes.extend_from_slice(record.as_bytes());
        }
        let chunk = Chunk { spans, bytes: Buffer::from(bytes), ..Chunk::of_lines("", 7, APPENDED_AT_MS) };
        expect![[r#"
            1772409608297 conversation.queued u1
            1772409608297 conversation.queued u1
            1772409608297 conversation.queued u1
            1772409608297 conversation.queued u1
            9 not_json: EOF while parsing at line 1 column 174
        "#]]
        .assert_eq(&outcome_of(&chunk));
    }

    #[test]
    fn ten_megabytes() {
        let big = "x".repeat(10_000_000);
        check(
            &event(T, "conversation.message", &format!(r#","role":"customer","text":"{big}""#)),
            expect![[r#"
                7 too_long: 10000216 bytes; at most 1048576 are allowed (input.event_bytes_max)
            "#]],
        );
    }

    #[test]
    fn escapes_and_spaces() {
        let spaced = event(T, "conversation.queued", r#", "skill" : "refund""#)
            .replace("u1", "u\\u00e9\\n\\\"x, longer than inline");
        check(
            &spaced,
            expect![[r#"
            1772409608297 conversation.queued ué
            "x, longer than inline
        "#]],
        );
    }

    fn json_value() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            (-1e9f64..1e9).prop_map(Into::into),
            "[ -~é退\"\\\\\n]{0,20}".prop_map(Into::into),
        ];
        leaf.prop_recursive(2, 8, 3, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..3).prop_map(Into::into),
                prop::collection::vec(("[a-z_]{1,8}", inner), 0..3)
                    .prop_map(|fields| serde_json::Value::Object(fields.into_iter().collect())),
            ]
        })
    }

    fn json_event() -> impl Strategy<Value = String> {
        const ENVELOPE: &[&str] = &["specversion", "id", "source", "type", "subject", "time", "x"];
        const FIELDS: &[&str] =
            &["customer_id", "shop", "score", "auto", "amount_minor", "lines", "y_ms", "z"];
        let attributes = prop::collection::vec((prop::sample::select(ENVELOPE), json_value()), 0..8);
        let data = prop::collection::vec((prop::sample::select(FIELDS), json_value()), 0..8);
        (attributes, data, any::<bool>()).prop_map(|(attributes, data, spaced)| {
            // Built by hand, so that a name can come twice.
            let object = |fields: Vec<(&str, String)>| {
                let separator = if spaced { ", " } else { "," };
                let colon = if spaced { ": " } else { ":" };
                let fields: Vec<String> = fields.iter().map(|(k, v)| format!("\"{k}\"{colon}{v}")).collect();
                format!("{{{}}}", fields.join(separator))
            };
            let text = |(k, v): (&'static str, serde_json::Value)| (k, v.to_string());
            let mut attributes: Vec<_> = attributes.into_iter().map(text).collect();
            attributes.push(("data", object(data.into_iter().map(text).collect())));
            object(attributes)
        })
    }

    /// All that is read of an event.
    fn contents(raw: &Raw<'_>) -> String {
        let strings: Vec<_> =
            (0..=RECORDED).map(|place| String::from_utf8_lossy(raw.string(place))).collect();
        format!("{strings:?} {:?} {:?} {} {}", raw.numbers, raw.flags, raw.has_data, raw.negative)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        /// What the fast path takes, the strict path reads the same.
        #[test]
        fn fast_is_strict(line in json_event(), cut in 0usize..400, junk in any::<u8>()) {
            let mut spoiled = line.clone().into_bytes();
            if cut < spoiled.len() {
                spoiled[cut] = junk;
            }
            let spoiled = String::from_utf8(spoiled).unwrap_or_default();
            let mut scanner = Scanner::new();
            for line in [line.as_str(), spoiled.as_str(), line.as_str()] {
                let mut arena = String::new();
                let strict = parse(line.as_bytes(), &mut arena).ok().map(|raw| contents(&raw));
                // What follows is looked at and must not matter: nothing, the next
                // line, the next record of a log. By a known shape from the second on.
                for after in ["", "\n{\"specversion\":\"1.0\",\"id\":\"e2\"}", line, "\"}}\"}}\"}}\"}}\"}}\"}}\"}}\"}}\"}}"] {
                    let text = format!("{line}{after}");
                    let mut fast = Raw::EMPTY;
                    if scanner.scan(text.as_bytes(), line.len(), &mut fast).is_some() {
                        prop_assert_eq!(Some(contents(&fast)), strict.clone(), "{}", line);
                    }
                }
            }
        }

        #[test]
        fn nonsense_never_panics(line in "\\PC{0,200}") {
            outcome(&line);
        }
    }
}
