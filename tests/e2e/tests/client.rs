//! The client library against a real gateway: each call, errors by their names, and a stream that is
//! followed across the gateway's end.

#![allow(clippy::unwrap_used)] // A test may.

use futures_util::{StreamExt, pin_mut};
use gateway::client::{
    Changes, Checkpoint, Client, Edit, Error, Include, Limits, NewColumn, NewTable, OutcomeStatus,
    Resolution, Show, Style, Winners,
};
use godwit_e2e::site::Site;
use godwit_e2e::stack::Stack;
use jsonwebtoken::{EncodingKey, Header, encode};
use revision::{Attributes, Conflicts, Policy, Record, RevisionId, Value};
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

fn attributes(name: &str) -> Attributes {
    Attributes::from([("name".to_owned(), Value::String(name.into()))])
}

fn revision(id: &str, text: &str, path: &[&str]) -> Record {
    let path: Vec<RevisionId> = path.iter().map(|text| RevisionId::parse(text).unwrap()).collect();
    Record {
        id: id.into(),
        table: None,
        revision: path.first().cloned(),
        deleted: false,
        attributes: attributes(text),
        revisions: Some(path),
        conflicts: None,
    }
}

#[tokio::test]
async fn edits_go_in_bulk_and_changes_come_as_they_are_asked_for() {
    let site = Site::open("asked").await.unwrap();
    // Small requests, so that a batch takes several.
    let limits = Limits { batch_max: 2, ..Limits::default() };
    let client = Client::builder(&site.url).limits(limits).build().unwrap();
    let column = NewColumn { name: "name".into(), kind: "text".into(), ..NewColumn::default() };
    let new = NewTable { columns: vec![column], ..NewTable::default() };
    client.create_table("cases", &new).await.unwrap();
    let edits: Vec<(String, Edit)> = ["a", "b", "c", "d", "e"]
        .map(|id| (id.to_owned(), Edit::new(attributes(&format!("name of {id}")))))
        .into();
    for status in [OutcomeStatus::Accepted, OutcomeStatus::Known] {
        let outcomes = client.put_many("cases", &edits).await.unwrap();
        let ids: Vec<_> = outcomes.iter().map(|outcome| outcome.id.as_deref().unwrap()).collect();
        assert_eq!(ids, ["a", "b", "c", "d", "e"]);
        assert!(outcomes.iter().all(|outcome| outcome.status == status), "{outcomes:?}");
    }
    let here = client.now().await.unwrap();
    let first = client.get("cases", "b").await.unwrap().unwrap().revision.unwrap();
    let edit = |text: &str| Edit::of(first.clone(), attributes(text));
    let edited = client.put("cases", "b", &edit("one")).await.unwrap().revision;
    let other = [("b".to_owned(), edit("other"))];
    let outcome = client.put_many("cases", &other).await.unwrap().remove(0);
    assert_eq!((outcome.status, outcome.winner), (OutcomeStatus::Conflict, Some(edited.clone())));
    let branch = [("b".to_owned(), Edit { branch: true, ..edit("other") })];
    // One that may branch lets no other do so.
    let both = [branch[0].clone(), ("b".to_owned(), edit("third"))];
    let outcomes = client.put_many("cases", &both).await.unwrap();
    let statuses: Vec<_> = outcomes.iter().map(|outcome| outcome.status).collect();
    assert_eq!(statuses, [OutcomeStatus::Accepted, OutcomeStatus::Conflict]);

    let ask = |asked: Changes| {
        let (client, tables) = (client.clone(), vec!["cases".to_owned()]);
        async move { client.changes(&Changes { tables, ..asked }).await.unwrap().changes }
    };
    let ids = async |asked: Changes| -> Vec<String> {
        ask(asked).await.into_iter().map(|change| change.id).collect()
    };
    assert_eq!(ids(Changes { since: here, ..Changes::default() }).await, ["b", "b"]);
    let named = Changes { ids: vec!["d".into(), "a".into()], ..Changes::default() };
    assert_eq!(ids(named).await, ["a", "d"]);
    let filter = Some("name.eq.\"name of c\"".to_owned());
    assert_eq!(ids(Changes { filter, ..Changes::default() }).await, ["c"]);
    let style = Style::Leaves;
    let leaves = ask(Changes { style, include: Include::Record, ..Changes::default() }).await;
    let b = leaves.iter().find(|change| change.id == "b").unwrap();
    let bodies: Vec<_> = b.leaves.iter().map(|leaf| leaf.attributes["name"].clone()).collect();
    assert_eq!(bodies.len(), 2);
    assert!(bodies.contains(&Value::String("one".into())), "{bodies:?}");
    assert_eq!(leaves.len(), 5);
    let whole = Changes { since: here, include: Include::Revision, ..Changes::default() };
    let path = ask(whole).await.remove(0).record.unwrap().revisions.unwrap();
    assert_eq!(path, [edited, first]);
}

