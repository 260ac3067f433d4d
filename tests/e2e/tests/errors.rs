//! What a wrong request gets: a status, a name to match on, a sentence for a person, and no change.

#![allow(clippy::unwrap_used)] // A test may.

use godwit_e2e::gateway::encode;
use godwit_e2e::stack::Stack;
use reqwest::Method;
use serde_json::{Value as Json, json};

const JSON: (&str, &str) = ("content-type", "application/json");
const TABLE: &str = "id text primary key, name text not null, n int check (n > 0), u text unique";

struct Wrong {
    what: &'static str,
    method: Method,
    path: String,
    headers: Vec<(&'static str, String)>,
    body: Option<Vec<u8>>,
    status: u16,
    error: &'static str,
    /// What the reason must name.
    says: &'static str,
}

fn wrong(
    what: &'static str,
    method: Method,
    path: impl Into<String>,
    body: Option<Vec<u8>>,
    status: u16,
    error: &'static str,
    says: &'static str,
) -> Wrong {
    let headers = vec![(JSON.0, JSON.1.to_owned())];
    Wrong { what, method, path: path.into(), headers, body, status, error, says }
}

/// Sends each and holds its answer against what it should be.
async fn check(stack: &Stack, cases: Vec<Wrong>) {
    for case in cases {
        let headers: Vec<(&str, &str)> =
            case.headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let answer =
            stack.gateway.send(case.method, &case.path, &headers, case.body).await.unwrap();
        let status = answer.status().as_u16();
        let kind = answer.headers()["content-type"].to_str().unwrap().to_owned();
        let text = answer.text().await.unwrap();
        let what = case.what;
        assert_eq!(kind, "application/json", "{what}: {text}");
        let body: Json = serde_json::from_str(&text).unwrap();
        assert_eq!(
            (status, body["error"].as_str()),
            (case.status, Some(case.error)),
            "{what}: {body}"
        );
        let reason = body["reason"].as_str().unwrap();
        assert!(reason.contains(case.says), "{what}: {reason}");
        for inside in ["src/", ".rs", "SPI", "panic", "pg_", "_godwit", "SQLSTATE", "tokio"] {
            assert!(!reason.contains(inside), "{what}: {reason}");
        }
    }
}

fn bytes(body: &Json) -> Option<Vec<u8>> {
    Some(body.to_string().into_bytes())
}

fn attributes(attributes: Json) -> Option<Vec<u8>> {
    bytes(&json!({ "attributes": attributes }))
}

async fn counts(stack: &Stack, table: &str) -> (i64, i64) {
    let sql =
        format!("select (select count(*) from {table}), (select count(*) from {table}_history)");
    let row = stack.sql.query_one(&sql, &[]).await.unwrap();
    (row.get(0), row.get(1))
}

#[rustfmt::skip] // One case a line.
#[tokio::test]
async fn wrong_records_are_refused_and_nothing_changes() {
    let stack = Stack::connect().await.unwrap();
    let table = stack.table("wrong", TABLE).await.unwrap();
    let fill = format!("insert into {table} values ('a', 'Amina', 1, 'taken')");
    stack.sql.batch_execute(&fill).await.unwrap();
    let before = counts(&stack, &table).await;
    let at = format!("/v1/tables/{table}/records/new");
    let put = |what, body, status, error, says| {
        wrong(what, Method::PUT, at.clone(), body, status, error, says)
    };
    let name = json!({"string": "x"});
    let deep = format!("{{\"attributes\":{}", "{\"m\":".repeat(500)).into_bytes();
    let mut cases = vec![
        put("not JSON", Some(b"name=x".to_vec()), 400, "bad_request", "not JSON"),
        put("half of it", Some(b"{\"attributes\":".to_vec()), 400, "bad_request", "not JSON"),
        put("nothing", Some(Vec::new()), 400, "bad_request", "not JSON"),
        put("not UTF-8", Some(b"{\"attributes\":{\"name\":{\"string\":\"\xff\"}}}".to_vec()), 400, "bad_request", "JSON"),
        put("too deep", Some(deep), 400, "too_deep", "160"),
        put("an array", Some(b"[]".to_vec()), 400, "bad_value", "the body"),
        put("no attributes", Some(b"{}".to_vec()), 400, "bad_value", "attributes"),
        put("an unknown member", bytes(&json!({"attributes": {}, "colour": 1})), 400, "bad_value", "colour"),
        put("a bare value", attributes(json!({"name": "x"})), 400, "bad_value", "name"),
        put("an unknown kind", attributes(json!({"name": {"text": "x"}})), 400, "bad_value", "text"),
        put("two kinds", attributes(json!({"name": {"string": "x", "int": "1"}})), 400, "bad_value", "name"),
        put("another form", attributes(json!({"name": name, "n": {"int": "+7"}})), 400, "bad_value", "+7"),
        put("too large a number", attributes(json!({"name": name, "n": {"int": "99999999999"}})), 400, "bad_value", "99999999999"),
        put("a word for a number", attributes(json!({"name": name, "n": {"string": "many"}})), 400, "bad_value", "many"),
        put("U+0000", attributes(json!({"name": {"string": "a\u{0}b"}})), 400, "bad_value", "U+0000"),
        put("not null", attributes(json!({"n": {"int": "1"}})), 422, "refused", "name"),
        put("a check", attributes(json!({"name": name, "n": {"int": "0"}})), 422, "refused", "_n_check"),
        put("unique", attributes(json!({"name": name, "u": {"string": "taken"}})), 422, "refused", "_u_key"),
        put("another key inside", attributes(json!({"name": name, "id": {"string": "b"}})), 400, "bad_value", "\"b\""),
        put("an unknown revision", bytes(&json!({"revision": "3-nobody", "attributes": {"name": name}})), 400, "bad_request", "3-nobody"),
        put("a malformed revision", bytes(&json!({"revision": "nobody", "attributes": {"name": name}})), 400, "bad_value", "nobody"),
        put("too large", Some(vec![b' '; 17 << 20]), 413, "too_large", "16777216"),
    ];
    let long = encode(&"x".repeat(10_000));
    let of = |path: &str| format!("/v1/tables/{table}/records/{path}");
    cases.extend([
        wrong("an id of 10 kB", Method::PUT, of(&long), attributes(json!({"name": name})), 400, "bad_value", "1024"),
        wrong("reading an id of 10 kB", Method::GET, of(&long), None, 400, "bad_value", "1024"),
        wrong("no id", Method::PUT, of(""), attributes(json!({"name": name})), 404, "not_found", ""),
        wrong("U+0000 in an id", Method::GET, of("a%00b"), None, 400, "bad_value", "U+0000"),
        wrong("an id that is not UTF-8", Method::GET, of("%ff"), None, 400, "bad_request", "UTF-8"),
        wrong("an unknown record", Method::GET, of("nobody"), None, 404, "not_found", "nobody"),
        wrong("a delete of none", Method::DELETE, of("nobody"), None, 404, "not_found", "nobody"),
        wrong("a delete without a revision", Method::DELETE, of("a"), None, 409, "conflict", "revision"),
        wrong("an unknown revision", Method::GET, of("a?revision=9-x"), None, 404, "not_found", "9-x"),
        wrong("a malformed revision", Method::GET, of("a?revision=x"), None, 400, "bad_revision", "x"),
        wrong("an unknown parameter", Method::GET, of("a?rev=1-a"), None, 400, "bad_request", "rev"),
        wrong("an unknown way out of a conflict", Method::PUT, of("a?on_conflict=win"), attributes(json!({})), 400, "bad_request", "branch"),
        wrong("an unknown method", Method::PATCH, of("a"), None, 405, "method_not_allowed", "PATCH"),
        wrong("a page of none", Method::GET, format!("/v1/tables/{table}/records?limit=0"), None, 400, "bad_request", "limit"),
    ]);
    let mut plain = put("another content type", attributes(json!({})), 415, "unsupported_media_type", "application/json");
    plain.headers = vec![("content-type", "text/plain".into())];
    let mut weak =
        put("a weak tag", attributes(json!({"name": name})), 400, "bad_revision", "if-match");
    weak.headers.push(("if-match", "W/\"1-a\"".into()));
    cases.extend([plain, weak]);
    check(&stack, cases).await;
    assert_eq!(counts(&stack, &table).await, before);
}

#[rustfmt::skip] // One case a line.
#[tokio::test]
async fn wrong_batches_are_refused_item_by_item() {
    let stack = Stack::connect().await.unwrap();
    let table = stack.table("batch", TABLE).await.unwrap();
    let item = |id: &str, revision: &str, name: &str| json!({"id": id, "revision": revision, "attributes": {"name": {"string": name}}});
    let batch = json!({"revisions": [
        item("good", "1-a", "x"), item("good", "1-a", "x"), item("good", "1-a", "forged"),
        {"id": "none"}, {"id": "bad", "revision": "nonsense"}, 7, item("", "1-a", "x"),
        {"id": "gap", "revision": "3-a", "revisions": ["3-a", "1-a"], "attributes": {}},
        {"id": "u0", "revision": "1-a", "attributes": {"name": {"string": "a\u{0}"}}},
        {"id": "null", "revision": "1-a", "attributes": {}},
        {"id": "parent", "revision": "2-b", "revisions": ["2-b", "1-never-seen"], "attributes": {"name": {"string": "x"}}},
        item(&"x".repeat(10_000), "1-a", "x"), item("after", "1-a", "x"),
    ]});
    let path = format!("/v1/tables/{table}/revisions");
    let answer = stack.gateway.json(Method::POST, &path, Some(&batch)).await.unwrap();
    let results = answer["results"].as_array().unwrap();
    let statuses: Vec<&str> =
        results.iter().map(|result| result["status"].as_str().unwrap()).collect();
    assert_eq!(
        statuses,
        [
            "accepted", "known", "rejected", "rejected", "rejected", "rejected", "rejected",
            "rejected", "rejected", "rejected", "accepted", "rejected", "accepted",
        ]
    );
    for result in results.iter().filter(|result| result["status"] == "rejected") {
        assert!(!result["reason"].as_str().unwrap().is_empty(), "{result}");
    }
    // An ancestor that was never sent is known by name, and can't be read.
    let record = stack.gateway.record(&table, "parent", "?revisions=true").await.unwrap();
    assert_eq!(record.revisions.unwrap().len(), 2);
    let sql = format!(
        "select record_id from godwit.rejected where relation = '{table}'::regclass order by 1"
    );
    let kept: Vec<String> =
        stack.sql.query(&sql, &[]).await.unwrap().iter().map(|row| row.get(0)).collect();
    assert_eq!(kept, ["good", "null"], "what could be read and was refused is kept");
    let [in_table, elected] = stack.table_and_elected(&table).await.unwrap();
    assert_eq!(in_table, elected);
    assert_eq!(in_table.keys().collect::<Vec<_>>(), ["after", "good", "parent"]);

    let stub = format!("/v1/tables/{table}/records/parent?revision=1-never-seen");
    check(
        &stack,
        vec![
            wrong("a stub", Method::GET, stub, None, 404, "not_found", "by name only"),
            wrong("no list", Method::POST, path.clone(), bytes(&json!({})), 400, "bad_value", "revisions"),
            wrong("too many", Method::POST, path, bytes(&json!({"revisions": vec![0; 10_001]})), 413, "too_large", "10000"),
            wrong("a malformed question", Method::POST, format!("/v1/tables/{table}/revisions:missing"), bytes(&json!({"a": ["x"]})), 400, "bad_value", "x"),
        ],
    )
    .await;
}

#[rustfmt::skip] // One case a line.
#[tokio::test]
async fn wrong_tables_are_refused() {
    let stack = Stack::connect().await.unwrap();
    let table = stack.table("there", TABLE).await.unwrap();
    stack
        .sql
        .batch_execute(&format!("create table if not exists plain_{table} (a int primary key)"))
        .await
        .unwrap();
    let at = |name: &str| format!("/v1/tables/{}", encode(name));
    let columns = |columns: Json| bytes(&json!({ "columns": columns }));
    let long = "t".repeat(56);
    check(
        &stack,
        vec![
            wrong("an unknown table", Method::GET, at("nowhere"), None, 404, "table_not_found", "nowhere"),
            wrong("records of an unknown table", Method::GET, at("nowhere") + "/records", None, 404, "table_not_found", "nowhere"),
            wrong("a put to an unknown table", Method::PUT, at("nowhere") + "/records/a", attributes(json!({})), 404, "table_not_found", "nowhere"),
            wrong("changes of an unknown table", Method::GET, "/v1/changes?tables=nowhere", None, 404, "table_not_found", "nowhere"),
            wrong("a table that isn't tracked", Method::GET, at(&format!("plain_{table}")), None, 404, "table_not_found", "not tracked"),
            wrong("a name that is taken", Method::PUT, at(&table), columns(json!([])), 409, "table_exists", "exists"),
            wrong("the twin's name", Method::PUT, at(&format!("{table}_history")), columns(json!([])), 409, "table_exists", "exists"),
            wrong("a name that is too long", Method::PUT, at(&long), columns(json!([])), 400, "bad_request", "too long"),
            wrong("a column named like ours", Method::PUT, at("mine"), columns(json!([{"name": "_rev", "type": "text"}])), 400, "bad_request", "_rev"),
            wrong("a column twice", Method::PUT, at("mine"), columns(json!([{"name": "a", "type": "text"}, {"name": "a", "type": "text"}])), 400, "bad_request", "more than once"),
            wrong("no such type", Method::PUT, at("mine"), columns(json!([{"name": "a", "type": "txt"}])), 400, "bad_request", "txt"),
            wrong("SQL for a type", Method::PUT, at("mine"), columns(json!([{"name": "a", "type": "int); drop table x; --"}])), 400, "bad_request", "type"),
            wrong("no such constraint", Method::PUT, at("mine"), columns(json!([{"name": "a", "type": "int", "constraints": [{"magic": {}}]}])), 400, "bad_request", "magic"),
            wrong("a default that doesn't fit", Method::PUT, at("mine"), columns(json!([{"name": "a", "type": "int", "default": {"int": "x"}}])), 400, "bad_value", "x"),
            wrong("no path", Method::GET, "/v1/tabels", None, 404, "not_found", "/v1/tabels"),
            wrong("since is a word", Method::GET, "/v1/changes?since=yesterday", None, 400, "bad_request", "since"),
            wrong("since is negative", Method::GET, "/v1/changes?since=-1", None, 400, "bad_request", "since"),
            wrong("an unknown feed", Method::GET, "/v1/changes?feed=telepathy", None, 400, "bad_request", "telepathy"),
            wrong("too many changes", Method::GET, "/v1/changes?limit=1000000", None, 400, "bad_request", "10000"),
        ],
    )
    .await;
    // A name that needs quotes is a name.
    let quoted = format!("Needs \"quotes\" {table}");
    stack.gateway.json(Method::PUT, &at(&quoted), Some(&json!({}))).await.unwrap();
    let body = json!({"attributes": {"x": {"int": "1"}}});
    let record = at(&quoted) + "/records/a";
    stack.gateway.json(Method::PUT, &record, Some(&body)).await.unwrap();
    let read: Json = stack.gateway.get(&record).await.unwrap();
    assert_eq!(read["attributes"], body["attributes"]);
    assert_eq!(read["table"], json!(quoted));
}

#[tokio::test]
async fn a_request_id_is_given_back() {
    let stack = Stack::connect().await.unwrap();
    let headers = [("x-request-id", "field-7")];
    let answer = stack.gateway.send(Method::GET, "/health", &headers, None).await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["x-request-id"], "field-7");
    let answer = stack.gateway.send(Method::GET, "/nothing", &[], None).await.unwrap();
    assert!(!answer.headers()["x-request-id"].is_empty());
}
