//! In charge of what replication sends and asks for in bulk.

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use revision::{Record, RevisionId};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value as Json, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::document::{Document, check_id, revision_id};
use super::documents;
use super::error::{Answer, Refusal, refused};
use super::leaves;
use super::parameters::{self, Parameters};
use super::pieces::{Inline, Pieces};
use super::{attaching, server};
use crate::auth::Caller;
use crate::body;
use crate::database::text;
use crate::error::Error;
use crate::extract::Path;
use crate::routes::{self, Gateway};

/// How often one request may name the same document.
const REPEATED_MAX: usize = 100;

#[derive(Deserialize)]
struct BulkDocs<'a> {
    #[serde(borrow)]
    docs: Vec<&'a RawValue>,
    new_edits: Option<bool>,
}

pub async fn bulk_docs(
    State(gateway): State<Arc<Gateway>>,
    caller: Caller,
    Path(db): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    let bytes = body::bytes(&headers, body, gateway.config.body_bytes_max).await?;
    // Documents are not looked into here: one that can't be taken must not hold up the others, nor their client.
    let sent: BulkDocs = serde_json::from_slice(&bytes)
        .map_err(|error| Refusal::bad_request(format!("invalid UTF-8 JSON: {error}")))?;
    check_count(&gateway, sent.docs.len())?;
    let is_edit = sent.new_edits.unwrap_or(true);
    let mut refusals: Vec<Option<Json>> = Vec::with_capacity(sent.docs.len());
    let mut good: Vec<(usize, String, Document)> = Vec::new();
    for (place, json) in sent.docs.iter().enumerate() {
        match read(json, is_edit) {
            Ok((id, document)) => {
                refusals.push(None);
                good.push((place, id, document));
            }
            // Nothing of it can be told: CouchDB takes none of the batch then.
            Err(refusal) if !json.get().starts_with('{') => return Err(refusal),
            Err(refusal) => {
                let (id, revision) = (said(json, "_id"), said(json, "_rev"));
                refusals.push(Some(refused(
                    id.as_deref(),
                    revision.as_deref(),
                    &in_batch(refusal, is_edit),
                )));
            }
        }
    }
    if !is_edit {
        let documents = good.into_iter().map(|(_, id, document)| (id, document)).collect();
        let mut answer: Vec<Json> = refusals.into_iter().flatten().collect();
        for (id, revision, refusal) in replicate(&gateway, &caller, &db, documents).await? {
            answer.push(refused(Some(&id), revision.as_deref(), &refusal));
        }
        return Ok(routes::json(StatusCode::CREATED, &answer));
    }
    for (place, id, outcome) in edit(&gateway, &caller, &db, good).await? {
        refusals[place] = Some(match outcome {
            Ok(revision) => json!({"ok": true, "id": id, "rev": revision}),
            Err(refusal) => refused(Some(&id), None, &refusal),
        });
    }
    let answer: Vec<Json> = refusals.into_iter().flatten().collect();
    if answer.len() != sent.docs.len() {
        return Err(Error::unavailable("the database did not answer for every one").into());
    }
    Ok(routes::json(StatusCode::CREATED, &answer))
}

/// A client that replicates goes on after `forbidden` and after nothing else: it would stand before the same document
/// for ever.
fn in_batch(refusal: Refusal, is_edit: bool) -> Refusal {
    if is_edit && refusal.name() != "not_implemented" {
        return refusal;
    }
    let reason = refusal.body()["reason"].as_str().unwrap_or_default().to_owned();
    Refusal::new(StatusCode::FORBIDDEN, "forbidden", reason)
}

fn said(json: &RawValue, name: &str) -> Option<String> {
    let members: BTreeMap<String, &RawValue> = serde_json::from_str(json.get()).ok()?;
    serde_json::from_str(members.get(name)?.get()).ok()
}

fn read(json: &RawValue, is_edit: bool) -> Result<(String, Document), Refusal> {
    let mut document = Document::parse(json)?;
    let id = match document.id.take() {
        Some(id) => id,
        None if is_edit => server::uuid(),
        None => return Err(Refusal::bad_request("a document that is replicated has an _id")),
    };
    check_id(&id)?;
    if !is_edit && document.revision.is_none() {
        return Err(Refusal::bad_request("a document that is replicated has a _rev"));
    }
    Ok((id, document))
}

