//! What can be wrong with a file of rules.

use expect_test::{Expect, expect};
use proptest::prelude::*;

use super::shapes;
use crate::{Cases, Rules};

fn check(text: &str, expect: Expect) {
    let error = Rules::parse("alerts.toml", text, &shapes()).expect_err("mistakes");
    expect.assert_eq(&format!("{error}\n"));
}

#[test]
fn no_toml() {
    check(
        "[[alert]]\nname = aht\nkpi = \"aht\n",
        expect![[r#"
        alerts.toml: line 2: string values must be quoted, expected literal string
        alerts.toml: line 3: invalid basic string, expected `"`
    "#]],
    );
}

#[test]
fn no_rules() {
    assert!(Rules::parse("alerts.toml", "# none yet\n", &shapes()).expect("no rules").rules.is_empty());
    check(
        "[alert]\nname = \"a\"\n\n[alerts]\n",
        expect![[r#"
        alerts.toml: line 1: expected [[alert]], found [alert]; a rule begins with [[alert]]
        alerts.toml: line 4: the file has no key "alerts"; did you mean "alert"?
    "#]],
    );
}

#[test]
fn every_mistake_at_once() {
    check(
        r#"
[[alert]]
name = "AHT"
kpi = "ath"
by = ["shop"]
fire_abov = 5

[[alert]]
name = "a"
kpi = "aht"
value = "ath"
by = ["shop", "chanel"]
fire_above = "120"
fire_below = 5
severity = "pager"

[[alert]]
name = "a"
kpi = "aht"
value = "aht"
n = "aht"
by = ["channel", "skill"]
fire_above = 120
clear_below = 130
for = "soon"
keep_firing_for = "60d"
min_n = -1
group_by = ["shop"]
series_max = 0
runbook = 7

[[alert]]
kpi = "aht"
value = "contacts"
by = ["shop", "shop"]
fire_below = 120
clear_below = 130
clear_above = 100

[[alert]]
name = "needs"
kpi = "aht"
fire_above = 1.0
title = ["x"]
min_n = 1.5

[[alert]]
name = "listed"
kpi = "aht"
value = "aht"
by = "shop"
group_by = []

[[alert]]
name = "grouped"
kpi = "aht"
value = "aht"
by = ["shop"]
fire_above = 1
group_by = ["shop", "skill"]

[[alert]]
name = "few"
kpi = "aht"
value = "contacts"
by = ["shop"]
fire_below = 5
min_n = 5
"#,
        expect![[r#"
            alerts.toml: line 2: a rule needs one of fire_above, fire_below, [alert.baseline], [alert.burn], to say when it fires
            alerts.toml: line 3: "AHT" cannot be a name; use a-z, 0-9 and _, a letter first
            alerts.toml: line 4: no KPI "ath"; did you mean "aht"?
            alerts.toml: line 6: a rule has no key "fire_abov"; did you mean "fire_above"?
            alerts.toml: line 11: KPI aht has no value "ath"; did you mean "aht"?
            alerts.toml: line 12: KPI aht has no key "chanel"; did you mean "channel"?
            alerts.toml: line 14: a rule fires for one reason, found fire_above and fire_below; keep one
            alerts.toml: line 15: no severity "pager"; did you mean "page"?
            alerts.toml: line 18: there is another rule named "a"; names tell alerts apart
            alerts.toml: line 21: n is aht, which is no count: whole numbers say of how many a value is
            alerts.toml: line 22: KPI aht is not grouped by (channel, skill); it is by (), (shop), (shop, skill), (shop, channel, skill); use one of those, or add the grouping set to the KPI
            alerts.toml: line 24: clear_below = 130 is beyond fire_above = 120; it has to be at most that
            alerts.toml: line 25: for: expected a duration such as "5m", at most "31d", found "soon"
            alerts.toml: line 26: keep_firing_for: expected a duration such as "5m", at most "31d", found "60d"
            alerts.toml: line 27: min_n: expected a whole number of at least 0, found -1
            alerts.toml: line 29: series_max: expected a whole number from 1 to 1000000, found 0
            alerts.toml: line 30: runbook: expected a text in quotes, found 7
            alerts.toml: line 32: a rule needs name
            alerts.toml: line 35: by has "shop" twice
            alerts.toml: line 37: clear_below does not go with fire_below; use clear_above
            alerts.toml: line 38: clear_above = 100 is beyond fire_below = 120; it has to be at least that
            alerts.toml: line 40: a rule needs by, the keys of its series; by = [] is one series over everything
            alerts.toml: line 40: a rule needs value
            alerts.toml: line 44: title: expected a text in quotes, found ["x"]
            alerts.toml: line 45: min_n: expected a whole number of at least 0, found 1.5
            alerts.toml: line 47: a rule needs one of fire_above, fire_below, [alert.baseline], [alert.burn], to say when it fires
            alerts.toml: line 51: by: expected a list of names, such as ["shop"], found "shop"
            alerts.toml: line 60: group_by has "skill", which is not in by; it is a part of by
            alerts.toml: line 68: min_n = 5 is of the value itself, so that none is left below 5
        "#]],
    );
}

#[test]
fn burns() {
    check(
        r#"
[[alert]]
name = "a"
kpi = "levels"
value = "level"
by = ["shop"]
clear_below = 1
[alert.burn]
good = "level"
total = "ofered"
objective = 80
goal = 1
windows = [{ long = "12m", short = "5m", rate = 2 }, { long = "5m", short = "10m", rate = -2 }]

[[alert]]
name = "b"
kpi = "levels"
by = ["shop"]
burn = { good = "good", total = "offered", windows = [] }

[[alert]]
name = "c"
kpi = "levels"
by = ["shop"]
burn = { good = "good", total = "offered", objective = 0.8, windows = [{ long = "1h" }, "5m"] }

[[alert]]
name = "d"
kpi = "levels"
by = ["shop"]
burn = 5

[[alert]]
name = "e"
kpi = "levels"
by = ["shop"]
burn = { good = "good", total = "offered", objective = 0.8, windows = [{ long = "40d", short = "5m", rate = 5 }] }

[[alert]]
name = "f"
kpi = "levels"
by = ["shop"]
burn = { good = "good", total = "offered", objective = 0.8, windows = [{ long = "31d", short = "5m", rate = 5 }] }
"#,
        expect![[r#"
            alerts.toml: line 5: a burn rate is computed from good and total; leave out value
            alerts.toml: line 7: clear_below goes with fire_above or fire_below, not with burn; leave it out
            alerts.toml: line 9: good is level, which is no count
            alerts.toml: line 10: KPI levels has no value "ofered"; did you mean "offered"?
            alerts.toml: line 11: objective = 80 is no share between 0 and 1, such as 0.8
            alerts.toml: line 12: [alert.burn] has no key "goal"; did you mean "good"?
            alerts.toml: line 13: long = 12m is no multiple of 5m, which is the window of KPI levels
            alerts.toml: line 13: short is longer than long
            alerts.toml: line 13: rate has to be more than 0
            alerts.toml: line 19: [alert.burn] needs objective, the share that should be good
            alerts.toml: line 19: expected a list of { long = "1h", short = "5m", rate = 2.0 }
            alerts.toml: line 25: a pair of windows needs short
            alerts.toml: line 25: a pair of windows needs rate
            alerts.toml: line 25: expected { long = "1h", short = "5m", rate = 2.0 }
            alerts.toml: line 31: expected a table; begin it with [alert.burn]
            alerts.toml: line 37: long: expected a duration such as "5m", at most "31d", found "40d"
            alerts.toml: line 43: rate = 5 is never exceeded: with objective = 0.8, all failing is 5
        "#]],
    );
}

#[test]
fn baselines() {
    check(
        r#"
[[alert]]
name = "a"
kpi = "aht"
value = "aht"
by = []
[alert.baseline]
weeks = 100
deviations = 0
clear_deviations = 3
direction = "up"
floor = -1
mad = 2
min_samples = 0
fire_above = 3

[[alert]]
name = "b"
kpi = "aht"
value = "aht"
by = []
fire_above = 3
[alert.baseline]

[[alert]]
name = "c"
kpi = "aht"
value = "aht"
by = []
baseline = []
"#,
        expect![[r#"
            alerts.toml: line 8: weeks: expected a whole number from 1 to 8, found 100
            alerts.toml: line 9: deviations has to be more than 0
            alerts.toml: line 10: clear_deviations is more than deviations; it has to be at most that
            alerts.toml: line 11: no direction "up"; there are above, below
            alerts.toml: line 12: floor has to be at least 0
            alerts.toml: line 13: [alert.baseline] has no key "mad"; there are weeks, deviations, clear_deviations, min_samples, direction, floor
            alerts.toml: line 14: min_samples: expected a whole number from 1 to 100000, found 0
            alerts.toml: line 15: [alert.baseline] has no key "fire_above"; there are weeks, deviations, clear_deviations, min_samples, direction, floor
            alerts.toml: line 23: a rule fires for one reason, found fire_above and baseline; keep one
            alerts.toml: line 30: expected a table; begin it with [alert.baseline]
        "#]],
    );
}

#[test]
fn a_kpi_that_begins_with_no_count() {
    let mut shapes = shapes();
    shapes[0].values.swap(0, 1);
    shapes[0].corrections_ms = 7 * 86_400_000;
    shapes[0].values.push(("name".to_owned(), arrow::datatypes::DataType::Utf8));
    let text = "[[alert]]\nname = \"a\"\nkpi = \"aht\"\nvalue = \"name\"\nby = []\n[alert.baseline]\n";
    let error = Rules::parse("alerts.toml", text, &shapes).expect_err("mistakes");
    expect![[r#"
        alerts.toml: line 1: the first value of KPI aht is no count; say which column is n
        alerts.toml: line 4: name of KPI aht is no number
        alerts.toml: line 6: KPI aht takes corrections for 7d; of last week's values those are known too late, so compare only KPIs with corrections up to 6 days
    "#]].assert_eq(&format!("{error}\n"));
}

proptest! {
    /// Whatever a file looks like, it is read or refused.
    #[test]
    fn nonsense_never_panics(
        cuts in prop::collection::vec((any::<prop::sample::Index>(), 0..40usize, "\\PC{0,6}"), 1..6),
    ) {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../sql/alerts");
        let read = |end: &str| std::fs::read_to_string(format!("{path}{end}.toml")).expect("readable");
        let spoil = |mut text: String| {
            for (place, len, by) in &cuts {
                let at = text.floor_char_boundary(place.index(text.len().max(1)));
                let end = text.floor_char_boundary((at + len).min(text.len()));
                text.replace_range(at..end.max(at), by);
            }
            text
        };
        let rules = super::defaults::rules();
        let _ = Rules::parse("alerts.toml", &spoil(read("")), &rules.shapes);
        if let Ok(cases) = Cases::parse("alerts_test.toml", &spoil(read("_test")), &rules) {
            cases.cases.iter().filter(|case| case.name.starts_with("one")).for_each(|case| drop(case.run(&rules)));
        }
    }
}
