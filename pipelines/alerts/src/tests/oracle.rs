//! The same, computed the way that it is described: from all final values at once.

use std::collections::BTreeMap;

use arrow::array::RecordBatch;
use proptest::prelude::*;

use super::{MINUTE, shapes};
use crate::rows::make;
use crate::{Alerts, Change, Condition, Direction, Episode, Rule, Rules, State, Unexplained};

/// A row: when it is said, in minutes, the end of its window, its series, value and n.
#[derive(Debug, Clone)]
struct Row {
    at: i64,
    end: i64,
    shop: &'static str,
    value: Option<i64>,
    n: Option<i64>,
}

/// Final values by the ends of windows, in ms.
type Values = BTreeMap<i64, (Option<f64>, Option<i64>)>;

/// Value, n and limit, whether it is beyond the fire limit, and whether it is clear.
type Said = Option<(f64, i64, f64, bool, bool)>;

fn naive_reading(rule: &Rule, values: &Values, end_ms: i64) -> Said {
    match &rule.condition {
        Condition::Threshold(threshold) => {
            let (value, n) = of_enough(rule, values, end_ms)?;
            let above = threshold.direction == Direction::Above;
            let fire = if above { value > threshold.fire } else { value < threshold.fire };
            let clear = match threshold.clear {
                Some(clear) if above => value < clear,
                Some(clear) => value > clear,
                None => !fire,
            };
            Some((value, n, threshold.fire, fire, clear))
        }
        Condition::Burn(burn) => {
            let sums = |length_ms: i64| {
                let mut sums = (0, 0);
                for (&other_ms, (good, all)) in values {
                    let back_ms = end_ms - other_ms;
                    if back_ms >= 0 && back_ms < length_ms && back_ms % rule.size_ms() == 0 {
                        sums.0 += good.unwrap_or(0.0) as i64;
                        sums.1 += all.unwrap_or(0);
                    }
                }
                sums
            };
            let rate = |(good, all): (i64, i64)| (all - good) as f64 / all as f64 / (1.0 - burn.objective);
            let mut most: Said = None;
            for pair in &burn.windows {
                let (long, short) = (sums(pair.long_ms), sums(pair.short_ms));
                if long.1 < rule.min_n.max(1) || short.1 == 0 {
                    continue;
                }
                let value = rate(long).min(rate(short));
                let hot = value > pair.rate;
                if most.is_none_or(|(other, _, limit, ..)| value / pair.rate >= other / limit) {
                    most = Some((value, long.1, pair.rate, hot, !hot));
                }
            }
            most
        }
        Condition::Baseline(baseline) => {
            let (value, n) = of_enough(rule, values, end_ms)?;
            let week_ms = 7 * 24 * 60 * MINUTE;
            let hour = |ms: i64| (ms - 1).div_euclid(60 * MINUTE);
            let mut before: Vec<f64> = values
                .keys()
                .filter(|&&ms| {
                    (1..=baseline.weeks).any(|week| hour(ms) == hour(end_ms - week * week_ms))
                        && (ms - rule.size_ms()) % rule.sample_ms() == 0
                })
                .filter_map(|&ms| of_enough(rule, values, ms))
                .map(|(value, _)| value)
                .collect();
            if before.len() < baseline.min_samples {
                return None;
            }
            let mut middle = || {
                before.sort_by(f64::total_cmp);
                let half = before.len() / 2;
                let middle = match before.len() % 2 {
                    0 => (before[half - 1] + before[half]) / 2.0,
                    _ => before[half],
                };
                before.iter_mut().for_each(|value| *value = (*value - middle).abs());
                middle
            };
            let (median, mad) = (middle(), middle());
            let sign = if baseline.direction == Direction::Above { 1.0 } else { -1.0 };
            let limit = |k: f64, floor: f64| {
                median + sign * if k * 1.4826 * mad > floor { k * 1.4826 * mad } else { floor }
            };
            let fire = limit(baseline.deviations, baseline.floor);
            let hot = (value - fire) * sign > 0.0;
            let clear = match baseline.clear_deviations {
                Some(k) => (limit(k, baseline.floor * k / baseline.deviations) - value) * sign > 0.0,
                None => !hot,
            };
            Some((value, n, fire, hot, clear))
        }
    }
}

fn of_enough(rule: &Rule, values: &Values, end_ms: i64) -> Option<(f64, i64)> {
    let &(value, n) = values.get(&end_ms)?;
    let n = n.unwrap_or(0);
    value.filter(|_| n >= rule.min_n).map(|value| (value, n))
}

