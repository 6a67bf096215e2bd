//! The log in a Fluvio cluster, played by the stand-in.

use super::{contact, fails};

#[cfg(not(feature = "fluvio"))]
#[test]
fn a_binary_without_fluvio_says_so() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    std::fs::write(folder.join("e.jsonl"), contact().join("\n")).expect("written");
    std::fs::write(folder.join("c.toml"), "[log]\nurl = \"fluvio://127.0.0.1:9003\"\n").expect("written");
    let err = fails(folder, &["import", "events", "e.jsonl", "--config", "c.toml"], 1);
    assert!(
        err.contains(
            "cannot open the log fluvio://127.0.0.1:9003: this headsup was built without fluvio; \
             build it with --features fluvio"
        ),
        "{err}"
    );
}

#[cfg(feature = "fluvio")]
mod with {
    use std::path::Path;

    use headsup_fluvio_stand_in::{Options, StandIn};

    use super::{contact, fails};
    use crate::{csv, ok};

    fn configure(folder: &Path, endpoint: &str) {
        let config = format!("[log]\nurl = \"fluvio://{endpoint}\"\npartitions = 3\n");
        std::fs::write(folder.join("c.toml"), config).expect("written");
    }

    #[test]
    fn through_fluvio_is_the_same() {
        let stand_in = StandIn::start().expect("a stand-in");
        let folder = tempfile::tempdir().expect("a folder");
        let folder = folder.path();
        configure(folder, &stand_in.endpoint());
        let args = ["simulate", "--customers", "4000", "--days", "1", "--out", "day.jsonl"];
        ok(folder, &args);
        ok(folder, &["run", "--input", "day.jsonl", "--until-end"]);
        let query = "SELECT * FROM kpi.aht ORDER BY window_start, grouped_by, shop, channel, skill";
        let direct = csv(folder, query);
        ok(folder, &["import", "events", "day.jsonl", "--config", "c.toml"]);
        ok(folder, &["run", "--until-end", "--config", "c.toml"]);
        assert!(csv(folder, query) == direct);
        assert!(!folder.join("headsup-data/log").exists(), "a log in the data folder");
    }

    #[test]
    fn a_missing_cluster_is_told() {
        let endpoint = StandIn::start_with(Options::default()).expect("a stand-in").endpoint();
        let folder = tempfile::tempdir().expect("a folder");
        let folder = folder.path();
        std::fs::write(folder.join("e.jsonl"), contact().join("\n")).expect("written");
        configure(folder, &endpoint);
        let err = fails(folder, &["import", "events", "e.jsonl", "--config", "c.toml"], 1);
        assert!(err.contains(&format!("cannot connect; is it running? at the cluster {endpoint}")), "{err}");
    }
}
