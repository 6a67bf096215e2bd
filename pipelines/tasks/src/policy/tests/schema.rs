//! Events against docs/task.schema.json.

use proptest::prelude::*;

use crate::task::{Disposition, Priority};

use super::chance::{MANY, run, runs};
use super::*;

fn schema() -> Value {
    serde_json::from_str(include_str!("../../../../../docs/task.schema.json")).unwrap()
}

/// What is wrong with a value, as far as the schema goes. A keyword that is not known here fails,
/// lest nothing be checked by it.
fn wrong(root: &Value, schema: &Value, value: &Value, at: &str) -> Vec<String> {
    let mut wrongs = Vec::new();
    for (keyword, rule) in schema.as_object().unwrap() {
        let deeper = |schema: &Value| wrong(root, schema, value, at);
        let holds = match keyword.as_str() {
            "$schema" | "$defs" | "title" | "description" => true,
            "$ref" => {
                let name = rule.as_str().unwrap().strip_prefix("#/$defs/").unwrap();
                wrongs.extend(deeper(root["$defs"].get(name).unwrap_or_else(|| panic!("no {name}"))));
                true
            }
            "type" => {
                let is = |kind: &Value| match kind.as_str().unwrap() {
                    "object" => value.is_object(),
                    "array" => value.is_array(),
                    "string" => value.is_string(),
                    "boolean" => value.is_boolean(),
                    "null" => value.is_null(),
                    "number" => value.is_number(),
                    "integer" => value.is_i64() || value.is_u64(),
                    other => panic!("no type {other}"),
                };
                rule.as_array().map_or_else(|| is(rule), |kinds| kinds.iter().any(is))
            }
            "const" => rule == value,
            "enum" => rule.as_array().unwrap().contains(value),
            "required" => {
                rule.as_array().unwrap().iter().all(|key| value.get(key.as_str().unwrap()).is_some())
            }
            "properties" => {
                for (key, rule) in rule.as_object().unwrap() {
                    if let Some(value) = value.get(key) {
                        wrongs.extend(wrong(root, rule, value, &format!("{at}.{key}")));
                    }
                }
                true
            }
            "additionalProperties" => {
                assert_eq!(rule, false);
                value
                    .as_object()
                    .into_iter()
                    .flat_map(|all| all.keys())
                    .all(|key| schema["properties"].get(key).is_some())
            }
            "items" => {
                for (place, value) in value.as_array().into_iter().flatten().enumerate() {
                    wrongs.extend(wrong(root, rule, value, &format!("{at}[{place}]")));
                }
                true
            }
            "minItems" => value.as_array().is_none_or(|all| all.len() as u64 >= rule.as_u64().unwrap()),
            "minLength" => {
                value.as_str().is_none_or(|text| text.chars().count() as u64 >= rule.as_u64().unwrap())
            }
            "minimum" => value.as_f64().is_none_or(|value| value >= rule.as_f64().unwrap()),
            "maximum" => value.as_f64().is_none_or(|value| value <= rule.as_f64().unwrap()),
            "pattern" => {
                // What is no text, `type` refuses.
                let text = value.as_str().unwrap_or_default();
                match rule.as_str().unwrap() {
                    "^[0-9a-f]{32}$" => {
                        text.len() == 32 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
                    }
                    pattern if pattern.ends_with("\\.[0-9]{3}Z$") => {
                        let shape: String =
                            text.chars().map(|c| if c.is_ascii_digit() { '9' } else { c }).collect();
                        shape == "9999-99-99T99:99:99.999Z" && text.parse::<jiff::Timestamp>().is_ok()
                    }
                    pattern => panic!("no pattern {pattern}"),
                }
            }
            "oneOf" => rule.as_array().unwrap().iter().filter(|rule| deeper(rule).is_empty()).count() == 1,
            "anyOf" => rule.as_array().unwrap().iter().any(|rule| deeper(rule).is_empty()),
            other => panic!("{at}: keyword {other}"),
        };
        if !holds {
            wrongs.push(format!("{at}: {keyword} {rule}: {value}"));
        }
    }
    wrongs
}

