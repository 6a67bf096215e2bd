//! What has to be known of an event to send it.

use serde::Deserialize;

/// The attributes that decide.
#[derive(Debug, Deserialize)]
pub(crate) struct Event {
    pub id: String,
    #[serde(rename = "type")]
    pub kind: String,
    pub subject: Option<String>,
    data: Option<Data>,
}

#[derive(Debug, Deserialize)]
struct Data {
    expires_at: Option<String>,
}

impl Event {
    /// Reads it, or says why it cannot be sent.
    pub fn read(bytes: &[u8]) -> Result<Self, String> {
        let event: Self =
            serde_json::from_slice(bytes).map_err(|error| format!("it is no CloudEvent: {error}"))?;
        let visible = |id: &str| !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_graphic());
        if visible(&event.id) { Ok(event) } else { Err("its id cannot be a header".into()) }
    }

    /// Whether it offers a task that nobody may do any more.
    pub fn has_expired(&self, now_ms: i64) -> bool {
        let expires = self.data.as_ref().and_then(|data| data.expires_at.as_ref());
        let expires = expires.and_then(|text| text.parse::<jiff::Timestamp>().ok());
        self.kind == "task.created" && expires.is_some_and(|at| at.as_millisecond() <= now_ms)
    }
}
