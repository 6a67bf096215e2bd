//! Tasks over HTTP: the API of a run, and its webhooks.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{fails, ok};

/// Ends its process when it is dropped.
pub struct Running(pub Child);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().expect("it is ours");
        self.0.wait().expect("it is ours");
    }
}

pub struct Client {
    pub address: String,
    pub token: String,
}

/// Status, the tag, and the body as JSON.
type Answer = (u16, String, Value);

impl Client {
    fn call(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        self.try_call(method, path, headers, body).expect("it answers")
    }

    /// `None`: nobody is there, or not any more.
    pub fn try_call(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Option<Answer> {
        let mut stream = TcpStream::connect(&self.address).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(60))).ok()?;
        let mut request = format!(
            "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {}\r\nContent-Length: {}\r\n",
            self.token,
            body.len()
        );
        for (name, value) in headers {
            request += &format!("{name}: {value}\r\n");
        }
        write!(stream, "{request}\r\n{body}").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        let status = head[9..12].parse().expect("a status");
        let tag = head.lines().find_map(|line| line.strip_prefix("etag: ")).unwrap_or_default();
        Some((status, tag.to_owned(), serde_json::from_str(body).unwrap_or_default()))
    }

    fn get(&self, path: &str) -> Value {
        let (status, _, body) = self.call("GET", path, &[], "");
        assert_eq!(status, 200, "{path}: {body}");
        body
    }

    fn act(&self, task: &str, what: &str, key: &str, more: &[(&str, &str)], body: Value) -> Answer {
        let mut headers = vec![("Idempotency-Key", key), ("Content-Type", "application/json")];
        headers.extend(more);
        self.call("POST", &format!("/v1/tasks/{task}/{what}"), &headers, &body.to_string())
    }

    /// All events of tasks from the first on.
    fn feed(&self) -> Vec<Value> {
        let (mut events, mut cursor) = (Vec::new(), String::new());
        loop {
            let mut page = self.get(&format!("/v1/tasks?limit=500{cursor}"));
            let Value::Array(some) = page["events"].take() else { panic!("{page}") };
            if some.is_empty() {
                return events;
            }
            events.extend(some);
            cursor = format!("&cursor={}", page["cursor"].as_str().expect("a cursor"));
        }
    }
}

pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < Duration::from_secs(120), "{what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Whether all that is in the log has been read.
pub fn drained(address: &str) -> bool {
    let metrics = super::get(address, "/metrics");
    let lags = metrics.lines().filter(|line| line.starts_with("headsup_log_lag_records{"));
    let lags: Vec<&str> = lags.filter_map(|line| line.rsplit(' ').next()).collect();
    !lags.is_empty() && lags.iter().all(|lag| *lag == "0")
}

/// A run over the log of `few` that goes on.
fn run(folder: &Path) -> (Running, String) {
    let args = ["run", "--registry", "models", "--kpis", "kpis", "--policy", "p.toml", "--data", "few"];
    let mut child = Command::new(env!("CARGO_BIN_EXE_headsup"))
        .args(args)
        .args(["--config", "api.toml"])
        .current_dir(folder)
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("started");
    let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines();
    let page = lines.find_map(|line| {
        let line = line.expect("UTF-8");
        Some(line.split_once("page at http://")?.1.split('/').next()?.to_owned())
    });
    std::thread::spawn(move || lines.for_each(drop));
    (Running(child), page.expect("it says where the page is"))
}

/// What a router has received: by id, how often, and the events in order.
#[derive(Default)]
struct Received {
    times: BTreeMap<String, usize>,
    events: Vec<Value>,
}

/// A router that takes one request in three only.
fn router(received: Arc<Mutex<Received>>) -> String {
    let server = tiny_http::Server::http("127.0.0.1:0").expect("a port");
    let address = server.server_addr().to_string();
    std::thread::spawn(move || {
        for (place, mut request) in server.incoming_requests().enumerate() {
            let mut body = String::new();
            let _ = request.as_reader().read_to_string(&mut body);
            let id = request.headers().iter().find(|header| header.field.equiv("webhook-id"));
            let id = id.map(|header| header.value.to_string());
            if place % 3 == 0 {
                let _ = request.respond(tiny_http::Response::empty(503));
                continue;
            }
            let event: Value = serde_json::from_str(&body).expect("JSON");
            assert_eq!(id.as_deref(), event["id"].as_str());
            let mut received = received.lock().expect("no panic");
            *received.times.entry(id.unwrap_or_default()).or_default() += 1;
            received.events.push(event);
            drop(received);
            let _ = request.respond(tiny_http::Response::empty(204));
        }
    });
    address
}

