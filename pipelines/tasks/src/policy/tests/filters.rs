use super::*;

const PLAIN: &str = r#"
[[cap]]
contacts = 1
per = "7d"
[capacity]
share = 0.1
backlog_max = 5
[[channel]]
name = "phone"
[[campaign]]
name = "save"
title = "t"
model = "m"
threshold = 0.5
channels = ["phone"]
cooldown = "3d"
expires_after = "2d"
control_share = 0
"#;
const SECOND: &str = r#"
[[campaign]]
name = "second"
title = "t"
model = "m"
threshold = 0.8
channels = ["phone"]
cooldown = "3d"
expires_after = "2d"
control_share = 0
"#;

fn scored(policy: &mut Policy, customer: &str, probability: f64, at_ms: i64) -> Vec<Decision> {
    of(|out| policy.score(score(customer, probability, at_ms), out).unwrap())
}

fn queue(waiting: u64, agents_available: u64, capacity: u64) -> Queue {
    Queue { waiting, agents_available, capacity }
}

#[test]
fn below_the_threshold_there_is_nothing() {
    let mut policy = policy(&PLAIN.replace("control_share", "min_percentile = 60\ncontrol_share"));
    assert_eq!(scored(&mut policy, "a", 0.49, NOON), []);
    assert_eq!(scored(&mut policy, "a", 0.55, NOON), []);
    let mut unknown = score("a", 0.9, NOON);
    unknown.percentile = None;
    assert_eq!(of(|out| policy.score(unknown, out).unwrap()), []);
    assert_eq!(policy.state().customers.len(), 0);
    assert_eq!(short(&scored(&mut policy, "a", 0.6, NOON)), ["a save treated", "a save task"]);
    let mut other = score("b", 0.9, NOON);
    other.model = "another".into();
    assert_eq!(of(|out| policy.score(other, out).unwrap()), []);
}

#[test]
fn a_task_says_all() {
    let mut policy = policy(PLAIN);
    let mut given = score("a", 0.7, NOON);
    given.order_ids = vec!["o2".into(), "o1".into(), "o2".into()];
    let out = of(|out| policy.score(given.clone(), out).unwrap());
    let [Decision::Assigned(assignment), Decision::Created(task)] = &out[..] else { panic!("{out:?}") };
    assert_eq!((assignment.arm, task.arm), (Arm::Treated, Arm::Treated));
    assert_eq!(assignment.assignment_id, task.assignment_id);
    assert_eq!(task.order_ids, ["o1", "o2"]);
    assert_eq!((task.not_before_ms, task.expires_ms), (NOON, NOON + 2 * DAY));
    // Orders in another order make the same task, in another run.
    given.order_ids = vec!["o1".into(), "o2".into()];
    let mut again = self::policy(PLAIN);
    let out = of(|out| again.score(given.clone(), out).unwrap());
    assert_eq!(created(&out)[0].task_id, task.task_id);
    given.order_ids = vec!["o3".into()];
    let mut other = self::policy(PLAIN);
    let out = of(|out| other.score(given, out).unwrap());
    assert_ne!(created(&out)[0].idempotency_key, task.idempotency_key);
}

#[test]
fn open_task_then_cooldown_then_cap() {
    let mut policy = policy(&format!("{PLAIN}{SECOND}"));
    let out = scored(&mut policy, "a", 0.9, NOON);
    let id = created(&out)[0].task_id.clone();
    assert_eq!(short(&out), ["a save treated", "a save task", "a second treated", "a second open_task"]);
    let out = scored(&mut policy, "a", 0.7, NOON + HOUR);
    assert_eq!(short(&out), ["a save open_task"]);
    let mut out = Vec::new();
    contact(&mut policy, &id, NOON + 2 * HOUR, &mut out);
    assert_eq!(short(&out), ["a save task.offered", "a save task.accepted", "a save task.completed"]);
    let out = scored(&mut policy, "a", 0.9, NOON + 3 * DAY);
    // Three days are over since the assignment, not since the contact.
    assert_eq!(short(&out), ["a save treated", "a save cooldown", "a second treated", "a second cap"]);
    let out = scored(&mut policy, "a", 0.9, NOON + 7 * DAY);
    assert_eq!(short(&out), ["a save treated", "a save cap", "a second treated", "a second cap"]);
    let out = scored(&mut policy, "a", 0.9, NOON + 7 * DAY + 2 * HOUR);
    assert_eq!(short(&out), ["a save task", "a second open_task"]);
}

