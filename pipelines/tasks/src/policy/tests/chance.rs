//! Everything at random, against what must hold whatever happens.

use proptest::prelude::*;

use crate::task::Disposition;

use super::*;

/// Campaigns with short cooldowns, several of a model, by threshold and by hour.
pub(super) const MANY: &str = r#"
accepted_for = "5h"
[[cap]]
contacts = 1
per = "2d"
[[cap]]
contacts = 2
per = "7d"
[quiet_hours]
from = "22:00"
to = "04:00"
zone = "Asia/Shanghai"
[capacity]
share = 0.5
backlog_max = 5
[[channel]]
name = "wechat"
reach = "48h"
pushes_max = 2
[[channel]]
name = "app"
consent = true
[[channel]]
name = "phone"
[[campaign]]
name = "one"
title = "One | 一"
model = "m"
threshold = 0.2
channels = ["wechat", "phone"]
cooldown = "1h"
expires_after = "20h"
control_share = 0.3
[[campaign]]
name = "two"
title = "Two | 二"
model = "n"
threshold = 0.4
min_percentile = 50
required_skills = ["return"]
recommended_actions = ["Ask | 询问"]
channels = ["app", "wechat"]
cooldown = "3h"
expires_after = "1d"
not_before = "2h"
control_share = 0.5
priority = "high"
[[campaign]]
name = "three"
title = "Three | 三"
model = "n"
top_k = 2
channels = ["phone", "app"]
cooldown = "6h"
expires_after = "2d"
control_share = 0.5
[[campaign]]
name = "four"
title = "Four | 四"
model = "m"
threshold = 0
channels = ["phone"]
cooldown = "1m"
expires_after = "3h"
control_share = 0
"#;

#[derive(Debug, Clone)]
pub(super) enum Act {
    Score {
        customer: u8,
        second_model: bool,
        probability: f64,
        percentile: Option<f64>,
        orders: u8,
        late: i64,
    },
    Message {
        customer: u8,
        channel: &'static str,
    },
    Consent {
        customer: u8,
        channel: &'static str,
        given: bool,
    },
    Queue(Queue),
    OrderBack {
        customer: u8,
        order: u8,
    },
    CameFirst {
        customer: u8,
    },
    /// Of the open task at this place, if there is one.
    Feedback {
        place: usize,
        transition: Transition,
        event: u8,
    },
    /// Brings a task all the way.
    Contact {
        place: usize,
    },
    Advance,
}

fn customers() -> impl Strategy<Value = u8> {
    0u8..8
}

fn channels() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["wechat", "app", "phone", "mail"])
}

fn transitions() -> impl Strategy<Value = Transition> {
    let channel = prop::option::of(channels().prop_map(str::to_owned));
    prop_oneof![
        3 => Just(Transition::Offered { agent_id: Some("g1".into()) }),
        3 => Just(Transition::Accepted { agent_id: None }),
        1 => any::<bool>().prop_map(|retryable| Transition::Rejected { reason: "busy".into(), retryable }),
        3 => (prop::sample::select(Disposition::ALL.to_vec()), channel)
            .prop_map(|(disposition, channel)| Transition::Completed { disposition, channel }),
        1 => Just(Transition::Expired),
        1 => prop::sample::select(Cancelled::ALL.to_vec()).prop_map(|reason| Transition::Cancelled { reason }),
    ]
}

fn acts() -> impl Strategy<Value = Act> {
    let percentile = prop::option::of((0u8..=100).prop_map(f64::from));
    let late = prop_oneof![4 => Just(0i64), 1 => 0..30 * HOUR];
    prop_oneof![
        8 => (customers(), any::<bool>(), (0u8..=10).prop_map(|tenth| f64::from(tenth) / 10.0), percentile, 0u8..8, late)
            .prop_map(|(customer, second_model, probability, percentile, orders, late)| Act::Score {
                customer, second_model, probability, percentile, orders, late
            }),
        2 => (customers(), channels()).prop_map(|(customer, channel)| Act::Message { customer, channel }),
        1 => (customers(), channels(), prop::bool::weighted(0.7))
            .prop_map(|(customer, channel, given)| Act::Consent { customer, channel, given }),
        1 => (0u64..8, 0u64..8, 0u64..30).prop_map(|(waiting, agents_available, capacity)| {
            Act::Queue(Queue { waiting, agents_available, capacity })
        }),
        1 => (customers(), 0u8..3).prop_map(|(customer, order)| Act::OrderBack { customer, order }),
        1 => customers().prop_map(|customer| Act::CameFirst { customer }),
        8 => (0usize..2, transitions(), any::<u8>())
            .prop_map(|(place, transition, event)| Act::Feedback { place, transition, event }),
        9 => (0usize..3).prop_map(|place| Act::Contact { place }),
        1 => Just(Act::Advance),
    ]
}

