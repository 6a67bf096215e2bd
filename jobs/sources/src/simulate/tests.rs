mod honesty;

use std::collections::HashMap;

use serde_json::Value;

use super::config::DAY_MS;
use super::*;

fn small(customers: u32, days: u32) -> Config {
    Config { customers, days, ..Config::default() }
}

fn incident(kind: IncidentKind, at: &str, lasting: &str) -> Incident {
    Incident { kind, at: at.into(), lasting: lasting.into(), target: None, factor: None }
}

/// FNV-1a over all lines.
fn digest(config: Config) -> (u64, u64) {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut events = 0;
    for event in Simulator::new(config).unwrap() {
        events += 1;
        for byte in event.topic.bytes().chain(event.key.bytes()).chain(event.json.bytes()) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    (events, hash)
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    let (events, bytes) = digest(small(2_000, 2));
    assert!(events > 5_000, "{events}");
    assert_eq!(digest(small(2_000, 2)), (events, bytes));
    assert_ne!(digest(Config { seed: 2, ..small(2_000, 2) }).1, bytes);
    let without_truth = Config { truth: false, ..small(2_000, 2) };
    assert_eq!(digest(without_truth).1, bytes, "the truth is a by-product");
}

#[test]
fn an_incident_changes_nothing_before_it() {
    let calm: Vec<_> = Simulator::new(small(2_000, 2)).unwrap().collect();
    let config = Config { incidents: vec![incident(IncidentKind::Aht, "1d 10h", "2h")], ..small(2_000, 2) };
    let begins_ms = Simulator::new(config.clone()).unwrap().start_ms + DAY_MS + 10 * config::HOUR_MS;
    let troubled: Vec<_> = Simulator::new(config).unwrap().collect();
    let before = calm.iter().filter(|event| event.time_ms < begins_ms).count();
    assert!(calm[..before].iter().zip(&troubled).all(|(a, b)| a.json == b.json));
    assert!(calm.iter().zip(&troubled).any(|(a, b)| a.json != b.json));
}

/// What the life cycle of one conversation allows next.
#[derive(Default)]
struct Life {
    state: &'static str,
    queued_ms: i64,
    accepted_ms: i64,
    held_ms: i64,
    hold_ms: i64,
    agent: String,
    skill: String,
}

/// What was seen of handled and queued conversations.
#[derive(Default)]
struct Seen {
    /// (closed at, skill, handle time).
    handled: Vec<(i64, String, i64)>,
    queued_ms: Vec<i64>,
    abandoned_ms: Vec<i64>,
    kinds: HashMap<String, u64>,
}

/// Plays events and panics at the first that its life cycle does not allow.
fn observe(events: impl Iterator<Item = SourceEvent>) -> Seen {
    let mut seen = Seen::default();
    let mut lives: HashMap<String, Life> = HashMap::new();
    let mut capacity: HashMap<String, (i64, i64)> = HashMap::new();
    let mut ids = std::collections::HashSet::new();
    let mut last_ms = i64::MIN;
    for event in events {
        let value: Value = serde_json::from_str(&event.json).unwrap();
        let (kind, time_ms) = (value["type"].as_str().unwrap(), event.time_ms);
        let time: jiff::Timestamp = value["time"].as_str().unwrap().parse().unwrap();
        assert_eq!(time.as_millisecond(), time_ms);
        assert!(time_ms >= last_ms, "time goes back at {}", event.json);
        last_ms = time_ms;
        assert!(ids.insert(format!("{} {}", value["source"], value["id"])), "twice: {}", event.json);
        *seen.kinds.entry(kind.into()).or_default() += 1;
        let data = &value["data"];
        let agent = data["agent_id"].as_str().unwrap_or_default();
        if kind == "agent.state_changed" {
            assert_eq!(event.key, agent);
            capacity.entry(agent.into()).or_default().1 = data["capacity"].as_i64().unwrap();
            continue;
        }
        assert_eq!(data["customer_id"], event.key.as_str());
        assert!(!data["shop"].as_str().unwrap().is_empty() && !data["channel"].as_str().unwrap().is_empty());
        if event.topic == "orders" {
            continue;
        }
        let life = lives.entry(value["subject"].as_str().unwrap().into()).or_default();
        let mut go = |from: &[&str], to: &'static str| {
            assert!(from.contains(&life.state), "{kind} in state {:?}: {}", life.state, event.json);
            life.state = to;
        };
        match kind {
            "conversation.started" => go(&[""], "open"),
            "conversation.handed_off" => go(&["open"], "handed off"),
            "conversation.queued" => {
                go(&["open", "handed off", "transferred", "reopened"], "queued");
                life.queued_ms = time_ms;
                life.skill = data["skill"].as_str().unwrap().into();
                seen.queued_ms.push(time_ms);
            }
            "conversation.accepted" => {
                go(&["queued"], "accepted");
                (life.accepted_ms, life.hold_ms, life.agent) = (time_ms, 0, agent.into());
                let (load, most) = capacity.get_mut(agent).expect("an agent reports before accepting");
                *load += 1;
                assert!(*load <= *most, "{agent} has {load} of {most}");
            }
            "conversation.abandoned" => {
                go(&["queued"], "over");
                seen.abandoned_ms.push(time_ms);
            }
            "conversation.held" => {
                go(&["accepted"], "held");
                life.held_ms = time_ms;
            }
            "conversation.resumed" => {
                go(&["held"], "accepted");
                life.hold_ms += time_ms - life.held_ms;
            }
            "conversation.transferred" => {
                go(&["accepted"], "transferred");
                capacity.get_mut(agent).unwrap().0 -= 1;
            }
            "conversation.closed" if agent.is_empty() => go(&["open"], "over"),
            "conversation.closed" => go(&["accepted"], "closed"),
            "conversation.wrapped" => {
                go(&["closed"], "over");
                capacity.get_mut(agent).unwrap().0 -= 1;
                seen.handled.push((time_ms, life.skill.clone(), time_ms - life.accepted_ms - life.hold_ms));
            }
            "conversation.reopened" => go(&["over"], "reopened"),
            "conversation.message" if data["role"] == "agent" => go(&["accepted"], "accepted"),
            "conversation.message" => assert_ne!(life.state, "over"),
            "conversation.labelled" | "conversation.rated" => go(&["over"], "over"),
            other => panic!("unknown {other}"),
        }
        if matches!(
            kind,
            "conversation.held" | "conversation.resumed" | "conversation.closed" | "conversation.wrapped"
        ) && !agent.is_empty()
        {
            assert_eq!(life.agent, agent);
        }
    }
    seen
}

