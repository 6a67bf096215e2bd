//! Whether what the truth foresees comes true, and whether treatment does what it says.

use std::collections::{HashMap, HashSet};

use super::super::config::DAY_MS;
use super::super::*;
use super::small;

/// What came true of (foreseen probability, whether) in ten groups of equal size.
fn assert_honest(what: &str, mut foreseen: Vec<(f64, bool)>, slack: f64) {
    foreseen.sort_by(|a, b| a.0.total_cmp(&b.0));
    for (decile, group) in foreseen.chunks(foreseen.len().div_ceil(10)).enumerate() {
        let expected: f64 = group.iter().map(|(p, _)| p).sum();
        let came = group.iter().filter(|(_, came)| *came).count() as f64;
        let deviation = group.iter().map(|(p, _)| p * (1.0 - p)).sum::<f64>().sqrt();
        let bound = 4.0 * deviation + slack * expected + 1.0;
        assert!(
            (came - expected).abs() <= bound,
            "{what}, decile {decile}: {came} came, {expected:.1} foreseen, bound {bound:.1}"
        );
    }
}

#[test]
fn the_truth_is_honest() {
    const DAYS: u32 = 20;
    let mut world = Simulator::new(small(8_000, DAYS)).unwrap();
    world.by_ref().for_each(drop);
    let truth = world.take_truth();
    let mut given_back: HashMap<&str, i64> = HashMap::new();
    let mut left: HashMap<&str, i64> = HashMap::new();
    for row in &truth {
        match row {
            TruthRow::Outcome(outcome) if matches!(outcome.outcome, "returned" | "cancelled") => {
                given_back.insert(&outcome.order_id, outcome.at_ms);
            }
            TruthRow::Left(gone) => {
                left.insert(&gone.customer_id, gone.at_ms);
            }
            _ => {}
        }
    }
    let came =
        |at: Option<&i64>, from_ms: i64, to_ms: i64| at.is_some_and(|at| (from_ms..to_ms).contains(at));
    let end_ms = world.end_ms;
    let (mut tomorrow, mut week, mut later, mut gone_tomorrow, mut gone_week) =
        (vec![], vec![], vec![], vec![], vec![]);
    for row in &truth {
        match row {
            TruthRow::Order(row) => {
                let at = given_back.get(row.order_id.as_str());
                tomorrow.push((row.return_1d, came(at, row.at_ms, row.at_ms + DAY_MS)));
                // One midnight per order: rows of the same order would not be independent.
                let sampled = (row.at_ms / DAY_MS) % 7 == 4;
                if sampled && row.at_ms + 7 * DAY_MS <= end_ms {
                    week.push((row.return_7d, came(at, row.at_ms, row.at_ms + 7 * DAY_MS)));
                }
                if sampled && row.at_ms + 10 * DAY_MS <= end_ms {
                    later
                        .push((row.return_3d_10d, came(at, row.at_ms + 3 * DAY_MS, row.at_ms + 10 * DAY_MS)));
                }
            }
            TruthRow::Customer(row) if row.churn_1d > 0.0 => {
                let at = left.get(row.customer_id.as_str());
                gone_tomorrow.push((row.churn_1d, came(at, row.at_ms, row.at_ms + DAY_MS)));
                if (row.at_ms / DAY_MS) % 7 == 4 && row.at_ms + 7 * DAY_MS <= end_ms {
                    gone_week.push((row.churn_7d, came(at, row.at_ms, row.at_ms + 7 * DAY_MS)));
                }
            }
            _ => {}
        }
    }
    assert!(tomorrow.len() > 50_000 && week.len() > 5_000 && gone_tomorrow.len() > 100_000);
    // A day's hazard is exact; several days' hold service yet to come for neutral.
    assert_honest("given back in 1 d", tomorrow, 0.0);
    assert_honest("given back in 7 d", week, 0.08);
    assert_honest("given back in 3-10 d", later, 0.12);
    assert_honest("left in 1 d", gone_tomorrow, 0.0);
    assert_honest("left in 7 d", gone_week, 0.12);
}

/// What happens within seven days to the customers whom a contact would help, with and without it.
struct Trial {
    /// Gives an order back that was open then; leaves.
    foreseen: [f64; 2],
    effect: [f64; 2],
    came: [f64; 2],
}

fn trial(seed: u64, treat: bool) -> Trial {
    let mut world = Simulator::new(Config { seed, ..small(8_000, 9) }).unwrap();
    let midnight_ms = world.start_ms + DAY_MS;
    while world.now_ms < midnight_ms {
        world.next().unwrap();
    }
    let truth = world.take_truth();
    let mut trial = Trial { foreseen: [0.0; 2], effect: [0.0; 2], came: [0.0; 2] };
    let mut chosen: HashSet<String> = HashSet::new();
    for row in truth {
        let TruthRow::Customer(row) = row else {
            continue;
        };
        let helps = row.return_7d_effect < 0.0 && row.churn_7d_effect < 0.0;
        if row.at_ms != midnight_ms || !helps {
            continue;
        }
        trial.foreseen[0] += row.return_7d;
        trial.foreseen[1] += row.churn_7d;
        trial.effect[0] += row.return_7d_effect;
        trial.effect[1] += row.churn_7d_effect;
        if treat {
            assert!(world.apply_treatment(&row.customer_id, midnight_ms, Treatment::Contact));
        }
        chosen.insert(row.customer_id);
    }
    let open: HashSet<String> =
        (world.orders.iter()).filter(|order| order.can_be_given_back()).map(Order::id).collect();
    let proactive = (world.by_ref()).filter(|event| event.json.contains(r#""origin":"proactive""#)).count();
    assert_eq!(proactive, if treat { chosen.len() } else { 0 });
    let end_ms = midnight_ms + 7 * DAY_MS;
    let mut counted = HashSet::new();
    for row in world.take_truth() {
        match row {
            TruthRow::Outcome(row) if matches!(row.outcome, "returned" | "cancelled") => {
                let first = row.at_ms < end_ms
                    && open.contains(&row.order_id)
                    && chosen.contains(&row.customer_id)
                    && counted.insert(row.customer_id);
                trial.came[0] += f64::from(u8::from(first));
            }
            TruthRow::Left(row) if row.at_ms < end_ms && chosen.contains(&row.customer_id) => {
                trial.came[1] += 1.0;
            }
            _ => {}
        }
    }
    trial
}

#[test]
fn treatment_has_its_true_effect() {
    // The same worlds twice: with the same dice, the difference is less noisy than two groups' would be.
    let (mut effect, mut came) = ([0.0; 2], [0.0; 2]);
    for seed in 1..4 {
        let (without, with) = (trial(seed, false), trial(seed, true));
        assert_eq!(without.foreseen, with.foreseen);
        for outcome in 0..2 {
            effect[outcome] += with.effect[outcome];
            came[outcome] += with.came[outcome] - without.came[outcome];
        }
    }
    for (outcome, what) in ["returning", "leaving"].iter().enumerate() {
        let bound = 4.0 * (2.0 * -effect[outcome]).sqrt();
        let (came, effect) = (came[outcome], effect[outcome]);
        assert!((came - effect).abs() < bound, "{what}: changed by {came}, foreseen {effect:.1}");
        assert!(came < 0.4 * effect, "{what}: changed by {came}, foreseen {effect:.1}");
    }
}
