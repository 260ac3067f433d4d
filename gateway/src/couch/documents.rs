//! In charge of one document: reading it in all of CouchDB's ways, writing, deleting and copying it.

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use revision::{Record, RevisionId};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value as Json, json};
use std::sync::Arc;

use super::columns::Columns;
use super::document::{self, Document, check_id, revision_id};
use super::error::{Answer, Refusal};
use super::leaves::{self, Found};
use super::parameters::{self, Parameters};
use super::pieces::{Inline, Pieces};
use super::{attachment, bulk, local, multipart, server};
use crate::auth::Caller;
use crate::database::text;
use crate::error::Error;
use crate::extract::Path;
use crate::routes::{self, Gateway};

/// A document's methods, COPY among them, which is none of HTTP's own.
pub async fn route(
    state: State<Arc<Gateway>>,
    caller: Caller,
    Path((db, id)): Path<(String, String)>,
    parameters: Parameters,
    request: Request,
) -> Answer {
    let (parts, body) = request.into_parts();
    if let Some(name) = id.strip_prefix("_local/") {
        let path = Path((db, name.to_owned()));
        return match parts.method {
            Method::GET => local::show(state, caller, path).await,
            Method::PUT => local::put(state, caller, path, parts.headers, body).await,
            Method::DELETE => local::delete(state, caller, path, parameters).await,
            method => Ok(server::no_method(method, axum::extract::OriginalUri(parts.uri)).await),
        };
    }
    check_id(&id)?;
    let gateway = state.0;
    match parts.method.as_str() {
        "GET" | "HEAD" => show(&gateway, &caller, &db, &id, &parameters, &parts.headers).await,
        "PUT" => {
            let sent = match multipart::boundary(&parts.headers)? {
                Some(boundary) => {
                    let is_edit = !is_replicated(&parameters)?;
                    multipart::read(&gateway, &caller, &db, body, boundary, is_edit).await?
                }
                None => {
                    let bytes_max = gateway.config.body_bytes_max;
                    let json: Box<RawValue> =
                        parameters::body(&parts.headers, body, bytes_max).await?;
                    Document::parse(&json)?
                }
            };
            if sent.id.as_ref().is_some_and(|said| *said != id) {
                return Err(Refusal::bad_request("Document ID must match the ID in the URL"));
            }
            put(&gateway, &caller, &db, id, sent, &parameters, &parts.headers).await
        }
        "DELETE" => {
            let sent = Document::tombstone();
            put(&gateway, &caller, &db, id, sent, &parameters, &parts.headers).await
        }
        "COPY" => copy(&gateway, &caller, &db, &id, &parameters, &parts.headers).await,
        _ => Ok(server::no_method(parts.method, axum::extract::OriginalUri(parts.uri)).await),
    }
}

/// A document that may leave its id to the server.
pub async fn post(
    State(gateway): State<Arc<Gateway>>,
    caller: Caller,
    Path(db): Path<String>,
    parameters: Parameters,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    let json: Box<RawValue> =
        parameters::body(&headers, body, gateway.config.body_bytes_max).await?;
    let mut sent = Document::parse(&json)?;
    let id = sent.id.take().unwrap_or_else(server::uuid);
    check_id(&id)?;
    put(&gateway, &caller, &db, id, sent, &parameters, &headers).await
}

fn of_parts(kind: &str, boundary: &str) -> Result<HeaderValue, Refusal> {
    HeaderValue::from_str(&format!("multipart/{kind}; boundary=\"{boundary}\""))
        .map_err(|error| Refusal::bad_request(error.to_string()))
}

/// Which attachments are to come with their bytes.
pub fn inline(parameters: &Parameters) -> Result<Inline, Refusal> {
    let names: Vec<String> = parameters.json("atts_since")?.unwrap_or_default();
    let since: Result<Vec<RevisionId>, Refusal> =
        names.iter().map(|name| revision_id(name)).collect();
    let since = since?;
    Ok(Inline { wanted: parameters.flag("attachments")? || !since.is_empty(), since })
}

/// What of a record is read beside the revision itself.
#[derive(Deserialize)]
struct Line {
    revision: RevisionId,
    deleted: bool,
    stub: bool,
    winner: bool,
    leaf: bool,
    seq: Option<i64>,
}

