//! From an event that is posted to the task at a webhook, killed at random moments: everything once.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;

use super::ok;
use super::tasks::{Client, Running, drained, until};

const DAY_MS: i64 = 86_400_000;
/// Of how many days the events are.
const DAYS: i64 = 12;

/// What has been received: by id, the body and at which place it came first.
type Received = Arc<Mutex<BTreeMap<String, (String, usize)>>>;

/// Takes three requests in four, and counts.
fn receiver(received: Received) -> String {
    let server = tiny_http::Server::http("127.0.0.1:0").expect("a port");
    let address = server.server_addr().to_string();
    std::thread::spawn(move || {
        for (place, mut request) in server.incoming_requests().enumerate() {
            let mut body = String::new();
            let _ = request.as_reader().read_to_string(&mut body);
            if place % 4 == 3 {
                let _ = request.respond(tiny_http::Response::empty(503));
                continue;
            }
            let event: Value = serde_json::from_str(&body).expect("JSON");
            let id = event["id"].as_str().expect("an id").to_owned();
            let mut received = received.lock().expect("no panic");
            let (first, _) = received.entry(id).or_insert_with(|| (body.clone(), place));
            assert_eq!(*first, body, "what comes again is the same");
            drop(received);
            let _ = request.respond(tiny_http::Response::empty(204));
        }
    });
    address
}

const RUN: [&str; 8] = ["run", "--registry", "models", "--kpis", "kpis", "--policy", "chain.toml", "--data"];

fn start(folder: &Path, data: &str, config: &str) -> (Child, Arc<Mutex<Option<String>>>) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_headsup"))
        .args(RUN)
        .args([data, "--config", config])
        .current_dir(folder)
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("started");
    let lines = BufReader::new(child.stderr.take().expect("piped")).lines();
    let address = Arc::new(Mutex::new(None));
    let found = address.clone();
    std::thread::spawn(move || {
        for line in lines.map_while(Result::ok) {
            if let Some((_, rest)) = line.split_once("page at http://") {
                *found.lock().expect("no panic") = rest.split('/').next().map(str::to_owned);
            }
        }
    });
    (child, address)
}

/// Posts the lines up to `end`, 20 at a time, each again until it is taken; `next` is the first that has not been.
fn post(client: &Client, lines: &[String], next: &AtomicUsize, end: usize) {
    let batch = [("Content-Type", "application/cloudevents-batch+json")];
    loop {
        let first = next.load(Ordering::SeqCst);
        if first >= end {
            return;
        }
        let last = end.min(first + 20);
        let body = format!("[{}]", lines[first..last].join(","));
        // Whoever was killed in between may have it or not.
        let answer = client.try_call("POST", "/v1/events", &batch, &body);
        let Some((status, _, answer)) = answer.filter(|(.., body)| !body.is_null()) else { return };
        if status == 429 {
            std::thread::sleep(Duration::from_millis(50));
            continue;
        }
        assert_eq!((status, &answer["refused"]), (200, &Value::from(0)), "{answer}");
        next.store(last, Ordering::SeqCst);
    }
}

