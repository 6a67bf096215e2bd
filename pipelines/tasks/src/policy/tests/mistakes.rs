use super::*;

const GOOD: &str = r#"[[channel]]
name = "phone"
[[channel]]
name = "wechat"
reach = "48h"
[[campaign]]
name = "save"
title = "t"
model = "m"
threshold = 0.5
channels = ["phone"]
cooldown = "7d"
expires_after = "2d"
"#;

fn mistakes(text: &str) -> Vec<String> {
    let error = Rules::parse("p.toml", text).map(|_| ()).expect_err(text);
    error.to_string().lines().map(str::to_owned).collect()
}

#[test]
fn what_is_not_given_has_a_default() {
    let rules = Rules::parse("p.toml", GOOD).unwrap();
    let campaign = &rules.campaigns[0];
    assert_eq!((campaign.control_share, campaign.priority), (0.10, crate::task::Priority::Normal));
    assert_eq!((campaign.not_before_ms, rules.accepted_for_ms), (0, DAY));
    assert!(rules.quiet_hours.is_none() && rules.caps.is_empty() && rules.backlog_max.is_none());
    let nothing = Rules::parse("p.toml", "").unwrap();
    assert!(nothing.campaigns.is_empty());
}

#[test]
fn each_mistake_says_where_and_what() {
    let with = |line: &str| format!("{GOOD}{line}\n");
    let instead = |line: &str, other: &str| GOOD.replace(line, other);
    for (text, expected) in [
        (with("coldown = \"1d\""), "line 14: a campaign has no key \"coldown\"; did you mean \"cooldown\"?"),
        (with("[cpacity]"), "line 14: the file has no key \"cpacity\"; did you mean \"capacity\"?"),
        (
            with("[quiet_hours]\nfrom = \"21:00\"\nto = \"09:00\"\nzone = \"Asia/Shangai\""),
            "line 17: no time zone \"Asia/Shangai\"; did you mean \"Asia/Shanghai\"?",
        ),
        (
            with("[quiet_hours]\nfrom = \"21:00\"\nto = \"09:00\"\nzone = \"Nowhere/AtAll/Ever\""),
            "line 17: no time zone \"Nowhere/AtAll/Ever\"; use a name such as \"Asia/Shanghai\"",
        ),
        (
            with("[quiet_hours]\nfrom = \"9pm\"\nto = \"09:00\"\nzone = \"UTC\""),
            "line 15: from: expected a time of the day such as \"21:00\", found \"9pm\"",
        ),
        (
            with("[quiet_hours]\nfrom = \"24:00\"\nto = \"09:00\"\nzone = \"UTC\""),
            "line 15: from: expected a time of the day such as \"21:00\", found \"24:00\"",
        ),
        (
            with("[quiet_hours]\nfrom = \"09:00\"\nto = \"09:00\"\nzone = \"UTC\""),
            "line 16: quiet hours end when they begin; leave out [quiet_hours] if there are none",
        ),
        (with("[quiet_hours]\nfrom = \"21:00\"\nto = \"09:00\""), "line 14: [quiet_hours] needs zone"),
        (
            instead("\"7d\"", "\"a week\""),
            "line 12: cooldown: expected a duration such as \"7d\" or \"48h\", above 0 and at most \"366d\", found \"a week\"",
        ),
        (
            instead("\"7d\"", "\"0s\""),
            "line 12: cooldown: expected a duration such as \"7d\" or \"48h\", above 0 and at most \"366d\", found \"0s\"",
        ),
        (
            instead("\"7d\"", "7"),
            "line 12: cooldown: expected a duration such as \"7d\" or \"48h\", above 0 and at most \"366d\", found 7",
        ),
        (
            with("not_before = \"367d\""),
            "line 14: not_before: expected a duration such as \"30m\", at most \"366d\", found \"367d\"",
        ),
        (with("control_share = 1.5"), "line 14: control_share: expected a number from 0 to 1, found 1.5"),
        (with("control_share = -0.1"), "line 14: control_share: expected a number from 0 to 1, found -0.1"),
        (with("control_share = nan"), "line 14: control_share: expected a number from 0 to 1, found nan"),
        (with("min_percentile = 101"), "line 14: min_percentile: expected a number from 0 to 100, found 101"),
        (
            instead("threshold = 0.5", "threshold = 50"),
            "line 10: threshold: expected a number from 0 to 1, found 50",
        ),
        (
            instead("threshold = 0.5\n", ""),
            "line 6: a campaign needs threshold, a probability, or top_k, customers an hour, to say whom it is for",
        ),
        (with("top_k = 5"), "line 14: a campaign has threshold or top_k, found both; keep one"),
        (
            instead("threshold = 0.5", "top_k = 0"),
            "line 10: top_k: expected a whole number from 1 to 1000000, found 0",
        ),
        (instead("title = \"t\"\n", ""), "line 6: a campaign needs title"),
        (instead("model = \"m\"\n", ""), "line 6: a campaign needs model"),
        (
            instead("\"save\"", "\"Save it\""),
            "line 7: \"Save it\" cannot be a name; use a-z, 0-9 and _, a letter first",
        ),
        (
            instead("[\"phone\"]", "[\"fone\"]"),
            "line 11: no channel \"fone\"; did you mean \"phone\"?; each is described by a [[channel]]",
        ),
        (instead("[\"phone\"]", "[\"phone\", \"phone\"]"), "line 11: channels has \"phone\" twice"),
        (
            instead("[\"phone\"]", "[]"),
            "line 11: channels is empty, so that nobody can be reached; name at least one",
        ),
        (
            instead("[\"phone\"]", "\"phone\""),
            "line 11: channels: expected a list of texts, such as [\"phone\"], found \"phone\"",
        ),
        (with("priority = \"hihg\""), "line 14: no priority \"hihg\"; did you mean \"high\"?"),
        (
            with("not_before = \"2d\""),
            "line 14: a task would expire before it may begin; make not_before shorter than expires_after",
        ),
        (
            with(&GOOD[GOOD.find("[[campaign]]").unwrap()..]),
            "line 15: there is another campaign named \"save\"; give each a name of its own",
        ),
        (
            with("[[channel]]\nname = \"phone\""),
            "line 15: there is another channel named \"phone\"; give each a name of its own",
        ),
        (
            with("[[channel]]\nname = \"web\"\npushes_max = 5"),
            "line 16: pushes_max is counted since the customer's last message, so it needs reach, such as \"48h\"",
        ),
        (
            with("[[channel]]\nname = \"web\"\nconsent = \"yes\""),
            "line 16: consent: expected true or false, found \"yes\"",
        ),
        (with("[[cap]]\nper = \"7d\""), "line 14: a cap needs contacts"),
        (
            with("[[cap]]\ncontacts = 0\nper = \"7d\""),
            "line 15: contacts: expected a whole number from 1 to 1000000, found 0",
        ),
        (with("[capacity]\nshare = 2"), "line 15: share: expected a number from 0 to 1, found 2"),
        (
            with("[capacity]\nbacklog_max = -1"),
            "line 15: backlog_max: expected a whole number of at least 0, found -1",
        ),
        (with("[cap]\ncontacts = 1"), "line 14: expected [[cap]], with two brackets, found one cap"),
    ] {
        assert_eq!(mistakes(&text), [format!("p.toml: {expected}")], "{text}");
    }
}

#[test]
fn all_mistakes_are_told_in_the_order_of_lines() {
    let text = GOOD.replace("\"48h\"", "\"48 hours long\"").replace("0.5", "5").replace("\"2d\"", "2");
    let lines: Vec<String> = mistakes(&text).iter().map(|line| line[..15].to_owned()).collect();
    assert_eq!(lines, ["p.toml: line 5:", "p.toml: line 10", "p.toml: line 13"]);
    assert_eq!(mistakes("[[campaign]\n").len(), 1);
}
