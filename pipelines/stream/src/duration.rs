/// Milliseconds of a duration such as `10s`, `10 seconds`, `5 min`, `24h`,
/// `7 days`, `250ms`. `None` if it is something else, negative, or longer than
/// [`DURATION_MS_MAX`].
pub fn parse_duration_ms(text: &str) -> Option<i64> {
    let text = text.trim();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let count: i64 = text[..digits].parse().ok()?;
    let unit_ms = match text[digits..].trim() {
        "ms" | "millisecond" | "milliseconds" => 1,
        "s" | "sec" | "second" | "seconds" => 1_000,
        "m" | "min" | "minute" | "minutes" => 60_000,
        "h" | "hour" | "hours" => 3_600_000,
        "d" | "day" | "days" => 86_400_000,
        _ => return None,
    };
    count.checked_mul(unit_ms).filter(|&ms| ms <= DURATION_MS_MAX)
}

/// Ten years: longer than anything waits, and so short that event times can be added to it
/// without a thought of overflow.
pub const DURATION_MS_MAX: i64 = 3_650 * 86_400_000;

/// The shortest form of a duration that [`parse_duration_ms`] reads: `90s`, `2m`.
pub fn format_duration_ms(ms: i64) -> String {
    for (unit, unit_ms) in [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000)] {
        if ms != 0 && ms % unit_ms == 0 {
            return format!("{}{unit}", ms / unit_ms);
        }
    }
    format!("{ms}ms")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, expect) in [
            ("10s", Some(10_000)),
            ("10 seconds", Some(10_000)),
            (" 5 min ", Some(300_000)),
            ("0ms", Some(0)),
            ("10", None),
            ("-1s", None),
            ("s", None),
            ("10 parsecs", None),
            ("3650 d", Some(DURATION_MS_MAX)),
            ("3651 d", None),
            ("315360000001ms", None),
            ("9999999999999999 d", None),
        ] {
            assert_eq!(parse_duration_ms(text), expect, "{text}");
        }
        for ms in [0, 1, 1_000, 90_000, 120_000, 86_400_000, DURATION_MS_MAX] {
            assert_eq!(parse_duration_ms(&format_duration_ms(ms)), Some(ms));
        }
    }
}
