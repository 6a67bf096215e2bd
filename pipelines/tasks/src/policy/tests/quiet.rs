use jiff::civil::Time;
use jiff::tz::TimeZone;
use proptest::prelude::*;

use super::*;

fn quiet(from: (i8, i8), to: (i8, i8), zone: &str) -> QuietHours {
    let time = |(hour, minute)| Time::new(hour, minute, 0, 0).unwrap();
    QuietHours::new(time(from), time(to), TimeZone::get(zone).unwrap())
}

fn ms(at: &str) -> i64 {
    at.parse::<jiff::Timestamp>().unwrap().as_millisecond()
}

#[test]
fn over_midnight_and_within_a_day() {
    let night = quiet((21, 0), (9, 0), "Asia/Shanghai");
    for (at, loud) in [
        ("2026-03-02T12:59:59.999Z", "2026-03-02T12:59:59.999Z"),
        ("2026-03-02T13:00:00Z", "2026-03-03T01:00:00Z"),
        ("2026-03-02T15:59:59Z", "2026-03-03T01:00:00Z"),
        ("2026-03-02T16:00:00Z", "2026-03-03T01:00:00Z"),
        ("2026-03-03T00:59:59.999Z", "2026-03-03T01:00:00Z"),
        ("2026-03-03T01:00:00Z", "2026-03-03T01:00:00Z"),
    ] {
        assert_eq!(night.next_loud(ms(at)), ms(loud), "{at}");
        assert_eq!(night.is_quiet(ms(at)), at != loud, "{at}");
    }
    let noon = quiet((12, 0), (13, 30), "Asia/Shanghai");
    assert_eq!(noon.next_loud(ms("2026-03-02T04:00:00Z")), ms("2026-03-02T05:30:00Z"));
    assert_eq!(noon.next_loud(ms("2026-03-02T05:30:00Z")), ms("2026-03-02T05:30:00Z"));
    let midnight = quiet((22, 0), (0, 0), "UTC");
    assert_eq!(midnight.next_loud(ms("2026-03-02T22:00:00Z")), ms("2026-03-03T00:00:00Z"));
}

#[test]
fn when_clocks_are_changed() {
    // In New York, 2 o'clock is 3 o'clock on 2026-03-08, and 2 is 1 again on 2026-11-01.
    let night = quiet((21, 0), (9, 0), "America/New_York");
    assert_eq!(night.next_loud(ms("2026-03-08T04:00:00Z")), ms("2026-03-08T13:00:00Z"));
    assert_eq!(night.next_loud(ms("2026-03-07T04:00:00Z")), ms("2026-03-07T14:00:00Z"));
    assert_eq!(night.next_loud(ms("2026-11-01T03:00:00Z")), ms("2026-11-01T14:00:00Z"));
    // The end is left out: it comes when clocks are set forward.
    let early = quiet((1, 30), (2, 30), "America/New_York");
    assert_eq!(early.next_loud(ms("2026-03-08T06:45:00Z")), ms("2026-03-08T07:00:00Z"));
    // The end comes twice, and in between it is quiet again.
    let late = quiet((21, 0), (1, 30), "America/New_York");
    assert_eq!(late.next_loud(ms("2026-11-01T05:00:00Z")), ms("2026-11-01T05:30:00Z"));
    assert_eq!(late.next_loud(ms("2026-11-01T05:45:00Z")), ms("2026-11-01T05:45:00Z"));
    assert_eq!(late.next_loud(ms("2026-11-01T06:15:00Z")), ms("2026-11-01T06:30:00Z"));
}