#[test]
fn what_never_became_a_contact_counts_for_the_cooldown_only() {
    let mut policy = policy(PLAIN);
    scored(&mut policy, "a", 0.9, NOON);
    let out = of(|out| policy.advance(NOON + 2 * DAY, out));
    assert_eq!(short(&out), ["a save task.expired"]);
    assert_eq!(short(&scored(&mut policy, "a", 0.9, NOON + 3 * DAY - 1)), ["a save cooldown"]);
    let out = scored(&mut policy, "a", 0.9, NOON + 3 * DAY);
    assert_eq!(short(&out), ["a save treated", "a save task"]);
}

#[test]
fn an_accepted_task_may_outlive_its_end() {
    let mut policy = policy(PLAIN);
    let id = created(&scored(&mut policy, "a", 0.9, NOON))[0].task_id.clone();
    let end = NOON + 2 * DAY;
    let out = of(|out| {
        policy.feedback(&id, Transition::Offered { agent_id: None }, "1", end - 2, out).unwrap();
        policy.feedback(&id, Transition::Accepted { agent_id: None }, "2", end - 1, out).unwrap();
        policy.advance(end + DAY - 2, out);
    });
    assert_eq!(short(&out), ["a save task.offered", "a save task.accepted"]);
    let out = of(|out| policy.advance(end + DAY - 1, out));
    assert_eq!(short(&out), ["a save task.expired"]);
    // It may have been a contact.
    let out = scored(&mut policy, "a", 0.9, end + 5 * DAY);
    assert_eq!(short(&out), ["a save treated", "a save cap"]);
    // Word that comes too late says why it is refused, and what was due is there all the same.
    let mut policy = self::policy(PLAIN);
    let id = created(&scored(&mut policy, "a", 0.9, NOON))[0].task_id.clone();
    let mut out = Vec::new();
    let late = policy.feedback(&id, Transition::Offered { agent_id: None }, "1", end, &mut out);
    assert!(matches!(late, Err(TaskError::Impossible { from: TaskState::Expired, .. })), "{late:?}");
    assert_eq!(short(&out), ["a save task.expired".to_owned(), format!("{id} no task.offered")]);
    let unknown = policy.feedback("x", Transition::Expired, "2", end, &mut out).unwrap_err();
    assert_eq!(
        unknown.to_string(),
        "there is no task x: it was never created, or was over so long ago that it is forgotten; check the id"
    );
}

#[test]
fn backlog_and_capacity() {
    let mut policy = policy(PLAIN);
    // Nothing is known of agents.
    assert_eq!(created(&scored(&mut policy, "a", 0.9, NOON)).len(), 1);
    policy.queue(queue(6, 10, 30), NOON, &mut Vec::new());
    assert_eq!(short(&scored(&mut policy, "b", 0.9, NOON)), ["b save treated", "b save backlog"]);
    policy.queue(queue(5, 10, 29), NOON, &mut Vec::new());
    // Again for the same assignment.
    assert_eq!(short(&scored(&mut policy, "b", 0.9, NOON)), ["b save task"]);
    assert_eq!(short(&scored(&mut policy, "c", 0.9, NOON)), ["c save treated", "c save capacity"]);
    policy.queue(queue(5, 0, 99), NOON, &mut Vec::new());
    assert_eq!(short(&scored(&mut policy, "c", 0.9, NOON)), ["c save capacity"]);
    policy.queue(queue(5, 1, 29), NOON, &mut Vec::new());
    assert_eq!(short(&of(|out| policy.came_first("a", NOON, out))), ["a save task.cancelled"]);
    assert_eq!(short(&scored(&mut policy, "c", 0.9, NOON)), ["c save task"]);
    assert_eq!(policy.open_tasks().count(), 2);
}