/// In this folder there are models and KPIs; `policy` is that of the campaigns. Killed as many times as
/// `HEADSUP_TEST_KILLS` says (10).
pub fn everything_once(folder: &Path, policy: &str) {
    let kills: usize = std::env::var("HEADSUP_TEST_KILLS").map_or(10, |n| n.parse().expect("a number"));
    // What has expired by the clock when it starts is not sent: so the events are of the last days.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis() as i64;
    let start_ms = (now / DAY_MS - DAYS) * DAY_MS;
    let (start_at, days) = (headsup_events::format_rfc3339_ms(start_ms), DAYS.to_string());
    let args = ["--customers", "400", "--days", &days, "--start", &start_at, "--out", "chain.jsonl"];
    ok(folder, &[["simulate"].as_slice(), &args].concat());
    let mut policy = policy.to_owned();
    for short in ["\"1d\"", "\"12h\""] {
        policy = policy.replace(&format!("expires_after = {short}"), "expires_after = \"366d\"");
    }
    std::fs::write(folder.join("chain.toml"), policy).expect("written");
    let (new, _) = ok(folder, &["token", "shop", "--scopes", "ingest,read"]);
    let (token, entry) = new.split_once("\n\n").expect("a token and an entry");
    std::fs::write(folder.join("chain-tokens.toml"), entry).expect("written");
    let received = Received::default();
    let hooks = format!(
        "[[webhook]]\nname = \"counter\"\nurl = \"http://{}/\"\nsecrets = [\"whsec_{}\"]\nbackoff_first = \"5ms\"\nbreaker_failures = 50\n",
        receiver(received.clone()),
        "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
    );
    std::fs::write(folder.join("chain-hooks.toml"), hooks).expect("written");
    let config = "[http]\nlisten = \"127.0.0.1:0\"\n[api]\ntokens = \"chain-tokens.toml\"\n[time]\nheartbeat = \"1h\"\n[store]\nflush = \"100ms\"\n";
    let hooked = format!("{config}[webhooks]\nfile = \"chain-hooks.toml\"\n");
    std::fs::write(folder.join("unharmed.toml"), config).expect("written");
    std::fs::write(folder.join("chain-config.toml"), hooked).expect("written");

    let lines = std::fs::read_to_string(folder.join("chain.jsonl")).expect("a file");
    let lines: Arc<Vec<String>> = Arc::new(lines.lines().map(str::to_owned).collect());
    let next = Arc::new(AtomicUsize::new(0));
    let (mut random, mut started) = (0x2545_f491_4f6c_dd1d_u64, 0);
    for life in 1..=kills {
        let (mut child, address) = start(folder, "chain", "chain-config.toml");
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let poster = {
            let (address, token, lines, next) =
                (address.clone(), token.to_owned(), lines.clone(), next.clone());
            let (over, kills) = (Arc::new(AtomicUsize::new(0)), kills.max(1));
            let ended = over.clone();
            let thread = std::thread::spawn(move || {
                while over.load(Ordering::SeqCst) == 0 {
                    let found = address.lock().expect("no panic").clone();
                    if let Some(address) = found {
                        return post(&Client { address, token }, &lines, &next, lines.len() * life / kills);
                    }
                    std::thread::sleep(Duration::from_millis(5));
                }
            });
            (thread, ended)
        };
        // The first half of the lives are mostly young when they end; some have not said where they listen.
        let patience = if life * 2 < kills { 900 } else { 2_500 };
        std::thread::sleep(Duration::from_millis(100 + random % patience));
        child.kill().expect("it is ours");
        child.wait().expect("a status");
        started += usize::from(address.lock().expect("no panic").is_some());
        poster.1.store(1, Ordering::SeqCst);
        poster.0.join().expect("no panic");
    }

    // It lives on, and another that nobody has harmed takes all at once.
    let mut latest = None;
    for (data, config, next) in
        [("unharmed", "unharmed.toml", &AtomicUsize::new(0)), ("chain", "chain-config.toml", &*next)]
    {
        let (child, address) = start(folder, data, config);
        let _running = Running(child);
        until("it listens", || address.lock().expect("no panic").is_some());
        let address = address.lock().expect("no panic").clone().expect("it listens");
        let client = Client { address, token: token.to_owned() };
        post(&client, &lines, next, lines.len());
        assert_eq!(next.load(Ordering::SeqCst), lines.len());
        let of = |name: &str| -> Vec<String> {
            let metrics = super::get(&client.address, "/metrics");
            metrics.lines().filter(|line| line.starts_with(name)).map(str::to_owned).collect()
        };
        // What was posted last is read when as many are as there are; or, with those that were posted again, up to the same times.
        let read = || {
            let read = of("headsup_events_read_total{");
            read.iter().filter_map(|line| line.rsplit(' ').next()?.parse::<usize>().ok()).sum::<usize>()
        };
        let times = || of("headsup_event_time_seconds{");
        match &latest {
            None => until("all has been read", || read() == lines.len()),
            Some(latest) => until("all has been read", || times() == *latest),
        }
        latest = Some(times());
        until("the log is read", || drained(&client.address));
        let metric = |name: &str| {
            let metrics = super::get(&client.address, "/metrics");
            metrics.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<f64>().ok())
        };
        let sent = "headsup_webhook_waiting_events{endpoint=\"counter\"}";
        until("all is delivered", || data != "chain" || metric(sent) == Some(0.0));
        // The second from now has been begun after everything was read: there is one at a time.
        let checkpoints = || metric("headsup_checkpoints_total").expect("the count");
        let enough = checkpoints() + 2.0;
        until("all is stored", || checkpoints() >= enough);
        until("all is delivered", || data != "chain" || metric(sent) == Some(0.0));
    }

    let of = |data: &str, query: &str| ok(folder, &["sql", "--format", "csv", "--data", data, query]).0;
    for table in ["scores", "tasks", "served"] {
        let query = format!("SELECT * FROM {table}");
        let [mut chain, mut unharmed] = ["chain", "unharmed"]
            .map(|data| of(data, &query).lines().map(str::to_owned).collect::<Vec<String>>());
        chain.sort_unstable();
        unharmed.sort_unstable();
        let differs = chain.iter().zip(&unharmed).find(|(chain, unharmed)| chain != unharmed);
        assert_eq!((differs, chain.len()), (None, unharmed.len()), "{table}");
    }
    let ids = of("unharmed", "SELECT id FROM tasks");
    let ids: BTreeSet<&str> = ids.lines().skip(1).collect();
    let received = received.lock().expect("no panic");
    let found: BTreeSet<&str> = received.keys().map(String::as_str).collect();
    assert!(ids.len() > 100, "{}", ids.len());
    assert_eq!(found, ids);
    // Of a task, what came first was said first.
    let mut last: BTreeMap<String, (usize, i64)> = BTreeMap::new();
    let mut all: Vec<(usize, Value)> = Vec::new();
    for (body, place) in received.values() {
        all.push((*place, serde_json::from_str(body).expect("JSON")));
    }
    all.sort_by_key(|(place, _)| *place);
    for (place, event) in all {
        let (Some(task), Some(revision)) =
            (event["data"]["task_id"].as_str(), event["data"]["revision"].as_i64())
        else {
            continue;
        };
        let before = last.insert(task.to_owned(), (place, revision));
        assert!(before.is_none_or(|(_, before)| before < revision), "{task}: {before:?}, {revision}");
    }
    eprintln!("{kills} kills, {started} of them when it listened; {} events of tasks, each once", ids.len());
}