#[tokio::test]
async fn each_call_does_what_it_says() {
    let site = Site::open("client").await.unwrap();
    let client = Client::new(&site.url).unwrap();
    let column = NewColumn { name: "name".into(), kind: "text".into(), ..NewColumn::default() };
    let new = NewTable { columns: vec![column], ..NewTable::default() };
    assert_eq!(client.create_table("cases", &new).await.unwrap().name, "cases");
    let error = client.create_table("cases", &new).await.unwrap_err();
    assert_eq!(error.name(), Some("table_exists"), "{error}");
    assert_eq!(client.tables().await.unwrap().len(), 1);
    assert_eq!(client.table("cases").await.unwrap().id_columns, ["_id"]);

    // Ids that a path must carry.
    for id in ["a/b", "ü %2F?#&", "..x", "\"quoted\""] {
        let put = client.put("cases", id, &Edit::new(attributes(id))).await.unwrap();
        let found = client.get("cases", id).await.unwrap().unwrap();
        assert_eq!((found.id.as_str(), found.revision), (id, Some(put.revision.clone())));
        let gone = client.delete("cases", id, &put.revision).await.unwrap();
        assert_eq!(gone.revision.generation(), 2);
        assert_eq!(client.get("cases", id).await.unwrap(), None);
        let error = client.show("cases", id, &Show::default()).await.unwrap_err();
        let Error::Refused(refusal) = &error else { panic!("{error}") };
        assert_eq!((refusal.status, refusal.name.as_str()), (404, "deleted"));
        assert_eq!(refusal.revision.as_ref(), Some(&gone.revision));
    }
    assert_eq!(client.get("cases", "nobody").await.unwrap(), None);

    let first = client.put("cases", "1", &Edit::new(attributes("Amina"))).await.unwrap().revision;
    let edit = Edit::of(first.clone(), attributes("Amina B."));
    let second = client.put("cases", "1", &edit).await.unwrap().revision;
    let mut other = Edit::of(first.clone(), attributes("Aminah"));
    let error = client.put("cases", "1", &other).await.unwrap_err();
    let Error::Refused(refusal) = &error else { panic!("{error}") };
    assert_eq!((refusal.status, refusal.winner.as_ref()), (409, Some(&second)));
    other.branch = true;
    let branch = client.put("cases", "1", &other).await.unwrap().revision;
    assert_eq!(client.history("cases", "1").await.unwrap().len(), 3);
    let leaves = client.leaves("cases", "1").await.unwrap().leaves;
    assert_eq!(leaves.len(), 2);
    assert_eq!(leaves[1].ancestor.as_ref().unwrap().revision.as_ref(), Some(&first));
    let conflicts = client.conflicts(&["cases".into()], None, Some(1)).await.unwrap();
    assert_eq!(conflicts.items[0].attributes, ["name"]);
    let mut both = vec![second, branch];
    both.sort();
    let of_record = client
        .show("cases", "1", &Show { conflicts: true, revisions: true, ..Show::default() })
        .await
        .unwrap();
    assert_eq!(of_record.conflicts, Some(vec![both[0].clone()]));
    assert_eq!(of_record.revisions.unwrap().len(), 2);
    let resolution = Resolution { leaves: Some(both), ..Resolution::default() };
    client.resolve("cases", "1", &resolution).await.unwrap();
    assert!(client.conflicts(&[], None, None).await.unwrap().items.is_empty());
    let merging = Policy { conflicts: Conflicts::Fields, ..Policy::default() };
    client.set_policy("cases", &merging).await.unwrap();

    let page = client.records("cases", None, Some(1)).await.unwrap();
    assert_eq!((page.items.len(), page.next.as_deref()), (1, Some("1")));
    assert!(client.status().await.unwrap().horizon.unwrap() >= 12);
    let pulled =
        Checkpoint { pulled: Some(3), software: Some("test".into()), ..Checkpoint::default() };
    client.put_peer("a phone/of mine", &pulled).await.unwrap();
    let back = Checkpoint { pulled: Some(2), ..Checkpoint::default() };
    client.put_peer("a phone/of mine", &back).await.unwrap();
    let peer = client.peer("a phone/of mine").await.unwrap().unwrap();
    assert_eq!((peer.pulled, peer.software.as_deref()), (Some(2), Some("test")));
    assert!(peer.behind.unwrap() > 0);
    assert_eq!(client.peers(None, None).await.unwrap().items, [peer]);
    assert!(client.forget_peer("a phone/of mine").await.unwrap());
    assert!(!client.forget_peer("a phone/of mine").await.unwrap());
}