#[test]
fn consent_is_asked_for_kept_and_withdrawn() {
    let text = PLAIN.replace("name = \"phone\"", "name = \"phone\"\nconsent = true");
    let mut policy = policy(&text);
    assert_eq!(short(&scored(&mut policy, "a", 0.9, NOON)), ["a save treated", "a save no_consent"]);
    policy.consent("a", "phone", true, NOON, &mut Vec::new());
    assert_eq!(short(&scored(&mut policy, "a", 0.9, NOON)), ["a save task"]);
    let out = of(|out| policy.consent("a", "mail", false, NOON, out));
    assert_eq!(out, []);
    let out = of(|out| policy.consent("a", "phone", false, NOON, out));
    assert_eq!(short(&out), ["a save task.cancelled"]);
    policy.advance(NOON + 400 * DAY, &mut Vec::new());
    let out = scored(&mut policy, "a", 0.9, NOON + 400 * DAY);
    assert_eq!(short(&out), ["a save treated", "a save no_consent"]);
    // A channel that asks for none can be refused too.
    let mut policy = self::policy(PLAIN);
    policy.consent("a", "phone", false, NOON, &mut Vec::new());
    assert_eq!(short(&scored(&mut policy, "a", 0.9, NOON)), ["a save treated", "a save no_consent"]);
}

const WECHAT: &str = r#"
[[channel]]
name = "wechat"
reach = "48h"
pushes_max = 2
[[channel]]
name = "phone"
consent = true
[[campaign]]
name = "save"
title = "t"
model = "m"
threshold = 0.5
channels = ["wechat", "phone"]
cooldown = "1h"
expires_after = "3d"
control_share = 0
"#;

#[test]
fn wechat_is_for_those_who_wrote() {
    let mut policy = policy(WECHAT);
    assert_eq!(short(&scored(&mut policy, "a", 0.9, NOON)), ["a save treated", "a save unreachable"]);
    policy.message("a", "wechat", NOON, &mut Vec::new());
    let end = NOON + 48 * HOUR;
    assert_eq!(short(&scored(&mut policy, "a", 0.9, end)), ["a save treated", "a save unreachable"]);
    policy.message("a", "wechat", end, &mut Vec::new());
    let at = end + HOUR;
    let out = scored(&mut policy, "a", 0.9, at);
    let task = created(&out)[0].clone();
    // Its time is over with the channel's.
    assert_eq!(task.expires_ms, end + 48 * HOUR);
    assert_eq!(task.channels, [Reach { channel: "wechat".into(), until_ms: Some(end + 48 * HOUR) }]);
    assert_eq!(policy.may_contact(&task.task_id, "wechat", at), Ok(()));
    assert_eq!(policy.may_contact(&task.task_id, "phone", at), Err(Suppressed::Unreachable));
    contact(&mut policy, &task.task_id, at, &mut Vec::new());
    assert_eq!(policy.may_contact(&task.task_id, "wechat", at), Err(Suppressed::Expired));
    let second = created(&scored(&mut policy, "a", 0.9, at + HOUR))[0].task_id.clone();
    contact(&mut policy, &second, at + HOUR, &mut Vec::new());
    // Two since the last message.
    let out = scored(&mut policy, "a", 0.9, at + 2 * HOUR);
    assert_eq!(short(&out), ["a save treated", "a save unreachable"]);
    policy.message("a", "wechat", at + 2 * HOUR, &mut Vec::new());
    assert_eq!(created(&scored(&mut policy, "a", 0.9, at + 2 * HOUR)).len(), 1);
}

#[test]
fn a_push_counts_for_the_channel_that_was_used() {
    let mut policy = policy(WECHAT);
    policy.consent("a", "phone", true, NOON, &mut Vec::new());
    policy.message("a", "wechat", NOON, &mut Vec::new());
    for round in 0..4 {
        let at = NOON + round * HOUR;
        let out = scored(&mut policy, "a", 0.9, at);
        let task = created(&out)[0];
        assert_eq!(task.channels.len(), 2, "{round}");
        assert_eq!(task.expires_ms, at + 3 * DAY);
        let id = task.task_id.clone();
        let done =
            Transition::Completed { disposition: Disposition::NoAnswer, channel: Some("phone".into()) };
        let steps = [Transition::Offered { agent_id: None }, Transition::Accepted { agent_id: None }, done];
        for (step, transition) in steps.into_iter().enumerate() {
            policy.feedback(&id, transition, &step.to_string(), at, &mut Vec::new()).unwrap();
        }
    }
}

