//! What the API is answered from: the board, and the topics of the log.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arrow::buffer::Buffer;
use headsup_alerts::{Alert, Rule};
use headsup_api::{
    Act, ActError, AlertState, AlertView, Backend, CloudEvent, EventAnswer, Feed, KpiQuery, KpiRow,
    ReadError, Score, ScorePage, ScoreQuery, Severity, TaskState, TaskView, Time, Unavailable,
};
use headsup_connectors::{EventLog, LogError, Reader, Record};
use headsup_events::{Chunk, Decoder, EventType, Limits, Text, format_rfc3339_ms};
use headsup_runtime::{Board, SCORES, TASKS};
use headsup_tasks::task::{State, Task};
use headsup_tasks::{Told, Transition};
use serde_json::{Value, json};
use tokio::sync::watch;

use super::known::Scores;
use super::tasks::Tasks;

/// How long nothing is read after there was nothing new.
const PAUSE: Duration = Duration::from_millis(10);
/// Of topic `scores` so much is read of each partition at the start; a sweep scores everybody within a day.
const SCORES_MAX: u64 = 1 << 18;
/// A run whose newest event is longer ago than this lives in the time of its events, as a replay does.
const BEHIND_MS: i64 = 60_000;
/// The topic of what is said of tasks. One of its own would be quiet, and hold back the time of all others.
const CONVERSATIONS: &str = "conversations";

/// A run that goes on in this process.
pub struct Running {
    board: Arc<Board>,
    log: Arc<dyn EventLog>,
    limits: Limits,
    known: Mutex<Known>,
    changes: watch::Sender<u64>,
}

#[derive(Default)]
struct Known {
    scores: Scores,
    tasks: Tasks,
    /// All that had been said before this process began has been read.
    is_whole: bool,
}

/// A partition that is followed.
struct Followed {
    is_task: bool,
    reader: Box<dyn Reader>,
}

impl Running {
    /// Begins to read what the run says.
    ///
    /// # Errors
    /// No thread, or a log that cannot be read.
    pub fn begin(board: Arc<Board>, log: Arc<dyn EventLog>, limits: Limits) -> io::Result<Arc<Self>> {
        let mut followed = Vec::new();
        for topic in log.topics().map_err(io::Error::other)? {
            let is_task = topic.name == TASKS;
            if !is_task && topic.name != SCORES {
                continue;
            }
            for (partition, end) in topic.end_offsets.iter().enumerate() {
                let from = if is_task { 0 } else { end.saturating_sub(SCORES_MAX) };
                let reader = log.reader(&topic.name, partition as u32, from).map_err(io::Error::other)?;
                followed.push(Followed { is_task, reader });
            }
        }
        let running =
            Arc::new(Self { board, log, limits, known: Mutex::default(), changes: watch::Sender::new(0) });
        let follower = running.clone();
        std::thread::Builder::new().name("tasks".to_owned()).spawn(move || follower.follow(followed))?;
        Ok(running)
    }

    fn follow(&self, mut followed: Vec<Followed>) {
        loop {
            let mut some = false;
            for Followed { is_task, reader } in &mut followed {
                // A log that cannot be read now is read later; the run itself says what is the matter.
                let Ok(Some(chunk)) = reader.next(Duration::ZERO) else { continue };
                some = true;
                let events = (0..chunk.spans.len())
                    .filter_map(|index| serde_json::from_slice(chunk.record(index)).ok());
                let events: Vec<Value> = events.collect();
                let mut known = self.known();
                for event in &events {
                    if *is_task {
                        Told::of(event).into_iter().for_each(|told| known.tasks.take(told));
                    } else {
                        known.scores.take(event);
                    }
                }
                drop(known);
                if *is_task {
                    self.changes.send_modify(|version| *version += 1);
                }
            }
            if !some {
                self.known().is_whole = true;
                std::thread::sleep(PAUSE);
            }
        }
    }

    /// The newest task of each of these customers, as it stands.
    pub fn newest_tasks(&self, customers: &BTreeSet<&str>) -> Vec<TaskView> {
        let known = self.known();
        let mut newest: BTreeMap<&str, &Task> = BTreeMap::new();
        for task in known.tasks.all().filter(|task| customers.contains(task.customer_id.as_str())) {
            let shown = newest.entry(&task.customer_id).or_insert(task);
            if (shown.created_ms, &shown.task_id) < (task.created_ms, &task.task_id) {
                *shown = task;
            }
        }
        newest.into_values().map(TaskView::from).collect()
    }