async fn show(
    gateway: &Arc<Gateway>,
    caller: &Caller,
    db: &str,
    id: &str,
    parameters: &Parameters,
    headers: &HeaderMap,
) -> Answer {
    if let Some(asked) = parameters.text("open_revs") {
        return open_revisions(gateway, caller, db, id, asked, parameters, headers).await;
    }
    let asked = parameters.string("rev").as_deref().map(revision_id).transpose()?;
    // A line may be long.
    let line = ["revs", "revs_info", "meta", "atts_since"]
        .iter()
        .any(|name| parameters.text(name).is_some_and(|said| said != "false"));
    let found = leaves::one(gateway, caller, db, id, asked.clone(), line).await?;
    let mut found = found.ok_or_else(Refusal::missing)?;
    if asked.is_none() && found.record.deleted {
        return Err(Refusal::deleted());
    }
    if let (Some(asked), false, true) = (&asked, found.is_leaf, parameters.flag("latest")?) {
        let all = leaves::leaves(gateway, caller, db, &[id.to_owned()]).await?;
        if let Some(leaf) = leaves::latest(&all, id, asked).next() {
            found = Found { record: leaf.clone(), is_leaf: true };
        }
    }
    let etag =
        found.record.revision.as_ref().and_then(|r| crate::precondition::etag(&r.to_string()));
    let columns = gateway.columns.of(gateway, caller, db).await?;
    let mut body = document::write(&found.record, &columns);
    let inline = inline(parameters)?;
    let adds_nothing = add(gateway, caller, db, &found.record, parameters, &mut body).await?;
    let is_plain = adds_nothing && !inline.wanted;
    let known = headers.get(header::IF_NONE_MATCH);
    let mut response = match (&etag, known) {
        (Some(etag), Some(known)) if is_plain && etag == known => {
            StatusCode::NOT_MODIFIED.into_response()
        }
        _ => {
            let mut pieces = Pieces::default();
            let wants_parts = multipart::is_wanted(headers, "multipart/related");
            if wants_parts && multipart::brings_any(&found.record, &inline) {
                let boundary = multipart::new_boundary();
                multipart::related(&mut pieces, &found.record, body, &inline, &boundary);
                pieces.answer_as(gateway, caller, db, of_parts("related", &boundary)?)
            } else {
                pieces.document(&found.record, body, &inline);
                pieces.answer(gateway, caller, db)
            }
        }
    };
    if let (Some(etag), true) = (etag, is_plain) {
        response.headers_mut().insert(header::ETAG, etag);
    }
    Ok(response)
}

/// Adds what the parameters ask for beside the members; true where they ask for nothing.
async fn add(
    gateway: &Gateway,
    caller: &Caller,
    db: &str,
    record: &Record,
    parameters: &Parameters,
    body: &mut Map<String, Json>,
) -> Result<bool, Refusal> {
    let meta = parameters.flag("meta")?;
    let wants = |name| Ok::<bool, Refusal>(meta || parameters.flag(name)?);
    let revs = parameters.flag("revs")?;
    let (revs_info, conflicts) = (wants("revs_info")?, wants("conflicts")?);
    let (deleted_conflicts, local_seq) = (wants("deleted_conflicts")?, wants("local_seq")?);
    let line = record.revisions.as_deref().unwrap_or_default();
    if revs {
        body.insert("_revisions".into(), document::revisions(line));
    }
    if !(revs_info || conflicts || deleted_conflicts || local_seq) {
        return Ok(!revs);
    }
    let sql = "select coalesce(jsonb_agg(jsonb_build_object('revision', h.revision, 'deleted', h.deleted,
                      'stub', h.stub, 'winner', h.winner, 'leaf', h.leaf, 'seq', h.seq)), '[]')::text
                 from godwit.history(godwit.find_table($1), $2) h";
    let history = gateway.database.json(caller, sql, &[text(&db), text(&record.id)]).await?;
    let history = history.ok_or_else(Refusal::missing)?;
    let mut lines: Vec<Line> = serde_json::from_str(history.get()).map_err(|error| {
        tracing::error!(%error, "a history can't be read");
        Refusal::from(Error::unavailable("the database answered with what can't be read"))
    })?;
    lines.sort_by(|one, other| other.revision.cmp(&one.revision));
    if revs_info {
        body.insert("_revs_info".into(), statuses(line, &lines));
    }
    for (name, wanted, deleted) in
        [("_conflicts", conflicts, false), ("_deleted_conflicts", deleted_conflicts, true)]
    {
        let others: Vec<String> = lines
            .iter()
            .filter(|other| other.leaf && !other.stub && other.deleted == deleted)
            .filter(|other| !other.winner)
            .map(|other| other.revision.to_string())
            .collect();
        if wanted && !others.is_empty() {
            body.insert(name.into(), others.into());
        }
    }
    if let (true, Some(last)) = (local_seq, lines.iter().filter_map(|line| line.seq).max()) {
        body.insert("_local_seq".into(), last.into());
    }
    Ok(false)
}

