//! The fast path: flat events without escapes, nested arrays or fractions.
//!
//! An event that has the shape of an earlier one is read by that (`shape`). In another,
//! it finds all quotes with SIMD and walks from quote to quote.
//! Whatever it is not sure about it leaves to `strict`, which gives the same
//! answer for all that this one takes (a test compares them).

use wide::u8x32;

use crate::batch::{Flag, Number, Text};
use crate::names::Names;
use crate::shape::{Found, Shapes};

/// The strings of an event: those of [`Text`], and others of the envelope.
pub(crate) const SPECVERSION: usize = Text::COUNT;
pub(crate) const KIND: usize = Text::COUNT + 1;
pub(crate) const TIME: usize = Text::COUNT + 2;
pub(crate) const RECORDED: usize = Text::COUNT + 3;
const STRINGS: usize = 32;

/// One event as slices of its line, before anything is checked but the JSON. The
/// slices are whole UTF-8 texts.
#[derive(Debug, Clone)]
pub(crate) struct Raw<'a> {
    strings: [&'a [u8]; STRINGS],
    /// Bit per string that this event has; the others are left from before.
    pub present: u32,
    pub numbers: [Option<i64>; Number::COUNT],
    pub flags: [Option<bool>; Flag::COUNT],
    pub has_data: bool,
    /// A data field ending in `_ms` that is negative.
    pub negative: &'a str,
}

impl<'a> Raw<'a> {
    /// Where strings go that nobody reads.
    pub(crate) const UNREAD: usize = STRINGS - 1;

    pub(crate) const EMPTY: Raw<'static> = Raw {
        strings: [b""; STRINGS],
        present: 0,
        numbers: [None; Number::COUNT],
        flags: [None; Flag::COUNT],
        has_data: false,
        negative: "",
    };

    /// Makes ready for the next line of the same chunk.
    #[inline]
    fn clear(&mut self) {
        self.present = 0;
        self.numbers = [None; Number::COUNT];
        self.flags = [None; Flag::COUNT];
        self.has_data = false;
        self.negative = "";
    }

    /// Sets a string; an empty one is as good as none.
    #[inline]
    pub(crate) fn set(&mut self, place: usize, value: &'a [u8]) {
        self.strings[place % STRINGS] = value;
        self.present = self.present & !(1 << place) | u32::from(!value.is_empty()) << place;
    }

    /// Sets an integer or a boolean; `null` is none. `None` if the field is of another
    /// type.
    #[inline]
    pub(crate) fn set_scalar(&mut self, field: Option<Field>, value: Scalar) -> Option<()> {
        match (field, value) {
            (Some(Field::Number(column)), Scalar::Integer(value)) => {
                self.numbers[column as usize] = Some(value);
            }
            (Some(Field::Number(column)), Scalar::Null) => self.numbers[column as usize] = None,
            (Some(Field::Flag(column)), Scalar::Bool(value)) => self.flags[column as usize] = Some(value),
            (Some(Field::Flag(column)), Scalar::Null) => self.flags[column as usize] = None,
            (None, _) => {}
            _ => return None,
        }
        Some(())
    }

    /// A string, empty if the event does not have it.
    #[inline]
    pub(crate) fn string(&self, place: usize) -> &'a [u8] {
        if self.present & (1 << place) != 0 { self.strings[place % STRINGS] } else { b"" }
    }
}

/// What a name in the envelope or in `data` stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Field {
    String(usize),
    Number(Number),
    Flag(Flag),
    /// The object `data` itself.
    Data,
    /// The order's lines, an array.
    Lines,
}

macro_rules! fields {
    ($names:ident, $meanings:ident, $count:literal, $($name:literal => $field:expr),+ $(,)?) => {
        static $names: Names<$count> = Names::new([$($name),+]);
        const $meanings: [Field; $count] = [$($field),+];
    };
}

fields! { ENVELOPE, ENVELOPE_FIELDS, 8,
    "specversion" => Field::String(SPECVERSION),
    "id" => Field::String(Text::Id as usize),
    "source" => Field::String(Text::Source as usize),
    "type" => Field::String(KIND),
    "subject" => Field::String(Text::Subject as usize),
    "time" => Field::String(TIME),
    "recordedtime" => Field::String(RECORDED),
    "data" => Field::Data,
}

