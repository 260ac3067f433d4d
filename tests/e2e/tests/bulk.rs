//! Thousands of revisions in one request, and the same again.

#![allow(clippy::unwrap_used)] // A test may.

use godwit_e2e::stack::Stack;
use revision::{Attributes, Record, RevisionId, Value};
use std::collections::BTreeMap;

fn record(id: &str, path: Vec<RevisionId>, attributes: Attributes) -> Record {
    Record {
        id: id.into(),
        table: None,
        revision: path.first().cloned(),
        deleted: false,
        attributes,
        revisions: Some(path),
        conflicts: None,
    }
}

#[tokio::test]
async fn five_thousand_revisions_arrive_in_one_request_and_are_known_in_the_next() {
    let stack = Stack::connect().await.unwrap();
    let table = stack.table("bulk", "id text primary key, n int, note text").await.unwrap();
    let mut batch = Vec::new();
    for n in 0..2500 {
        let id = format!("r{n:04}");
        let mut attributes = Attributes::from([
            ("id".into(), Value::String(id.clone())),
            ("n".into(), Value::Int(n)),
            ("note".into(), Value::Null),
        ]);
        let first = RevisionId::of(&id, None, false, &attributes);
        batch.push(record(&id, vec![first.clone()], attributes.clone()));
        attributes.insert("note".into(), Value::String("edited".into()));
        let second = RevisionId::of(&id, Some(&first), false, &attributes);
        batch.push(record(&id, vec![second, first], attributes));
    }
    // Children before parents as often as after them.
    batch.reverse();
    let asked: BTreeMap<String, Vec<RevisionId>> =
        batch.iter().map(|record| (record.id.clone(), record.revisions.clone().unwrap())).collect();
    let missing = stack.gateway.missing(&table, &asked).await.unwrap();
    assert_eq!(missing.len(), 2500);

    for status in ["accepted", "known"] {
        let results = stack.gateway.put_revisions(&table, &batch).await.unwrap();
        assert_eq!(results.len(), 5000);
        for (result, sent) in results.iter().zip(&batch) {
            assert_eq!(result.status, status, "{result:?}");
            assert_eq!(result.id.as_ref(), Some(&sent.id), "in the order sent");
            assert_eq!(result.revision, sent.revision.as_ref().map(ToString::to_string));
        }
    }
    assert!(stack.gateway.missing(&table, &asked).await.unwrap().is_empty());
    let sql = format!(
        "select count(*), count(*) filter (where note = 'edited' and godwit.generation(_rev) = 2)
           from {table}"
    );
    let row = stack.sql.query_one(&sql, &[]).await.unwrap();
    assert_eq!((row.get::<_, i64>(0), row.get::<_, i64>(1)), (2500, 2500));
    let mut fresh = stack.peer("fresh", &table);
    assert_eq!(fresh.pull().await.unwrap(), 5000);
    assert_eq!(fresh.shown(), stack.shown(&table).await.unwrap());
}

#[tokio::test]
async fn one_bad_revision_does_not_stop_the_others() {
    let stack = Stack::connect().await.unwrap();
    let table = stack.table("mixed", "id text primary key, n int not null").await.unwrap();
    let batch: Vec<Record> = (0..200)
        .map(|n| {
            let id = format!("r{n}");
            let mut attributes = Attributes::from([("id".into(), Value::String(id.clone()))]);
            if n % 10 != 3 {
                attributes.insert("n".into(), Value::Int(n));
            }
            let revision = RevisionId::of(&id, None, false, &attributes);
            record(&id, vec![revision], attributes)
        })
        .collect();
    let results = stack.gateway.put_revisions(&table, &batch).await.unwrap();
    for (n, result) in results.iter().enumerate() {
        let expected = if n % 10 == 3 { "rejected" } else { "accepted" };
        assert_eq!(result.status, expected, "{result:?}");
        assert_eq!(result.reason.is_some(), expected == "rejected");
    }
    let [in_table, elected] = stack.table_and_elected(&table).await.unwrap();
    assert_eq!(in_table, elected);
    assert_eq!(in_table.len(), 180);
}
