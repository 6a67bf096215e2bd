//! The fast path: flat events without escapes, nested arrays or fractions.
//!
//! It finds all quotes of a line with SIMD and then walks from quote to quote.
//! Whatever it is not sure about it leaves to `strict`, which gives the same
//! answer for all that this one takes (a test compares them).

use wide::u8x32;

use crate::batch::{Flag, Number, Text};

/// One event as slices of its line, before anything is checked but the JSON.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Raw<'a> {
    pub specversion: &'a str,
    pub kind: &'a str,
    pub time: &'a str,
    pub recorded: &'a str,
    pub texts: [&'a str; Text::COUNT],
    /// Bit per text column that this event has; the others are left from before.
    pub present: u32,
    pub numbers: [Option<i64>; Number::COUNT],
    pub flags: [Option<bool>; Flag::COUNT],
    pub has_data: bool,
    /// A data field ending in `_ms` that is negative.
    pub negative: &'a str,
}

impl<'a> Raw<'a> {
    /// Makes ready for the next line of the same chunk.
    #[inline]
    fn clear(&mut self) {
        self.specversion = "";
        self.kind = "";
        self.time = "";
        self.recorded = "";
        self.present = 0;
        self.numbers = [None; Number::COUNT];
        self.flags = [None; Flag::COUNT];
        self.has_data = false;
        self.negative = "";
    }

    #[inline]
    pub(crate) fn set(&mut self, column: Text, value: &'a str) {
        let bit = 1 << column as u32;
        self.texts[column as usize] = value;
        self.present = if value.is_empty() { self.present & !bit } else { self.present | bit };
    }

    /// A text, empty if the event does not have it.
    #[inline]
    pub(crate) fn text(&self, column: Text) -> &'a str {
        if self.present & (1 << column as u32) != 0 { self.texts[column as usize] } else { "" }
    }
}

impl Raw<'_> {
    pub(crate) const EMPTY: Raw<'static> = Raw {
        specversion: "",
        kind: "",
        time: "",
        recorded: "",
        texts: [""; Text::COUNT],
        present: 0,
        numbers: [None; Number::COUNT],
        flags: [None; Flag::COUNT],
        has_data: false,
        negative: "",
    };
}

/// Reads `line` into `raw`, over what was there, or returns `None` if the strict
/// path has to.
/// `quotes` is scratch space.
pub(crate) fn scan<'a>(line: &'a str, quotes: &mut Vec<u32>, raw: &mut Raw<'a>) -> Option<()> {
    raw.clear();
    find_quotes(line.as_bytes(), quotes)?;
    let mut walk = Walk { line, bytes: line.as_bytes(), quotes, next_quote: 0, at: 0 };
    walk.expect(b'{')?;
    loop {
        let key = walk.key()?;
        match walk.peek()? {
            b'"' => {
                let value = walk.string()?;
                // By length first, as in `of_data_field`.
                match key.len() {
                    2 if key == "id" => raw.set(Text::Id, value),
                    4 => match key {
                        "type" => raw.kind = value,
                        "time" => raw.time = value,
                        "data" => return None,
                        _ => {}
                    },
                    6 if key == "source" => raw.set(Text::Source, value),
                    7 if key == "subject" => raw.set(Text::Subject, value),
                    11 if key == "specversion" => raw.specversion = value,
                    12 if key == "recordedtime" => raw.recorded = value,
                    _ => {}
                }
            }
            b'{' if key == "data" && !raw.has_data => {
                walk.at += 1;
                raw.has_data = true;
                scan_data(&mut walk, raw)?;
            }
            _ => {
                if is_envelope(key) || key == "data" {
                    return None;
                }
                walk.scalar()?;
            }
        }
        match walk.token()? {
            b',' => {}
            b'}' => break,
            _ => return None,
        }
    }
    walk.bytes[walk.at..].iter().all(|&b| b == b' ').then_some(())
}

