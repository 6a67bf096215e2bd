//! What a checkpoint costs when much is remembered, and how long going on from it takes:
//! `checkpoint_bench [customers] [open] [checkpoints] [folder]`.
//!
//! Each customer has had one conversation within `contacts.linger`, so all of them are
//! remembered; `open` go on now. Then, every 30 s of event time, the operators' state is saved
//! while another thread packs it, as the writing thread does. The last checkpoint is written, what
//! follows is put into a log, and another process goes on from both until it has the first rows.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "not part of the product")]

use std::collections::BinaryHeap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};
use std::{cmp::Reverse, env, error::Error, fs, thread};

use crossbeam_channel::bounded;
use headsup_alerts::Rules;
use headsup_connectors::{EmbeddedLog, EmbeddedOptions, EventLog, RealDisk, Record};
use headsup_events::Chunk;
use headsup_kpi::Kpi;
use headsup_operators::Copied;
use headsup_runtime::{Begun, Config, Core, Decode, Job, Role, Snapshot, Write, begin};

const PARTITIONS: usize = 4;
const BEGIN_MS: i64 = 1_772_409_600_000;
/// Events of a partition that the operators get at once.
const BATCH: usize = 1_000;
const BETWEEN_MS: i64 = 30_000;

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = env::args().skip(1).collect();
    if let [what, folder, begun_ms] = args.as_slice()
        && what == "go-on"
    {
        return go_on(Path::new(folder), begun_ms.parse()?);
    }
    let number = |place: usize, default| args.get(place).map_or(Ok(default), |arg| arg.parse::<u64>());
    let (customers, open, checkpoints) = (number(0, 1_000_000)?, number(1, 10_000)?, number(2, 200)?);
    let folder = args.get(3).map_or_else(|| env::temp_dir().join("headsup-checkpoint-bench"), PathBuf::from);
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(&folder)?;

    let job = job(&folder)?;
    let log: Arc<dyn EventLog> = Arc::new(log(&folder)?);
    let Begun { mut core, mut writer, .. } = start(&job, &log)?;
    let linger_ms = job.config.contacts.linger_ms;
    let mut traffic = Traffic::new(customers, open, linger_ms);
    let mut decode = Decode::new(&job.role, job.config.limits);

    let begun = Instant::now();
    // Until as many are forgotten as begin.
    let full_ms = BEGIN_MS + linger_ms + 12 * 60_000;
    let events = feed(&mut traffic, &mut core, &mut decode, full_ms, &mut Times::default())?;
    println!("{events} events in {:.1} s; remembered: {:?}", begun.elapsed().as_secs_f64(), core.sizes());

    let (sender, receiver) = bounded::<Copied>(0);
    let (done, packed) = bounded(1);
    let packer = thread::spawn(move || {
        for saved in receiver {
            let begun = Instant::now();
            let bytes = saved.pack().expect("packed");
            done.send((begun.elapsed(), bytes.len())).expect("somebody listens");
        }
    });
    let (mut stalls, mut packing, mut batches) = (Times::default(), Times::default(), Times::default());
    let mut bytes = 0;
    for checkpoint in 1..=checkpoints {
        let saved = stalls.measure(|| core.save()).map_err(|error| error.to_string())?;
        sender.send(saved)?;
        let until_ms = full_ms + checkpoint as i64 * BETWEEN_MS;
        feed(&mut traffic, &mut core, &mut decode, until_ms, &mut batches)?;
        // In earnest there are 30 s for it.
        let (time, length) = packed.recv()?;
        packing.all.push(time);
        bytes = length;
    }
    drop(sender);
    packer.join().expect("packed");
    stalls.show("the operators stand still");
    packing.show("packing beside them");
    batches.show("batches of events");

    let begun = Instant::now();
    let positions = partitions().into_iter().map(|(name, _)| (name, 0)).collect();
    let state = core.save().map_err(|error| error.to_string())?;
    writer.take(Write::Flush(Some(Snapshot { positions, state, ended: false })))?;
    println!(
        "state {:.1} MB; packed and on disk in {:.2} s",
        bytes as f64 / 1e6,
        begun.elapsed().as_secs_f64()
    );
    println!("{} MB at most in memory", memory_mb());

    // Enough for a tick of the queue and a pane.
    while traffic.now_ms() < full_ms + checkpoints as i64 * BETWEEN_MS + 120_000 {
        let lines: Vec<(String, String)> = (0..BATCH).map(|_| traffic.next()).collect();
        let record = |(customer, line): &'_ (String, String)| (customer.clone().into_bytes(), line.clone());
        let records: Vec<_> = lines.iter().map(record).collect();
        let records: Vec<Record<'_>> =
            records.iter().map(|(key, value)| Record { key, value: value.as_bytes() }).collect();
        log.append("conversations", &records)?;
    }
    drop((core, writer, log));
    for _ in 0..3 {
        let now_ms = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_millis();
        let status =
            Command::new(env::current_exe()?).arg("go-on").arg(&folder).arg(now_ms.to_string()).status()?;
        assert!(status.success());
    }
    fs::remove_dir_all(&folder)?;
    Ok(())
}

