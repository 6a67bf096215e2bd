//! When a shop is open, and what the clock on its wall says.

use std::collections::BTreeMap;
use std::fmt;

use jiff::civil::{Date, Time};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};

/// The opening hours of each shop.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Calendar {
    /// Of shops that have none of their own.
    pub default: Schedule,
    /// By shop.
    pub shops: BTreeMap<String, Schedule>,
}

/// Opening hours in a time zone, repeated every week.
#[derive(Clone, PartialEq, Eq)]
pub struct Schedule {
    text: String,
    zone: TimeZone,
    /// Of each weekday, Monday first: from and to, in minutes since midnight, in order and apart.
    days: [Vec<(i64, i64)>; 7],
}

const ALWAYS: &str = "UTC Mon-Sun 00:00-24:00";
const WEEKDAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
const DAY_MINUTES: i64 = 24 * 60;

impl Default for Schedule {
    /// Always open.
    fn default() -> Self {
        let days = std::array::from_fn(|_| vec![(0, DAY_MINUTES)]);
        Self { text: ALWAYS.to_owned(), zone: TimeZone::UTC, days }
    }
}

impl fmt::Debug for Schedule {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.text)
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.text)
    }
}

impl Schedule {
    /// Reads a schedule: a time zone (IANA), then days and hours, such as
    /// `Asia/Shanghai Mon-Fri 09:00-12:00 13:00-18:00, Sat 10:00-16:00`.
    ///
    /// # Errors
    /// What cannot be understood.
    pub fn parse(text: &str) -> Result<Self, String> {
        let example = "Asia/Shanghai Mon-Fri 09:00-18:00, Sat 10:00-16:00";
        let mut words = text.trim().splitn(2, char::is_whitespace);
        let zone = time_zone(words.next().unwrap_or_default())?;
        let mut days: [Vec<(i64, i64)>; 7] = Default::default();
        for part in words.next().unwrap_or_default().split(',') {
            let mut words = part.split_whitespace();
            let weekdays =
                words.next().ok_or_else(|| format!("expected opening hours such as \"{example}\""))?;
            let day = |name: &str| {
                let found = WEEKDAYS.iter().position(|day| *day == name);
                found.ok_or_else(|| format!("\"{name}\" is no weekday; they are {}", WEEKDAYS.join(", ")))
            };
            let (first, last) = weekdays.split_once('-').unwrap_or((weekdays, weekdays));
            let (first, last) = (day(first)?, day(last)?);
            let mut hours = Vec::new();
            for range in words {
                let parsed = range.split_once('-').and_then(|(from, to)| Some((minute(from)?, minute(to)?)));
                match parsed {
                    Some((from, to)) if from < to => hours.push((from, to)),
                    _ => {
                        return Err(format!(
                            "expected hours such as 09:00-18:00, within a day, found \"{range}\""
                        ));
                    }
                }
            }
            if hours.is_empty() {
                return Err(format!("{weekdays} has no hours; write them as in \"{example}\""));
            }
            for place in 0..=(last + 7 - first) % 7 {
                days[(first + place) % 7].extend(&hours);
            }
        }
        for (day, hours) in WEEKDAYS.iter().zip(&mut days) {
            hours.sort_unstable();
            if hours.windows(2).any(|pair| pair[0].1 > pair[1].0) {
                return Err(format!("the hours of {day} overlap"));
            }
        }
        Ok(Self { text: text.trim().to_owned(), zone, days })
    }

    /// How much of the time from `from_ms` to `to_ms` (Unix) it is open, in ms; 0 if that ends
    /// before it begins.
    pub fn open_ms(&self, from_ms: i64, to_ms: i64) -> i64 {
        if from_ms >= to_ms {
            return 0;
        }
        if self.text == ALWAYS {
            return to_ms - from_ms;
        }
        let (Some(first), Some(last)) = (self.date(from_ms), self.date(to_ms)) else {
            return 0;
        };
        let mut sum_ms = 0;
        let mut date = first;
        while date <= last {
            for &(from, to) in &self.days[date.weekday().to_monday_zero_offset() as usize] {
                if let (Some(begin_ms), Some(end_ms)) = (self.at(date, from), self.at(date, to)) {
                    sum_ms += (end_ms.min(to_ms) - begin_ms.max(from_ms)).max(0);
                }
            }
            match date.tomorrow() {
                Ok(next) => date = next,
                Err(_) => break,
            }
        }
        sum_ms
    }

    fn date(&self, ms: i64) -> Option<Date> {
        Some(Timestamp::from_millisecond(ms).ok()?.to_zoned(self.zone.clone()).date())
    }

