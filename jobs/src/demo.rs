//! `headsup demo`: a simulated shop through everything on one machine.
//!
//! Weeks pass that nobody watched; then a day at a pace that can be followed, on which a model learns from them and begins
//! to score; then more weeks, in which customers at risk are contacted, or left alone by chance; then what that did.

#[cfg(feature = "train")]
mod act;
#[cfg(feature = "train")]
mod learn;
#[cfg(feature = "train")]
mod truth;
#[cfg(feature = "train")]
mod weeks;
mod world;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use clap::Args;
use headsup_alerts::Rules;
use headsup_connectors::EventLog;
use headsup_kpi::Kpi;
use headsup_runtime::{Board, Input, Job};
use headsup_sources::simulate::{self, Incident, IncidentKind, Simulator};

use crate::page::Stored;
use crate::run::{TOPICS, make_topics, stop_on_signal, summary};
use crate::{Failure, Place, api, kpis, rules};

use world::World;

/// Play a simulated shop faster than it passed: simulator, log, KPIs, alerts, a model, tasks, a router, lift, on the live
/// page.
///
/// It begins at nine in the morning. At ten the handle time of one skill rises above 120 s for an hour, and comes down
/// again. Meanwhile a model learns from the weeks before who is about to return an order, and customers at risk become
/// tasks for a router. Then weeks pass quickly, until `headsup lift` can say whether that helped; what it says is held
/// against the truth, which a simulator knows.
#[derive(Debug, Args)]
pub struct DemoArgs {
    #[command(flatten)]
    place: Place,
    /// How many times faster than it passed the day is played
    #[arg(long, default_value_t = 60.0)]
    speed: f64,
    /// The seed
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many customers the shop has
    #[arg(long, default_value_t = 6_000, value_parser = clap::value_parser!(u32).range(100..=1_000_000))]
    customers: u32,
    /// Weeks that proactive service has after the day; 0 is only the day, without models
    #[arg(long, default_value_t = if cfg!(feature = "train") { 2 } else { 0 }, value_parser = clap::value_parser!(u32).range(0..=52))]
    weeks: u32,
    /// Compute the KPIs in this folder instead of those built in (copy sql/kpis and change it); with its alerts.toml, if it
    /// is there
    #[arg(long, value_name = "DIR")]
    kpis: Option<PathBuf>,
    /// Stop after so many seconds of the clock
    #[arg(long, value_name = "SECONDS")]
    seconds: Option<u64>,
}

/// Rules for a small shop.
const ALERTS: &str = include_str!("demo/alerts.toml");
/// In the demo's folder.
const POLICY_FILE: &str = "policy.toml";
/// The demo begins when the shop is busy.
const FROM_MS: i64 = 9 * 3_600_000;
/// And goes on at its pace for so long at least, if there are weeks to come.
#[cfg(feature = "train")]
const PACED_MS: i64 = 3 * 3_600_000 + 1_800_000;
const DAY_MS: i64 = 86_400_000;
/// Weeks that pass before, for a model to learn from.
const WEEKS_BEFORE: u32 = 9;
/// How often customers are scored: in the demo hours are minutes.
const FLUSH_MS: i64 = 5_000;
const SCORING_TICK_MS: i64 = 10 * 60_000;

/// What is going on, for the terminal.
type Phase = Arc<Mutex<String>>;

fn say(phase: &Phase, text: impl Into<String>) {
    *phase.lock().unwrap_or_else(PoisonError::into_inner) = text.into();
}

/// What plays the shop.
#[cfg_attr(not(feature = "train"), expect(dead_code, reason = "without a model there are no weeks"))]
struct Demo {
    /// As it is played.
    simulated: simulate::Config,
    place: Place,
    log: Arc<dyn EventLog>,
    board: Arc<Board>,
    stop: Arc<AtomicBool>,
    phase: Phase,
    speed: f64,
    weeks: u32,
    /// Midnight before the day that is played at its pace, in ms.
    day_ms: i64,
    disorder_ms: i64,
    /// How often tables are stored, in ms.
    flush_ms: u64,
    /// Where the API is, and a token for it.
    url: String,
    token: String,
}

