use super::*;
use crate::gates::Gates;
use crate::metrics::{Options, Profit, Sample, compare, evaluate};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// A report as training would make it, of 8,000 made-up rows, with names that mean harm.
pub(crate) fn sample() -> Report {
    let mut random = ChaCha8Rng::seed_from_u64(1);
    let mut uniform = || random.next_u64() as f64 / u64::MAX as f64;
    let (mut own, mut raw, mut rule, mut label, mut event_in_ms, mut channel, mut shop) =
        (vec![], vec![], vec![], vec![], vec![], vec![], vec![]);
    for row in 0..8000 {
        let p = 0.003 + 0.5 * uniform().powi(10);
        let y = uniform() < p;
        own.push(p);
        raw.push((p * 1.8).min(1.0));
        rule.push(0.02 + 0.04 * uniform() + 0.2 * p);
        label.push(y);
        event_in_ms.push(y.then_some((72.0 + 168.0 * uniform()) as i64 * 3_600_000));
        channel.push(["app", "wechat", "phone"][row % 3].to_owned());
        shop.push(["</table><script>alert(1)</script>", "shop|12"][usize::from(row % 5 == 0)].to_owned());
    }
    let entity: Vec<u32> = (0..8000).map(|row| row / 4).collect();
    let groups = [("channel".to_owned(), channel), ("shop".to_owned(), shop)];
    let options = Options {
        bootstrap: 50,
        seed: 1,
        profit: Profit { hit_minor: 1200, contact_minor: 150 },
        lead_ms: 72 * 3_600_000,
    };
    let with = |probability| Sample {
        probability,
        label: &label,
        entity: &entity,
        event_in_ms: &event_in_ms,
        groups: &groups,
    };
    let plain = |probability| Sample { groups: &[], ..with(probability) };
    let evaluation = evaluate(&with(&own), &options).unwrap();
    let gates = Gates { min_auc_pr: Some(0.15), max_ece: Some(0.001), ..Gates::default() };
    let before = evaluate(&plain(&raw), &options).unwrap();
    let importance = |number: usize| Importance {
        feature: match number {
            0 => "<img src=x onerror=alert(1)>".to_owned(),
            1 => "orders_of_the_last_three_hundred_and_sixty_five_days_per_consultation".to_owned(),
            _ => format!("returns_{number}d"),
        },
        mean_abs_shap: 0.6 / (number as f64 + 1.0),
        description: format!(
            "Returns asked for by the customer in the last {number} days, of all orders \"& more\""
        ),
    };
    let slice = |name: &str, from: &str, to: &str, rows| Slice {
        name: name.to_owned(),
        from: from.to_owned(),
        to: to.to_owned(),
        rows,
        entities: rows / 10,
        positives: rows / 24,
    };
    let trial = |number: u32| Trial {
        params: [("eta".to_owned(), 0.05), ("max_depth".to_owned(), f64::from(3 + number))].into(),
        rounds: 100 + number,
        auc_pr: 0.17 + f64::from(number) / 1000.0,
        chosen: number == 3,
    };
    let fold = |number: usize| Fold {
        from: format!("2011-{:02}-01", number + 2),
        to: format!("2011-{:02}-28", number + 2),
        rows: 8000,
        positives: evaluation.positives,
        headline: evaluation.headline.clone(),
    };
    Report {
        title: "Order return, foreseen three days ahead".to_owned(),
        model: "order_return".to_owned(),
        purpose: "Says who is about to cancel or return an order, so that an agent can call first.".to_owned(),
        label: "The customer cancels or asks for a return 3 to 10 days after the row's time; sooner events are left out.".to_owned(),
        spec: vec![
            ("entity".to_owned(), "customer".to_owned()),
            ("views".to_owned(), "recency, frequency, money, returns, consultations, reviews, delivery, basket".to_owned()),
            ("seed".to_owned(), "7".to_owned()),
        ],
        data: vec![
            slice("train", "2010-06-01", "2011-06-12", 240_000),
            slice("calibration", "2011-07-03", "2011-08-28", 48_000),
            slice("test", "2011-09-18", "2011-11-27", 8000),
        ],
        baselines: vec![
            ("recency rule".to_owned(), evaluate(&plain(&rule), &options).unwrap()),
            ("logistic regression".to_owned(), before.clone()),
        ],
        comparisons: vec![("recency rule".to_owned(), compare(&own, &rule, &plain(&own), &options).unwrap())],
        importances: (0..24).map(importance).collect(),
        trials: (0..6).map(trial).collect(),
        calibration: Some(Calibration {
            method: "isotonic".to_owned(),
            before: Quality::from(&before),
            after: Quality::from(&evaluation),
        }),
        folds: (0..6).map(fold).collect(),
        parity_error: Some(3.2e-7),
        gates: Some(gates.check(&evaluation, None, None)),
        currency: Currency { code: "GBP".to_owned(), digits: 2 },
        warnings: vec!["Feature <b>tenure</b> & 2 others are constant in the test rows.".to_owned()],
        limits: vec!["Wholesale customers behave differently; look at the table by group.".to_owned()],
        reproduce: vec!["headsup train order_return --data online_retail --seed 7".to_owned()],
        evaluation,
    }
}