/// Episodes of one series, looked for one after the other.
fn naive_episodes(rule: &Rule, values: &Values) -> Vec<Episode> {
    let (Some((&first, _)), Some((&last, _))) = (values.first_key_value(), values.last_key_value()) else {
        return Vec::new();
    };
    let longest = 40 * MINUTE + 2 * rule.slide_ms() + rule.keep_firing_for_ms;
    let ends: Vec<i64> = (first..=last + longest).step_by(rule.slide_ms() as usize).collect();
    let said: Vec<Said> = ends.iter().map(|&end_ms| naive_reading(rule, values, end_ms)).collect();
    let hot = |place: usize| said[place].is_some_and(|(.., hot, _)| hot);
    let kept = |place: usize| said[place].is_some_and(|(.., clear)| !clear);
    let mut episodes = Vec::new();
    let mut from = 0;
    loop {
        // The first end up to which it was hot for long enough.
        let start = (from..ends.len()).find_map(|place| {
            let since = (from..=place).rev().take_while(|&before| hot(before)).last()?;
            (ends[place] - ends[since] >= rule.for_ms).then_some((since, place))
        });
        let Some((since, start)) = start else {
            return episodes;
        };
        let over = (start + 1..ends.len()).find(|&place| {
            let last = (start..place).rev().find(|&before| before == start || kept(before));
            !kept(place) && ends[place] - ends[last.unwrap_or(start)] >= rule.keep_firing_for_ms
        });
        let over = over.expect("it ends when no rows come");
        let (value, n, limit, ..) = said[start].expect("it is hot");
        let (peak, peak_place) = (since..=over)
            .filter_map(|place| said[place].map(|(value, ..)| (value, place)))
            .reduce(|most, next| match rule.direction() {
                Direction::Above if next.0 > most.0 => next,
                Direction::Below if next.0 < most.0 => next,
                _ => most,
            })
            .expect("it is hot");
        let last = (start..over).rev().find(|&place| place == start || kept(place)).unwrap_or(start);
        episodes.push(Episode {
            since_ms: ends[since],
            started_ms: ends[start],
            value,
            n,
            limit,
            peak,
            peak_ms: ends[peak_place],
            last_ms: ends[last],
            resolved_ms: Some(ends[over]),
        });
        from = over + 1;
    }
}

fn naive(rule: &Rule, rows: &[Row]) -> Vec<(String, Episode)> {
    let mut series: BTreeMap<&str, Values> = BTreeMap::new();
    for row in rows {
        let value = row.value.map(|value| value as f64);
        series.entry(row.shop).or_default().insert(row.end * MINUTE, (value, row.n));
    }
    let all = series.iter().flat_map(|(shop, values)| {
        naive_episodes(rule, values).into_iter().map(move |episode| ((*shop).to_owned(), episode))
    });
    all.collect()
}

/// Each row as a batch, in the order in which they are said.
fn batches(rules: &Rules, rows: &[Row]) -> Vec<(usize, RecordBatch)> {
    let place = rules.rules[0].kpi_place();
    let shape = &rules.shapes[place];
    let batch = |(revision, row): (usize, &Row)| {
        let (value, n) = (row.value.map(|value| value as f64), row.n.map(|n| n as f64));
        let mut values = vec![n, value];
        values.resize(shape.values.len(), None);
        let said = (revision as i64, false, row.at * MINUTE);
        make(shape, &["shop".to_owned()], row.end * MINUTE, said, &[(vec![row.shop], values)])
    };
    rows.iter().enumerate().map(|row| (place, batch(row).expect("rows"))).collect()
}

/// The alerts that were not withdrawn, as they were said last.
fn living(changes: &[Change]) -> Vec<(String, Episode)> {
    let mut last: BTreeMap<&str, &Change> = BTreeMap::new();
    for change in changes {
        let before = last.insert(&change.alert.id, change);
        assert_eq!(change.alert.revision, before.map_or(0, |before| before.alert.revision) + 1);
    }
    let alive = last.values().filter(|change| change.alert.state != State::Withdrawn);
    let mut alive: Vec<_> = alive.map(|change| (change.alert.key[0].clone(), change.alert.episode)).collect();
    alive.sort_by(|a, b| (&a.0, a.1.started_ms).cmp(&(&b.0, b.1.started_ms)));
    alive
}