/// The other process.
fn go_on(folder: &Path, begun_ms: u64) -> Result<(), Box<dyn Error>> {
    let since = |begun: SystemTime| begun.elapsed().map_or(0.0, |time| time.as_secs_f64());
    let begun = SystemTime::UNIX_EPOCH + Duration::from_millis(begun_ms);
    let job = job(folder)?;
    let log: Arc<dyn EventLog> = Arc::new(log(folder)?);
    let Begun { mut core, positions, .. } = start(&job, &log)?;
    let restored = since(begun);
    let mut decode = Decode::new(&job.role, job.config.limits);
    let reader = |(partition, &position)| log.reader("conversations", partition as u32, position);
    let mut readers = positions.iter().enumerate().map(reader).collect::<Result<Vec<_>, _>>()?;
    loop {
        for (partition, reader) in readers.iter_mut().enumerate() {
            let Some(chunk) = reader.next(Duration::ZERO)? else { continue };
            core.push(partition, decode.decode(&chunk))?;
            let produced = core.advance().map_err(|error| error.to_string())?;
            if !produced.rows.is_empty() {
                println!(
                    "going on: restored after {restored:.2} s, first new rows after {:.2} s",
                    since(begun)
                );
                return Ok(());
            }
        }
    }
}

fn job(folder: &Path) -> Result<Job, Box<dyn Error>> {
    let sql = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../sql/kpis"));
    let mut kpis = Vec::new();
    for entry in fs::read_dir(sql)? {
        let path = entry?.path();
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        kpis.push(Arc::new(Kpi::parse(&path.display().to_string(), &name, &fs::read_to_string(&path)?)?));
    }
    kpis.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(Job {
        role: Role::All,
        config: Config::default(),
        alerts: Rules::parse(
            "alerts.toml",
            include_str!("../../../sql/alerts.toml"),
            &headsup_runtime::shapes(&kpis),
        )?,
        kpis,
        data: folder.to_owned(),
        from_start: false,
        until_end: false,
        profile: false,
        scores: None,
    })
}

fn log(folder: &Path) -> Result<EmbeddedLog, Box<dyn Error>> {
    let log = EmbeddedLog::open(folder.join("log"), EmbeddedOptions::default())?;
    if log.topics()?.is_empty() {
        log.create_topic("conversations", PARTITIONS as u32)?;
    }
    Ok(log)
}

fn start(job: &Job, log: &Arc<dyn EventLog>) -> Result<Begun, Box<dyn Error>> {
    let disk: Arc<dyn headsup_connectors::Disk> = Arc::new(RealDisk);
    Ok(begin(job, &partitions(), Some(log), &disk, &Arc::default())?)
}

fn partitions() -> Vec<(String, u64)> {
    (0..PARTITIONS).map(|partition| (format!("conversations/{partition}"), 0)).collect()
}

/// Gives the operators all events up to `until_ms`: how many, and the time of each batch.
fn feed(
    traffic: &mut Traffic,
    core: &mut Core,
    decode: &mut Decode,
    until_ms: i64,
    batches: &mut Times,
) -> Result<u64, Box<dyn Error>> {
    let mut lines = [const { String::new() }; PARTITIONS];
    let mut events = 0;
    while traffic.now_ms() < until_ms {
        for _ in 0..BATCH * PARTITIONS {
            let (customer, line) = traffic.next();
            let lines = &mut lines[customer.as_bytes()[customer.len() - 1] as usize % PARTITIONS];
            lines.push_str(&line);
            lines.push('\n');
            events += 1;
        }
        for (partition, lines) in lines.iter_mut().enumerate() {
            let batch = decode.decode(&Chunk::of_lines(lines, events, traffic.now_ms()));
            lines.clear();
            batches.measure(|| {
                core.push(partition, batch).map_err(|error| error.to_string())?;
                core.advance().map_err(|error| error.to_string())
            })?;
        }
    }
    Ok(events)
}

#[derive(Default)]
struct Times {
    all: Vec<Duration>,
    /// Without waiting for a CPU that others had.
    alone: Vec<Duration>,
}