fields! { DATA, DATA_FIELDS, 24,
    "customer_id" => Field::String(Text::CustomerId as usize),
    "shop" => Field::String(Text::Shop as usize),
    "channel" => Field::String(Text::Channel as usize),
    "skill" => Field::String(Text::Skill as usize),
    "agent_id" => Field::String(Text::AgentId as usize),
    "role" => Field::String(Text::Role as usize),
    "origin" => Field::String(Text::Origin as usize),
    "entry" => Field::String(Text::Entry as usize),
    "order_id" => Field::String(Text::OrderId as usize),
    "intent" => Field::String(Text::Intent as usize),
    "to_skill" => Field::String(Text::ToSkill as usize),
    "to_agent" => Field::String(Text::ToAgent as usize),
    "state" => Field::String(Text::State as usize),
    "currency" => Field::String(Text::Currency as usize),
    "actor" => Field::String(Text::Actor as usize),
    "disposition" => Field::String(Text::Disposition as usize),
    "reason" => Field::String(Text::Reason as usize),
    "score" => Field::Number(Number::Score),
    "capacity" => Field::Number(Number::Capacity),
    "amount_minor" => Field::Number(Number::AmountMinor),
    "auto" => Field::Flag(Flag::Auto),
    "resolved" => Field::Flag(Flag::Resolved),
    "retryable" => Field::Flag(Flag::Retryable),
    "lines" => Field::Lines,
}

impl Field {
    /// The field of `data` with this name.
    pub(crate) fn of_data(name: &str) -> Option<Self> {
        DATA.find_name(name).map(|place| DATA_FIELDS[place])
    }
}

/// Reads events of one producer after the other.
#[derive(Debug)]
pub(crate) struct Scanner {
    quotes: Vec<u32>,
    shapes: Shapes,
    found: Vec<Found>,
}

impl Scanner {
    pub(crate) fn new() -> Self {
        Self { quotes: Vec::new(), shapes: Shapes::new(), found: Vec::new() }
    }

    /// Reads the line `text[..length]`, which is UTF-8, into `raw`, over what was
    /// there, or returns `None` if the strict path has to. What follows in `text` is of
    /// no influence.
    #[inline]
    pub(crate) fn scan<'a>(&mut self, text: &'a [u8], length: usize, raw: &mut Raw<'a>) -> Option<()> {
        raw.clear();
        if self.shapes.read(text, length, raw).is_some() {
            raw.has_data = true;
            return Some(());
        }
        let line = &text[..length];
        find_quotes(line, &mut self.quotes)?;
        walk(line, &self.quotes, raw, &mut self.found)?;
        if raw.has_data {
            self.shapes.learn(line, &self.found);
        }
        Some(())
    }
}

/// Reads a line of any shape. `found` gets its values.
fn walk<'a>(line: &'a [u8], quotes: &[u32], raw: &mut Raw<'a>, found: &mut Vec<Found>) -> Option<()> {
    raw.clear();
    found.clear();
    let mut walk = Walk { line, quotes, next_quote: 0, at: 0 };
    walk.expect(b'{')?;
    let mut in_data = false;
    loop {
        let (start, end) = walk.key()?;
        let field = if in_data {
            let field = DATA.find(line, start, end).map(|place| DATA_FIELDS[place]);
            if field.is_none() && line[start..end].ends_with(b"_ms") {
                return None;
            }
            field
        } else {
            ENVELOPE.find(line, start, end).map(|place| ENVELOPE_FIELDS[place])
        };
        match walk.peek()? {
            b'"' => {
                let place = match field {
                    Some(Field::String(place)) => place,
                    None => Raw::UNREAD,
                    _ => return None,
                };
                let (start, end) = walk.quoted()?;
                raw.set(place, line.get(start..end)?);
                found.push((field, true, start, end));
            }
            b'{' if field == Some(Field::Data) && !raw.has_data => {
                walk.at += 1;
                raw.has_data = true;
                in_data = true;
                continue;
            }
            _ => {
                let (value, end) = scalar(line, walk.at)?;
                raw.set_scalar(field, value)?;
                found.push((field, false, walk.at, end));
                walk.at = end;
            }
        }
        let mut token = walk.token()?;
        if token == b'}' && in_data {
            in_data = false;
            token = walk.token()?;
        }
        match token {
            b',' => {}
            b'}' if !in_data => break,
            _ => return None,
        }
    }
    line[walk.at..].iter().all(|&b| b == b' ').then_some(())
}