fn check_count(gateway: &Gateway, count: usize) -> Result<(), Refusal> {
    let max = gateway.config.batch_max as usize;
    if count > max {
        let reason = format!("{count} documents; at most {max} are taken at once");
        return Err(Error::too_large(reason).into());
    }
    Ok(())
}

/// The same asked for over and over would be a large answer for a small question.
pub fn check_repeated<T: Ord>(asked: impl Iterator<Item = T>) -> Result<(), Refusal> {
    let mut counts = BTreeMap::new();
    for one in asked {
        let count = counts.entry(one).or_insert(0);
        *count += 1;
        if *count > REPEATED_MAX {
            return Err(Refusal::bad_request(format!(
                "the same is asked for more than {REPEATED_MAX} times"
            )));
        }
    }
    Ok(())
}

fn passed_on(records: &[Record]) -> Result<String, Refusal> {
    serde_json::to_string(records)
        .map_err(|error| Refusal::bad_request(format!("the documents can't be passed on: {error}")))
}

/// Revisions that other peers have made; those that the table refuses, with the reasons.
pub async fn replicate(
    gateway: &Gateway,
    caller: &Caller,
    db: &str,
    mut documents: Vec<(String, Document)>,
) -> Result<Vec<(String, Option<String>, Refusal)>, Refusal> {
    let columns = gateway.columns.of(gateway, caller, db).await?;
    let mut refusals = Vec::new();
    let mut sent: Vec<_> = documents.iter_mut().map(|(id, d)| (id.as_str(), d)).collect();
    let stubs = attaching::settle(gateway, caller, db, &mut sent, false).await?;
    let mut good = Vec::new();
    for ((id, document), refusal) in documents.into_iter().zip(stubs) {
        match refusal {
            None => good.push((id, document)),
            Some(refusal) => {
                let revision = document.revision.map(|r| r.to_string());
                refusals.push((id, revision, in_batch(refusal, false)));
            }
        }
    }
    let documents = good;
    let records: Vec<Record> =
        documents.into_iter().map(|(id, document)| document.replicated(id, &columns)).collect();
    let json = passed_on(&records)?;
    let sql = "select godwit._take_revisions(godwit.find_table($1), $2::text)";
    let answer = gateway.database.json(caller, sql, &[text(&db), text(&json)]).await?;
    let refused: Vec<RefusedRevision> = match answer {
        None => Vec::new(),
        Some(answer) => serde_json::from_str(answer.get()).map_err(|error| {
            tracing::error!(%error, "what was refused can't be read");
            Error::unavailable("the database answered with what can't be read")
        })?,
    };
    for RefusedRevision { ord, status, reason } in refused {
        let Some(record) = ord.checked_sub(1).and_then(|at| records.get(at)) else { continue };
        let revision = record.revision.as_ref().map(RevisionId::to_string);
        refusals.push((record.id.clone(), revision, refusal(&status, Some(reason))));
    }
    Ok(refusals)
}

/// What `godwit._take_revisions` says of one, by its place in the batch.
#[derive(Deserialize)]
struct RefusedRevision {
    ord: usize,
    status: String,
    reason: String,
}

/// What the table, or a policy, has said about one document.
fn refusal(status: &str, reason: Option<String>) -> Refusal {
    let usual = match status {
        "forbidden" => "this is not allowed",
        _ => "the table refuses this",
    };
    let reason = reason.unwrap_or_else(|| usual.into());
    Refusal::new(StatusCode::FORBIDDEN, "forbidden", reason)
}

/// How the extension says that a put edits what this database has never seen: to CouchDB a conflict like any other.
fn is_unknown_revision(reason: &str) -> bool {
    reason.ends_with("is not known here")
}

/// And how, that it deletes what is not there.
fn is_no_record(reason: &str) -> bool {
    reason.starts_with("there is no record ")
}

