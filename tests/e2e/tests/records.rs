//! Tables and records over HTTP: reading, putting, deleting, preconditions, and what plain SQL sees.

#![allow(clippy::unwrap_used)] // A test may.

use godwit_e2e::gateway::{Error, encode, read};
use godwit_e2e::stack::Stack;
use reqwest::Method;
use revision::{Attributes, RevisionId};
use serde_json::{Value as Json, json};

fn refused(answer: Result<Json, Error>) -> (u16, String, Option<String>) {
    match answer.unwrap_err() {
        Error::Refused { status, name, winner, .. } => (status, name, winner),
        other => panic!("{other}"),
    }
}

fn path(table: &str, id: &str) -> String {
    format!("/v1/tables/{table}/records/{}", encode(id))
}

const JSON: (&str, &str) = ("content-type", "application/json");

#[tokio::test]
async fn a_record_is_put_read_edited_and_deleted() {
    let stack = Stack::connect().await.unwrap();
    let table = stack.table("life", "id text primary key, name text, n int").await.unwrap();
    let at = path(&table, "a");
    let gateway = &stack.gateway;
    let body = json!({"attributes": {"name": {"string": "Amina"}, "n": {"int": "7"}}});
    let sent = body.to_string().into_bytes();
    let answer = gateway.send(Method::PUT, &at, &[JSON], Some(sent.clone())).await.unwrap();
    assert_eq!(answer.status(), 201);
    let tag = answer.headers()["etag"].to_str().unwrap().to_owned();
    let first = read(answer).await.unwrap()["revision"].as_str().unwrap().to_owned();
    assert_eq!(tag, format!("\"{first}\""));
    let row = stack.sql.query_one(&format!("select name, n, _rev::text from {table}"), &[]).await;
    let row = row.unwrap();
    assert_eq!((row.get::<_, String>(0), row.get::<_, i32>(1)), ("Amina".into(), 7));
    assert_eq!(row.get::<_, String>(2), first);

    // Again, as by a client whose answer was lost: it is done.
    let again = gateway.json(Method::PUT, &at, Some(&body)).await.unwrap();
    assert_eq!(again["revision"], first.as_str());
    // Another without a revision: it is there, and the answer names the winner.
    let other = json!({"attributes": {"name": {"string": "Another"}}});
    let refusal = gateway.json(Method::PUT, &at, Some(&other)).await;
    assert_eq!(refused(refusal), (409, "conflict".into(), Some(first.clone())));
    // Read conditionally.
    let same = gateway.send(Method::GET, &at, &[("if-none-match", &tag)], None).await.unwrap();
    assert_eq!(same.status(), 304);
    // Edit by If-Match; what is left out stays.
    let edit = json!({"attributes": {"n": {"int": "8"}}}).to_string().into_bytes();
    let headers = [JSON, ("if-match", tag.as_str())];
    let answer = gateway.send(Method::PUT, &at, &headers, Some(edit.clone())).await.unwrap();
    assert_eq!(answer.status(), 200);
    let second = read(answer).await.unwrap()["revision"].as_str().unwrap().to_owned();
    assert!(second.starts_with("2-"));
    let record = gateway.record(&table, "a", "?revisions=true").await.unwrap();
    assert_eq!(record.attributes["name"], revision::Value::String("Amina".into()));
    assert_eq!(record.attributes["n"], revision::Value::Int(8));
    let line: Vec<String> = record.revisions.unwrap().iter().map(ToString::to_string).collect();
    assert_eq!(line, [second.clone(), first.clone()]);
    // The same sent twice is done once; another edit of the first revision is a conflict.
    let answer = gateway.send(Method::PUT, &at, &headers, Some(edit)).await.unwrap();
    assert_eq!(read(answer).await.unwrap()["revision"], json!(second));
    let stale = json!({"revision": first, "attributes": {"n": {"int": "9"}}});
    let answer = gateway.json(Method::PUT, &at, Some(&stale)).await;
    assert_eq!(refused(answer), (409, "conflict".into(), Some(second.clone())));
    // Unless a branch is asked for.
    let branch =
        gateway.json(Method::PUT, &format!("{at}?on_conflict=branch"), Some(&stale)).await.unwrap();
    let record = gateway.record(&table, "a", "?conflicts=true").await.unwrap();
    assert_eq!(record.conflicts.unwrap().len(), 1);
    let old = gateway.record(&table, "a", &format!("?revision={first}")).await.unwrap();
    assert_eq!(old.attributes["n"], revision::Value::Int(7));

    // A delete ends the leaf that it names; the other one comes to the fore.
    let winner = record.revision.unwrap().to_string();
    let other = if winner == second { branch["revision"].as_str().unwrap() } else { &second };
    let gone =
        gateway.json(Method::DELETE, &format!("{at}?revision={winner}"), None).await.unwrap();
    assert_eq!(gone["deleted"], json!(true));
    assert_eq!(gateway.record(&table, "a", "").await.unwrap().revision.unwrap().to_string(), other);
    gateway.json(Method::DELETE, &format!("{at}?revision={other}"), None).await.unwrap();
    assert_eq!(refused(gateway.get(&at).await).1, "deleted");
    let count: i64 =
        stack.sql.query_one(&format!("select count(*) from {table}"), &[]).await.unwrap().get(0);
    assert_eq!(count, 0);
    let history: Json = gateway.get(&format!("{at}/history")).await.unwrap();
    assert_eq!(history["revisions"].as_array().unwrap().len(), 5);
    // And it may come back.
    let back = gateway.json(Method::PUT, &at, Some(&body)).await.unwrap();
    assert!(back["revision"].as_str().unwrap().starts_with("4-"), "{back}");
}