    /// A customer's tasks, the newest first.
    pub fn tasks_of(&self, customer: &str) -> Vec<TaskView> {
        let known = self.known();
        let mut tasks: Vec<&Task> = known.tasks.all().filter(|task| task.customer_id == customer).collect();
        tasks.sort_by_key(|task| std::cmp::Reverse((task.created_ms, &task.task_id)));
        tasks.into_iter().map(TaskView::from).collect()
    }

    /// How many tasks there are, by campaign and state.
    pub fn task_states(&self) -> Vec<(String, TaskState, u64)> {
        let known = self.known();
        let mut counts: BTreeMap<(&str, State), u64> = BTreeMap::new();
        for task in known.tasks.all() {
            *counts.entry((&task.campaign, task.life.state)).or_default() += 1;
        }
        counts.into_iter().map(|((campaign, state), n)| (campaign.to_owned(), state.into(), n)).collect()
    }

    /// Which models have scored, and how many customers.
    pub fn scored(&self) -> (BTreeSet<String>, usize) {
        self.known().scores.models()
    }

    /// The tasks, once all are known: nobody is told of one that there is none, because it has not been read yet.
    fn all_known(&self) -> Result<MutexGuard<'_, Known>, Unavailable> {
        let known = self.known();
        match known.is_whole {
            true => Ok(known),
            false => Err(Unavailable {
                detail: "the tasks of before are being read".to_owned(),
                retry_after: Duration::from_secs(1),
            }),
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// By the clock; of a replay, by its newest event.
    fn now_ms(&self) -> i64 {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64);
        let latest = self
            .board
            .read(|state| state.partitions.iter().filter_map(|partition| partition.latest_ms).max());
        latest.filter(|latest| now - latest > BEHIND_MS).unwrap_or(now)
    }

    fn append(&self, topic: &str, records: &[Record<'_>]) -> Result<(), Unavailable> {
        self.log.append(topic, records).map_err(|error| unavailable(&error))
    }
}

fn unavailable(error: &LogError) -> Unavailable {
    Unavailable { detail: error.to_string(), retry_after: Duration::from_secs(1) }
}

/// What a router asks for as the event that the run reads.
fn event_of(act: &Act, customer_id: &str, id: &str, source: &str, at_ms: i64) -> Value {
    let mut data = json!({"customer_id": customer_id});
    match &act.transition {
        Transition::Offered { agent_id } | Transition::Accepted { agent_id } => {
            data["agent_id"] = json!(agent_id)
        }
        Transition::Rejected { reason, retryable } => {
            data["reason"] = json!(reason);
            data["retryable"] = json!(retryable);
        }
        Transition::Completed { disposition, channel } => {
            data["disposition"] = json!(disposition);
            data["channel"] = json!(channel);
        }
        Transition::Expired | Transition::Cancelled { .. } => {}
    }
    json!({
        "specversion": "1.0",
        "id": id,
        "source": source,
        "type": act.transition.event_type(),
        "subject": act.task_id,
        "time": format_rfc3339_ms(at_ms),
        "data": data,
    })
}

/// Offsets with full stops between.
fn cursor(offsets: &[u64]) -> String {
    let offsets: Vec<String> = offsets.iter().map(u64::to_string).collect();
    offsets.join(".")
}

impl Backend for Running {
    fn risk(&self, customer_id: &str) -> Result<Vec<Score>, Unavailable> {
        Ok(self.known().scores.of(customer_id))
    }

    fn scores(&self, query: &ScoreQuery) -> Result<ScorePage, ReadError> {
        self.known().scores.page(query)
    }