#[test]
fn the_customer_comes_first_or_the_order_is_back() {
    let mut policy = policy(PLAIN);
    let mut two = score("a", 0.9, NOON);
    two.order_ids = vec!["o1".into(), "o2".into()];
    policy.score(two, &mut Vec::new()).unwrap();
    assert_eq!(of(|out| policy.order_back("a", "o3", NOON, out)), []);
    assert_eq!(of(|out| policy.order_back("a", "o2", NOON, out)), []);
    assert_eq!(of(|out| policy.order_back("b", "o1", NOON, out)), []);
    let out = of(|out| policy.order_back("a", "o1", NOON, out));
    assert_eq!(short(&out), ["a save task.cancelled"]);
    // Without orders none can be back.
    let mut none = score("c", 0.9, NOON);
    none.order_ids = Vec::new();
    let id = created(&of(|out| policy.score(none, out).unwrap()))[0].task_id.clone();
    assert_eq!(of(|out| policy.order_back("c", "o1", NOON, out)), []);
    // Who is in conversation already does not come first.
    let out = of(|out| {
        policy.feedback(&id, Transition::Offered { agent_id: None }, "1", NOON, out).unwrap();
        policy.feedback(&id, Transition::Accepted { agent_id: None }, "2", NOON, out).unwrap();
        policy.came_first("c", NOON, out);
    });
    assert_eq!(short(&out), ["c save task.offered", "c save task.accepted"]);
}

#[test]
fn rejected_is_offered_again_or_over() {
    let mut policy = policy(PLAIN);
    let id = created(&scored(&mut policy, "a", 0.9, NOON))[0].task_id.clone();
    let offered = |policy: &mut Policy, id: &str, event: &str| {
        let to = Transition::Offered { agent_id: None };
        policy.feedback(id, to, event, NOON, &mut Vec::new()).unwrap();
    };
    let rejected = |policy: &mut Policy, id: &str, event: &str, retryable| {
        let to = Transition::Rejected { reason: "busy".into(), retryable };
        policy.feedback(id, to, event, NOON, &mut Vec::new()).unwrap();
    };
    offered(&mut policy, &id, "1");
    rejected(&mut policy, &id, "2", true);
    assert_eq!(policy.open_tasks().count(), 1);
    offered(&mut policy, &id, "3");
    rejected(&mut policy, &id, "4", false);
    rejected(&mut policy, &id, "4", false);
    assert_eq!((policy.open_tasks().count(), policy.task(&id).unwrap().life.revision), (0, 5));
}

#[test]
fn a_late_score_is_not_worth_a_task() {
    let mut policy = policy(PLAIN);
    policy.advance(NOON + 2 * DAY, &mut Vec::new());
    assert_eq!(short(&scored(&mut policy, "a", 0.9, NOON)), ["a save treated", "a save expired"]);
    let out = scored(&mut policy, "a", 0.9, NOON + 1);
    assert_eq!(short(&out), ["a save task"]);
    assert_eq!(created(&out)[0].created_ms, NOON + 2 * DAY);
}

#[test]
fn impossible_scores_are_refused() {
    let mut policy = policy(PLAIN);
    for probability in [f64::NAN, 1.1, -0.1, f64::INFINITY] {
        assert!(policy.score(score("a", probability, NOON), &mut Vec::new()).is_err());
    }
    let mut odd = score("a", 0.9, NOON);
    odd.percentile = Some(101.0);
    assert_eq!(
        policy.score(odd, &mut Vec::new()).unwrap_err().to_string(),
        "score of customer a by m: percentile 101 is not from 0 to 100; give none if it is not known"
    );
    let nobody = policy.score(score("", 0.9, NOON), &mut Vec::new()).unwrap_err();
    assert_eq!(
        nobody.to_string(),
        "score of customer \"\" by m: customer_id is empty; leave out what there is not, and score nobody without an id"
    );
    assert!(policy.state().customers.is_empty());
}

