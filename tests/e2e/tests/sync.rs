//! Two peers that were offline and a third writer in plain SQL come to agree.

#![allow(clippy::unwrap_used)] // A test may.

use godwit_e2e::Peer;
use godwit_e2e::stack::Stack;
use revision::{RevisionId, Value};
use std::collections::BTreeMap;

const COLUMNS: &str = "id text primary key, name text, household int, note text";

fn string(text: &str) -> Value {
    Value::String(text.into())
}

/// Twenty people, whom both peers have taken before they go offline.
async fn people(stack: &Stack) -> (String, Peer, Peer) {
    let table = stack.table("people", COLUMNS).await.unwrap();
    let fill = format!(
        "insert into {table} select 'p' || g, 'Person ' || g, g % 5, null from generate_series(1, 20) g"
    );
    stack.sql.batch_execute(&fill).await.unwrap();
    let (mut laptop, mut phone) = (stack.peer("laptop", &table), stack.peer("phone", &table));
    assert_eq!(laptop.pull().await.unwrap(), 20);
    assert_eq!(phone.pull().await.unwrap(), 20);
    (table, laptop, phone)
}

/// What each of them does while the others can't see it.
async fn go_apart(stack: &Stack, table: &str, laptop: &mut Peer, phone: &mut Peer) {
    laptop.edit("p1", &[("name", string("Amina"))]);
    laptop.edit("p2", &[("note", string("moved"))]);
    laptop.edit("p2", &[("household", Value::Int(9))]);
    laptop.edit("p3", &[("note", string("laptop"))]);
    laptop.delete("p4");
    laptop.delete("p5");
    laptop.edit("p6", &[("note", string("seen"))]);
    let fresh = [("id", string("l1")), ("name", string("by laptop")), ("roof", string("tin"))];
    laptop.edit("l1", &fresh);
    laptop.edit("same", &[("id", string("same")), ("name", string("both"))]);

    phone.edit("p1", &[("name", string("Aminah"))]);
    phone.edit("p3", &[("note", string("phone"))]);
    phone.edit("p3", &[("note", string("phone, later"))]);
    phone.edit("p4", &[("note", string("still here"))]);
    phone.delete("p5");
    phone.edit("p7", &[("household", Value::Null)]);
    phone.edit("same", &[("id", string("same")), ("name", string("both"))]);

    let clerk = format!(
        "update {table} set note = 'clerk' where id in ('p1', 'p8');
         delete from {table} where id in ('p6', 'p9');
         insert into {table} values ('c1', 'by clerk', 1, null);
         update {table} set household = household + 1 where id = 'p2';"
    );
    stack.sql.batch_execute(&clerk).await.unwrap();
}

/// Everybody has the same winners, bodies and conflicts: both peers, a fresh one, the database through
/// HTTP, the table in SQL, and the history's own election.
async fn agree(stack: &Stack, table: &str, peers: [&Peer; 2]) -> BTreeMap<String, RevisionId> {
    let shown = peers[0].shown();
    assert_eq!(shown, peers[1].shown(), "{} and {} differ", peers[0].name, peers[1].name);
    assert_eq!(peers[0].all_conflicts(), peers[1].all_conflicts());
    let mut fresh = stack.peer("fresh", table);
    fresh.pull().await.unwrap();
    assert_eq!(shown, fresh.shown());
    assert_eq!(fresh.all_conflicts(), peers[0].all_conflicts());
    assert_eq!(shown, stack.shown(table).await.unwrap());

    let winners: BTreeMap<String, String> =
        shown.iter().map(|(id, (revision, _))| (id.clone(), revision.to_string())).collect();
    let [in_table, elected] = stack.table_and_elected(table).await.unwrap();
    assert_eq!(winners, in_table);
    assert_eq!(winners, elected);
    for (id, conflicts) in fresh.all_conflicts() {
        let record = stack.gateway.record(table, &id, "?conflicts=true").await.unwrap();
        assert_eq!(record.conflicts, Some(conflicts), "conflicts of {id}");
    }
    shown.into_iter().map(|(id, (revision, _))| (id, revision)).collect()
}

#[derive(Clone, Copy)]
enum Order {
    LaptopFirst,
    PhoneFirst,
    /// Pushes and pulls of both, and the clerk's work, one between the other.
    Interleaved,
}

async fn come_back(order: Order) -> BTreeMap<String, RevisionId> {
    let stack = Stack::connect().await.unwrap();
    let (table, mut laptop, mut phone) = people(&stack).await;
    go_apart(&stack, &table, &mut laptop, &mut phone).await;
    match order {
        Order::LaptopFirst => {
            assert!(laptop.sync().await.unwrap().is_empty());
            assert!(phone.sync().await.unwrap().is_empty());
            laptop.pull().await.unwrap();
        }
        Order::PhoneFirst => {
            assert!(phone.sync().await.unwrap().is_empty());
            assert!(laptop.sync().await.unwrap().is_empty());
            phone.pull().await.unwrap();
        }
        Order::Interleaved => {
            laptop.pull().await.unwrap();
            phone.push().await.unwrap();
            laptop.push().await.unwrap();
            phone.pull().await.unwrap();
            laptop.pull().await.unwrap();
        }
    }
    // One conflict or more where both edited, and none that nobody made.
    let conflicts = laptop.all_conflicts();
    assert!(conflicts.contains_key("p1") && conflicts.contains_key("p3"), "{conflicts:?}");
    assert_eq!(conflicts["p1"].len(), 2, "laptop, phone and clerk edited p1");
    assert!(!conflicts.contains_key("p7") && !conflicts.contains_key("same"));
    // An edit beats a delete of the same revision; a delete on both sides is one.
    assert_eq!(laptop.value("p4", "note"), Some(string("still here")));
    assert_eq!(laptop.value("p6", "note"), Some(string("seen")));
    assert!(!laptop.shown().contains_key("p5") && !laptop.shown().contains_key("p9"));
    assert_eq!(laptop.value("p2", "household"), Some(Value::Int(9)), "the longer branch wins");
    assert_eq!(phone.value("l1", "roof"), Some(string("tin")), "no column, and not dropped");
    agree(&stack, &table, [&laptop, &phone]).await
}

