//! The HTTP front: one request, one statement of the engine.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use tiny_http::{Header, Request, Response};

use crate::chdb::Engine;
use crate::frames::decompress;

pub(crate) const LIBRARY: &str = "HEADSUP_TEST_CHDB";
pub(crate) const FOLDER: &str = "HEADSUP_TEST_ENGINE_FOLDER";
pub(crate) const PORT: &str = "HEADSUP_TEST_ENGINE_PORT";
/// Before the port, on standard output.
pub(crate) const READY: &str = "engine ready at port ";
/// So many requests are answered at the same time; the engine has one after the other.
const THREADS: usize = 4;

/// Serves, and never returns, if this process was started by [`crate::Server`] to do so.
///
/// # Panics
/// The engine cannot be started.
pub fn serve_if_asked() {
    let Some(folder) = std::env::var_os(FOLDER).map(PathBuf::from) else {
        return;
    };
    let library = PathBuf::from(std::env::var_os(LIBRARY).expect("set by who started this"));
    let port = std::env::var(PORT).ok().and_then(|port| port.parse::<u16>().ok()).unwrap_or(0);
    let engine = Engine::open(&library, &folder).expect("the engine starts");
    let engine = Arc::new(Mutex::new(engine));
    let server = Arc::new(tiny_http::Server::http(("127.0.0.1", port)).expect("a port of ours"));
    let port = server.server_addr().to_ip().expect("of IP").port();
    // Standard output is captured by the test harness; this is not.
    writeln!(std::io::stdout().lock(), "{READY}{port}").expect("somebody listens");
    let threads: Vec<_> = (0..THREADS)
        .map(|_| {
            let (engine, server) = (engine.clone(), server.clone());
            std::thread::spawn(move || {
                while let Ok(request) = server.recv() {
                    // Whoever has gone away needs no answer.
                    let _ = answer(&engine, request);
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().expect("no panic");
    }
    std::process::exit(1);
}

fn answer(engine: &Mutex<Engine>, mut request: Request) -> std::io::Result<()> {
    let mut body = Vec::new();
    request.as_reader().read_to_end(&mut body)?;
    let parameters = parameters(request.url());
    let compress = request.headers().iter().any(|header| {
        header.field.equiv("Accept-Encoding")
            && header.value.as_str().split(',').any(|one| one.trim() == "lz4")
    });
    match run(engine, &parameters, body) {
        Ok(rows) if compress && !rows.is_empty() => {
            let mut encoder = lz4_flex::frame::FrameEncoder::new(Vec::new());
            encoder.write_all(&rows)?;
            let data = encoder.finish().map_err(std::io::Error::other)?;
            request.respond(Response::from_data(data).with_header(header("Content-Encoding", "lz4")))
        }
        Ok(rows) => request.respond(Response::from_data(rows)),
        Err(message) => {
            let code = message.strip_prefix("Code: ").and_then(|rest| rest.split('.').next()).unwrap_or("0");
            let status = if matches!(code, "60" | "81") { 404 } else { 500 };
            let response = Response::from_string(message.trim().to_owned() + "\n").with_status_code(status);
            request.respond(response.with_header(header("X-ClickHouse-Exception-Code", code)))
        }
    }
}

fn header(name: &str, value: &str) -> Header {
    Header::from_bytes(name, value).expect("ASCII")
}

fn run(
    engine: &Mutex<Engine>,
    parameters: &BTreeMap<String, String>,
    body: Vec<u8>,
) -> Result<Vec<u8>, String> {
    let mut settings = Vec::new();
    for (name, value) in parameters {
        match name.as_str() {
            "query" | "database" | "default_format" | "decompress" => {}
            "insert_deduplication_token" => {
                settings.push(format!("{name} = '{}'", value.replace('\'', "''")))
            }
            _ => return Err(format!("Code: 115. our HTTP front does not know the setting {name}")),
        }
    }
    let body = if parameters.contains_key("decompress") { decompress(&body)? } else { body };
    let (sql, data) = match parameters.get("query") {
        Some(sql) => (sql.clone(), Some(body)),
        None => (String::from_utf8(body).map_err(|_| "Code: 62. the query is no UTF-8".to_owned())?, None),
    };
    let engine = engine.lock().unwrap_or_else(PoisonError::into_inner);
    let database = parameters.get("database").map_or("default", String::as_str);
    engine.query(&format!("USE `{}`", database.replace('`', "``")), "Null")?;
    match data {
        Some(data) if sql.trim_start().to_ascii_uppercase().starts_with("INSERT") => {
            let format = sql.to_ascii_uppercase().rfind("FORMAT").ok_or("Code: 62. there is no FORMAT")?;
            let (insert, format) = sql.split_at(format);
            let settings = match settings.as_slice() {
                [] => String::new(),
                some => format!("SETTINGS {}", some.join(", ")),
            };
            engine.insert(&format!("{insert} {settings}"), format["FORMAT".len()..].trim(), &data)?;
            Ok(Vec::new())
        }
        _ => {
            let format = parameters.get("default_format").map_or("TabSeparated", String::as_str);
            engine.query(&sql, format)
        }
    }
}

/// The query part of a URL.
fn parameters(url: &str) -> BTreeMap<String, String> {
    let query = url.split_once('?').map_or("", |(_, query)| query);
    let decoded = |text: &str| {
        let mut bytes = Vec::new();
        let mut rest = text.bytes();
        while let Some(byte) = rest.next() {
            bytes.push(match byte {
                b'+' => b' ',
                b'%' => {
                    let mut digit =
                        || rest.next().and_then(|digit| (digit as char).to_digit(16)).unwrap_or(0);
                    (digit() * 16 + digit()) as u8
                }
                other => other,
            });
        }
        String::from_utf8_lossy(&bytes).into_owned()
    };
    query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| (decoded(name), decoded(value)))
        .collect()
}
