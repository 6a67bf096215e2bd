//! `headsup demo`: a simulated day through everything on one machine.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use clap::Args;
use headsup_connectors::EventLog;
use headsup_runtime::{Board, Config, Input, Job};
use headsup_sources::simulate::{self, Incident, IncidentKind, Simulator};

use crate::import::Appender;
use crate::page::Stored;
use crate::run::{TOPICS, make_topics, stop_on_signal, summary};
use crate::{Failure, Place, api, kpis, rules};

/// Play a simulated day faster than it passed: simulator, log, KPIs, live page.
/// In the second hour of the day shift the handle time of one skill rises above
/// 120 s for an hour, and comes down again.
#[derive(Debug, Args)]
pub struct DemoArgs {
    #[command(flatten)]
    place: Place,
    /// How many times faster than it passed
    #[arg(long, default_value_t = 60.0)]
    speed: f64,
    /// The seed
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Stop after so many seconds of the clock
    #[arg(long, value_name = "SECONDS")]
    seconds: Option<u64>,
}

/// The demo begins when the shop is busy.
const FROM: Duration = Duration::from_secs(9 * 3_600);

pub fn demo(args: &DemoArgs) -> Result<(), Failure> {
    if !(args.speed.is_finite() && args.speed > 0.0 && args.speed <= 10_000.0) {
        return Err(Failure {
            code: 2,
            message: format!("--speed {}: expected a number above 0, at most 10000", args.speed),
        });
    }
    let config = args.place.config()?;
    let kpis = kpis::load(None, &config.kpis)?;
    // The day's log is made anew: a demo shows the same day each time.
    let folder = args.place.data.join("demo");
    match std::fs::remove_dir_all(&folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(Failure::new(format!(
                "cannot remove the last demo in {}: {error}",
                folder.display()
            )));
        }
        _ => {}
    }
    let place = Place { data: folder, config: None };
    let log = place.log()?;
    make_topics(log.as_ref(), config.log_partitions)?;
    let simulator = Simulator::new(simulate::Config {
        seed: args.seed,
        days: 1,
        incidents: vec![Incident {
            kind: IncidentKind::Aht,
            at: "10h".to_owned(),
            lasting: "1h".to_owned(),
            target: None,
            factor: None,
        }],
        truth: false,
        ..simulate::Config::default()
    })
    .map_err(Failure::from_error)?;

    let board = Arc::new(Board::new(&kpis, config.metrics_series_max));
    let stop = stop_on_signal()?;
    let calendar = config.kpis.calendar.clone();
    let stored = Stored { place: place.clone(), kpis: kpis.clone(), calendar, policy: None };
    let address = api::serve(&board, &config, Some(&log), stored)?;
    eprintln!("a simulated day, {} times as fast as it passed, from 09:00", args.speed);
    eprintln!("page at http://{address}/, metrics at http://{address}/metrics; stop with Ctrl-C");

    let player = play(simulator, log.clone(), args.speed, stop.clone());
    let terminal = show(board.clone(), stop.clone(), args.seconds.map(Duration::from_secs));
    let job = Job {
        role: headsup_runtime::Role::All,
        config: Config { store_flush_ms: 5_000, ..config },
        alerts: rules::load(None, None, &kpis)?,
        kpis,
        data: place.data.clone(),
        from_start: true,
        until_end: false,
        profile: false,
        scores: None,
    };
    let input = Input::Log(log, TOPICS.map(str::to_owned).to_vec());
    let report = headsup_runtime::run(job, input, &board, &stop);
    stop.store(true, Ordering::Relaxed);
    let _ = terminal.join();
    let played = player.join().map_err(|_| Failure::new("the simulator has stopped unexpectedly"))?;
    let report = report.map_err(Failure::from_error)?;
    summary(&report, false);
    eprintln!(
        "ask on: headsup sql --data {} \"SELECT * FROM kpi.aht WHERE grouped_by = '' ORDER BY window_end DESC LIMIT 5\"",
        place.data.display()
    );
    played
}

type Player = std::thread::JoinHandle<Result<(), Failure>>;

/// Appends the day to the log: what was before the demo begins at once, the rest
/// at its pace.
fn play(simulator: Simulator, log: Arc<dyn EventLog>, speed: f64, stop: Arc<AtomicBool>) -> Player {
    std::thread::spawn(move || {
        let start_ms = simulator.now_ms();
        let from_ms = start_ms + FROM.as_millis() as i64;
        let mut appender = Appender::new(log.as_ref());
        let mut began: Option<Instant> = None;
        for event in simulator {
            if event.time_ms >= from_ms {
                let began = match began {
                    Some(began) => began,
                    None => {
                        appender.flush()?;
                        *began.insert(Instant::now())
                    }
                };
                let due = Duration::from_secs_f64((event.time_ms - from_ms) as f64 / 1e3 / speed);
                // Many small appends would be mostly waiting for the disk.
                if due > began.elapsed() + Duration::from_millis(50) {
                    appender.flush()?;
                    while due > began.elapsed() && !stop.load(Ordering::Relaxed) {
                        std::thread::sleep((due - began.elapsed().min(due)).min(Duration::from_millis(100)));
                    }
                }
            }
            if stop.load(Ordering::Relaxed) {
                return Ok(());
            }
            appender.push(event)?;
        }
        appender.flush()
    })
}

/// A line per second on standard error: time and the headline of each KPI.
fn show(board: Arc<Board>, stop: Arc<AtomicBool>, limit: Option<Duration>) -> std::thread::JoinHandle<()> {
    std::thread::spawn(move || {
        let began = Instant::now();
        let mut version = 0;
        while !stop.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(200));
            if limit.is_some_and(|limit| began.elapsed() >= limit) {
                stop.store(true, Ordering::Relaxed);
            }
            let line = board.read_series(|state| {
                if state.version == version || began.elapsed() < Duration::from_millis(1_000) {
                    return None;
                }
                version = state.version;
                let time = headsup_events::format_rfc3339_ms(state.watermark_ms?);
                let mut line = time.get(11..19).unwrap_or(&time).to_owned();
                for (kpi, value, name, unit, scale) in HEADLINES {
                    let shown = state.kpis.iter().find(|board| board.name == kpi).and_then(|board| {
                        let place = board.values.iter().position(|other| other == value)?;
                        let series = board.series.iter().find(|(series, _)| series.grouped_by.is_empty())?;
                        series.1.values[place]
                    });
                    line += &match shown {
                        Some(number) => format!("  {name} {:.0}{unit}", number * scale),
                        None => format!("  {name} –"),
                    };
                }
                Some(line)
            });
            if let Some(line) = line {
                use std::io::IsTerminal;
                if std::io::stderr().is_terminal() {
                    eprint!("\r\x1b[K{line}");
                } else if began.elapsed().as_millis() % 5_000 < 200 {
                    eprintln!("{line}");
                }
            }
        }
        eprintln!();
    })
}

/// KPI, value, how it is called, unit, factor.
const HEADLINES: [(&str, &str, &str, &str, f64); 7] = [
    ("aht", "aht_ms", "AHT", " s", 1e-3),
    ("frt", "frt_ms", "FRT", " s", 1e-3),
    ("frt", "asa_ms", "ASA", " s", 1e-3),
    ("service_level", "service_level", "SL", " %", 1e2),
    ("abandonment", "abandonment_rate", "left", " %", 1e2),
    ("csat", "csat_rate", "CSAT", " %", 1e2),
    ("backlog", "backlog", "waiting", "", 1.0),
];
