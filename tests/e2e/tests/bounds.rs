//! Bounded in all things: what connections, requests and listeners may take, and what whoever takes more gets.

#![allow(clippy::unwrap_used)] // A test may.

use godwit_e2e::Process;
use godwit_e2e::stack::Stack;
use reqwest::{Method, Response};
use serde_json::Value as Json;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

const HEALTH: &[u8] = b"GET /health/live HTTP/1.1\r\nhost: x\r\n\r\n";
const CLOSING: &[u8] = b"GET /health/live HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";

async fn connect(process: &Process) -> TcpStream {
    TcpStream::connect(&process.address).await.unwrap()
}

/// Everything that comes until the other side closes, and how long that took.
async fn rest(stream: &mut TcpStream) -> (String, Duration) {
    let start = Instant::now();
    let mut bytes = Vec::new();
    // A reset is an end too.
    let _ = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut bytes))
        .await
        .expect("the connection stays open");
    (String::from_utf8_lossy(&bytes).into_owned(), start.elapsed())
}

/// One answer on a connection that stays open.
async fn ask(stream: &mut TcpStream, request: &[u8]) -> String {
    stream.write_all(request).await.unwrap();
    let mut bytes = vec![0; 4096];
    let count = stream.read(&mut bytes).await.unwrap();
    String::from_utf8_lossy(&bytes[..count]).into_owned()
}

