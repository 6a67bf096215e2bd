//! What the log and the line source do on this machine: `cargo run --release --example log_bench
//! -- [folder] [MB]`.
//!
//! Counted are the bytes of event values (JSON of about 310 bytes), not what is stored after
//! compression. Put the folder on the disk that is meant; reading comes mostly from the page
//! cache unless MB exceeds the memory.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "not part of the product")]

use std::{
    env, fs,
    io::Write,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use headsup_connectors::{EmbeddedLog, EmbeddedOptions, EventLog, Lines, Record};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = env::args_os().skip(1);
    let folder = args.next().map_or_else(|| env::temp_dir().join("headsup-log-bench"), PathBuf::from);
    let megabytes: usize = args.next().and_then(|arg| arg.to_str()?.parse().ok()).unwrap_or(1000);
    fs::create_dir_all(&folder)?;
    let log_folder = folder.join("log");
    if log_folder.exists() {
        fs::remove_dir_all(&log_folder)?;
    }
    let events = events(16 << 20);
    let rounds = (megabytes * 1_000_000).div_ceil(16 << 20);
    let bytes = events.iter().map(|(_, value)| value.len()).sum::<usize>() * rounds;
    let records: Vec<_> =
        events.iter().map(|(key, value)| Record { key: key.as_bytes(), value: value.as_bytes() }).collect();
    println!(
        "{} events of {} bytes, {} MB",
        records.len() * rounds,
        bytes / rounds / records.len(),
        bytes / 1_000_000
    );

    let log = EmbeddedLog::open(&log_folder, EmbeddedOptions::default())?;
    log.create_topic("bulk", 4)?;
    let begun = Begun::now();
    for _ in 0..rounds {
        for some in records.chunks(10_000) {
            log.append("bulk", some)?;
        }
    }
    report("append, 1 thread, 10000 events a call", begun, bytes);
    let stored = log.disk_bytes()?;
    println!("  on disk {} MB, {:.2} of the events' bytes", stored / 1_000_000, stored as f64 / bytes as f64);

    log.create_topic("single", 4)?;
    for threads in [1, 16] {
        let calls = 200;
        let begun = Begun::now();
        thread::scope(|scope| {
            for thread in 0..threads {
                let (log, records) = (&log, &records);
                scope.spawn(move || {
                    for call in 0..calls {
                        log.append("single", &records[thread * calls + call..][..1]).expect("append");
                    }
                });
            }
        });
        let per_s = (threads * calls) as f64 / begun.wall_s();
        println!("append, {threads} threads, 1 event a call: {per_s:.0} calls/s, each durable");
    }

    read(&log, "read, 4 partitions in turn")?;
    drop(log);
    let begun = Begun::now();
    let log = EmbeddedLog::open(&log_folder, EmbeddedOptions::default())?;
    println!("open again: {:.0} ms", begun.wall_s() * 1e3);
    read(&log, "read after opening")?;
    drop(log);

    lines(&folder, &events, rounds)?;
    fs::remove_dir_all(&log_folder)?;
    Ok(())
}

fn read(log: &EmbeddedLog, what: &str) -> Result<(), Box<dyn std::error::Error>> {
    let begun = Begun::now();
    let (mut bytes, mut records) = (0, 0);
    for partition in 0..4 {
        let mut reader = log.reader("bulk", partition, 0)?;
        while let Some(chunk) = reader.next(Duration::ZERO)? {
            bytes += chunk.bytes.len();
            records += chunk.spans.len();
        }
    }
    report(&format!("{what} ({records} events)"), begun, bytes);
    Ok(())
}

fn lines(
    folder: &Path,
    events: &[(String, String)],
    rounds: usize,
) -> Result<(), Box<dyn std::error::Error>> {
    let mut text = Vec::new();
    for (_, value) in events {
        writeln!(text, "{value}")?;
    }
    let plain = folder.join("events.jsonl");
    let mut file = fs::File::create(&plain)?;
    for _ in 0..rounds {
        file.write_all(&text)?;
    }
    let gz = folder.join("events.jsonl.gz");
    let mut packer = flate2::write::GzEncoder::new(fs::File::create(&gz)?, flate2::Compression::fast());
    packer.write_all(&text)?;
    packer.finish()?;
    let zst = folder.join("events.jsonl.zst");
    fs::write(&zst, zstd::encode_all(&text[..], 1)?)?;
    for path in [plain, gz, zst] {
        let begun = Begun::now();
        let (mut bytes, mut records) = (0, 0);
        let mut lines = Lines::open(&path)?;
        while let Some(chunk) = lines.next()? {
            bytes += chunk.bytes.len();
            records += chunk.spans.len();
        }
        report(&format!("lines of {:?} ({records} events)", lines.packing()), begun, bytes);
        fs::remove_file(path)?;
    }
    Ok(())
}

fn report(what: &str, begun: Begun, bytes: usize) {
    let megabytes = bytes as f64 / 1e6;
    let per_wall_s = megabytes / begun.wall_s();
    let cpu =
        begun.cpu_s().map_or(String::new(), |cpu_s| format!(", {:.0} MB per CPU second", megabytes / cpu_s));
    let memory = resident_mb().map_or(String::new(), |mb| format!(", {mb} MB resident"));
    println!("{what}: {per_wall_s:.0} MB/s{cpu}{memory}");
}

/// On a busy machine the CPU time says more than the wall time.
#[derive(Clone, Copy)]
struct Begun {
    at: Instant,
    cpu_s: Option<f64>,
}

impl Begun {
    fn now() -> Self {
        Self { at: Instant::now(), cpu_s: cpu_s() }
    }

    fn wall_s(self) -> f64 {
        self.at.elapsed().as_secs_f64()
    }

    fn cpu_s(self) -> Option<f64> {
        Some((cpu_s()? - self.cpu_s?).max(0.01))
    }
}

/// CPU time of this process so far, all threads, user and system (Linux, in its ticks of 10 ms).
fn cpu_s() -> Option<f64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    let mut fields = stat.rsplit(") ").next()?.split(' ').skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some((user + system) / 100.0)
}

fn resident_mb() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS"))?;
    line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kb| kb / 1024)
}

/// Customers and messages of about the variety of real ones; always the same.
fn events(bytes: usize) -> Vec<(String, String)> {
    let words = "where is my parcel please refund the order late size wrong hello thanks \
        when will it ship broken 你好 什么时候发货 退款";
    let words: Vec<_> = words.split(' ').collect();
    let mut state = 88_172_645_463_325_252_u64;
    let mut random = |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    };
    let mut events = Vec::new();
    let mut total = 0;
    while total < bytes {
        let customer = format!("u-{}", random(50_000));
        let text: Vec<_> = (0..2 + random(12)).map(|_| words[random(words.len() as u64) as usize]).collect();
        let shop = random(20);
        let value = format!(
            concat!(
                r#"{{"specversion":"1.0","id":"{:016x}","source":"/wechat/shop-{}","type":"conversation.message","subject":"c-{}","#,
                r#""time":"2026-03-0{}T{:02}:{:02}:{:02}.{:03}Z","data":{{"customer_id":"{}","shop":"shop-{}","channel":"wechat","#,
                r#""role":"customer","auto":false,"text":"{}"}}}}"#
            ),
            random(u64::MAX),
            shop,
            random(100_000),
            1 + random(9),
            random(24),
            random(60),
            random(60),
            random(1000),
            customer,
            shop,
            text.join(" ")
        );
        total += value.len();
        events.push((customer, value));
    }
    events
}
