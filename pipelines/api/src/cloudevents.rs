//! CloudEvents over HTTP (HTTP Protocol Binding 1.0.2): structured, batched and binary.

use std::borrow::Cow;

use axum::http::{HeaderMap, HeaderName};
use percent_encoding::percent_decode;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::params::is_percent_encoded;
use crate::problem::{Kind, Problem};

/// Most events of a batch.
pub(crate) const BATCH_MAX: usize = 10_000;

/// How events are in a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Structured,
    Batch,
    Binary,
}

impl Mode {
    /// By the media type, and whether there are attributes in headers.
    pub(crate) fn of(media_type: &str, headers: &HeaderMap) -> Result<Self, Problem> {
        let is_json = media_type == "application/json" || media_type.ends_with("+json");
        match media_type {
            "application/cloudevents+json" => Ok(Self::Structured),
            "application/cloudevents-batch+json" => Ok(Self::Batch),
            _ if is_json && headers.contains_key("ce-specversion") => Ok(Self::Binary),
            _ => {
                let detail = "it has to be application/cloudevents+json, application/cloudevents-batch+json, or application/json with headers ce-specversion, ce-id, ce-source and ce-type";
                Err(Problem::new(Kind::MediaType, detail))
            }
        }
    }
}

/// The events of a request, each in JSON.
pub(crate) fn events(mode: Mode, headers: &HeaderMap, body: &[u8]) -> Result<Vec<Vec<u8>>, Problem> {
    let wrong = |error: serde_json::Error| Problem::new(Kind::Json, error.to_string());
    match mode {
        Mode::Structured => {
            let event: &RawValue = serde_json::from_slice(body).map_err(wrong)?;
            Ok(vec![event.get().as_bytes().to_vec()])
        }
        Mode::Batch => {
            let _: &RawValue = serde_json::from_slice(body).map_err(wrong)?;
            let events: Vec<&RawValue> = serde_json::from_slice(body)
                .map_err(|_| Problem::new(Kind::Content, "a batch is an array of events"))?;
            if events.len() > BATCH_MAX {
                let detail = format!("there are {} events; send at most {BATCH_MAX} at once", events.len());
                return Err(Problem::new(Kind::TooLarge, detail));
            }
            Ok(events.iter().map(|event| event.get().as_bytes().to_vec()).collect())
        }
        Mode::Binary => {
            let mut event = attributes(headers)?;
            if !body.is_empty() {
                event.insert("data".to_owned(), serde_json::from_slice(body).map_err(wrong)?);
            }
            Ok(vec![Value::Object(event).to_string().into_bytes()])
        }
    }
}

/// The attributes in headers `ce-…`, and the media type of the data.
fn attributes(headers: &HeaderMap) -> Result<Map<String, Value>, Problem> {
    let mut event = Map::new();
    for (header, value) in headers {
        let Some(name) = header.as_str().strip_prefix("ce-") else { continue };
        let wrong = |what: &str| Problem::new(Kind::Header, format!("header {header} {what}"));
        let is_name = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if !is_name || matches!(name, "data" | "datacontenttype") {
            return Err(wrong("is no attribute of a CloudEvent; the data is the body"));
        }
        let text = decoded(value.as_bytes()).ok_or_else(|| {
            wrong("is not UTF-8, encoded by percent signs (CloudEvents HTTP Protocol Binding, 3.1.3.2)")
        })?;
        if event.insert(name.to_owned(), Value::String(text)).is_some() {
            return Err(wrong("is there twice"));
        }
    }
    if let Some(kind) = headers.get(HeaderName::from_static("content-type")) {
        let kind = String::from_utf8_lossy(kind.as_bytes()).into_owned();
        event.insert("datacontenttype".to_owned(), Value::String(kind));
    }
    Ok(event)
}

/// The value of a header: quotes are taken off, then percent signs decoded once.
fn decoded(value: &[u8]) -> Option<String> {
    let mut bytes = Cow::Borrowed(value);
    if let [b'"', inner @ .., b'"'] = value {
        let mut plain = Vec::with_capacity(inner.len());
        let mut rest = inner.iter();
        while let Some(&byte) = rest.next() {
            plain.push(if byte == b'\\' { *rest.next()? } else { byte });
        }
        bytes = Cow::Owned(plain);
    }
    is_percent_encoded(std::str::from_utf8(&bytes).ok()?).then_some(())?;
    String::from_utf8(percent_decode(&bytes).collect()).ok()
}
