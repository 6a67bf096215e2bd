//! Hostile clients.

use std::num::NonZeroU32;
use std::time::Duration;

use headsup_api::{Limits, Options, Rate};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{sleep, timeout};

use super::server::{Answer, LONG, Server, options};

/// Short, but longer than anything takes that is not meant to be slow.
const SHORT: Duration = Duration::from_millis(1500);
/// Connections of an attack.
const MANY: usize = 300;

async fn with(change: impl FnOnce(&mut Options, &mut Limits)) -> Server {
    let (mut options, token) = options();
    let mut limits = Limits::default();
    change(&mut options, &mut limits);
    Server::start_with(options, token, limits).await
}

fn head(server: &Server, more: &str) -> String {
    format!(
        "POST /v1/events HTTP/1.1\r\nHost: api\r\nAuthorization: Bearer {}\r\nContent-Type: application/cloudevents+json\r\n{more}\r\n",
        server.all
    )
}

/// Whether the server ends the connection, whatever it says before.
async fn ends(stream: &mut TcpStream) {
    let mut told = Vec::new();
    let _ = timeout(LONG, stream.read_to_end(&mut told)).await.expect("the connection stays open");
}

#[tokio::test]
async fn a_large_body_is_refused_unread() {
    let server = Server::start().await;
    let announced = head(&server, "Content-Length: 100000000\r\n");
    server.raw(announced.as_bytes()).await.is_problem(413, "too-large");
    let asked = head(&server, "Content-Length: 100000000\r\nExpect: 100-continue\r\n");
    server.raw(asked.as_bytes()).await.is_problem(413, "too-large");
    let exact = [head(&server, "Content-Length: 1048577\r\n").as_bytes(), &[b' '; 1 << 20]].concat();
    server.raw(&exact).await.is_problem(413, "too-large");
}

#[tokio::test]
async fn a_large_body_of_no_known_length_is_refused_before_its_end() {
    let server = Server::start().await;
    let (mut read, mut write) = server.connect().await.into_split();
    let request = head(&server, "Transfer-Encoding: chunked\r\n");
    let chunk = [&b"10000\r\n"[..], &[b' '; 0x10000], b"\r\n"].concat();
    let writing = async {
        write.write_all(request.as_bytes()).await.unwrap();
        let mut sent = 0;
        while sent < 100_000_000 && write.write_all(&chunk).await.is_ok() {
            sent += 0x10000;
        }
        sent
    };
    let (sent, answer) = tokio::join!(writing, Answer::read(&mut read));
    answer.is_problem(413, "too-large");
    assert_eq!(answer.header("connection"), Some("close"));
    assert!(sent < 100_000_000, "all of it was taken");
}

#[tokio::test]
async fn a_slow_body_is_given_up() {
    let server = with(|options, _| options.body_timeout = SHORT).await;
    let mut stream = server.connect().await;
    let request = head(&server, "Content-Length: 100\r\n") + "{";
    stream.write_all(request.as_bytes()).await.unwrap();
    Answer::read(&mut stream).await.is_problem(408, "slow");
    ends(&mut stream).await;
}

