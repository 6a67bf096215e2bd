//! The alert "AHT above 120 s" through a real Prometheus and Alertmanager: scraped, fired,
//! grouped, told to a webhook, cleared.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use super::ok;

/// Ends when the test does.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(folder: &Path, program: &str, args: &[&str]) -> Process {
    let mut command = Command::new(program);
    command.args(args).current_dir(folder).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    Process(command.spawn().expect("started"))
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address").port()
}

/// A contact of a skill that ends at a minute and second of the hour, and took so many seconds.
fn contact(number: u32, skill: &str, minute: u32, took: u32) -> String {
    let end = minute * 60 + number % 50;
    let mut events = String::new();
    for (at, kind, data) in [
        (end - took, "queued", format!(r#","skill":"{skill}""#)),
        (end - took, "accepted", r#","agent_id":"a""#.to_owned()),
        (end, "wrapped", r#","agent_id":"a""#.to_owned()),
    ] {
        events += &format!(
            r#"{{"specversion":"1.0","id":"{skill}-{number}-{kind}","source":"/t","type":"conversation.{kind}","subject":"{skill}-{number}","time":"2026-03-02T10:{:02}:{:02}Z","data":{{"customer_id":"u{number}","shop":"shop-1","channel":"web"{data}}}}}"#,
            at / 60,
            at % 60
        );
        events.push('\n');
    }
    events
}

/// Bodies that are posted to a port.
fn webhook(listener: TcpListener) -> Receiver<serde_json::Value> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let (mut bytes, mut part) = (Vec::new(), [0; 4096]);
            let body = loop {
                let Ok(count) = stream.read(&mut part) else { break None };
                bytes.extend_from_slice(&part[..count]);
                let text = String::from_utf8_lossy(&bytes).into_owned();
                let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
                let length = head.to_lowercase();
                let length = length
                    .split("content-length: ")
                    .nth(1)
                    .and_then(|rest| rest.lines().next()?.parse().ok());
                if body.len() >= length.unwrap_or(0) || count == 0 {
                    break serde_json::from_str(body).ok();
                }
            };
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            if let Some(body) = body
                && sender.send(body).is_err()
            {
                return;
            }
        }
    });
    receiver
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(120), "{what}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

fn get(port: u16, path: &str) -> String {
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else { return String::new() };
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    let mut answer = String::new();
    let _ = stream.write_all(request.as_bytes()).and_then(|()| stream.read_to_string(&mut answer));
    answer
}

#[test]
fn aht_goes_through_prometheus_and_alertmanager_to_a_webhook() {
    let (prometheus, alertmanager) = ("/usr/bin/prometheus", "/usr/bin/prometheus-alertmanager");
    if !Path::new(prometheus).exists() || !Path::new(alertmanager).exists() {
        eprintln!("Prometheus and Alertmanager are not installed: left out");
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let sql = concat!(env!("CARGO_MANIFEST_DIR"), "/../sql");
    std::fs::create_dir(folder.join("kpis")).expect("made");
    std::fs::copy(format!("{sql}/kpis/aht.sql"), folder.join("kpis/aht.sql")).expect("copied");
    let all = std::fs::read_to_string(format!("{sql}/alerts.toml")).expect("rules");
    let aht = all.split("[[alert]]").find(|rule| rule.contains("\"aht_high\"")).expect("a rule");
    // The rule as it comes, but for the waiting.
    let quick = aht
        .replace("for = \"1m\"", "for = \"0s\"")
        .replace("keep_firing_for = \"5m\"", "keep_firing_for = \"1s\"");
    assert_ne!(quick, aht);
    std::fs::write(folder.join("kpis/alerts.toml"), format!("[[alert]]{quick}")).expect("written");
    ok(folder, &["alerts", "export", "--kpis", "kpis", "--out", "made"]);

    let hook = TcpListener::bind("127.0.0.1:0").expect("a port");
    let hook_port = hook.local_addr().expect("an address").port();
    let posted = webhook(hook);
    let (page, prom, manager) = (free_port(), free_port(), free_port());
    // The configuration as it is exported, but for where the webhook is and how long is waited.
    let made = std::fs::read_to_string(folder.join("made/alertmanager.yml")).expect("made");
    let place = made
        .split('\'')
        .chain(made.split('"'))
        .chain(made.split_whitespace())
        .find(|text| text.starts_with("http://"));
    let made = made.replace(place.expect("a webhook"), &format!("http://127.0.0.1:{hook_port}/"));
    let mut quick = String::new();
    for line in made.lines() {
        let key = line.split(':').next().unwrap_or_default();
        match key.trim() {
            "group_wait" | "group_interval" => quick += &format!("{key}: 1s\n"),
            _ => quick += &format!("{line}\n"),
        }
    }
    std::fs::write(folder.join("made/alertmanager.yml"), quick).expect("written");
    let scrape = format!(
        "global:\n  scrape_interval: 1s\n  evaluation_interval: 1s\nrule_files: [made/alerts.yml]\nalerting:\n  alertmanagers:\n    - static_configs:\n        - targets: ['127.0.0.1:{manager}']\nscrape_configs:\n  - job_name: headsup\n    static_configs:\n      - targets: ['127.0.0.1:{page}']\n"
    );
    std::fs::write(folder.join("prometheus.yml"), scrape).expect("written");
    // Rules are looked at every 10 s at least.
    let rules = std::fs::read_to_string(folder.join("made/alerts.yml")).expect("made");
    let quick: String = rules
        .lines()
        .map(|line| {
            if line.trim().starts_with("interval:") {
                "    interval: 1s\n".to_owned()
            } else {
                format!("{line}\n")
            }
        })
        .collect();
    std::fs::write(folder.join("made/alerts.yml"), quick).expect("written");

    std::fs::write(folder.join("c.toml"), format!("[http]\nlisten = \"127.0.0.1:{page}\"\n"))
        .expect("written");
    let manager_listen = format!("--web.listen-address=127.0.0.1:{manager}");
    let _manager = start(
        folder,
        alertmanager,
        &[
            "--config.file=made/alertmanager.yml",
            "--storage.path=am",
            &manager_listen,
            "--cluster.listen-address=",
        ],
    );
    let run = ["run", "--config", "c.toml", "--kpis", "kpis", "--input", "-", "--until-end", "--serve"];
    let mut headsup = Command::new(env!("CARGO_BIN_EXE_headsup"));
    let headsup = headsup.args(run).current_dir(folder).stdin(Stdio::piped()).stderr(Stdio::null());
    let mut headsup = Process(headsup.spawn().expect("started"));
    let mut events = headsup.0.stdin.take().expect("piped");
    // Refunds take 150 s, returns 60 s; and a contact that makes time pass.
    let slow: String =
        (0..30).map(|n| contact(n, "refund", 11, 150) + &contact(n, "return", 11, 60)).collect();
    events.write_all((slow + &contact(40, "other", 17, 10)).as_bytes()).expect("read");
    until("headsup shows the KPI", || {
        get(page, "/metrics").contains(r#"headsup_kpi_aht_aht_ms{channel="",grouped_by="shop,skill",shop="shop-1",skill="refund"} 150000"#)
    });
    let prom_listen = format!("--web.listen-address=127.0.0.1:{prom}");
    let _prometheus = start(
        folder,
        prometheus,
        &["--config.file=prometheus.yml", "--storage.tsdb.path=tsdb", &prom_listen],
    );

    let told = |status: &str| {
        let begun = Instant::now();
        loop {
            let rest = Duration::from_secs(120).saturating_sub(begun.elapsed());
            let body = posted.recv_timeout(rest).unwrap_or_else(|_| {
                panic!(
                    "no webhook says {status}\n{}\n{}",
                    get(prom, "/api/v1/alerts"),
                    get(manager, "/api/v2/alerts")
                )
            });
            if body["status"] == status {
                return body;
            }
        }
    };
    let fired = told("firing");
    assert_eq!(fired["groupLabels"]["alertname"], "aht_high", "{fired}");
    assert_eq!(fired["groupLabels"]["shop"], "shop-1", "{fired}");
    let alerts = fired["alerts"].as_array().expect("alerts");
    assert_eq!(alerts.len(), 1, "{fired}");
    assert_eq!(alerts[0]["labels"]["skill"], "refund", "{fired}");
    assert_eq!(alerts[0]["labels"]["severity"], "page", "{fired}");

    // Later refunds are quick again.
    let quick: String = (50..80).map(|n| contact(n, "refund", 25, 60)).collect();
    events.write_all((quick + &contact(41, "other", 31, 10)).as_bytes()).expect("read");
    let resolved = told("resolved");
    assert_eq!(resolved["alerts"][0]["labels"]["skill"], "refund", "{resolved}");
    // And what headsup itself has said of it.
    until("headsup has said so too", || {
        let metrics = get(page, "/metrics");
        let change =
            |change: &str| format!(r#"headsup_alert_changes_total{{alert="aht_high",change="{change}"}} 1"#);
        metrics.contains(&change("firing")) && metrics.contains(&change("resolved"))
    });
}
