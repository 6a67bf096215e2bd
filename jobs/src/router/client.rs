//! The HTTP API as a router asks it.

use std::time::{Duration, Instant};

use headsup_events::parse_rfc3339_ms;
use headsup_tasks::{Told, Transition};
use serde_json::{Value, json};
use ureq::Agent;
use ureq::http::Response;

use crate::Failure;

use super::desk::Step;

/// Asks a run.
pub struct Client {
    agent: Agent,
    url: String,
    token: String,
    cursor: Option<String>,
    /// What time it was for the run, in ms, and when it said so.
    now: Option<(i64, Instant)>,
}

/// What came of asking for a step.
#[derive(Debug, PartialEq, Eq)]
pub enum Asked {
    /// It is so.
    Done,
    /// It is not possible any more, and why.
    Never(String),
    /// Not now, and why.
    Later(String),
}

/// A long poll, and some time for the answer.
const TIMEOUT: Duration = Duration::from_secs(90);
/// Events that are asked for at once.
const PAGE: usize = 500;

impl Client {
    /// Of the run at this address, such as `http://127.0.0.1:8787`.
    pub fn new(url: &str, token: &str) -> Self {
        let agent = Agent::config_builder()
            .timeout_global(Some(TIMEOUT))
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .proxy(None)
            .user_agent("headsup-router")
            .build()
            .new_agent();
        Self {
            agent,
            url: url.trim_end_matches('/').to_owned(),
            token: format!("Bearer {token}"),
            cursor: None,
            now: None,
        }
    }

    /// All that has become of tasks since the last call, from the first that is kept on; waits so many seconds for
    /// something.
    ///
    /// # Errors
    /// It is not let in: asking again would not help. Whatever else goes wrong is said to be tried again (`None`).
    pub fn feed(&mut self, wait_s: u32) -> Result<Option<Vec<Told>>, Failure> {
        let mut all = Vec::new();
        let (before, mut wait_s) = (self.cursor.clone(), wait_s);
        loop {
            // Who acted on some pages only would act on what is over in the next.
            let Some(events) = self.page(wait_s)? else {
                self.cursor = before;
                return Ok(None);
            };
            all.extend(events.iter().filter_map(Told::of));
            if events.len() < PAGE {
                return Ok(Some(all));
            }
            wait_s = 0;
        }
    }

    fn page(&mut self, wait_s: u32) -> Result<Option<Vec<Value>>, Failure> {
        let mut url = format!("{}/v1/tasks?limit={PAGE}&wait={wait_s}", self.url);
        if let Some(cursor) = &self.cursor {
            url += &format!("&cursor={cursor}");
        }
        let Ok(mut answer) = self.agent.get(&url).header("authorization", &self.token).call() else {
            return Ok(None);
        };
        match answer.status().as_u16() {
            200 => {}
            // What is behind the cursor is no longer kept.
            410 if self.cursor.take().is_some() => return self.page(wait_s),
            400 | 401 | 403 | 404 => {
                return Err(Failure::new(format!("{url}: {}", problem(&mut answer))));
            }
            _ => return Ok(None),
        }
        let Ok(text) = answer.body_mut().with_config().limit(64 << 20).read_to_string() else {
            return Ok(None);
        };
        let Ok(mut page) = serde_json::from_str::<Value>(&text) else { return Ok(None) };
        let Value::Array(events) = page["events"].take() else { return Ok(None) };
        self.cursor = page["cursor"].as_str().map(str::to_owned);
        self.now = page["now"].as_str().and_then(parse_rfc3339_ms).map(|now_ms| (now_ms, Instant::now()));
        Ok(Some(events))
    }

    /// What time it was for the run at the last answer, in ms, and when that came.
    pub fn now(&self) -> Option<(i64, Instant)> {
        self.now
    }

    /// Makes a step.
    pub fn ask(&self, step: &Step) -> Asked {
        let (what, body) = match &step.transition {
            Transition::Offered { agent_id } => ("offer", json!({"agent_id": agent_id})),
            Transition::Accepted { agent_id } => ("accept", json!({"agent_id": agent_id})),
            Transition::Rejected { reason, retryable } => {
                ("reject", json!({"reason": reason, "retryable": retryable}))
            }
            Transition::Completed { disposition, channel } => {
                ("complete", json!({"disposition": disposition, "channel": channel}))
            }
            Transition::Expired | Transition::Cancelled { .. } => ("cancel", json!({})),
        };
        let request = self
            .agent
            .post(format!("{}/v1/tasks/{}/{what}", self.url, step.task_id))
            .header("authorization", &self.token)
            .header("content-type", "application/json")
            .header("idempotency-key", &step.key);
        match request.send(body.to_string()) {
            Err(error) => Asked::Later(error.to_string()),
            Ok(mut answer) => match answer.status().as_u16() {
                200 => {
                    // Read, so that the connection can be used again.
                    let _ = answer.body_mut().read_to_string();
                    Asked::Done
                }
                408 | 429 | 500.. => Asked::Later(problem(&mut answer)),
                _ => Asked::Never(problem(&mut answer)),
            },
        }
    }
}

/// What the answer says is wrong.
fn problem(answer: &mut Response<ureq::Body>) -> String {
    let status = answer.status();
    let text = answer.body_mut().read_to_string().unwrap_or_default();
    let said = serde_json::from_str::<Value>(&text).unwrap_or_default();
    match said["detail"].as_str().or(said["title"].as_str()) {
        Some(said) => format!("{status}: {said}"),
        None => status.to_string(),
    }
}