/// In calls that end before these rows, with the state saved and restored in between.
fn run(rules: &Rules, rows: &[Row], cuts: &[usize], saved: bool) -> Vec<Change> {
    let batches = batches(rules, rows);
    let mut alerts = Alerts::new(rules);
    let mut out = Vec::new();
    let mut from = 0;
    for &cut in cuts {
        let cut = cut.clamp(from, rows.len());
        // Rows that are said at the same time come together.
        let cut = (from..=cut).rev().find(|&c| c == 0 || c == rows.len() || rows[c - 1].at < rows[c].at);
        let Some(cut) = cut else { continue };
        let until = rows.get(cut).map_or(i64::MAX, |next| next.at * MINUTE - 1);
        if until < i64::MAX {
            alerts.advance(&batches[from..cut], until, &mut Unexplained, &mut out).expect("rows");
            from = cut;
        }
        if saved {
            let bytes = alerts.save().expect("saved");
            alerts = Alerts::new(rules);
            alerts.restore(&bytes).expect("restored");
            assert_eq!(alerts.save().expect("saved"), bytes);
        }
    }
    alerts.advance(&batches[from..], i64::MAX, &mut Unexplained, &mut out).expect("rows");
    out
}

/// Rows of windows up to so many minutes, each said up to a few times, from a minute before its
/// window ends until it is final.
fn rows(
    windows: i64,
    every: i64,
    corrections: i64,
    values: std::ops::Range<i64>,
) -> impl Strategy<Value = Vec<Row>> {
    let row =
        (1..windows, -1..corrections + 1, prop::bool::ANY, prop::option::weighted(0.95, values), 0..6i64);
    prop::collection::vec(row, 0..120).prop_map(move |rows| {
        let mut rows: Vec<Row> = rows
            .into_iter()
            .map(|(end, after, shop, value, n)| Row {
                at: end * every + after * every.min(1),
                end: end * every,
                shop: if shop { "a" } else { "b" },
                value,
                n: (n < 5).then_some(n * 10),
            })
            .collect();
        rows.sort_by_key(|row| row.at);
        rows
    })
}

fn parse(text: &str) -> Rules {
    Rules::parse("alerts.toml", text, &shapes()).unwrap_or_else(|error| panic!("{text}{error}"))
}

fn threshold() -> impl Strategy<Value = Rules> {
    (0..4i64, 0..5i64, prop::option::of(0..3i64), 0..2i64, prop::bool::ANY).prop_map(
        |(hold, keep, clear, enough, above)| {
            let (fire, clear_key, sign) = if above { ("fire_above", "clear_below", -1) } else { ("fire_below", "clear_above", 1) };
            let clear = clear.map(|clear| format!("{clear_key} = {}\n", 5 + sign * clear)).unwrap_or_default();
            parse(&format!(
                "[[alert]]\nname = \"a\"\nkpi = \"aht\"\nvalue = \"aht\"\nby = [\"shop\"]\n{fire} = 5\n{clear}\
                 for = \"{hold}m\"\nkeep_firing_for = \"{keep}m\"\nmin_n = {}\n",
                enough * 10
            ))
        },
    )
}

/// Of windows by the minute, so that they overlap.
fn burn() -> impl Strategy<Value = Rules> {
    (0..3i64, 0..4i64, 1..4i64, 1..3i64, 1..4i64, 0..40i64).prop_map(|(hold, keep, long, short, rate, enough)| {
        let long = long.max(short);
        parse(&format!(
            "[[alert]]\nname = \"a\"\nkpi = \"calls\"\nby = [\"shop\"]\nfor = \"{hold}m\"\nkeep_firing_for = \"{keep}m\"\n\
             min_n = {enough}\nburn = {{ good = \"good\", total = \"offered\", objective = 0.5, windows = [\
             {{ long = \"{}m\", short = \"{}m\", rate = 1.{rate} }}, {{ long = \"6m\", short = \"6m\", rate = 1.9 }}] }}",
            long * 3,
            short * 3,
        ))
    })
}

