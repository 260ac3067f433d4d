//! Kill -9 of a gateway and of Postgres: what was acknowledged is there once, and who follows sees all of it.

#![allow(clippy::unwrap_used)] // A test may.

use godwit_e2e::stack::Stack;
use godwit_e2e::{Gateway, Process};
use reqwest::{Method, Response};
use serde_json::{Value as Json, json};
use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// A loaded machine starts a Postgres in less.
const PATIENCE: Duration = Duration::from_secs(60);
const RECORDS: usize = 1000;

/// Edits by `records:put` or revisions by `revisions`, each of a record of its own.
fn batch(round: usize, by_revisions: bool) -> Json {
    let records: Vec<Json> = (0..RECORDS)
        .map(|n| {
            let id = format!("{round}-{n}");
            let attributes = json!({"id": {"string": id}, "n": {"int": n.to_string()}});
            match by_revisions {
                true => {
                    json!({"id": id, "revision": format!("1-{n:032x}"), "attributes": attributes})
                }
                false => json!({"id": id, "attributes": attributes}),
            }
        })
        .collect();
    if by_revisions { json!({ "revisions": records }) } else { json!({ "records": records }) }
}

fn address(table: &str, by_revisions: bool) -> String {
    let verb = if by_revisions { "revisions" } else { "records:put" };
    format!("/v1/tables/{table}/{verb}")
}

async fn in_history(stack: &Stack, table: &str, round: usize) -> (i64, i64) {
    let sql = format!(
        "select count(*), count(distinct _id) from {table}_history where _id like '{round}-%'"
    );
    let row = stack.sql.query_one(&sql, &[]).await.unwrap();
    (row.get(0), row.get(1))
}

#[tokio::test]
async fn a_batch_whose_gateway_was_killed_is_put_once_by_sending_it_to_another() {
    let stack = Stack::connect().await.unwrap();
    let table = stack.table("killed", "id text primary key, n int").await.unwrap();
    let (mut lost, mut kept) = (0, 0);
    for round in 0..12 {
        let by_revisions = round % 2 == 0;
        let (path, body) = (address(&table, by_revisions), batch(round, by_revisions));
        let mut first = Process::start(&[]).await.unwrap();
        // Else its first connection to the database is what the kill meets.
        first.gateway.json(Method::GET, "/v1/tables", None).await.unwrap();
        let sending = tokio::spawn({
            let (gateway, path, body) = (first.gateway.clone(), path.clone(), body.clone());
            async move { gateway.json(Method::POST, &path, Some(&body)).await }
        });
        tokio::time::sleep(Duration::from_millis(8 * round as u64)).await;
        first.kill().unwrap();
        let is_acknowledged = sending.await.unwrap().is_ok();

        let answer = stack.gateway.json(Method::POST, &path, Some(&body)).await.unwrap();
        let statuses: BTreeMap<&str, usize> = answer["results"].as_array().unwrap().iter().fold(
            BTreeMap::new(),
            |mut statuses, result| {
                *statuses.entry(result["status"].as_str().unwrap()).or_default() += 1;
                statuses
            },
        );
        let was_there = statuses == BTreeMap::from([("known", RECORDS)]);
        assert!(was_there || statuses == BTreeMap::from([("accepted", RECORDS)]), "{statuses:?}");
        assert!(was_there || !is_acknowledged, "round {round} was acknowledged and is lost");
        *(if was_there { &mut kept } else { &mut lost }) += 1;
        let records = RECORDS as i64;
        assert_eq!(in_history(&stack, &table, round).await, (records, records));
    }
    // Neither kills that all came too late nor ones that all came too early would show anything.
    assert!(lost > 0, "{kept} batches were there when they were sent again, {lost} were not");
}

