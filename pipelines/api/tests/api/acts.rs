//! What routers tell of tasks.

use serde_json::json;

use super::server::Server;

const TASK: &str = "/v1/tasks/late%2F1";

fn at(action: &str) -> String {
    format!("{TASK}/{action}")
}

#[tokio::test]
async fn a_task_is_offered_accepted_and_completed() {
    let server = Server::start().await;
    let task = server.get(TASK).await;
    assert_eq!(task.header("etag"), Some("\"1\""));
    assert_eq!(task.is_ok()["allowed"], json!(["offered", "expired", "cancelled"]));
    let offered = server.act(&at("offer"), "k1", "{}").await;
    assert_eq!((offered.header("etag"), &offered.is_ok()["state"]), (Some("\"2\""), &json!("offered")));
    let accepted = server.act(&at("accept"), "k2", r#"{"agent_id": "a-7"}"#).await.is_ok();
    assert_eq!(accepted["state"], "accepted");
    let body = r#"{"disposition": "no_answer", "channel": null}"#;
    let done = server.act(&at("complete"), "k3", body).await.is_ok();
    assert_eq!(
        (&done["state"], &done["revision"], &done["allowed"]),
        (&json!("completed"), &json!(4), &json!([]))
    );
    assert_eq!(server.get(TASK).await.is_ok(), done);
    let feed = server.get("/v1/tasks").await.is_ok();
    let kinds: Vec<&str> =
        feed["events"].as_array().unwrap().iter().map(|event| event["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["task.created", "task.offered", "task.accepted", "task.completed"]);
    assert_eq!(feed["events"][1]["source"], "all");
}

#[tokio::test]
async fn a_task_is_rejected_offered_again_and_cancelled() {
    let server = Server::start().await;
    server.act(&at("offer"), "k1", "{}").await.is_ok();
    let rejected = server.act(&at("reject"), "k2", r#"{"reason": "busy", "retryable": true}"#).await.is_ok();
    assert_eq!(rejected["state"], "returned");
    server.act(&at("offer"), "k3", r#"{"agent_id": null}"#).await.is_ok();
    assert_eq!(server.act(&at("cancel"), "k4", "{}").await.is_ok()["state"], "cancelled");
    let answer = server.act(&at("offer"), "k5", "{}").await;
    answer.is_problem(409, "impossible");
    assert_eq!(answer.json()["allowed"], json!([]));
}

#[tokio::test]
async fn what_is_sent_again_is_answered_like_the_first_time() {
    let server = Server::start().await;
    let first = server.act_if(&at("offer"), "k1", Some("\"1\""), r#"{"agent_id": "a"}"#).await;
    server.act(&at("accept"), "k2", "{}").await.is_ok();
    let again = server.act_if(&at("offer"), "k1", Some("\"1\""), r#"{ "agent_id":"a" }"#).await;
    assert_eq!((again.status, &again.body, again.header("etag")), (200, &first.body, first.header("etag")));
    assert_eq!(server.get(TASK).await.is_ok()["revision"], 3);
    server.act(&at("offer"), "k1", r#"{"agent_id": "b"}"#).await.is_problem(422, "key-reused");
    server.act(&at("cancel"), "k1", "{}").await.is_problem(422, "key-reused");
    // The key of another task is another key.
    server.memory.create("other");
    server.act("/v1/tasks/other/offer", "k1", "{}").await.is_ok();
}

#[tokio::test]
async fn a_request_that_failed_leaves_its_key_free() {
    let server = Server::start().await;
    server.act(&at("accept"), "k1", "{}").await.is_problem(409, "impossible");
    server.act(&at("offer"), "k1", "{}").await.is_ok();
}

#[tokio::test]
async fn if_match_guards_against_what_others_did() {
    let server = Server::start().await;
    for tag in ["\"2\"", "\"01\"", "W/\"1\"", "\"2\", \"3\"", "\"\"", "\"a,b\""] {
        let answer = server.act_if(&at("offer"), "k", Some(tag), "{}").await;
        answer.is_problem(412, "revision");
        assert_eq!(answer.json()["revision"], 1);
    }
    for tag in ["1", "\"1", "\"1\",", "\"1\" \"2\"", "", "w/\"1\"", "*, \"1\"", "\u{e9}"] {
        server.act_if(&at("offer"), "k", Some(tag), "{}").await.is_problem(400, "header");
    }
    server.act_if(&at("offer"), "k1", Some("W/\"9\", \"7\",\"1\""), "{}").await.is_ok();
    server.act_if(&at("accept"), "k2", Some("*"), "{}").await.is_ok();
    // Who knows an old task learns that first, and what is possible then.
    server.act_if(&at("offer"), "k3", Some("\"1\""), "{}").await.is_problem(412, "revision");
    server.act_if(&at("offer"), "k3", Some("\"3\""), "{}").await.is_problem(409, "impossible");
}

#[tokio::test]
async fn a_key_is_needed() {
    let server = Server::start().await;
    let token = format!("Bearer {}", server.all);
    let base = [("Authorization", &*token), ("Content-Type", "application/json")];
    let long = "k".repeat(129);
    let odd: [&[(&str, &str)]; 6] = [
        &[],
        &[("Idempotency-Key", "")],
        &[("Idempotency-Key", "a b")],
        &[("Idempotency-Key", "\u{e9}")],
        &[("Idempotency-Key", &long)],
        &[("Idempotency-Key", "a"), ("Idempotency-Key", "a")],
    ];
    for keys in odd {
        let headers = [&base[..], keys].concat();
        server.send("POST", &at("offer"), &headers, b"{}").await.is_problem(400, "header");
    }
    server.act(&at("offer"), &"k".repeat(128), "{}").await.is_ok();
}

#[tokio::test]
async fn bodies_say_what_they_should() {
    let server = Server::start().await;
    server.act(&at("offer"), "k", "").await.is_problem(400, "json");
    server.act(&at("offer"), "k", "{\"agent_id\":").await.is_problem(400, "json");
    server.act(&at("offer"), "k", &"[".repeat(100_000)).await.is_problem(422, "content");
    let deep = format!("{{\"agent_id\":{}", "[".repeat(100_000));
    server.act(&at("offer"), "k", &deep).await.is_problem(422, "content");
    for (action, body) in [
        ("offer", "[]"),
        ("offer", "null"),
        ("offer", r#"{"agent_id": 7}"#),
        ("offer", r#"{"agent_id": ""}"#),
        ("offer", r#"{"agent": "a"}"#),
        ("offer", r#"{"agent_id": "a", "agent_id": "b"}"#),
        ("reject", "{}"),
        ("reject", r#"{"reason": "", "retryable": true}"#),
        ("reject", r#"{"reason": "x", "retryable": "yes"}"#),
        ("complete", r#"{"disposition": "fine"}"#),
        ("cancel", r#"{"reason": "by_hand"}"#),
    ] {
        server.act(&at(action), "k", body).await.is_problem(422, "content");
    }
    let long = format!(r#"{{"agent_id": "{}"}}"#, "é".repeat(257));
    server.act(&at("offer"), "k", &long).await.is_problem(422, "content");
    let token = format!("Bearer {}", server.all);
    let headers =
        [("Authorization", &*token), ("Idempotency-Key", "k"), ("Content-Type", "application/json")];
    let answer = server.send("POST", &at("offer"), &headers, b"{\"agent_id\": \"\xff\"}").await;
    answer.is_problem(400, "json");
    for kind in ["text/plain", "application/x-www-form-urlencoded", "application/json; charset=utf-16"] {
        let headers = [("Authorization", &*token), ("Idempotency-Key", "k"), ("Content-Type", kind)];
        server.send("POST", &at("offer"), &headers, b"{}").await.is_problem(415, "media-type");
    }
    server.send("POST", &at("offer"), &headers[..2], b"{}").await.is_problem(415, "media-type");
    let packed = [&headers[..], &[("Content-Encoding", "gzip")]].concat();
    server.send("POST", &at("offer"), &packed, b"{}").await.is_problem(415, "media-type");
    server.act("/v1/tasks/nobody/offer", "k", "{}").await.is_problem(404, "unknown-task");
    assert_eq!(server.get(TASK).await.is_ok()["revision"], 1);
}
