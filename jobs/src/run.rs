//! `headsup run`: the pipeline over the log or over event files.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::Args;
use headsup_connectors::EventLog;
use headsup_kpi::Share;
use headsup_runtime::{ALERTS, Board, Input, Job, KPIS, PARTIALS, QUARANTINE, Report, Role, SCORES, TASKS};

use crate::output::{Progress, thousands};
use crate::page::Stored;
use crate::{Failure, Place, api, kpis, policy, rules, scoring, webhooks};

/// The topics that the pipeline reads.
pub const TOPICS: [&str; 2] = ["conversations", "orders"];

#[derive(Debug, Args)]
pub struct RunArgs {
    #[command(flatten)]
    place: Place,
    /// Read these files of JSON lines (plain, gzip, zstd; - is standard input)
    /// instead of the log. Each is a partition: it may be out of order by
    /// max_disorder, while the files may overlap in time
    #[arg(long, value_name = "FILE", num_args = 1..)]
    input: Vec<PathBuf>,
    /// Stop when the input is drained. Time then goes to its end: conversations
    /// still open are given up, every window is final
    #[arg(long)]
    until_end: bool,
    /// Compute everything again from the beginning of the log, instead of going on where
    /// the last run has ended
    #[arg(long, conflicts_with = "input")]
    from_start: bool,
    /// Read only these partitions of each topic, the first and the last: this process is one
    /// of several. It writes facts and partial aggregates, which `headsup merge` puts together
    #[arg(long, value_name = "A-B", conflicts_with = "input", value_parser = part)]
    partitions: Option<Part>,
    /// The same, said otherwise: the I-th of N shares of the partitions, such as 1/4
    #[arg(long, value_name = "I/N", conflicts_with_all = ["input", "partitions"], value_parser = part)]
    share: Option<Part>,
    /// Compute the KPIs in this folder instead of those built in
    #[arg(long, value_name = "DIR")]
    kpis: Option<PathBuf>,
    /// Print where the time went
    #[arg(long)]
    profile: bool,
    /// Do not store facts, only KPIs
    #[arg(long)]
    no_facts: bool,
    /// Rules of alerts instead of those built in; by default alerts.toml in the folder of
    /// --kpis, if it is there
    #[arg(long, value_name = "FILE")]
    alerts: Option<PathBuf>,
    /// Where models are, whose champions score customers [default: models in the data folder]
    #[arg(long, value_name = "DIR")]
    registry: Option<PathBuf>,
    /// Who is contacted by the scores, instead of the policy built in
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// Serve the page and /metrics even with --until-end, where they are off
    #[arg(long)]
    serve: bool,
}

pub fn run(args: &RunArgs) -> Result<(), Failure> {
    let mut config = args.place.config()?;
    if args.no_facts {
        config.store_tables.clear();
    }
    let kpis = kpis::load(args.kpis.as_deref(), &config.kpis)?;
    for kpi in &kpis {
        if kpi.corrections_ms < config.contacts.wrap_ms
            && kpi.sql.contains("ended_at")
            && kpi.tables().contains(&headsup_operators::facts::Table::Contacts)
        {
            eprintln!(
                "note: KPI {} takes corrections for less than contacts.wrap; contacts that are never wrapped may come too late for it",
                kpi.name
            );
        }
    }
    let mut job = Job {
        role: Role::All,
        config,
        alerts: rules::load(args.alerts.as_deref(), args.kpis.as_deref(), &kpis)?,
        kpis,
        data: args.place.data.clone(),
        from_start: args.from_start,
        until_end: args.until_end,
        profile: args.profile,
        scores: None,
    };
    let input = if args.input.is_empty() {
        let log = args.place.log()?;
        make_topics(log.as_ref(), job.config.log_partitions)?;
        if let Some(part) = args.partitions.as_ref().or(args.share.as_ref()) {
            let share = part.of(log.as_ref())?;
            make_topic(log.as_ref(), PARTIALS, share.of)?;
            job.role = Role::Share(share);
        }
        Input::Log(log, TOPICS.map(str::to_owned).to_vec())
    } else {
        Input::Files(args.input.clone())
    };
    let registry = args.registry.clone().unwrap_or_else(|| args.place.data.join("models"));
    let policy = policy::load(args.policy.as_deref())?;
    let scores = scoring::scores(&registry, policy, &job)?;
    job.scores = scores.as_ref().map(|scores| scores.make());
    execute(job, input, args.serve, &args.place, args.policy.clone())
}

