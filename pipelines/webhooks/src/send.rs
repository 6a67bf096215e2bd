//! One attempt over HTTP, bounded in time and bytes.

use std::io::{Read, copy, sink};

use ureq::Agent;

use crate::endpoint::Endpoint;
use crate::queue::Outcome;

/// Of an answer's body no more is read; what is longer costs the connection.
const BODY_BYTES_MAX: u64 = 16 << 10;
const HEADER_BYTES_MAX: usize = 16 << 10;

/// Follows no redirect and uses no proxy.
pub(crate) fn agent(endpoint: &Endpoint) -> Agent {
    Agent::config_builder()
        .timeout_global(Some(endpoint.settings.timeout))
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .max_response_header_size(HEADER_BYTES_MAX)
        .proxy(None)
        .user_agent("headsup")
        .build()
        .new_agent()
}

/// Sends an event, and says what came of it, also in words.
pub(crate) fn send(
    agent: &Agent,
    endpoint: &Endpoint,
    id: &str,
    body: &[u8],
    now_ms: i64,
) -> (Outcome, String) {
    let timestamp_s = now_ms.div_euclid(1_000);
    let Some(signature) = endpoint.secrets.sign(id, timestamp_s, body) else {
        return (Outcome::Answer { status: 400, retry_after_ms: None }, "it is not UTF-8".into());
    };
    let request = agent
        .post(endpoint.url.clone())
        .header("content-type", "application/cloudevents+json")
        .header("webhook-id", id)
        .header("webhook-timestamp", timestamp_s.to_string())
        .header("webhook-signature", signature);
    match request.send(body) {
        Ok(mut answer) => {
            let status = answer.status().as_u16();
            let retry_after = answer.headers().get("retry-after").and_then(|value| value.to_str().ok());
            let retry_after_ms = retry_after.and_then(|text| retry_after_ms(text, now_ms));
            // The status says it all; reading on only keeps the connection for the next one.
            let _ = copy(&mut answer.body_mut().as_reader().take(BODY_BYTES_MAX), &mut sink());
            (Outcome::Answer { status, retry_after_ms }, format!("the answer was {status}"))
        }
        Err(error) => (Outcome::NoAnswer, format!("no answer: {error}")),
    }
}

/// Seconds, or a date.
pub(crate) fn retry_after_ms(text: &str, now_ms: i64) -> Option<i64> {
    if let Ok(seconds) = text.trim().parse::<u32>() {
        return Some(i64::from(seconds) * 1_000);
    }
    let at = jiff::fmt::rfc2822::parse(text.trim()).ok()?;
    Some((at.timestamp().as_millisecond() - now_ms).max(0))
}
