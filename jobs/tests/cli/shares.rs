//! Several processes, each over a share of the partitions, and the one that merges.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use headsup_fluvio_stand_in::StandIn;

use super::{fails, ok};

/// A process of the binary that goes on.
fn start(folder: &Path, args: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_headsup"))
        .args(args)
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary was built")
}

fn finish(child: Child) -> String {
    let output = child.wait_with_output().expect("over");
    let err = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{:?}\n{err}", output.status);
    err
}

/// Every row of every KPI with all its revisions, sorted; and of every table of facts but
/// `queue`, which is of each share.
fn rows(folder: &Path, data: &str, kpis: &[&str]) -> Vec<String> {
    let mut all = Vec::new();
    let kpis: Vec<String> = kpis.iter().map(|kpi| format!("kpi_history.{kpi}")).collect();
    for table in kpis.iter().map(String::as_str).chain([
        "contacts",
        "rounds",
        "ratings",
        "orders",
        "turns",
        "resolutions",
        "inquiries",
    ]) {
        // When the log took an event in is not the same in another log.
        let columns = if table.starts_with("kpi") { "*" } else { "* EXCEPT (known_at)" };
        let query = format!("SELECT {columns} FROM {table}");
        let (out, _) = ok(folder, &["sql", "--data", data, "--format", "csv", &query]);
        all.extend(out.lines().map(|line| format!("{table} {line}")));
    }
    all.sort();
    all
}

/// Runs `shares` processes to the end of the log and merges what they said. With `kill` set, the
/// first one and the merging one are killed again and again on the way.
fn run_shares(folder: &Path, data: &str, shares: usize, kill: bool) {
    let share = |place: usize| format!("{place}/{shares}");
    let args = |share: &str| {
        ["run", "--until-end", "--config", "c.toml", "--kpis", "kpis", "--data", data, "--share", share]
            .map(str::to_owned)
    };
    let begin = |share: &str| {
        let args = args(share);
        start(folder, &args.iter().map(String::as_str).collect::<Vec<_>>())
    };
    if kill {
        for round in 0..6 {
            let mut process = begin(&share(1));
            std::thread::sleep(Duration::from_millis(300 + 150 * round));
            process.kill().expect("killed, or over");
            process.wait().expect("over");
        }
    }
    let processes: Vec<Child> = (1..=shares).map(|place| begin(&share(place))).collect();
    processes.into_iter().for_each(|process| drop(finish(process)));
    let merge = ["merge", "--until-end", "--config", "c.toml", "--kpis", "kpis", "--data", data];
    if kill {
        for round in 0..4 {
            let mut process = start(folder, &merge);
            std::thread::sleep(Duration::from_millis(300 + 150 * round));
            process.kill().expect("killed, or over");
            process.wait().expect("over");
        }
    }
    let err = finish(start(folder, &merge));
    assert!(err.contains("= applied "), "{err}");
}

fn same_however_divided(folder: &Path, import: &[&str], kpis: &[&str]) {
    std::fs::create_dir(folder.join("kpis")).expect("made");
    for kpi in kpis {
        let sql = concat!(env!("CARGO_MANIFEST_DIR"), "/../sql/kpis/");
        std::fs::copy(format!("{sql}{kpi}.sql"), folder.join(format!("kpis/{kpi}.sql"))).expect("copied");
    }
    let run = ["run", "--until-end", "--kpis", "kpis"];
    std::fs::write(folder.join("e.toml"), "[agents]\nfollow = false\n[store]\nflush = \"300ms\"\n")
        .expect("written");
    ok(folder, &[&["import", "--config", "e.toml", "--data", "embedded"], import].concat());
    ok(folder, &[&run[..], &["--config", "e.toml", "--data", "embedded"]].concat());
    let expected = rows(folder, "embedded", kpis);
    assert!(expected.len() > 1_000, "{}", expected.len());

    let stand_in = StandIn::start().expect("a stand-in");
    let config = format!(
        "[log]\nurl = \"fluvio://{}\"\npartitions = 8\n[agents]\nfollow = false\n[store]\nflush = \"300ms\"\n",
        stand_in.endpoint()
    );
    std::fs::write(folder.join("c.toml"), config).expect("written");
    ok(folder, &[&["import", "--config", "c.toml", "--data", "one"], import].concat());
    ok(folder, &[&run[..], &["--config", "c.toml", "--data", "one"]].concat());
    assert!(rows(folder, "one", kpis) == expected, "one process, 8 partitions");
    for (shares, kill) in [(2, false), (4, false), (3, true)] {
        let data = format!("shares-{shares}");
        run_shares(folder, &data, shares, kill);
        assert!(rows(folder, &data, kpis) == expected, "{shares} processes, killed: {kill}");
    }
}

