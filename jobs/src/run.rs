//! `headsup run`: the pipeline over the log or over event files.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::Args;
use headsup_runtime::{Board, Input, Job, Report};

use crate::output::{Progress, thousands};
use crate::{Failure, Place, kpis};

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
    /// Compute the KPIs in this folder instead of those built in
    #[arg(long, value_name = "DIR")]
    kpis: Option<PathBuf>,
    /// Print where the time went
    #[arg(long)]
    profile: bool,
    /// Do not store facts, only KPIs
    #[arg(long)]
    no_facts: bool,
    /// Serve the page and /metrics even with --until-end, where they are off
    #[arg(long)]
    serve: bool,
}

pub fn run(args: &RunArgs) -> Result<(), Failure> {
    let mut config = args.place.config()?;
    if args.no_facts {
        config.store_tables.clear();
    }
    let kpis = kpis::load(args.kpis.as_deref())?;
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
    let board = Arc::new(Board::new(&kpis, config.metrics_series_max));
    let stop = stop_on_signal()?;
    let listen = config.http_listen.clone();
    let job = Job {
        config,
        kpis,
        data: args.place.data.clone(),
        from_start: args.from_start,
        until_end: args.until_end,
        profile: args.profile,
    };
    let input = if args.input.is_empty() {
        let log = args.place.log()?;
        make_topics(log.as_ref(), job.config.log_partitions)?;
        Input::Log(log, TOPICS.map(str::to_owned).to_vec())
    } else {
        Input::Files(args.input.clone())
    };
    if args.serve || !args.until_end {
        let address = headsup_runtime::serve(board.clone(), &listen).map_err(|error| {
            Failure::new(format!("cannot serve the page at {listen}: {error}; set http.listen"))
        })?;
        eprintln!("page at http://{address}/, metrics at http://{address}/metrics; stop with Ctrl-C");
    }
    let watcher = args.until_end.then(|| watch(board.clone(), stop.clone()));
    let report = headsup_runtime::run(job, input, &board, &stop);
    let interrupted = stop.swap(true, Ordering::Relaxed);
    if let Some(watcher) = watcher {
        let _ = watcher.join();
    }
    let report = report.map_err(Failure::from_error)?;
    summary(&report, args.until_end && !interrupted);
    Ok(())
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

pub fn make_topics(log: &dyn headsup_connectors::EventLog, partitions: u32) -> Result<(), Failure> {
    let existing = log.topics().map_err(Failure::from_error)?;
    for topic in TOPICS {
        if !existing.iter().any(|known| known.name == topic) {
            log.create_topic(topic, partitions).map_err(Failure::from_error)?;
        }
    }
    Ok(())
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
