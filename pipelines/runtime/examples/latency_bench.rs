//! How long after its time a KPI's row and an alert are there: `latency_bench [seconds] [events/s] [ms]`.
//!
//! Events are put into a log at times that are fixed beforehand, whether or not anybody keeps up
//! (an open loop), and carry these times; a run reads the log with all its threads, stores facts and
//! rows, and publishes. A window of 250 ms can be shown once the watermark, `time.max_disorder` behind
//! the newest event, has passed its end; counted is how much later its row is on the board. Every
//! other window fires an alert, and the next one resolves it.
//!
//! A producer appends what has gathered in so many ms (10,000 events/s and 2 ms by default).

use std::error::Error;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use headsup_alerts::Rules;
use headsup_connectors::{EmbeddedLog, EmbeddedOptions, EventLog, Record};
use headsup_events::format_rfc3339_ms;
use headsup_kpi::Kpi;
use headsup_runtime::{Board, Config, Input, Job, Role, RunError, shapes};

const PARTITIONS: u32 = 4;
const WINDOW_MS: i64 = 250;
const KPI: &str = "-- title: Handled\n-- unit: ms\n-- early: none\n-- corrections: 1 second\nSELECT tumble(ended_at, INTERVAL '250 milliseconds') AS period, skill, count(*) AS contacts, avg_ms(handle_ms) AS aht_ms FROM contacts WHERE handle_ms IS NOT NULL GROUP BY GROUPING SETS ((period), (period, skill))";
const RULE: &str = "[[alert]]\nname = \"slow\"\nkpi = \"handled\"\nvalue = \"aht_ms\"\nby = []\nfire_above = 500\nmin_n = 3\n";
/// Events of a conversation.
const STEPS: u64 = 10;

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let seconds: u64 = args.next().map_or(Ok(60), |arg| arg.parse())?;
    let rate: u64 = args.next().map_or(Ok(10_000), |arg| arg.parse())?;
    let piece_ms: f64 = args.next().map_or(Ok(2.0), |arg| arg.parse())?;
    let measured = measure(rate, piece_ms, seconds)?;
    println!("{rate} events/s asked for, {} read, over {seconds} s", measured.rate);
    show("an append, until it is durable", measured.appends);
    show("window's end to KPI row", measured.rows);
    show("window's end to alert", measured.alerts);
    Ok(())
}

struct Measured {
    rate: u64,
    appends: Vec<f64>,
    rows: Vec<f64>,
    alerts: Vec<f64>,
}

fn now_ms() -> f64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0.0, |now| now.as_secs_f64() * 1e3)
}

