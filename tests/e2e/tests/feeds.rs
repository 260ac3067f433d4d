//! Feeds that stay open, snapshots and puts in bulk, over HTTP.

#![allow(clippy::unwrap_used)] // A test may.

use godwit_e2e::gateway::{Error, Gateway, read};
use godwit_e2e::stack::Stack;
use reqwest::{Method, Response};
use serde_json::{Value as Json, json};
use std::time::{Duration, Instant};

/// A feed as its lines come.
struct Lines {
    response: Response,
    buffer: Vec<u8>,
}

impl Lines {
    async fn open(gateway: &Gateway, path: &str, headers: &[(&str, &str)]) -> Lines {
        let response = gateway.send(Method::GET, path, headers, None).await.unwrap();
        assert_eq!(response.status(), 200, "{path}");
        Lines { response, buffer: Vec::new() }
    }

    async fn line(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                return Some(String::from_utf8(line[..end].to_vec()).unwrap());
            }
            let chunk = tokio::time::timeout(Duration::from_secs(20), self.response.chunk());
            match chunk.await.expect("a line within 20 s").unwrap() {
                Some(chunk) => self.buffer.extend_from_slice(&chunk),
                None => return None,
            }
        }
    }

    async fn json(&mut self) -> Json {
        serde_json::from_str(&self.line().await.expect("another line")).unwrap()
    }

    /// The changes up to where the feed has nothing more, and where that is.
    async fn changes(&mut self) -> (Vec<Json>, i64) {
        let mut changes = Vec::new();
        loop {
            let line = self.json().await;
            match line["next"].as_i64() {
                Some(next) => return (changes, next),
                None => changes.push(line),
            }
        }
    }

    /// One server-sent event: its name, its id and its data.
    async fn event(&mut self) -> (String, String, Json) {
        let (mut name, mut id, mut data) = (String::new(), String::new(), Json::Null);
        loop {
            let line = self.line().await.expect("another event");
            if line.is_empty() {
                return (name, id, data);
            }
            let (field, value) = line.split_once(": ").unwrap();
            match field {
                "event" => name = value.to_owned(),
                "id" => id = value.to_owned(),
                "data" => data = serde_json::from_str(value).unwrap(),
                other => panic!("an unknown field {other}"),
            }
        }
    }
}

fn ids(changes: &[Json]) -> Vec<&str> {
    changes.iter().map(|change| change["id"].as_str().unwrap()).collect()
}

