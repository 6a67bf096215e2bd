//! The shop's day and week.

use super::config::{DAY_MS, HOUR_MS};
use super::dice::Dice;

/// How busy each hour of the day is: peaks at 10-12, 14-17 and 20-22.
const HOURS: [f64; 24] = [
    1.2, 0.7, 0.45, 0.3, 0.3, 0.35, 0.6, 1.2, 2.8, 4.6, 6.0, 5.9, 4.4, 4.5, 5.6, 5.8, 5.6, 4.5, 4.2, 4.9,
    6.1, 6.0, 4.2, 2.2,
];

/// Sums of [`HOURS`] up to and with each hour.
const HOURS_UP_TO: [f64; 24] = {
    let mut sums = HOURS;
    let mut hour = 1;
    while hour < 24 {
        sums[hour] += sums[hour - 1];
        hour += 1;
    }
    sums
};

/// How busy each weekday is, Monday first.
const WEEKDAYS: [f64; 7] = [1.02, 0.96, 0.95, 0.96, 1.0, 1.08, 1.09];

/// A time of the day, milliseconds after its start, as customers keep it.
pub(super) fn time_of_day_ms(dice: &mut Dice) -> i64 {
    let wanted = dice.unit() * HOURS_UP_TO[23];
    let hour = HOURS_UP_TO.partition_point(|up_to| *up_to <= wanted).min(23) as i64;
    hour * HOUR_MS + (dice.unit() * HOUR_MS as f64) as i64
}

/// A later instant about `delay_ms` away, but not in the small hours, when few write.
pub(super) fn awake(at_ms: i64, day_start_ms: i64, dice: &mut Dice) -> i64 {
    let of_day_ms = (at_ms - day_start_ms).rem_euclid(DAY_MS);
    if of_day_ms < 7 * HOUR_MS {
        at_ms - of_day_ms + 8 * HOUR_MS + (dice.unit() * 3.0 * HOUR_MS as f64) as i64
    } else {
        at_ms
    }
}

/// How busy the weekday of an instant is, 1 on average.
pub(super) fn weekday(at_ms: i64) -> f64 {
    // 1970-01-01 was a Thursday, index 3.
    WEEKDAYS[(at_ms.div_euclid(DAY_MS) + 3).rem_euclid(7) as usize]
}
