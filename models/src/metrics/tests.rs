use super::*;

/// Knuth's MMIX generator; uniform in 0..1 from the upper 53 bits.
struct Uniform(u64);

impl Uniform {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// Probability q = u³, floored to twentieths if `ties`; the label is true with 0.02 + 0.6 q.
fn generate(rows: usize, seed: u64, ties: bool) -> (Vec<f64>, Vec<bool>) {
    let mut uniform = Uniform(seed);
    (0..rows)
        .map(|_| {
            let q = uniform.next().powi(3);
            let q = if ties { (q * 20.0).floor() / 20.0 } else { q };
            (q, uniform.next() < 0.02 + 0.6 * q)
        })
        .unzip()
}

const OPTIONS: Options = Options {
    bootstrap: 200,
    seed: 7,
    profit: Profit { hit_minor: 1000, contact_minor: 200 },
    lead_ms: 72 * HOUR_MS,
};

fn run(p: &[f64], y: &[bool], per_entity: u32, options: &Options) -> Result<Evaluation, Error> {
    let entity: Vec<u32> = (0..p.len() as u32).map(|row| row / per_entity).collect();
    let sample =
        Sample { probability: p, label: y, entity: &entity, event_in_ms: &vec![None; p.len()], groups: &[] };
    evaluate(&sample, options)
}

#[track_caller]
fn near(found: f64, expected: f64) {
    assert!((found - expected).abs() < 1e-12, "{found} is not {expected}");
}

/// By scikit-learn 1.x `roc_auc_score`, `average_precision_score`, `brier_score_loss`, `log_loss` on
/// the same generator in Python; ECE and lift there with NumPy over the sorted rows.
#[test]
fn as_scikit_learn_has_it() {
    let (p, y) = generate(2000, 42, false);
    near(auroc(&p, &y), 0.8154273201451306);
    near(auc_pr(&p, &y), 0.4713454029380164);
    near(brier(&p, &y), 0.13233022535211836);
    near(log_loss(&p, &y), 0.4233869543495446);
    near(ece(&p, &y, 10), 0.09208868077392576);
    let (tied, y) = generate(2000, 42, true);
    near(auroc(&tied, &y), 0.8352919173046542);
    near(auc_pr(&tied, &y), 0.4647217121555074);
    near(brier(&tied, &y), 0.12011875);
    near(log_loss(&tied, &y), 0.5100465400107145);
}

#[test]
fn evaluation_holds_the_same_figures() {
    let (p, y) = generate(2000, 42, false);
    let found = run(&p, &y, 1, &OPTIONS).unwrap();
    assert_eq!((found.rows, found.entities, found.positives), (2000, 2000, 339));
    let headline = &found.headline;
    for (interval, expected) in [
        (headline.auroc, 0.8154273201451306),
        (headline.auc_pr, 0.4713454029380164),
        (headline.brier, 0.13233022535211836),
        (headline.ece, 0.09208868077392576),
        (headline.log_loss, 0.4233869543495446),
        (headline.lift[0].lift, 3.8348082595870205),
        (headline.lift[1].lift, 3.775811209439528),
        (headline.lift[2].lift, 3.362831858407079),
    ] {
        near(interval.value, expected);
        assert!(interval.low < interval.value && interval.value < interval.high, "{interval:?}");
    }
    assert!(found.roc.len() <= 202 && found.gain.len() <= 202, "{}", found.roc.len());
    assert!(found.precision_recall.len() <= 300, "{}", found.precision_recall.len());
    assert_eq!(found.roc.last(), Some(&[1.0, 1.0]));
    assert_eq!(found.calibration.iter().map(|bin| bin.rows).collect::<Vec<_>>(), [200; 10]);
    assert!(found.calibration.is_sorted_by(|a, b| a.predicted < b.predicted));
    let json = serde_json::to_string(&found).unwrap();
    assert_eq!(serde_json::from_str::<Evaluation>(&json).unwrap(), found);
}

/// The interval of the AUROC against DeLong's standard error (Biometrics 44 (1988)), by NumPy.
#[test]
fn intervals_are_as_wide_as_theory_says() {
    let (p, y) = generate(2000, 42, false);
    let found = run(&p, &y, 1, &Options { bootstrap: 1000, ..OPTIONS }).unwrap().headline.auroc;
    let ratio = (found.high - found.low) / (2.0 * 1.96 * 0.011920910312242477);
    assert!((0.93..1.07).contains(&ratio), "{ratio}");
}

/// Each row four times over, by the same customer, says nothing new.
#[test]
fn repeated_rows_do_not_narrow_the_interval() {
    let (p, y) = generate(2000, 42, false);
    let once = run(&p, &y, 1, &OPTIONS).unwrap();
    let four = |row: usize| std::iter::repeat_n(row, 4);
    let (p, y): (Vec<f64>, Vec<bool>) = (0..2000).flat_map(four).map(|row| (p[row], y[row])).unzip();
    let clustered = run(&p, &y, 4, &OPTIONS).unwrap();
    near(clustered.headline.auroc.low, once.headline.auroc.low);
    near(clustered.headline.auc_pr.high, once.headline.auc_pr.high);
    let naive = run(&p, &y, 1, &OPTIONS).unwrap().headline.auroc;
    assert!(naive.high - naive.low < 0.7 * (once.headline.auroc.high - once.headline.auroc.low));
}

#[test]
fn the_same_for_the_same_seed_whatever_the_order_of_ties() {
    let (p, y) = generate(3000, 9, true);
    let first = run(&p, &y, 1, &OPTIONS).unwrap();
    assert_eq!(first, run(&p, &y, 1, &OPTIONS).unwrap());
    assert_ne!(first.headline, run(&p, &y, 1, &Options { seed: 8, ..OPTIONS }).unwrap().headline);
    let (p, y): (Vec<f64>, Vec<bool>) = p.into_iter().zip(y).rev().unzip();
    let backwards = run(&p, &y, 1, &OPTIONS).unwrap();
    near(first.headline.auroc.value, backwards.headline.auroc.value);
    near(first.headline.lift[0].lift.value, backwards.headline.lift[0].lift.value);
    assert_eq!(first.roc, backwards.roc);
}

#[test]
fn all_tied_is_chance() {
    let y: Vec<bool> = (0..100).map(|row| row % 4 == 0).collect();
    let found = run(&[0.25; 100], &y, 1, &OPTIONS).unwrap();
    near(found.headline.auroc.value, 0.5);
    near(found.headline.auc_pr.value, 0.25);
    near(found.headline.ece.value, 0.0);
    near(found.headline.lift[0].lift.value, 1.0);
    assert_eq!(found.roc, [[0.0, 0.0], [1.0, 1.0]]);
    assert_eq!(found.calibration.len(), 1);
}

#[test]
fn what_cannot_be_evaluated_says_so() {
    let message = |p: &[f64], y: &[bool]| run(p, y, 1, &OPTIONS).unwrap_err().to_string();
    assert!(message(&[], &[]).starts_with("no rows to evaluate; "));
    assert!(message(&[0.5; 2], &[true; 2]).starts_with("all 2 rows have the label true: "));
    assert!(message(&[0.5, f64::NAN], &[true, false]).starts_with("row 1 has probability NaN, "));
    assert!(message(&[1.5, 0.5], &[true, false]).starts_with("row 0 has probability 1.5, "));
    assert!(message(&[0.5], &[true, false]).starts_with("probability has 1 rows where the labels have 2; "));
    assert!(auroc(&[0.5], &[true]).is_nan() && brier(&[], &[]).is_nan() && ece(&[], &[], 10).is_nan());
}

/// By hand: ten rows, hits at ranks 1, 2 and 5; a hit brings 1000, a contact costs 200.
#[test]
fn profit_lead_and_groups() {
    let p: Vec<f64> = (0..10).map(|row| 0.95 - f64::from(row) / 10.0).collect();
    let y: Vec<bool> = (0..10).map(|row| [0, 1, 4].contains(&row)).collect();
    let mut event_in_ms = vec![None; 10];
    event_in_ms[0] = Some(200 * HOUR_MS);
    event_in_ms[1] = Some(80 * HOUR_MS);
    event_in_ms[4] = Some(90 * HOUR_MS);
    event_in_ms[9] = Some(500 * HOUR_MS); // not within the label's horizon
    let channel = (0..10).map(|row| if row < 8 { "app" } else { "phone" }.to_owned()).collect();
    let sample = Sample {
        probability: &p,
        label: &y,
        entity: &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9],
        event_in_ms: &event_in_ms,
        groups: &[("channel".to_owned(), channel)],
    };
    let found = evaluate(&sample, &OPTIONS).unwrap();
    assert_eq!((found.profit.best_share, found.profit.best_minor), (0.5, 2000.0));
    assert_eq!(found.profit.best_threshold, p[4]);
    assert_eq!(found.profit.points[5], [0.5, 2000.0]);
    let lead = found.lead.unwrap();
    assert_eq!(lead.events, 3);
    let at_10: Vec<(i64, f64)> =
        lead.flagged.iter().filter(|f| f.top == 0.1).map(|f| (f.lead_ms / HOUR_MS, f.share)).collect();
    assert_eq!(at_10, [(24, 1.0 / 3.0), (72, 1.0 / 3.0), (168, 1.0 / 3.0)]);
    assert_eq!(found.groups.len(), 2);
    assert_eq!(
        (found.groups[0].value.as_str(), found.groups[0].rows, found.groups[0].positives),
        ("app", 8, 3)
    );
    assert!(found.groups[0].headline.is_some() && found.groups[1].headline.is_none());
}

