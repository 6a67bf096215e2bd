//! A backend in memory, for tests and the example.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use headsup_api::{
    Act, ActError, AlertState, AlertView, Backend, CloudEvent, EventAnswer, Feed, KpiQuery, KpiRow,
    ReadError, Reason, Score, ScorePage, ScoreQuery, Severity, TaskView, Time, Unavailable,
};
use headsup_tasks::task::{self, Arm, Life, Priority, Reach, Risk, Task, TaskError, Transition};
use serde_json::Value;
use tokio::sync::watch;

/// 2026-03-02T10:00:00Z.
pub const NOW_MS: i64 = 1_772_445_600_000;

/// Everything that it knows.
pub struct Memory {
    /// Whether it has no room for anything.
    pub full: AtomicBool,
    state: Mutex<State>,
    changes: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    scores: Vec<Score>,
    tasks: BTreeMap<String, Task>,
    done: HashMap<(String, String), (Transition, TaskView)>,
    feed: Vec<CloudEvent>,
    /// Events of the feed that are no longer kept.
    gone: usize,
    events: Vec<Vec<u8>>,
}

impl Memory {
    /// Three scores and a task.
    pub fn new() -> Self {
        let memory =
            Self { full: AtomicBool::new(false), state: Mutex::default(), changes: watch::Sender::new(0) };
        for (customer, model, probability) in
            [("c-1", "order_return", 0.7), ("c-1", "churn", 0.2), ("客户/2", "churn", 0.9)]
        {
            memory.state().scores.push(Score {
                customer_id: customer.to_owned(),
                model: model.to_owned(),
                version: "3".to_owned(),
                probability,
                percentile: (probability > 0.5).then_some(98.5),
                reasons: vec![Reason::from(&reason())],
                at: Time(NOW_MS),
            });
        }
        memory.create("late/1");
        memory
    }

    /// A new task.
    pub fn create(&self, task_id: &str) {
        let task = Task {
            task_id: task_id.to_owned(),
            idempotency_key: "0".repeat(32),
            assignment_id: "1".repeat(32),
            campaign: "late".to_owned(),
            title: "Late | 延迟".to_owned(),
            customer_id: "c-1".to_owned(),
            shop: "north".to_owned(),
            order_ids: vec!["o-7".to_owned()],
            risk: Risk {
                kind: "order_return".to_owned(),
                probability: 0.7,
                percentile: None,
                lead_ms: 86_400_000,
                model: "3".to_owned(),
            },
            reasons: vec![reason()],
            recommended_actions: vec!["apologise".to_owned()],
            required_skills: vec!["returns".to_owned()],
            channels: vec![Reach { channel: "app".to_owned(), until_ms: Some(NOW_MS + 1) }],
            priority: Priority::High,
            created_ms: NOW_MS,
            not_before_ms: NOW_MS,
            expires_ms: NOW_MS + 86_400_000,
            arm: Arm::Treated,
            life: Life::begin(NOW_MS),
        };
        let event = task.created_event("memory");
        self.state().tasks.insert(task_id.to_owned(), task);
        self.publish(event);
    }

    /// Forgets the first `count` events of the feed.
    pub fn forget(&self, count: usize) {
        self.state().gone = count;
    }

    /// How many read the feed, or wait for it.
    pub fn waiting(&self) -> usize {
        self.changes.receiver_count()
    }

    /// What was sent and accepted.
    pub fn events(&self) -> Vec<String> {
        let text = |bytes: &Vec<u8>| String::from_utf8_lossy(bytes).into_owned();
        self.state().events.iter().map(text).collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn publish(&self, event: Value) {
        self.state().feed.extend(serde_json::from_value::<CloudEvent>(event).ok());
        self.changes.send_modify(|version| *version += 1);
    }

    fn room(&self) -> Result<(), Unavailable> {
        if self.full.load(Ordering::Relaxed) {
            let detail = "the disk is full".to_owned();
            return Err(Unavailable { detail, retry_after: Duration::from_millis(1500) });
        }
        Ok(())
    }
}

fn reason() -> task::Reason {
    task::Reason { group: "delivery".to_owned(), en: "late".to_owned(), zh: "延迟".to_owned() }
}

/// The place that a cursor is.
fn place(cursor: Option<&str>) -> Result<usize, ReadError> {
    let Some(cursor) = cursor else { return Ok(0) };
    cursor.strip_prefix("at-").and_then(|place| place.parse().ok()).ok_or(ReadError::BadCursor)
}

impl Backend for Memory {
    fn risk(&self, customer_id: &str) -> Result<Vec<Score>, Unavailable> {
        self.room()?;
        let state = self.state();
        Ok(state.scores.iter().filter(|score| score.customer_id == customer_id).cloned().collect())
    }

