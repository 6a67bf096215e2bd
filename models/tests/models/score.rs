//! Forests, contributions and ONNX give what XGBoost gives.

use std::collections::BTreeMap;

use headsup_models::booster::{Parameters, Rows, Trained, train};
use headsup_models::calibrate::{Calibration, fit_isotonic, fit_platt};
use headsup_models::onnx::export;
use headsup_models::score::{Error, Scorer, parity};
use headsup_models::trees::Forest;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

const FEATURES: usize = 6;
const ROWS: usize = 3_000;

/// Counts, amounts and NaN, of which the first two raise the label's odds.
fn data(seed: u64) -> (Vec<f32>, Vec<bool>) {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut uniform = move || random.next_u32() as f32 / u32::MAX as f32;
    let (mut values, mut labels) = (Vec::new(), Vec::new());
    for _ in 0..ROWS {
        let mut row = [0.0; FEATURES];
        for (i, x) in row.iter_mut().enumerate() {
            *x = if i % 2 == 0 { (uniform() * 8.0).floor() } else { uniform() * 1000.0 };
            if uniform() < 0.15 {
                *x = f32::NAN;
            }
        }
        let of = |i: usize, otherwise: f32| if row[i].is_nan() { otherwise } else { row[i] };
        let margin = of(0, 2.0) * 0.4 + of(1, 900.0) / 400.0 - of(2, 0.0) * 0.2 * of(0, 1.0) / 4.0 - 3.0;
        labels.push(uniform() < 1.0 / (1.0 + (-margin).exp()));
        values.extend(row);
    }
    (values, labels)
}

fn trained(seed: u64, rounds: usize) -> Trained {
    let (values, labels) = data(seed);
    let values_of = [("eta", 0.1), ("max_depth", 5.0), ("subsample", 0.8), ("gamma", 0.5)];
    let parameters = Parameters {
        values: BTreeMap::from(values_of.map(|(name, value)| (name.to_owned(), value))),
        monotone: vec![1, 0, 0, 0, 0, 0],
        seed,
    };
    train(&parameters, &Rows::new(&values, ROWS, &labels).unwrap(), rounds).unwrap()
}

fn forest(trained: &Trained) -> Forest {
    Forest::from_xgboost(&trained.json().unwrap()).unwrap()
}

fn furthest(got: impl IntoIterator<Item = f64>, expected: impl IntoIterator<Item = f64>) -> f64 {
    got.into_iter()
        .zip(expected)
        .map(|(a, b)| (a - b).abs())
        .inspect(|d| assert!(!d.is_nan()))
        .fold(0.0, f64::max)
}

#[test]
fn margins_and_contributions_are_those_of_xgboost() {
    let trained = trained(1, 120);
    let forest = forest(&trained);
    // Rows that it was not trained on.
    let (values, _) = data(2);
    let rows = Rows::new(&values, ROWS, &[]).unwrap();
    let margins: Vec<f32> = values.chunks(FEATURES).map(|row| forest.margin(row)).collect();
    let expected = trained.margins(&rows).unwrap();
    let apart = furthest(margins.iter().map(|&m| m.into()), expected.into_iter().map(f64::from));
    println!("margins: {apart:e}");
    assert!(apart < 2e-6, "{apart}");

    let contributions: Vec<f64> = values.chunks(FEATURES).flat_map(|row| forest.contributions(row)).collect();
    let expected = trained.contributions(&rows).unwrap();
    let apart = furthest(contributions.iter().copied(), expected.into_iter().map(f64::from));
    println!("contributions: {apart:e}");
    assert!(apart < 1e-5, "{apart}");
    let sums = contributions.chunks(FEATURES + 1).map(|phi| phi.iter().sum());
    let apart = furthest(sums, margins.iter().map(|&m| m.into()));
    println!("sums: {apart:e}");
    assert!(apart < 1e-5, "{apart}");
}

#[test]
fn onnx_gives_the_same_whatever_the_calibration() {
    let forest = forest(&trained(1, 120));
    let (values, labels) = data(2);
    let margins: Vec<f32> = values.chunks(FEATURES).map(|row| forest.margin(row)).collect();
    let one_knot = Calibration::Isotonic { margin: vec![0.5], probability: vec![0.25] };
    let two_knots = Calibration::Isotonic { margin: vec![-1.0, 0.5], probability: vec![0.25, 0.75] };
    let fitted =
        [fit_platt(&margins, &labels, None).unwrap(), fit_isotonic(&margins, &labels, None).unwrap()];
    for calibration in fitted.into_iter().chain([Calibration::None, one_knot, two_knots]) {
        let onnx = export(&forest, &calibration, &[("version".into(), "七".into())]);
        assert_eq!(onnx, export(&forest, &calibration, &[("version".into(), "七".into())]));
        let expected: Vec<f64> = margins.iter().map(|&m| calibration.apply(m)).collect();
        let apart = parity(&onnx, &values, FEATURES, &expected).unwrap();
        let scorer = Scorer::from_bytes(&onnx).unwrap();
        let scores = scorer.score(&values, FEATURES).unwrap();
        let of_margin = furthest(scores.iter().map(|s| s.margin.into()), margins.iter().map(|&m| m.into()));
        println!("{} bytes: probability {apart:e}, margin {of_margin:e}", onnx.len());
        assert!(apart < 1e-6 && of_margin < 2e-6, "{calibration:?}: {apart}, {of_margin}");
        assert_eq!(scorer.features(), forest.features);
        assert_eq!(scorer.metadata("version").unwrap().as_deref(), Some("七"));
        // One row by itself.
        assert_eq!(scorer.score(&values[..FEATURES], FEATURES).unwrap(), scores[..1]);
        assert_eq!(scorer.score(&[], FEATURES).unwrap(), []);
    }
}