#[test]
fn the_same_report_gives_the_same_bytes_and_comes_back() {
    let report = sample();
    assert_eq!(html(&report), html(&sample()));
    let text = json(&report).unwrap();
    assert_eq!(serde_json::from_str::<Report>(&text).unwrap(), report);
}

/// Elements open and close in order, nothing hostile is one of them, and nothing is fetched.
#[test]
fn the_page_is_well_formed_and_alone() {
    let page = html(&sample());
    let mut open = Vec::new();
    for part in page.split('<').skip(1) {
        let (tag, _) = part.split_once('>').expect("a tag ends");
        let name = tag.trim_start_matches('/').split([' ', '/']).next().unwrap_or_default();
        match tag {
            "!DOCTYPE html" => {}
            _ if tag.starts_with('/') => assert_eq!(open.pop(), Some(name), "at {tag:?} after {part:?}"),
            _ if tag.ends_with('/') || name == "meta" => {}
            _ => open.push(name),
        }
    }
    assert!(open.is_empty(), "{open:?}");
    for harm in ["<script", "<img", "<b>tenure", "http://", "https://", "NaN", "inf"] {
        assert!(!page.contains(harm), "{harm}");
    }
    assert!(
        page.contains("&lt;img src=x onerror=alert(1)&gt;")
            && page.contains("&lt;b&gt;tenure&lt;/b&gt; &amp; 2")
    );
}

#[test]
fn a_bare_report_is_a_page_too() {
    let mut report = sample();
    report.evaluation.lead = None;
    report.evaluation.groups.clear();
    report.evaluation.profit.points = vec![[0.0, 0.0], [1.0, 0.0]];
    let empty = Report {
        spec: vec![],
        data: vec![],
        baselines: vec![],
        comparisons: vec![],
        importances: vec![],
        trials: vec![],
        calibration: None,
        folds: vec![],
        parity_error: None,
        gates: None,
        warnings: vec![],
        limits: vec![],
        reproduce: vec![],
        ..report
    };
    let page = html(&empty);
    assert!(page.contains("Not calibrated.") && !page.contains("NaN"), "{page}");
}

#[test]
fn numbers_are_written_for_people() {
    let pounds = Currency { code: "GBP".to_owned(), digits: 2 };
    assert_eq!(money(123_456_789.0, &pounds), "GBP 1,234,568");
    assert_eq!(money(-1250.0, &pounds), "−GBP 12.50");
    assert_eq!(money(150.0, &Currency { code: "JPY".to_owned(), digits: 0 }), "JPY 150");
    assert_eq!([hours(86_400_000), hours(604_800_000), hours(864_000_000)], ["24 h", "168 h", "10 d"]);
    assert_eq!([0.05, 3.0, 1234.5, 0.0, 0.123456].map(significant), ["0.05", "3", "1234", "0", "0.1235"]);
    assert_eq!([0, 999, 1000, 1_234_567].map(thousands), ["0", "999", "1,000", "1,234,567"]);
    assert_eq!([fixed(f64::NAN, 2), percent(0.0405, 2)], ["–", "4.05 %"]);
}

#[test]
#[ignore]
fn dump() {
    std::fs::write("/tmp/report-b.html", html(&sample())).unwrap();
    std::fs::write("/tmp/card-b.md", crate::card::card(&sample())).unwrap();
}
