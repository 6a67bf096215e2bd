//! CloudEvents over HTTP.

use serde_json::{Value, json};

use super::server::Server;

const STRUCTURED: &str = "application/cloudevents+json";
const BATCH: &str = "application/cloudevents-batch+json";

fn event(id: &str) -> String {
    format!(r#"{{"specversion": "1.0", "id": "{id}", "source": "s", "type": "t", "data": {{"n": 1.10}}}}"#)
}

#[tokio::test]
async fn one_event_goes_on_as_it_came() {
    let server = Server::start().await;
    let answer = server.post("Application/CloudEvents+JSON; charset=UTF-8", &[], event("1").as_bytes()).await;
    let taken = answer.is_ok();
    let one = json!({"index": 0, "id": "1", "status": "accepted"});
    assert_eq!(taken, json!({"accepted": 1, "refused": 0, "answers": [one]}));
    assert_eq!(server.memory.events(), [event("1")]);
}

#[tokio::test]
async fn of_a_batch_the_good_ones_are_taken() {
    let server = Server::start().await;
    let body = format!("[{}, {{\"id\": \"2\"}}, 7, {}]", event("1"), event("4"));
    let taken = server.post(BATCH, &[], body.as_bytes()).await.is_ok();
    assert_eq!((&taken["accepted"], &taken["refused"]), (&json!(2), &json!(2)));
    let answers = taken["answers"].as_array().unwrap();
    let of = |name: &str| answers.iter().map(|answer| answer[name].clone()).collect::<Vec<Value>>();
    assert_eq!(of("index"), [0, 1, 2, 3]);
    assert_eq!(of("status"), ["accepted", "refused", "refused", "accepted"]);
    assert_eq!(answers[1]["id"], "2");
    assert_eq!(answers[2]["id"], Value::Null);
    assert_eq!(answers[1]["reason"], "missing_field");
    assert_eq!(server.memory.events(), [event("1"), event("4")]);
    assert_eq!(server.post(BATCH, &[], b"[]").await.is_ok()["answers"], json!([]));
}

#[tokio::test]
async fn a_batch_is_not_too_long() {
    let server = Server::start().await;
    let batch = |count: usize| format!("[{}]", vec!["1"; count].join(","));
    assert_eq!(server.post(BATCH, &[], batch(10_000).as_bytes()).await.is_ok()["refused"], 10_000);
    server.post(BATCH, &[], batch(10_001).as_bytes()).await.is_problem(413, "too-large");
}

#[tokio::test]
async fn attributes_come_in_headers() {
    let server = Server::start().await;
    let headers = [
        ("ce-specversion", "1.0"),
        ("CE-ID", "Euro%20%E2%82%AC%20%F0%9F%98%80"),
        ("ce-source", "\"a \\\"quoted\\\" one\""),
        ("ce-type", "t%2520"),
        ("ce-subject", "\u{e9}"),
    ];
    let taken = server.post("application/json", &headers, br#"{"n": 1.5}"#).await.is_ok();
    assert_eq!(taken["answers"][0]["id"], "Euro € 😀");
    let events = server.memory.events();
    let seen: Value = serde_json::from_str(&events[0]).unwrap();
    let expected = json!({
        "specversion": "1.0", "id": "Euro € 😀", "source": "a \"quoted\" one", "type": "t%20", "subject": "é",
        "datacontenttype": "application/json", "data": {"n": 1.5},
    });
    assert_eq!(seen, expected);
    assert!(!events[0].contains('\n'));
}

#[tokio::test]
async fn an_attribute_cannot_bring_others_in() {
    let server = Server::start().await;
    let id = "%22,%22type%22:%22x%0d%0aEvil: 1";
    let headers = [("ce-specversion", "1.0"), ("ce-id", id), ("ce-source", "s"), ("ce-type", "t")];
    let answer = server.post("application/json", &headers, b"{}").await;
    assert_eq!(answer.is_ok()["answers"][0]["id"], "\",\"type\":\"x\r\nEvil: 1");
    assert_eq!(answer.header("evil"), None);
    let event: Value = serde_json::from_str(&server.memory.events()[0]).unwrap();
    assert_eq!(event["type"], "t");
}

#[tokio::test]
async fn malformed_attributes_are_refused() {
    let server = Server::start().await;
    let odd: [(&str, &str); 7] = [
        ("ce-id", "%"),
        ("ce-id", "%zz"),
        ("ce-id", "%FF"),
        ("ce-id", "\"a\\\""),
        ("ce-data", "{}"),
        ("ce-datacontenttype", "application/json"),
        ("ce-a_b", "1"),
    ];
    for odd in odd {
        let headers = [("ce-specversion", "1.0"), odd];
        server.post("application/json", &headers, b"{}").await.is_problem(400, "header");
    }
    let twice = [("ce-specversion", "1.0"), ("ce-specversion", "1.0")];
    server.post("application/json", &twice, b"{}").await.is_problem(400, "header");
}

#[tokio::test]
async fn what_is_no_json_is_refused() {
    let server = Server::start().await;
    for body in [&b"{"[..], b"", b"{}{}", b"{\"a\": \"\xff\"}", b"\xef\xbb\xbf{}"] {
        server.post(STRUCTURED, &[], body).await.is_problem(400, "json");
    }
    server.post(BATCH, &[], b"[{}").await.is_problem(400, "json");
    server.post(BATCH, &[], b"{}").await.is_problem(422, "content");
    server.post("application/json", &[("ce-specversion", "1.0")], b"nope").await.is_problem(400, "json");
    let deep = "[".repeat(500_000);
    server.post(BATCH, &[], deep.as_bytes()).await.is_problem(400, "json");
    server.post(STRUCTURED, &[], deep.as_bytes()).await.is_problem(400, "json");
    let closed = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    assert_eq!(server.post(BATCH, &[], closed.as_bytes()).await.is_ok()["refused"], 1);
    server.post("application/json", &[], b"{}").await.is_problem(415, "media-type");
    server.post("text/plain", &[("ce-specversion", "1.0")], b"{}").await.is_problem(415, "media-type");
    let packed = [("Content-Encoding", "gzip")];
    server.post(STRUCTURED, &packed, b"{}").await.is_problem(415, "media-type");
    assert!(server.memory.events().is_empty());
}