#[tokio::test]
async fn bodies_have_room_together() {
    let server = with(|options, _| options.bodies_max = 1 << 20).await;
    let mut slow = server.connect().await;
    slow.write_all(head(&server, "Content-Length: 1048576\r\n").as_bytes()).await.unwrap();
    let kind = "application/cloudevents+json";
    let busy = async {
        while server.post(kind, &[], b"{}").await.status == 200 {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(LONG, busy).await.unwrap();
    let answer = server.post(kind, &[], b"{}").await;
    answer.is_problem(503, "unavailable");
    server.get("/v1/scores").await.is_ok();
    drop(slow);
    let free = async {
        while server.post(kind, &[], b"{}").await.status != 200 {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(LONG, free).await.unwrap();
}

#[tokio::test]
async fn a_body_that_is_cut_changes_nothing() {
    let server = Server::start().await;
    let mut stream = server.connect().await;
    let request = head(&server, "Content-Length: 100\r\n") + "{";
    stream.write_all(request.as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    ends(&mut stream).await;
    let mut stream = server.connect().await;
    let request = head(&server, "Transfer-Encoding: chunked\r\n") + "zz\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    ends(&mut stream).await;
    assert!(server.memory.events().is_empty());
}

#[tokio::test]
async fn slow_heads_starve_nobody() {
    let server = with(|_, limits| {
        limits.head_timeout = SHORT;
        limits.connections = 2 * MANY;
        limits.connections_per_address = MANY;
    })
    .await;
    let mut slow = Vec::new();
    for place in 0..2 * MANY {
        let mut stream = server.connect().await;
        // Some are told at once that there is no place.
        let text = ["", "GET /v1/scores HTTP/1.1\r\nX: "][place % 2];
        let _ = stream.write_all(text.as_bytes()).await;
        slow.push(stream);
    }
    // Somebody else, from another address, is served meanwhile.
    let mut other = connect_from(&server, "127.0.0.2").await;
    other.write_all(scores(&server).as_bytes()).await.unwrap();
    Answer::read(&mut other).await.is_ok();
    // A byte now and then helps nobody to stay.
    for _ in 0..3 {
        for stream in &mut slow {
            let _ = stream.write_all(b"a").await;
        }
    }
    for stream in &mut slow {
        ends(stream).await;
    }
    server.get("/v1/scores").await.is_ok();
}

/// A connection from another of this machine's addresses.
async fn connect_from(server: &Server, address: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(format!("{address}:0").parse().unwrap()).unwrap();
    socket.connect(server.address).await.unwrap()
}

fn scores(server: &Server) -> String {
    format!("GET /v1/scores HTTP/1.1\r\nHost: api\r\nAuthorization: Bearer {}\r\n\r\n", server.all)
}

#[tokio::test]
async fn who_asks_nothing_makes_room_for_who_does() {
    let server = with(|_, limits| limits.connections = 10).await;
    let mut slow = Vec::new();
    for place in 0..MANY {
        let mut stream = connect_from(&server, &format!("127.0.1.{}", place % 200)).await;
        let _ = stream.write_all(b"GET /v1/scores HTTP/1.1\r\nX: ").await;
        slow.push(stream);
    }
    // All places are taken by others that are still within their time.
    let mut stream = server.connect().await;
    stream.write_all(scores(&server).as_bytes()).await.unwrap();
    Answer::read(&mut stream).await.is_ok();
    // All but the newest are gone.
    for stream in &mut slow[..MANY - 10] {
        ends(stream).await;
    }
}

#[tokio::test]
async fn who_waits_for_an_answer_keeps_the_place() {
    let server = with(|_, limits| limits.connections = 2).await;
    let wait = format!(
        "GET /v1/tasks?cursor=at-1&wait=60 HTTP/1.1\r\nHost: api\r\nAuthorization: Bearer {}\r\n\r\n",
        server.all
    );
    let mut waiting = [server.connect().await, server.connect().await];
    for stream in &mut waiting {
        stream.write_all(wait.as_bytes()).await.unwrap();
    }
    let both = async {
        while server.memory.waiting() < 2 {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(LONG, both).await.unwrap();
    let mut third = server.connect().await;
    let answer = Answer::read(&mut third).await;
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("1")));
    server.memory.create("t-2");
    for stream in &mut waiting {
        Answer::read(stream).await.is_ok();
    }
    server.get("/v1/scores").await.is_ok();
}

#[tokio::test]
async fn an_address_has_its_share_and_gives_it_back() {
    let server = with(|_, limits| limits.connections_per_address = 2).await;
    let (first, _second) = (server.connect().await, server.connect().await);
    let mut third = server.connect().await;
    let answer = Answer::read(&mut third).await;
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("1")));
    let mut other = connect_from(&server, "127.0.0.2").await;
    other.write_all(scores(&server).as_bytes()).await.unwrap();
    Answer::read(&mut other).await.is_ok();
    drop(first);
    let free = async {
        loop {
            let mut stream = server.connect().await;
            let _ = stream.write_all(scores(&server).as_bytes()).await;
            if Answer::try_read(&mut stream).await.is_some_and(|answer| answer.status == 200) {
                break;
            }
        }
    };
    timeout(LONG, free).await.unwrap();
}

#[tokio::test]
async fn an_idle_connection_is_ended() {
    let server = with(|_, limits| limits.head_timeout = SHORT).await;
    let mut stream = server.connect().await;
    stream.write_all(scores(&server).as_bytes()).await.unwrap();
    Answer::read(&mut stream).await.is_ok();
    ends(&mut stream).await;
    // Who waits for tasks is not idle.
    server.get("/v1/tasks?cursor=at-1&wait=3").await.is_ok();
}

#[tokio::test]
async fn who_does_not_read_is_left() {
    let server = with(|_, limits| limits.write_timeout = SHORT).await;
    let request = b"GET /v1/openapi.json HTTP/1.1\r\nHost: api\r\n\r\n".repeat(2000);
    let (read, mut write) = server.connect().await.into_split();
    // Requests are not read before answers are: the server ends the connection in the end.
    let writing = async { while write.write_all(&request).await.is_ok() {} };
    timeout(LONG, writing).await.expect("the connection stays open");
    drop(read);
    server.get("/v1/scores").await.is_ok();
}

#[tokio::test]
async fn heads_are_not_too_large() {
    let server = Server::start().await;
    let long = "a".repeat(100_000);
    for request in [
        format!("GET /v1/scores HTTP/1.1\r\nHost: api\r\nX: {long}\r\n\r\n"),
        format!("GET /v1/scores?model={long} HTTP/1.1\r\nHost: api\r\n\r\n"),
        format!("GET /v1/scores HTTP/1.1\r\nHost: api\r\n{}\r\n", "X: 1\r\n".repeat(2000)),
    ] {
        let mut stream = server.connect().await;
        let _ = stream.write_all(request.as_bytes()).await;
        if let Ok(Some(answer)) = timeout(LONG, Answer::try_read(&mut stream)).await {
            assert!(matches!(answer.status, 414 | 431), "{answer:?}");
        }
    }
    for request in [
        "nonsense\r\n\r\n",
        "GET /v1/scores HTTP/1.1\r\nHost : a\r\nA\x00: b\r\n\r\n",
        "\x16\x03\x01\x02\x00",
    ] {
        let mut stream = server.connect().await;
        stream.write_all(request.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        ends(&mut stream).await;
    }
    // Two lengths, or a length and chunks, would let two servers see two requests.
    for more in
        ["Content-Length: 2\r\nContent-Length: 3\r\n", "Transfer-Encoding: identity\r\nContent-Length: 2\r\n"]
    {
        let mut stream = server.connect().await;
        let request = head(&server, more) + "{}";
        stream.write_all(request.as_bytes()).await.unwrap();
        let answer = Answer::try_read(&mut stream).await;
        assert!(answer.is_none_or(|answer| answer.status == 400));
    }
    server.get("/v1/scores").await.is_ok();
}

#[tokio::test]
async fn a_token_has_its_rate() {
    let slow = NonZeroU32::MIN;
    let server = with(|options, _| {
        options.rate = Rate { per_second: slow, burst: slow.saturating_add(2) };
    })
    .await;
    let first = server.get("/v1/scores").await;
    first.is_ok();
    assert_eq!(first.header("ratelimit-policy"), Some("\"token\";q=3;w=3"));
    assert_eq!(first.header("ratelimit"), Some("\"token\";r=2;t=1"));
    let refused = async {
        loop {
            let answer = server.get("/v1/scores").await;
            if answer.status != 200 {
                break answer;
            }
        }
    };
    let refused = timeout(LONG, refused).await.unwrap();
    refused.is_problem(429, "rate");
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert_eq!(refused.header("ratelimit"), Some("\"token\";r=0;t=3"));
    server.send("GET", "/v1/openapi.json", &[], b"").await.is_ok();
}
