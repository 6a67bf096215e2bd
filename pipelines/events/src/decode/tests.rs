use expect_test::{Expect, expect};
use proptest::prelude::*;

use super::*;
use crate::both::Both;

const ALL: [Text; 4] = [Text::Id, Text::Subject, Text::CustomerId, Text::Lines];
/// 2026-03-02T00:10:00Z, when the test's log takes everything in.
const APPENDED_AT_MS: i64 = 1_772_410_200_000;

fn event(time: &str, kind: &str, data: &str) -> String {
    format!(
        r#"{{"specversion":"1.0","id":"e1","source":"/web/shop-1","type":"{kind}","subject":"c1","time":"{time}","data":{{"customer_id":"u1","shop":"s","channel":"web"{data}}}}}"#
    )
}

fn outcome(line: &str) -> String {
    outcome_of(&Chunk::of_lines(line, 7, APPENDED_AT_MS))
}

fn outcome_of(chunk: &Chunk) -> String {
    let decoded = Decoder::new(Limits::default(), &ALL).decode(chunk);
    assert_eq!(
        decoded.read,
        decoded.events.len() as u64 + decoded.quarantined.len() as u64 + decoded.ignored
    );
    let mut out = String::new();
    for row in 0..decoded.events.len() {
        let e = &decoded.events;
        out += &format!("{} {} {}\n", e.time_ms(row), e.kind(row).name(), e.text(Text::CustomerId, row));
    }
    for q in decoded.quarantined {
        out += &format!("{} {}: {}\n", q.offset, q.reason, q.detail);
    }
    out += &"ignored\n".repeat(decoded.ignored as usize);
    out
}

fn check(line: &str, expect: Expect) {
    expect.assert_eq(&outcome(line));
}

const T: &str = "2026-03-02T00:00:08.297Z";

