//! Paths, queries and headers.

use axum::extract::{FromRequestParts, Path, Query};
use axum::http::request::Parts;
use percent_encoding::percent_decode_str;
use serde::de::DeserializeOwned;

use crate::problem::{Kind, Problem};

/// Longest id, in characters.
pub(crate) const ID_MAX: usize = 512;
/// What has no control characters, as the description says it.
pub(crate) const PLAIN: &str = "^[^\\x00-\\x1f\\x7f-\\x9f]+$";

/// The id in a path: `%2F` is a slash of the id.
pub(crate) struct Id(pub(crate) String);

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Path(id) = Path::<String>::from_request_parts(parts, state)
            .await
            .map_err(|_| Problem::new(Kind::Path, "the id is not UTF-8, encoded by percent signs"))?;
        if id.is_empty() || id.chars().count() > ID_MAX || id.chars().any(char::is_control) {
            let detail =
                format!("the id is empty, longer than {ID_MAX} characters or has control characters");
            return Err(Problem::new(Kind::Path, detail));
        }
        Ok(Self(id))
    }
}

/// The query. A name that is not known, or twice, is a mistake.
pub(crate) struct Params<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Params<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let wrong = |detail: String| Problem::new(Kind::Query, detail);
        let text = parts.uri.query().unwrap_or_default();
        // Query reads what is not UTF-8 as something else, without saying so.
        if !is_percent_encoded(text) || percent_decode_str(text).decode_utf8().is_err() {
            return Err(wrong("the query is not UTF-8, encoded by percent signs".to_owned()));
        }
        let Query(params) = Query::try_from_uri(&parts.uri).map_err(|error| wrong(error.body_text()))?;
        Ok(Self(params))
    }
}

/// Whether two hexadecimal digits come behind each percent sign.
pub(crate) fn is_percent_encoded(text: &str) -> bool {
    text.split('%').skip(1).all(|behind| {
        behind.get(..2).is_some_and(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()))
    })
}

/// A number of a query within its limits.
pub(crate) fn within<T: PartialOrd + std::fmt::Display>(
    name: &str,
    value: T,
    least: T,
    most: T,
) -> Result<T, Problem> {
    if value >= least && value <= most {
        return Ok(value);
    }
    Err(Problem::new(Kind::Query, format!("{name} is {value}; it has to be from {least} to {most}")))
}

/// A text of a query that says something.
pub(crate) fn text(name: &str, value: Option<String>, most: usize) -> Result<Option<String>, Problem> {
    let is_wrong = |value: &String| {
        value.is_empty() || value.chars().count() > most || value.chars().any(char::is_control)
    };
    if value.as_ref().is_some_and(is_wrong) {
        let detail =
            format!("{name} is empty, longer than {most} characters or has control characters; leave it out");
        return Err(Problem::new(Kind::Query, detail));
    }
    Ok(value)
}