impl Times {
    fn measure<T>(&mut self, what: impl FnOnce() -> T) -> T {
        let (begun, before) = (Instant::now(), waited());
        let result = what();
        self.all.push(begun.elapsed());
        self.alone.push(begun.elapsed().saturating_sub(waited().saturating_sub(before)));
        result
    }

    fn show(mut self, what: &str) {
        println!("{what}, {} times: {}", self.all.len(), quantiles(&mut self.all));
        if !self.alone.is_empty() {
            println!("    without waiting for a CPU: {}", quantiles(&mut self.alone));
        }
    }
}

fn quantiles(times: &mut [Duration]) -> String {
    times.sort();
    let ms = |per_cent: usize| times[(times.len() - 1) * per_cent / 100].as_secs_f64() * 1e3;
    format!("p50 {:.2} ms, p99 {:.2} ms, max {:.2} ms", ms(50), ms(99), ms(100))
}

/// How long this thread has waited for a CPU that others had (Linux).
fn waited() -> Duration {
    let stat = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    Duration::from_nanos(stat.split(' ').nth(1).and_then(|ns| ns.parse().ok()).unwrap_or(0))
}

fn memory_mb() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|kb| kb.parse::<u64>().ok()).map_or(0, |kb| kb / 1024)
}

/// Conversations of seven events that begin at an even rate; always the same.
struct Traffic {
    /// Between two beginnings, in ns.
    every_ns: i64,
    /// How long conversations go on on average, in ms.
    mean_ms: i64,
    begun: u64,
    /// Time, conversation, step.
    due: BinaryHeap<Reverse<(i64, u64, u8)>>,
}

impl Traffic {
    fn new(customers: u64, open: u64, linger_ms: i64) -> Self {
        let every_ns = linger_ms * 1_000_000 / customers as i64;
        Self { every_ns, mean_ms: every_ns * open as i64 / 1_000_000, begun: 0, due: BinaryHeap::new() }
    }

    fn next_begin_ms(&self) -> i64 {
        BEGIN_MS + self.begun as i64 * self.every_ns / 1_000_000
    }

    fn now_ms(&self) -> i64 {
        self.next_begin_ms()
    }

    /// The customer and the event.
    fn next(&mut self) -> (String, String) {
        let begin_ms = self.next_begin_ms();
        if self.due.peek().is_none_or(|Reverse((due_ms, ..))| begin_ms < *due_ms) {
            self.due.push(Reverse((begin_ms, self.begun, 0)));
            self.begun += 1;
        }
        let Some(Reverse((time_ms, number, step))) = self.due.pop() else {
            unreachable!("one has been put in")
        };
        let dice = mixed(number);
        // From a twentieth of the mean to four times as much, most of them short.
        let share = (dice % 1_000) as f64 / 1_000.0;
        let long_ms = (self.mean_ms as f64 * (0.05 - (1.0 - share * 0.98).ln())) as i64;
        let (kind, extra, after) = match step {
            0 => ("started", r#","origin":"inbound""#.to_owned(), 0.001),
            1 => ("message", r#","role":"customer""#.to_owned(), 0.001),
            2 => ("queued", String::new(), 0.1),
            3 => ("accepted", format!(r#","agent_id":"a{}""#, dice % 2_000), 0.2),
            4 => ("message", format!(r#","agent_id":"a{}","role":"agent""#, dice % 2_000), 0.5),
            5 => ("closed", r#","resolved":true"#.to_owned(), 0.2),
            _ => ("wrapped", String::new(), 0.0),
        };
        if step < 6 {
            let next_ms = time_ms + (long_ms as f64 * after) as i64 + 1;
            self.due.push(Reverse((next_ms, number, step + 1)));
        }
        let customer = format!("u{number:08}");
        // A few shops have most of it.
        let shop = ((dice >> 10) % 400).isqrt();
        let channel = ["web", "app", "miniprogram", "wechat", "douyin", "taobao"][(dice >> 20) as usize % 6];
        let skill = ["presale", "logistics", "refund", "return", "invoice", "complaint", "technical", "vip"]
            [(dice >> 30) as usize % 8];
        let time = headsup_events::format_rfc3339_ms(time_ms);
        let line = format!(
            r#"{{"specversion":"1.0","id":"e{number}-{step}","source":"/{channel}/shop-{shop}","type":"conversation.{kind}","subject":"c{number:09}","time":"{time}","data":{{"customer_id":"{customer}","shop":"shop-{shop}","channel":"{channel}","skill":"{skill}"{extra}}}}}"#
        );
        (customer, line)
    }
}

/// SplitMix64.
fn mixed(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