fn mean_handle_s(seen: &Seen, keep: impl Fn(i64, &str) -> bool) -> (f64, usize) {
    let kept: Vec<i64> =
        seen.handled.iter().filter(|(at, skill, _)| keep(*at, skill)).map(|handled| handled.2).collect();
    (kept.iter().sum::<i64>() as f64 / kept.len() as f64 / 1e3, kept.len())
}

#[test]
fn lives_are_valid_and_normal_times_are_normal() {
    let seen = observe(Simulator::new(small(20_000, 2)).unwrap());
    let (aht_s, n) = mean_handle_s(&seen, |_, _| true);
    assert!((75.0..100.0).contains(&aht_s) && n > 3_000, "AHT {aht_s} s of {n}");
    let abandonment = seen.abandoned_ms.len() as f64 / seen.queued_ms.len() as f64;
    assert!((0.02..0.12).contains(&abandonment), "abandonment {abandonment}");
    let kinds = [
        "conversation.held",
        "conversation.transferred",
        "conversation.reopened",
        "conversation.rated",
        "order.placed",
        "order.paid",
        "order.shipped",
        "order.delivered",
        "order.cancelled",
        "order.return_requested",
        "order.returned",
        "order.refunded",
        "order.reviewed",
    ];
    for kind in kinds {
        assert!(seen.kinds.get(kind).is_some_and(|n| *n > 2), "few {kind}: {:?}", seen.kinds);
    }
}

