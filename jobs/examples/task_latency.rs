//! How long after an event that raises a risk its task is at the webhook:
//! `task_latency HEADSUP REGISTRY MODEL [seconds] [events/s] [risks/s] [scoring.tick] [options of headsup run]`.
//!
//! Runs HEADSUP, the binary, over a new log in a temporary folder, with all KPIs, the champion of MODEL in REGISTRY
//! (which scores on order.placed) and a policy of one campaign that contacts whoever is scored. Events are posted to it by
//! four producers at times that are fixed beforehand, whether or not anybody keeps up (an open loop), and carry these times:
//! three in four of conversations, the others of orders, among them so many placed a second by new customers. Counted is
//! how much later than the time of such an event, plus `time.max_disorder`, its `task.created` has been received.

use std::collections::HashMap;
use std::error::Error;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use headsup_events::format_rfc3339_ms;
use serde_json::Value;

type Failed = Box<dyn Error + Send + Sync>;

const DISORDER_MS: f64 = 2_000.0;
/// Each has a token, which may post 100 times a second.
const PRODUCERS: u64 = 4;
/// Between two posts of a producer; they take turns.
const PIECE: Duration = Duration::from_millis(20);
/// Of the first seconds nothing is counted, nor of the last: after them no events let time pass.
const WARM_S: f64 = 5.0;
const LAST_S: f64 = 3.0;
const SECRET: &str = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
/// Events of a conversation.
const STEPS: u64 = 10;

