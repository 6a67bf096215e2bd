//! The life of alerts.

use expect_test::{Expect, expect};

use super::{rules, said, shown};

fn check(rule: &str, script: &str, expect: Expect) {
    let rules = rules(rule);
    expect.assert_eq(&shown(&said(&rules, script)));
}

const HIGH: &str = "value = \"aht\"\nfire_above = 120\nclear_below = 110\nmin_n = 20\nseverity = \"page\"\n";

#[test]
fn it_fires_at_once_and_is_over_at_once() {
    check(
        HIGH,
        "5 a=120/20 b=121/20
         6 a=121/20 b=121/20
         7 a=109/20 b=121/19",
        expect![[r#"
            5 firing b #1 00:05: since 5 started 5, 121 of 20 against 120, peak 121 at 5
            6 firing a #1 00:06: since 6 started 6, 121 of 20 against 120, peak 121 at 6
            7 resolved a #2 00:06: since 6 started 6 resolved 7, 121 of 20 against 120, peak 121 at 6
            7 resolved b #2 00:05: since 5 started 5 resolved 7, 121 of 20 against 120, peak 121 at 5
        "#]],
    );
}

#[test]
fn the_condition_has_to_hold_for_as_long_as_the_rule_says() {
    check(
        &format!("{HIGH}for = \"2m\""),
        "5 a=121/20 b=121/20 c=121/20
         6 a=122/20 b=110/20
         7 a=130/25 b=121/20 c=121/20
         8 a=125/20 b=121/20 c=121/20
         9 a=125/20 b=121/20 c=121/20",
        expect![[r#"
            7 firing a #1 00:07: since 5 started 7, 130 of 25 against 120, peak 130 at 7
            9 firing b #1 00:09: since 7 started 9, 121 of 20 against 120, peak 121 at 7
            9 firing c #1 00:09: since 7 started 9, 121 of 20 against 120, peak 121 at 7
        "#]],
    );
}

#[test]
fn between_the_limits_it_goes_on() {
    check(
        HIGH,
        "5 a=121/20
         6 a=111/20
         7 a=125/20
         8 a=110/20
         9 a=109/20
         10 a=115/20
         11 a=121/20",
        expect![[r#"
            5 firing a #1 00:05: since 5 started 5, 121 of 20 against 120, peak 121 at 5
            9 resolved a #2 00:05: since 5 started 5 resolved 9, 121 of 20 against 120, peak 125 at 7
            11 firing a #1 00:11: since 11 started 11, 121 of 20 against 120, peak 121 at 11
        "#]],
    );
}

#[test]
fn it_keeps_firing_for_as_long_as_the_rule_says() {
    check(
        &format!("{HIGH}keep_firing_for = \"3m\""),
        "5 a=121/20 b=121/20 c=121/20 d=121/20
         6 a=100/20 b=100/20 c=130/19
         7 a=100/20 b=115/20 c=130/19
         8 a=100/20 b=100/20 c=130/19
         9 a=100/20 b=100/20
         10 a=100/20 b=100/20
         15",
        expect![[r#"
            5 firing a #1 00:05: since 5 started 5, 121 of 20 against 120, peak 121 at 5
            5 firing b #1 00:05: since 5 started 5, 121 of 20 against 120, peak 121 at 5
            5 firing c #1 00:05: since 5 started 5, 121 of 20 against 120, peak 121 at 5
            5 firing d #1 00:05: since 5 started 5, 121 of 20 against 120, peak 121 at 5
            8 resolved a #2 00:05: since 5 started 5 resolved 8, 121 of 20 against 120, peak 121 at 5
            8 resolved c #2 00:05: since 5 started 5 resolved 8, 121 of 20 against 120, peak 121 at 5
            8 resolved d #2 00:05: since 5 started 5 resolved 8, 121 of 20 against 120, peak 121 at 5
            10 resolved b #2 00:05: since 5 started 5 resolved 10, 121 of 20 against 120, peak 121 at 5
        "#]],
    );
}

#[test]
fn a_window_without_rows_or_of_too_few_says_nothing() {
    check(
        &format!("{HIGH}for = \"1m\""),
        "5 a=130/20 b=130/20 c=130/20
         6 b=130/19 c=-/20
         7 a=130/20 b=130/20 c=130/20
         8 a=130/20 c=130/20
         20",
        expect![[r#"
            8 firing a #1 00:08: since 7 started 8, 130 of 20 against 120, peak 130 at 7
            8 firing c #1 00:08: since 7 started 8, 130 of 20 against 120, peak 130 at 7
            9 resolved a #2 00:08: since 7 started 8 resolved 9, 130 of 20 against 120, peak 130 at 7
            9 resolved c #2 00:08: since 7 started 8 resolved 9, 130 of 20 against 120, peak 130 at 7
        "#]],
    );
}

#[test]
fn an_alert_ends_although_no_rows_come() {
    check(
        &format!("{HIGH}keep_firing_for = \"10m\""),
        "5 a=130/20
         100 a=130/20",
        expect![[r#"
            5 firing a #1 00:05: since 5 started 5, 130 of 20 against 120, peak 130 at 5
            15 resolved a #2 00:05: since 5 started 5 resolved 15, 130 of 20 against 120, peak 130 at 5
            100 firing a #1 01:40: since 100 started 100, 130 of 20 against 120, peak 130 at 100
        "#]],
    );
}

#[test]
fn a_correction_takes_the_cause_away() {
    check(
        HIGH,
        "5 a=130/20
         6 a=130/20
         7 a=100/20
         8 5:a=119/21
         9 6:a=119/21
         10",
        expect![[r#"
            5 firing a #1 00:05: since 5 started 5, 130 of 20 against 120, peak 130 at 5
            7 resolved a #2 00:05: since 5 started 5 resolved 7, 130 of 20 against 120, peak 130 at 5
            8 amended a #3 00:05: since 6 started 6 resolved 7, 130 of 20 against 120, peak 130 at 6
            9 withdrawn a #4 00:05: since 6 started 6 resolved 7, 130 of 20 against 120, peak 130 at 6
        "#]],
    );
}

#[test]
fn a_correction_changes_what_was_seen() {
    check(
        &format!("{HIGH}for = \"1m\""),
        "5 a=130/20
         6 a=131/20
         7 a=132/20
         8 6:a=133/22 a=130/20
         9 a=130/20 8:a=135/21
         10 a=130/20 9:a=130/21
         11 a=130/20 6:a=1/22",
        expect![[r#"
            6 firing a #1 00:06: since 5 started 6, 131 of 20 against 120, peak 131 at 6
            8 amended a #2 00:06: since 5 started 6, 133 of 22 against 120, peak 133 at 6
            9 amended a #3 00:06: since 5 started 6, 133 of 22 against 120, peak 135 at 8
        "#]],
    );
}

#[test]
fn a_correction_shifts_the_start_and_the_end() {
    check(
        &format!("{HIGH}for = \"1m\""),
        "5 a=110/20
         6 a=130/20
         7 a=130/20
         8 a=100/20 5:a=130/21
         9 8:a=115/21
         10 a=100/20
         11 10:a=111/20
         20",
        expect![[r#"
            7 firing a #1 00:07: since 6 started 7, 130 of 20 against 120, peak 130 at 6
            8 amended a #2 00:07: since 5 started 6, 130 of 20 against 120, peak 130 at 5
            8 resolved a #3 00:07: since 5 started 6 resolved 8, 130 of 20 against 120, peak 130 at 5
            9 firing a #4 00:07: since 5 started 6, 130 of 20 against 120, peak 130 at 5
            9 resolved a #5 00:07: since 5 started 6 resolved 9, 130 of 20 against 120, peak 130 at 5
        "#]],
    );
}

#[test]
fn a_correction_makes_one_of_two() {
    check(
        HIGH,
        "5 a=130/20
         6 a=100/20
         7 a=130/20
         8 a=130/20 6:a=112/21
         9 a=100/20",
        expect![[r#"
            5 firing a #1 00:05: since 5 started 5, 130 of 20 against 120, peak 130 at 5
            6 resolved a #2 00:05: since 5 started 5 resolved 6, 130 of 20 against 120, peak 130 at 5
            7 firing a #1 00:07: since 7 started 7, 130 of 20 against 120, peak 130 at 7
            8 firing a #3 00:05: since 5 started 5, 130 of 20 against 120, peak 130 at 5
            8 withdrawn a #2 00:07: since 7 started 7, 130 of 20 against 120, peak 130 at 7
            9 resolved a #4 00:05: since 5 started 5 resolved 9, 130 of 20 against 120, peak 130 at 5
        "#]],
    );
}

#[test]
fn a_correction_makes_two_of_one() {
    check(
        HIGH,
        "5 a=130/20
         6 a=130/20
         7 a=130/20
         8 a=130/20 6:a=100/21
         9 a=100/20",
        expect![[r#"
            5 firing a #1 00:05: since 5 started 5, 130 of 20 against 120, peak 130 at 5
            8 resolved a #2 00:05: since 5 started 5 resolved 6, 130 of 20 against 120, peak 130 at 5
            8 firing a #1 00:07: since 7 started 7, 130 of 20 against 120, peak 130 at 7
            9 resolved a #2 00:07: since 7 started 7 resolved 9, 130 of 20 against 120, peak 130 at 7
        "#]],
    );
}

#[test]
fn corrections_that_change_their_mind() {
    check(
        HIGH,
        "5 a=130/20
         6 5:a=100/20
         7 5:a=130/20
         8 5:a=100/20",
        expect![[r#"
            5 firing a #1 00:05: since 5 started 5, 130 of 20 against 120, peak 130 at 5
            6 withdrawn a #2 00:05: since 5 started 5, 130 of 20 against 120, peak 130 at 5
            7 firing a #3 00:05: since 5 started 5, 130 of 20 against 120, peak 130 at 5
            7 resolved a #4 00:05: since 5 started 5 resolved 6, 130 of 20 against 120, peak 130 at 5
            8 withdrawn a #5 00:05: since 5 started 5 resolved 6, 130 of 20 against 120, peak 130 at 5
        "#]],
    );
}

#[test]
fn a_correction_finds_one_that_nobody_had_seen() {
    check(
        HIGH,
        "5 a=100/20
         6 a=100/20
         7 5:a=125/25",
        expect![[r#"
            7 firing a #1 00:05: since 5 started 5, 125 of 25 against 120, peak 125 at 5
            7 resolved a #2 00:05: since 5 started 5 resolved 6, 125 of 25 against 120, peak 125 at 5
        "#]],
    );
}

#[test]
fn what_comes_after_the_final_rows_changes_nothing() {
    check(
        HIGH,
        "5 a=130/20
         9 a=100/20 5:a=131/21
         10 a=100/20 5:a=100/22",
        expect![[r#"
            5 firing a #1 00:05: since 5 started 5, 130 of 20 against 120, peak 130 at 5
            6 resolved a #2 00:05: since 5 started 5 resolved 6, 130 of 20 against 120, peak 130 at 5
            9 amended a #3 00:05: since 5 started 5 resolved 6, 131 of 21 against 120, peak 131 at 5
        "#]],
    );
}

#[test]
fn values_before_the_end_of_their_window_wait_for_it() {
    check(
        HIGH,
        "5 6:a=130/20 7:b=130/20
         6
         7 7:b=100/20
         8",
        expect![[r#"
            6 firing a #1 00:06: since 6 started 6, 130 of 20 against 120, peak 130 at 6
            7 resolved a #2 00:06: since 6 started 6 resolved 7, 130 of 20 against 120, peak 130 at 6
        "#]],
    );
}

#[test]
fn too_little() {
    check(
        "value = \"aht\"\nfire_below = 10\nclear_above = 15\nmin_n = 5",
        "5 a=9/5 b=10/5
         6 a=15/5 b=8/5
         7 a=16/5 b=3/5
         8 b=10/5",
        expect![[r#"
            5 firing a #1 00:05: since 5 started 5, 9 of 5 against 10, peak 9 at 5
            6 firing b #1 00:06: since 6 started 6, 8 of 5 against 10, peak 8 at 6
            7 resolved a #2 00:05: since 5 started 5 resolved 7, 9 of 5 against 10, peak 9 at 5
        "#]],
    );
}

#[test]
fn one_limit_is_enough() {
    check(
        "value = \"aht\"\nfire_above = 0",
        "5 a=1/5
         6 a=0/5",
        expect![[r#"
            5 firing a #1 00:05: since 5 started 5, 1 of 5 against 0, peak 1 at 5
            6 resolved a #2 00:05: since 5 started 5 resolved 6, 1 of 5 against 0, peak 1 at 5
        "#]],
    );
}

#[test]
fn a_series_without_a_key_is_one_too() {
    check(
        HIGH,
        "5 =130/20 a=130/20
         6 =100/20 a=130/20",
        expect![[r#"
            5 firing  #1 00:05: since 5 started 5, 130 of 20 against 120, peak 130 at 5
            5 firing a #1 00:05: since 5 started 5, 130 of 20 against 120, peak 130 at 5
            6 resolved  #2 00:05: since 5 started 5 resolved 6, 130 of 20 against 120, peak 130 at 5
        "#]],
    );
}

#[test]
fn series_over_the_limit_are_left_out() {
    let rules = rules(&format!("{HIGH}series_max = 2"));
    let mut alerts = crate::Alerts::new(&rules);
    let mut out = Vec::new();
    let script = "5 a=130/20 b=100/20 c=130/20
                  6 a=130/20 c=130/20
                  19 a=1/20
                  20 c=130/20
                  30 c=100/20";
    for (at_ms, rows) in super::batches(&rules, script) {
        alerts.advance(&rows, at_ms, &mut crate::Unexplained, &mut out).expect("rows");
    }
    expect![[r#"
        5 firing a #1 00:05: since 5 started 5, 130 of 20 against 120, peak 130 at 5
        7 resolved a #2 00:05: since 5 started 5 resolved 7, 130 of 20 against 120, peak 130 at 5
        20 firing c #1 00:20: since 20 started 20, 130 of 20 against 120, peak 130 at 20
        21 resolved c #2 00:20: since 20 started 20 resolved 21, 130 of 20 against 120, peak 130 at 20
    "#]]
    .assert_eq(&shown(&out));
    let left_out: Vec<u64> = alerts.left_out().map(|(_, rows)| rows).collect();
    assert_eq!(left_out, [2]);
    assert_eq!(alerts.series().next().map(|(_, series)| series), Some(1), "idle series are forgotten");
}

/// Half may be bad. Both windows have to burn: that it was bad an hour ago is no reason to get up.
#[test]
fn a_budget_that_burns() {
    let rule = "[alert.burn]\ngood = \"good\"\ntotal = \"offered\"\nobjective = 0.5\n\
                windows = [{ long = \"15m\", short = \"5m\", rate = 1.5 }]";
    let text = format!("[[alert]]\nname = \"high\"\nkpi = \"levels\"\nby = [\"shop\"]\nmin_n = 20\n{rule}");
    let rules = crate::Rules::parse("alerts.toml", &text, &super::shapes()).expect("rules");
    let script = "5 a=10/10 b=1/10
                  10 a=2/10 b=1/10
                  15 a=1/10 b=10/10
                  20 a=0/10 b=1/10
                  25 a=8/10
                  30 a=0/30 b=0/10
                  100";
    expect![[r#"
        10 firing b #1 00:10: since 10 started 10, 1.8 of 20 against 1.5, peak 1.8 at 10
        15 resolved b #2 00:10: since 10 started 10 resolved 15, 1.8 of 20 against 1.5, peak 1.8 at 10
        20 firing a #1 00:20: since 20 started 20, 1.8 of 30 against 1.5, peak 1.8 at 20
        25 resolved a #2 00:20: since 20 started 20 resolved 25, 1.8 of 30 against 1.5, peak 1.8 at 20
        30 firing a #1 00:30: since 30 started 30, 1.68 of 50 against 1.5, peak 1.68 at 30
        30 firing b #1 00:30: since 30 started 30, 1.9 of 20 against 1.5, peak 1.9 at 30
        35 resolved a #2 00:30: since 30 started 30 resolved 35, 1.68 of 50 against 1.5, peak 1.68 at 30
        35 resolved b #2 00:30: since 30 started 30 resolved 35, 1.9 of 20 against 1.5, peak 1.9 at 30
    "#]]
    .assert_eq(&shown(&said(&rules, script)));
}

#[test]
fn what_is_usual_in_the_hour_of_the_week() {
    let rule = "value = \"aht\"\nmin_n = 5\n[alert.baseline]\nweeks = 2\ndeviations = 2.0\n\
                clear_deviations = 1.0\nmin_samples = 12\nfloor = 10";
    let week = 7 * 24 * 60;
    // 12 values of an hour, every 5 minutes: 100, 110 and 120, of which the median is 110 and the
    // MAD 10; so the limit is 110 + 2 × 1.4826 × 10.
    let mut script = String::new();
    for minute in (65..=120).step_by(5) {
        let value = 100 + minute % 3 * 10;
        script += &format!("{minute} a={value}/5 b=100/5 c={value}/5\n");
    }
    script += "130 a=1000/5\n";
    script += &format!("{} a=139/5 b=110/5 c=139/4\n", week + 65);
    script += &format!("{} a=140/5 b=111/5 c=140/4\n", week + 66);
    script += &format!("{} a=125/5 b=106/5\n", week + 67);
    script += &format!("{} a=124/5 b=105/5\n", week + 68);
    script += &format!("{} a=124/5 b=104/5\n", week + 69);
    // The hour after has nothing to compare with.
    script += &format!("{} a=1000/5\n", week + 125);
    check(
        rule,
        &script,
        expect![[r#"
        10146 firing a #1 01:06: since 10146 started 10146, 140 of 5 against 139.652, peak 140 at 10146
        10146 firing b #1 01:06: since 10146 started 10146, 111 of 5 against 110, peak 111 at 10146
        10148 resolved a #2 01:06: since 10146 started 10146 resolved 10148, 140 of 5 against 139.652, peak 140 at 10146
        10149 resolved b #2 01:06: since 10146 started 10146 resolved 10149, 111 of 5 against 110, peak 111 at 10146
    "#]],
    );
}

/// As in a damaged state: a time that is years before the rows is no reason to go through the years
/// minute by minute.
#[test]
fn rows_far_ahead_are_waited_for() {
    let text = "[[alert]]\nname = \"high\"\nkpi = \"levels\"\nby = [\"shop\"]\nburn = { good = \"good\", \
                total = \"offered\", objective = 0.5, windows = [{ long = \"5m\", short = \"5m\", rate = 1 }] }";
    let rules = crate::Rules::parse("alerts.toml", text, &super::shapes()).expect("rules");
    let (at_ms, rows) = super::batches(&rules, "100000 a=0/10").remove(0);
    let mut alerts = crate::Alerts::new(&rules);
    alerts.absorb(rows[0].0, &rows[0].1).expect("rows");
    let mut out = Vec::new();
    alerts.tick(-1 << 50, &mut out);
    assert_eq!((alerts.next_tick_ms(), out.len()), (Some(at_ms), 0));
    alerts.tick(at_ms, &mut out);
    assert_eq!(out.len(), 1);
}

/// A state of format 1, as the first version saved it, is gone on from. Where the format changes,
/// the version has to as well, and this sample stays.
#[test]
fn a_state_of_format_1_is_gone_on_from() {
    let rules = rules(&format!("{HIGH}for = \"1m\"\nkeep_firing_for = \"2m\""));
    let before = "5 a=130/20 b=130/20 c=100/20
                  6 a=135/20 b=130/20 5:c=150/20
                  7 a=105/20 c=130/20 d=121/20 8:a=1/20";
    let after = "8 d=122/20 6:b=100/20 7:a=130/21
                 9 a=100/20";
    let mut alerts = crate::Alerts::new(&rules);
    for (at_ms, rows) in super::batches(&rules, before) {
        alerts.advance(&rows, at_ms, &mut crate::Unexplained, &mut Vec::new()).expect("rows");
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/tests/state-1.bin");
    if std::env::var_os("UPDATE_EXPECT").is_some() && !std::path::Path::new(path).exists() {
        std::fs::write(path, alerts.save().expect("saved")).expect("written");
    }
    let sample = std::fs::read(path).expect("readable");
    assert_eq!(alerts.save().expect("saved"), sample);
    let mut alerts = crate::Alerts::new(&rules);
    alerts.restore(&sample).expect("restored");
    let mut out = Vec::new();
    for (at_ms, rows) in super::batches(&rules, after) {
        alerts.advance(&rows, at_ms, &mut crate::Unexplained, &mut out).expect("rows");
    }
    expect![[r#"
        8 withdrawn b #2 00:06: since 5 started 6, 130 of 20 against 120, peak 130 at 5
        8 firing d #1 00:08: since 7 started 8, 122 of 20 against 120, peak 122 at 8
        9 resolved a #2 00:06: since 5 started 6 resolved 9, 135 of 20 against 120, peak 135 at 6
    "#]]
    .assert_eq(&shown(&out));
}
