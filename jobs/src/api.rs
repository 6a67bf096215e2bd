//! The page, the metrics and the HTTP API of a run, at one address; and tokens for it.

mod backend;
mod known;
mod tasks;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use clap::{Args, ValueEnum};
use headsup_api::{Limits, Options, Scope, Stop, Tls, Tokens, new_token};
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
    let listen = &config.http_listen;
    let tokens = match config.api_tokens.as_str() {
        "" => None,
        file => Some(
            Tokens::parse(file, &read(Path::new(file))?)
                .map_err(|error| Failure { code: 2, message: error.to_string() })?,
        ),
    };
    let tls = match (config.api_certificate.as_str(), config.api_key.as_str()) {
        ("", "") => None,
        (certificate, key) => Some(
            Tls::read(Path::new(certificate), Path::new(key))
                .map_err(|error| Failure { code: 2, message: error.to_string() })?,
        ),
    };
    let failed = |error: std::io::Error| {
        Failure::new(format!("cannot serve the page at {listen}: {error}; set http.listen"))
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let listener = runtime.block_on(TcpListener::bind(listen)).map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    let mut routes = headsup_runtime::routes(board.clone());
    let mut running = None;
    if let Some(log) = log {
        let backend = Running::begin(board.clone(), log.clone(), config.limits).map_err(failed)?;
        running = Some(backend.clone());
        let options = Options { tokens: tokens.clone(), ..Options::default() };
        routes = routes.merge(headsup_api::router(backend, options));
    }
    let routes = routes.merge(page::routes(stored, board.clone(), running, tokens, address.ip()));
    let serving = headsup_api::serve(listener, routes, Limits::default(), tls, Stop::default());
    let thread = std::thread::Builder::new().name("http".to_owned());
    thread.spawn(move || runtime.block_on(serving)).map_err(failed)?;
    Ok(address)
}