/// Local edits, and the revision that each has made; by their places in the batch.
pub async fn edit(
    gateway: &Gateway,
    caller: &Caller,
    db: &str,
    mut documents: Vec<(usize, String, Document)>,
) -> Result<Vec<(usize, String, Result<String, Refusal>)>, Refusal> {
    let columns = gateway.columns.of(gateway, caller, db).await?;
    let mut sent: Vec<_> = documents.iter_mut().map(|(_, id, d)| (id.as_str(), d)).collect();
    let stubs = attaching::settle(gateway, caller, db, &mut sent, true).await?;
    let mut outcomes = Vec::new();
    let mut places = Vec::new();
    let mut records = Vec::new();
    for ((place, id, document), stub) in documents.into_iter().zip(stubs) {
        if let Some(refusal) = stub {
            outcomes.push((place, id, Err(refusal)));
            continue;
        }
        places.push(place);
        records.push(document.edited(id, &columns));
    }
    let json = passed_on(&records)?;
    let sql = "select ord::int8, revision, status, reason from godwit.put_many(godwit.find_table($1), $2::jsonb)";
    let rows = gateway.database.rows(caller, sql, &[text(&db), text(&json)]).await?;
    for row in rows {
        let ord: i64 = row.try_get(0)?;
        let at = usize::try_from(ord - 1).ok();
        let Some((place, record)) = at.and_then(|at| Some((places.get(at)?, records.get(at)?)))
        else {
            continue;
        };
        let (revision, status): (Option<String>, String) = (row.try_get(1)?, row.try_get(2)?);
        let reason: Option<String> = row.try_get(3)?;
        let outcome = match status.as_str() {
            // Who makes a document that is there has not read it, even if they say the same: it may be a lock.
            "known" if record.revision.is_none() && !record.deleted => Err(Refusal::conflict()),
            "accepted" | "known" => {
                revision.ok_or_else(|| Error::unavailable("the database gave no answer").into())
            }
            "conflict" => Err(Refusal::conflict()),
            // An edit of what was never seen here.
            _ if reason.as_deref().is_some_and(is_unknown_revision) => Err(Refusal::conflict()),
            _ if record.deleted && reason.as_deref().is_some_and(is_no_record) => {
                Err(Refusal::missing())
            }
            status => Err(refusal(status, reason)),
        };
        outcomes.push((*place, record.id.clone(), outcome));
    }
    Ok(outcomes)
}

pub async fn revs_diff(
    State(gateway): State<Arc<Gateway>>,
    caller: Caller,
    Path(db): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    let bytes = body::bytes(&headers, body, gateway.config.body_bytes_max).await?;
    let mut asked: BTreeMap<String, Vec<String>> = parameters::parse(&bytes)?;
    check_count(&gateway, asked.values().map(Vec::len).sum())?;
    for name in asked.values().flatten() {
        revision_id(name)?;
    }
    // Postgres can't be asked for such an id, and has none.
    let impossible = asked.extract_if(.., |id, _| id.contains('\0'));
    let impossible: BTreeMap<String, Json> =
        impossible.map(|(id, revisions)| (id, json!({"missing": revisions}))).collect();
    // What has been read is passed on as it came: written anew it would say the same.
    let json = match impossible.is_empty() {
        true => String::from_utf8(bytes.into()).map_err(|error| error.to_string()),
        false => serde_json::to_string(&asked).map_err(|error| error.to_string()),
    };
    let json = json.map_err(|error| {
        Refusal::bad_request(format!("the question can't be passed on: {error}"))
    })?;
    let sql = "select godwit._revs_diff(godwit.find_table($1), $2::text)";
    let answer = gateway.database.json(&caller, sql, &[text(&db), text(&json)]).await?;
    if impossible.is_empty() {
        return Ok(routes::json(StatusCode::OK, &answer));
    }
    let found = answer.as_ref().map(|answer| serde_json::from_str(answer.get())).transpose();
    let mut all: BTreeMap<String, Json> = found
        .map_err(|error| Refusal::bad_request(format!("the answer can't be read: {error}")))?
        .unwrap_or_default();
    all.extend(impossible);
    Ok(routes::json(StatusCode::OK, &all))
}

#[derive(Deserialize)]
struct BulkGet {
    docs: Vec<Wanted>,
}

#[derive(Deserialize)]
struct Wanted {
    id: String,
    rev: Option<String>,
    atts_since: Option<Vec<String>>,
}

