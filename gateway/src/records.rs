//! In charge of `/v1/tables/{table}/records`: reading, putting and deleting records.

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use revision::{Attributes, ID_BYTES_MAX, Record, RevisionId};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::sync::Arc;
use utoipa::{IntoParams, ToSchema};

use crate::auth::Caller;
use crate::body;
use crate::database::{boolean, int8, raw, text};
use crate::error::Error;
use crate::extract::{Path, Query};
use crate::precondition::{self, Tag};
use crate::routes::{self, Gateway};

/// Records on a page where the request doesn't say: a few screens' worth.
const PAGE: u32 = 100;

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct Page {
    after: Option<String>,
    limit: Option<u32>,
}

pub async fn list(
    State(gateway): State<Arc<Gateway>>,
    caller: Caller,
    Path(table): Path<String>,
    Query(page): Query<Page>,
) -> Result<Response, Error> {
    let limit = limit(page.limit, PAGE, gateway.config.batch_max)?;
    let sql = "select r.id, r.record
                 from godwit._records(godwit.find_table($1), $2, $3::int8::int4, null) r";
    let parameters = [text(&table), text(&page.after), int8(&limit)];
    let rows = gateway.database.rows(&caller, sql, &parameters).await?;
    let full = rows.len() as i64 == limit;
    let next = match rows.last() {
        Some(row) if full => Some(row.try_get::<_, String>(0)?),
        _ => None,
    };
    let records: Result<Vec<_>, Error> = rows.iter().map(|row| raw(row.try_get(1)?)).collect();
    #[derive(Serialize)]
    struct Answer {
        records: Vec<Box<RawValue>>,
        next: Option<String>,
    }
    Ok(routes::json(StatusCode::OK, &Answer { records: records?, next }))
}