    fn feed(&self, from: Option<&str>, limit: usize) -> Result<Feed, ReadError> {
        let topics = self.log.topics().map_err(|error| unavailable(&error))?;
        let ends = topics.into_iter().find(|topic| topic.name == TASKS).map(|topic| topic.end_offsets);
        let ends = ends.ok_or_else(|| Unavailable {
            detail: "this run says nothing of tasks: log.publish does not name tasks".to_owned(),
            retry_after: Duration::from_secs(60),
        })?;
        let mut offsets = match from {
            None => vec![0; ends.len()],
            Some(from) => {
                let offsets: Result<Vec<u64>, _> = from.split('.').map(str::parse).collect();
                offsets.ok().filter(|offsets| offsets.len() == ends.len()).ok_or(ReadError::BadCursor)?
            }
        };
        if offsets.iter().zip(&ends).any(|(offset, end)| offset > end) {
            return Err(ReadError::BadCursor);
        }
        let mut events = Vec::new();
        for (partition, (offset, end)) in offsets.iter_mut().zip(ends).enumerate() {
            if *offset >= end || events.len() >= limit {
                continue;
            }
            let failed = |error: LogError| unavailable(&error);
            let mut reader = self.log.reader(TASKS, partition as u32, *offset).map_err(failed)?;
            while *offset < end
                && events.len() < limit
                && let Some(chunk) = reader.next(Duration::ZERO).map_err(failed)?
            {
                for index in 0..chunk.spans.len().min(limit - events.len()) {
                    events.extend(serde_json::from_slice::<CloudEvent>(chunk.record(index)).ok());
                    *offset = chunk.first_offset + index as u64 + 1;
                }
            }
        }
        Ok(Feed { events, cursor: cursor(&offsets), now: Time(self.now_ms()) })
    }

    fn feed_changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    fn task(&self, task_id: &str) -> Result<Option<TaskView>, Unavailable> {
        Ok(self.all_known()?.tasks.get(task_id).map(TaskView::from))
    }

    fn act(&self, act: &Act) -> Result<TaskView, ActError> {
        let source = format!("/headsup/api/{}", act.by);
        let id = format!("{}/{}", act.task_id, act.key);
        // As the run calls it.
        let act = Act { key: format!("{source} {id}"), ..act.clone() };
        // Nobody else decides meanwhile.
        let mut known = self.all_known()?;
        // What is done to a task comes after what was done before, however quick the router is, and though the time of a
        // replay stands still between two events.
        let since_ms = known.tasks.get(&act.task_id).map(|task| task.life.since_ms);
        let at_ms = self.now_ms().max(since_ms.map_or(i64::MIN, |since_ms| since_ms + 1));
        let (task, is_new) = known.tasks.ask(&act, at_ms)?;
        if is_new {
            let event = event_of(&act, &task.customer_id, &id, &source, at_ms).to_string();
            let record = Record { key: task.customer_id.as_bytes(), value: event.as_bytes() };
            self.append(CONVERSATIONS, &[record])?;
            known.tasks.asked(&act, at_ms);
        }
        Ok(TaskView::from(&task))
    }

    fn ingest(&self, events: Vec<Vec<u8>>) -> Result<Vec<EventAnswer>, Unavailable> {
        let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64);
        let mut decoder = Decoder::new(self.limits, &[Text::Id, Text::CustomerId, Text::AgentId]);
        let mut answers = Vec::with_capacity(events.len());
        let mut good: BTreeMap<&str, Vec<(String, &[u8])>> = BTreeMap::new();
        for bytes in &events {
            let chunk = Chunk {
                first_offset: 0,
                appended_at_ms: now_ms,
                bytes: Buffer::from(bytes.as_slice()),
                spans: vec![(0, bytes.len() as u32)],
                oversized: Vec::new(),
            };
            let decoded = decoder.decode(&chunk);
            let head: Value = serde_json::from_slice(bytes).unwrap_or_default();
            let id = head["id"].as_str().map(str::to_owned);
            if let Some(bad) = decoded.quarantined.first() {
                answers.push(EventAnswer::refused(id, bad.reason.name(), bad.detail.clone()));
                continue;
            }
            // What changes tasks needs another scope, and time is the run's own to let pass.
            let kind = (!decoded.events.is_empty()).then(|| decoded.events.kind(0));
            if kind.is_some_and(|kind| kind.is_task() || kind == EventType::Heartbeat) {
                let detail = "of tasks POST /v1/tasks/{id}/… is told, and heartbeats are headsup's own";
                answers.push(EventAnswer::refused(id, "not_taken", detail));
                continue;
            }
            let (topic, key) = if decoded.events.is_empty() {
                // Of a type that is not applied: it is kept.
                (CONVERSATIONS, head["data"]["customer_id"].as_str().unwrap_or_default().to_owned())
            } else {
                let customer = decoded.events.text(Text::CustomerId, 0);
                let key = if customer.is_empty() { decoded.events.text(Text::AgentId, 0) } else { customer };
                (if decoded.events.kind(0).is_order() { "orders" } else { CONVERSATIONS }, key.to_owned())
            };
            good.entry(topic).or_default().push((key, bytes));
            answers.push(EventAnswer::accepted(id.unwrap_or_default()));
        }
        for (topic, events) in good {
            let record = |(key, value): &(String, &[u8])| (key.clone(), value.to_vec());
            let events: Vec<_> = events.iter().map(record).collect();
            let records: Vec<Record<'_>> =
                events.iter().map(|(key, value)| Record { key: key.as_bytes(), value }).collect();
            self.append(topic, &records)?;
        }
        Ok(answers)
    }

