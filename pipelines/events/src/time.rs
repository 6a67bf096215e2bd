use jiff::Timestamp;

/// Milliseconds since the Unix epoch of an RFC 3339 time such as
/// `2026-03-02T00:00:08.297Z`. Digits past the millisecond are cut off, towards
/// the past.
///
/// `None` if it is no RFC 3339 time with an offset, or lies outside the years 1
/// to 9999.
pub fn parse_rfc3339_ms(text: &str) -> Option<i64> {
    match parse_utc_ms(text.as_bytes()) {
        Some(ms) => Some(ms),
        None => {
            // jiff also takes looser forms than RFC 3339 (a space, week dates).
            let bytes = text.as_bytes();
            let shaped = bytes.len() >= 20
                && bytes[4] == b'-'
                && matches!(bytes[10], b'T' | b't' | b' ')
                && !text.contains('[');
            let time: Timestamp = shaped.then(|| text.parse().ok())??;
            (time.as_second() > -62_135_596_801).then(|| time.as_nanosecond().div_euclid(1_000_000) as i64)
        }
    }
}

/// The form that nearly all events have, `YYYY-MM-DDThh:mm:ss[.fff]Z`, without a
/// call to the library.
fn parse_utc_ms(b: &[u8]) -> Option<i64> {
    let fraction_ms = match b.len() {
        20 if b[19] == b'Z' => 0,
        24 if b[19] == b'.' && b[23] == b'Z' => digits(&b[20..23])?,
        _ => return None,
    };
    if b[4] != b'-' || b[7] != b'-' || b[10] != b'T' || b[13] != b':' || b[16] != b':' {
        return None;
    }
    let (year, month, day) = (digits(&b[0..4])?, digits(&b[5..7])?, digits(&b[8..10])?);
    let (hour, minute, second) = (digits(&b[11..13])?, digits(&b[14..16])?, digits(&b[17..19])?);
    if year < 1 || !(1..=12).contains(&month) || day < 1 || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    const LENGTHS: [i64; 12] = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    if day > LENGTHS[month as usize - 1] + i64::from(leap && month == 2) {
        return None;
    }
    let seconds = days_from_civil(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second;
    Some(seconds * 1_000 + fraction_ms)
}

fn digits(bytes: &[u8]) -> Option<i64> {
    let mut value = 0i64;
    let mut ok = true;
    for &b in bytes {
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
            ("3000-01-01T00:00:00Z", Some(32_503_680_000_000)),
        ] {
            assert_eq!(parse_rfc3339_ms(text), expect, "{text}");
        }
    }

    proptest! {
        #[test]
        fn the_short_form_agrees_with_the_library(ms in -62_135_596_800_000i64..253_402_300_799_999) {
            let text = format_rfc3339_ms(ms);
            prop_assert_eq!(parse_utc_ms(text.as_bytes()), Some(ms));
            let library: Timestamp = text.parse().unwrap();
            prop_assert_eq!(library.as_millisecond(), ms);
        }

        #[test]
        fn nonsense_never_panics(text in "\\PC{0,30}") {
            let _ = parse_rfc3339_ms(&text);
        }
    }
}
