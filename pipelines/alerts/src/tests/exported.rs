//! What is generated from the rules that come with headsup is in dashboards/prometheus.

use std::path::Path;
use std::process::Command;

use expect_test::expect_file;

use super::defaults::{rules, shapes};
use crate::Rules;
use crate::export::{alertmanager, prometheus_rules, prometheus_tests};

#[test]
fn files_are_up_to_date() {
    let rules = rules();
    expect_file!["../../../../dashboards/prometheus/alerts.yml"].assert_eq(&prometheus_rules(&rules));
    expect_file!["../../../../dashboards/prometheus/alerts_test.yml"]
        .assert_eq(&prometheus_tests(&rules, "alerts.yml"));
    expect_file!["../../../../dashboards/prometheus/alertmanager.yml"].assert_eq(&alertmanager(&rules));
}

/// Where Prometheus and Alertmanager are installed, their own tools agree.
#[test]
fn their_own_tools_agree() {
    tools_agree(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../dashboards/prometheus"));
}

/// Also about rules that are not as usual.
#[test]
fn their_own_tools_agree_about_odd_rules() {
    let text = r#"
        [[alert]]
        name = "everything"
        title = "\"100 %\" of {{ $value }}: \\o/"
        kpi = "aht"
        value = "aht_ms"
        by = []
        fire_below = -0.5
        clear_above = 1000000
        runbook = "https://example.org/{{x}}"

        [[alert]]
        name = "one_limit"
        kpi = "backlog"
        value = "backlog"
        by = ["channel", "skill", "shop"]
        fire_above = 0
        for = "7s"
        keep_firing_for = "90s"
        min_n = 3
        group_by = []
        severity = "info"

        [[alert]]
        name = "no_hysteresis"
        kpi = "csat"
        value = "csat_rate"
        by = ["shop", "skill"]
        fire_below = 0.123456789
        clear_above = 0.123456789
        min_n = 1

        [[alert]]
        name = "hopeless"
        kpi = "service_level"
        by = []
        burn = { good = "answered_in_time", total = "offered", objective = 0.999, windows = [{ long = "5m", short = "5m", rate = 14.4 }] }
    "#;
    let rules = Rules::parse("alerts.toml", text, &shapes()).unwrap_or_else(|error| panic!("{error}"));
    let folder = std::env::temp_dir().join(format!("headsup-alerts-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    for (name, text) in [
        ("alerts.yml", prometheus_rules(&rules)),
        ("alerts_test.yml", prometheus_tests(&rules, "alerts.yml")),
        ("alertmanager.yml", alertmanager(&rules)),
    ] {
        std::fs::write(folder.join(name), text).expect("written");
    }
    tools_agree(&folder);
    std::fs::remove_dir_all(&folder).expect("removed");
}

fn tools_agree(folder: &Path) {
    for command in [
        ["promtool", "check", "rules", "alerts.yml"],
        ["promtool", "test", "rules", "alerts_test.yml"],
        ["amtool", "check-config", "alertmanager.yml", "--verbose"],
    ] {
        match Command::new(command[0]).args(&command[1..]).current_dir(folder).output() {
            Ok(output) => assert!(output.status.success(), "{command:?}: {output:?}"),
            Err(error) => eprintln!("{command:?} was not tried: {error}"),
        }
    }
}