fn check(schema: &Value, event: &Value) -> Vec<String> {
    let mut wrongs = wrong(schema, schema, event, "");
    // Of `oneOf`, which says little, the one that is meant.
    let kind = event["type"].as_str().unwrap().strip_prefix("task.").unwrap();
    wrongs.extend(wrong(schema, &schema["$defs"][kind], &event["data"], ".data"));
    wrongs
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn every_event_conforms(acts in runs()) {
        let schema = schema();
        let mut policy = policy(MANY);
        let out = run(&mut policy, &acts);
        let mut ids = BTreeSet::new();
        for decision in &out {
            let event = decision.event("/headsup/tasks");
            let wrongs = check(&schema, &event);
            prop_assert!(wrongs.is_empty(), "{wrongs:#?}");
            let again: Value = serde_json::from_str(&event.to_string()).unwrap();
            prop_assert_eq!(&again, &event);
            // Who reads it knows the same.
            match (decision, crate::Told::of(&again)) {
                (Decision::Created(task), Some(crate::Told::Created(told))) => prop_assert_eq!(&told, task),
                (Decision::Changed(event), Some(crate::Told::Changed(told))) => prop_assert_eq!(&told, event),
                (Decision::Refused(refusal), Some(crate::Told::Refused { task_id, cause })) => {
                    prop_assert_eq!((&task_id, &cause), (&refusal.task_id, &refusal.event_id));
                }
                (Decision::Assigned(_) | Decision::Suppressed(_), None) => {}
                (decision, told) => prop_assert!(false, "{decision:?} is told as {told:?}"),
            }
            // The same suppression twice at the same time is the same event.
            let new = ids.insert(event["id"].as_str().unwrap().to_owned());
            prop_assert!(new || event["type"] == "task.suppressed", "{event}");
        }
    }
}

#[test]
fn events_that_do_not_conform_are_found() {
    let schema = schema();
    let mut policy = policy(MANY);
    let out = of(|out| {
        for customer in ["a", "b", "c", "d", "e"] {
            policy.score(score(customer, 0.9, NOON), out).unwrap();
        }
    });
    let good = created(&out)[0].created_event("/headsup/tasks");
    assert_eq!(check(&schema, &good), Vec::<String>::new());
    let spoilt: [fn(&mut Value); 11] = [
        |event| event["data"]["more"] = json!(1),
        |event| event["more"] = json!(1),
        |event| drop(event["data"].as_object_mut().unwrap().remove("arm")),
        |event| event["data"]["arm"] = json!("control"),
        |event| event["data"]["origin"] = json!("inbound"),
        |event| event["data"]["risk"]["probability"] = json!(1.5),
        |event| event["data"]["risk"]["lead_ms"] = json!(1.5),
        |event| event["data"]["channels"] = json!([]),
        |event| event["data"]["not_before"] = json!("2026-03-02T04:00:00Z"),
        |event| event["data"]["idempotency_key"] = json!("x"),
        |event| event["type"] = json!("task.offered"),
    ];
    for (place, spoil) in spoilt.into_iter().enumerate() {
        let mut event = good.clone();
        spoil(&mut event);
        assert!(!check(&schema, &event).is_empty(), "{place}");
    }
}

#[test]
fn the_schema_names_what_there_is() {
    let schema = schema();
    let of = |def: &str, key: &str| schema["$defs"][def]["properties"][key]["enum"].clone();
    assert_eq!(of("suppressed", "reason"), json!(Suppressed::ALL.map(Suppressed::name)));
    assert_eq!(of("suppressed", "reason"), json!(Suppressed::ALL));
    assert_eq!(of("cancelled", "reason"), json!(Cancelled::ALL.map(Cancelled::name)));
    assert_eq!(of("cancelled", "reason"), json!(Cancelled::ALL));
    assert_eq!(of("completed", "disposition"), json!(Disposition::ALL.map(Disposition::name)));
    assert_eq!(of("completed", "disposition"), json!(Disposition::ALL));
    assert_eq!(of("created", "priority"), json!(Priority::ALL.map(Priority::name)));
    assert_eq!(of("assigned", "arm"), json!([Arm::Treated, Arm::Control]));
}