#[test]
fn a_good_event() {
    check(
        &event(T, "conversation.queued", r#","skill":"refund""#),
        expect![[r#"
                1772409608297 conversation.queued u1
            "#]],
    );
}

#[test]
fn not_json() {
    check(
        "not json",
        expect![[r#"
                7 not_json: Invalid literal (`true`, `false`, or a `null`) while parsing at line 1 column 4
            "#]],
    );
    check(
        &event(T, "conversation.queued", r#","skill":"refund""#)[..80],
        expect![[r#"
            7 not_json: EOF while parsing at line 1 column 80
        "#]],
    );
    check(
        "[1]",
        expect![[r#"
            7 not_json: invalid type: sequence, expected a JSON object at line 1 column 3
        "#]],
    );
    check(
        &(event(T, "conversation.queued", r#","skill":"x""#) + "x"),
        expect![[r#"
            7 not_json: JSON has non-whitespace trailing characters after the value at line 1 column 200
        "#]],
    );
}

#[test]
fn empty_lines() {
    check(
        "\n",
        expect![[r#"
            7 empty: an empty line
        "#]],
    );
    check(
        "  \t \n",
        expect![[r#"
            7 empty: an empty line
        "#]],
    );
}

#[test]
fn truncated_utf8() {
    let mut bytes = event(T, "conversation.queued", r#","skill":"退款""#).into_bytes();
    let cut = bytes.iter().position(|&b| b == 0xe9).unwrap_or(bytes.len()) + 2;
    bytes.truncate(cut);
    let good = event(T, "conversation.queued", r#","skill":"退款""#);
    let second = bytes.len() as u32 + 1;
    bytes.push(b'\n');
    bytes.extend_from_slice(good.as_bytes());
    let chunk = Chunk {
        spans: vec![(0, second - 1), (second, bytes.len() as u32)],
        bytes: Buffer::from(bytes),
        ..Chunk::of_lines("", 7, APPENDED_AT_MS)
    };
    expect![[r#"
            1772409608297 conversation.queued u1
            7 not_utf8: not UTF-8 from byte 195 on
        "#]]
    .assert_eq(&outcome_of(&chunk));
}

#[test]
fn missing_and_mistyped_fields() {
    let good = event(T, "conversation.rated", r#","score":5"#);
    let all: String = [
        (r#""id":"e1","#, ""),
        (r#""subject":"c1","#, r#""subject":null,"#),
        (r#""customer_id":"u1","#, r#""customer_id":"","#),
        (r#""specversion":"1.0""#, r#""specversion":"0.3""#),
        (r#""id":"e1""#, r#""id":17"#),
        (r#""score":5"#, r#""score":"five""#),
        (r#""score":5"#, r#""score":4.5"#),
        (r#""score":5"#, r#""score":6"#),
        (r#","score":5"#, ""),
        (r#""score":5"#, r#""score":5,"wait_ms":-3"#),
        (r#""score":5"#, r#""score":5,"wait_ms":"3""#),
    ]
    .iter()
    .map(|(from, to)| good.replace(from, to) + "\n")
    .collect();
    check(
        &all,
        expect![[r#"
            7 missing_field: id: missing or empty
            8 missing_field: subject: missing or empty
            9 missing_field: data.customer_id: missing or empty
            10 mistyped_field: specversion: expected "1.0", found "0.3"
            11 mistyped_field: id: expected a string, found 17
            12 mistyped_field: data.score: expected an integer, found "five"
            13 mistyped_field: data.score: expected an integer, found 4.5
            14 mistyped_field: data.score: expected an integer from 1 to 5, found "6"
            15 missing_field: data.score: missing or empty
            16 negative_duration: data.wait_ms: a duration cannot be negative
            17 mistyped_field: data.wait_ms: expected a whole number of ms, found "3"
        "#]],
    );
    check(
        &event(T, "conversation.message", r#","role":"boss""#),
        expect![[r#"
            7 mistyped_field: data.role: expected one of customer, agent, bot, system, found "boss"
        "#]],
    );
    check(
        r#"{"specversion":"1.0","id":"1","source":"s","type":"order.paid","subject":"o","time":"2026-03-02T00:00:00Z","data":"x"}"#,
        expect![[r#"
                7 mistyped_field: data: expected an object, found "x"
            "#]],
    );
}

/// Each of these would overflow the stack, which ends the process.
#[test]
fn a_line_of_brackets() {
    let deep = "[".repeat(500_000);
    for line in [
        deep.clone(),
        format!("{{\"x\":{deep}"),
        "{\"x\":".repeat(150_000),
        event(T, "order.placed", &format!(r#","currency":"EUR","amount_minor":1,"lines":{deep}"#)),
        event(T, "order.placed", &format!(r#","x":{}{}"#, "[".repeat(127), "]".repeat(127))),
    ] {
        check(
            &line,
            expect![[r#"
                7 not_json: arrays and objects within each other, more than 128 deep
            "#]],
        );
    }
    check(
        &event(
            T,
            "conversation.rated",
            &format!(r#","score":5,"x":{}{},"y":"{}\"[""#, "[".repeat(126), "]".repeat(126), "[".repeat(200)),
        ),
        expect![[r#"
            1772409608297 conversation.rated u1
        "#]],
    );
}

#[test]
fn times_that_cannot_be() {
    check(
        &event("3000-01-01T00:00:00Z", "conversation.queued", r#","skill":"x""#),
        expect![[r#"
            7 in_the_future: time: 3000-01-01T00:00:00Z is 30731269800 s ahead of when it was taken in; at most 300 s are allowed (input.max_skew)
        "#]],
    );
    check(
        &event("yesterday", "conversation.queued", r#","skill":"x""#),
        expect![[r#"
            7 bad_time: time: expected an RFC 3339 time such as 2026-03-02T00:00:08.297Z, found "yesterday"
        "#]],
    );
}

#[test]
fn unknown_types_and_fields_are_fine() {
    check(
        &event(T, "conversation.closed.v2", ""),
        expect![[r#"
            ignored
        "#]],
    );
    check(
        &event(T, "conversation.rated", r#","score":5,"new":{"a":[1,2.5,"\u00e9"]},"x":1e9"#),
        expect![[r#"
                1772409608297 conversation.rated u1
            "#]],
    );
}

#[test]
fn many_shapes() {
    // Names that never come again, long ones, long values, and one event in between
    // that has nothing unusual.
    let good = event(T, "conversation.queued", r#","skill":"refund""#);
    let lines: Vec<String> = (0..3_000)
        .map(|n| match n % 4 {
            0 => good.clone(),
            1 => event(T, "conversation.queued", &format!(r#","skill":"refund","x{n}":"y""#)),
            2 => event(T, "conversation.queued", &format!(r#","skill":"refund","{}":1"#, "n".repeat(n))),
            _ => event(T, "conversation.queued", &format!(r#","skill":"{}""#, "s".repeat(n))),
        })
        .collect();
    let chunk = Chunk::of_lines(&lines.join("\n"), 0, APPENDED_AT_MS);
    let decoded = Decoder::new(Limits::default(), &[Text::Skill, Text::Channel]).decode(&chunk);
    assert_eq!(decoded.events.len(), lines.len());
    for row in 0..lines.len() {
        let skill = if row % 4 == 3 { "s".repeat(row) } else { "refund".to_owned() };
        assert_eq!(decoded.events.text(Text::Skill, row), skill, "{row}");
        assert_eq!(decoded.events.text(Text::Channel, row), "web", "{row}");
    }
}

/// In a log nothing need be between records.
#[test]
fn records_without_a_gap() {
    let good = event(T, "conversation.queued", r#","skill":"refund""#);
    let cut = &good[..good.len() - 30];
    let mut bytes = Vec::new();
    let mut spans = Vec::new();
    for record in [good.as_str(), &good, cut, &good, &good] {
        spans.push((bytes.len() as u32, (bytes.len() + record.len()) as u32));
        bytes.extend_from_slice(record.as_bytes());
    }
    let chunk = Chunk { spans, bytes: Buffer::from(bytes), ..Chunk::of_lines("", 7, APPENDED_AT_MS) };
    expect![[r#"
            1772409608297 conversation.queued u1
            1772409608297 conversation.queued u1
            1772409608297 conversation.queued u1
            1772409608297 conversation.queued u1
            9 not_json: EOF while parsing at line 1 column 174
        "#]]
    .assert_eq(&outcome_of(&chunk));
}

#[test]
fn ten_megabytes() {
    let big = "x".repeat(10_000_000);
    check(
        &event(T, "conversation.message", &format!(r#","role":"customer","text":"{big}""#)),
        expect![[r#"
                7 too_long: 10000216 bytes; at most 1048576 are allowed (input.event_bytes_max)
            "#]],
    );
}

#[test]
fn escapes_and_spaces() {
    let spaced = event(T, "conversation.queued", r#", "skill" : "refund""#)
        .replace("u1", "u\\u00e9\\n\\\"x, longer than inline");
    check(
        &spaced,
        expect![[r#"
            1772409608297 conversation.queued ué
            "x, longer than inline
        "#]],
    );
}

fn json_value() -> BoxedStrategy<serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        (-1e9f64..1e9).prop_map(Into::into),
        "[ -~é退\"\\\\\n]{0,20}".prop_map(Into::into),
    ];
    leaf.prop_recursive(2, 8, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Into::into),
            prop::collection::vec(("[a-z_]{1,8}", inner), 0..3)
                .prop_map(|fields| serde_json::Value::Object(fields.into_iter().collect())),
        ]
    })
    .boxed()
}

/// What the fast path takes.
fn plain_value() -> BoxedStrategy<serde_json::Value> {
    prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        (-1_000_000i64..1_000_000).prop_map(Into::into),
        "[ -!#-\\[\\]-~é退]{0,40}".prop_map(Into::into),
    ]
    .boxed()
}

fn json_event() -> impl Strategy<Value = String> {
    prop_oneof![json_event_of(json_value()), json_event_of(plain_value())]
}

fn json_event_of(value: BoxedStrategy<serde_json::Value>) -> impl Strategy<Value = String> {
    const ENVELOPE: &[&str] = &["specversion", "id", "source", "type", "subject", "time", "x"];
    const FIELDS: &[&str] = &["customer_id", "shop", "score", "auto", "amount_minor", "lines", "y_ms", "z"];
    let attributes = prop::collection::vec((prop::sample::select(ENVELOPE), value.clone()), 0..8);
    let data = prop::collection::vec((prop::sample::select(FIELDS), value), 0..8);
    (attributes, data, any::<bool>()).prop_map(|(attributes, data, spaced)| {
        // Built by hand, so that a name can come twice.
        let object = |fields: Vec<(&str, String)>| {
            let separator = if spaced { ", " } else { "," };
            let colon = if spaced { ": " } else { ":" };
            let fields: Vec<String> = fields.iter().map(|(k, v)| format!("\"{k}\"{colon}{v}")).collect();
            format!("{{{}}}", fields.join(separator))
        };
        let text = |(k, v): (&'static str, serde_json::Value)| (k, v.to_string());
        let mut attributes: Vec<_> = attributes.into_iter().map(text).collect();
        attributes.push(("data", object(data.into_iter().map(text).collect())));
        object(attributes)
    })
}

/// Names that are read, and some that are not but take as many bytes.
const NAMES: [(&str, &str); 8] = [
    ("\"type\"", "\"typo\""),
    ("\"id\"", "\"if\""),
    ("\"source\"", "\"course\""),
    ("\"data\"", "\"date\""),
    ("\"shop\"", "\"show\""),
    ("\"score\"", "\"scope\""),
    ("\"auto\"", "\"anto\""),
    ("\"customer_id\"", "\"customer-id\""),
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// What the fast path takes, the strict path reads the same.
    #[test]
    fn fast_is_strict(line in json_event(), cut in 0usize..400, junk in any::<u8>(), name in 0usize..NAMES.len()) {
        let mut spoiled = line.clone().into_bytes();
        if cut < spoiled.len() {
            spoiled[cut] = junk;
        }
        let spoiled = String::from_utf8(spoiled).unwrap_or_default();
        // Of the same shape but for one name; of the same shape with other values.
        let (known, other) = NAMES[name];
        let renamed = line.replacen(known, other, 1);
        let digits = line.chars().map(|c| c.to_digit(10).map_or(c, |digit| char::from(b'9' - digit as u8)));
        let revalued: String = digits.collect();
        let mut both = Both::default();
        for line in [&line, &spoiled, &renamed, &revalued, &line] {
            // What follows is looked at and must not matter: nothing, the next
            // line, the next record of a log. By a known shape from the second on.
            for after in ["", "\n{\"specversion\":\"1.0\",\"id\":\"e2\"}", line.as_str(), "\"}}\"}}\"}}\"}}\"}}\"}}\"}}\"}}\"}}"] {
                both.agree(format!("{line}{after}").as_bytes(), line.len());
            }
        }
    }

    #[test]
    fn nonsense_never_panics(line in "\\PC{0,200}") {
        outcome(&line);
    }
}
