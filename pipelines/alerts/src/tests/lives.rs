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