#[test]
fn a_simulated_day_is_the_same_however_it_is_divided() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    // HEADSUP_TEST_DAYS=30 is a month; it takes long in the development profile.
    let days = std::env::var("HEADSUP_TEST_DAYS").unwrap_or_else(|_| "1".to_owned());
    ok(folder, &["simulate", "--customers", "4000", "--days", &days, "--out", "day.jsonl"]);
    let files = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../sql/kpis")).expect("KPIs");
    let names = files.map(|file| file.expect("a file").path().file_stem().map(|name| name.to_os_string()));
    let names: Vec<String> = names.flatten().map(|name| name.to_string_lossy().into_owned()).collect();
    // A share does not follow agents.
    let all: Vec<&str> = names.iter().map(String::as_str).filter(|&name| name != "utilisation").collect();
    same_however_divided(folder, &["events", "day.jsonl"], &all);
}

#[test]
fn real_calls_are_the_same_however_they_are_divided() {
    let Some(data) = std::env::var_os("HEADSUP_TEST_DATA") else {
        eprintln!("HEADSUP_TEST_DATA is not set: real data left out");
        return;
    };
    let calls = PathBuf::from(data).join("bank_calls/01_January.tsv.gz");
    let folder = tempfile::tempdir().expect("a folder");
    // All seven over a month would take minutes.
    same_however_divided(
        folder.path(),
        &["bank-calls", &calls.display().to_string()],
        &["aht", "service_level"],
    );
}

#[test]
fn a_merge_names_the_partitions_that_no_share_has_spoken_for() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    std::fs::write(folder.join("e.jsonl"), super::contact().join("\n")).expect("written");
    std::fs::write(folder.join("c.toml"), "[log]\npartitions = 4\n").expect("written");
    ok(folder, &["import", "--config", "c.toml", "events", "e.jsonl"]);
    let merge = ["merge", "--until-end", "--config", "c.toml"];
    let missing = |partitions: &str| {
        let told = fails(folder, &merge, 1);
        assert!(
            told.contains(&format!("has spoken for partitions {partitions} of 4; have each read")),
            "{told}"
        );
        told
    };
    assert!(missing("0-3").contains("read 0 = applied 0"));
    let share = |partitions: &str, config: &str| {
        ok(folder, &["run", "--until-end", "--config", config, "--partitions", partitions]);
    };
    share("1-2", "c.toml");
    missing("0, 3");
    share("0-0", "c.toml");
    missing("3");
    // One that computes something else does not count.
    std::fs::write(folder.join("other.toml"), "[log]\npartitions = 4\n[contacts]\nwrap = \"1m\"\n")
        .expect("written");
    share("3-3", "other.toml");
    missing("3");
    ok(folder, &["run", "--until-end", "--config", "c.toml", "--partitions", "3-3", "--from-start"]);
    let (_, err) = ok(folder, &merge);
    assert!(err.contains("went on from a checkpoint") && err.contains("rows  kpi_history/"), "{err}");
}

#[test]
fn positions_are_of_one_log() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    std::fs::write(folder.join("e.jsonl"), super::contact().join("\n")).expect("written");
    let logs = [StandIn::start().expect("a stand-in"), StandIn::start().expect("a stand-in")];
    for (log, config) in logs.iter().zip(["one.toml", "other.toml"]) {
        let text = format!(
            "[log]\nurl = \"fluvio://{}\"\npartitions = 1\n[store]\nflush = \"100ms\"\n\
             [http]\nlisten = \"127.0.0.1:0\"\n[time]\nheartbeat = \"1h\"\n",
            log.endpoint()
        );
        std::fs::write(folder.join(config), text).expect("written");
        ok(folder, &["import", "--config", config, "events", "e.jsonl"]);
    }
    super::checkpoints::interrupted(folder, &["run", "--config", "one.toml"]);
    let run = ["run", "--until-end", "--config"];
    let told = fails(folder, &[&run[..], &["other.toml"]].concat(), 1);
    let [one, other] = [0, 1].map(|log: usize| format!("fluvio://{}", logs[log].endpoint()));
    let changed = format!("this has changed: log.url (\"{one}\" then, \"{other}\" now); undo that, or");
    assert!(told.contains(&changed) && told.contains("--from-start"), "{told}");
    let (_, err) = ok(folder, &[&run[..], &["one.toml"]].concat());
    assert!(err.contains("went on from a checkpoint"), "{err}");
    // Of one that has come to its end, another log is a beginning.
    let (_, err) = ok(folder, &[&run[..], &["other.toml"]].concat());
    assert!(!err.contains("went on from a checkpoint"), "{err}");
    ok(folder, &[&run[..], &["other.toml", "--from-start"]].concat());
}