#[test]
fn comparison_is_paired() {
    let (p, y) = generate(4000, 5, false);
    let entity: Vec<u32> = (0..4000).collect();
    let mut noise = Uniform(1);
    let worse: Vec<f64> = p.iter().map(|p| 0.5 * p + 0.5 * noise.next()).collect();
    let none = vec![None; 4000];
    let sample = Sample { probability: &p, label: &y, entity: &entity, event_in_ms: &none, groups: &[] };
    let found = compare(&p, &worse, &sample, &OPTIONS).unwrap();
    near(found.difference, auc_pr(&p, &y) - auc_pr(&worse, &y));
    assert!(0.0 < found.low && found.low < found.difference && found.difference < found.high, "{found:?}");
    let back = compare(&worse, &p, &sample, &OPTIONS).unwrap();
    near(back.low, -found.high);
    let same = compare(&p, &p, &sample, &OPTIONS).unwrap();
    assert_eq!((same.difference, same.low, same.high), (0.0, 0.0, 0.0));
}

#[test]
fn a_hundred_thousand_rows_take_seconds() {
    let (p, y) = generate(100_000, 3, false);
    let start = std::time::Instant::now();
    let found = run(&p, &y, 4, &OPTIONS).unwrap();
    let took = start.elapsed();
    eprintln!("200 resamples of 100,000 rows: {took:?}");
    assert_eq!(found.entities, 25_000);
    assert!(took.as_secs() < 5, "{took:?}");
}