/// Positions of all quotes. `None` if the line has a backslash or a control character,
/// which only the strict path understands.
fn find_quotes(line: &[u8], quotes: &mut Vec<u32>) -> Option<()> {
    quotes.clear();
    let mut look = |block: &[u8; 32], base: usize| {
        let block = u8x32::new(*block);
        let odd = block.simd_eq(u8x32::splat(b'\\')) | block.simd_lt(u8x32::splat(0x20));
        let mut bits = block.simd_eq(u8x32::splat(b'"')).to_bitmask();
        while bits != 0 {
            quotes.push(base as u32 + bits.trailing_zeros());
            bits &= bits - 1;
        }
        (odd.to_bitmask() == 0).then_some(())
    };
    let (blocks, rest) = line.as_chunks();
    for (index, block) in blocks.iter().enumerate() {
        look(block, index * 32)?;
    }
    let mut block = [b' '; 32];
    block[..rest.len()].copy_from_slice(rest);
    look(&block, blocks.len() * 32)
}

struct Walk<'a> {
    line: &'a [u8],
    quotes: &'a [u32],
    next_quote: usize,
    at: usize,
}

pub(crate) enum Scalar {
    Null,
    Bool(bool),
    Integer(i64),
}

impl Walk<'_> {
    /// The next byte that is no space, not consumed.
    #[inline]
    fn peek(&mut self) -> Option<u8> {
        loop {
            match *self.line.get(self.at)? {
                b' ' => self.at += 1,
                byte => return Some(byte),
            }
        }
    }

    #[inline]
    fn token(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }

    #[inline]
    fn expect(&mut self, byte: u8) -> Option<()> {
        (self.token()? == byte).then_some(())
    }

    /// The start and end of the name that comes next, and behind it the colon.
    #[inline]
    fn key(&mut self) -> Option<(usize, usize)> {
        if self.peek()? != b'"' {
            return None;
        }
        let key = self.quoted()?;
        self.expect(b':')?;
        Some(key)
    }

    /// Start and end of the string that begins here: the next two quotes enclose it.
    #[inline]
    fn quoted(&mut self) -> Option<(usize, usize)> {
        let &[open, close] = self.quotes.get(self.next_quote..self.next_quote + 2)? else { return None };
        debug_assert_eq!(open as usize, self.at);
        self.next_quote += 2;
        self.at = close as usize + 1;
        Some((open as usize + 1, close as usize))
    }
}

/// `null`, a boolean or an integer of at most 18 digits at `at`, and where it ends.
pub(crate) fn scalar(line: &[u8], at: usize) -> Option<(Scalar, usize)> {
    let rest = line.get(at..)?;
    for (word, value) in [
        (b"null".as_slice(), Scalar::Null),
        (b"true".as_slice(), Scalar::Bool(true)),
        (b"false".as_slice(), Scalar::Bool(false)),
    ] {
        if rest.starts_with(word) {
            return Some((value, at + word.len()));
        }
    }
    let negative = rest.first() == Some(&b'-');
    let digits = &rest[usize::from(negative)..];
    let count = digits.iter().take_while(|b| b.is_ascii_digit()).count();
    let leading_zero = count > 1 && digits[0] == b'0';
    if count == 0 || count > 18 || leading_zero {
        return None;
    }
    let magnitude = digits[..count].iter().fold(0i64, |v, b| v * 10 + i64::from(b - b'0'));
    let value = if negative { -magnitude } else { magnitude };
    Some((Scalar::Integer(value), at + usize::from(negative) + count))
}
