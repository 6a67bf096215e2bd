//! Bodies of requests, which are read within limits.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::DeserializeOwned;
use serde_json::error::Category;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::problem::{Kind, Problem};
use crate::routes::Shared;

/// What is counted of bodies in memory, in bytes.
const UNIT: usize = 1024;

/// The room for all bodies that are being read or worked on.
pub(crate) fn room(bytes: usize) -> Arc<Semaphore> {
    Arc::new(Semaphore::new((bytes / UNIT).clamp(1, Semaphore::MAX_PERMITS)))
}

/// The media type, in lower case and without parameters; a problem if bytes of it would not be read
/// as UTF-8.
pub(crate) fn media_type(headers: &HeaderMap) -> Result<String, Problem> {
    let wrong = |detail: &str| Problem::new(Kind::MediaType, detail);
    let encoding = headers.get(CONTENT_ENCODING);
    if encoding.is_some_and(|value| !value.as_bytes().eq_ignore_ascii_case(b"identity")) {
        return Err(wrong("the body has a Content-Encoding; send it as it is"));
    }
    let Some(value) = headers.get(CONTENT_TYPE) else {
        return Err(wrong("there is no Content-Type; say what the body is"));
    };
    let text = value.to_str().map_err(|_| wrong("Content-Type is not ASCII"))?.to_ascii_lowercase();
    let (kind, parameters) = text.split_once(';').unwrap_or((&text, ""));
    let charset = parameters.split(';').find_map(|one| one.trim().strip_prefix("charset="));
    if charset.is_some_and(|charset| !matches!(charset.trim_matches('"'), "utf-8" | "us-ascii")) {
        return Err(wrong("the body is in another charset; send UTF-8"));
    }
    Ok(kind.trim().to_owned())
}

/// The bytes, with the place that they take, which is to be kept as long as they.
pub(crate) async fn bytes(
    shared: &Shared,
    headers: &HeaderMap,
    body: Body,
) -> Result<(Bytes, OwnedSemaphorePermit), Problem> {
    let max = shared.options.body_max;
    let too_large =
        || Problem::new(Kind::TooLarge, format!("the body is over {max} bytes; send less at once"));
    let announced = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    let size: usize = announced.unwrap_or(max);
    if size > max {
        return Err(too_large());
    }
    let units = u32::try_from(size.div_ceil(UNIT)).unwrap_or(u32::MAX);
    let place = shared.room.clone().try_acquire_many_owned(units).map_err(|_| {
        let detail = "there are too many bodies at once; try again in a second";
        Problem::later(Kind::Unavailable, detail, std::time::Duration::from_secs(1))
    })?;
    let read = tokio::time::timeout(shared.options.body_timeout, Limited::new(body, max).collect()).await;
    match read {
        Ok(Ok(body)) => Ok((body.to_bytes(), place)),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
        Ok(Err(_)) => Err(Problem::new(Kind::Header, "the body is cut, or not framed as HTTP/1.1 has it")),
        Err(_) => {
            let seconds = shared.options.body_timeout.as_secs();
            Err(Problem::new(
                Kind::Slow,
                format!("the body did not come within {seconds} s; send it at once"),
            ))
        }
    }
}

/// A body of `application/json`.
pub(crate) async fn json<T: DeserializeOwned>(
    shared: &Shared,
    headers: &HeaderMap,
    body: Body,
) -> Result<T, Problem> {
    if media_type(headers)? != "application/json" {
        return Err(Problem::new(Kind::MediaType, "the body has to be application/json"));
    }
    let (bytes, _place) = bytes(shared, headers, body).await?;
    serde_json::from_slice(&bytes).map_err(|error| {
        let kind = if error.classify() == Category::Data { Kind::Content } else { Kind::Json };
        Problem::new(kind, error.to_string())
    })
}