fn name_of(error: Result<Json, Error>) -> (u16, String, String) {
    match error.unwrap_err() {
        Error::Refused { status, name, reason, .. } => (status, name, reason),
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn a_feed_brings_what_was_and_what_comes_in_pages_and_says_where_it_is() {
    let stack = Stack::connect().await.unwrap();
    let table = stack.table("feed", "id int primary key, v text").await.unwrap();
    let fill = format!("insert into {table} select g, 'x' from generate_series(1, 25) g");
    stack.sql.batch_execute(&fill).await.unwrap();
    let path = format!("/v1/changes?feed=ndjson&tables={table}&limit=10&heartbeat_ms=200");
    let mut feed = Lines::open(&stack.gateway, &path, &[]).await;
    let kind = feed.response.headers()["content-type"].to_str().unwrap().to_owned();
    assert_eq!(kind, "application/x-ndjson");
    let mut seen = Vec::new();
    let mut next = 0;
    for size in [10, 10, 5] {
        let (page, at) = feed.changes().await;
        assert_eq!(page.len(), size);
        assert!(at > next);
        next = at;
        seen.extend(page);
    }
    let expected: Vec<String> = (1..=25).map(|id| id.to_string()).collect();
    assert_eq!(ids(&seen), expected);
    // Silence: a sign of life, from which a reader could go on.
    let silence = Instant::now();
    assert_eq!(feed.changes().await, (Vec::new(), next));
    assert!(silence.elapsed() >= Duration::from_millis(150));
    // What is committed now arrives by itself, what is rolled back doesn't.
    let wakes = format!(
        "begin; insert into {table} values (98); rollback; insert into {table} values (99, 'new')"
    );
    stack.sql.batch_execute(&wakes).await.unwrap();
    let begun = Instant::now();
    let (page, _) = loop {
        let (page, at) = feed.changes().await;
        if !page.is_empty() {
            break (page, at);
        }
    };
    assert_eq!(ids(&page), ["99"]);
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn server_sent_events_resume_where_the_reader_was() {
    let stack = Stack::connect().await.unwrap();
    let table = stack.table("sse", "id int primary key").await.unwrap();
    stack.sql.batch_execute(&format!("insert into {table} values (1), (2), (3)")).await.unwrap();
    let path = format!("/v1/changes?feed=sse&tables={table}");
    let mut feed = Lines::open(&stack.gateway, &path, &[]).await;
    assert_eq!(feed.response.headers()["content-type"], "text/event-stream");
    let (name, first, data) = feed.event().await;
    assert_eq!((name.as_str(), data["id"].as_str()), ("change", Some("1")));
    assert_eq!(data["sequence"].to_string(), first);
    drop(feed);
    let mut feed = Lines::open(&stack.gateway, &path, &[("last-event-id", &first)]).await;
    let (_, second, data) = feed.event().await;
    assert_eq!(data["id"], "2");
    let (_, third, data) = feed.event().await;
    assert_eq!(data["id"], "3");
    assert!(second.parse::<i64>().unwrap() < third.parse::<i64>().unwrap());
    let (name, next, _) = feed.event().await;
    assert_eq!(name, "next");
    assert!(next.parse::<i64>().unwrap() >= third.parse::<i64>().unwrap());
}

#[tokio::test]
async fn a_reader_begins_now_or_at_a_time() {
    let stack = Stack::connect().await.unwrap();
    let table = stack.table("begin", "id int primary key").await.unwrap();
    let insert = |id: i32| format!("insert into {table} values ({id})");
    stack.sql.batch_execute(&insert(1)).await.unwrap();
    let at =
        "select to_char(clock_timestamp() at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')";
    let time: String = stack.sql.query_one(at, &[]).await.unwrap().get(0);
    let path = |since: &str| format!("/v1/changes?tables={table}&since={since}");
    let now: Json = stack.gateway.get(&path("now")).await.unwrap();
    assert_eq!(now["changes"], json!([]));
    stack.sql.batch_execute(&insert(2)).await.unwrap();
    let since_time: Json = stack.gateway.get(&path(&time)).await.unwrap();
    assert_eq!(ids(since_time["changes"].as_array().unwrap()), ["2"]);
    let since_now: Json = stack.gateway.get(&path(&now["next"].to_string())).await.unwrap();
    assert_eq!(ids(since_now["changes"].as_array().unwrap()), ["2"]);
    let tomorrow: Json = stack.gateway.get(&path("2999-01-01T00:00:00Z")).await.unwrap();
    assert_eq!(tomorrow["changes"], json!([]));
    for since in ["-1", "yesterday", "2026-13-01T00:00:00Z", "2026-01-01", "", "1e3"] {
        let (status, name, _) = name_of(stack.gateway.get(&path(since)).await);
        assert!(status == 400 && (name == "bad_request" || name == "bad_value"), "{since}: {name}");
    }
}

#[tokio::test]
async fn what_a_reader_asks_for_is_what_it_gets_by_address_or_by_body() {
    let stack = Stack::connect().await.unwrap();
    let columns = "id text primary key, region text, size numeric, note json";
    let table = stack.table("ask", columns).await.unwrap();
    let fill = format!(
        "insert into {table} values ('a', 'north', 1.5), ('b,c', 'south', 2), ('[d]', 'north', 30);
         update {table} set region = 'south' where id = 'a';
         select from godwit.put_revisions('{table}', '[{{\"id\": \"[d]\", \"revision\": \"2-0\", \"revisions\": [\"2-0\", \"1-0\"],
             \"attributes\": {{\"region\": {{\"string\": \"north\"}}}}}}]')"
    );
    stack.sql.batch_execute(&fill).await.unwrap();
    let ask = async |more: Json| -> Vec<Json> {
        let mut body = json!({"tables": [table]});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let answer = stack.gateway.json(Method::POST, "/v1/changes", Some(&body)).await.unwrap();
        answer["changes"].as_array().unwrap().clone()
    };
    assert_eq!(ids(&ask(json!({"since": 0})).await), ["a", "b,c", "[d]", "a", "[d]"]);
    assert_eq!(ids(&ask(json!({"ids": ["b,c", "none"]})).await), ["b,c"]);
    let by_address: Json = stack
        .gateway
        .get(&format!("/v1/changes?tables={table}&ids=%5B%22b,c%22,%22%5Bd%5D%22%5D&limit=1"))
        .await
        .unwrap();
    assert_eq!(ids(by_address["changes"].as_array().unwrap()), ["b,c"]);
    // Each once, with all its leaves and their ancestry: what another peer takes.
    let leaves = ask(json!({"style": "leaves", "include": "revision"})).await;
    assert_eq!(ids(&leaves), ["b,c", "a", "[d]"]);
    let of_d = leaves[2]["leaves"].as_array().unwrap();
    let line = |leaf: &Json| leaf["revisions"].as_array().unwrap().len();
    assert_eq!(of_d.iter().map(line).collect::<Vec<_>>(), [2, 1]);
    assert_eq!(leaves[1]["leaves"][0]["attributes"]["region"]["string"], "south");
    // As it is now, whichever revision has arrived.
    let now = ask(json!({"include": "record", "ids": ["a"]})).await;
    assert_eq!(now.len(), 2);
    assert!(now.iter().all(|change| change["record"]["attributes"]["region"]["string"] == "south"));
    // What matches; and what did is told to have left.
    let north = ask(json!({"where": "region.eq.north"})).await;
    let left: Vec<bool> = north.iter().map(|change| change["left"] == true).collect();
    assert_eq!((ids(&north), left), (vec!["a", "[d]", "a", "[d]"], vec![true, false, true, false]));
    assert_eq!(ids(&ask(json!({"where": "size.gt.1.75 and size.lt.3"})).await), ["b,c"]);
    assert_eq!(ids(&ask(json!({"where": "id.in.(\"b,c\")"})).await), ["b,c"]);
    for (query, says) in [
        ("where=region.eq.north", "which tables"),
        ("tables=TABLE&where=region.like.n", "an operator is"),
        ("tables=TABLE&where=nope.eq.n", "no stored column"),
        ("tables=TABLE&where=note.eq.n", "no order to compare by"),
        ("tables=TABLE&where=size.eq.many", "numeric"),
        ("tables=TABLE&style=twigs", "leaves"),
        ("tables=TABLE&include=all", "record"),
        ("tables=TABLE&feed=websocket", "ndjson"),
        ("tables=TABLE&limit=0", "limit"),
        ("tables=TABLE&limit=ten", "limit"),
        ("tables=TABLE&ids=%5B1%5D", "ids"),
    ] {
        let path = format!("/v1/changes?{}", query.replace("TABLE", &table));
        let (status, _, reason) = name_of(stack.gateway.get(&path).await);
        assert_eq!(status, 400, "{query}: {reason}");
        assert!(reason.contains(says), "{query}: {reason}");
    }
    // A feed is refused with a status, not within its body.
    let missing = stack.gateway.get::<Json>("/v1/changes?feed=sse&tables=nope").await;
    assert_eq!(name_of(missing).0, 404);
}

#[tokio::test]
async fn a_snapshot_is_whole_goes_on_where_it_broke_off_and_is_not_sent_twice() {
    let stack = Stack::connect().await.unwrap();
    let table = stack.table("snap", "id int primary key, region text").await.unwrap();
    let fill = format!(
        "insert into {table} select g, case when g % 2 = 0 then 'north' else 'south' end from generate_series(1, 2500) g;
         delete from {table} where id = 7"
    );
    stack.sql.batch_execute(&fill).await.unwrap();
    let read_all = async |query: &str| -> (Vec<String>, i64, bool) {
        let path = format!("/v1/tables/{table}/snapshot{query}");
        let mut lines = Lines::open(&stack.gateway, &path, &[]).await;
        let next = lines.json().await["next"].as_i64().unwrap();
        let (mut ids, mut complete) = (Vec::new(), false);
        while let Some(line) = lines.line().await {
            let line: Json = serde_json::from_str(&line).unwrap();
            match line["id"].as_str() {
                Some(id) => ids.push(id.to_owned()),
                None => complete = line["complete"] == true && line["next"] == next,
            }
        }
        (ids, next, complete)
    };
    let (ids_seen, next, complete) = read_all("").await;
    assert!(complete);
    let mut expected: Vec<String> =
        (1..=2500).filter(|id| *id != 7).map(|id| id.to_string()).collect();
    expected.sort();
    assert_eq!(ids_seen, expected);
    let half = &expected[1200];
    let (rest, _, complete) = read_all(&format!("?after={half}")).await;
    assert!(complete && rest == expected[1201..]);
    let (north, _, _) = read_all("?where=region.eq.north").await;
    assert_eq!(north.len(), 1250);
    // The stream from there brings what came later, and nothing of what was in it.
    stack.sql.batch_execute(&format!("insert into {table} values (9999, 'east')")).await.unwrap();
    let page: Json =
        stack.gateway.get(&format!("/v1/changes?tables={table}&since={next}")).await.unwrap();
    assert_eq!(ids(page["changes"].as_array().unwrap()), ["9999"]);

    let path = format!("/v1/tables/{table}/snapshot");
    let answer = stack.gateway.send(Method::GET, &path, &[], None).await.unwrap();
    let tag = answer.headers()["etag"].to_str().unwrap().to_owned();
    let again =
        stack.gateway.send(Method::GET, &path, &[("if-none-match", &tag)], None).await.unwrap();
    assert_eq!(again.status(), 304);
    stack.sql.batch_execute(&format!("delete from {table} where id = 9999")).await.unwrap();
    let again =
        stack.gateway.send(Method::GET, &path, &[("if-none-match", &tag)], None).await.unwrap();
    assert_eq!(again.status(), 200);
    assert_ne!(again.headers()["etag"].to_str().unwrap(), tag);
    // Below a transaction that is still writing the tag could come to stand for more.
    let writer = stack.session().await.unwrap();
    writer.batch_execute(&format!("begin; insert into {table} values (10001)")).await.unwrap();
    stack.sql.batch_execute(&format!("insert into {table} values (10002)")).await.unwrap();
    let open = stack.gateway.send(Method::GET, &path, &[], None).await.unwrap();
    assert!(!open.headers().contains_key("etag"));
    writer.batch_execute("commit").await.unwrap();
}

#[tokio::test]
async fn edits_in_bulk_stand_for_themselves_and_may_be_sent_again() {
    let stack = Stack::connect().await.unwrap();
    let table = stack.table("bulkput", "id text primary key, n int not null").await.unwrap();
    let path = format!("/v1/tables/{table}/records:put");
    let item = |id: &str, n: &str| json!({"id": id, "attributes": {"n": {"int": n}}});
    let batch = json!({"records": [item("a", "1"), item("b", "many"), {"id": "c", "attributes": {}}, 7, item("a", "2")]});
    let answer = stack.gateway.json(Method::POST, &path, Some(&batch)).await.unwrap();
    let status = |answer: &Json| -> Vec<String> {
        let results = answer["results"].as_array().unwrap();
        results.iter().map(|result| result["status"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(status(&answer), ["accepted", "rejected", "rejected", "rejected", "conflict"]);
    let first = answer["results"][0]["revision"].as_str().unwrap();
    assert_eq!(answer["results"][4]["winner"], first);
    let again = stack.gateway.json(Method::POST, &path, Some(&batch)).await.unwrap();
    assert_eq!(status(&again)[0], "known");
    let edit =
        json!({"records": [{"id": "a", "revision": first, "attributes": {"n": {"int": "5"}}}]});
    for expected in ["accepted", "known"] {
        let answer = stack.gateway.json(Method::POST, &path, Some(&edit)).await.unwrap();
        assert_eq!(status(&answer), [expected]);
    }
    let stale =
        json!({"records": [{"id": "a", "revision": first, "attributes": {"n": {"int": "6"}}}]});
    let answer = stack.gateway.json(Method::POST, &path, Some(&stale)).await.unwrap();
    assert_eq!(status(&answer), ["conflict"]);
    let branch = format!("{path}?on_conflict=branch");
    let answer = stack.gateway.json(Method::POST, &branch, Some(&stale)).await.unwrap();
    assert_eq!(status(&answer), ["accepted"]);
    let count = format!("select count(*) from {table}_history");
    assert_eq!(stack.sql.query_one(&count, &[]).await.unwrap().get::<_, i64>(0), 3);
    let odd = stack.gateway.send(
        Method::POST,
        &path,
        &[("content-type", "application/json")],
        Some(b"{}".to_vec()),
    );
    assert_eq!(name_of(read(odd.await.unwrap()).await).0, 400);
}