#[test]
fn a_monotone_feature_only_raises_the_probability() {
    let forest = forest(&trained(3, 60));
    let (values, labels) = data(4);
    let margins: Vec<f32> = values.chunks(FEATURES).map(|row| forest.margin(row)).collect();
    let calibration = fit_isotonic(&margins, &labels, None).unwrap();
    let scorer = Scorer::from_bytes(&export(&forest, &calibration, &[])).unwrap();
    for row in values.chunks(FEATURES).take(100) {
        let swept: Vec<f32> = (0..10).flat_map(|x| [&[x as f32], &row[1..]].concat()).collect();
        let scores = scorer.score(&swept, FEATURES).unwrap();
        // But for the order in which onnxruntime adds.
        assert!(scores.windows(2).all(|pair| pair[0].probability <= pair[1].probability + 1e-6));
    }
}

#[test]
fn the_mean_of_forests_is_the_mean_of_their_margins() {
    let forests: Vec<Forest> = (1..=3).map(|seed| forest(&trained(seed, 40))).collect();
    let mean = Forest::concat(&forests).unwrap();
    let (values, _) = data(9);
    let means = values
        .chunks(FEATURES)
        .map(|row| forests.iter().map(|f| f64::from(f.margin(row))).sum::<f64>() / 3.0);
    let apart = furthest(values.chunks(FEATURES).map(|row| mean.margin(row).into()), means);
    assert!(apart < 2e-6, "{apart}");
    assert_eq!(Forest::from_bytes(&mean.to_bytes().unwrap()).unwrap(), mean);
}

/// Trees that never split are scored too.
#[test]
fn labels_that_nothing_explains() {
    let trained = train(
        &Parameters { values: BTreeMap::from([("gamma".into(), 1e6)]), monotone: vec![], seed: 1 },
        &Rows::new(&[1.0, 2.0, 3.0, 4.0], 4, &[true, false, false, false]).unwrap(),
        3,
    )
    .unwrap();
    let forest = forest(&trained);
    assert_eq!(forest.trees[0].left.len(), 1);
    let expected = Calibration::None.apply(forest.margin(&[1.0]));
    let apart = parity(&export(&forest, &Calibration::None, &[]), &[1.0], 1, &[expected]).unwrap();
    assert!(apart < 1e-6, "{apart}");
}

#[test]
fn what_cannot_be_scored_says_why() {
    let forest = forest(&trained(1, 5));
    let onnx = export(&forest, &Calibration::None, &[]);
    let scorer = Scorer::from_bytes(&onnx).unwrap();
    let message = scorer.score(&[0.0; 10], 5).unwrap_err().to_string();
    assert!(message.contains("rows of 6 features and got 10 values as rows of 5"), "{message}");
    assert!(matches!(scorer.score(&[0.0; 7], 6), Err(Error::Rows { .. })));
    for damaged in [&onnx[..onnx.len() / 2], &onnx[1..], b"no model", &[]] {
        assert!(matches!(Scorer::from_bytes(damaged), Err(Error::Model(_))));
    }
    // One bit, wherever it is.
    for at in (0..onnx.len()).step_by(97).chain([onnx.len() - 1]) {
        let mut damaged = onnx.clone();
        damaged[at] ^= 1;
        let error = Scorer::from_bytes(&damaged).err().unwrap().to_string();
        assert!(error.contains("damaged") && error.contains("checksum"), "{error}");
    }
    assert!(matches!(Scorer::load("/nowhere/model.onnx"), Err(Error::Read { .. })));
    assert!(parity(&onnx, &[0.0; 6], 6, &[]).is_err());
    assert!(Forest::from_xgboost(b"{}").unwrap_err().to_string().contains("XGBoost model"));
}

fn empty() -> Forest {
    Forest { features: vec!["a".into()], base_margin: 0.0, trees: vec![] }
}

/// In a process of its own, since a library is loaded once.
#[test]
fn without_onnxruntime_the_message_names_the_variable() {
    let test = "score::without_onnxruntime_the_message_names_the_variable";
    if std::env::var_os("HEADSUP_TEST_NO_LIBRARY").is_some() {
        let message =
            Scorer::from_bytes(&export(&empty(), &Calibration::None, &[])).err().unwrap().to_string();
        assert!(message.contains("ORT_DYLIB_PATH") && message.contains("/nowhere/lib.so"), "{message}");
        return;
    }
    let status = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test])
        .env("HEADSUP_TEST_NO_LIBRARY", "1")
        .env("ORT_DYLIB_PATH", "/nowhere/lib.so")
        .status();
    assert!(status.unwrap().success());
}
