//! A server, and a client that sends what it is told, byte by byte.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use headsup_api::{Limits, Options, Rate, Scope, Stop, Tokens, new_token, openapi, router, serve};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::memory::Memory;

/// Nothing takes that long.
pub const LONG: Duration = Duration::from_secs(30);

/// A server with a token for everything and one for each scope.
pub struct Server {
    pub address: SocketAddr,
    pub memory: Arc<Memory>,
    pub all: String,
    pub stop: Stop,
    pub served: JoinHandle<()>,
    description: Value,
}

/// A file with a token of these scopes, and the token.
pub fn token(name: &str, scopes: &[Scope]) -> (String, String) {
    let new = new_token(name, scopes, None).unwrap();
    (new.token, new.entry)
}

/// Options that let the returned token in everywhere.
pub fn options() -> (Options, String) {
    let (token, file) = token("all", &Scope::ALL);
    let much = NonZeroU32::new(100_000).unwrap();
    let options = Options {
        tokens: Some(Tokens::parse("tokens.toml", &file).unwrap()),
        rate: Rate { per_second: much, burst: much },
        ..Options::default()
    };
    (options, token)
}

impl Server {
    pub async fn start() -> Self {
        let (options, all) = options();
        Self::start_with(options, all, Limits::default()).await
    }

    pub async fn start_with(mut options: Options, all: String, limits: Limits) -> Self {
        let memory = Arc::new(Memory::new());
        let stop = Stop::default();
        options.stop = stop.clone();
        let routes = router(memory.clone(), options);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let served = tokio::spawn(serve(listener, routes, limits, None, stop.clone()));
        let description = serde_json::from_str(&openapi()).unwrap();
        Self { address, memory, all, stop, served, description }
    }

    pub async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Sends bytes as they are, and reads an answer.
    pub async fn raw(&self, request: &[u8]) -> Answer {
        let mut stream = self.connect().await;
        stream.write_all(request).await.unwrap();
        Answer::read(&mut stream).await
    }

    /// Sends a request, and checks that its answer is described.
    pub async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: api\r\nConnection: close\r\n");
        for (name, value) in headers {
            head += &format!("{name}: {value}\r\n");
        }
        if !body.is_empty() || method == "POST" {
            head += &format!("Content-Length: {}\r\n", body.len());
        }
        let answer = self.raw(&[head.as_bytes(), b"\r\n", body].concat()).await;
        self.is_described(method, path, &answer);
        answer
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[("Authorization", &format!("Bearer {}", self.all))], b"").await
    }

    /// A change of a task, with a key.
    pub async fn act(&self, path: &str, key: &str, body: &str) -> Answer {
        self.act_if(path, key, None, body).await
    }

    pub async fn act_if(&self, path: &str, key: &str, tag: Option<&str>, body: &str) -> Answer {
        let token = format!("Bearer {}", self.all);
        let mut headers =
            vec![("Authorization", &*token), ("Idempotency-Key", key), ("Content-Type", "application/json")];
        headers.extend(tag.map(|tag| ("If-Match", tag)));
        self.send("POST", path, &headers, body.as_bytes()).await
    }

    /// Sends events of a media type.
    pub async fn post(&self, kind: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let token = format!("Bearer {}", self.all);
        let all = [&[("Authorization", &*token), ("Content-Type", kind)], headers].concat();
        self.send("POST", "/v1/events", &all, body).await
    }

    fn is_described(&self, method: &str, path: &str, answer: &Answer) {
        let path = path.split('?').next().unwrap();
        let fits = |template: &str| {
            let (a, b): (Vec<_>, Vec<_>) = (path.split('/').collect(), template.split('/').collect());
            a.len() == b.len() && a.iter().zip(&b).all(|(a, b)| a == b || *b == "{id}" && !a.is_empty())
        };
        let paths = self.description["paths"].as_object().unwrap();
        let Some((_, item)) = paths.iter().find(|(template, _)| fits(template)) else {
            assert_eq!(answer.status, 404, "{path}");
            return answer.is_problem(404, "no-such-path");
        };
        let Some(operation) = item.get(method.to_ascii_lowercase()) else {
            assert_eq!(answer.status, 405, "{method} {path}");
            return answer.is_problem(405, "method");
        };
        let mut response = &operation["responses"][answer.status.to_string()];
        if let Some(name) = response["$ref"].as_str() {
            response = self.description.pointer(&name[1..]).unwrap();
        }
        let kinds = response["content"].as_object();
        let kinds = kinds.unwrap_or_else(|| panic!("{method} {path}: {} is not described", answer.status));
        assert!(kinds.contains_key(answer.header("content-type").unwrap()), "{method} {path}: {answer:?}");
        for (name, _) in response["headers"].as_object().into_iter().flatten() {
            let is_there = answer.header(name).is_some();
            assert!(is_there, "{method} {path}: no {name} in {answer:?}");
        }
        let required = |schema: &Value| {
            let name = schema["$ref"].as_str()?.rsplit('/').next()?;
            self.description["components"]["schemas"][name]["required"].as_array().cloned()
        };
        for (_, content) in kinds {
            for name in required(&content["schema"]).into_iter().flatten() {
                let is_there = answer.json().get(name.as_str().unwrap()).is_some();
                assert!(is_there, "no {name} in {answer:?}");
            }
        }
    }
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Answer {
    /// Reads one from a connection that may go on behind it.
    pub async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Self {
        let answer = timeout(LONG, Self::try_read(stream)).await;
        answer.expect("there is no answer").expect("the connection ended without an answer")
    }

    /// `None` if the connection ends before there is a whole one.
    pub async fn try_read(stream: &mut (impl AsyncRead + Unpin)) -> Option<Self> {
        let mut bytes = Vec::new();
        let mut need = None;
        loop {
            if need.is_none() {
                let end = bytes.windows(4).position(|four| four == b"\r\n\r\n");
                need = end.map(|end| {
                    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
                    let length = head.lines().find_map(|line| {
                        line.to_ascii_lowercase().strip_prefix("content-length:")?.trim().parse().ok()
                    });
                    (head, end + 4, end + 4 + length.unwrap_or(0_usize))
                });
            }
            if let Some((head, from, until)) = &need
                && bytes.len() >= *until
            {
                let mut lines = head.lines();
                let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
                let header = |line: &str| {
                    let (name, value) = line.split_once(':')?;
                    Some((name.to_ascii_lowercase(), value.trim().to_owned()))
                };
                let body = String::from_utf8(bytes[*from..*until].to_vec()).ok()?;
                return Some(Self { status, headers: lines.filter_map(header).collect(), body });
            }
            if stream.read_buf(&mut bytes).await.ok()? == 0 {
                return None;
            }
        }
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        let name = name.to_ascii_lowercase();
        self.headers.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str())
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Checks that it is a problem of a kind.
    #[track_caller]
    pub fn is_problem(&self, status: u16, kind: &str) {
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self:?}");
        let problem = self.json();
        assert_eq!(
            (self.status, &problem["type"]),
            (status, &format!("urn:headsup:{kind}").into()),
            "{self:?}"
        );
        assert_eq!(problem["status"], status);
        assert!(problem["title"].as_str().is_some_and(|text| !text.is_empty()));
        assert!(problem["detail"].as_str().is_some_and(|text| !text.is_empty()));
        assert!(self.header("cache-control").is_some());
    }

    /// Checks that it is what was asked for.
    #[track_caller]
    pub fn is_ok(&self) -> Value {
        assert_eq!(self.status, 200, "{self:?}");
        self.json()
    }
}