#[tokio::test]
async fn ids_of_every_kind_reach_their_rows() {
    let stack = Stack::connect().await.unwrap();
    let table = stack.table("ids", "id text primary key, n int").await.unwrap();
    let ids = [
        "a/b",
        "100%",
        "a b",
        "q?x=1&y",
        "#",
        "é",
        "e\u{301}",
        "𝄞",
        "\"quoted\"",
        "..",
        "+",
        "a;b",
        "'; drop table x; --",
        "\t",
        "[1]",
        "\u{7f}",
    ];
    for (n, id) in ids.iter().enumerate() {
        let body = json!({"attributes": {"n": {"int": n.to_string()}}});
        // A path segment of dots alone is taken away by clients; it can't be asked for by URL.
        if *id == ".." {
            continue;
        }
        stack.gateway.json(Method::PUT, &path(&table, id), Some(&body)).await.unwrap();
        let record = stack.gateway.record(&table, id, "").await.unwrap();
        assert_eq!(record.id, *id);
        let sql = format!("select n from {table} where id = $1");
        let row = stack.sql.query_one(&sql, &[id]).await.unwrap();
        assert_eq!(row.get::<_, i32>(0), n as i32, "{id:?}");
    }
    assert_eq!(stack.shown(&table).await.unwrap().len(), ids.len() - 1, "page by page");
}