/// Follows a table by one feed after the other, wherever one can be had; returns when it has seen so many
/// records, with their numbers in the order of their first sight.
async fn follow(gateways: Vec<Gateway>, feed: &str, table: &str, count: usize) -> Vec<i64> {
    let (mut next, mut seen, mut turn) = (0, Vec::new(), 0);
    while seen.len() < count {
        turn += 1;
        let gateway = &gateways[turn % gateways.len()];
        let path = format!("/v1/changes?feed={feed}&since={next}&tables={table}&heartbeat_ms=200");
        match gateway.send(Method::GET, &path, &[], None).await {
            Ok(response) if response.status() == 200 => {
                lines(response, &mut next, &mut seen, count).await;
            }
            Ok(response) => assert_eq!(response.status(), 503),
            Err(_) => {}
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    seen
}

/// Until the feed breaks or `seen` is as long as it should get.
async fn lines(mut response: Response, next: &mut i64, seen: &mut Vec<i64>, count: usize) {
    let mut buffer = Vec::new();
    while let Ok(Ok(Some(chunk))) = tokio::time::timeout(PATIENCE, response.chunk()).await {
        buffer.extend_from_slice(&chunk);
        while let Some(end) = buffer.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = buffer.drain(..=end).collect();
            let is_event = line.starts_with(b"data: ");
            let Ok(said) =
                serde_json::from_slice::<Json>(line.strip_prefix(b"data: ").unwrap_or(&line))
            else {
                continue;
            };
            assert!(said.get("error").is_none(), "{said}");
            if let Some(place) = said["next"].as_i64() {
                assert!(place >= *next, "a feed led back");
                *next = place;
            } else {
                let id: i64 = said["id"].as_str().unwrap().parse().unwrap();
                if !seen.contains(&id) {
                    seen.push(id);
                }
                // An event is a place to go on from; a line within a page is none.
                if is_event {
                    *next = said["sequence"].as_i64().unwrap();
                }
            }
        }
        if seen.len() >= count {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn feeds_of_a_gateway_that_was_killed_are_taken_up_at_another() {
    const COUNT: usize = 600;
    let stack = Stack::connect().await.unwrap();
    let table = stack.table("feeds", "id int primary key").await.unwrap();
    let mut first = Process::start(&[]).await.unwrap();
    let gateways = vec![stack.gateway.clone(), first.gateway.clone()];
    let readers = ["ndjson", "sse"].map(|feed| {
        let (gateways, table) = (gateways.clone(), table.clone());
        tokio::spawn(async move { follow(gateways, feed, &table, COUNT).await })
    });
    for id in 0..COUNT {
        stack.sql.execute(&format!("insert into {table} values ({id})"), &[]).await.unwrap();
        if id == COUNT / 2 {
            first.kill().unwrap();
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    for reader in readers {
        let seen = tokio::time::timeout(PATIENCE, reader).await.unwrap().unwrap();
        assert_eq!(
            seen,
            (0..COUNT as i64).collect::<Vec<_>>(),
            "all, in the order of their commits"
        );
    }
}

/// `scripts/test_server.sh` with the cluster that the tests run in.
fn server(verb: &str, more: &[&str]) {
    let named = |name: &str| std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set"));
    let mut command = Command::new(named("GODWIT_SERVER"));
    let done = command.arg(verb).arg(named("GODWIT_CLUSTER")).args(more).status().unwrap();
    assert!(done.success(), "{verb}: {done}");
}

/// Puts records of its own one after the other, each until it is acknowledged; how many.
async fn write(gateway: Gateway, table: String, from: i64, ended: Arc<AtomicBool>) -> i64 {
    let mut id = from;
    while !ended.load(Ordering::SeqCst) {
        let path = format!("/v1/tables/{table}/records/{id}");
        let body = json!({ "attributes": {} }).to_string().into_bytes();
        let headers = [("content-type", "application/json")];
        let end = Instant::now() + PATIENCE;
        loop {
            match gateway.send(Method::PUT, &path, &headers, Some(body.clone())).await {
                Ok(response) if [200, 201].contains(&response.status().as_u16()) => break,
                Ok(response) => {
                    assert_eq!(response.status(), 503, "{}", response.text().await.unwrap());
                    assert!(response.headers().contains_key("retry-after"));
                }
                Err(error) => panic!("the gateway itself went away: {error}"),
            }
            assert!(Instant::now() < end, "the gateway does not find Postgres again");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        id += 1;
    }
    id - from
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn while_postgres_is_killed_nothing_acknowledged_is_lost_and_feeds_go_on() {
    const WRITERS: i64 = 6;
    const EACH: i64 = 1_000_000;
    let stack = Stack::connect().await.unwrap();
    let table = stack.table("crash", "id int primary key").await.unwrap();
    let other = Process::start(&[]).await.unwrap();
    let gateways = [stack.gateway.clone(), other.gateway.clone()];
    let ended = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..WRITERS)
        .map(|n| {
            let gateway = gateways[n as usize % 2].clone();
            tokio::spawn(write(gateway, table.clone(), n * EACH, ended.clone()))
        })
        .collect();
    // Opened once: a feed finds the database again by itself.
    let path = format!("/v1/changes?feed=ndjson&since=0&tables={table}&heartbeat_ms=200");
    let feed = other.gateway.send(Method::GET, &path, &[], None).await.unwrap();
    assert_eq!(feed.status(), 200);

    let port = stack.sql.query_one("show port", &[]).await.unwrap().get::<_, String>(0);
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_millis(700)).await;
        server("kill", &[]);
        tokio::time::sleep(Duration::from_millis(300)).await;
        server("start", &[&port]);
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    ended.store(true, Ordering::SeqCst);
    let mut written = Vec::new();
    for (n, writer) in writers.into_iter().enumerate() {
        let count = tokio::time::timeout(PATIENCE, writer).await.unwrap().unwrap();
        assert!(count > 10, "writer {n} put {count} records");
        written.extend((0..count).map(|id| n as i64 * EACH + id));
    }
    let sql = stack.session().await.unwrap();
    let rows = format!("select id, godwit.generation(_rev)::int8 from {table} order by id");
    let rows = sql.query(&rows, &[]).await.unwrap();
    let there: Vec<i64> = rows.iter().map(|row| row.get::<_, i32>(0).into()).collect();
    assert_eq!(there, written);
    assert!(rows.iter().all(|row| row.get::<_, i64>(1) == 1), "something was put twice");
    let twice = format!("select count(*) from {table}_history");
    assert_eq!(sql.query_one(&twice, &[]).await.unwrap().get::<_, i64>(0), written.len() as i64);

    let (mut next, mut seen) = (0, Vec::new());
    tokio::time::timeout(PATIENCE, lines(feed, &mut next, &mut seen, written.len())).await.unwrap();
    seen.sort_unstable();
    assert_eq!(seen, written);
}
