//! Who is let in, and how often.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, CACHE_CONTROL, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use governor::clock::{Clock, DefaultClock};
use governor::middleware::StateInformationMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use jiff::Timestamp;

use crate::problem::{Kind, Problem};
use crate::routes::Rate;
use crate::tokens::{Scope, Tokens};

const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const LIMIT: HeaderName = HeaderName::from_static("ratelimit");

/// The name of the token by which a request was let in.
#[derive(Debug, Clone)]
pub(crate) struct Caller(pub(crate) Arc<str>);

/// How often a token may ask: a bucket of `burst` that fills by `per_second`.
#[derive(Debug)]
pub(crate) struct Bucket {
    limiter: RateLimiter<NotKeyed, InMemoryState, DefaultClock, StateInformationMiddleware>,
    rate: Rate,
}

impl Bucket {
    pub(crate) fn new(rate: Rate) -> Self {
        let quota = Quota::per_second(rate.per_second).allow_burst(rate.burst);
        let limiter = RateLimiter::direct(quota).with_middleware::<StateInformationMiddleware>();
        Self { limiter, rate }
    }

    /// What is left in it for more, or how long to wait.
    fn take(&self) -> Result<u32, Duration> {
        match self.limiter.check() {
            Ok(state) => Ok(state.remaining_burst_capacity()),
            Err(not_until) => Err(not_until.wait_time_from(DefaultClock::default().now())),
        }
    }

    /// Headers by draft-ietf-httpapi-ratelimit-headers-10.
    fn headers(&self, left: u32) -> [(HeaderName, Option<HeaderValue>); 2] {
        let Rate { per_second, burst } = self.rate;
        let full = |missing: u32| missing.div_ceil(NonZeroU32::get(per_second)).max(1);
        let policy = format!("\"token\";q={burst};w={}", full(burst.get()));
        let limit = format!("\"token\";r={left};t={}", full(burst.get().saturating_sub(left)));
        [(POLICY, policy.try_into().ok()), (LIMIT, limit.try_into().ok())]
    }
}

/// Who may ask, and how often.
#[derive(Debug)]
pub(crate) struct Gate {
    /// `None`: nobody.
    tokens: Option<Tokens>,
    /// Name and bucket of each token.
    callers: Vec<(Arc<str>, Bucket)>,
}

impl Gate {
    pub(crate) fn new(tokens: Option<Tokens>, rate: Rate) -> Self {
        let all = tokens.as_ref().map(Tokens::all).unwrap_or_default();
        let callers = all.iter().map(|token| (Arc::from(token.name.as_str()), Bucket::new(rate)));
        Self { callers: callers.collect(), tokens }
    }
}

/// Lets in who has a token of a scope, if not too often.
pub(crate) async fn guard(
    State((gate, scope)): State<(Arc<Gate>, Scope)>,
    mut request: Request,
    next: Next,
) -> Response {
    let place = match admit(&gate, scope, request.headers()) {
        Ok(place) => place,
        Err(problem) => return problem.into_response(),
    };
    let Some((name, bucket)) = gate.callers.get(place) else {
        return Problem::internal().into_response();
    };
    let (left, mut response) = match bucket.take() {
        Ok(left) => {
            request.extensions_mut().insert(Caller(name.clone()));
            (left, next.run(request).await)
        }
        Err(wait) => {
            let detail = format!(
                "token {name} asked more than {} times at once or {} times a second; wait, and wait longer each time",
                bucket.rate.burst, bucket.rate.per_second
            );
            (0, Problem::later(Kind::Rate, detail, wait).into_response())
        }
    };
    for (name, value) in bucket.headers(left) {
        response.headers_mut().extend(value.map(|value| (name, value)));
    }
    response
}

fn admit(gate: &Gate, scope: Scope, headers: &HeaderMap) -> Result<usize, Problem> {
    const INVALID: &str = "Bearer realm=\"headsup\", error=\"invalid_token\"";
    const MISSING: &str = "Bearer realm=\"headsup\"";
    let Some(tokens) = &gate.tokens else {
        let detail = "headsup runs without tokens and lets nobody in; make one, put its entry into a file and name that in the configuration, see docs/api.md, Tokens";
        return Err(Problem::token(detail, MISSING));
    };
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let token = match (values.next(), values.next()) {
        (Some(value), None) => bearer(value.as_bytes()),
        _ => None,
    };
    let Some(token) = token else {
        let detail = "there is no header Authorization: Bearer TOKEN, or more than one";
        return Err(Problem::token(detail, MISSING));
    };
    let known = tokens.find(token).and_then(|place| Some((place, tokens.all().get(place)?)));
    let Some((place, token)) = known else {
        return Err(Problem::token("the token is not known; see that it is whole", INVALID));
    };
    if token.expires.is_some_and(|expires| expires <= Timestamp::now()) {
        return Err(Problem::token("the token has expired; ask for a new one", INVALID));
    }
    if !token.scopes.contains(&scope) {
        let detail = format!("token {} has not the scope {}; ask for one that has", token.name, scope.name());
        let challenge =
            format!("Bearer realm=\"headsup\", error=\"insufficient_scope\", scope=\"{}\"", scope.name());
        let problem = Problem::new(Kind::Scope, detail);
        return Err(match HeaderValue::try_from(challenge) {
            Ok(challenge) => problem.with(axum::http::header::WWW_AUTHENTICATE, challenge),
            Err(_) => problem,
        });
    }
    Ok(place)
}

/// The token of `Bearer TOKEN`; the scheme's case does not matter.
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked(7)?;
    let token = token.trim_ascii();
    (scheme.eq_ignore_ascii_case(b"bearer ") && !token.is_empty()).then_some(token)
}

/// Answers are of a moment, and are what they say they are.
pub(crate) async fn harden(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
