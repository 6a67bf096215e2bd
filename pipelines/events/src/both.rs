//! Holds the two parsers against each other, for the property test and for `pipelines/fuzz`.

use crate::scan::{RECORDED, Raw, Scanner};
use crate::strict::parse;

/// Reads lines by the fast path, which learns from each of them, and by the strict one.
#[derive(Debug)]
pub struct Both(Scanner);

impl Default for Both {
    fn default() -> Self {
        Self(Scanner::new())
    }
}

impl Both {
    /// Reads the line `text[..length]`, which is UTF-8. What follows it must not matter.
    ///
    /// # Panics
    /// If the fast path takes the line, and the strict one does not read the same.
    pub fn agree(&mut self, text: &[u8], length: usize) {
        let mut arena = String::new();
        let line = &text[..length];
        let strict = parse(line, &mut arena).ok().map(|raw| contents(&raw));
        let mut fast = Raw::EMPTY;
        if self.0.scan(text, length, &mut fast).is_some() {
            assert_eq!(Some(contents(&fast)), strict, "{}", String::from_utf8_lossy(line));
        }
    }
}

/// All that is read of an event.
fn contents(raw: &Raw<'_>) -> String {
    let strings: Vec<_> = (0..=RECORDED).map(|place| String::from_utf8_lossy(raw.string(place))).collect();
    format!("{strings:?} {:?} {:?} {} {}", raw.numbers, raw.flags, raw.has_data, raw.negative)
}