pub async fn bulk_get(
    State(gateway): State<Arc<Gateway>>,
    caller: Caller,
    Path(db): Path<String>,
    parameters: Parameters,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    let sent: BulkGet = parameters::body(&headers, body, gateway.config.body_bytes_max).await?;
    check_count(&gateway, sent.docs.len())?;
    check_repeated(sent.docs.iter().map(|asked| (asked.id.as_str(), asked.rev.as_deref())))?;
    let (revs, latest) = (parameters.flag("revs")?, parameters.flag("latest")?);
    let wants_bytes = documents::inline(&parameters)?.wanted;
    let columns = gateway.columns.of(&gateway, &caller, &db).await?;
    // Without a revision all leaves are meant.
    let whole = sent.docs.iter().filter(|asked| asked.rev.is_none());
    let mut whole: Vec<String> = whole.map(|asked| asked.id.clone()).collect();
    whole.sort_unstable();
    whole.dedup();
    let leaves = match whole.is_empty() {
        true => Vec::new(),
        false => leaves::leaves(&gateway, &caller, &db, &whole).await?,
    };
    let named = |asked: &Wanted| revision_id(asked.rev.as_deref()?).ok();
    let wanted: Vec<(String, Option<RevisionId>)> = sent
        .docs
        .iter()
        .filter_map(|asked| Some((asked.id.clone(), Some(named(asked)?))))
        .collect();
    let mut found = revisions(&gateway, &caller, &db, &wanted, latest).await?.into_iter();
    let mut pieces = Pieces::default();
    pieces.text("{\"results\":[");
    for (place, asked) in sent.docs.iter().enumerate() {
        let id = asked.id.as_str();
        let (records, refusal) = match (&asked.rev, named(asked)) {
            (None, _) => (leaves.iter().filter(|leaf| leaf.id == id).cloned().collect(), None),
            (Some(_), Some(_)) => (found.next().unwrap_or_default(), None),
            (Some(_), None) => (Vec::new(), Some(Refusal::bad_request("Invalid rev format"))),
        };
        let separator = if place > 0 { "," } else { "" };
        pieces.text(&format!("{separator}{{\"id\":{},\"docs\":[", Json::from(id)));
        if records.is_empty() {
            let name = asked.rev.as_deref().unwrap_or("undefined");
            let refusal = refusal.unwrap_or_else(Refusal::missing);
            pieces.text(&json!({"error": refused(Some(id), Some(name), &refusal)}).to_string());
        }
        let since = asked.atts_since.as_deref().unwrap_or_default();
        let since: Result<Vec<_>, Refusal> = since.iter().map(|name| revision_id(name)).collect();
        let inline = Inline { wanted: wants_bytes, since: since? };
        for (nth, record) in records.iter().enumerate() {
            pieces.text(if nth > 0 { ",{\"ok\":" } else { "{\"ok\":" });
            pieces.document(record, documents::revision(record, &columns, revs), &inline);
            pieces.text("}");
        }
        pieces.text("]}");
        pieces.check()?;
    }
    pieces.text("]}");
    Ok(pieces.answer(&gateway, &caller, &db))
}

/// What is here of each revision that is wanted: itself, or with `latest` what has become of it.
pub async fn revisions(
    gateway: &Gateway,
    caller: &Caller,
    db: &str,
    wanted: &[(String, Option<RevisionId>)],
    latest: bool,
) -> Result<Vec<Vec<Record>>, Refusal> {
    let found = leaves::named(gateway, caller, db, wanted, true).await?;
    let has_moved_on = |found: &Option<leaves::Found>| found.as_ref().is_none_or(|f| !f.is_leaf);
    let passed: BTreeSet<String> = wanted
        .iter()
        .zip(&found)
        .filter(|((_, revision), found)| latest && revision.is_some() && has_moved_on(found))
        .map(|((id, _), _)| id.clone())
        .collect();
    let passed: Vec<String> = passed.into_iter().collect();
    let now = match passed.is_empty() {
        true => Vec::new(),
        false => leaves::leaves(gateway, caller, db, &passed).await?,
    };
    let answers = wanted.iter().zip(found).map(|((id, revision), found)| {
        let later: Vec<Record> = match revision {
            Some(revision) if latest && has_moved_on(&found) => {
                leaves::latest(&now, id, revision).cloned().collect()
            }
            _ => Vec::new(),
        };
        match later.is_empty() {
            true => found.into_iter().map(|found| found.record).collect(),
            false => later,
        }
    });
    Ok(answers.collect())
}
