//! What rules would have said.

use expect_test::expect;

use super::{MINUTE, batches, rules, said};
use crate::{AlertsError, Backtest, Fired, Rules, backtest, diff, runs};

const HIGH: &str = "value = \"aht\"\nfire_above = 120\nmin_n = 20\nkeep_firing_for = \"1m\"";
const SCRIPT: &str = "5 a=130/20 b=100/20
                      6 a=130/20 b=125/20
                      7 a=100/20 b=125/20
                      8 a=100/20 b=100/20 5:a=119/21
                      9 a=100/20 b=126/20 6:a=119/21
                      10 b=127/20
                      11 b=130/20";

fn back(rules: &Rules) -> Backtest {
    let rows = batches(rules, SCRIPT).into_iter().flat_map(|(_, rows)| rows);
    backtest(rules, rows.map(Ok::<_, AlertsError>)).expect("rows")
}

fn shown(fired: &Fired) -> String {
    let minute = |ms: i64| (ms / MINUTE).to_string();
    let (_, series) = &fired.labels[0];
    let until = fired.episode.resolved_ms.map_or("now".to_owned(), minute);
    format!("{} {series} {}-{until}", fired.rule, minute(fired.episode.started_ms))
}

fn list<'a>(all: impl IntoIterator<Item = &'a Fired>) -> Vec<String> {
    all.into_iter().map(shown).collect()
}

#[test]
fn what_is_left_and_how_long_it_was() {
    let result = back(&rules(HIGH));
    assert_eq!(list(&result.fired), ["high b 6-8", "high b 9-now"]);
    assert_eq!(list(&result.withdrawn), ["high a 6-7"]);
    assert_eq!(result.fired[1].episode.peak, 130.0, "what was seen since it was said counts");
    expect!["Statistics { episodes: 2, series: 1, firing: 1, median_ms: Some(120000), p90_ms: Some(120000), longest_ms: Some(120000), total_ms: 240000 }"].assert_eq(&format!("{:?}", result.statistics("high")));
    assert_eq!(result.span_ms, Some((5 * MINUTE, 11 * MINUTE)));
}

#[test]
fn the_difference_to_what_fired() {
    let rules_now = rules(HIGH);
    let events: Vec<_> =
        said(&rules_now, SCRIPT).iter().map(|change| change.event("/headsup/all", 1).1).collect();
    let fired = Fired::of_events(&events);
    // Of those that go on, the event has the peak of when they were said.
    assert_eq!(list(&fired), list(&back(&rules_now).fired));
    let lower = back(&rules(&HIGH.replace("120", "99"))).fired;
    let higher = back(&rules(&HIGH.replace("120", "125"))).fired;
    let show = |a: &[Fired], b: &[Fired]| {
        let diff = diff(a, b);
        let moved = diff.moved.iter().map(|(old, new)| format!("{} to {}", shown(old), shown(new)));
        let moved: Vec<_> = moved.collect();
        format!(
            "same {:?}\nmoved {moved:?}\ngone {:?}\nnew {:?}\n",
            list(diff.same.into_iter().map(|(old, _)| old)),
            list(diff.gone),
            list(diff.new)
        )
    };
    expect![[r#"
        same ["high b 6-8", "high b 9-now"]
        moved []
        gone []
        new []
    "#]]
    .assert_eq(&show(&fired, &fired));
    expect![[r#"
        same ["high b 9-now"]
        moved []
        gone ["high b 6-8"]
        new []
    "#]]
    .assert_eq(&show(&fired, &higher));
    expect![[r#"
        same []
        moved ["high b 6-8 to high b 5-now"]
        gone ["high b 9-now"]
        new ["high a 5-10"]
    "#]]
    .assert_eq(&show(&fired, &lower));
    expect![[r#"
        same []
        moved ["high b 5-now to high b 6-8"]
        gone ["high a 5-10"]
        new ["high b 9-now"]
    "#]]
    .assert_eq(&show(&lower, &fired));
}

/// Stored rows of many windows come to the same.
#[test]
fn stored_rows_are_cut_as_they_were_given_out() {
    let rules = rules(HIGH);
    let rows: Vec<_> = batches(&rules, SCRIPT).into_iter().flat_map(|(_, rows)| rows).collect();
    let schema = rows[0].1.schema();
    let stored =
        arrow::compute::concat_batches(&schema, rows.iter().map(|(_, batch)| batch)).expect("stored");
    let cut = runs(&stored).expect("rows");
    let result = backtest(&rules, cut.into_iter().map(|batch| Ok::<_, AlertsError>((0, batch))));
    assert_eq!(result.expect("rows"), back(&rules));
}