/// A run beside a generator of so many events a second.
fn measure(rate: u64, piece_ms: f64, seconds: u64) -> Result<Measured, Box<dyn Error>> {
    let folder = std::env::temp_dir().join(format!("headsup-latency-bench-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    let kpis = vec![Arc::new(Kpi::parse("handled.sql", "handled", KPI)?)];
    let log: Arc<dyn EventLog> = Arc::new(EmbeddedLog::open(folder.join("log"), EmbeddedOptions::default())?);
    for topic in ["conversations", "kpis", "alerts"] {
        log.create_topic(topic, PARTITIONS)?;
    }
    let board = Arc::new(Board::new(&kpis, 1_000));
    let stop = Arc::new(AtomicBool::new(false));
    let config = Config::default();
    let disorder_ms = config.disorder_ms_max as f64;
    let rules = Rules::parse("rules.toml", RULE, &shapes(&kpis))?;
    let running = run(&folder, config, (kpis, rules), log.clone(), board.clone(), stop.clone());
    let watching = {
        let (board, stop) = (board.clone(), stop.clone());
        thread::spawn(move || watch(&board, &stop, disorder_ms))
    };

    let begun = Instant::now();
    let start_ms = now_ms();
    let (mut next, mut appends) = (0u64, Vec::new());
    while begun.elapsed() < Duration::from_secs(seconds) {
        let due = (begun.elapsed().as_secs_f64() * rate as f64) as u64;
        if ((due - next) as f64) < (rate as f64 * piece_ms / 1e3).max(1.0) {
            thread::sleep(Duration::from_micros(200));
            continue;
        }
        let events: Vec<(String, String)> = (next..due.min(next + 5_000))
            .map(|number| event(number, (start_ms + number as f64 * 1e3 / rate as f64) as i64, rate))
            .collect();
        next += events.len() as u64;
        let records: Vec<Record<'_>> = events
            .iter()
            .map(|(key, value)| Record { key: key.as_bytes(), value: value.as_bytes() })
            .collect();
        let appending = Instant::now();
        log.append("conversations", &records)?;
        appends.push(appending.elapsed().as_secs_f64() * 1e3);
    }
    let read = read(&board);
    let rate = (read as f64 / begun.elapsed().as_secs_f64()) as u64;
    stop.store(true, Ordering::Relaxed);
    let (rows, alerts) = watching.join().map_err(|_| "the watcher panicked")?;
    running.join().map_err(|_| "the run panicked")??;
    drop(log);
    std::fs::remove_dir_all(&folder)?;
    Ok(Measured { rate, appends, rows, alerts })
}

fn run(
    folder: &Path,
    config: Config,
    (kpis, rules): (Vec<Arc<Kpi>>, Rules),
    log: Arc<dyn EventLog>,
    board: Arc<Board>,
    stop: Arc<AtomicBool>,
) -> thread::JoinHandle<Result<(), RunError>> {
    let job = Job {
        role: Role::All,
        config,
        kpis,
        alerts: rules,
        data: folder.to_owned(),
        from_start: false,
        until_end: false,
        profile: false,
        scores: None,
    };
    let input = Input::Log(log, vec!["conversations".to_owned()]);
    thread::spawn(move || headsup_runtime::run(job, input, &board, &stop).map(|_| ()))
}

fn read(board: &Board) -> u64 {
    board.read(|state| state.partitions.iter().map(|partition| partition.accounting.read).sum())
}

/// How many ms after the watermark has passed their ends windows and alerts were seen.
fn watch(board: &Board, stop: &AtomicBool, disorder_ms: f64) -> (Vec<f64>, Vec<f64>) {
    let (mut rows, mut alerts) = (Vec::new(), Vec::new());
    let (mut version, mut newest_ms, mut changes) = (0, i64::MIN, 0);
    while !stop.load(Ordering::Relaxed) {
        version = board.wait(version, Duration::from_millis(5));
        let now_ms = now_ms();
        let (newest, count, at_ms) = board.read(|state| {
            let count: u64 = state.alerts.counts.values().sum();
            let at_ms = state.alerts.recent.front().map(|change| change.at_ms);
            (state.kpis[0].newest_ms, count, at_ms)
        });
        if newest > newest_ms {
            newest_ms = newest;
            rows.push(now_ms - newest as f64 - disorder_ms);
        }
        if count > changes
            && let Some(at_ms) = at_ms
        {
            changes = count;
            alerts.push(now_ms - at_ms as f64 - disorder_ms);
        }
    }
    // The first windows are of a log that has just been opened.
    (rows.into_iter().skip(8).collect(), alerts.into_iter().skip(8).collect())
}

/// The event of this number: 200 conversations go on at any time, each of ten events. In every other
/// window those that end took long.
fn event(number: u64, at_ms: i64, rate: u64) -> (String, String) {
    let block = number / (200 * STEPS);
    let (step, lane) = (number % (200 * STEPS) / 200, number % 200);
    let conversation = format!("c{block}-{lane}");
    let customer = format!("u{}", (block * 200 + lane) % 50_000);
    let kind = match step {
        0 => "started",
        1 | 2 | 3 | 5 | 6 | 7 => "message",
        4 => "accepted",
        8 => "closed",
        _ => "wrapped",
    };
    // Its time is that of the schedule; the handle time is made by when it says it was accepted.
    let slow = at_ms.div_euclid(WINDOW_MS) % 2 == 0;
    let between_ms = 200_000 / rate.max(1) as i64;
    let time_ms = if kind == "accepted" && slow { at_ms - 1_000 - between_ms } else { at_ms };
    let role = if step.is_multiple_of(2) { "customer" } else { "agent" };
    let mut json = String::with_capacity(320);
    let _ = write!(
        json,
        r#"{{"specversion":"1.0","id":"{number}","source":"/bench","type":"conversation.{kind}","subject":"{conversation}","time":"{}","data":{{"customer_id":"{customer}","shop":"shop-{}","channel":"web","skill":"s{}","agent_id":"a{}","role":"{role}"}}}}"#,
        format_rfc3339_ms(time_ms),
        lane % 5,
        lane % 8,
        lane % 100
    );
    (customer, json)
}

fn show(what: &str, mut ms: Vec<f64>) {
    ms.sort_by(f64::total_cmp);
    let Some(last) = ms.last() else {
        println!("{what}: nothing was seen");
        return;
    };
    let at = |q: f64| ms[((ms.len() as f64 * q).ceil() as usize).clamp(1, ms.len()) - 1];
    println!(
        "{what}: {} times; p50 {:.2} ms, p90 {:.2}, p99 {:.2}, most {last:.2}",
        ms.len(),
        at(0.5),
        at(0.9),
        at(0.99)
    );
}