proptest! {
    /// Against looking at the clock minute by minute.
    #[test]
    fn the_first_loud_minute_is_found(
        zone in prop::sample::select(vec!["Asia/Shanghai", "America/New_York", "Europe/London", "Australia/Lord_Howe", "Africa/Casablanca", "UTC"]),
        from in (0i8..24, 0i8..60),
        to in (0i8..24, 0i8..60),
        // The nights in which clocks are changed, and a year of others.
        at in prop_oneof![
            ms("2026-03-07T12:00:00Z") / MINUTE..ms("2026-03-09T12:00:00Z") / MINUTE,
            ms("2026-03-28T12:00:00Z") / MINUTE..ms("2026-03-30T12:00:00Z") / MINUTE,
            ms("2026-04-04T06:00:00Z") / MINUTE..ms("2026-04-05T12:00:00Z") / MINUTE,
            ms("2026-10-03T06:00:00Z") / MINUTE..ms("2026-10-04T12:00:00Z") / MINUTE,
            ms("2026-10-24T12:00:00Z") / MINUTE..ms("2026-11-02T12:00:00Z") / MINUTE,
            ms("2026-01-01T00:00:00Z") / MINUTE..ms("2027-01-01T00:00:00Z") / MINUTE,
        ],
    ) {
        prop_assume!(from != to);
        let hours = quiet(from, to, zone);
        let first = (at..).map(|minute| minute * MINUTE).find(|&at| !hours.is_quiet(at)).unwrap();
        prop_assert_eq!(hours.next_loud(at * MINUTE), first);
    }
}

const NIGHT: &str = r#"
[quiet_hours]
from = "21:00"
to = "09:00"
zone = "Asia/Shanghai"
[[channel]]
name = "phone"
[[channel]]
name = "wechat"
reach = "48h"
[[campaign]]
name = "save"
title = "t"
model = "m"
threshold = 0.5
channels = ["wechat", "phone"]
cooldown = "7d"
expires_after = "12h"
not_before = "30m"
control_share = 0
"#;

#[test]
fn a_task_waits_for_the_morning_if_it_lives_so_long() {
    let mut policy = policy(NIGHT);
    // Half past eight, so that half an hour later it is quiet; 12 hours are over before nine.
    let early = ms("2026-03-02T12:30:00Z");
    let out = of(|out| policy.score(score("a", 0.9, early), out));
    assert_eq!(short(&out), ["a save treated", "a save quiet_hours"]);
    // A second before, it is not.
    let mut policy = self::policy(NIGHT);
    let out = of(|out| policy.score(score("a", 0.9, early - 1_000), out));
    assert_eq!(created(&out)[0].not_before_ms, ms("2026-03-02T12:59:59Z"));
    // A minute past nine, 12 hours are over after nine. WeChat's time is over by then, the phone's not.
    let late = ms("2026-03-02T13:01:00Z");
    let mut policy = self::policy(NIGHT);
    policy.message("a", "wechat", late - 40 * HOUR, &mut Vec::new());
    let out = of(|out| policy.score(score("a", 0.9, late), out));
    let [task] = created(&out)[..] else { panic!("{out:?}") };
    assert_eq!(task.not_before_ms, ms("2026-03-03T01:00:00Z"));
    assert_eq!(task.expires_ms, ms("2026-03-03T01:01:00Z"));
    assert_eq!(task.channels, [Reach { channel: "phone".into(), until_ms: None }]);
    let id = task.task_id.clone();
    assert_eq!(policy.may_contact(&id, "phone", late), Err(Suppressed::Unreachable));
    assert_eq!(policy.may_contact(&id, "phone", ms("2026-03-03T01:00:00Z")), Ok(()));
    assert_eq!(policy.may_contact(&id, "wechat", ms("2026-03-03T01:00:00Z")), Err(Suppressed::Unreachable));
    assert_eq!(policy.may_contact(&id, "phone", ms("2026-03-03T01:01:00Z")), Err(Suppressed::Expired));
    // By WeChat alone there is nothing left in the morning.
    let mut policy = self::policy(&NIGHT.replace("[\"wechat\", \"phone\"]", "[\"wechat\"]"));
    policy.message("a", "wechat", late - 40 * HOUR, &mut Vec::new());
    let out = of(|out| policy.score(score("a", 0.9, late), out));
    assert_eq!(short(&out), ["a save treated", "a save quiet_hours"]);
}

#[test]
fn an_open_task_is_not_for_the_night() {
    let mut policy = policy(&NIGHT.replace("\"12h\"", "\"3d\""));
    let out = of(|out| policy.score(score("a", 0.9, NOON), out));
    let id = created(&out)[0].task_id.clone();
    assert_eq!(policy.may_contact(&id, "phone", NOON + 8 * HOUR), Ok(()));
    assert_eq!(policy.may_contact(&id, "phone", NOON + 9 * HOUR), Err(Suppressed::QuietHours));
    assert_eq!(policy.may_contact(&id, "phone", NOON + 21 * HOUR), Ok(()));
}