async fn refused(answer: Response, status: u16, error: &str) -> String {
    let found = answer.status().as_u16();
    let is_later = found == 429 || found == 503;
    assert_eq!(answer.headers().contains_key("retry-after"), is_later);
    let body: Json = answer.json().await.unwrap();
    assert_eq!((found, body["error"].as_str()), (status, Some(error)), "{body}");
    body["reason"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn connections_are_bounded_in_all_and_for_each_address() {
    let _stack = Stack::connect().await.unwrap();
    let process = Process::start(&["--connections-max", "3"]).await.unwrap();
    let mut open = Vec::new();
    for _ in 0..3 {
        let mut stream = connect(&process).await;
        assert!(ask(&mut stream, HEALTH).await.starts_with("HTTP/1.1 200"));
        open.push(stream);
    }
    let mut fourth = connect(&process).await;
    fourth.write_all(HEALTH).await.unwrap();
    let (answer, took) = rest(&mut fourth).await;
    assert!(
        answer.starts_with("HTTP/1.1 503") && answer.contains("\r\nretry-after: 1\r\n"),
        "{answer}"
    );
    let body = answer.split("\r\n\r\n").nth(1).unwrap();
    assert_eq!(serde_json::from_str::<Json>(body).unwrap()["error"], "unavailable");
    assert!(took < Duration::from_secs(2));
    // A place that is given back is there again.
    drop(open.pop());
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(ask(&mut connect(&process).await, CLOSING).await.starts_with("HTTP/1.1 200"));

    let process = Process::start(&["--connections-per-client-max", "1"]).await.unwrap();
    let mut first = connect(&process).await;
    assert!(ask(&mut first, HEALTH).await.starts_with("HTTP/1.1 200"));
    let mut second = connect(&process).await;
    assert!(rest(&mut second).await.0.starts_with("HTTP/1.1 503"));
    let elsewhere = TcpSocket::new_v4().unwrap();
    elsewhere.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    let mut elsewhere = elsewhere.connect(process.address.parse().unwrap()).await.unwrap();
    assert!(ask(&mut elsewhere, HEALTH).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn silent_and_slow_connections_are_closed() {
    let _stack = Stack::connect().await.unwrap();
    let options =
        ["--idle-timeout-ms", "1500", "--header-timeout-ms", "500", "--stall-timeout-ms", "700"];
    let process = Process::start(&options).await.unwrap();
    let near = |took: Duration, ms: u64| {
        let wanted = Duration::from_millis(ms);
        assert!(took > wanted - Duration::from_millis(100), "{took:?} for {wanted:?}");
        assert!(took < wanted + Duration::from_secs(2), "{took:?} for {wanted:?}");
    };
    let mut silent = connect(&process).await;
    near(rest(&mut silent).await.1, 1500);
    let mut kept = connect(&process).await;
    assert!(ask(&mut kept, HEALTH).await.starts_with("HTTP/1.1 200"));
    near(rest(&mut kept).await.1, 1500);
    // A request that is still going on isn't idle, and the next one has its time.
    let mut slow_head = connect(&process).await;
    assert!(ask(&mut slow_head, HEALTH).await.starts_with("HTTP/1.1 200"));
    slow_head.write_all(b"GET /health/live HT").await.unwrap();
    near(rest(&mut slow_head).await.1, 500);
    // A body that stops coming.
    let mut slow_body = connect(&process).await;
    let head =
        b"PUT /v1/tables/x/records/a HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n\
                 content-length: 100\r\n\r\n{\"attrib";
    slow_body.write_all(head).await.unwrap();
    let (answer, took) = rest(&mut slow_body).await;
    assert!(answer.starts_with("HTTP/1.1 408") && answer.contains("\"timeout\""), "{answer}");
    near(took, 700);
}

#[tokio::test]
async fn a_reader_that_takes_nothing_of_its_answer_is_cut_off() {
    let stack = Stack::connect().await.unwrap();
    let table = stack.table("wide", "id int primary key, body text").await.unwrap();
    let fill =
        format!("insert into {table} select n, repeat('x', 1000000) from generate_series(1, 30) n");
    stack.sql.batch_execute(&fill).await.unwrap();
    let options = ["--stall-timeout-ms", "1000", "--metrics-public"];
    let process = Process::start(&options).await.unwrap();
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut stream = socket.connect(process.address.parse().unwrap()).await.unwrap();
    let request = format!("GET /v1/tables/{table}/records HTTP/1.1\r\nhost: x\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(metric(&process, "godwit_http_requests_under_way").await >= 1.0, "it is under way");
    tokio::time::sleep(Duration::from_millis(4000)).await;
    assert_eq!(metric(&process, "godwit_http_requests_under_way").await, 0.0);
    let (answer, _) = rest(&mut stream).await;
    assert!(answer.len() < 30_000_000, "the whole answer came: {}", answer.len());
    // One that takes it is served, however long it takes.
    let path = format!("/v1/tables/{table}/records");
    let answer = process.gateway.send(Method::GET, &path, &[], None).await;
    assert!(answer.unwrap().bytes().await.unwrap().len() > 30_000_000);
}

async fn metric(process: &Process, name: &str) -> f64 {
    let answer = process.gateway.send(Method::GET, "/metrics", &[], None).await.unwrap();
    let text = answer.text().await.unwrap();
    let line = text.lines().find(|line| line.starts_with(&format!("{name} ")));
    line.unwrap_or_else(|| panic!("no {name}: {text}")).split(' ').nth(1).unwrap().parse().unwrap()
}

#[tokio::test]
async fn urls_and_headers_are_bounded() {
    let _stack = Stack::connect().await.unwrap();
    let options = ["--url-bytes-max", "100", "--header-bytes-max", "1000"];
    let process = Process::start(&options).await.unwrap();
    let gateway = &process.gateway;
    let get = |path: String, header: String| async move {
        gateway.send(Method::GET, &path, &[("x-filler", header.as_str())], None).await.unwrap()
    };
    let path = |bytes: usize| format!("/v1/{}", "x".repeat(bytes - 4));
    assert_eq!(get(path(100), String::new()).await.status(), 404);
    let reason = refused(get(path(101), String::new()).await, 414, "too_large").await;
    assert!(reason.contains("100 bytes"));
    assert_eq!(get("/health/live".into(), "y".repeat(800)).await.status(), 200);
    refused(get("/health/live".into(), "y".repeat(1000)).await, 431, "too_large").await;
    // Beyond what is read at all the answer has no body, and the connection is closed.
    let mut stream = connect(&process).await;
    let head = format!("GET / HTTP/1.1\r\nhost: x\r\nx-filler: {}\r\n\r\n", "y".repeat(100_000));
    let _ = stream.write_all(head.as_bytes()).await;
    assert!(rest(&mut stream).await.0.starts_with("HTTP/1.1 431"));
    let mut stream = connect(&process).await;
    let many: String = (0..200).map(|n| format!("x-{n}: 1\r\n")).collect();
    stream.write_all(format!("GET / HTTP/1.1\r\nhost: x\r\n{many}\r\n").as_bytes()).await.unwrap();
    assert!(rest(&mut stream).await.0.starts_with("HTTP/1.1 431"));
}

#[tokio::test]
async fn requests_are_bounded_in_all_and_for_each_client_and_so_is_the_pool() {
    let stack = Stack::connect().await.unwrap();
    let table = stack.table("held", "id int primary key").await.unwrap();
    let body = Some(br#"{"attributes": {}}"#.to_vec());
    let json = ("content-type", "application/json");
    let lock = stack.session().await.unwrap();
    // (options, what the second request gets)
    let cases = [
        (vec!["--requests-max", "1"], 503, "unavailable", "too many requests"),
        (vec!["--requests-per-client-max", "1"], 429, "too_many_requests", "of your requests"),
        (
            vec!["--pool-size", "1", "--pool-wait-ms", "300"],
            503,
            "unavailable",
            "all database connections",
        ),
    ];
    for (id, (options, status, error, says)) in cases.into_iter().enumerate() {
        let path = format!("/v1/tables/{table}/records/{id}");
        let process = Process::start(&options).await.unwrap();
        lock.batch_execute(&format!("begin; lock table {table}")).await.unwrap();
        let gateway = process.gateway.clone();
        let (held, sent) = (path.clone(), body.clone());
        let first =
            tokio::spawn(async move { gateway.send(Method::PUT, &held, &[json], sent).await });
        wait_for_lock(&stack, &table).await;
        let second = process.gateway.send(Method::PUT, &path, &[json], body.clone()).await.unwrap();
        let reason = refused(second, status, error).await;
        assert!(reason.contains(says), "{reason}");
        // Whether it lives is told all the same.
        let live = process.gateway.send(Method::GET, "/health/live", &[], None).await.unwrap();
        assert_eq!(live.status(), 200);
        lock.batch_execute("commit").await.unwrap();
        let first = first.await.unwrap().unwrap();
        let status = first.status();
        assert!(status.is_success(), "{status} {}", first.text().await.unwrap());
        let again = process.gateway.send(Method::GET, &path, &[], None).await.unwrap();
        assert_eq!(again.status(), 200);
    }
}

async fn wait_for_lock(stack: &Stack, table: &str) {
    let sql = format!(
        "select count(*) from pg_locks where relation = '{table}'::regclass and not granted"
    );
    for _ in 0..200 {
        if stack.sql.query_one(&sql, &[]).await.unwrap().get::<_, i64>(0) > 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("nobody waits for {table}");
}

#[tokio::test]
async fn listeners_are_bounded_for_each_client_and_a_proxy_is_believed_only_if_it_is_trusted() {
    let _stack = Stack::connect().await.unwrap();
    let poll = "/v1/changes?feed=longpoll&since=now&timeout_ms=8000";
    let options =
        ["--longpolls-per-client-max", "2", "--requests-per-client-max", "1", "--metrics-public"];
    for is_trusted in [false, true] {
        let more: &[&str] = if is_trusted { &["--trusted-proxies", "127.0.0.0/8"] } else { &[] };
        let process = Process::start(&[&options[..], more].concat()).await.unwrap();
        let from = |address: &'static str| {
            let gateway = process.gateway.clone();
            async move {
                gateway
                    .send(Method::GET, poll, &[("x-forwarded-for", address)], None)
                    .await
                    .unwrap()
            }
        };
        let mut waiting = Vec::new();
        for count in 1..=2 {
            waiting.push(tokio::spawn(from("192.0.2.7")));
            while metric(&process, "godwit_listeners").await < f64::from(count) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        refused(from("192.0.2.7").await, 429, "too_many_requests").await;
        let other = tokio::time::timeout(Duration::from_millis(1500), from("192.0.2.8")).await;
        match other {
            Ok(answer) if !is_trusted => {
                refused(answer, 429, "too_many_requests").await;
            }
            Err(_) if is_trusted => {}
            _ => panic!("trusted: {is_trusted}"),
        }
        for waiter in waiting {
            waiter.abort();
        }
    }
    let process = Process::start(&["--longpolls-max", "1"]).await.unwrap();
    let gateway = process.gateway.clone();
    let feed = "/v1/changes?feed=ndjson&since=now";
    let open = gateway.send(Method::GET, feed, &[], None).await.unwrap();
    refused(gateway.send(Method::GET, feed, &[], None).await.unwrap(), 503, "unavailable").await;
    drop(open);
}

#[tokio::test]
async fn nobody_waits_for_the_statement_of_a_request_that_was_given_up() {
    let stack = Stack::connect().await.unwrap();
    let held = stack.table("left", "id int primary key").await.unwrap();
    let free = stack.table("free", "id int primary key").await.unwrap();
    let json = [("content-type", "application/json")];
    let body = || Some(br#"{"attributes": {}}"#.to_vec());
    let process = Process::start(&["--pool-size", "2"]).await.unwrap();
    let lock = stack.session().await.unwrap();
    lock.batch_execute(&format!("begin; lock table {held}")).await.unwrap();
    let (gateway, path) = (process.gateway.clone(), format!("/v1/tables/{held}/records/1"));
    let first = tokio::spawn(async move { gateway.send(Method::PUT, &path, &json, body()).await });
    wait_for_lock(&stack, &held).await;
    first.abort();
    tokio::time::sleep(Duration::from_millis(300)).await;
    for id in 0..3 {
        let path = format!("/v1/tables/{free}/records/{id}");
        let put = process.gateway.send(Method::PUT, &path, &json, body());
        let answer = tokio::time::timeout(Duration::from_secs(5), put).await.unwrap().unwrap();
        assert!(answer.status().is_success());
    }
    // And its connection is one of the pool's again when it is done.
    lock.batch_execute("commit").await.unwrap();
    let path = format!("/v1/tables/{held}/records/2");
    let (one, other) = tokio::join!(
        process.gateway.send(Method::PUT, &path, &json, body()),
        process.gateway.send(Method::GET, "/v1/changes?since=0&limit=1", &[], None),
    );
    assert!(one.unwrap().status().is_success() && other.unwrap().status().is_success());
}