#[tokio::test]
async fn the_laptop_comes_back_first() {
    come_back(Order::LaptopFirst).await;
}

#[tokio::test]
async fn the_phone_comes_back_first() {
    come_back(Order::PhoneFirst).await;
}

#[tokio::test]
async fn the_order_of_coming_back_changes_nothing() {
    let first = come_back(Order::LaptopFirst).await;
    assert_eq!(first, come_back(Order::PhoneFirst).await);
    assert_eq!(first, come_back(Order::Interleaved).await);
}

#[tokio::test]
async fn a_conflict_that_one_resolves_is_resolved_for_all() {
    let stack = Stack::connect().await.unwrap();
    let (table, mut laptop, mut phone) = people(&stack).await;
    go_apart(&stack, &table, &mut laptop, &mut phone).await;
    laptop.sync().await.unwrap();
    phone.sync().await.unwrap();
    let conflicts = phone.all_conflicts();
    assert!(!conflicts.is_empty());
    for id in conflicts.keys() {
        phone.edit(id, &[("note", string("agreed"))]);
        phone.resolve(id);
    }
    assert!(phone.sync().await.unwrap().is_empty());
    laptop.sync().await.unwrap();
    assert_eq!(laptop.all_conflicts(), BTreeMap::new());
    for id in conflicts.keys() {
        assert_eq!(laptop.value(id, "note"), Some(string("agreed")), "{id}");
    }
    agree(&stack, &table, [&laptop, &phone]).await;
    let sql = format!("select count(*) from {table} where note = 'agreed'");
    let agreed: i64 = stack.sql.query_one(&sql, &[]).await.unwrap().get(0);
    assert_eq!(agreed as usize, conflicts.len());
}

#[tokio::test]
async fn a_push_whose_answer_was_lost_is_sent_again_without_harm() {
    let stack = Stack::connect().await.unwrap();
    let (table, mut laptop, mut phone) = people(&stack).await;
    go_apart(&stack, &table, &mut laptop, &mut phone).await;
    laptop.push().await.unwrap();
    let count = format!("select count(*) from {table}_history");
    let before: i64 = stack.sql.query_one(&count, &[]).await.unwrap().get(0);
    for _ in 0..2 {
        laptop.forget_pushed();
        assert!(laptop.push().await.unwrap().is_empty());
    }
    let after: i64 = stack.sql.query_one(&count, &[]).await.unwrap().get(0);
    assert_eq!(before, after);
    phone.sync().await.unwrap();
    laptop.sync().await.unwrap();
    agree(&stack, &table, [&laptop, &phone]).await;
}

#[tokio::test]
async fn what_the_table_refuses_is_told_and_kept_and_the_rest_goes_through() {
    let stack = Stack::connect().await.unwrap();
    let columns = "id text primary key, name text not null, age int check (age < 150)";
    let table = stack.table("strict", columns).await.unwrap();
    let mut phone = stack.peer("phone", &table);
    phone.edit("ok", &[("name", string("Amina")), ("age", Value::Int(30))]);
    phone.edit("old", &[("name", string("Methuselah")), ("age", Value::Int(969))]);
    phone.edit("typo", &[("name", string("Joseph")), ("age", string("forty"))]);
    let refused = phone.sync().await.unwrap();
    assert_eq!(refused.len(), 2, "{refused:?}");
    assert!(refused.iter().any(|reason| reason.contains("age_check")), "{refused:?}");
    let sql = format!(
        "select record_id from godwit.rejected where relation = '{table}'::regclass order by 1"
    );
    let kept: Vec<String> =
        stack.sql.query(&sql, &[]).await.unwrap().iter().map(|row| row.get(0)).collect();
    assert_eq!(kept, ["old", "typo"]);
    let [in_table, elected] = stack.table_and_elected(&table).await.unwrap();
    assert_eq!(in_table, elected);
    assert_eq!(in_table.keys().collect::<Vec<_>>(), ["ok"]);
}

#[tokio::test]
async fn a_long_line_of_offline_edits_arrives_whole() {
    let stack = Stack::connect().await.unwrap();
    let (table, mut laptop, mut phone) = people(&stack).await;
    for edit in 0..300 {
        laptop.edit("p1", &[("note", string(&format!("edit {edit}")))]);
    }
    laptop.sync().await.unwrap();
    phone.sync().await.unwrap();
    let winner = phone.shown()["p1"].0.clone();
    assert_eq!(winner.generation(), 301);
    let line = stack.gateway.record(&table, "p1", "?revisions=true").await.unwrap();
    assert_eq!(line.revisions.unwrap().len(), 301);
    assert_eq!(phone.records["p1"].tree.ancestors(&winner).len(), 301);
    agree(&stack, &table, [&laptop, &phone]).await;
}
