//! Stopping: what is under way ends well, what waits is let go, and nobody new is sent here.

#![allow(clippy::unwrap_used)] // A test may.

use godwit_e2e::Process;
use godwit_e2e::stack::Stack;
use reqwest::Method;
use serde_json::Value as Json;
use std::time::{Duration, Instant};

const JSON: (&str, &str) = ("content-type", "application/json");

#[tokio::test]
async fn what_is_under_way_ends_and_what_waits_is_let_go() {
    let stack = Stack::connect().await.unwrap();
    let table = stack.table("stopping", "id int primary key").await.unwrap();
    let mut process = Process::start(&[]).await.unwrap();
    let send = |method: Method, path: &str, body: Option<&str>| {
        let gateway = process.gateway.clone();
        let (path, body) = (path.to_owned(), body.map(|body| body.as_bytes().to_vec()));
        tokio::spawn(async move { gateway.send(method, &path, &[JSON], body).await.unwrap() })
    };
    let sequence: i64 =
        stack.sql.query_one("select godwit.last_sequence()", &[]).await.unwrap().get(0);
    let since = format!("since={sequence}&tables={table}");
    let poll = send(Method::GET, &format!("/v1/changes?feed=longpoll&{since}"), None);
    let feeds = ["ndjson", "sse"]
        .map(|feed| send(Method::GET, &format!("/v1/changes?feed={feed}&{since}"), None));
    let mut open = Vec::new();
    for feed in feeds {
        open.push(feed.await.unwrap());
    }
    let lock = stack.session().await.unwrap();
    lock.batch_execute(&format!("begin; lock table {table}")).await.unwrap();
    let put =
        send(Method::PUT, &format!("/v1/tables/{table}/records/1"), Some("{\"attributes\": {}}"));
    tokio::time::sleep(Duration::from_millis(700)).await;

    process.terminate().unwrap();
    let start = Instant::now();
    // Each is told where to go on from.
    let answer: Json = poll.await.unwrap().json().await.unwrap();
    assert_eq!(answer["changes"].as_array().unwrap().len(), 0);
    assert!(answer["next"].as_i64().unwrap() >= sequence);
    for feed in open {
        let text = feed.text().await.unwrap();
        assert!(text.trim_end().lines().last().unwrap().contains("\"next\":"), "{text}");
    }
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
    assert!(std::net::TcpStream::connect(&process.address).is_err(), "nobody new is taken");
    lock.batch_execute("commit").await.unwrap();
    assert_eq!(put.await.unwrap().status(), 201);
    assert!(process.ended().await.unwrap().success());
    let log = process.log().unwrap();
    assert!(!log.contains("cut off"), "{log}");
}

#[tokio::test]
async fn while_it_drains_it_serves_and_says_that_it_is_not_ready() {
    let _stack = Stack::connect().await.unwrap();
    let mut process = Process::start(&["--shutdown-drain-ms", "1500"]).await.unwrap();
    let status = async |path: &str| {
        // A connection of its own each time, as whoever distributes requests opens.
        let gateway = godwit_e2e::Gateway::new(process.gateway.url.clone());
        gateway.send(Method::GET, path, &[], None).await.unwrap().status().as_u16()
    };
    assert_eq!(status("/health/ready").await, 200);
    process.terminate().unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(status("/health/ready").await, 503);
    assert_eq!(status("/health/live").await, 200);
    assert_eq!(status("/v1/tables").await, 200);
    assert!(process.ended().await.unwrap().success());
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once_and_so_does_the_bound() {
    let stack = Stack::connect().await.unwrap();
    let table = stack.table("stuck", "id int primary key").await.unwrap();
    let lock = stack.session().await.unwrap();
    for wait in ["1000", "30000"] {
        let mut process = Process::start(&["--shutdown-wait-ms", wait]).await.unwrap();
        lock.batch_execute(&format!("begin; lock table {table}")).await.unwrap();
        let gateway = process.gateway.clone();
        let path = format!("/v1/tables/{table}/records/1");
        let body = Some(b"{\"attributes\": {}}".to_vec());
        let put =
            tokio::spawn(async move { gateway.send(Method::PUT, &path, &[JSON], body).await });
        tokio::time::sleep(Duration::from_millis(500)).await;
        let start = Instant::now();
        process.terminate().unwrap();
        if wait == "30000" {
            tokio::time::sleep(Duration::from_millis(300)).await;
            process.terminate().unwrap();
        }
        assert!(process.ended().await.unwrap().success());
        assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
        assert!(put.await.unwrap().is_err(), "it was cut off");
        lock.batch_execute("rollback").await.unwrap();
    }
}
