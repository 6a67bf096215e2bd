//! `headsup simulate`: events of a made-up shop, and the truth behind them.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;

use clap::Args;
use headsup_sources::simulate::{Config, Simulator};

use crate::import::Appender;
use crate::output::{Progress, thousands};
use crate::run::make_topics;
use crate::{Failure, Place};

/// Generate a shop's conversations and orders. The same arguments give the same
/// bytes.
#[derive(Debug, Args)]
pub struct SimulateArgs {
    #[command(flatten)]
    place: Place,
    /// The seed
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The first instant, RFC 3339
    #[arg(long, value_name = "TIME", default_value = "2026-03-02T00:00:00Z")]
    start: String,
    /// How many days
    #[arg(long, default_value_t = 7)]
    days: u32,
    /// How many customers at any time
    #[arg(long, default_value_t = 40_000)]
    customers: u32,
    /// A world with incidents and all other keys (TOML); the arguments above win
    /// where they are given
    #[arg(long, value_name = "FILE")]
    world: Option<PathBuf>,
    /// Write the events here (- is standard output) instead of into the log
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Where the truth is written (JSON lines) [default: FILE.truth.jsonl beside --out, or
    /// truth.jsonl in the data folder]
    #[arg(long, value_name = "FILE")]
    truth: Option<PathBuf>,
}

pub fn simulate(args: &SimulateArgs) -> Result<(), Failure> {
    let defaults = Config::default();
    let mut world = match &args.world {
        None => defaults.clone(),
        Some(path) => {
            let text = std::fs::read_to_string(path).map_err(|error| Failure {
                code: 2,
                message: format!("cannot read the world {}: {error}", path.display()),
            })?;
            toml::from_str(&text).map_err(|error| Failure {
                code: 2,
                message: format!("cannot use the world {}: {error}", path.display()),
            })?
        }
    };
    // An argument that was left at its default does not overrule the file.
    if args.seed != defaults.seed {
        world.seed = args.seed;
    }
    if args.start != defaults.start {
        world.start.clone_from(&args.start);
    }
    if args.days != defaults.days {
        world.days = args.days;
    }
    if args.customers != defaults.customers {
        world.customers = args.customers;
    }
    let days = world.days;
    let mut simulator = Simulator::new(world).map_err(Failure::usage)?;
    let truth_path = match (&args.truth, &args.out) {
        (Some(path), _) => Some(path.clone()),
        (None, Some(out)) if out.as_os_str() == "-" => None,
        (None, Some(out)) => {
            let mut path = out.clone().into_os_string();
            path.push(".truth.jsonl");
            Some(path.into())
        }
        (None, None) => Some(args.place.data.join("truth.jsonl")),
    };
    let io = |path: &std::path::Path| {
        let path = path.display().to_string();
        move |error: std::io::Error| Failure::new(format!("cannot write {path}: {error}"))
    };
    let log = match &args.out {
        None => {
            let log = args.place.log()?;
            make_topics(log.as_ref(), args.place.config()?.log_partitions)?;
            Some(log)
        }
        Some(_) => None,
    };
    let mut truth = match &truth_path {
        Some(path) => Some(BufWriter::new(File::create(path).map_err(io(path))?)),
        None => None,
    };
    let mut file: Option<Box<dyn Write>> = match &args.out {
        Some(path) if path.as_os_str() == "-" => Some(Box::new(BufWriter::new(std::io::stdout().lock()))),
        Some(path) => {
            Some(Box::new(BufWriter::with_capacity(1 << 20, File::create(path).map_err(io(path))?)))
        }
        None => None,
    };
    let mut appender = log.as_deref().map(Appender::new);
    let (mut events, mut truths, mut first_ms) = (0u64, 0u64, None);
    let mut progress = Progress::new("simulating", u64::from(days) * 86_400);
    let out_path = args.out.clone().unwrap_or_default();
    loop {
        let event = simulator.next();
        if events.is_multiple_of(4_096) || event.is_none() {
            for row in simulator.take_truth() {
                truths += 1;
                if let (Some(file), Some(path)) = (&mut truth, &truth_path) {
                    serde_json::to_writer(&mut *file, &row)
                        .map_err(std::io::Error::from)
                        .map_err(io(path))?;
                    file.write_all(b"\n").map_err(io(path))?;
                }
            }
            let first = *first_ms.get_or_insert(simulator.now_ms());
            progress.at((simulator.now_ms() - first) as u64 / 1_000, u64::from(days) * 86_400);
        }
        let Some(event) = event else { break };
        events += 1;
        if let Some(appender) = &mut appender {
            appender.push(event)?;
        } else if let Some(file) = &mut file {
            let written = file.write_all(event.json.as_bytes()).and_then(|()| file.write_all(b"\n"));
            match written {
                Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => return Ok(()),
                other => other.map_err(io(&out_path))?,
            }
        }
    }
    if let Some(appender) = &mut appender {
        appender.flush()?;
    }
    if let Some(file) = &mut file {
        file.flush().map_err(io(&out_path))?;
    }
    if let (Some(file), Some(path)) = (&mut truth, &truth_path) {
        file.flush().map_err(io(path))?;
    }
    progress.done();
    let place = match (&args.out, &truth_path) {
        (Some(out), Some(truth)) => format!("{} and {}", out.display(), truth.display()),
        (Some(out), None) => out.display().to_string(),
        (None, Some(truth)) => format!("the log in {} and {}", args.place.data.display(), truth.display()),
        (None, None) => String::new(),
    };
    eprintln!(
        "{} events of {days} days and {} rows of truth, in {place}",
        thousands(events),
        thousands(truths)
    );
    Ok(())
}