/// Often at the same time as the one before.
fn waits() -> impl Strategy<Value = i64> {
    prop_oneof![8 => Just(0i64), 6 => 1..HOUR, 3 => HOUR..12 * HOUR, 1 => 12 * HOUR..4 * DAY]
}

/// When, and what.
pub(super) fn runs() -> impl Strategy<Value = Vec<(i64, Act)>> {
    prop::collection::vec((waits(), acts()), 1..150).prop_map(|acts| {
        let mut at = NOON;
        let timed = acts.into_iter().map(|(wait, act)| {
            at += wait;
            (at, act)
        });
        timed.collect()
    })
}

pub(super) fn act(policy: &mut Policy, at_ms: i64, act: &Act, out: &mut Vec<Decision>) {
    let id = |customer: u8| format!("c{customer}");
    match act {
        Act::Score { customer, second_model, probability, percentile, orders, late } => {
            if *late > 0 {
                // It is late because the time has been told.
                policy.advance(at_ms, out);
            }
            let mut score = score(&id(*customer), *probability, at_ms - late);
            score.percentile = *percentile;
            score.order_ids = (0..3).filter(|n| orders & (1 << n) != 0).map(|n| format!("o{n}")).collect();
            if *second_model {
                score.model = "n".into();
            }
            policy.score(score, out).unwrap();
        }
        Act::Message { customer, channel } => policy.message(&id(*customer), channel, at_ms, out),
        Act::Consent { customer, channel, given } => {
            policy.consent(&id(*customer), channel, *given, at_ms, out);
        }
        Act::Queue(queue) => policy.queue(*queue, at_ms, out),
        Act::OrderBack { customer, order } => {
            policy.order_back(&id(*customer), &format!("o{order}"), at_ms, out);
        }
        Act::CameFirst { customer } => policy.came_first(&id(*customer), at_ms, out),
        Act::Feedback { place, transition, event } => {
            policy.advance(at_ms, out);
            let task_id = policy.open_tasks().nth(*place).map(|task| task.task_id.clone());
            if let Some(task_id) = task_id {
                // Refusals are a matter of the task's own tests.
                let _ = policy.feedback(&task_id, transition.clone(), &event.to_string(), at_ms, out);
            }
        }
        Act::Contact { place } => {
            policy.advance(at_ms, out);
            let Some(task) = policy.open_tasks().nth(*place) else { return };
            let task_id = task.task_id.clone();
            let steps = [
                Transition::Offered { agent_id: None },
                Transition::Accepted { agent_id: None },
                Transition::Completed { disposition: Disposition::Solved, channel: None },
            ];
            for (step, transition) in steps.into_iter().enumerate() {
                let _ = policy.feedback(&task_id, transition, &format!("contact-{step}"), at_ms, out);
            }
        }
        Act::Advance => policy.advance(at_ms, out),
    }
}

pub(super) fn run(policy: &mut Policy, acts: &[(i64, Act)]) -> Vec<Decision> {
    let mut out = Vec::new();
    for (at_ms, step) in acts {
        act(policy, *at_ms, step, &mut out);
    }
    out
}

fn bytes(policy: &Policy) -> Vec<u8> {
    postcard::to_stdvec(policy.state()).unwrap()
}

fn again(policy: &Policy) -> Policy {
    Policy::resume(Arc::clone(&policy.rules), postcard::from_bytes(&bytes(policy)).unwrap())
}

/// Of each customer, from when to when each task may have been a contact.
fn contacts(decisions: &[Decision]) -> BTreeMap<&str, Vec<(i64, i64)>> {
    let mut accepted: BTreeMap<&str, i64> = BTreeMap::new();
    let mut contacts: BTreeMap<&str, Vec<(i64, i64)>> = BTreeMap::new();
    for decision in decisions {
        let Decision::Changed(event) = decision else { continue };
        if event.transition.to() == TaskState::Accepted {
            accepted.insert(&event.task_id, event.at_ms);
        } else if let Some(from) = accepted.remove(event.task_id.as_str()) {
            contacts.entry(&event.customer_id).or_default().push((from, event.at_ms));
        }
    }
    contacts
}