/// Ends its process when it is dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn main() -> Result<(), Failed> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [binary, registry, model, rest @ ..] = args.as_slice() else {
        return Err(
            "give HEADSUP REGISTRY MODEL [seconds] [events/s] [risks/s] [scoring.tick] [options]".into()
        );
    };
    let number = |place: usize, default: u64| rest.get(place).map_or(Ok(default), |text| text.parse());
    let (seconds, rate, risks) = (number(0, 60)?, number(1, 2_000)?, number(2, 20)?);
    let tick = rest.get(3).map_or("10ms", String::as_str);
    let folder = std::env::temp_dir().join(format!("headsup-task-latency-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let received = Arc::new(Mutex::new(HashMap::new()));
    let tokens = prepare(binary, &folder, model, tick, &receive(received.clone())?)?;

    let mut child = Command::new(binary)
        .args(["run", "--data", "data", "--policy", "policy.toml", "--config", "config.toml", "--registry"])
        .arg(std::fs::canonicalize(registry)?)
        .args(rest.get(4..).unwrap_or_default())
        .current_dir(&folder)
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()?;
    let said = child.stderr.take().ok_or("no standard error")?;
    let running = Running(child);
    let mut lines = BufReader::new(said).lines();
    let address = lines.find_map(|line| {
        let line = line.ok()?;
        Some(line.split_once("page at http://")?.1.split('/').next()?.to_owned())
    });
    let address = address.ok_or("it does not say where the page is")?;
    thread::spawn(move || lines.for_each(|line| eprintln!("{}", line.unwrap_or_default())));

    let (begun, start_ms) = (Instant::now(), now_ms());
    let load = Load { rate, every: rate / risks.max(1), start_ms, begun };
    let producers = (0..PRODUCERS).zip(tokens).map(|(place, token)| {
        let address = address.clone();
        thread::spawn(move || load.produce(place, &token, &address, seconds))
    });
    let producers: Vec<_> = producers.collect();
    for producer in producers {
        producer.join().map_err(|_| "a producer panicked")??;
    }
    let busy = cpu_seconds(running.0.id())? / begun.elapsed().as_secs_f64();
    let metrics = ureq::get(format!("http://{address}/metrics")).call()?.body_mut().read_to_string()?;
    let lag = metrics.lines().filter(|line| line.starts_with("headsup_log_lag_records{"));
    let lag: f64 = lag.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum();
    thread::sleep(Duration::from_secs(3));
    drop(running);

    let received = received.lock().unwrap_or_else(PoisonError::into_inner);
    let late = received.iter().filter_map(|(number, at_ms)| {
        let due_s = *number as f64 / rate as f64;
        (WARM_S..seconds as f64 - LAST_S)
            .contains(&due_s)
            .then(|| at_ms - start_ms - due_s * 1e3 - DISORDER_MS)
    });
    let late: Vec<f64> = late.collect();
    println!(
        "{rate} events/s, {risks} risks/s, scoring.tick {tick}: the run took {busy:.2} CPUs, {lag} records behind"
    );
    show("event to task at the webhook", late);
    std::fs::remove_dir_all(&folder)?;
    Ok(())
}

/// Writes what the run is configured by; the tokens of the producers.
fn prepare(
    binary: &str,
    folder: &Path,
    model: &str,
    tick: &str,
    webhook: &str,
) -> Result<Vec<String>, Failed> {
    let policy = format!(
        "accepted_for = \"4h\"\n[[channel]]\nname = \"web\"\n[[campaign]]\nname = \"all\"\ntitle = \"All | 全部\"\nmodel = \"{model}\"\nthreshold = 0.0\nchannels = [\"web\"]\ncooldown = \"1d\"\nexpires_after = \"1d\"\ncontrol_share = 0.01\n"
    );
    std::fs::write(folder.join("policy.toml"), policy)?;
    let hook = format!(
        "[[webhook]]\nname = \"router\"\nurl = \"http://{webhook}/\"\nsecrets = [\"{SECRET}\"]\ntypes = [\"task.created\"]\n"
    );
    std::fs::write(folder.join("hooks.toml"), hook)?;
    let config = format!(
        "[http]\nlisten = \"127.0.0.1:0\"\n[api]\ntokens = \"tokens.toml\"\n[webhooks]\nfile = \"hooks.toml\"\n[scoring]\ntick = \"{tick}\"\n"
    );
    std::fs::write(folder.join("config.toml"), config)?;
    let (mut tokens, mut entries) = (Vec::new(), String::new());
    for place in 0..PRODUCERS {
        let output =
            Command::new(binary).args(["token", &format!("p{place}"), "--scopes", "ingest"]).output()?;
        let text = String::from_utf8(output.stdout)?;
        let (token, entry) = text.split_once("\n\n").ok_or("no token")?;
        tokens.push(token.to_owned());
        entries.push_str(entry);
    }
    std::fs::write(folder.join("tokens.toml"), entries)?;
    Ok(tokens)
}

/// A webhook's receiver, which notes when the task of which event came first; its address.
fn receive(received: Arc<Mutex<HashMap<u64, f64>>>) -> Result<String, Failed> {
    let server = tiny_http::Server::http("127.0.0.1:0")?;
    let address = server.server_addr().to_string();
    thread::spawn(move || {
        for mut request in server.incoming_requests() {
            let at_ms = now_ms();
            let body: Option<Value> = serde_json::from_reader(request.as_reader()).ok();
            let _ = request.respond(tiny_http::Response::empty(204));
            let customer = body.as_ref().and_then(|event| event["data"]["customer_id"].as_str());
            if let Some(number) = customer.and_then(|name| name.strip_prefix("risk-")?.parse().ok()) {
                received.lock().unwrap_or_else(PoisonError::into_inner).entry(number).or_insert(at_ms);
            }
        }
    });
    Ok(address)
}

#[derive(Clone, Copy)]
struct Load {
    rate: u64,
    /// One event in so many raises a risk.
    every: u64,
    start_ms: f64,
    begun: Instant,
}

impl Load {
    /// Posts every fourth event, those that are due every 20 ms.
    fn produce(&self, place: u64, token: &str, address: &str, seconds: u64) -> Result<(), Failed> {
        let agent = ureq::Agent::new_with_defaults();
        let mut next = place;
        let mut turn = self.begun + PIECE * place as u32 / PRODUCERS as u32;
        while self.begun.elapsed() < Duration::from_secs(seconds) {
            turn += PIECE;
            thread::sleep(turn.saturating_duration_since(Instant::now()));
            let due = (self.begun.elapsed().as_secs_f64() * self.rate as f64) as u64;
            let mut body = String::from("[");
            while next < due && body.len() < 900_000 {
                if body.len() > 1 {
                    body.push(',');
                }
                self.event(next, &mut body);
                next += PRODUCERS;
            }
            if body.len() == 1 {
                continue;
            }
            body.push(']');
            let request = agent
                .post(format!("http://{address}/v1/events"))
                .header("Authorization", format!("Bearer {token}"))
                .header("Content-Type", "application/cloudevents-batch+json");
            let answer = request.send(body)?.body_mut().read_to_string()?;
            if !answer.contains("\"refused\":0") {
                return Err(answer.chars().take(500).collect::<String>().into());
            }
        }
        Ok(())
    }

    /// The event of this number: 1,000 conversations go on at any time, each of ten events.
    fn event(&self, number: u64, out: &mut String) {
        let time = format_rfc3339_ms((self.start_ms + number as f64 * 1e3 / self.rate as f64) as i64);
        let shop = number % 5;
        if number.is_multiple_of(self.every) {
            let _ = write!(
                out,
                r#"{{"specversion":"1.0","id":"{number}","source":"/bench","type":"order.placed","subject":"o{number}","time":"{time}","data":{{"customer_id":"risk-{number}","shop":"shop-{shop}","channel":"web","amount_minor":12080,"currency":"CNY","lines":[{{"sku":"sku-{}","quantity":1,"unit_minor":12080}}]}}}}"#,
                number % 997
            );
            return;
        }
        let customer = number * 7_919 % 50_000;
        // Of sixteen, each producer has one.
        if number % 16 < 4 {
            let kind = ["paid", "shipped", "delivered"][(number / 16 % 3) as usize];
            let _ = write!(
                out,
                r#"{{"specversion":"1.0","id":"{number}","source":"/bench","type":"order.{kind}","subject":"o{customer}","time":"{time}","data":{{"customer_id":"u{customer}","shop":"shop-{shop}","channel":"web"}}}}"#
            );
            return;
        }
        let place = number / 16 * 12 + number % 16 - 4;
        let block = place / (1_000 * STEPS);
        let (step, lane) = (place % (1_000 * STEPS) / 1_000, place % 1_000);
        let kind = match step {
            0 => "started",
            4 => "accepted",
            8 => "closed",
            9 => "wrapped",
            _ => "message",
        };
        let role = if step.is_multiple_of(2) { "customer" } else { "agent" };
        let _ = write!(
            out,
            r#"{{"specversion":"1.0","id":"{number}","source":"/bench","type":"conversation.{kind}","subject":"c{block}-{lane}","time":"{time}","data":{{"customer_id":"u{}","shop":"shop-{}","channel":"web","skill":"s{}","agent_id":"a{}","role":"{role}"}}}}"#,
            (block * 1_000 + lane) % 50_000,
            lane % 5,
            lane % 8,
            lane % 100
        );
    }
}

fn now_ms() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |now| now.as_secs_f64() * 1e3)
}

/// User and system, of all threads of a process; the clock of /proc has 100 ticks a second.
fn cpu_seconds(process: u32) -> Result<f64, Failed> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    Ok((fields[11].parse::<f64>()? + fields[12].parse::<f64>()?) / 100.0)
}

fn show(what: &str, mut ms: Vec<f64>) {
    ms.sort_by(f64::total_cmp);
    let Some(last) = ms.last() else {
        println!("{what}: nothing was seen");
        return;
    };
    let at = |q: f64| ms[((ms.len() as f64 * q).ceil() as usize).clamp(1, ms.len()) - 1];
    println!(
        "{what}: {} times; p50 {:.1} ms, p90 {:.1}, p99 {:.1}, most {last:.1}",
        ms.len(),
        at(0.5),
        at(0.9),
        at(0.99)
    );
}
