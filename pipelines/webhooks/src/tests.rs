use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use std::{any::Any, io, path::PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use headsup_connectors::{Disk, DiskFile, EmbeddedLog, EmbeddedOptions, EventLog, RealDisk, Record};
use proptest::prelude::*;
use sha2::{Digest, Sha256};

use crate::queue::{Breaker, Outcome, Queue, Step, Verdict};
use crate::{Deliver, Endpoint, Letters, Secrets, Settings, verify};

const SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
const OTHER: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8G";

fn settings() -> Settings {
    Settings {
        timeout: Duration::from_millis(80),
        attempts_max: 50,
        backoff_first: Duration::from_millis(1),
        backoff_max: Duration::from_millis(4),
        breaker_failures: 5,
        breaker_open: Duration::from_millis(5),
    }
}

fn answer(status: u16) -> Outcome {
    Outcome::Answer { status, retry_after_ms: None }
}

#[test]
fn signatures_are_those_of_the_specification_and_of_an_independent_computation() {
    let (id, at, body) = (
        "msg_27UH4WbU6Z5A5EzD8u03UvzRbpk",
        1_649_367_553,
        br#"{"email":"test@example.com","username":"test_user"}"#,
    );
    let both = Secrets::parse(&[SECRET, OTHER]).unwrap();
    let signature = both.sign(id, at, body).unwrap();
    assert!(signature.starts_with("v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw= v1,"));
    // RFC 2104 by hand.
    let mut key = STANDARD.decode(&OTHER[6..]).unwrap();
    key.resize(64, 0);
    let pad = |with: u8| key.iter().map(|byte| byte ^ with).collect::<Vec<u8>>();
    let signed = [format!("{id}.{at}.").as_bytes(), body].concat();
    let inner = Sha256::digest([pad(0x36), signed].concat());
    let outer = Sha256::digest([pad(0x5c), inner.to_vec()].concat());
    assert!(signature.ends_with(&format!(" v1,{}", STANDARD.encode(outer))));

    let mut headers = http::HeaderMap::new();
    headers.insert("webhook-id", id.parse().unwrap());
    headers.insert("webhook-timestamp", at.to_string().parse().unwrap());
    headers.insert("webhook-signature", signature.parse().unwrap());
    for known in [SECRET, OTHER] {
        let known = Secrets::parse(&[known]).unwrap();
        assert_eq!(verify(&headers, body, &known, at + 300), Ok(()));
        assert!(verify(&headers, body, &known, at + 301).is_err());
        assert!(verify(&headers, b"{}", &known, at).is_err());
    }
}

#[test]
fn wrong_endpoints_say_why_and_never_a_secret() {
    let new = |url: &str, secret: &str, settings| {
        Endpoint::new("router", url, &[secret], vec![], settings).map_err(|error| error.to_string())
    };
    let good = new("https://example.com/x?token=hush", SECRET, settings()).unwrap();
    let shown = format!("{good:?}");
    assert!(!shown.contains("C2FV") && !shown.contains("hush"), "{shown}");
    assert!(new("ftp://example.com", SECRET, settings()).unwrap_err().contains("url"));
    assert!(new("http://a:b@example.com", SECRET, settings()).unwrap_err().contains("password"));
    assert!(new("http://h/", "whsec_C2FV", settings()).unwrap_err().contains("secret 1 has 3 bytes"));
    assert!(!new("http://h/", "whsec_!hush", settings()).unwrap_err().contains("hush"));
    let zero = Settings { timeout: Duration::ZERO, ..settings() };
    assert!(new("http://h/", SECRET, zero).unwrap_err().contains("timeout is 0"));
}

#[test]
fn a_server_that_is_down_uses_up_no_attempts_and_one_trial_finds_it_up() {
    let mut queue = Queue::new(Settings { attempts_max: 2, ..settings() }, 1);
    queue.push((0, 0, 0), None);
    let mut now = 0;
    for _ in 0..1_000 {
        match queue.step(now) {
            Step::Send(key) => assert_eq!(queue.came(key, Outcome::NoAnswer, now), Verdict::Retry),
            Step::Wait(until) => now = until,
            other => panic!("{other:?}"),
        }
    }
    while let Step::Wait(until) = queue.step(now) {
        now = until;
    }
    assert_eq!(queue.breaker(), Breaker::HalfOpen);
    assert_eq!(queue.came((0, 0, 0), answer(204), now), Verdict::Delivered);
    assert_eq!((queue.breaker(), queue.step(now)), (Breaker::Closed, Step::Idle));
}

#[test]
fn what_is_asked_to_wait_for_is_waited_for_and_gone_keeps_the_event() {
    let mut queue = Queue::new(settings(), 1);
    queue.push((0, 0, 0), None);
    let slow = Outcome::Answer { status: 429, retry_after_ms: Some(5_000) };
    assert_eq!(queue.came((0, 0, 0), slow, 100), Verdict::Retry);
    assert_eq!(queue.step(200), Step::Wait(5_100));
    assert_eq!(queue.step(5_100), Step::Send((0, 0, 0)));
    assert_eq!(queue.came((0, 0, 0), answer(410), 5_100), Verdict::Gone);
    assert_eq!((queue.step(i64::MAX), queue.len()), (Step::Gone, 1));
    assert_eq!(crate::send::retry_after_ms("7", 0), Some(7_000));
    assert_eq!(crate::send::retry_after_ms("Thu, 01 Jan 1970 00:00:09 GMT", 2_000), Some(7_000));
}

proptest! {
    #[test]
    fn every_event_ends_once_and_subjects_stay_in_order(
        subjects in prop::collection::vec(0u8..4, 1..40),
        outcomes in prop::collection::vec(0u8..6, 1..200),
        seed: u64,
    ) {
        let mut queue = Queue::new(Settings { attempts_max: 3, ..settings() }, seed);
        for (offset, subject) in subjects.iter().enumerate() {
            queue.push((0, offset as u64, 0), Some(subject.to_string()));
        }
        let mut outcomes = outcomes.into_iter().chain(std::iter::repeat(0));
        let (mut now, mut ended, mut open_until) = (0, Vec::new(), i64::MIN);
        loop {
            match queue.step(now) {
                Step::Idle => break,
                Step::Wait(until) => {
                    prop_assert!(until > now);
                    now = until;
                }
                Step::Gone => unreachable!(),
                Step::Send(key) => {
                    prop_assert!(now >= open_until);
                    let subject = subjects[key.1 as usize];
                    let before = (0..key.1).filter(|at| subjects[*at as usize] == subject);
                    prop_assert!(before.into_iter().all(|at| ended.contains(&at)));
                    let outcome = match outcomes.next() {
                        Some(1) => answer(500),
                        Some(2) => answer(404),
                        Some(3) => Outcome::NoAnswer,
                        Some(4) => Outcome::Answer { status: 429, retry_after_ms: Some(50) },
                        _ => answer(200),
                    };
                    match queue.came(key, outcome, now) {
                        Verdict::Delivered | Verdict::Dead { .. } => ended.push(key.1),
                        _ => {}
                    }
                    if let Breaker::Open(until) = queue.breaker() {
                        open_until = until;
                    }
                }
            }
        }
        let distinct: HashSet<_> = ended.iter().collect();
        prop_assert_eq!((ended.len(), distinct.len()), (subjects.len(), subjects.len()));
    }
}

/// A receiver that verifies, and does what each id asks once.
struct Router {
    url: String,
    server: Arc<tiny_http::Server>,
    got: Arc<Mutex<Vec<String>>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Router {
    /// `behave`: the status for an id and how often it came; 0 drops the connection unanswered.
    fn start(mut behave: impl FnMut(&str, u32) -> u16 + Send + 'static) -> Self {
        let server = Arc::new(tiny_http::Server::http("127.0.0.1:0").unwrap());
        let url = format!("http://{}/hook", server.server_addr());
        let got = Arc::<Mutex<Vec<String>>>::default();
        let (here, seen) = (server.clone(), got.clone());
        let thread = std::thread::spawn(move || {
            let (mut times, mut done) = (HashMap::<String, u32>::new(), HashSet::new());
            for mut request in here.incoming_requests() {
                let mut body = Vec::new();
                request.as_reader().read_to_end(&mut body).unwrap();
                let mut headers = http::HeaderMap::new();
                for header in request.headers() {
                    let name: http::HeaderName = header.field.as_str().as_str().parse().unwrap();
                    headers.insert(name, header.value.as_str().parse().unwrap());
                }
                let now = jiff::Timestamp::now().as_second();
                verify(&headers, &body, &Secrets::parse(&[OTHER]).unwrap(), now).unwrap();
                assert_eq!(headers["content-type"], "application/cloudevents+json");
                let id = headers["webhook-id"].to_str().unwrap().to_owned();
                let count = times.entry(id.clone()).or_default();
                *count += 1;
                let status = behave(&id, *count);
                if (200..300).contains(&status) && done.insert(id.clone()) {
                    seen.lock().unwrap().push(id);
                }
                if status == 0 {
                    drop(request.into_writer());
                    continue;
                }
                let answer = tiny_http::Response::from_string("x".repeat(100_000)).with_status_code(status);
                let redirect: tiny_http::Header = "location: http://127.0.0.1:1/".parse().unwrap();
                let _ = request.respond(answer.with_header(redirect));
            }
        });
        Self { url, server, got, thread: Some(thread) }
    }

    fn got(&self) -> Vec<String> {
        self.got.lock().unwrap().clone()
    }
}

impl Drop for Router {
    fn drop(&mut self) {
        self.server.unblock();
        let outcome = self.thread.take().unwrap().join();
        assert!(outcome.is_ok() || std::thread::panicking());
    }
}

/// A disk that a kill cuts off: nothing reaches it any more.
#[derive(Debug, Default)]
struct Cut(AtomicBool);

impl Cut {
    fn ok(&self) -> io::Result<()> {
        if self.0.load(SeqCst) { Err(io::Error::other("killed")) } else { Ok(()) }
    }
}

impl Disk for Cut {
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.ok().and_then(|()| RealDisk.create(path))
    }
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        RealDisk.read(path)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.ok().and_then(|()| RealDisk.rename(from, to))
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.ok().and_then(|()| RealDisk.remove(path))
    }
    fn make_folder(&self, path: &Path) -> io::Result<()> {
        self.ok().and_then(|()| RealDisk.make_folder(path))
    }
    fn list(&self, folder: &Path) -> io::Result<Vec<(PathBuf, bool)>> {
        RealDisk.list(folder)
    }
    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        self.ok().and_then(|()| RealDisk.sync_folder(folder))
    }
    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Any + Send + Sync>>> {
        RealDisk.lock(path)
    }
}