    fn kpis(&self, query: &KpiQuery) -> Result<Vec<KpiRow>, Unavailable> {
        let mut rows = self.board.read_series(|state| {
            let wanted = |name: &str| query.kpi.as_ref().is_none_or(|kpi| kpi == name);
            let mut rows = Vec::new();
            for kpi in state.kpis.iter().filter(|kpi| wanted(&kpi.name)) {
                for (series, point) in &kpi.series {
                    if query.since.is_some_and(|since| point.window_end_ms < since.0) {
                        continue;
                    }
                    let grouped: Vec<&str> = series.grouped_by.split(',').collect();
                    let keys = kpi.keys.iter().zip(&series.keys);
                    rows.push(KpiRow {
                        kpi: kpi.name.clone(),
                        title: kpi.title.clone(),
                        unit: kpi.unit.clone(),
                        keys: keys
                            .filter(|(key, _)| grouped.contains(&key.as_str()))
                            .map(|(key, value)| (key.clone(), value.clone()))
                            .collect(),
                        window_start: Time(point.window_end_ms.saturating_sub(kpi.size_ms)),
                        window_end: Time(point.window_end_ms),
                        is_final: point.is_final,
                        values: kpi.values.iter().cloned().zip(point.values.iter().copied()).collect(),
                    });
                }
            }
            rows
        });
        rows.sort_by_key(|row| std::cmp::Reverse(row.window_end));
        rows.truncate(query.limit);
        Ok(rows)
    }

    fn alerts(&self, state: Option<AlertState>) -> Result<Vec<AlertView>, Unavailable> {
        let mut alerts = self.board.read(|board| {
            let mut alerts: BTreeMap<&str, AlertView> = BTreeMap::new();
            // The newest word counts, and it comes first.
            for change in &board.alerts.recent {
                alerts.entry(&change.alert.id).or_insert_with(|| alert(&change.rule, &change.alert));
            }
            for (rule, firing) in board.alerts.firing.values() {
                alerts.insert(&firing.id, alert(rule, firing));
            }
            alerts.into_values().collect::<Vec<_>>()
        });
        alerts.retain(|alert| state.is_none_or(|state| state == alert.state));
        alerts.sort_by(|a, b| (b.started_at, &a.id).cmp(&(a.started_at, &b.id)));
        Ok(alerts)
    }
}

fn alert(rule: &Rule, alert: &Alert) -> AlertView {
    let episode = &alert.episode;
    AlertView {
        id: alert.id.clone(),
        name: rule.name.clone(),
        title: rule.title.clone(),
        severity: match rule.severity {
            headsup_alerts::Severity::Info => Severity::Info,
            headsup_alerts::Severity::Ticket => Severity::Ticket,
            headsup_alerts::Severity::Page => Severity::Page,
        },
        state: match alert.state {
            headsup_alerts::State::Firing => AlertState::Firing,
            headsup_alerts::State::Resolved => AlertState::Resolved,
            headsup_alerts::State::Withdrawn => AlertState::Withdrawn,
        },
        revision: alert.revision,
        kpi: rule.kpi.clone(),
        metric: rule.value.clone(),
        keys: rule.by.iter().cloned().zip(alert.key.iter().cloned()).collect(),
        value: episode.value,
        latest: alert.latest,
        peak: episode.peak,
        limit: episode.limit,
        n: episode.n,
        started_at: Time(episode.started_ms),
        resolved_at: episode.resolved_ms.map(Time),
        runbook: rule.runbook.clone(),
    }
}