    fn scores(&self, query: &ScoreQuery) -> Result<ScorePage, ReadError> {
        self.room()?;
        let from = place(query.cursor.as_deref())?;
        let is_asked = |score: &&Score| {
            query.model.as_ref().is_none_or(|model| *model == score.model)
                && score.probability >= query.min_probability
        };
        let mut scores: Vec<Score> = self.state().scores.iter().filter(is_asked).cloned().collect();
        scores.sort_by(|a, b| b.probability.total_cmp(&a.probability));
        let until = from.saturating_add(query.limit);
        let cursor = (until < scores.len()).then(|| format!("at-{until}"));
        Ok(ScorePage { scores: scores.into_iter().skip(from).take(query.limit).collect(), cursor })
    }

    fn feed(&self, cursor: Option<&str>, limit: usize) -> Result<Feed, ReadError> {
        self.room()?;
        let state = self.state();
        let from = if cursor.is_none() { state.gone } else { place(cursor)? };
        if from > state.feed.len() {
            return Err(ReadError::BadCursor);
        }
        if from < state.gone {
            return Err(ReadError::Gone);
        }
        let events: Vec<CloudEvent> = state.feed.iter().skip(from).take(limit).cloned().collect();
        Ok(Feed { cursor: format!("at-{}", from + events.len()), events, now: Time(0) })
    }

    fn feed_changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    fn task(&self, task_id: &str) -> Result<Option<TaskView>, Unavailable> {
        self.room()?;
        Ok(self.state().tasks.get(task_id).map(TaskView::from))
    }

    fn act(&self, act: &Act) -> Result<TaskView, ActError> {
        self.room()?;
        let mut state = self.state();
        let Some(task) = state.tasks.get_mut(&act.task_id) else {
            return Err(TaskError::Unknown { task_id: act.task_id.clone() }.into());
        };
        let event = act.apply(task, NOW_MS)?;
        let view = TaskView::from(&*task);
        let id = (act.task_id.clone(), act.key.clone());
        let Some(event) = event else {
            return Ok(state.done.get(&id).map_or(view, |(_, first)| first.clone()));
        };
        state.done.insert(id, (act.transition.clone(), view.clone()));
        drop(state);
        self.publish(event.event(&act.by));
        Ok(view)
    }

    fn ingest(&self, events: Vec<Vec<u8>>) -> Result<Vec<EventAnswer>, Unavailable> {
        self.room()?;
        let mut state = self.state();
        let mut answers = Vec::new();
        for bytes in events {
            let event: Value = serde_json::from_slice(&bytes).unwrap_or_default();
            let id = event["id"].as_str().map(str::to_owned);
            let missing =
                ["specversion", "id", "source", "type"].iter().find(|&&name| !event[name].is_string());
            answers.push(match (missing, id) {
                (None, Some(id)) => {
                    state.events.push(bytes);
                    EventAnswer::accepted(id)
                }
                (missing, id) => {
                    let detail = format!("there is no {}", missing.unwrap_or(&"id"));
                    EventAnswer::refused(id, "missing_field", detail)
                }
            });
        }
        Ok(answers)
    }

    fn kpis(&self, query: &KpiQuery) -> Result<Vec<KpiRow>, Unavailable> {
        self.room()?;
        let row = |end_ms: i64| KpiRow {
            kpi: "aht".to_owned(),
            title: "Average handle time".to_owned(),
            unit: "ms".to_owned(),
            keys: BTreeMap::from([("shop".to_owned(), "north".to_owned())]),
            window_start: Time(end_ms - 60_000),
            window_end: Time(end_ms),
            is_final: false,
            values: BTreeMap::from([("aht_ms".to_owned(), Some(93_000.0)), ("p90_ms".to_owned(), None)]),
        };
        let rows = [NOW_MS + 60_000, NOW_MS].map(row).into_iter();
        let is_asked = |row: &KpiRow| {
            query.kpi.as_ref().is_none_or(|kpi| *kpi == row.kpi)
                && query.since.is_none_or(|since| row.window_end >= since)
        };
        Ok(rows.filter(is_asked).take(query.limit).collect())
    }

    fn alerts(&self, state: Option<AlertState>) -> Result<Vec<AlertView>, Unavailable> {
        self.room()?;
        let alert = AlertView {
            id: "aht_high/north/1".to_owned(),
            name: "aht_high".to_owned(),
            title: "Too long".to_owned(),
            severity: Severity::Page,
            state: AlertState::Firing,
            revision: 1,
            kpi: "aht".to_owned(),
            metric: "aht_ms".to_owned(),
            keys: BTreeMap::from([("shop".to_owned(), "north".to_owned())]),
            value: 131_000.0,
            latest: Some(128_000.0),
            peak: 140_000.0,
            limit: 120_000.0,
            n: 31,
            started_at: Time(NOW_MS),
            resolved_at: None,
            runbook: "See which channel.".to_owned(),
        };
        Ok([alert].into_iter().filter(|alert| state.is_none_or(|state| state == alert.state)).collect())
    }
}