/// Which revisions of a line are here with their bodies.
fn statuses(line: &[RevisionId], lines: &[Line]) -> Json {
    let status = |revision: &RevisionId| match lines.iter().find(|l| l.revision == *revision) {
        Some(line) if line.stub => "missing",
        Some(line) if line.deleted => "deleted",
        Some(_) => "available",
        None => "missing",
    };
    line.iter().map(|r| json!({"rev": r.to_string(), "status": status(r)})).collect()
}

/// `open_revs`: several leaves of one document.
async fn open_revisions(
    gateway: &Arc<Gateway>,
    caller: &Caller,
    db: &str,
    id: &str,
    asked: &str,
    parameters: &Parameters,
    headers: &HeaderMap,
) -> Answer {
    let columns = gateway.columns.of(gateway, caller, db).await?;
    let revs = parameters.flag("revs")?;
    let inline = inline(parameters)?;
    let (answers, names) = if asked.trim_matches('"') == "all" {
        let all = leaves::leaves(gateway, caller, db, &[id.to_owned()]).await?;
        if all.is_empty() {
            return Err(Refusal::missing());
        }
        (vec![all], vec![String::new()])
    } else {
        let names: Vec<String> = parameters.json("open_revs")?.unwrap_or_default();
        let wanted: Result<Vec<_>, Refusal> =
            names.iter().map(|name| Ok((id.to_owned(), Some(revision_id(name)?)))).collect();
        let latest = parameters.flag("latest")?;
        (bulk::revisions(gateway, caller, db, &wanted?, latest).await?, names)
    };
    let mut pieces = Pieces::default();
    if multipart::is_wanted(headers, "multipart/mixed") {
        let outer = multipart::new_boundary();
        for (found, name) in answers.iter().zip(&names) {
            if found.is_empty() {
                let missing = json!({"missing": name});
                pieces.text(&format!(
                    "--{outer}\r\nContent-Type: application/json; error=\"true\"\r\n\r\n{missing}\r\n"
                ));
            }
            for record in found {
                let body = revision(record, &columns, revs);
                // What a reader of parts has not said that it has comes with it.
                let inline = Inline { wanted: true, since: inline.since.clone() };
                if multipart::brings_any(record, &inline) {
                    let inner = multipart::new_boundary();
                    pieces.text(&format!(
                        "--{outer}\r\nContent-Type: multipart/related; boundary=\"{inner}\"\r\n\r\n"
                    ));
                    multipart::related(&mut pieces, record, body, &inline, &inner);
                } else {
                    pieces.text(&format!("--{outer}\r\nContent-Type: application/json\r\n\r\n"));
                    pieces.document(record, body, &inline);
                }
                pieces.text("\r\n");
            }
        }
        pieces.text(&format!("--{outer}--"));
        return Ok(pieces.answer_as(gateway, caller, db, of_parts("mixed", &outer)?));
    }
    pieces.text("[");
    let mut separator = "";
    for (found, name) in answers.iter().zip(&names) {
        if found.is_empty() {
            pieces.text(&format!("{separator}{}", json!({"missing": name})));
            separator = ",";
        }
        for record in found {
            pieces.text(&format!("{separator}{{\"ok\":"));
            pieces.document(record, revision(record, &columns, revs), &inline);
            pieces.text("}");
            separator = ",";
        }
    }
    pieces.text("]");
    Ok(pieces.answer(gateway, caller, db))
}

/// A revision as a document, with its ancestry if that is wanted.
pub fn revision(record: &Record, columns: &Columns, revs: bool) -> Map<String, Json> {
    let mut body = document::write(record, columns);
    if revs {
        let line = record.revisions.as_deref().unwrap_or_default();
        body.insert("_revisions".into(), document::revisions(line));
    }
    body
}

/// The revision that is edited: in the document, the query or a header; said more than once it is said alike.
pub fn edited(
    said: Option<&RevisionId>,
    parameters: &Parameters,
    headers: &HeaderMap,
) -> Result<Option<RevisionId>, Refusal> {
    let query = parameters.string("rev");
    let header = headers.get(header::IF_MATCH).map(|value| {
        let text = value.to_str().unwrap_or_default();
        text.trim().trim_start_matches("W/").trim_matches('"').to_owned()
    });
    let mut found = said.cloned();
    for said in [query, header].into_iter().flatten() {
        let said = revision_id(&said)?;
        match &found {
            Some(found) if *found != said => {
                let reason =
                    "Document rev from request body and query string have different values";
                return Err(Refusal::bad_request(reason));
            }
            _ => found = Some(said),
        }
    }
    Ok(found)
}

/// Whether a document comes as a revision that somebody else has made.
fn is_replicated(parameters: &Parameters) -> Result<bool, Refusal> {
    Ok(parameters.text("new_edits").is_some() && !parameters.flag("new_edits")?)
}