    /// The Unix time in ms of a minute of a day.
    fn at(&self, date: Date, minute: i64) -> Option<i64> {
        let (date, minute) =
            if minute == DAY_MINUTES { (date.checked_add(1.day()).ok()?, 0) } else { (date, minute) };
        let time = Time::new((minute / 60) as i8, (minute % 60) as i8, 0, 0).ok()?;
        Some(self.zone.to_timestamp(date.to_datetime(time)).ok()?.as_millisecond())
    }
}

/// The time zone of this IANA name.
///
/// # Errors
/// There is none.
pub fn time_zone(name: &str) -> Result<TimeZone, String> {
    TimeZone::get(name)
        .map_err(|_| format!("there is no time zone \"{name}\"; write one such as Asia/Shanghai"))
}

/// The minute of the day, 0 to 1439, that clocks in a zone show at a Unix time in ms.
pub fn local_minute(zone: &TimeZone, ms: i64) -> Option<i64> {
    let at = Timestamp::from_millisecond(ms).ok()?;
    let ms = ms.saturating_add(i64::from(zone.to_offset(at).seconds()) * 1_000);
    Some(ms.div_euclid(60_000).rem_euclid(DAY_MINUTES))
}

/// `HH:MM`, to 24:00.
fn minute(text: &str) -> Option<i64> {
    let (hours, minutes) = text.split_once(':')?;
    let digits = |text: &str| text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
    let (hours, minutes): (i64, i64) = if digits(hours) && digits(minutes) {
        (hours.parse().ok()?, minutes.parse().ok()?)
    } else {
        return None;
    };
    Some(hours * 60 + minutes).filter(|&minute| minutes < 60 && minute <= DAY_MINUTES)
}

impl Calendar {
    /// The schedule of a shop.
    pub fn of(&self, shop: &str) -> &Schedule {
        self.shops.get(shop).unwrap_or(&self.default)
    }
}

impl fmt::Display for Calendar {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", self.default)?;
        self.shops.iter().try_for_each(|(shop, schedule)| write!(out, "; {shop}: {schedule}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(text: &str) -> i64 {
        text.parse::<Timestamp>().expect("a time").as_millisecond()
    }

    #[test]
    fn only_open_hours_count() {
        let shop =
            Schedule::parse("Asia/Shanghai Mon-Fri 09:00-12:00 13:00-18:00, Sat 10:00-16:00").expect("reads");
        let open = |from: &str, to: &str| shop.open_ms(ms(from), ms(to)) / 60_000;
        // Friday 17:50 to Monday 09:05 in Shanghai, with all of Saturday's hours.
        assert_eq!(open("2026-03-06T09:50:00Z", "2026-03-09T01:05:00Z"), 10 + 360 + 5);
        // Lunch.
        assert_eq!(open("2026-03-06T03:50:00Z", "2026-03-06T05:10:00Z"), 20);
        assert_eq!(open("2026-03-07T09:00:00Z", "2026-03-07T10:00:00Z"), 0);
        assert_eq!(open("2026-03-06T05:10:00Z", "2026-03-06T03:50:00Z"), 0);
    }

    #[test]
    fn days_are_as_long_as_clocks_make_them() {
        let shop = Schedule::parse("Europe/Berlin Mon-Sun 00:00-24:00").expect("reads");
        let (from, to) = (ms("2026-03-28T23:00:00Z"), ms("2026-03-29T22:00:00Z"));
        assert_eq!(shop.open_ms(from, to), 23 * 3_600_000);
        let night = Schedule::parse("Europe/Berlin Sun 01:00-04:00").expect("reads");
        assert_eq!(night.open_ms(from, to), 2 * 3_600_000);
        assert_eq!(Schedule::default().open_ms(5, 17), 12);
    }

    #[test]
    fn clocks_on_walls() {
        let zone = time_zone("Asia/Shanghai").expect("known");
        assert_eq!(local_minute(&zone, ms("2026-03-06T23:59:59Z")), Some(7 * 60 + 59));
        assert_eq!(local_minute(&zone, ms("1969-12-31T16:00:00Z")), Some(0));
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, expected) in [
            ("Mars/Base Mon 09:00-10:00", "no time zone"),
            ("UTC", "expected opening hours"),
            ("UTC Funday 09:00-10:00", "no weekday"),
            ("UTC Mon", "has no hours"),
            ("UTC Mon 10:00-09:00", "expected hours such as"),
            ("UTC Mon 9:00-10:00", "expected hours such as"),
            ("UTC Mon 09:00-25:00", "expected hours such as"),
            ("UTC Mon 09:00-11:00 10:00-12:00", "overlap"),
        ] {
            let error = Schedule::parse(text).expect_err(text);
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
