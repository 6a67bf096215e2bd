//! Rules with other values.

use expect_test::expect;

use super::defaults;
use crate::{Condition, Rule, Rules};

fn tuned(rules: &Rules, name: &str, changes: &[(&str, &str)]) -> Result<Rule, String> {
    let rule = rules.rules.iter().find(|rule| rule.name == name).expect("a rule");
    let changes: Vec<_> = changes.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
    rules.tuned(rule, &changes)
}

#[test]
fn what_is_not_changed_stays() {
    let odd = r#"
        [[alert]]
        name = "everything"
        title = "\"100 %\" \\o/"
        kpi = "csat"
        value = "csat_rate"
        n = "satisfied"
        by = []
        fire_below = 1e-7
        for = "90s"
        series_max = 5
        severity = "info"
        [[alert]]
        name = "unusual"
        kpi = "aht"
        value = "p90_ms"
        by = ["skill", "shop"]
        group_by = ["skill"]
        [alert.baseline]
        direction = "below"
        min_samples = 7
        deviations = 1e17
    "#;
    let odd = Rules::parse("odd.toml", odd, &defaults::shapes()).unwrap_or_else(|error| panic!("{error}"));
    for rules in [defaults::rules(), odd] {
        for rule in &rules.rules {
            assert_eq!(rules.tuned(rule, &[]).as_ref(), Ok(&**rule));
            // Also if all of it is said.
            assert_eq!(rules.tuned(rule, &rule.values()).as_ref(), Ok(&**rule));
        }
    }
}

#[test]
fn values_are_named_as_in_the_file() {
    let rules = defaults::rules();
    let values = |name: &str| {
        let rule = rules.rules.iter().find(|rule| rule.name == name).expect("a rule");
        rule.values().into_iter().map(|(key, value)| format!("{key} = {value}\n")).collect::<String>()
    };
    expect![[r#"
        fire_below = 0.7
        clear_above = 0.75
        for = 15m
        keep_firing_for = 30m
        min_n = 20
    "#]]
    .assert_eq(&values("csat_low"));
    expect![[r#"
        deviations = 4
        clear_deviations = 3
        floor = 15000
        for = 5m
        keep_firing_for = 10m
        min_n = 20
    "#]]
    .assert_eq(&values("frt_unusual"));
    expect![[r#"
        objective = 0.8
        rate 1h/5m = 2
        rate 15m/5m = 3.5
        for = 1m
        keep_firing_for = 5m
        min_n = 50
    "#]]
    .assert_eq(&values("service_level_burning"));
}

#[test]
fn values_are_changed() {
    let rules = defaults::rules();
    let changes = [("fire_above", " 130_000 "), ("clear_below", ""), ("for", "2 min"), ("min_n", "5")];
    let rule = tuned(&rules, "aht_high", &changes).expect("a rule");
    let before = &rules.rules[0];
    let Condition::Threshold(threshold) = &rule.condition else { panic!("{rule:?}") };
    assert_eq!((threshold.fire, threshold.clear), (130_000.0, None));
    assert_eq!((rule.for_ms, rule.min_n), (120_000, 5));
    assert_eq!((&rule.title, &rule.runbook, rule.series_max), (&before.title, &before.runbook, 10_000));

    let changes = [("rate 15m/5m", "4.5"), ("objective", "0.9")];
    let rule = tuned(&rules, "service_level_burning", &changes).expect("a rule");
    let Condition::Burn(burn) = &rule.condition else { panic!("{rule:?}") };
    let rates: Vec<f64> = burn.windows.iter().map(|pair| pair.rate).collect();
    assert_eq!((rates, burn.objective), (vec![2.0, 4.5], 0.9));
    assert_eq!(rule.looks_back_ms(), (5 + 1 + 60) * 60_000);

    let rule = tuned(&rules, "frt_unusual", &[("clear_deviations", ""), ("floor", "0")]).expect("a rule");
    let Condition::Baseline(baseline) = &rule.condition else { panic!("{rule:?}") };
    assert_eq!((baseline.clear_deviations, baseline.floor), (None, 0.0));
    assert!(rule.looks_back_ms() > 28 * 86_400_000);
}

#[test]
fn what_is_wrong_is_said_as_of_a_file() {
    let rules = defaults::rules();
    let mut said = String::new();
    for (name, changes) in [
        ("aht_high", &[("fire_abov", "1")] as &[_]),
        ("aht_high", &[("fire_below", "1")]),
        ("aht_high", &[("fire_above", "much\"\n[x]")]),
        ("aht_high", &[("fire_above", "inf"), ("for", "soon"), ("min_n", "-1")]),
        ("aht_high", &[("fire_above", "")]),
        ("aht_high", &[("fire_above", "100000")]),
        ("aht_high", &[("for", "32d")]),
        ("csat_low", &[("min_n", "2.5")]),
        ("frt_unusual", &[("deviations", "2")]),
        ("service_level_burning", &[("rate 15m/5m", "5")]),
        ("service_level_burning", &[("objective", "1")]),
    ] {
        said += &(tuned(&rules, name, changes).expect_err("wrong") + "\n");
    }
    expect![[r#"
        rule aht_high has no value "fire_abov"; did you mean "fire_above"?
        rule aht_high has no value "fire_below"; there are fire_above, clear_below, for, keep_firing_for, min_n
        fire_above: expected a number, found "much\"\n[x]"
        fire_above: expected a number, found "inf"; for: expected a duration such as "5m", at most "31d", found "soon"; min_n: expected a whole number of at least 0, found -1
        fire_above: expected a number, found ""
        clear_below = 110000 is beyond fire_above = 100000; it has to be at most that
        for: expected a duration such as "5m", at most "31d", found "32d"
        min_n: expected a whole number of at least 0, found 2.5
        clear_deviations is more than deviations; it has to be at most that
        rate = 5 is never exceeded: with objective = 0.8, all failing is 5
        objective = 1 is no share between 0 and 1, such as 0.8
    "#]]
    .assert_eq(&said);
}