#[tokio::test]
async fn batches_are_split_and_every_revision_has_its_outcome() {
    let stack = Stack::connect().await.unwrap();
    let columns = "id text primary key, name text check (name <> 'bad')";
    let table = stack.table("batches", columns).await.unwrap();
    let url = stack.gateway.url.clone();
    let limits = Limits { body_bytes_max: 2000, batch_max: 7, ..Limits::default() };
    let client = Client::builder(&url).limits(limits).build().unwrap();
    let mut records = Vec::new();
    for n in 0..60 {
        let name = if n == 41 { "bad".to_owned() } else { "x".repeat(n * 10) };
        records.push(revision(&format!("r{n}"), &name, &["2-b", "1-a"]));
    }
    // More than the gateway takes at all: split by what it answers.
    records.insert(30, revision("huge", &"h".repeat(17 * 1024 * 1024), &["1-h"]));
    let asked: BTreeMap<String, Vec<RevisionId>> = records
        .iter()
        .map(|record| (record.id.clone(), record.revisions.clone().unwrap()))
        .collect();
    assert_eq!(client.revisions_missing(&table, &asked).await.unwrap().len(), 61);
    let outcomes = client.put_revisions(&table, &records).await.unwrap();
    let ids: Vec<_> = outcomes.iter().map(|outcome| outcome.id.as_deref().unwrap()).collect();
    let sent: Vec<_> = records.iter().map(|record| record.id.as_str()).collect();
    assert_eq!(ids, sent);
    for outcome in &outcomes {
        let refused = matches!(outcome.id.as_deref(), Some("huge" | "r41"));
        let status = if refused { OutcomeStatus::Rejected } else { OutcomeStatus::Accepted };
        assert_eq!(outcome.status, status, "{outcome:?}");
    }
    let missing = client.revisions_missing(&table, &asked).await.unwrap();
    // Of all others the name of the first revision is known, and not its body.
    assert_eq!(missing["r0"].missing.len(), 1);
    assert_eq!(missing["r41"].missing.len(), 2);
    let rejected = client.rejected(std::slice::from_ref(&table), None, None).await.unwrap();
    assert_eq!(rejected.items[0].id, "r41");
    let retried = client.retry_rejected(&table, None).await.unwrap();
    assert_eq!(retried[0].outcome.status, OutcomeStatus::Rejected);
    let numbers = [rejected.items[0].number];
    assert_eq!(client.discard_rejected(&table, &numbers).await.unwrap(), 1);
    // The same with one large batch for a gateway whose limits are lower than the client's.
    let large = Client::builder(&url)
        .limits(Limits { body_bytes_max: 1 << 30, batch_max: 1 << 20, ..Limits::default() })
        .build()
        .unwrap();
    let outcomes = large.put_revisions(&table, &records).await.unwrap();
    assert_eq!(outcomes.iter().filter(|o| o.status == OutcomeStatus::Known).count(), 59);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_is_followed_across_the_gateways_end() {
    let mut site = Site::open("follow").await.unwrap();
    site.sql
        .batch_execute("create table cases (id text primary key); select godwit.track('cases')")
        .await
        .unwrap();
    let client = Client::new(&site.url).unwrap();
    let asked = Changes { limit: Some(3), include: Include::Records, ..Changes::default() };
    let follower = tokio::spawn(async move {
        let pages = client.follow(asked);
        pin_mut!(pages);
        let mut ids = Vec::new();
        while let Some(page) = pages.next().await {
            let page = page.unwrap();
            assert!(page.changes.iter().all(|change| change.record.is_some()));
            ids.extend(page.changes.into_iter().map(|change| change.id));
            if ids.iter().any(|id| id == "last") {
                break;
            }
        }
        ids
    });
    let mut expected: Vec<String> = (0..20).map(|n| n.to_string()).collect();
    for (place, id) in expected.iter().enumerate() {
        site.sql.execute("insert into cases values ($1)", &[id]).await.unwrap();
        if place % 7 == 3 {
            site.kill_gateway().await.unwrap();
        }
    }
    site.sql.batch_execute("insert into cases values ('last')").await.unwrap();
    expected.push("last".into());
    let ids = tokio::time::timeout(Duration::from_secs(60), follower).await.unwrap().unwrap();
    assert_eq!(ids, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_that_breaks_off_goes_on_and_is_not_sent_twice() {
    let mut site = Site::open("snapshot").await.unwrap();
    // Random, so that no compression lets all of it into the buffers between the two.
    let fill = "create table cases (id text primary key, region text, photo text);
        select godwit.track('cases');
        insert into cases select to_char(n, 'FM00000'), case when n % 2 = 0 then 'even' else 'odd' end,
               (select string_agg(md5(random()::text || m), '') from generate_series(1, 250) m)
          from generate_series(1, 5000) n";
    site.sql.batch_execute(fill).await.unwrap();
    let client = Client::new(&site.url).unwrap();
    let end = client.now().await.unwrap();
    let mut snapshot = client.snapshot("cases", &Winners::default()).await.unwrap().unwrap();
    assert_eq!(snapshot.next, end);
    let mut records = Vec::new();
    while records.len() < 10 {
        records.push(snapshot.record().await.unwrap().unwrap());
    }
    site.kill_gateway().await.unwrap();
    // Behind what has come, and in front of it: only the first is seen.
    let late = "insert into cases values ('99999', 'odd', ''), ('00000', 'odd', '')";
    site.sql.batch_execute(late).await.unwrap();
    while let Some(record) = snapshot.record().await.unwrap() {
        records.push(record);
    }
    assert_eq!(snapshot.next, end);
    let ids: Vec<&str> = records.iter().map(|record| record.id.as_str()).collect();
    let expected: Vec<String> = (1..=5000).chain([99_999]).map(|n| format!("{n:05}")).collect();
    assert_eq!(ids, expected);

    let filter = Some("region.eq.even".to_owned());
    let even = Winners { filter, known: None };
    let mut snapshot = client.snapshot("cases", &even).await.unwrap().unwrap();
    assert_eq!(snapshot.record().await.unwrap().unwrap().id, "00002");
    let known = Winners { known: snapshot.tag.clone(), ..even };
    assert!(known.known.is_some());
    assert!(client.snapshot("cases", &known).await.unwrap().is_none());
    site.sql.batch_execute("delete from cases where id = '00004'").await.unwrap();
    let mut snapshot = client.snapshot("cases", &known).await.unwrap().unwrap();
    let ids =
        [snapshot.record().await.unwrap().unwrap(), snapshot.record().await.unwrap().unwrap()]
            .map(|record| record.id);
    assert_eq!(ids, ["00002", "00006"]);
    let error = client.snapshot("nothing", &Winners::default()).await.err().unwrap();
    assert_eq!(error.name(), Some("table_not_found"), "{error}");
}

#[tokio::test]
async fn tokens_are_asked_for_each_time_and_refusals_have_names() {
    let named = |name: &str| std::env::var(name).unwrap();
    let (url, secret) = (named("GODWIT_GUARDED_URL"), named("GODWIT_GUARDED_SECRET"));
    let token = move |seconds: u64| {
        let exp = jsonwebtoken::get_current_timestamp() - 3600 + seconds;
        let claims = json!({"role": "reader", "aud": "godwit", "exp": exp});
        encode(&Header::default(), &claims, &EncodingKey::from_secret(secret.as_bytes())).unwrap()
    };
    let expired = Client::builder(&url).token(token(0)).build().unwrap();
    let error = expired.tables().await.unwrap_err();
    assert_eq!(error.name(), Some("unauthorized"), "{error}");
    assert!(!error.passes() && !format!("{expired:?}").contains("eyJ"));
    let asked = Arc::new(AtomicU32::new(0));
    let counted = asked.clone();
    let renewed = Client::builder(&url)
        .token_source(move || {
            counted.fetch_add(1, Ordering::SeqCst);
            let token = token(7200);
            Box::pin(async move { Ok(token) })
        })
        .build()
        .unwrap();
    renewed.tables().await.unwrap();
    renewed.status().await.unwrap();
    assert_eq!(asked.load(Ordering::SeqCst), 2);
    let failing = Client::builder(&url)
        .token_source(|| Box::pin(async { Err("the vault is shut".into()) }))
        .build()
        .unwrap();
    assert!(failing.status().await.unwrap_err().to_string().contains("the vault is shut"));
}