/// The most contacts in any time of a length: one that begins with a contact.
fn most(times: &[i64], per_ms: i64) -> usize {
    let within = |from: i64| times.iter().filter(|&&at| from <= at && at - from < per_ms).count();
    times.iter().map(|&from| within(from)).max().unwrap_or(0)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Whenever between acceptance and end the contacts were.
    #[test]
    fn no_cap_is_ever_exceeded(acts in runs(), split in any::<prop::sample::Index>(), places in prop::collection::vec(0.0f64..=1.0, 1..8)) {
        let mut policy = policy(MANY);
        let (before, after) = acts.split_at(split.index(acts.len()));
        let mut out = run(&mut policy, before);
        let mut policy = again(&policy);
        out.extend(run(&mut policy, after));
        policy.advance(acts.last().unwrap().0 + 10 * DAY, &mut out);
        for (customer, spans) in contacts(&out) {
            let somewhere = spans.iter().zip(places.iter().cycle()).map(|(&(from, to), place)| {
                from + ((to - from) as f64 * place) as i64
            });
            let times: [Vec<i64>; 3] = [
                spans.iter().map(|span| span.0).collect(),
                spans.iter().map(|span| span.1).collect(),
                somewhere.collect(),
            ];
            for times in times {
                for cap in &policy.rules().caps {
                    let found = most(&times, cap.per_ms);
                    prop_assert!(found <= cap.contacts, "{customer}: {found} contacts, {cap:?}, {times:?}");
                }
            }
        }
    }

    /// Not by a task, nor by an event of one, and every treated task has an assignment before it.
    #[test]
    fn a_control_is_never_contacted(acts in runs()) {
        let mut policy = policy(MANY);
        let mut out = Vec::new();
        let mut assigned: BTreeMap<String, Arm> = BTreeMap::new();
        let mut arms: BTreeMap<(String, String), Arm> = BTreeMap::new();
        for (step, (at_ms, input)) in acts.iter().enumerate() {
            if step % 5 == 0 {
                policy = again(&policy);
            }
            act(&mut policy, *at_ms, input, &mut out);
        }
        policy.advance(acts.last().unwrap().0 + 10 * DAY, &mut out);
        let arm_of = |campaign: &str, customer: &str| policy.rules().campaign(campaign).unwrap().arm(customer);
        for decision in &out {
            match decision {
                Decision::Assigned(a) => {
                    prop_assert_eq!(a.arm, arm_of(&a.campaign, &a.customer_id));
                    let before = arms.insert((a.campaign.clone(), a.customer_id.clone()), a.arm);
                    prop_assert!(before.is_none_or(|before| before == a.arm));
                    prop_assert!(assigned.insert(a.assignment_id.clone(), a.arm).is_none());
                }
                Decision::Created(t) => {
                    prop_assert_eq!(arm_of(&t.campaign, &t.customer_id), Arm::Treated);
                    prop_assert_eq!(assigned.get(&t.assignment_id), Some(&Arm::Treated));
                }
                Decision::Changed(e) => prop_assert_eq!(arm_of(&e.campaign, &e.customer_id), Arm::Treated),
                Decision::Suppressed(s) => {
                    prop_assert_eq!(arm_of(&s.campaign, &s.customer_id), Arm::Treated);
                    prop_assert_eq!(assigned.get(&s.assignment_id), Some(&Arm::Treated));
                }
                Decision::Refused(_) => {}
            }
        }
    }

    /// Saved and taken up at each step it decides the same, to the bit.
    #[test]
    fn saved_anywhere_it_is_as_never_stopped(acts in runs()) {
        let mut never = policy(MANY);
        let mut always = policy(MANY);
        for (at_ms, input) in &acts {
            let (mut a, mut b) = (Vec::new(), Vec::new());
            act(&mut never, *at_ms, input, &mut a);
            always = again(&always);
            act(&mut always, *at_ms, input, &mut b);
            prop_assert_eq!(postcard::to_stdvec(&a).unwrap(), postcard::to_stdvec(&b).unwrap());
            prop_assert_eq!(bytes(&never), bytes(&always));
        }
    }

    /// However often the time is told in between.
    #[test]
    fn it_does_not_matter_how_often_it_is_advanced(acts in runs(), cuts in prop::collection::vec(0.0f64..=1.0, 1..5)) {
        let mut seldom = policy(MANY);
        let mut often = policy(MANY);
        let (mut a, mut b) = (Vec::new(), Vec::new());
        let mut before = NOON;
        for ((at_ms, input), cut) in acts.iter().zip(cuts.iter().cycle()) {
            act(&mut seldom, *at_ms, input, &mut a);
            often.advance(before + ((at_ms - before) as f64 * cut) as i64, &mut b);
            often.advance(*at_ms, &mut b);
            act(&mut often, *at_ms, input, &mut b);
            before = *at_ms;
        }
        prop_assert_eq!(a, b);
        prop_assert_eq!(bytes(&seldom), bytes(&often));
    }

    /// Everything but consent is forgotten, and a task always ends.
    #[test]
    fn nothing_is_remembered_for_ever(acts in runs()) {
        let mut policy = policy(MANY);
        let mut out = run(&mut policy, &acts);
        let memory = policy.rules().memory_ms();
        let longest_task = 2 * DAY + policy.rules().accepted_for_ms;
        policy.advance(acts.last().unwrap().0 + HOUR + longest_task + 2 * memory, &mut out);
        let state = policy.state();
        prop_assert!(state.tasks.is_empty() && state.candidates.is_empty() && state.wakes.is_empty());
        prop_assert_eq!(state.open, 0);
        for customer in state.customers.values() {
            let consents = customer.channels.values().all(|channel| {
                channel.consent.is_some() && channel.message_ms.is_none() && channel.pushes == 0
            });
            prop_assert!(consents && !customer.channels.is_empty());
            prop_assert!(customer.open.is_none() && customer.contacts.is_empty() && customer.campaigns.is_empty());
        }
        let ended = |task: &Task| out.iter().any(|decision| matches!(decision,
            Decision::Changed(event) if event.task_id == task.task_id && !event.transition.to().is_open()));
        prop_assert!(created(&out).into_iter().all(ended));
    }

    /// One open task a customer, tasks of their own ids, revisions without gaps, times in order.
    #[test]
    fn tasks_are_told_apart(acts in runs()) {
        let mut policy = policy(MANY);
        let mut out = Vec::new();
        let mut ids = BTreeSet::new();
        for (at_ms, input) in &acts {
            let before = out.len();
            act(&mut policy, *at_ms, input, &mut out);
            for task in created(&out[before..]) {
                prop_assert!(ids.insert(task.task_id.clone()));
            }
            let mut customers: Vec<&str> = policy.open_tasks().map(|task| task.customer_id.as_str()).collect();
            prop_assert_eq!(customers.len() as u64, policy.state().open);
            customers.sort_unstable();
            let all = customers.len();
            customers.dedup();
            prop_assert_eq!(customers.len(), all);
            for task in policy.open_tasks() {
                let held = policy.state().customers.get(&task.customer_id).and_then(|customer| customer.open.clone());
                prop_assert_eq!(held.as_deref(), Some(task.task_id.as_str()));
            }
        }
        let mut revisions: BTreeMap<&str, u32> = BTreeMap::new();
        let mut now = i64::MIN;
        for decision in &out {
            let at_ms = match decision {
                Decision::Assigned(a) => a.at_ms,
                Decision::Created(t) => {
                    revisions.insert(&t.task_id, 1);
                    prop_assert!(t.created_ms <= t.not_before_ms && t.not_before_ms < t.expires_ms);
                    prop_assert!(!policy.rules().quiet_hours.as_ref().unwrap().is_quiet(t.not_before_ms));
                    prop_assert!(t.channels.iter().all(|reach| reach.until_ms.is_none_or(|until| until > t.not_before_ms)));
                    t.created_ms
                }
                Decision::Changed(e) => {
                    let revision = revisions.get_mut(e.task_id.as_str()).unwrap();
                    *revision += 1;
                    prop_assert_eq!(*revision, e.revision);
                    e.at_ms
                }
                Decision::Suppressed(s) => s.at_ms,
                Decision::Refused(r) => r.at_ms,
            };
            prop_assert!(at_ms >= now);
            now = at_ms;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Consent, WeChat's rules, agents and the time of the day, each against a count of its own.
    #[test]
    fn tasks_are_for_those_who_can_be_reached(acts in runs()) {
        let mut policy = policy(MANY);
        let mut consents: BTreeMap<(String, &str), bool> = BTreeMap::new();
        // Of each customer, the last message by WeChat and the contacts since.
        let mut messages: BTreeMap<String, (i64, usize)> = BTreeMap::new();
        let mut accepted = BTreeSet::new();
        let mut queue: Option<Queue> = None;
        let mut open = 0;
        for (at_ms, input) in &acts {
            // Neither consent nor a message nor a queue creates a task by itself: what comes out with
            // it was due before, or is about the task that it cancels.
            let mut out = Vec::new();
            act(&mut policy, *at_ms, input, &mut out);
            for decision in &out {
                match decision {
                    Decision::Created(task) => {
                        open += 1;
                        if let Some(queue) = queue {
                            let capacity = if queue.agents_available == 0 { 0 } else { queue.capacity };
                            prop_assert!(queue.waiting <= 5 && 2 * open <= capacity);
                        }
                        for reach in &task.channels {
                            let given = consents.get(&(task.customer_id.clone(), reach.channel.as_str()));
                            prop_assert!(given != Some(&false));
                            match reach.channel.as_str() {
                                "app" => prop_assert_eq!(given, Some(&true)),
                                "wechat" => {
                                    let (message_ms, pushes) = messages[&task.customer_id];
                                    prop_assert_eq!(reach.until_ms, Some(message_ms + 48 * HOUR));
                                    prop_assert!(pushes < 2);
                                }
                                _ => prop_assert_eq!(reach.until_ms, None),
                            }
                        }
                    }
                    Decision::Changed(event) if event.transition.to() == TaskState::Accepted => {
                        accepted.insert(event.task_id.clone());
                    }
                    Decision::Changed(event) if !event.transition.to().is_open() => {
                        open -= 1;
                        let task = policy.task(&event.task_id);
                        let by_wechat = match &event.transition {
                            Transition::Completed { channel: Some(channel), .. } => channel == "wechat",
                            // It is forgotten when the time is that of days later.
                            _ => task.is_none_or(|task| task.channels.iter().any(|reach| reach.channel == "wechat")),
                        };
                        if accepted.remove(&event.task_id) && by_wechat
                            && let Some((_, pushes)) = messages.get_mut(&event.customer_id)
                        {
                            *pushes += 1;
                        }
                    }
                    _ => {}
                }
            }
            match input {
                Act::Consent { customer, channel, given } => {
                    consents.insert((format!("c{customer}"), channel), *given);
                }
                Act::Message { customer, channel: "wechat" } => {
                    messages.insert(format!("c{customer}"), (*at_ms, 0));
                }
                Act::Queue(now) => queue = Some(*now),
                _ => {}
            }
            prop_assert_eq!(policy.state().open, open);
        }
    }
}

/// The runs above are not empty: they bring about everything there is.
#[test]
fn random_runs_see_everything() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;

    let mut runner = TestRunner::deterministic();
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for _ in 0..300 {
        let acts = runs().new_tree(&mut runner).unwrap().current();
        let mut policy = policy(MANY);
        for decision in run(&mut policy, &acts) {
            let kind = match &decision {
                Decision::Assigned(a) => a.arm.name().to_owned(),
                Decision::Created(t) => format!("{} task", t.campaign),
                Decision::Changed(e) => match &e.transition {
                    Transition::Cancelled { reason } => reason.name().to_owned(),
                    other => other.to().name().to_owned(),
                },
                Decision::Suppressed(s) => format!("no task: {}", s.reason.name()),
                Decision::Refused(r) => format!("no {}", r.refused),
            };
            *seen.entry(kind).or_default() += 1;
        }
    }
    let all = Suppressed::ALL.map(|reason| format!("no task: {}", reason.name()));
    let lives = TaskState::ALL.map(|state| state.name().to_owned());
    let cancelled = Cancelled::ALL.into_iter().filter(|reason| *reason != Cancelled::PolicyChanged);
    let cancelled = cancelled.map(|reason| reason.name().to_owned());
    let refused = ["offered", "accepted", "rejected", "completed"].map(|what| format!("no task.{what}"));
    let tasks = ["one", "two", "three", "four"].map(|campaign| format!("{campaign} task"));
    let wanted = all.into_iter().chain(lives).chain(cancelled).chain(tasks).chain(refused);
    let wanted = wanted.filter(|kind| kind != "created" && kind != "cancelled");
    let missing: Vec<String> = wanted.filter(|kind| !seen.contains_key(kind)).collect();
    assert!(missing.is_empty(), "{missing:?} of {seen:?}");
}
