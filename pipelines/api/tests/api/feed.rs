//! The feed of tasks.

use std::time::Duration;

use super::server::{LONG, Server};

#[tokio::test]
async fn it_is_read_to_its_end_in_pages() {
    let server = Server::start().await;
    server.memory.create("t-2");
    server.memory.create("t-3");
    let mut cursor = String::new();
    let mut subjects = Vec::new();
    for _ in 0..3 {
        let page = server.get(&format!("/v1/tasks?limit=2{cursor}")).await.is_ok();
        cursor = format!("&cursor={}", page["cursor"].as_str().unwrap());
        subjects.extend(page["events"].as_array().unwrap().iter().map(|event| event["subject"].clone()));
    }
    assert_eq!(subjects, ["late/1", "t-2", "t-3"]);
}

#[tokio::test]
async fn who_was_away_too_long_is_told() {
    let server = Server::start().await;
    server.memory.create("t-2");
    server.memory.forget(2);
    server.get("/v1/tasks?cursor=at-1").await.is_problem(410, "gone");
    assert_eq!(server.get("/v1/tasks").await.is_ok()["cursor"], "at-2");
}

#[tokio::test]
async fn who_waits_is_woken_and_keeps_nobody_waiting() {
    let server = Server::start().await;
    let waits: Vec<_> = (0..50).map(|_| server.get("/v1/tasks?cursor=at-1&wait=60")).collect();
    let waits = futures(waits);
    let others = async {
        for _ in 0..20 {
            server.get("/v1/scores").await.is_ok();
        }
        server.act("/v1/tasks/late%2F1/offer", "k", "{}").await.is_ok();
    };
    let (answers, ()) = tokio::time::timeout(LONG, async { tokio::join!(waits, others) }).await.unwrap();
    assert_eq!(answers.len(), 50);
    for answer in answers {
        assert_eq!(answer.is_ok()["events"][0]["type"], "task.offered");
    }
}

#[tokio::test]
async fn a_wait_ends_when_its_time_is_over() {
    let server = Server::start().await;
    let feed = server.get("/v1/tasks?cursor=at-1&wait=1").await.is_ok();
    assert_eq!((feed["events"].as_array().unwrap().len(), feed["cursor"].as_str()), (0, Some("at-1")));
}

#[tokio::test]
async fn a_wait_ends_with_the_server_which_ends_then() {
    let server = Server::start().await;
    let wait = server.get("/v1/tasks?cursor=at-1&wait=60");
    let stop = async {
        while server.memory.waiting() == 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        server.stop.now();
    };
    let (answer, ()) = tokio::time::timeout(LONG, async { tokio::join!(wait, stop) }).await.unwrap();
    assert_eq!(answer.is_ok()["events"].as_array().unwrap().len(), 0);
    tokio::time::timeout(LONG, server.served).await.unwrap().unwrap();
}

/// All at once.
async fn futures<F: Future>(all: Vec<F>) -> Vec<F::Output> {
    let mut all: Vec<_> = all.into_iter().map(Box::pin).collect();
    let mut done = Vec::new();
    std::future::poll_fn(|context| {
        all.retain_mut(|one| match one.as_mut().poll(context) {
            std::task::Poll::Ready(output) => {
                done.push(output);
                false
            }
            std::task::Poll::Pending => true,
        });
        if all.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    done
}
