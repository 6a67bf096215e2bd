//! Scores, KPIs, alerts, and what is wrong with paths and queries.

use std::sync::atomic::Ordering;

use serde_json::{Value, json};

use super::server::Server;

#[tokio::test]
async fn a_customer_has_a_score_per_model() {
    let server = Server::start().await;
    let risk = server.get("/v1/customers/c-1/risk").await.is_ok();
    let models: Vec<&Value> =
        risk["scores"].as_array().unwrap().iter().map(|score| &score["model"]).collect();
    assert_eq!(risk["customer_id"], "c-1");
    assert_eq!(models, ["order_return", "churn"]);
    assert_eq!(risk["scores"][0]["at"], "2026-03-02T10:00:00.000Z");
    let other = server.get("/v1/customers/%E5%AE%A2%E6%88%B7%2F2/risk").await.is_ok();
    assert_eq!(other["customer_id"], "客户/2");
    server.get("/v1/customers/c-9/risk").await.is_problem(404, "unknown-customer");
}

#[tokio::test]
async fn scores_come_in_pages_the_highest_first() {
    let server = Server::start().await;
    let first = server.get("/v1/scores?limit=2").await.is_ok();
    let next = format!("/v1/scores?limit=2&cursor={}", first["cursor"].as_str().unwrap());
    let second = server.get(&next).await.is_ok();
    let all: Vec<f64> = [&first, &second]
        .iter()
        .flat_map(|page| page["scores"].as_array().unwrap())
        .map(|score| score["probability"].as_f64().unwrap())
        .collect();
    assert_eq!((all, &second["cursor"]), (vec![0.9, 0.7, 0.2], &Value::Null));
    let some = server.get("/v1/scores?model=churn&min_probability=0.5").await.is_ok();
    assert_eq!(some["scores"].as_array().unwrap().len(), 1);
    server.get("/v1/scores?cursor=nonsense").await.is_problem(400, "query");
}

#[tokio::test]
async fn kpis_and_alerts() {
    let server = Server::start().await;
    assert_eq!(server.get("/v1/kpis").await.is_ok()["rows"].as_array().unwrap().len(), 2);
    let late = server.get("/v1/kpis?kpi=aht&since=2026-03-02T18:00:30%2B08:00&limit=5").await.is_ok();
    assert_eq!(late["rows"].as_array().unwrap().len(), 1);
    assert_eq!(late["rows"][0]["values"], json!({"aht_ms": 93_000.0, "p90_ms": null}));
    let one = |alerts: Value| alerts["alerts"].as_array().unwrap().len();
    assert_eq!(one(server.get("/v1/alerts").await.is_ok()), 1);
    assert_eq!(one(server.get("/v1/alerts?state=firing").await.is_ok()), 1);
    assert_eq!(one(server.get("/v1/alerts?state=withdrawn").await.is_ok()), 0);
}

#[tokio::test]
async fn malformed_queries_are_problems() {
    let server = Server::start().await;
    for query in [
        "scores?limit=0",
        "scores?limit=1001",
        "scores?limit=-1",
        "scores?limit=x",
        "scores?limit=",
        "scores?limit=1&limit=2",
        "scores?limits=1",
        "scores?min_probability=1.1",
        "scores?min_probability=NaN",
        "scores?model=",
        "scores?model=%00",
        "scores?model=%FF",
        "scores?model=%zz",
        "scores?model=a%0d%0aSet-Cookie:x",
        "scores?cursor=",
        "kpis?since=yesterday",
        "kpis?since=2026-03-02",
        "kpis?limit=10001",
        "alerts?state=open",
        "tasks?wait=61",
        "tasks?wait=-1",
        "tasks?cursor=at-",
        "tasks?cursor=at-9999",
    ] {
        server.get(&format!("/v1/{query}")).await.is_problem(400, "query");
    }
    let long = format!("/v1/scores?model={}", "a".repeat(513));
    server.get(&long).await.is_problem(400, "query");
}

#[tokio::test]
async fn paths_are_taken_as_they_are() {
    let server = Server::start().await;
    for path in
        ["/v1", "/v1/", "/v1/nothing", "/v1/tasks/", "/v1/tasks/a/b", "/v1/../etc/passwd", "/v1//tasks"]
    {
        server.get(path).await.is_problem(404, "no-such-path");
    }
    for id in ["..%2F..%2Fetc%2Fpasswd", "%252e%252e", ".", "%25", "a%3Fb", "%zz"] {
        server.get(&format!("/v1/tasks/{id}")).await.is_problem(404, "unknown-task");
    }
    for id in ["%FF", "%00", "%0d%0aSet-Cookie:%20a", "%C0%AF", &"a".repeat(513)] {
        server.get(&format!("/v1/tasks/{id}")).await.is_problem(400, "path");
    }
}

#[tokio::test]
async fn other_methods_are_refused_with_those_there_are() {
    let server = Server::start().await;
    for (method, path, allowed) in [
        ("POST", "/v1/scores", "GET,HEAD"),
        ("DELETE", "/v1/tasks/x", "GET,HEAD"),
        ("GET", "/v1/events", "POST"),
        ("TRACE", "/v1/tasks/x/offer", "POST"),
        ("PUT", "/v1/openapi.json", "GET,HEAD"),
    ] {
        let answer = server.send(method, path, &[], b"").await;
        answer.is_problem(405, "method");
        assert_eq!(answer.header("allow"), Some(allowed));
    }
}

#[tokio::test]
async fn a_backend_that_cannot_answer_says_when_to_ask_again() {
    let server = Server::start().await;
    server.memory.full.store(true, Ordering::Relaxed);
    for path in ["customers/c-1/risk", "scores", "kpis", "alerts", "tasks", "tasks/late%2F1"] {
        let answer = server.get(&format!("/v1/{path}")).await;
        answer.is_problem(503, "unavailable");
        assert_eq!(answer.header("retry-after"), Some("2"));
    }
    server.act("/v1/tasks/late%2F1/offer", "k", "{}").await.is_problem(503, "unavailable");
    server.post("application/cloudevents+json", &[], b"{}").await.is_problem(503, "unavailable");
}
