use std::sync::Arc;

use arrow::array::{BooleanBuilder, Int64Builder, StringViewArray, make_view};
use arrow::buffer::{Buffer, ScalarBuffer};

use crate::batch::{EventBatch, Flag, Number, Role, Text, rank};
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
    } else if kind.is_task() {
        need(raw, needed![(Text::Subject, "subject")])?;
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
        EventType::CustomerConsentChanged => {
            need(
                raw,
                needed![
                    (Text::CustomerId, "data.customer_id"),
                    (Text::Channel, "data.channel"),
                    (Text::State, "data.state"),
                ],
            )?;
            one_of("data.state", Text::State, &["given", "withdrawn"])
        }
        EventType::TaskRejected => need(raw, needed![(Text::Reason, "data.reason")]),
        EventType::TaskCompleted => {
            need(raw, needed![(Text::Disposition, "data.disposition")])?;
            let known = ["solved", "informed", "declined", "no_answer", "other"];
            one_of("data.disposition", Text::Disposition, &known)
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

#[cfg(test)]
mod tests;
