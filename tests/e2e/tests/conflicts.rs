//! Conflicts over HTTP: listed, laid side by side, resolved; what was refused: listed, tried again, given up.

#![allow(clippy::unwrap_used)] // A test may.

use godwit_e2e::stack::Stack;
use reqwest::Method;
use serde_json::{Value as Json, json};

fn branch(id: &str, revision: &str, name: &str) -> Json {
    json!({"id": id, "revision": revision, "revisions": [revision, "1-root"],
           "attributes": {"name": {"string": name}, "age": {"int": "7"}}})
}

#[tokio::test]
async fn a_conflict_is_listed_laid_side_by_side_and_resolved() {
    let stack = Stack::connect().await.unwrap();
    let table = stack.table("torn", "id text primary key, name text, age int").await.unwrap();
    let path = |rest: &str| format!("/v1/tables/{table}{rest}");
    let root = json!({"id": "a", "revision": "1-root",
                      "attributes": {"name": {"string": "root"}, "age": {"int": "7"}}});
    for id in ["a", "b", "c"] {
        let mut root = root.clone();
        root["id"] = id.into();
        let sent =
            json!({"revisions": [root, branch(id, "2-x", "hers"), branch(id, "2-y", "his")]});
        stack.gateway.json(Method::POST, &path("/revisions"), Some(&sent)).await.unwrap();
    }
    // Two on a page, then the last.
    let list = format!("/v1/conflicts?tables={table}&limit=2");
    let first: Json = stack.gateway.get(&list).await.unwrap();
    assert_eq!(first["conflicts"].as_array().unwrap().len(), 2);
    let conflict = &first["conflicts"][0];
    assert_eq!(
        (conflict["id"].as_str(), conflict["winner"].as_str(), conflict["grade"].as_str()),
        (Some("a"), Some("2-y"), Some("hard"))
    );
    assert_eq!(
        (&conflict["ancestor"], &conflict["attributes"]),
        (&json!("1-root"), &json!(["name"]))
    );
    let next = first["next"].as_str().unwrap();
    let encoded: String = next.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let second: Json = stack.gateway.get(&format!("{list}&after={encoded}")).await.unwrap();
    assert_eq!((second["conflicts"][0]["id"].as_str(), &second["next"]), (Some("c"), &Json::Null));

    let leaves: Json = stack.gateway.get(&path("/records/a/leaves")).await.unwrap();
    let said = |at: usize| leaves["leaves"][at]["attributes"]["name"]["string"].as_str();
    assert_eq!((said(0), said(1)), (Some("his"), Some("hers")));
    assert_eq!(leaves["leaves"][1]["ancestor"]["attributes"]["name"]["string"], "root");

    // Who has not looked at all there is now is told so.
    let stale = json!({"leaves": ["2-x"]});
    let resolve = path("/records/a/resolve");
    let refused = stack.gateway.json(Method::POST, &resolve, Some(&stale)).await.unwrap_err();
    assert!(refused.to_string().starts_with("409 conflict"), "{refused}");
    let sent = json!({"keep": "2-x", "attributes": {"name": {"string": "both"}}, "leaves": ["2-x", "2-y"]});
    stack.gateway.json(Method::POST, &resolve, Some(&sent)).await.unwrap();
    let record: Json = stack.gateway.get(&path("/records/a?conflicts=true")).await.unwrap();
    assert_eq!(record["attributes"]["name"]["string"], "both");
    assert_eq!(record["conflicts"], json!([]));
    let left: Json = stack.gateway.get(&format!("/v1/conflicts?tables={table}")).await.unwrap();
    assert_eq!(left["conflicts"].as_array().unwrap().len(), 2);

    // And a policy merges the rest.
    let policy = json!({"conflicts": "fields", "attributes": {"name": "max"}});
    stack
        .gateway
        .send(
            Method::PUT,
            &path("/policy"),
            &[("content-type", "application/json")],
            Some(policy.to_string().into_bytes()),
        )
        .await
        .unwrap();
    let sql = format!("select godwit.merge_conflicts('{table}')");
    let merged = stack.sql.query_one(&sql, &[]).await;
    assert_eq!(merged.unwrap().get::<_, i64>(0), 2);
}

#[tokio::test]
async fn what_was_refused_is_listed_tried_again_and_given_up() {
    let stack = Stack::connect().await.unwrap();
    let table =
        stack.table("refused", "id text primary key, age int check (age > 0)").await.unwrap();
    let path = |rest: &str| format!("/v1/tables/{table}{rest}");
    let bad = |id: &str, age: &str| json!({"id": id, "revision": "1-a", "attributes": {"age": {"int": age}}});
    let sent = json!({"revisions": [bad("a", "-1"), bad("b", "-2"), bad("c", "3")]});
    stack.gateway.json(Method::POST, &path("/revisions"), Some(&sent)).await.unwrap();
    let list = format!("/v1/rejected?tables={table}");
    let found: Json = stack.gateway.get(&list).await.unwrap();
    let rejected = found["rejected"].as_array().unwrap();
    assert_eq!(rejected.len(), 2);
    assert_eq!(rejected[0]["sqlstate"], "23514");
    assert_eq!(rejected[0]["record"]["attributes"]["age"]["int"], "-1");

    stack
        .sql
        .batch_execute(&format!(
            "alter table {table} drop constraint {table}_age_check, add check (age > -2)"
        ))
        .await
        .unwrap();
    let retried =
        stack.gateway.json(Method::POST, &path("/rejected:retry"), Some(&json!({}))).await;
    let retried = retried.unwrap();
    let status = |id: &str| {
        let results = retried["results"].as_array().unwrap();
        results.iter().find(|result| result["id"] == id).unwrap()["status"].clone()
    };
    assert_eq!((status("a"), status("b")), (json!("accepted"), json!("rejected")));
    let found: Json = stack.gateway.get(&list).await.unwrap();
    let numbers = json!({"numbers": [found["rejected"][0]["number"]]});
    let given_up =
        stack.gateway.json(Method::POST, &path("/rejected:discard"), Some(&numbers)).await.unwrap();
    assert_eq!(given_up["discarded"], 1);
    let found: Json = stack.gateway.get(&list).await.unwrap();
    assert_eq!(found["rejected"], json!([]));
}

#[tokio::test]
async fn the_status_says_how_far_the_stream_is_and_who_holds_it() {
    let stack = Stack::connect().await.unwrap();
    let table = stack.table("held", "id text primary key").await.unwrap();
    let mut other = stack.session().await.unwrap();
    let open = other.transaction().await.unwrap();
    open.batch_execute(&format!("insert into {table} values ('a')")).await.unwrap();
    let status: Json = stack.gateway.get("/v1/status").await.unwrap();
    assert_eq!(status["holders"].as_array().unwrap().len(), 1);
    assert!(status["sequence"].as_i64() > status["horizon"].as_i64());
    let incarnation = status["incarnation"].as_str().unwrap().to_owned();
    open.commit().await.unwrap();
    let status: Json = stack.gateway.get("/v1/status").await.unwrap();
    assert_eq!(
        (&status["holders"], status["incarnation"].as_str()),
        (&json!([]), Some(&*incarnation))
    );
}
