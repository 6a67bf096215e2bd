//! Rules of alerts, their tests, and the state of alerts: each is refused, or goes on to its end.
#![no_main]

use std::sync::LazyLock;

use arrow::datatypes::DataType;
use headsup_alerts::{Alerts, Cases, KpiShape, Rules};
use libfuzzer_sys::fuzz_target;

const RULES: &str = include_str!("../rules.toml");

fn shapes() -> Vec<KpiShape> {
    let values = ["contacts", "good"].map(|name| (name.to_owned(), DataType::Int64));
    let values = values.into_iter().chain([("aht_ms".to_owned(), DataType::Float64)]);
    vec![KpiShape {
        name: "aht".to_owned(),
        title: "AHT".to_owned(),
        keys: vec!["shop".to_owned(), "skill".to_owned()],
        sets: vec![vec![], vec!["shop".to_owned()], vec!["shop".to_owned(), "skill".to_owned()]],
        values: values.collect(),
        size_ms: 300_000,
        slide_ms: 60_000,
        offset_ms: 0,
        corrections_ms: 600_000,
    }]
}

static KNOWN: LazyLock<Rules> =
    LazyLock::new(|| Rules::parse("rules.toml", RULES, &shapes()).unwrap_or_else(|error| panic!("{error}")));

fuzz_target!(|bytes: &[u8]| {
    let mut alerts = Alerts::new(&KNOWN);
    if alerts.restore(bytes).is_ok() {
        assert!(alerts.save().is_ok());
        for _ in 0..1_000 {
            let Some(due_ms) = alerts.next_tick_ms() else { break };
            alerts.tick(due_ms, &mut Vec::new());
        }
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        if let Ok(rules) = Rules::parse("alerts.toml", text, &shapes()) {
            assert!(Alerts::new(&rules).save().is_ok());
        }
        let _ = Cases::parse("alerts_test.toml", text, &KNOWN);
    }
});