pub fn demo(args: &DemoArgs) -> Result<(), Failure> {
    let usage = |message: String| Failure { code: 2, message };
    if !(args.speed.is_finite() && args.speed > 0.0 && args.speed <= 10_000.0) {
        return Err(usage(format!("--speed {}: expected a number above 0, at most 10000", args.speed)));
    }
    if args.weeks > 0 && cfg!(not(feature = "train")) {
        return Err(usage(
            "--weeks: this headsup was built without models; build it with --features train".to_owned(),
        ));
    }
    if let Some(folder) = &args.kpis {
        // A mistake in them leaves the last demo's data alone.
        kpis::load(Some(folder), &args.place.config()?.kpis)?;
    }
    // The log is made anew: a demo shows the same shop each time.
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
    let place = Place { data: folder, config: args.place.config.clone() };
    let before = if args.weeks == 0 { 0 } else { WEEKS_BEFORE * 7 };
    let simulated = simulate::Config {
        seed: args.seed,
        days: before + 1 + args.weeks * 7,
        customers: args.customers,
        incidents: vec![Incident {
            kind: IncidentKind::Aht,
            at: format!("{before}d 10h"),
            lasting: "1h".to_owned(),
            target: Some("presale".to_owned()),
            factor: None,
        }],
        // Busy customers: a shop with something to see, and few to score.
        rate_scale: 2.5,
        truth: false,
        ..simulate::Config::default()
    };
    let simulator = Simulator::new(simulated.clone()).map_err(Failure::from_error)?;
    let day_ms = simulator.now_ms() + i64::from(before) * DAY_MS;
    let mut config = place.config()?;
    config.store_flush_ms = FLUSH_MS;
    config.scoring_tick_ms = SCORING_TICK_MS;
    config.kpis.from_ms = config.kpis.from_ms.or((before > 0).then_some(day_ms));
    let kpis = kpis::load(args.kpis.as_deref(), &config.kpis)?;
    let alerts = alerts(args.kpis.as_deref(), &kpis)?;
    // The configuration names a log of its own, which a demo does not fill.
    config.log_url.clear();
    let log = Place { data: place.data.clone(), config: None }.log()?;
    make_topics(log.as_ref(), config.log_partitions)?;

    let asked = kpis.iter().find(|kpi| kpi.name == "aht").unwrap_or(&kpis[0]).name.clone();
    let board = Arc::new(Board::new(&kpis, config.metrics_series_max));
    let stop = stop_on_signal()?;
    let calendar = config.kpis.calendar.clone();
    let policy = (before > 0).then(|| place.data.join(POLICY_FILE));
    let stored = Stored { place: place.clone(), kpis: kpis.clone(), calendar, policy };
    let (address, token) = api::serve_demo(&board, &config, &log, stored)?;
    eprintln!("page at http://{address}/, metrics at http://{address}/metrics; stop with Ctrl-C");
    let disorder_ms = config.disorder_ms_max;
    let job = Job {
        role: headsup_runtime::Role::All,
        config,
        alerts,
        kpis,
        data: place.data.clone(),
        from_start: true,
        until_end: false,
        profile: false,
        scores: None,
    };
    #[cfg(feature = "train")]
    let job = match before {
        0 => job,
        _ => Job { scores: weeks::scores(&place, &job)?, ..job },
    };
    let phase = Phase::default();
    let demo = Demo {
        simulated,
        place: place.clone(),
        log: log.clone(),
        board: board.clone(),
        stop: stop.clone(),
        phase: phase.clone(),
        speed: args.speed,
        weeks: args.weeks,
        day_ms,
        disorder_ms,
        flush_ms: FLUSH_MS as u64,
        url: format!("http://{address}"),
        token,
    };
    let thread = std::thread::Builder::new().name("demo".to_owned());
    let player = thread
        .spawn(move || {
            let played = demo.play(simulator);
            if played.is_err() {
                demo.stop.store(true, Ordering::Relaxed);
            }
            played
        })
        .map_err(|error| Failure::new(format!("cannot play: {error}")))?;
    let terminal = show(board.clone(), stop.clone(), phase, args.seconds.map(Duration::from_secs));
    let input = Input::Log(log, TOPICS.map(str::to_owned).to_vec());
    let report = headsup_runtime::run(job, input, &board, &stop);
    stop.store(true, Ordering::Relaxed);
    let _ = terminal.join();
    let played = player.join().map_err(|_| Failure::new("the simulator has stopped unexpectedly"))?;
    let report = report.map_err(Failure::from_error)?;
    summary(&report, false);
    let folder = args.kpis.as_ref().map(|folder| format!(" --kpis {}", folder.display())).unwrap_or_default();
    eprintln!(
        "ask on: headsup sql --data {}{folder} \"SELECT * FROM kpi.{} WHERE grouped_by = '' ORDER BY window_end DESC LIMIT 5\"",
        place.data.display(),
        asked
    );
    played
}

/// The rules beside the KPIs of `folder`; else the demo's, if these KPIs have what they watch.
fn alerts(folder: Option<&Path>, kpis: &[Arc<Kpi>]) -> Result<Rules, Failure> {
    let beside = rules::load(None, folder, kpis)?;
    if folder.is_some() && !beside.rules.is_empty() {
        return Ok(beside);
    }
    match rules::parse("jobs/src/demo/alerts.toml", ALERTS, kpis) {
        Err(unfit) if folder.is_some() => {
            eprintln!("no alerts: the demo's do not fit these KPIs ({})", unfit.message);
            Ok(beside)
        }
        alerts => alerts,
    }
}

impl Demo {
    fn play(&self, simulator: Simulator) -> Result<(), Failure> {
        let mut world = World::new(simulator, self.log.as_ref(), self.board.clone(), self.stop.clone());
        let begin_ms = world.now_ms;
        // What is before the demo begins at once.
        while world.now_ms < self.day_ms && !world.is_stopped() {
            world.play_until((world.now_ms + DAY_MS).min(self.day_ms))?;
        }
        world.play_until(self.day_ms + FROM_MS)?;
        world.wait(self.disorder_ms, |watermark_ms| {
            let days = (watermark_ms - begin_ms).max(0) / DAY_MS;
            let of = (self.day_ms - begin_ms) / DAY_MS;
            say(&self.phase, if of > 0 { format!("day {days} of {of} before  ") } else { String::new() });
        });
        say(&self.phase, "");
        self.go_on(&mut world, begin_ms)
    }

    #[cfg(not(feature = "train"))]
    fn go_on(&self, world: &mut World<'_>, _: i64) -> Result<(), Failure> {
        world.play_at(self.speed, self.day_ms + DAY_MS, |_| Ok(()))
    }
}

/// A line per second on standard error: time and the headline of each KPI.
fn show(
    board: Arc<Board>,
    stop: Arc<AtomicBool>,
    phase: Phase,
    limit: Option<Duration>,
) -> std::thread::JoinHandle<()> {
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
                let mut line = phase.lock().unwrap_or_else(PoisonError::into_inner).clone();
                line += &time.get(..19).unwrap_or(&time).replace('T', " ");
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