/// Runs a job, with the page and the progress.
pub fn execute(
    job: Job,
    input: Input,
    serve: bool,
    place: &Place,
    policy: Option<PathBuf>,
) -> Result<(), Failure> {
    let board = Arc::new(Board::new(&job.kpis, job.config.metrics_series_max));
    let stop = stop_on_signal()?;
    let until_end = job.until_end;
    let sending = match &input {
        Input::Log(log, _) if job.role == Role::All => webhooks::send(&job.config, &job.data, log, &board)?,
        _ => None,
    };
    if serve || !until_end {
        let log = match &input {
            Input::Log(log, _) => Some(log),
            Input::Files(_) => None,
        };
        let calendar = job.config.kpis.calendar.clone();
        let stored = Stored { place: place.clone(), kpis: job.kpis.clone(), calendar, policy };
        let address = api::serve(&board, &job.config, log, stored)?;
        eprintln!("page at http://{address}/, metrics at http://{address}/metrics; stop with Ctrl-C");
    }
    let watcher = until_end.then(|| watch(board.clone(), stop.clone()));
    let report = headsup_runtime::run(job, input, &board, &stop);
    let interrupted = stop.swap(true, Ordering::Relaxed);
    drop(sending);
    if let Some(watcher) = watcher {
        let _ = watcher.join();
    }
    let report = report.map_err(Failure::from_error)?;
    let drained = until_end && !interrupted;
    summary(&report, drained);
    if drained && !report.missing.is_empty() {
        return Err(nothing_merged(&report));
    }
    Ok(())
}

fn nothing_merged(report: &Report) -> Failure {
    let name = |range: &Range<u32>| match range.end - range.start {
        1 => range.start.to_string(),
        _ => format!("{}-{}", range.start, range.end - 1),
    };
    let missing: Vec<String> = report.missing.iter().map(name).collect();
    let missing = missing.join(", ");
    Failure::new(format!(
        "nothing can be merged: no share of these KPIs and this configuration has spoken for partitions \
         {missing} of {}; have each read by a `headsup run --partitions` with the same, then merge again",
        report.partitions.len()
    ))
}

/// Some of the partitions of each input topic.
#[derive(Debug, Clone, Copy)]
enum Part {
    /// The first and the last.
    Range(u32, u32),
    /// The I-th, from 1, of N shares.
    Share(u32, u32),
}

fn part(text: &str) -> Result<Part, String> {
    let two = |sign| {
        let (a, b) = text.split_once(sign)?;
        Some((a.parse::<u32>().ok()?, b.parse::<u32>().ok()?))
    };
    match (two('-'), two('/')) {
        (Some((first, last)), _) if first <= last => Ok(Part::Range(first, last)),
        (_, Some((share, shares))) if (1..=shares).contains(&share) => Ok(Part::Share(share, shares)),
        _ => Err("expected partitions such as 0-3, or a share such as 1/4".to_owned()),
    }
}

impl Part {
    /// The share, given how many partitions the topics have.
    fn of(self, log: &dyn EventLog) -> Result<Share, Failure> {
        let of = partitions(log)?;
        let (first, end) = match self {
            Part::Range(first, last) => (first, last.saturating_add(1)),
            Part::Share(share, shares) => {
                let at = |share: u32| (u64::from(share) * u64::from(of) / u64::from(shares)) as u32;
                (at(share - 1), at(share))
            }
        };
        if first >= end || end > of {
            return Err(Failure::new(format!(
                "the topics have {of} partitions, numbered from 0; that leaves none for this share"
            )));
        }
        Ok(Share { first, end, of })
    }
}

