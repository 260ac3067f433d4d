//! The change stream over HTTP: pages, waiting, and never a skipped commit.

#![allow(clippy::unwrap_used)] // A test may.

use godwit_e2e::Gateway;
use godwit_e2e::gateway::Page;
use godwit_e2e::stack::Stack;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

async fn ids(gateway: &Gateway, table: &str, since: i64, more: &str) -> (Vec<String>, i64) {
    let path = format!("/v1/changes?since={since}&tables={table}{more}");
    let page: Page = gateway.get(&path).await.unwrap();
    (page.changes.into_iter().map(|change| change.id).collect(), page.next)
}

#[tokio::test]
async fn pages_follow_each_other_and_end() {
    let stack = Stack::connect().await.unwrap();
    let table = stack.table("pages", "id int primary key, v text").await.unwrap();
    let fill = format!("insert into {table} select g from generate_series(1, 25) g");
    stack.sql.batch_execute(&fill).await.unwrap();
    stack.sql.batch_execute(&format!("delete from {table} where id = 7")).await.unwrap();
    let (mut since, mut seen) = (0, Vec::new());
    loop {
        let (page, next) = ids(&stack.gateway, &table, since, "&limit=10").await;
        if page.is_empty() {
            assert!(next >= since, "an empty page never leads back");
            break;
        }
        assert!(page.len() <= 10 && next > since);
        seen.extend(page);
        since = next;
    }
    let mut expected: Vec<String> = (1..=25).map(|id| id.to_string()).collect();
    expected.push("7".into());
    assert_eq!(seen, expected);
    let page = stack.gateway.changes(0, &table, 1000).await.unwrap();
    let last = page.changes.last().unwrap();
    assert!(last.deleted && last.record.as_ref().unwrap().deleted && last.id == "7");
    assert_eq!(last.record.as_ref().unwrap().revisions.as_ref().unwrap().len(), 2);
}

#[tokio::test]
async fn several_tables_come_in_one_order_and_others_not_at_all() {
    let stack = Stack::connect().await.unwrap();
    let one = stack.table("one", "id int primary key").await.unwrap();
    let two = stack.table("two", "id int primary key").await.unwrap();
    let three = stack.table("three", "id int primary key").await.unwrap();
    for sql in [(&one, 1), (&two, 2), (&three, 3), (&one, 4)] {
        let sql = format!("insert into {} values ({})", sql.0, sql.1);
        stack.sql.batch_execute(&sql).await.unwrap();
    }
    let (seen, _) = ids(&stack.gateway, &format!("{one},{two}"), 0, "").await;
    assert_eq!(seen, ["1", "2", "4"]);
}

#[tokio::test]
async fn a_long_poll_is_woken_by_a_commit_and_else_ends_empty() {
    let stack = Stack::connect().await.unwrap();
    let table = stack.table("poll", "id int primary key").await.unwrap();
    let (_, here) = ids(&stack.gateway, &table, 0, "").await;
    let begun = Instant::now();
    let more = "&feed=longpoll&timeout_ms=400";
    let (seen, next) = ids(&stack.gateway, &table, here, more).await;
    assert!(seen.is_empty() && next == here);
    assert!(begun.elapsed() >= Duration::from_millis(400), "it came back at once");

    let gateway = stack.gateway.clone();
    let name = table.clone();
    let poll = tokio::spawn(async move {
        let found = ids(&gateway, &name, here, "&feed=longpoll&timeout_ms=20000").await;
        (found.0, Instant::now())
    });
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!poll.is_finished(), "there was nothing to say yet");
    stack.sql.batch_execute(&format!("insert into {table} values (1)")).await.unwrap();
    let committed = Instant::now();
    let (seen, woken) = poll.await.unwrap();
    assert_eq!(seen, ["1"]);
    // A tenth of a second is what it takes; a machine that does much else may be slower.
    assert!(woken - committed < Duration::from_secs(5), "woken after {:?}", woken - committed);
}

#[tokio::test]
async fn a_reader_waits_for_the_writer_who_was_first_and_commits_last() {
    let stack = Stack::connect().await.unwrap();
    let table = stack.table("late", "id text primary key").await.unwrap();
    let late = stack.session().await.unwrap();
    late.batch_execute(&format!("begin; insert into {table} values ('late')")).await.unwrap();
    stack.sql.batch_execute(&format!("insert into {table} values ('early')")).await.unwrap();
    let (seen, next) = ids(&stack.gateway, &table, 0, "").await;
    assert_eq!(seen, Vec::<String>::new(), "a reader that took 'early' would step over 'late'");
    late.batch_execute("commit").await.unwrap();
    let (seen, _) = ids(&stack.gateway, &table, next, "").await;
    assert_eq!(seen, ["late", "early"]);
}

