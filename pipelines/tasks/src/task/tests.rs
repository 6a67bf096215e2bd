#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that panics has failed, as it should")]

use proptest::prelude::*;

use super::*;

pub(crate) fn task() -> Task {
    Task {
        task_id: "save-1".into(),
        idempotency_key: "1".into(),
        assignment_id: "2".into(),
        campaign: "save".into(),
        title: "t".into(),
        customer_id: "a".into(),
        shop: "s".into(),
        order_ids: Vec::new(),
        risk: Risk { kind: "m".into(), probability: 0.5, percentile: None, lead_ms: 0, model: "m@1".into() },
        reasons: Vec::new(),
        recommended_actions: Vec::new(),
        required_skills: Vec::new(),
        channels: vec![Reach { channel: "phone".into(), until_ms: None }],
        priority: Priority::Normal,
        created_ms: 1_000,
        not_before_ms: 1_000,
        expires_ms: 9_000,
        arm: Arm::Treated,
        life: Life::begin(1_000),
    }
}

fn to(state: State) -> Option<Transition> {
    match state {
        State::Created => None,
        State::Offered => Some(Transition::Offered { agent_id: Some("g".into()) }),
        State::Accepted => Some(Transition::Accepted { agent_id: Some("g".into()) }),
        State::Returned => Some(Transition::Rejected { reason: "busy".into(), retryable: true }),
        State::Rejected => Some(Transition::Rejected { reason: "wrong".into(), retryable: false }),
        State::Completed => {
            Some(Transition::Completed { disposition: Disposition::Solved, channel: Some("phone".into()) })
        }
        State::Expired => Some(Transition::Expired),
        State::Cancelled => Some(Transition::Cancelled { reason: Cancelled::ByHand }),
    }
}

/// A task that has come there by the shortest way.
fn at(state: State) -> Task {
    let way: &[State] = match state {
        State::Created => &[],
        State::Offered => &[State::Offered],
        State::Accepted => &[State::Offered, State::Accepted],
        State::Returned => &[State::Offered, State::Returned],
        State::Rejected => &[State::Offered, State::Rejected],
        State::Completed => &[State::Offered, State::Accepted, State::Completed],
        State::Expired => &[State::Expired],
        State::Cancelled => &[State::Cancelled],
    };
    let mut task = task();
    for (step, &state) in way.iter().enumerate() {
        task.apply(to(state).unwrap(), &format!("way-{step}"), 2_000).unwrap().unwrap();
    }
    assert_eq!(task.life.state, state);
    task
}

#[test]
fn every_pair_of_states_is_possible_or_refused() {
    use State::{Accepted, Cancelled, Completed, Created, Expired, Offered, Rejected, Returned};
    let possible = [
        (Created, vec![Offered, Expired, Cancelled]),
        (Offered, vec![Accepted, Returned, Rejected, Expired, Cancelled]),
        (Returned, vec![Offered, Expired, Cancelled]),
        (Accepted, vec![Completed, Expired, Cancelled]),
        (Rejected, vec![]),
        (Completed, vec![]),
        (Expired, vec![]),
        (Cancelled, vec![]),
    ];
    let mut refused = 0;
    for (from, possible) in possible {
        for state in State::ALL {
            let Some(transition) = to(state) else { continue };
            let mut task = at(from);
            let before = task.clone();
            let result = task.apply(transition.clone(), "x", 3_000);
            if possible.contains(&state) {
                let event = result.unwrap().unwrap();
                assert_eq!((task.life.state, event.revision), (state, before.life.revision + 1));
                assert_eq!((event.at_ms, &event.transition), (3_000, &transition));
            } else {
                refused += 1;
                let expected = TaskError::Impossible {
                    task_id: "save-1".into(),
                    from,
                    to: state,
                    allowed: possible.clone(),
                };
                assert_eq!(result, Err(expected));
                assert_eq!(task, before);
            }
        }
    }
    assert_eq!(refused, 8 * 7 - 14);
}