fn baseline() -> impl Strategy<Value = Rules> {
    (1..3i64, 1..4i64, prop::option::of(0..2i64), 0..4i64, prop::bool::ANY, 0..3i64).prop_map(
        |(weeks, deviations, clear, floor, above, keep)| {
            let clear = clear.map(|clear| format!("clear_deviations = {clear}.5\n")).unwrap_or_default();
            let direction = if above { "above" } else { "below" };
            parse(&format!(
                "[[alert]]\nname = \"a\"\nkpi = \"hourly\"\nvalue = \"aht\"\nby = [\"shop\"]\nmin_n = 10\n\
                 keep_firing_for = \"{keep}h\"\n[alert.baseline]\nweeks = {weeks}\ndeviations = {deviations}.75\n\
                 floor = {floor}\nmin_samples = 1\ndirection = \"{direction}\"\n{clear}"
            ))
        },
    )
}

/// Hours of a few weeks, of which most have something to be compared with.
fn hours() -> impl Strategy<Value = Vec<Row>> {
    let hour = (prop::option::weighted(0.9, 0..12i64), 0..4i64, 0..3i64);
    prop::collection::vec(hour, 9..40).prop_map(|hours| {
        let mut rows = Vec::new();
        for (place, (value, n, after)) in hours.into_iter().enumerate() {
            // Three hours of the week, week by week.
            let end = (place as i64 / 3 * 7 * 24 + place as i64 % 3 + 5) * 60;
            rows.push(Row { at: end + after * 60, end, shop: "a", value, n: Some(n * 10) });
        }
        rows.sort_by_key(|row| row.at);
        rows
    })
}

proptest! {
    /// Whatever comes when: what is left in the end follows from the final values.
    #[test]
    fn limits_come_to_what_is_described(rules in threshold(), rows in rows(40, 1, 4, 0..10), cuts in prop::collection::vec(0..120usize, 0..6)) {
        let changes = run(&rules, &rows, &cuts, false);
        prop_assert_eq!(living(&changes), naive(&rules.rules[0], &rows));
    }

    #[test]
    fn burn_rates_come_to_what_is_described(rules in burn(), rows in rows(40, 1, 4, 0..10), cuts in prop::collection::vec(0..120usize, 0..6)) {
        let changes = run(&rules, &rows, &cuts, false);
        prop_assert_eq!(living(&changes), naive(&rules.rules[0], &rows));
    }

    #[test]
    fn baselines_come_to_what_is_described(rules in baseline(), rows in hours()) {
        let changes = run(&rules, &rows, &[], false);
        prop_assert_eq!(living(&changes), naive(&rules.rules[0], &rows));
    }

    /// Not only in the end: what is said, and when, does not depend on how rows are cut into
    /// calls, nor on the state being saved and restored in between.
    #[test]
    fn how_rows_are_cut_changes_nothing(rules in prop_oneof![threshold(), burn()], rows in rows(40, 1, 4, 0..10), mut cuts in prop::collection::vec(0..120usize, 0..6)) {
        cuts.sort_unstable();
        let whole = run(&rules, &rows, &[], false);
        prop_assert_eq!(&run(&rules, &rows, &cuts, false), &whole);
        prop_assert_eq!(&run(&rules, &rows, &cuts, true), &whole);
    }

    #[test]
    fn a_baseline_is_saved_too(rules in baseline(), rows in hours(), mut cuts in prop::collection::vec(0..40usize, 0..4)) {
        cuts.sort_unstable();
        prop_assert_eq!(run(&rules, &rows, &cuts, true), run(&rules, &rows, &[], false));
    }

    /// A damaged state is refused or gone on from, and never a panic.
    #[test]
    fn a_damaged_state_is_no_panic(
        rules in prop_oneof![threshold(), burn(), baseline()],
        rows in rows(40, 1, 4, 0..10),
        half in 0..120usize,
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut rows = rows;
        if rules.rules[0].kpi == "hourly" {
            rows.iter_mut().for_each(|row| (row.end, row.at) = (row.end * 60, row.at * 60));
        }
        let batches = batches(&rules, &rows);
        let (first, second) = batches.split_at(half.min(rows.len()));
        let mut alerts = Alerts::new(&rules);
        alerts.advance(first, 0, &mut Unexplained, &mut Vec::new()).expect("rows");
        let mut bytes = alerts.save().expect("saved");
        for (place, byte) in damage {
            *place.get_mut(&mut bytes) = byte;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        let mut alerts = Alerts::new(&rules);
        if alerts.restore(&bytes).is_ok() {
            let mut out = Vec::new();
            let _ = alerts.advance(second, 200 * 60 * MINUTE, &mut Unexplained, &mut out);
            let _ = alerts.save();
            out.iter().for_each(|change| drop(change.event("/test", 1)));
        }
    }
}
