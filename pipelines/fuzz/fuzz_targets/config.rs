//! The configuration. Its file is compiled into the target, because the crate that it is of
//! brings DataFusion, which would be compiled for coverage for minutes.
#![no_main]

#[allow(dead_code)]
#[path = "../../runtime/src/config.rs"]
mod config;
#[path = "../../runtime/src/topics.rs"]
#[allow(dead_code)]
mod topics;

// And what it needs of the KPIs', for the same reason.
extern crate self as headsup_kpi;
#[allow(dead_code)]
#[path = "../../kpi/src/calendar.rs"]
mod calendar;
#[path = "../../kpi/src/settings.rs"]
mod settings;
pub use calendar::Schedule;
pub use settings::Settings;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    match config::Config::parse(text) {
        Ok(config) => {
            assert!(config.queue_tick_ms > 0 && config.log_partitions > 0);
            let longest = config.contacts.queue_ms.max(config.lateness_ms_max).max(config.limits.skew_ms_max);
            assert!(longest <= headsup_stream::DURATION_MS_MAX);
        }
        Err(mistakes) => assert!(!mistakes.is_empty()),
    }
});