#[test]
fn incidents_show() {
    let incidents =
        vec![incident(IncidentKind::Aht, "10h", "90m"), incident(IncidentKind::Outage, "19h", "1h")];
    let config = Config { incidents, ..small(20_000, 1) };
    let start_ms = Simulator::new(config.clone()).unwrap().start_ms;
    let seen = observe(Simulator::new(config).unwrap());
    let during =
        |at: i64| (start_ms + 615 * config::MINUTE_MS..start_ms + 695 * config::MINUTE_MS).contains(&at);
    let (slow_s, n) = mean_handle_s(&seen, |at, skill| during(at) && skill == "logistics");
    assert!(slow_s > 130.0 && n > 20, "AHT {slow_s} s of {n} in the incident");
    let (other_s, n) = mean_handle_s(&seen, |at, skill| during(at) && skill != "logistics");
    assert!(other_s < 105.0 && n > 80, "AHT {other_s} s of {n} of other skills");

    let dark = |at: &&i64| (start_ms + 19 * config::HOUR_MS..start_ms + 20 * config::HOUR_MS).contains(*at);
    let (left, came) =
        (seen.abandoned_ms.iter().filter(dark).count(), seen.queued_ms.iter().filter(dark).count());
    assert!(left as f64 > 0.4 * came as f64, "{left} of {came} left in the outage");

    let queued = |incidents| {
        let events = Simulator::new(Config { incidents, ..small(5_000, 1) }).unwrap();
        events.filter(|event| event.json.contains(r#""type":"conversation.queued""#)).count()
    };
    let (with_bot, without) = (queued(vec![]), queued(vec![incident(IncidentKind::BotDown, "0d", "1d")]));
    assert!(without as f64 > 1.1 * with_bot as f64, "{without} against {with_bot}");

    let outcomes = |incidents| {
        let mut world = Simulator::new(Config { incidents, ..small(6_000, 12) }).unwrap();
        world.by_ref().for_each(drop);
        let truth = world.take_truth();
        let returned = truth
            .iter()
            .filter(|row| matches!(row, TruthRow::Outcome(outcome) if outcome.outcome == "returned"));
        let (fault, late): (Vec<_>, Vec<_>) = returned
            .map(|row| match row {
                TruthRow::Outcome(outcome) => (outcome.causes.fault, outcome.causes.late),
                _ => (0.0, 0.0),
            })
            .unzip();
        (
            fault.iter().filter(|cause| **cause > 0.0).count(),
            late.iter().filter(|cause| **cause > 0.0).count(),
        )
    };
    let calm = outcomes(vec![]);
    let faulty = outcomes(vec![incident(IncidentKind::BadBatch, "0d", "7d")]);
    let late = outcomes(vec![incident(IncidentKind::LateDelivery, "0d", "4d")]);
    assert!(faulty.0 > calm.0 + 15 && late.1 > calm.1 + 20, "{faulty:?}, {late:?} against {calm:?}");
}

#[test]
fn disorder_is_bounded_and_duplicates_are_the_same_bytes() {
    let plain: Vec<String> = Simulator::new(small(1_000, 1)).unwrap().map(|event| event.json).collect();
    let config = Config { disorder_ms: 1_500, duplicate_rate: 0.05, ..small(1_000, 1) };
    let (mut latest_ms, mut behind_ms, mut recorded) = (i64::MIN, 0, String::new());
    let mut seen: HashMap<String, String> = HashMap::new();
    let mut again = 0;
    for event in Simulator::new(config).unwrap() {
        latest_ms = latest_ms.max(event.time_ms);
        behind_ms = behind_ms.max(latest_ms - event.time_ms);
        let value: Value = serde_json::from_str(&event.json).unwrap();
        if let Some(first) = seen.insert(value["id"].to_string(), event.json.clone()) {
            again += 1;
            assert_eq!(first, event.json);
        } else {
            let at = value["recordedtime"].as_str().unwrap().to_owned();
            assert!(at >= recorded);
            recorded = at;
        }
    }
    assert!((500..=1_500).contains(&behind_ms), "{behind_ms} ms");
    assert_eq!(seen.len(), plain.len());
    assert!((0.03..0.07).contains(&(again as f64 / plain.len() as f64)), "{again} of {}", plain.len());
}

#[test]
fn mistakes_in_the_configuration_are_told() {
    let told = |config: Config| Simulator::new(config).err().expect("a mistake").to_string();
    let wrong = Incident { target: Some("logistik".into()), ..incident(IncidentKind::Aht, "1h", "1h") };
    let message = told(Config { incidents: vec![wrong], ..Config::default() });
    assert_eq!(
        message,
        "cannot simulate: incidents[0].target is \"logistik\"; expected one of presale, logistics, refund, return, invoice, complaint, technical, vip"
    );
    let message =
        told(Config { incidents: vec![incident(IncidentKind::Outage, "noon", "1h")], ..Config::default() });
    assert_eq!(
        message,
        "cannot simulate: `incidents[0].at` is \"noon\"; expected an RFC 3339 time such as 2026-03-02T00:00:00Z"
    );
    assert_eq!(
        told(Config { agents: 3, ..Config::default() }),
        "cannot simulate: `agents` is 3; it must be 0 (as many as needed), or from 6 to 100,000"
    );
    let unknown = serde_json::from_str::<Config>(r#"{"sed": 4}"#).unwrap_err().to_string();
    assert!(unknown.contains("unknown field `sed`"), "{unknown}");
}