#[tokio::test]
async fn a_key_of_several_columns_is_the_array_of_its_texts() {
    let stack = Stack::connect().await.unwrap();
    let columns = "clinic text, day date, n int not null, primary key (clinic, day)";
    let table = stack.table("keys", columns).await.unwrap();
    let id = r#"["north","2026-02-28"]"#;
    let body = json!({"attributes": {"n": {"int": "3"}}});
    stack.gateway.json(Method::PUT, &path(&table, id), Some(&body)).await.unwrap();
    let sql = format!("update {table} set n = 4 where clinic = 'north' and day = '2026-02-28'");
    assert_eq!(stack.sql.execute(&sql, &[]).await.unwrap(), 1);
    let record = stack.gateway.record(&table, id, "").await.unwrap();
    assert_eq!(record.attributes["n"], revision::Value::Int(4));
    assert_eq!(record.attributes["day"], revision::Value::Date("2026-02-28".into()));
    for wrong in ["north", r#"["north"]"#, r#"["north", "2026-02-28"]"#, r#"["north","28.2.2026"]"#]
    {
        let answer = stack.gateway.json(Method::PUT, &path(&table, wrong), Some(&body)).await;
        assert_eq!(refused(answer).0, 400, "{wrong}");
    }
}

/// Every kind of DESIGN's table: what a client sends comes back as it was, its revision is what the
/// `revision` crate makes of it, and plain SQL that makes the same row makes the same revision.
#[tokio::test]
async fn values_travel_unchanged_and_sql_makes_the_same_revisions() {
    let stack = Stack::connect().await.unwrap();
    let columns = "id text primary key, b boolean, i bigint, f double precision, d numeric, t text,
                   y bytea, day date, at timestamptz, here timestamp, l int[], m jsonb, u uuid";
    let table = stack.table("kinds", columns).await.unwrap();
    let sent = json!({
        "id": {"string": "k"}, "b": {"bool": "true"}, "i": {"int": "-9223372036854775808"},
        "f": {"float": "-0"}, "d": {"decimal": "12.50"}, "t": {"string": "𝄞 \u{1} \" é"},
        "y": {"bytes": "AP8="}, "day": {"date": "0001-01-01"},
        "at": {"timestamp": "2026-02-28T23:59:59.999999Z"},
        "here": {"timestamp": "2026-02-28T00:00:00.000000"},
        "l": {"list": [{"int": "1"}, {"null": true}]},
        "m": {"map": {"n": {"decimal": "1.50"}, "s": {"string": ""}, "l": {"list": []}}},
        "u": {"string": "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"},
    });
    let body = json!({ "attributes": sent });
    let answer = stack.gateway.json(Method::PUT, &path(&table, "k"), Some(&body)).await.unwrap();
    let record = stack.gateway.record(&table, "k", "").await.unwrap();
    let attributes: Attributes = serde_json::from_value(sent).unwrap();
    assert_eq!(record.attributes, attributes);
    let expected = RevisionId::of("k", None, false, &attributes).to_string();
    assert_eq!(answer["revision"], json!(expected));
    let other = stack.table("kinds", columns).await.unwrap();
    let copy = format!(
        "insert into {other} select id, b, i, f, d, t, y, day, at, here, l, m, u from {table}"
    );
    stack.sql.batch_execute(&copy).await.unwrap();
    let sql = format!("select _rev::text from {other}");
    let row = stack.sql.query_one(&sql, &[]).await.unwrap();
    assert_eq!(row.get::<_, String>(0), expected);
}

#[tokio::test]
async fn attributes_without_a_column_are_kept() {
    let stack = Stack::connect().await.unwrap();
    let table = stack.table("extra", "id text primary key, n int").await.unwrap();
    let body = json!({"attributes": {"n": {"int": "1"}, "roof": {"string": "tin"},
                                     "photos": {"list": [{"bytes": "AAE="}]}}});
    stack.gateway.json(Method::PUT, &path(&table, "x"), Some(&body)).await.unwrap();
    stack.sql.batch_execute(&format!("update {table} set n = 2")).await.unwrap();
    let record = stack.gateway.record(&table, "x", "").await.unwrap();
    assert_eq!(record.attributes["n"], revision::Value::Int(2));
    assert_eq!(record.attributes["roof"], revision::Value::String("tin".into()));
    assert!(record.attributes.contains_key("photos"));
}

#[tokio::test]
async fn a_table_is_made_shown_and_listed() {
    let stack = Stack::connect().await.unwrap();
    let name = format!("made_{}", uuid::Uuid::new_v4().simple());
    let at = format!("/v1/tables/{name}");
    let definition = json!({
        "columns": [{"name": "name", "type": "text", "constraints": [{"not_null": {}}]},
                    {"name": "household", "type": "int", "default": {"int": "1"}}],
        "metadata": {"owner": "health"},
    });
    stack.gateway.json(Method::PUT, &at, Some(&definition)).await.unwrap();
    let again = stack.gateway.json(Method::PUT, &at, Some(&definition)).await;
    assert_eq!(refused(again).1, "table_exists");
    let shown: Json = stack.gateway.get(&at).await.unwrap();
    assert_eq!(shown["metadata"], json!({"owner": "health"}));
    let list: Json = stack.gateway.get("/v1/tables").await.unwrap();
    assert!(list["tables"].as_array().unwrap().contains(&shown));
    let body = json!({"attributes": {"name": {"string": "Amina"}}});
    stack.gateway.json(Method::PUT, &path(&name, "case-17"), Some(&body)).await.unwrap();
    let record = stack.gateway.record(&name, "case-17", "").await.unwrap();
    assert_eq!(record.attributes["household"], revision::Value::Int(1), "the column's default");
}
