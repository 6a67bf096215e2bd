use jiff::Timestamp;

/// Milliseconds since the Unix epoch of an RFC 3339 time such as
/// `2026-03-02T00:00:08.297Z`. Digits past the millisecond are cut off, towards
/// the past.
///
/// `None` if it is no RFC 3339 time with an offset, or lies outside the years 1
/// to 9999.
pub fn parse_rfc3339_ms(text: &str) -> Option<i64> {
    parse_ms(text.as_bytes())
}

fn parse_ms(bytes: &[u8]) -> Option<i64> {
    Midnight::default().parse(bytes)
}

/// Parses times of which many are of the same day.
#[derive(Debug)]
pub(crate) struct Midnight {
    /// `YYYY-MM-DDT` of the last time and the beginning of its day in ms.
    date: [u8; 11],
    ms: i64,
}

impl Default for Midnight {
    fn default() -> Self {
        Self { date: *b"1970-01-01T", ms: 0 }
    }
}

impl Midnight {
    /// As [`parse_rfc3339_ms`].
    #[inline]
    pub(crate) fn parse(&mut self, bytes: &[u8]) -> Option<i64> {
        match self.parse_utc(bytes) {
            Some(ms) => Some(ms),
            None => parse_any(bytes),
        }
    }

    /// The form that nearly all events have, `YYYY-MM-DDThh:mm:ss[.fff]Z`.
    #[inline]
    fn parse_utc(&mut self, bytes: &[u8]) -> Option<i64> {
        let (date, time) = bytes.split_first_chunk::<11>()?;
        if *date != self.date {
            self.ms = midnight_ms(date)?;
            self.date = *date;
        }
        match *time {
            [h1, h2, b':', m1, m2, b':', s1, s2, b'.', f1, f2, f3, b'Z'] => {
                of_day_ms([h1, h2, m1, m2, s1, s2, f1, f2, f3]).map(|ms| self.ms + ms)
            }
            [h1, h2, b':', m1, m2, b':', s1, s2, b'Z'] => {
                of_day_ms([h1, h2, m1, m2, s1, s2, b'0', b'0', b'0']).map(|ms| self.ms + ms)
            }
            _ => None,
        }
    }
}

fn parse_any(bytes: &[u8]) -> Option<i64> {
    let text = str::from_utf8(bytes).ok()?;
    // jiff also takes looser forms than RFC 3339 (a space, week dates).
    let shaped = bytes.len() >= 20
        && bytes[4] == b'-'
        && matches!(bytes[10], b'T' | b't' | b' ')
        && !text.contains('[');
    let time: Timestamp = shaped.then(|| text.parse().ok())??;
    (time.as_second() > -62_135_596_801).then(|| time.as_nanosecond().div_euclid(1_000_000) as i64)
}

/// Of `YYYY-MM-DDT`.
fn midnight_ms(date: &[u8; 11]) -> Option<i64> {
    let &[y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2, b'T'] = date else {
        return None;
    };
    let (year, month, day) = (number([y1, y2, y3, y4])?, number([m1, m2])?, number([d1, d2])?);
    if year < 1 || !(1..=12).contains(&month) || day < 1 {
        return None;
    }
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    const LENGTHS: [i64; 12] = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    if day > LENGTHS[month as usize - 1] + i64::from(leap && month == 2) {
        return None;
    }
    Some(days_from_civil(year, month, day) * 86_400_000)
}

/// Of the digits of `hhmmssfff`.
#[inline]
fn of_day_ms(digits: [u8; 9]) -> Option<i64> {
    // Wide enough for bytes that are no digits, which are told at the end.
    let digits = digits.map(|b| i64::from(b.wrapping_sub(b'0')));
    let [h1, h2, m1, m2, s1, s2, f1, f2, f3] = digits;
    let (hour, minute, second) = (h1 * 10 + h2, m1 * 10 + m2, s1 * 10 + s2);
    let ms = ((hour * 60 + minute) * 60 + second) * 1_000 + f1 * 100 + f2 * 10 + f3;
    let ok = digits.iter().all(|&digit| digit < 10) & (hour < 24) & (minute < 60) & (second < 60);
    ok.then_some(ms)
}

#[inline]
fn number<const N: usize>(digits: [u8; N]) -> Option<i64> {
    let mut value = 0i64;
    let mut ok = true;
    for b in digits {
        let digit = b.wrapping_sub(b'0');
        ok &= digit <= 9;
        value = value * 10 + i64::from(digit);
    }
    ok.then_some(value)
}

/// Days since 1970-01-01 of a date of the Gregorian calendar (Howard Hinnant,
/// "chrono-Compatible Low-Level Date Algorithms", `days_from_civil`).
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let y = year - i64::from(month <= 2);
    let era = y.div_euclid(400);
    let year_of_era = y - era * 400;
    let day_of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// `2026-03-02T00:00:08.297Z` of milliseconds since the Unix epoch. Outside the
/// years 1 to 9999 it is the number itself.
pub fn format_rfc3339_ms(ms: i64) -> String {
    match Timestamp::from_millisecond(ms) {
        Ok(time) => format!("{time:.3}"),
        Err(_) => ms.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn times() {
        for (text, expect) in [
            ("2026-03-02T00:00:08.297Z", Some(1_772_409_608_297)),
            ("2026-03-02T00:00:08Z", Some(1_772_409_608_000)),
            ("2026-03-02T08:00:08.297+08:00", Some(1_772_409_608_297)),
            ("2026-03-02T00:00:08.2979999Z", Some(1_772_409_608_297)),
            ("1969-12-31T23:59:59.9995Z", Some(-1)),
            ("2024-02-29T00:00:00Z", Some(1_709_164_800_000)),
            ("2026-02-29T00:00:00Z", None),
            ("2026-03-02T24:00:00Z", None),
            ("2026-03-02T00:00:08.297", None),
            ("2026-03-02", None),
            ("yesterday", None),
            ("", None),
            ("2026-03-02T00:00:08.29xZ", None),
            ("2026-03-02Té:00:00Z", None),
            ("2026-03-02Té:é:é.000Z", None),
            ("3000-01-01T00:00:00Z", Some(32_503_680_000_000)),
        ] {
            assert_eq!(parse_rfc3339_ms(text), expect, "{text}");
        }
    }

    proptest! {
        #[test]
        fn the_short_form_agrees_with_the_library(ms in -62_135_596_800_000i64..253_402_300_799_999) {
            let text = format_rfc3339_ms(ms);
            prop_assert_eq!(Midnight::default().parse_utc(text.as_bytes()), Some(ms));
            let library: Timestamp = text.parse().unwrap();
            prop_assert_eq!(library.as_millisecond(), ms);
        }

        #[test]
        fn nonsense_never_panics(text in "\\PC{0,30}") {
            let _ = parse_rfc3339_ms(&text);
        }
    }
}