async fn put(
    gateway: &Gateway,
    caller: &Caller,
    db: &str,
    id: String,
    mut sent: Document,
    parameters: &Parameters,
    headers: &HeaderMap,
) -> Answer {
    sent.revision = edited(sent.revision.as_ref(), parameters, headers)?;
    let status = if sent.deleted { StatusCode::OK } else { StatusCode::CREATED };
    if is_replicated(parameters)? {
        if sent.revision.is_none() {
            return Err(Refusal::bad_request("a document that is replicated has a _rev"));
        }
        let revision = sent.revision.clone();
        let outcome = bulk::replicate(gateway, caller, db, vec![(id.clone(), sent)]).await?;
        if let Some((_, _, refusal)) = outcome.into_iter().next() {
            return Err(refusal);
        }
        let revision = revision.map(|revision| revision.to_string()).unwrap_or_default();
        return Ok(written(status, &id, &revision));
    }
    let revision = write(gateway, caller, db, &id, sent).await?;
    Ok(written(status, &id, &revision))
}

/// A document whose attachments are kept already.
pub async fn put_attached(
    gateway: &Gateway,
    caller: &Caller,
    db: &str,
    id: &str,
    document: Document,
    status: StatusCode,
) -> Answer {
    let revision = write(gateway, caller, db, id, document).await?;
    Ok(written(status, id, &revision))
}

/// One local edit, and the revision that it has made.
async fn write(
    gateway: &Gateway,
    caller: &Caller,
    db: &str,
    id: &str,
    sent: Document,
) -> Result<String, Refusal> {
    let is_deletion = sent.deleted;
    let one = vec![(0, id.to_owned(), sent)];
    let outcome = bulk::edit(gateway, caller, db, one).await?.into_iter().next();
    let nothing = || Err(Error::unavailable("the database gave no answer").into());
    match outcome.map_or_else(nothing, |(_, _, outcome)| outcome) {
        Err(refusal) if is_deletion => Err(not_deleted(gateway, caller, db, id, refusal).await?),
        outcome => outcome,
    }
}

/// Why a document was not deleted: that there is none comes before what else may be said.
async fn not_deleted(
    gateway: &Gateway,
    caller: &Caller,
    db: &str,
    id: &str,
    refusal: Refusal,
) -> Result<Refusal, Refusal> {
    if !matches!(refusal.name(), "not_found" | "conflict") {
        return Ok(refusal);
    }
    Ok(match leaves::one(gateway, caller, db, id, None, false).await? {
        None => Refusal::missing(),
        Some(found) if found.record.deleted => Refusal::deleted(),
        Some(_) => Refusal::conflict(),
    })
}

fn written(status: StatusCode, id: &str, revision: &str) -> Response {
    let mut response = routes::json(status, &json!({"ok": true, "id": id, "rev": revision}));
    if let Some(etag) = crate::precondition::etag(revision) {
        response.headers_mut().insert(header::ETAG, etag);
    }
    response
}

/// COPY: the header Destination names the other document, with `?rev=` where that is edited.
async fn copy(
    gateway: &Gateway,
    caller: &Caller,
    db: &str,
    id: &str,
    parameters: &Parameters,
    headers: &HeaderMap,
) -> Answer {
    let destination =
        headers.get("destination").and_then(|value: &HeaderValue| value.to_str().ok());
    let destination = destination
        .ok_or_else(|| Refusal::bad_request("Destination header is mandatory for COPY."))?;
    let (target, query) = destination.split_once('?').unwrap_or((destination, ""));
    let target = percent_encoding::percent_decode_str(target.trim_start_matches('/'))
        .decode_utf8()
        .map_err(|_| Refusal::bad_request("Destination is no document's id"))?;
    check_id(&target)?;
    let over = query.strip_prefix("rev=").map(revision_id).transpose()?;
    let asked = parameters.string("rev").as_deref().map(revision_id).transpose()?;
    let found = leaves::one(gateway, caller, db, id, asked.clone(), false).await?;
    let found = found.ok_or_else(Refusal::missing)?;
    if found.record.deleted && asked.is_none() {
        return Err(Refusal::deleted());
    }
    let columns = gateway.columns.of(gateway, caller, db).await?;
    let mut record = found.record;
    // The columns of the key say who the record is.
    let is_key = |name: &str| columns.get(name).is_some_and(|column| column.is_key);
    record.attributes.retain(|name, _| !is_key(name));
    record.revision = over;
    let attached = attachment::to_attribute(&attachment::of(&record.attributes));
    let sent = Document::of_record(Some(record), attached);
    let revision = write(gateway, caller, db, &target, sent).await?;
    Ok(written(StatusCode::CREATED, &target, &revision))
}