fn log(folder: &Path, events: &[(String, String)]) -> Arc<dyn EventLog> {
    let log = EmbeddedLog::open(folder.join("log"), EmbeddedOptions::default()).unwrap();
    log.create_topic("tasks", 2).unwrap();
    for (subject, event) in events {
        let record = Record { key: subject.as_bytes(), value: event.as_bytes() };
        log.append("tasks", &[record]).unwrap();
    }
    Arc::new(log)
}

fn event(id: &str, subject: &str, data: &str) -> (String, String) {
    let text = format!(r#"{{"id":"{id}","type":"task.created","subject":"{subject}","data":{data}}}"#);
    (subject.to_owned(), text)
}

fn until(what: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(30);
    while !what() {
        assert!(Instant::now() < end, "it does not come");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn endpoint(url: &str) -> Endpoint {
    Endpoint::new("router", url, &[SECRET, OTHER], vec![], settings()).unwrap()
}

#[test]
fn each_event_has_its_effect_once_and_in_order_whenever_the_process_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let events: Vec<_> =
        (0..150).map(|n| event(&format!("{n:03}"), &format!("task-{}", n % 7), "{}")).collect();
    let log = log(folder.path(), &events);
    let mut state = 7u32;
    let router = Router::start(move |_, _| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        [200, 200, 200, 200, 500, 429, 302, 0][(state >> 29) as usize]
    });
    for kill in 0..60 {
        let disk = Arc::new(Cut::default());
        let start = Deliver::start(log.clone(), "tasks", folder.path(), disk.clone(), endpoint(&router.url));
        let deliver = start.unwrap();
        let wanted = (kill * 2 + 2).min(150);
        until(|| router.got().len() >= wanted);
        disk.0.store(kill % 3 != 0, SeqCst);
        deliver.stop();
    }
    let deliver =
        Deliver::start(log, "tasks", folder.path(), Arc::new(RealDisk), endpoint(&router.url)).unwrap();
    until(|| router.got().len() == 150 && deliver.status().waiting == 0);
    assert_eq!(deliver.stop().dead, 0);
    let got = router.got();
    for subject in 0..7 {
        let of: Vec<_> = got.iter().filter(|id| id.parse::<u32>().unwrap() % 7 == subject).collect();
        assert!(of.is_sorted(), "{of:?}");
    }
}

#[test]
fn what_is_refused_is_a_letter_that_can_be_sent_again_and_what_expired_is_skipped() {
    let folder = tempfile::tempdir().unwrap();
    let events = [
        event("bad", "a", "{}"),
        event("old", "b", r#"{"expires_at":"2020-01-01T00:00:00.000Z"}"#),
        event("good", "a", r#"{"expires_at":"2999-01-01T00:00:00.000Z"}"#),
        ("c".to_owned(), "no event".to_owned()),
    ];
    let log = log(folder.path(), &events);
    let router = Router::start(|id, count| if id == "bad" && count == 1 { 404 } else { 200 });
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let deliver = Deliver::start(log, "tasks", folder.path(), disk.clone(), endpoint(&router.url)).unwrap();
    let letters = Letters::of(disk, folder.path(), "router");
    until(|| letters.list().unwrap().0.len() == 2);
    until(|| router.got() == ["good"] && deliver.status().waiting == 0);
    assert_eq!((deliver.status().dead, deliver.status().skipped), (2, 1));
    let listed = letters.list().unwrap().0;
    let bad = listed.iter().find(|letter| letter.event == events[0].1).unwrap();
    assert_eq!((bad.reason.as_str(), bad.attempts), ("the answer was 404", 1));
    letters.resend(&bad.id).unwrap();
    assert!(letters.show(&bad.id).is_err());
    until(|| router.got() == ["good", "bad"]);
    deliver.stop();
    assert_eq!(letters.list().unwrap().0.len(), 1);
    let dead = folder.path().join("webhooks/router/dead");
    std::fs::write(dead.join("000000.aaa.jsonl"), "{}\n").unwrap();
    let (left, damaged) = letters.list().unwrap();
    assert_eq!((left.len(), damaged.len()), (1, 1));
    assert!(damaged[0].to_string().contains("000000.aaa.jsonl line 1"), "{}", damaged[0]);
}
