//! The page, the metrics and the HTTP API of a run, at one address; and tokens for it.

mod backend;
mod known;
mod tasks;

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::Path;
use std::sync::Arc;

use clap::{Args, ValueEnum};
use headsup_api::{Limits, Options, Rate, Scope, Stop, Tls, Tokens, new_token};
use headsup_connectors::EventLog;
use headsup_runtime::{Board, Config};
use tokio::net::TcpListener;

use crate::page::{self, Stored};
use crate::rules::read;
use crate::{Failure, output};

pub use backend::Running;

/// Make a token for the HTTP API.
///
/// It prints the token, which is kept nowhere, and the entry by which the file that `api.tokens` names knows it.
#[derive(Debug, Args)]
pub struct TokenArgs {
    /// Whose it is
    name: String,
    /// What it is for
    #[arg(long, value_name = "SCOPE", value_delimiter = ',', required = true)]
    scopes: Vec<ScopeArg>,
    /// From when on it is worth nothing, such as 2027-01-01T00:00:00Z
    #[arg(long, value_name = "TIME")]
    expires: Option<jiff::Timestamp>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum ScopeArg {
    /// To send events
    Ingest,
    /// To read scores, tasks, KPIs and alerts
    Read,
    /// To say what becomes of tasks
    Act,
}

pub fn token(args: &TokenArgs) -> Result<(), Failure> {
    let scope = |scope: &ScopeArg| match scope {
        ScopeArg::Ingest => Scope::Ingest,
        ScopeArg::Read => Scope::Read,
        ScopeArg::Act => Scope::Act,
    };
    let scopes: Vec<Scope> = args.scopes.iter().map(scope).collect();
    let new = new_token(&args.name, &scopes, args.expires).map_err(Failure::from_error)?;
    eprintln!("the token, which nobody can tell again; then the entry for the file that api.tokens names");
    output::print(format!("{}\n\n{}", new.token, new.entry))
}

/// The same for a demo, whose router is let in by a token that nobody else knows, as often as it likes.
///
/// # Errors
/// As [`serve`].
pub fn serve_demo(
    board: &Arc<Board>,
    config: &Config,
    log: &Arc<dyn EventLog>,
    stored: Stored,
) -> Result<(SocketAddr, String), Failure> {
    let new = new_token("router", &[Scope::Read, Scope::Act], None).map_err(Failure::from_error)?;
    let tokens = Tokens::parse("the demo's tokens", &new.entry).map_err(Failure::from_error)?;
    let often = NonZeroU32::MAX;
    let rate = Rate { per_second: often, burst: often };
    let options = Options { tokens: Some(tokens), rate, ..Options::default() };
    // On this machine the page asks for none.
    Ok((serve_by(board, config, Some(log), stored, options, None)?, new.token))
}

/// Serves the page over what is stored, and the API if the input is a log, in a thread of its own until the process ends.
///
/// # Errors
/// The address is taken; tokens or certificates that are none.
pub fn serve(
    board: &Arc<Board>,
    config: &Config,
    log: Option<&Arc<dyn EventLog>>,
    stored: Stored,
) -> Result<SocketAddr, Failure> {
    let tokens = match config.api_tokens.as_str() {
        "" => None,
        file => Some(
            Tokens::parse(file, &read(Path::new(file))?)
                .map_err(|error| Failure { code: 2, message: error.to_string() })?,
        ),
    };
    serve_by(board, config, log, stored, Options { tokens: tokens.clone(), ..Options::default() }, tokens)
}

fn serve_by(
    board: &Arc<Board>,
    config: &Config,
    log: Option<&Arc<dyn EventLog>>,
    stored: Stored,
    options: Options,
    page_tokens: Option<Tokens>,
) -> Result<SocketAddr, Failure> {
    let listen = &config.http_listen;
    let tls = match (config.api_certificate.as_str(), config.api_key.as_str()) {
        ("", "") => None,
        (certificate, key) => Some(
            Tls::read(Path::new(certificate), Path::new(key))
                .map_err(|error| Failure { code: 2, message: error.to_string() })?,
        ),
    };
    let failed = |error: std::io::Error| {
        let taken = if error.kind() == std::io::ErrorKind::AddrInUse {
            "stop the headsup that runs there, or "
        } else {
            ""
        };
        Failure::new(format!(
            "cannot serve the page at {listen}: {error}; {taken}set http.listen in --config"
        ))
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let listener = runtime.block_on(TcpListener::bind(listen)).map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    let mut routes = headsup_runtime::routes(board.clone());
    let mut running = None;
    if let Some(log) = log {
        let backend = Running::begin(board.clone(), log.clone(), config.limits).map_err(failed)?;
        running = Some(backend.clone());
        routes = routes.merge(headsup_api::router(backend, options));
    }
    let routes = routes.merge(page::routes(stored, board.clone(), running, page_tokens, address.ip()));
    let serving = headsup_api::serve(listener, routes, Limits::default(), tls, Stop::default());
    let thread = std::thread::Builder::new().name("http".to_owned());
    thread.spawn(move || runtime.block_on(serving)).map_err(failed)?;
    Ok(address)
}
