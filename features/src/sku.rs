//! What was bought and given back of each sku, by anybody, day by day.

use hashbrown::HashMap;

/// Microseconds of a day.
const DAY_US: i64 = 86_400_000_000;

/// Running totals by sku, with the granularity of UTC days: what became known in the course of a day
/// counts from the next day on, so that the order within a day does not matter.
#[derive(Debug, Clone, Default)]
pub(crate) struct Skus {
    by_sku: HashMap<u64, Vec<Total>>,
}

/// The totals at the end of a day.
#[derive(Debug, Clone, Copy)]
struct Total {
    day: i32,
    bought: u32,
    returned: u32,
}

impl Skus {
    /// Counts a line that became known at `known_us`.
    pub fn count(&mut self, sku: u64, known_us: i64, bought: bool) {
        let day = day_of(known_us);
        let totals = self.by_sku.entry(sku).or_default();
        let place = totals.partition_point(|total| total.day < day);
        if totals.get(place).is_none_or(|total| total.day != day) {
            let before = place.checked_sub(1).map(|place| totals[place]);
            let (bought, returned) = before.map_or((0, 0), |total| (total.bought, total.returned));
            totals.insert(place, Total { day, bought, returned });
        }
        for total in &mut totals[place..] {
            total.bought += u32::from(bought);
            total.returned += u32::from(!bought);
        }
    }

    /// Lines bought and given back that were known before the day of `as_of_us`.
    pub fn known(&self, sku: u64, as_of_us: i64) -> (i64, i64) {
        let day = day_of(as_of_us);
        let Some(totals) = self.by_sku.get(&sku) else { return (0, 0) };
        let before = totals.partition_point(|total| total.day < day);
        before.checked_sub(1).map_or((0, 0), |place| {
            let total = totals[place];
            (total.bought.into(), total.returned.into())
        })
    }
}

fn day_of(us: i64) -> i32 {
    us.div_euclid(DAY_US).clamp(i32::MIN.into(), i32::MAX.into()) as i32
}
