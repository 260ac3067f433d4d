//! Seen from outside: health, metrics, the log, and what the login may do.

#![allow(clippy::unwrap_used)] // A test may.

use godwit_e2e::Gateway;
use godwit_e2e::process::{Process, free_address};
use godwit_e2e::stack::Stack;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use reqwest::Method;
use serde_json::{Value as Json, json};
use std::time::Duration;

const SECRET: &str = "a secret of more than thirty-two bytes";

async fn get(gateway: &Gateway, path: &str) -> (u16, String) {
    let answer = gateway.send(Method::GET, path, &[], None).await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

/// The value on the line that begins so.
fn value(metrics: &str, line: &str) -> Option<f64> {
    let line = metrics.lines().find(|found| found.starts_with(line))?;
    line.rsplit(' ').next().unwrap().parse().ok()
}

/// The guarded gateway's login: NOINHERIT, and no rights of its own.
fn plain_login() -> String {
    std::env::var("GODWIT_GUARDED_DATABASE_URL").unwrap()
}

#[tokio::test]
async fn health_is_told_with_and_without_a_database() {
    let stack = Stack::connect().await.unwrap();
    for path in ["/health", "/health/ready"] {
        let (status, body) = get(&stack.gateway, path).await;
        let body: Json = serde_json::from_str(&body).unwrap();
        assert_eq!((status, &body["status"]), (200, &json!("ok")));
        assert!(body["extension"].is_string());
    }
    assert_eq!(get(&stack.gateway, "/health/live").await.0, 200);
    assert_eq!(
        get(&stack.gateway, "/metrics").await.0,
        404,
        "not for clients unless it is asked for"
    );

    // A database of its own, which goes away while the gateway runs.
    stack.sql.batch_execute("create database passing").await.unwrap();
    let url = std::env::var("GODWIT_DATABASE_URL").unwrap();
    let url = format!("{}/passing", url.rsplit_once('/').unwrap().0);
    let env = [("DATABASE_URL", url.as_str())];
    let refused = Process::start_with(&[], &env).await.err().unwrap().to_string();
    assert!(refused.contains("create extension godwit"), "{refused}");
    let (own, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await.unwrap();
    let connection = tokio::spawn(connection);
    own.batch_execute("create extension godwit").await.unwrap();
    drop(own);
    connection.await.unwrap().unwrap();
    let process = Process::start_with(&["--metrics-public"], &env).await.unwrap();
    assert_eq!(get(&process.gateway, "/health/ready").await.0, 200);
    stack.sql.batch_execute("drop database passing with (force)").await.unwrap();
    tokio::time::sleep(Duration::from_millis(1200)).await;
    let (status, body) = get(&process.gateway, "/health/ready").await;
    assert_eq!((status, body.contains("unavailable")), (503, true), "{body}");
    assert_eq!(get(&process.gateway, "/health/live").await.0, 200);
    let (_, metrics) = get(&process.gateway, "/metrics").await;
    assert_eq!(value(&metrics, "godwit_database_up"), Some(0.0));
}

#[tokio::test]
async fn a_database_may_come_after_the_gateway() {
    let stack = Stack::connect().await.unwrap();
    // Nothing listens there.
    let address = free_address().unwrap();
    let url = format!("postgres://postgres@{address}/x");
    let env = [("DATABASE_URL", url.as_str())];
    let start = std::time::Instant::now();
    let refused = Process::start_with(&["--database-wait-ms", "1500"], &env).await.err().unwrap();
    assert!(refused.to_string().contains("can't be reached"), "{refused}");
    assert!(start.elapsed() > Duration::from_millis(1400));
    drop(stack);
}

#[tokio::test]
async fn metrics_say_what_is_served_and_what_holds_the_stream_back() {
    let stack = Stack::connect().await.unwrap();
    let table = stack.table("measured", "id int primary key, n int check (n > 0)").await.unwrap();
    let writer = stack.session().await.unwrap();
    writer.batch_execute(&format!("begin; insert into {table} values (1, 1)")).await.unwrap();
    let pid: i32 = writer.query_one("select pg_backend_pid()", &[]).await.unwrap().get(0);
    let inner = free_address().unwrap();
    let process = Process::start(&["--metrics-listen", &inner]).await.unwrap();
    let inside = Gateway::new(format!("http://{inner}"));
    let outside = &process.gateway;
    assert_eq!(get(outside, "/metrics").await.0, 404);
    assert_eq!(get(&inside, "/health/ready").await.0, 200);
    for id in ["1", "2"] {
        assert_eq!(get(outside, &format!("/v1/tables/{table}/records/{id}")).await.0, 404);
    }
    let odd = outside.send(Method::from_bytes(b"BREW").unwrap(), "/v1/tables", &[], None).await;
    assert_eq!(odd.unwrap().status(), 405);
    let poll = {
        let gateway = outside.clone();
        let path = format!("/v1/changes?feed=longpoll&since=now&tables={table}");
        tokio::spawn(async move { gateway.send(Method::GET, &path, &[], None).await })
    };
    let mut metrics = String::new();
    for _ in 0..100 {
        metrics = get(&inside, "/metrics").await.1;
        if value(&metrics, "godwit_listeners") == Some(1.0) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let is = |line: &str, expected: f64| {
        assert_eq!(value(&metrics, line), Some(expected), "{line}\n{metrics}")
    };
    is(
        "godwit_http_requests_total{method=\"GET\",route=\"/v1/tables/{table}/records/{id}\",status=\"404\"}",
        2.0,
    );
    is("godwit_http_requests_total{method=\"other\",route=\"/v1/tables\",status=\"405\"}", 1.0);
    is(
        "godwit_http_request_duration_seconds_count{method=\"GET\",route=\"/v1/tables/{table}/records/{id}\"}",
        2.0,
    );
    is("godwit_listeners", 1.0);
    is("godwit_http_requests_under_way", 0.0);
    is("godwit_pool_connections_max", 16.0);
    is("godwit_pool_waiting", 0.0);
    is("godwit_database_up", 1.0);
    is("godwit_stream_status_permitted", 1.0);
    is("godwit_stream_lag", 1.0);
    let held =
        metrics.lines().find(|line| line.starts_with("godwit_stream_holder_seconds{")).unwrap();
    assert!(held.contains(&format!("pid=\"{pid}\"")), "{held}");
    assert!(value(&metrics, "godwit_stream_held_seconds").unwrap() > 0.0);
    assert!(value(&metrics, "godwit_connections ").unwrap() >= 1.0);
    assert!(!metrics.contains(&table), "no names of tables or records: {metrics}");
    assert!(metrics.ends_with("# EOF\n"));
    writer.batch_execute("rollback").await.unwrap();
    poll.abort();
}

#[tokio::test]
async fn the_log_has_one_line_a_request_and_no_secrets() {
    let stack = Stack::connect().await.unwrap();
    let table = stack.table("logged", "id text primary key, note text").await.unwrap();
    stack.sql.batch_execute(&format!("grant select, insert on {table} to writer")).await.unwrap();
    let env = [("DATABASE_URL", plain_login()), ("GODWIT_JWT_SECRET", SECRET.into())];
    let env = env.each_ref().map(|(name, value)| (*name, value.as_str()));
    let process = Process::start_with(&["--log-format", "json"], &env).await.unwrap();
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    let claims = json!({"role": "writer", "sub": "amina"});
    let token = encode(&Header::new(Algorithm::HS256), &claims, &key).unwrap();
    let bearer = format!("Bearer {token}");
    let headers = [
        ("authorization", bearer.as_str()),
        ("content-type", "application/json"),
        ("x-request-id", "field-7"),
    ];
    let body = br#"{"attributes": {"note": {"string": "a secret note"}}}"#.to_vec();
    let path = format!("/v1/tables/{table}/records/patient-4711");
    let put = process.gateway.send(Method::PUT, &path, &headers, Some(body)).await.unwrap();
    assert_eq!(put.status(), 201);
    let long = "x".repeat(1000);
    let headers = [("x-request-id", long.as_str())];
    let anonymous = process.gateway.send(Method::GET, &path, &headers, None);
    let anonymous = anonymous.await.unwrap();
    assert_eq!(anonymous.status(), 401);
    assert!(anonymous.headers()["x-request-id"].len() < 100, "an id of a kilobyte was taken");

    let log = process.log().unwrap();
    let lines: Vec<Json> = log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let answered: Vec<&Json> =
        lines.iter().filter(|line| line["fields"]["message"] == "answered").collect();
    assert_eq!(answered.len(), 2, "{log}");
    let fields = &answered[0]["fields"];
    assert_eq!(fields["method"], "PUT");
    assert_eq!(fields["route"], "/v1/tables/{table}/records/{id}");
    assert_eq!(fields["status"], 201);
    assert_eq!(fields["client"], "amina");
    assert_eq!(fields["role"], "writer");
    assert!(fields["ms"].is_number());
    assert_eq!(answered[0]["span"]["id"], "field-7");
    assert_eq!(answered[1]["fields"]["client"], "127.0.0.1");
    for secret in ["secret note", "patient-4711", &token, SECRET] {
        assert!(!log.contains(secret), "{secret} is in the log: {log}");
    }
}

#[tokio::test]
async fn with_tokens_the_login_may_do_nothing_but_switch_roles() {
    let stack = Stack::connect().await.unwrap();
    let secret = ["--jwt-secret", SECRET];
    let superuser = std::env::var("GODWIT_DATABASE_URL").unwrap();
    let roles = "create role inheriting login inherit password 'authenticator';
                 grant reader to inheriting;
                 create role unbound login noinherit bypassrls password 'authenticator'";
    stack.sql.batch_execute(roles).await.unwrap();
    let as_role = |role: &str| plain_login().replace("authenticator:", &format!("{role}:"));
    for (url, says) in [
        (superuser.clone(), "is a superuser"),
        (as_role("inheriting"), "noinherit"),
        (as_role("unbound"), "nobypassrls"),
    ] {
        let env = [("DATABASE_URL", url.as_str())];
        let refused = Process::start_with(&secret, &env).await.err().unwrap().to_string();
        assert!(
            refused.contains(says) && refused.contains("--allow-privileged-login"),
            "{refused}"
        );
    }
    let allowed = [&secret[..], &["--allow-privileged-login"]].concat();
    let process = Process::start_with(&allowed, &[]).await.unwrap();
    assert!(process.log().unwrap().contains("is a superuser"));
    let plain = plain_login();
    Process::start_with(&secret, &[("DATABASE_URL", &plain)]).await.unwrap();
    // Without tokens the login's rights are what requests have: nothing to refuse.
    Process::start(&[]).await.unwrap();
    stack.sql.batch_execute("drop role inheriting, unbound").await.unwrap();
}