/// A page size within its bounds.
pub fn limit(asked: Option<u32>, usual: u32, max: u32) -> Result<i64, Error> {
    match asked.unwrap_or(usual.min(max)) {
        limit if (1..=max).contains(&limit) => Ok(limit.into()),
        _ => Err(Error::bad_request(format!("limit is 1 to {max}"))),
    }
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct Show {
    revision: Option<String>,
    #[serde(default)]
    revisions: bool,
    #[serde(default)]
    conflicts: bool,
}

/// What of a record decides the answer's status and headers.
#[derive(Deserialize)]
struct Head {
    revision: String,
    #[serde(default)]
    deleted: bool,
}

pub async fn show(
    State(gateway): State<Arc<Gateway>>,
    caller: Caller,
    Path((table, id)): Path<(String, String)>,
    Query(show): Query<Show>,
    headers: HeaderMap,
) -> Result<Response, Error> {
    check_id(&id)?;
    let known = precondition::if_none_match(&headers)?;
    let revision = show.revision.as_deref().map(parse).transpose()?.map(|r| r.to_string());
    let sql = "select godwit.get(godwit.find_table($1), $2, $3, $4, $5)::text";
    let parameters = [
        text(&table),
        text(&id),
        text(&revision),
        boolean(&show.revisions),
        boolean(&show.conflicts),
    ];
    let Some(record) = gateway.database.json(&caller, sql, &parameters).await? else {
        return Err(Error::not_found(match revision {
            Some(revision) => format!("record {id:?} has no revision {revision} here"),
            None => format!("there is no record {id:?}"),
        }));
    };
    let head = head(&record)?;
    if head.deleted && revision.is_none() {
        let reason = format!("record {id:?} is deleted");
        let mut error = Error::new(StatusCode::NOT_FOUND, "deleted", reason);
        error.revision = Some(head.revision);
        return Err(error);
    }
    let same = known.is_some_and(|tag| match tag {
        Tag::Any => true,
        Tag::Revision(known) => known.to_string() == head.revision,
    });
    // What hangs on the record's other revisions isn't told by its own.
    if same && !show.revisions && !show.conflicts {
        return Ok(tagged(StatusCode::NOT_MODIFIED.into_response(), &head.revision));
    }
    Ok(tagged(routes::json(StatusCode::OK, &record), &head.revision))
}

pub async fn history(
    State(gateway): State<Arc<Gateway>>,
    caller: Caller,
    Path((table, id)): Path<(String, String)>,
) -> Result<Response, Error> {
    check_id(&id)?;
    let sql = "select jsonb_build_object('id', $2, 'revisions',
                      jsonb_agg(jsonb_strip_nulls(jsonb_build_object(
                          'revision', h.revision, 'previous', h.previous, 'deleted', h.deleted,
                          'stub', h.stub, 'winner', h.winner, 'leaf', h.leaf, 'sequence', h.seq,
                          'at', to_char(h.at at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"'),
                          'by', h.by)) || jsonb_build_object('attributes', h.record -> 'attributes')
                          order by h.place))::text
                 from godwit.history(godwit.find_table($1), $2) with ordinality
                      as h(revision, previous, deleted, stub, winner, leaf, seq, at, by, record, place)
               having count(*) > 0";
    let history = gateway.database.json(&caller, sql, &[text(&table), text(&id)]).await?;
    match history {
        Some(history) => Ok(routes::json(StatusCode::OK, &history)),
        None => Err(Error::not_found(format!("there is no record {id:?}"))),
    }
}

/// What a put sends; the record's id is the path's.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Sent {
    #[schema(value_type = Option<String>)]
    #[serde(default)]
    revision: Option<RevisionId>,
    #[schema(value_type = crate::openapi::Attributes)]
    #[serde(deserialize_with = "revision::attributes")]
    attributes: Attributes,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct Put {
    on_conflict: Option<String>,
}

pub async fn put(
    State(gateway): State<Arc<Gateway>>,
    caller: Caller,
    Path((table, id)): Path<(String, String)>,
    Query(put): Query<Put>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Error> {
    check_id(&id)?;
    let edited = edited(&headers)?;
    let only_new = precondition::if_none_match(&headers)?;
    let sent: Sent = body::json(&headers, body, gateway.config.body_bytes_max).await?;
    let record = Record {
        id,
        table: None,
        revision: agree(sent.revision, edited)?,
        deleted: false,
        attributes: sent.attributes,
        revisions: None,
        conflicts: None,
    };
    match only_new {
        Some(Tag::Any) if record.revision.is_some() => {
            return Err(Error::bad_revision("if-none-match: * is for a record without a revision"));
        }
        Some(Tag::Revision(_)) => {
            return Err(Error::bad_revision("if-none-match takes * in a put"));
        }
        _ => {}
    }
    let status = if record.revision.is_some() { StatusCode::OK } else { StatusCode::CREATED };
    let mode = put.on_conflict.as_deref().unwrap_or("fail");
    write(&gateway, &caller, &table, &record, mode, status).await
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct Delete {
    revision: Option<String>,
}

pub async fn delete(
    State(gateway): State<Arc<Gateway>>,
    caller: Caller,
    Path((table, id)): Path<(String, String)>,
    Query(delete): Query<Delete>,
    headers: HeaderMap,
) -> Result<Response, Error> {
    check_id(&id)?;
    let named = delete.revision.as_deref().map(parse).transpose()?;
    let revision = agree(named, edited(&headers)?)?;
    let record = Record {
        id,
        table: None,
        revision,
        deleted: true,
        attributes: Default::default(),
        revisions: None,
        conflicts: None,
    };
    write(&gateway, &caller, &table, &record, "fail", StatusCode::OK).await
}

async fn write(
    gateway: &Gateway,
    caller: &Caller,
    table: &str,
    record: &Record,
    mode: &str,
    status: StatusCode,
) -> Result<Response, Error> {
    let json = serde_json::to_string(record)
        .map_err(|error| Error::bad_value(format!("the record can't be passed on: {error}")))?;
    let sql = "select godwit.put(godwit.find_table($1), $2::jsonb, $3)::text";
    let parameters = [text(&table), text(&json), text(&mode)];
    let answer = gateway.database.json(caller, sql, &parameters).await?;
    let answer = answer.ok_or_else(|| Error::unavailable("the database gave no answer"))?;
    let head = head(&answer)?;
    Ok(tagged(routes::json(status, &answer), &head.revision))
}

fn head(record: &RawValue) -> Result<Head, Error> {
    serde_json::from_str(record.get()).map_err(|error| {
        tracing::error!(%error, "the database returned a record without a revision");
        Error::unavailable("the database answered with what can't be read")
    })
}

fn tagged(mut response: Response, revision: &str) -> Response {
    if let Some(tag) = precondition::etag(revision) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    response
}

fn parse(text: &str) -> Result<RevisionId, Error> {
    RevisionId::parse(text).map_err(|error| Error::bad_revision(error.to_string()))
}

fn edited(headers: &HeaderMap) -> Result<Option<RevisionId>, Error> {
    match precondition::if_match(headers)? {
        None => Ok(None),
        Some(Tag::Revision(revision)) => Ok(Some(revision)),
        Some(Tag::Any) => {
            Err(Error::bad_revision("if-match: name the revision that you edit, not *"))
        }
    }
}

/// The edited revision, said in one place or twice alike.
fn agree(
    body: Option<RevisionId>,
    header: Option<RevisionId>,
) -> Result<Option<RevisionId>, Error> {
    match (body, header) {
        (Some(body), Some(header)) if body != header => {
            Err(Error::bad_revision(format!("the request names {body}, and if-match {header}")))
        }
        (body, header) => Ok(body.or(header)),
    }
}

pub fn check_id(id: &str) -> Result<(), Error> {
    match id.len() {
        0 => Err(Error::bad_value("the record id is empty")),
        length if length > ID_BYTES_MAX => Err(Error::bad_value(format!(
            "the record id has {length} bytes; at most {ID_BYTES_MAX} are taken"
        ))),
        _ if id.contains('\0') => Err(Error::bad_value("the record id holds U+0000")),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_edited_revision_is_said_once_or_alike() {
        let one = RevisionId::parse("1-a").unwrap();
        let two = RevisionId::parse("2-b").unwrap();
        assert_eq!(agree(Some(one.clone()), None).unwrap(), Some(one.clone()));
        assert_eq!(agree(Some(one.clone()), Some(one.clone())).unwrap(), Some(one.clone()));
        assert_eq!(agree(Some(one), Some(two)).unwrap_err().name, "bad_revision");
    }

    #[test]
    fn ids_and_limits_are_bounded_before_the_database_is_asked() {
        assert!(check_id("case-17").is_ok());
        assert!(check_id("").is_err() && check_id(&"x".repeat(ID_BYTES_MAX + 1)).is_err());
        assert_eq!(limit(None, 100, 10).unwrap(), 10);
        assert!(limit(Some(0), 100, 10).is_err() && limit(Some(11), 100, 10).is_err());
    }
}
