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
use crate::database::text;
use crate::error::Error;
use crate::extract::Path;
use crate::routes::{self, Gateway};

#[derive(Deserialize)]
struct BulkDocs {
    docs: Vec<Box<RawValue>>,
    new_edits: Option<bool>,
}

pub async fn bulk_docs(
    State(gateway): State<Arc<Gateway>>,
    caller: Caller,
    Path(db): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    let sent: BulkDocs = parameters::body(&headers, body, gateway.config.body_bytes_max).await?;
    check_count(&gateway, sent.docs.len())?;
    let is_edit = sent.new_edits.unwrap_or(true);
    let mut refusals: Vec<Option<Json>> = Vec::with_capacity(sent.docs.len());
    let mut good: Vec<(usize, String, Document)> = Vec::new();
    for (place, json) in sent.docs.iter().enumerate() {
        let id = said(json, "_id");
        match read(json, is_edit) {
            Ok((id, document)) => {
                refusals.push(None);
                good.push((place, id, document));
            }
            // Not even its shape is right: CouchDB takes none of the batch then.
            Err(refusal) if refusal.name() == "bad_request" => return Err(refusal),
            Err(refusal) => {
                let revision = said(json, "_rev");
                refusals.push(Some(refused(
                    id.as_deref(),
                    revision.as_deref(),
                    &in_batch(refusal),
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
    for (place, outcome) in edit(&gateway, &caller, &db, good).await? {
        refusals[place] = Some(outcome);
    }
    let answer: Vec<Json> = refusals.into_iter().flatten().collect();
    if answer.len() != sent.docs.len() {
        return Err(Error::unavailable("the database did not answer for every one").into());
    }
    Ok(routes::json(StatusCode::CREATED, &answer))
}

/// What stops a client that replicates is only what it can act on; a document that can't be taken is passed over.
fn in_batch(refusal: Refusal) -> Refusal {
    match refusal.name() {
        "not_implemented" => {
            let Json::String(reason) = &refusal.body()["reason"] else { return refusal };
            Refusal::new(StatusCode::FORBIDDEN, "forbidden", reason.clone())
        }
        _ => refusal,
    }
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
                refusals.push((id, document.revision.map(|r| r.to_string()), refusal));
            }
        }
    }
    let documents = good;
    let records: Vec<Record> =
        documents.into_iter().map(|(id, document)| document.replicated(id, &columns)).collect();
    let json = passed_on(&records)?;
    let sql = "select ord::int8, status, reason from godwit.put_revisions(godwit.find_table($1), $2::jsonb)
                where status not in ('accepted', 'known')";
    let rows = gateway.database.rows(caller, sql, &[text(&db), text(&json)]).await?;
    for row in rows {
        let (ord, reason): (i64, Option<String>) = (row.try_get(0)?, row.try_get(2)?);
        let status: String = row.try_get(1)?;
        let Some(record) = usize::try_from(ord - 1).ok().and_then(|at| records.get(at)) else {
            continue;
        };
        let revision = record.revision.as_ref().map(RevisionId::to_string);
        refusals.push((record.id.clone(), revision, refusal(&status, reason)));
    }
    Ok(refusals)
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
pub fn is_unknown_revision(reason: &str) -> bool {
    reason.ends_with("is not known here")
}

async fn edit(
    gateway: &Gateway,
    caller: &Caller,
    db: &str,
    mut documents: Vec<(usize, String, Document)>,
) -> Result<Vec<(usize, Json)>, Refusal> {
    let columns = gateway.columns.of(gateway, caller, db).await?;
    let mut sent: Vec<_> = documents.iter_mut().map(|(_, id, d)| (id.as_str(), d)).collect();
    let stubs = attaching::settle(gateway, caller, db, &mut sent, true).await?;
    let mut outcomes = Vec::new();
    let mut places = Vec::new();
    let mut records = Vec::new();
    for ((place, id, document), stub) in documents.into_iter().zip(stubs) {
        if let Some(refusal) = stub {
            outcomes.push((place, refused(Some(&id), None, &refusal)));
            continue;
        }
        places.push(place);
        records.push(document.edited(id, &columns));
    }
    let json = passed_on(&records)?;
    let sql = "select ord::int8, id, revision, status, reason from godwit.put_many(godwit.find_table($1), $2::jsonb)";
    let rows = gateway.database.rows(caller, sql, &[text(&db), text(&json)]).await?;
    for row in rows {
        let ord: i64 = row.try_get(0)?;
        let at = usize::try_from(ord - 1).ok();
        let Some((place, record)) = at.and_then(|at| Some((places.get(at)?, records.get(at)?)))
        else {
            continue;
        };
        let (revision, status): (Option<String>, String) = (row.try_get(2)?, row.try_get(3)?);
        let reason: Option<String> = row.try_get(4)?;
        let id = record.id.as_str();
        let outcome = match status.as_str() {
            "accepted" | "known" => json!({"ok": true, "id": id, "rev": revision}),
            "conflict" => refused(Some(id), None, &Refusal::conflict()),
            _ if reason.as_deref().is_some_and(is_unknown_revision) => {
                refused(Some(id), None, &Refusal::conflict())
            }
            status => refused(Some(id), None, &refusal(status, reason)),
        };
        outcomes.push((*place, outcome));
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
    let asked: BTreeMap<String, Vec<String>> =
        parameters::body(&headers, body, gateway.config.body_bytes_max).await?;
    check_count(&gateway, asked.values().map(Vec::len).sum())?;
    for name in asked.values().flatten() {
        revision_id(name)?;
    }
    let json = serde_json::to_string(&asked).map_err(|error| {
        Refusal::bad_request(format!("the question can't be passed on: {error}"))
    })?;
    let sql = "select godwit.revs_diff(godwit.find_table($1), $2::jsonb)::text";
    let answer = gateway.database.json(&caller, sql, &[text(&db), text(&json)]).await?;
    Ok(routes::json(StatusCode::OK, &answer))
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
    let mut wanted = Vec::with_capacity(sent.docs.len());
    let mut since = Vec::with_capacity(sent.docs.len());
    for asked in sent.docs {
        wanted.push((asked.id, asked.rev.as_deref().map(revision_id).transpose()?));
        let known: Result<Vec<RevisionId>, Refusal> =
            asked.atts_since.unwrap_or_default().iter().map(|name| revision_id(name)).collect();
        since.push(known?);
    }
    let inline = documents::inline(&parameters)?;
    let (revs, latest) = (parameters.flag("revs")?, parameters.flag("latest")?);
    let columns = gateway.columns.of(&gateway, &caller, &db).await?;
    let found = revisions(&gateway, &caller, &db, &wanted, latest).await?;
    let mut pieces = Pieces::default();
    pieces.text("{\"results\":[");
    for (place, ((id, revision), found)) in wanted.iter().zip(&found).enumerate() {
        let separator = if place > 0 { "," } else { "" };
        pieces.text(&format!("{separator}{{\"id\":{},\"docs\":[", Json::from(id.as_str())));
        if found.is_empty() {
            let name = revision.as_ref().map_or("undefined".into(), RevisionId::to_string);
            let error = refused(Some(id), Some(&name), &Refusal::missing());
            pieces.text(&json!({"error": error}).to_string());
        }
        for (nth, record) in found.iter().enumerate() {
            pieces.text(if nth > 0 { ",{\"ok\":" } else { "{\"ok\":" });
            let inline = Inline { wanted: inline.wanted, since: since[place].clone() };
            pieces.document(record, documents::revision(record, &columns, revs), &inline);
            pieces.text("}");
        }
        pieces.text("]}");
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
    let found = leaves::named(gateway, caller, db, wanted).await?;
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