const BEST: &str = r#"
[[channel]]
name = "phone"
[[campaign]]
name = "best"
title = "t"
model = "m"
top_k = 2
channels = ["phone"]
cooldown = "1d"
expires_after = "2d"
control_share = 0
"#;

#[test]
fn the_best_of_an_hour_at_its_end() {
    let mut policy = policy(BEST);
    let out = of(|out| {
        for (customer, probability, minute) in
            [("a", 0.3, 0), ("b", 0.9, 1), ("c", 0.5, 2), ("d", 0.5, 3), ("b", 0.1, 4), ("e", 0.2, 59)]
        {
            policy.score(score(customer, probability, NOON + minute * MINUTE), out).unwrap();
        }
        policy.advance(NOON + HOUR - 1, out);
    });
    assert_eq!(out, []);
    assert_eq!(policy.next_due_ms(), Some(NOON + HOUR));
    // The latest score counts, and of equal ones the customer who comes first.
    let out = of(|out| policy.advance(NOON + 5 * HOUR, out));
    assert_eq!(short(&out), ["c best treated", "c best task", "d best treated", "d best task"]);
    assert_eq!(created(&out)[0].created_ms, NOON + HOUR);
    // Those of before take up no place.
    let out = of(|out| {
        for customer in ["a", "b", "c", "d"] {
            let probability = if customer > "b" { 0.9 } else { 0.5 };
            policy.score(score(customer, probability, NOON + 6 * HOUR), out).unwrap();
        }
        policy.order_back("a", "o1", NOON + 6 * HOUR + 1, out);
        policy.advance(NOON + 7 * HOUR, out);
    });
    assert_eq!(short(&out), ["c best open_task", "d best open_task", "b best treated", "b best task"]);
}

#[test]
fn an_hour_belongs_to_both_arms() {
    let mut policy = policy(&BEST.replace("top_k = 2", "top_k = 40").replace("= 0\n", "= 0.5\n"));
    let out = of(|out| {
        for customer in 0..100 {
            policy.score(score(&format!("c{customer}"), 0.5, NOON), out).unwrap();
        }
        policy.advance(NOON + HOUR, out);
    });
    let assigned = out.iter().filter(|decision| matches!(decision, Decision::Assigned(_))).count();
    assert_eq!(assigned, 40);
    assert!((8..32).contains(&created(&out).len()), "{}", created(&out).len());
}

#[test]
fn arms_are_sticky_and_have_their_share() {
    let text = PLAIN.replace("control_share = 0", "control_share = 0.1\nsalt = \"x\"");
    let rules = Rules::parse("p.toml", &format!("{text}{SECOND}")).unwrap();
    let (save, other) = (&rules.campaigns[0], &rules.campaigns[1]);
    let is_control = |campaign: &Campaign, n: u32| campaign.arm(&format!("c{n}")) == Arm::Control;
    let share = (0..20_000).filter(|&n| is_control(save, n)).count() as f64 / 20_000.0;
    // Five standard deviations.
    assert!((share - 0.1).abs() < 5.0 * (0.09f64 / 20_000.0).sqrt(), "{share}");
    assert!(!(0..1_000).any(|n| is_control(other, n)));
    // More of them are those and others; another salt and another campaign have others.
    let more = Campaign { control_share: 0.3, ..save.clone() };
    assert!((0..5_000).all(|n| !is_control(save, n) || is_control(&more, n)));
    for differs in
        [Campaign { salt: "y".into(), ..more.clone() }, Campaign { name: "other".into(), ..more.clone() }]
    {
        let both = (0..20_000).filter(|&n| is_control(&more, n) && is_control(&differs, n)).count();
        assert!((both as f64 / 20_000.0 - 0.09).abs() < 5.0 * (0.0819f64 / 20_000.0).sqrt(), "{both}");
    }
    // Arms are what was promised: the hash is not to change.
    let controls: Vec<u32> = (0..100).filter(|&n| is_control(save, n)).collect();
    assert_eq!(controls, [27, 52, 72, 76, 84, 87, 96]);
}

