//! Webhooks of a run, as a router takes them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use headsup_api::{Limits, Stop, serve};
use headsup_tasks::Told;
use headsup_webhooks::{Secrets, verify};
use tokio::net::TcpListener;

use crate::Failure;

use super::Heard;

struct Hook {
    secrets: Secrets,
    sender: Sender<Heard>,
}

/// Takes events of tasks that are signed with one of the secrets, at any path, until the process ends.
///
/// # Errors
/// The address is taken.
pub fn listen(address: SocketAddr, secrets: Secrets, sender: Sender<Heard>) -> Result<SocketAddr, Failure> {
    let failed = |error: std::io::Error| Failure::new(format!("cannot take webhooks at {address}: {error}"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let listener = runtime.block_on(TcpListener::bind(address)).map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    let routes = Router::new().fallback(post(take)).with_state(Arc::new(Hook { secrets, sender }));
    let serving = serve(listener, routes, Limits::default(), None, Stop::default());
    let thread = std::thread::Builder::new().name("webhooks".to_owned());
    thread.spawn(move || runtime.block_on(serving)).map_err(failed)?;
    Ok(address)
}

/// Answers as soon as the event is handed on: what becomes of it is told by the API.
async fn take(State(hook): State<Arc<Hook>>, headers: HeaderMap, body: Bytes) -> (StatusCode, String) {
    let now_s = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64);
    if let Err(error) = verify(&headers, &body, &hook.secrets, now_s) {
        return (StatusCode::UNAUTHORIZED, format!("{error}\n"));
    }
    let Ok(event) = serde_json::from_slice(&body) else {
        return (StatusCode::BAD_REQUEST, "expected a CloudEvent as JSON\n".to_owned());
    };
    let told = Told::of(&event).into_iter().collect();
    match hook.sender.send(Ok((told, None))) {
        Ok(()) => (StatusCode::NO_CONTENT, String::new()),
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "the router is about to end\n".to_owned()),
    }
}