fn scan_data<'a>(walk: &mut Walk<'a, '_>, raw: &mut Raw<'a>) -> Option<()> {
    loop {
        let key = walk.key()?;
        if walk.peek()? == b'"' {
            let value = walk.string()?;
            match Text::of_data_field(key) {
                Some(column) => raw.set(column, value),
                None => {
                    if Number::of_data_field(key).is_some() || Flag::of_data_field(key).is_some() {
                        return None;
                    }
                    if key.ends_with("_ms") || key == "lines" {
                        return None;
                    }
                }
            }
        } else {
            let scalar = walk.scalar()?;
            if let Some(column) = Number::of_data_field(key) {
                match scalar {
                    Scalar::Integer(value) => raw.numbers[column as usize] = Some(value),
                    Scalar::Null => raw.numbers[column as usize] = None,
                    Scalar::Bool(_) => return None,
                }
            } else if let Some(column) = Flag::of_data_field(key) {
                match scalar {
                    Scalar::Bool(value) => raw.flags[column as usize] = Some(value),
                    Scalar::Null => raw.flags[column as usize] = None,
                    Scalar::Integer(_) => return None,
                }
            } else if Text::of_data_field(key).is_some() || key.ends_with("_ms") || key == "lines" {
                return None;
            }
        }
        match walk.token()? {
            b',' => {}
            b'}' => return Some(()),
            _ => return None,
        }
    }
}

pub(crate) fn is_envelope(key: &str) -> bool {
    matches!(key, "specversion" | "type" | "time" | "recordedtime" | "id" | "source" | "subject")
}

/// Positions of all quotes. `None` if the line has a backslash or a control
/// character, which only the strict path understands.
fn find_quotes(bytes: &[u8], quotes: &mut Vec<u32>) -> Option<()> {
    quotes.clear();
    let mut unusual = 0u32;
    let mut blocks = bytes.chunks_exact(32);
    let mut base = 0u32;
    let mut look = |block: [u8; 32], base: u32| {
        let block = u8x32::new(block);
        unusual |= (block.simd_eq(u8x32::splat(b'\\')) | block.simd_lt(u8x32::splat(0x20))).to_bitmask();
        let mut bits = block.simd_eq(u8x32::splat(b'"')).to_bitmask();
        while bits != 0 {
            quotes.push(base + bits.trailing_zeros());
            bits &= bits - 1;
        }
    };
    for block in &mut blocks {
        look(block.try_into().ok()?, base);
        base += 32;
    }
    let rest = blocks.remainder();
    if !rest.is_empty() {
        let mut block = [b' '; 32];
        block[..rest.len()].copy_from_slice(rest);
        look(block, base);
    }
    (unusual == 0).then_some(())
}

struct Walk<'a, 'q> {
    line: &'a str,
    bytes: &'a [u8],
    quotes: &'q [u32],
    next_quote: usize,
    at: usize,
}

enum Scalar {
    Null,
    Bool(bool),
    Integer(i64),
}

impl<'a> Walk<'a, '_> {
    /// The next byte that is no space, not consumed.
    #[inline]
    fn peek(&mut self) -> Option<u8> {
        loop {
            match *self.bytes.get(self.at)? {
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

    #[inline]
    fn key(&mut self) -> Option<&'a str> {
        if self.peek()? != b'"' {
            return None;
        }
        let key = self.string()?;
        self.expect(b':')?;
        Some(key)
    }

    /// The string that begins here: the next two quotes enclose it.
    #[inline]
    fn string(&mut self) -> Option<&'a str> {
        let &open = self.quotes.get(self.next_quote)?;
        let &close = self.quotes.get(self.next_quote + 1)?;
        debug_assert_eq!(open as usize, self.at);
        self.next_quote += 2;
        self.at = close as usize + 1;
        self.line.get(open as usize + 1..close as usize)
    }

    /// `null`, a boolean or an integer of at most 18 digits.
    fn scalar(&mut self) -> Option<Scalar> {
        let rest = &self.bytes[self.at..];
        for (word, value) in [
            (b"null".as_slice(), Scalar::Null),
            (b"true".as_slice(), Scalar::Bool(true)),
            (b"false".as_slice(), Scalar::Bool(false)),
        ] {
            if rest.starts_with(word) {
                self.at += word.len();
                return Some(value);
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
        self.at += usize::from(negative) + count;
        Some(Scalar::Integer(if negative { -magnitude } else { magnitude }))
    }
}