#[test]
fn a_control_is_logged_once_a_cooldown_and_never_contacted() {
    let mut policy = policy(&PLAIN.replace("control_share = 0", "control_share = 1"));
    assert_eq!(short(&scored(&mut policy, "a", 0.9, NOON)), ["a save control"]);
    assert_eq!(scored(&mut policy, "a", 0.9, NOON + 3 * DAY - 1), []);
    assert_eq!(short(&scored(&mut policy, "a", 0.9, NOON + 3 * DAY)), ["a save control"]);
    // Not to contact somebody takes neither agents nor consent nor the right hour.
    policy.queue(queue(99, 0, 0), NOON, &mut Vec::new());
    policy.consent("b", "phone", false, NOON, &mut Vec::new());
    assert_eq!(short(&scored(&mut policy, "b", 0.9, NOON)), ["b save control"]);
}

#[test]
fn tasks_that_another_policy_would_not_have_are_cancelled_unless_somebody_does_them() {
    let mut before = policy(PLAIN);
    let mut out = Vec::new();
    for customer in ["a", "b"] {
        before.score(score(customer, 0.9, NOON), &mut out).unwrap();
        before.queue(queue(0, 100, 1_000), NOON, &mut out);
    }
    let accepted = created(&out)[1].task_id.clone();
    for (step, transition) in
        [Transition::Offered { agent_id: None }, Transition::Accepted { agent_id: None }]
            .into_iter()
            .enumerate()
    {
        before.feedback(&accepted, transition, &step.to_string(), NOON, &mut Vec::new()).unwrap();
    }
    let saved = postcard::to_stdvec(before.state()).unwrap();
    let resumed = |text: &str| {
        let rules = Rules::parse("p.toml", text).unwrap();
        let mut policy = Policy::resume(Arc::new(rules), postcard::from_bytes(&saved).unwrap());
        of(|out| policy.advance(NOON + 1, out))
    };
    assert_eq!(short(&resumed(PLAIN)), Vec::<String>::new());
    for other in
        [PLAIN.replace("control_share = 0", "control_share = 1"), PLAIN.replace("\"save\"", "\"keep\"")]
    {
        let out = resumed(&other);
        assert_eq!(short(&out), ["a save task.cancelled"]);
        let Decision::Changed(event) = &out[0] else { panic!("{out:?}") };
        assert_eq!(event.transition, Transition::Cancelled { reason: Cancelled::PolicyChanged });
    }
}

#[test]
fn a_campaign_about_orders_is_for_nobody_without() {
    for within in ["", "orders_within = \"30d\"\n"] {
        let mut policy = policy(&PLAIN.replace("control_share", &format!("{within}control_share")));
        let mut none = score("a", 0.9, NOON);
        none.order_ids.clear();
        let out = of(|out| policy.score(none, out).unwrap());
        assert_eq!(out.is_empty(), !within.is_empty(), "{out:?}");
        assert_eq!(scored(&mut policy, "b", 0.9, NOON).len(), 2);
    }
}

#[test]
fn what_cannot_become_of_a_task_is_refused_and_told() {
    let mut policy = policy(PLAIN);
    let task_id = created(&scored(&mut policy, "a", 0.9, NOON))[0].task_id.clone();
    let done = Transition::Completed { disposition: Disposition::Solved, channel: None };
    let out = of(|out| assert!(policy.feedback(&task_id, done.clone(), "router 1", NOON + 1, out).is_err()));
    let [Decision::Refused(refusal)] = out.as_slice() else { panic!("{out:?}") };
    assert_eq!((refusal.customer_id.as_deref(), refusal.at_ms), (Some("a"), NOON + 1));
    assert!(
        refusal.reason.contains("is created and cannot become completed; it can become: offered"),
        "{refusal:?}"
    );
    let out = of(|out| assert!(policy.feedback("save-x", done, "router 2", NOON + 2, out).is_err()));
    let [Decision::Refused(refusal)] = out.as_slice() else { panic!("{out:?}") };
    assert!(
        refusal.customer_id.is_none() && refusal.reason.contains("there is no task save-x"),
        "{refusal:?}"
    );
}