/// In this folder there are events in `few`, models, a policy; the run begins anew.
pub fn over_http(folder: &Path) {
    let (new, _) = ok(folder, &["token", "router", "--scopes", "ingest,read,act"]);
    let (token, entry) = new.split_once("\n\n").expect("a token and an entry");
    std::fs::write(folder.join("tokens.toml"), entry).expect("written");
    let received = Arc::new(Mutex::new(Received::default()));
    let hooks = format!(
        "[[webhook]]\nname = \"router\"\nurl = \"http://{}/tasks\"\nsecrets = [\"whsec_{}\"]\ntypes = [\"task.created\", \"task.cancelled\"]\nbackoff_first = \"10ms\"\nbreaker_failures = 50\n",
        router(received.clone()),
        "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
    );
    std::fs::write(folder.join("hooks.toml"), hooks).expect("written");
    let config = "[http]\nlisten = \"127.0.0.1:0\"\n[api]\ntokens = \"tokens.toml\"\n[webhooks]\nfile = \"hooks.toml\"\n[time]\nheartbeat = \"1h\"\n[store]\nflush = \"500ms\"\n";
    std::fs::write(folder.join("api.toml"), config).expect("written");

    let (running, address) = run(folder);
    let client = Client { address, token: token.to_owned() };
    until("the log is read", || drained(&client.address));
    let (status, ..) =
        Client { address: client.address.clone(), token: "hup_x".into() }.call("GET", "/v1/scores", &[], "");
    assert_eq!(status, 401);

    // Scores and what is known of a customer.
    let page = client.get("/v1/scores?limit=2");
    let next = page["cursor"].as_str().expect("more than two").replace(' ', "%20");
    let second = client.get(&format!("/v1/scores?limit=2&cursor={next}"));
    let of = |page: &Value, place: usize| page["scores"][place]["probability"].as_f64().expect("a score");
    assert!(of(&page, 0) >= of(&page, 1) && of(&page, 1) >= of(&second, 0), "{page} {second}");
    let customer = page["scores"][0]["customer_id"].as_str().expect("a customer");
    let risk = client.get(&format!("/v1/customers/{customer}/risk"));
    assert_eq!(risk[0].as_object().or(risk["scores"][0].as_object()), page["scores"][0].as_object());
    assert!(!client.get("/v1/kpis?limit=5").to_string().is_empty());

    // A task that is open; what is said of it stands at once.
    let feed = client.feed();
    let open = |feed: &[Value]| -> Vec<String> {
        let mut open = BTreeMap::new();
        for event in feed {
            let task = event["data"]["task_id"].as_str().unwrap_or_default().to_owned();
            match event["type"].as_str().expect("a type") {
                "task.created" => drop(open.insert(task, ())),
                "task.expired" | "task.cancelled" | "task.completed" => drop(open.remove(&task)),
                _ => {}
            }
        }
        open.into_keys().collect()
    };
    let tasks = open(&feed);
    let events = std::fs::read_to_string(folder.join("few.jsonl")).expect("a file");
    let time_ms = |line: &str| {
        let at = line.find("\"time\":\"")? + 8;
        headsup_events::parse_rfc3339_ms(&line[at..at + 24])
    };
    let latest = events.lines().filter_map(time_ms).max().expect("a time");
    // What a customer did last waits for its turn still, and may be what cancels the task.
    let recent: Vec<&str> =
        events.lines().filter(|line| time_ms(line).is_none_or(|ms| ms > latest - 60_000)).collect();
    let is_quiet = |task: &&String| {
        let created = feed.iter().find(|event| event["data"]["task_id"] == ***task);
        let customer = created.and_then(|event| event["data"]["customer_id"].as_str()).expect("a customer");
        !recent.iter().any(|line| line.contains(&format!("\"{customer}\"")))
    };
    let task = tasks.iter().rfind(is_quiet).expect("an open task");
    let (status, tag, view) = client.call("GET", &format!("/v1/tasks/{task}"), &[], "");
    assert_eq!((status, tag.as_str(), view["state"].as_str()), (200, "\"1\"", Some("created")));
    assert_eq!(client.call("GET", "/v1/tasks/nobody", &[], "").0, 404);
    assert_eq!(client.act(task, "complete", "k0", &[], json!({"disposition": "solved"})).0, 409);
    // In the same instant of the log, and by keys in another order than they are asked for.
    let first = client.act(task, "offer", "z1", &[], json!({"agent_id": "a1"}));
    assert_eq!((first.0, first.1.as_str(), first.2["state"].as_str()), (200, "\"2\"", Some("offered")));
    assert_eq!(client.act(task, "offer", "z1", &[], json!({"agent_id": "a1"})).2, first.2);
    assert_eq!(client.act(task, "offer", "z1", &[], json!({"agent_id": "a2"})).0, 422);
    assert_eq!(client.act(task, "accept", "y2", &[("If-Match", "\"1\"")], json!({})).0, 412);
    assert_eq!(client.act(task, "accept", "y2", &[("If-Match", "\"2\"")], json!({})).0, 200);
    let done = json!({"disposition": "solved", "channel": "web"});
    assert_eq!(client.act(task, "complete", "x3", &[], done.clone()).2["state"], "completed");

    // Time goes on, in all partitions, and the run decides the same.
    // Of new customers, in all partitions.
    let later = |name: &str, after_ms: i64| -> Vec<Value> {
        let event = |place: usize| {
            let (kind, more) = match place % 2 {
                0 => ("conversation.message", json!({"role": "customer"})),
                _ => ("order.paid", json!({})),
            };
            let mut data = json!({"customer_id": format!("new-{place}"), "shop": "s", "channel": "web"});
            data.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
            json!({
                "specversion": "1.0", "id": format!("{name}-{place}"), "source": "/test", "type": kind,
                "subject": format!("{name}-{place}"), "time": headsup_events::format_rfc3339_ms(latest + after_ms),
                "data": data,
            })
        };
        (0..200).map(event).collect()
    };
    let events: Vec<Value> = later("later", 3_600_000)
        .into_iter()
        .chain([
            json!({"id": "no event"}),
            json!({
                "specversion": "1.0", "id": "x", "source": "/test", "type": "task.cancelled", "subject": task,
                "time": headsup_events::format_rfc3339_ms(latest), "data": {},
            }),
        ])
        .collect();
    let batch = [("Content-Type", "application/cloudevents-batch+json")];
    let (status, _, answer) = client.call("POST", "/v1/events", &batch, &Value::from(events).to_string());
    assert_eq!((status, &answer["accepted"], &answer["refused"]), (200, &json!(200), &json!(2)), "{answer}");
    let decided = || {
        client.feed().into_iter().find(|event| event["type"] == "task.completed" && event["subject"] == *task)
    };
    until("the run has decided", || decided().is_some());
    let event = decided().expect("it is there");
    assert_eq!(event["data"]["cause"], format!("/headsup/api/router {task}/x3"));
    let (_, tag, view) = client.call("GET", &format!("/v1/tasks/{task}"), &[], "");
    assert_eq!((tag.as_str(), view["state"].as_str()), ("\"4\"", Some("completed")));
    assert_eq!(client.act(task, "complete", "x3", &[], done).0, 200, "the same again");

    // Killed in between, everything that is wanted reaches the router, and nothing else.
    drop(running);
    let (running, address) = run(folder);
    let client = Client { address, token: token.to_owned() };
    let wanted = |event: &Value| event["type"] == "task.created" || event["type"] == "task.cancelled";
    let ids = |events: &[Value]| -> Vec<String> {
        let mut ids: Vec<String> =
            events.iter().filter(|event| wanted(event)).map(|event| event["id"].to_string()).collect();
        ids.sort_unstable();
        ids
    };
    let metric = |name: &str| {
        let metrics = super::get(&client.address, "/metrics");
        metrics.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<f64>().ok())
    };
    // The stand-in router takes what is open, by the API, when quiet hours are over.
    let events = Value::from(later("morning", 7 * 3_600_000)).to_string();
    let (status, _, answer) = client.call("POST", "/v1/events", &batch, &events);
    assert_eq!((status, &answer["accepted"]), (200, &json!(200)), "{answer}");
    let morning = headsup_events::format_rfc3339_ms(latest + 6 * 3_600_000);
    until("it is morning", || client.feed().iter().any(|event| event["time"].as_str() > Some(&morning)));
    std::fs::write(folder.join("token"), token).expect("written");
    let url = format!("http://{}", client.address);
    let args = ["router", "--url", &url, "--token-file", "token", "--seconds", "4", "--handling", "1s"];
    let (_, said) = ok(folder, &args);
    let waiting: Vec<Value> =
        open(&client.feed()).iter().map(|task| client.get(&format!("/v1/tasks/{task}"))).collect();
    assert!(
        said.contains("offered to proactive-1") && said.contains("accepted by proactive-"),
        "{said}{}",
        Value::from(waiting)
    );
    assert!(said.contains("completed: ") && !said.contains("cannot be completed"), "{said}");
    let completed = said.lines().filter(|line| line.contains(" completed: ")).count();
    let shown = client.feed().iter().filter(|event| event["type"] == "task.offered").count();
    assert!(completed > 0 && shown > 0, "{completed} {shown}");
    let args = ["router", "--url", &url, "--token-file", "hooks.toml", "--seconds", "4"];
    assert!(fails(folder, &args, 1).contains("401"));
    until("all is delivered", || metric("headsup_webhook_waiting_events{endpoint=\"router\"}") == Some(0.0));
    let mut delivered: Vec<Value> = received.lock().expect("no panic").events.clone();
    delivered.sort_by_key(|event| event["id"].to_string());
    delivered.dedup_by_key(|event| event["id"].to_string());
    let mut expected = ids(&client.feed());
    expected.dedup();
    // What had expired before it could be sent is skipped; nobody could have done it.
    let delivered = ids(&delivered);
    assert!(!delivered.is_empty() && delivered.iter().all(|id| expected.contains(id)));
    drop(running);
    let message = fails(folder, &["webhooks", "list", "nobody", "--data", "few"], 1);
    assert!(message.contains("has sent nothing to an endpoint \"nobody\""), "{message}");
    assert!(ok(folder, &["webhooks", "list", "router", "--data", "few"]).1.contains("0 dead letters"));
    std::fs::write(folder.join("hooks.toml"), "[[webhook]]\nname = \"r\"\nurl = \"x\"\nsecrets = []\n")
        .expect("written");
    let args = ["run", "--until-end", "--config", "api.toml", "--data", "few", "--registry", "none"];
    assert!(fails(folder, &args, 2).contains("hooks.toml: endpoint r"));
}