/// Writers whose transactions differ in length and end, savepoints and rollbacks among them, while
/// readers follow: at the end each reader has every committed revision and no other.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn readers_among_many_writers_see_every_commit_and_nothing_else() {
    const WRITERS: u64 = 8;
    const SECONDS: u64 = 5;
    let stack = Stack::connect().await.unwrap();
    let table = stack.table("torture", "id int primary key, v int not null").await.unwrap();
    let done = Arc::new(AtomicBool::new(false));
    let readers: Vec<_> = ["", "&feed=longpoll&timeout_ms=200"]
        .map(|feed| tokio::spawn(follow(stack.gateway.clone(), table.clone(), feed, done.clone())))
        .into();
    let mut writers = Vec::new();
    for seed in 1..=WRITERS {
        let (session, table) = (stack.session().await.unwrap(), table.clone());
        let end = Instant::now() + Duration::from_secs(SECONDS);
        writers.push(tokio::spawn(async move {
            let mut random = seed * 0x9E37_79B9;
            while Instant::now() < end {
                transaction(&session, &table, &mut random).await;
            }
        }));
    }
    for writer in writers {
        writer.await.unwrap();
    }
    done.store(true, Ordering::SeqCst);
    let sql = format!("select _id || ' ' || _rev::text from {table}_history where not _stub");
    let rows = stack.sql.query(&sql, &[]).await.unwrap();
    let written: BTreeSet<String> = rows.iter().map(|row| row.get(0)).collect();
    assert!(written.len() > 200, "only {} revisions were written", written.len());
    for reader in readers {
        let seen = reader.await.unwrap();
        let missed: Vec<_> = written.difference(&seen).collect();
        assert!(missed.is_empty(), "{} of {} missed: {missed:?}", missed.len(), written.len());
        let invented: Vec<_> = seen.difference(&written).collect();
        assert!(invented.is_empty(), "shown and then taken back: {invented:?}");
    }
    let [in_table, elected] = stack.table_and_elected(&table).await.unwrap();
    assert_eq!(in_table, elected);
}

/// Reads to the end of the stream, and once more after the writers have ended.
async fn follow(
    gateway: Gateway,
    table: String,
    feed: &'static str,
    done: Arc<AtomicBool>,
) -> BTreeSet<String> {
    let (mut since, mut seen) = (0, BTreeSet::new());
    loop {
        let last = done.load(Ordering::SeqCst);
        let path = format!("/v1/changes?since={since}&tables={table}&limit=50{feed}");
        let page: Page = gateway.get(&path).await.unwrap();
        since = page.next;
        let empty = page.changes.is_empty();
        seen.extend(
            page.changes.iter().map(|c| format!("{} {}", c.id, c.revision.as_ref().unwrap())),
        );
        if last && empty {
            return seen;
        }
    }
}

async fn transaction(session: &tokio_postgres::Client, table: &str, random: &mut u64) {
    let mut next = |below: u64| {
        // A linear congruential generator (Knuth, MMIX): the same run for the same seed.
        *random =
            random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (*random >> 33) % below
    };
    let mut sql = String::from("begin;");
    for _ in 0..1 + next(4) {
        let id = next(40);
        let edit = match next(5) {
            0 => format!("delete from {table} where id = {id};"),
            1 => format!(
                "savepoint s; update {table} set v = v + 1000 where id = {id}; rollback to s;"
            ),
            2 => format!("select pg_sleep({});", next(20) as f64 / 1000.0),
            _ => format!(
                "insert into {table} values ({id}, {}) on conflict (id) do update set v = {table}.v + 1;",
                next(1000)
            ),
        };
        sql.push_str(&edit);
    }
    sql.push_str(if next(5) == 0 { "rollback;" } else { "commit;" });
    if let Err(error) = session.batch_execute(&sql).await {
        // Two writers may lock the same rows in another order; one of them is sent away.
        let code = error.code().cloned();
        assert_eq!(code, Some(tokio_postgres::error::SqlState::T_R_DEADLOCK_DETECTED), "{error}");
        session.batch_execute("rollback").await.unwrap();
    }
}