/// How many partitions the input topics have, which is the same for all.
pub fn partitions(log: &dyn EventLog) -> Result<u32, Failure> {
    let topics = log.topics().map_err(Failure::from_error)?;
    let mut counts = topics.iter().filter(|topic| TOPICS.contains(&topic.name.as_str()));
    let mut counts = counts.by_ref().map(|topic| topic.end_offsets.len());
    let Some(first) = counts.next() else {
        return Err(Failure::new("the log has no topics yet; `headsup import` makes them"));
    };
    if counts.any(|count| count != first) {
        return Err(Failure::new(format!(
            "topics {} have different numbers of partitions; to divide them they need the same",
            TOPICS.join(" and ")
        )));
    }
    Ok(first as u32)
}

/// A flag that Ctrl-C or a termination sets; a second one ends the process.
pub fn stop_on_signal() -> Result<Arc<AtomicBool>, Failure> {
    let stop = Arc::new(AtomicBool::new(false));
    let flag = stop.clone();
    ctrlc::set_handler(move || {
        if flag.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
        eprintln!("stopping; again to stop at once");
    })
    .map_err(|error| Failure::new(format!("cannot handle signals: {error}")))?;
    Ok(stop)
}

/// Makes the topics that are read and written, where they are missing.
pub fn make_topics(log: &dyn EventLog, partitions: u32) -> Result<(), Failure> {
    for topic in TOPICS.into_iter().chain([KPIS, ALERTS, SCORES, TASKS, QUARANTINE]) {
        make_topic(log, topic, partitions)?;
    }
    Ok(())
}

/// Makes a topic, if it is missing.
pub fn make_topic(log: &dyn EventLog, topic: &str, partitions: u32) -> Result<(), Failure> {
    let existing = log.topics().map_err(Failure::from_error)?;
    if existing.iter().any(|known| known.name == topic) {
        return Ok(());
    }
    log.create_topic(topic, partitions).map_err(Failure::from_error)
}

fn watch(board: Arc<Board>, stop: Arc<AtomicBool>) -> std::thread::JoinHandle<()> {
    std::thread::spawn(move || {
        let mut progress = Progress::new("events", 0);
        while !stop.load(Ordering::Relaxed) && !board.read(|state| state.ended) {
            std::thread::sleep(std::time::Duration::from_millis(100));
            let (read, behind) = board.read(|state| {
                let read: u64 = state.partitions.iter().map(|partition| partition.accounting.read).sum();
                let behind: Option<u64> = state.partitions.iter().map(|partition| partition.behind).sum();
                (read, behind)
            });
            progress.at(read, behind.map_or(0, |behind| read + behind));
        }
        progress.done();
    })
}

/// Prints the account to standard error, and fails loudly if it does not add up.
pub fn summary(report: &Report, drained: bool) {
    let total = report.accounting();
    if let Some(records) = report.resumed {
        eprintln!("went on from a checkpoint, after {} records", thousands(records));
    }
    eprintln!("{total}");
    for (name, count) in &report.refused {
        if *count > 0 {
            eprintln!(
                "{} facts came when their windows of KPI {name} were final; `headsup kpi recompute` counts them",
                thousands(*count)
            );
        }
    }
    for (table, rows) in &report.rows {
        eprintln!("  {:>12} rows  {table}", thousands(*rows));
    }
    if report.profile.iter().any(|(name, time)| *name == "contacts" && !time.is_zero()) {
        let sum: f64 = report.profile.iter().map(|(_, time)| time.as_secs_f64()).sum();
        eprintln!("time by step (threads added up)");
        for (name, time) in &report.profile {
            let seconds = time.as_secs_f64();
            eprintln!("  {name:<9} {seconds:>8.3} s {:>5.1} %", 100.0 * seconds / sum.max(1e-9));
        }
        let stalls = report.stalls;
        if stalls.count > 0 {
            let mean_ms = 1e3 * stalls.sum / stalls.count as f64;
            eprintln!(
                "for {} checkpoints the operators stood still {mean_ms:.1} ms on average, {:.1} ms at most",
                stalls.count,
                1e3 * stalls.max
            );
        }
    }
    if drained {
        assert_eq!(total.pending(), 0, "records are unaccounted for: {total}");
    }
}
