//! What is sent when, given what came of it: without I/O and without a clock.

use std::collections::{BTreeMap, HashSet};

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::endpoint::Settings;

/// The longest that a receiver can ask to wait for (`Retry-After`), in ms.
pub const RETRY_AFTER_MAX_MS: i64 = 3_600_000;

/// An event: partition and offset in the topic, and how often it was taken from the dead letters.
pub type Key = (u32, u64, u32);

/// What came of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The receiver answered.
    Answer {
        /// The status of HTTP.
        status: u16,
        /// What it asked to wait for, in ms.
        retry_after_ms: Option<i64>,
    },
    /// No connection, no answer in time, or one that is not HTTP.
    NoAnswer,
}

/// What to do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Send this, and say what came of it.
    Send(Key),
    /// Nothing until then, in ms since the Unix epoch.
    Wait(i64),
    /// Nothing is there.
    Idle,
    /// The receiver is gone (410); nothing is sent until the next start.
    Gone,
}

/// What became of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It was acknowledged, and is forgotten.
    Delivered,
    /// It is sent again later.
    Retry,
    /// It is not sent any more, and is forgotten.
    Dead {
        /// How many attempts counted.
        attempts: u32,
    },
    /// It stays, and nothing is sent.
    Gone,
}

/// Whether an endpoint is being sent to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Breaker {
    /// It is.
    #[default]
    Closed,
    /// It failed too often; nothing is sent until this time, in ms, then one event.
    Open(i64),
    /// One event is on its way to see whether it works again.
    HalfOpen,
    /// It said that it is gone.
    Gone,
}

/// Events that wait to be sent to an endpoint.
#[derive(Debug)]
pub struct Queue {
    settings: Settings,
    random: ChaCha8Rng,
    waiting: BTreeMap<Key, Waiting>,
    breaker: Breaker,
    failures: u32,
    paused_until: i64,
    answers: u64,
}

#[derive(Debug)]
struct Waiting {
    subject: Option<String>,
    attempts: u32,
    tries: u32,
    due: i64,
    answers: u64,
}

impl Queue {
    /// An empty one; `seed` decides how long the waits are.
    pub fn new(settings: Settings, seed: u64) -> Self {
        Self {
            settings,
            random: ChaCha8Rng::seed_from_u64(seed),
            waiting: BTreeMap::new(),
            breaker: Breaker::Closed,
            failures: 0,
            paused_until: i64::MIN,
            answers: 0,
        }
    }

    /// Adds an event. Those of a subject are sent in the order of their keys.
    pub fn push(&mut self, key: Key, subject: Option<String>) {
        let answers = self.answers;
        self.waiting.insert(key, Waiting { subject, attempts: 0, tries: 0, due: i64::MIN, answers });
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Whether the endpoint is being sent to.
    pub fn breaker(&self) -> Breaker {
        self.breaker
    }

    /// What to do now. After [`Step::Send`], [`Queue::came`] has to follow.
    pub fn step(&mut self, now_ms: i64) -> Step {
        match self.breaker {
            Breaker::Gone => return Step::Gone,
            Breaker::Open(until) if now_ms < until => {
                return if self.is_empty() { Step::Idle } else { Step::Wait(until) };
            }
            _ => {}
        }
        let mut subjects = HashSet::new();
        let next = self
            .waiting
            .iter()
            .filter(|&(_, waiting)| waiting.subject.as_deref().is_none_or(|subject| subjects.insert(subject)))
            .min_by_key(|(key, waiting)| (waiting.due, **key));
        let Some((&key, waiting)) = next else { return Step::Idle };
        let due = waiting.due.max(self.paused_until);
        if due > now_ms {
            return Step::Wait(due);
        }
        if matches!(self.breaker, Breaker::Open(_)) {
            self.breaker = Breaker::HalfOpen;
        }
        Step::Send(key)
    }

    /// Takes what came of sending `key`.
    pub fn came(&mut self, key: Key, outcome: Outcome, now_ms: i64) -> Verdict {
        let Some(mut waiting) = self.waiting.remove(&key) else { return Verdict::Delivered };
        let (counts, retry_after_ms) = match outcome {
            Outcome::Answer { status: 410, .. } => {
                self.waiting.insert(key, waiting);
                self.breaker = Breaker::Gone;
                return Verdict::Gone;
            }
            Outcome::Answer { status, retry_after_ms } => {
                self.answers += 1;
                let is_refusal = matches!(status, 400..=499) && !matches!(status, 408 | 425 | 429);
                if is_refusal || matches!(status, 200..=299) {
                    (self.failures, self.breaker) = (0, Breaker::Closed);
                    let attempts = waiting.attempts + 1;
                    return if is_refusal { Verdict::Dead { attempts } } else { Verdict::Delivered };
                }
                (true, retry_after_ms.map(|wait| wait.clamp(0, RETRY_AFTER_MAX_MS)))
            }
            // It counts only if the receiver has answered others meanwhile: then it is up, and
            // this event is what it does not answer.
            Outcome::NoAnswer => (waiting.tries > 0 && self.answers > waiting.answers, None),
        };
        self.failures = self.failures.saturating_add(1);
        if self.breaker == Breaker::HalfOpen || self.failures >= self.settings.breaker_failures {
            self.breaker = Breaker::Open(now_ms.saturating_add(ms(self.settings.breaker_open)));
        }
        if let Some(wait) = retry_after_ms {
            self.paused_until = self.paused_until.max(now_ms.saturating_add(wait));
        }
        waiting.tries = waiting.tries.saturating_add(1);
        waiting.attempts += u32::from(counts);
        if waiting.attempts >= self.settings.attempts_max {
            return Verdict::Dead { attempts: waiting.attempts };
        }
        waiting.answers = self.answers;
        waiting.due = now_ms.saturating_add(self.wait_ms(waiting.tries));
        self.waiting.insert(key, waiting);
        Verdict::Retry
    }

    /// Anything up to the limit, which doubles with each try.
    fn wait_ms(&mut self, tries: u32) -> i64 {
        let first = ms(self.settings.backoff_first);
        let most = first.saturating_mul(1 << (tries - 1).min(40)).min(ms(self.settings.backoff_max)).max(0);
        (self.random.next_u64() % (most.unsigned_abs() + 1)) as i64
    }
}

fn ms(duration: std::time::Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