#[test]
fn refusals_say_from_to_and_what_is_allowed() {
    let text = |from, state| at(from).apply(to(state).unwrap(), "x", 3_000).unwrap_err().to_string();
    assert_eq!(
        text(State::Created, State::Completed),
        "task save-1 is created and cannot become completed; it can become: offered; expired; cancelled"
    );
    assert_eq!(
        text(State::Completed, State::Offered),
        "task save-1 is completed and cannot become offered; it is over, and nothing becomes of it any more"
    );
    let mut task = at(State::Offered);
    assert_eq!(
        task.apply(to(State::Accepted).unwrap(), "way-0", 3_000).unwrap_err().to_string(),
        "task save-1: event way-0 made it offered and shall now make it accepted; give every event an id of its own"
    );
    assert_eq!(task, at(State::Offered));
}

#[test]
fn the_same_event_again_changes_nothing() {
    for state in State::ALL {
        let Some(transition) = to(state) else { continue };
        let mut task = at(state);
        let before = task.clone();
        let last = before.life.revision - 2;
        assert_eq!(task.apply(transition, &format!("way-{last}"), 9_999), Ok(None));
        assert_eq!(task, before);
    }
    // An early one also when the task is over.
    let mut task = at(State::Completed);
    assert_eq!(task.apply(to(State::Offered).unwrap(), "way-0", 9_999), Ok(None));
    // By another id it is another event.
    assert!(task.apply(to(State::Completed).unwrap(), "again", 9_999).is_err());
}

#[test]
fn it_is_not_offered_for_ever() {
    let mut task = task();
    for round in 0..OFFERS_MAX {
        task.apply(to(State::Offered).unwrap(), &format!("o{round}"), 2_000).unwrap().unwrap();
        task.apply(to(State::Returned).unwrap(), &format!("r{round}"), 2_000).unwrap().unwrap();
    }
    let error = task.apply(to(State::Offered).unwrap(), "o", 2_000).unwrap_err();
    assert_eq!(
        error.to_string(),
        "task save-1 is rejected, to be offered again and cannot become offered; it can become: expired; cancelled"
    );
    assert!(task.apply(Transition::Expired, "e", 2_000).unwrap().is_some());
}

#[test]
fn times_do_not_go_back_and_have_three_decimals() {
    let mut task = task();
    assert_eq!(task.apply(to(State::Offered).unwrap(), "1", 500).unwrap().unwrap().at_ms, 1_000);
    for (ms, text) in [
        (0, "1970-01-01T00:00:00.000Z"),
        (1_772_424_000_120, "2026-03-02T04:00:00.120Z"),
        (-1, "1969-12-31T23:59:59.999Z"),
        (i64::MAX, "9999-12-30T22:00:00.999Z"),
    ] {
        assert_eq!(rfc3339_ms(ms), text);
    }
}

#[test]
fn hashes_differ_if_texts_are_cut_elsewhere() {
    assert_ne!(stable_hash(["ab", "c"]), stable_hash(["a", "bc"]));
    assert_ne!(stable_hash(["a", ""]), stable_hash(["a"]));
    // Keys are in logs for ever.
    assert_eq!(stable_hash(["task", "a"]), "e8f08e2d276460e693eaf451bdf37e67");
}

proptest! {
    /// Revisions have no gaps, what is over stays over, and the bits are the same after a save.
    #[test]
    fn lives(steps in prop::collection::vec((0usize..8, 0u8..12, 0i64..100), 0..40)) {
        let (mut task, mut saved) = (task(), task());
        for (state, id, at) in steps {
            let Some(transition) = to(State::ALL[state]) else { continue };
            let before = task.clone();
            let id = format!("{id}");
            saved = postcard::from_bytes(&postcard::to_stdvec(&saved).unwrap()).unwrap();
            let result = task.apply(transition.clone(), &id, at);
            prop_assert_eq!(&saved.apply(transition, &id, at), &result);
            match result {
                Ok(Some(event)) => {
                    prop_assert_eq!(event.revision, before.life.revision + 1);
                    prop_assert!(before.life.state.is_open());
                }
                _ => prop_assert_eq!(&task, &before),
            }
            prop_assert_eq!(postcard::to_stdvec(&saved).unwrap(), postcard::to_stdvec(&task).unwrap());
        }
    }
}
