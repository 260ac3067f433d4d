//! `godwit doctor`: finds what is amiss, says what to do, and ends with a status that means something.

#![allow(clippy::unwrap_used)] // A test may.

use godwit_e2e::process::command;
use godwit_e2e::stack::Stack;
use serde_json::Value as Json;
use tokio_postgres::{Client, NoTls};

/// A database of the test's own, for what others leave would be found too.
async fn database(stack: &Stack, name: &str) -> (String, Client) {
    stack.sql.batch_execute(&format!("create database {name}")).await.unwrap();
    let url = std::env::var("GODWIT_DATABASE_URL").unwrap();
    let url = format!("{}/{name}", url.rsplit_once('/').unwrap().0);
    let (client, connection) = tokio_postgres::connect(&url, NoTls).await.unwrap();
    tokio::spawn(connection);
    (url, client)
}

struct Report {
    code: i32,
    findings: Vec<Json>,
}

impl Report {
    /// The level of the finding whose words have these in them.
    #[track_caller]
    fn level(&self, check: &str, says: &str) -> &str {
        let has = |finding: &&Json| finding["check"] == check && finding.to_string().contains(says);
        let found = self.findings.iter().find(has);
        let found = found.unwrap_or_else(|| panic!("no {check} {says:?}: {:#?}", self.findings));
        found["level"].as_str().unwrap()
    }
}

fn doctor(url: &str, more: &[&str]) -> Report {
    let arguments = [&["doctor", "--json"], more].concat();
    let output = command(&arguments).unwrap().env("DATABASE_URL", url).output().unwrap();
    let findings = serde_json::from_slice(&output.stdout).unwrap();
    Report { code: output.status.code().unwrap(), findings }
}

#[tokio::test]
async fn a_database_that_is_well_is_told_so() {
    let stack = Stack::connect().await.unwrap();
    let (url, sql) = database(&stack, "well").await;
    let output = command(&["doctor"]).unwrap().env("DATABASE_URL", &url).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(
        text.starts_with("FAIL  extension") && text.contains("create extension godwit"),
        "{text}"
    );

    sql.batch_execute(
        "create extension godwit; create table cases (id int primary key); select godwit.track('cases'); create table notes (a int)",
    )
    .await
    .unwrap();
    let report = doctor(&url, &[]);
    assert_eq!(report.level("extension", "godwit 0."), "ok");
    assert_eq!(report.level("tables", "1 tracked; without a twin, so not synced: notes"), "ok");
    for check in [
        "triggers",
        "indexes",
        "foreign keys",
        "filters",
        "stream",
        "sequence",
        "rejected",
        "conflicts",
        "connections",
    ] {
        assert_eq!(report.level(check, ""), "ok");
    }
    // The tests' own server keeps nothing on disk, and their login is a superuser.
    assert_eq!(report.level("durability", "fsync"), "fail");
    assert_eq!(report.level("login", "no tokens"), "warn");
    assert_eq!(report.code, 2);
    drop(sql);
    stack.sql.batch_execute("drop database well with (force)").await.unwrap();
}

#[tokio::test]
async fn what_is_amiss_is_found_and_something_can_be_done() {
    let stack = Stack::connect().await.unwrap();
    let (url, sql) = database(&stack, "ill").await;
    sql.batch_execute(
        "create extension godwit;
         create table parents (id int primary key, n int check (n > 0));
         create table children (id int primary key, parent int references parents, other int);
         select godwit.track('parents'), godwit.track('children');
         alter table children enable row level security;
         create policy theirs on children using (other = current_setting('app.other')::int);",
    )
    .await
    .unwrap();
    let report = doctor(&url, &[]);
    assert_eq!(
        report.level("foreign keys", "create index concurrently on children (parent)"),
        "warn"
    );
    assert_eq!(report.level("triggers", ""), "ok");
    let says = "children is filtered by other (policy theirs)";
    assert_eq!(report.level("filters", says), "warn");
    assert_eq!(report.level("filters", "create index concurrently on children (other)"), "warn");
    let report = doctor(&url, &["--filters", "parents.n,parents.m"]);
    assert_eq!(report.level("filters", "parents is filtered by n (--filters)"), "warn");
    assert_eq!(report.level("filters", "parents.m is no column"), "fail");

    sql.batch_execute(
        "create index on children (parent, other);
         create index on children (other);
         alter table parents disable trigger all;
         drop index children_history__seq_idx;
         select * from godwit.put_revisions('children', '[{\"id\": \"1\", \"revision\": \"1-a\", \"attributes\": {\"parent\": {\"int\": \"99\"}}}]');
         insert into children values (5);",
    )
    .await
    .unwrap();
    // Two edits of one revision.
    let row = sql.query_one("select _rev::text from children where id = 5", &[]).await.unwrap();
    let revision: String = row.get(0);
    for other in ["7", "8"] {
        let record = format!(
            "{{\"id\": \"5\", \"revision\": \"{revision}\", \"attributes\": {{\"other\": {{\"int\": \"{other}\"}}}}}}"
        );
        let put = "select godwit.put('children', $1::text::jsonb, on_conflict => 'branch')";
        sql.query(put, &[&record]).await.unwrap();
    }
    sql.batch_execute("begin; insert into children values (6); prepare transaction 'left behind'")
        .await
        .unwrap();
    // Postgres counts rows some time after their commit.
    sql.batch_execute("select pg_stat_force_next_flush()").await.unwrap();

    let report = doctor(&url, &["--pool-size", "1000"]);
    assert_eq!(report.level("foreign keys", ""), "ok");
    assert_eq!(report.level("filters", "1 columns"), "ok");
    assert_eq!(report.level("triggers", "~godwit_stamp of parents is disabled"), "fail");
    assert_eq!(
        report.level("indexes", "create index concurrently on children_history (_seq)"),
        "fail"
    );
    assert_eq!(report.level("rejected", "children refused 1 revisions"), "warn");
    assert_eq!(report.level("conflicts", "1 records"), "warn");
    assert_eq!(report.level("connections", "1001"), "fail");
    // Young as it is, it is no fault; the report can't wait for it to be one.
    assert_eq!(report.level("stream", "behind"), "ok");
    assert_eq!(report.code, 2);
    sql.batch_execute("rollback prepared 'left behind'").await.unwrap();

    let secret = ["--jwt-secret", "a secret of more than thirty-two bytes"];
    let report = doctor(&url, &[&secret[..], &["--roles", "nobody,missing"]].concat());
    assert_eq!(report.level("login", "superuser"), "fail");
    assert_eq!(report.level("roles", "may switch to nobody"), "ok");
    assert_eq!(report.level("roles", "no role missing"), "fail");
    let plain = std::env::var("GODWIT_GUARDED_DATABASE_URL").unwrap();
    let plain = format!("{}/ill", plain.rsplit_once('/').unwrap().0);
    let report = doctor(&plain, &[&secret[..], &["--roles", "writer,elsewhere"]].concat());
    assert_eq!(report.level("login", "authenticator"), "ok");
    assert_eq!(report.level("roles", "may not switch to elsewhere"), "fail");
    assert_eq!(report.level("rejected", "about 1 revisions wait"), "warn");
    drop(sql);
    stack.sql.batch_execute("drop database ill with (force)").await.unwrap();
    let report = doctor("postgres://postgres@127.0.0.1:1/x", &[]);
    assert_eq!((report.code, report.findings[0]["level"].as_str()), (2, Some("fail")));
}
