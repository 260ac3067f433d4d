//! In charge of conflicts: listing them over all tables, one record's branches side by side, and
//! resolving them.

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use revision::{Attributes, RevisionId};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::sync::Arc;
use utoipa::{IntoParams, ToSchema};

use crate::auth::Caller;
use crate::body;
use crate::database::{int8, raw, text, texts};
use crate::error::Error;
use crate::extract::{Path, Query};
use crate::page;
use crate::records;
use crate::routes::{self, Gateway};

const PAGE: u32 = 100;

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct Ask {
    tables: Option<String>,
    after: Option<String>,
    limit: Option<u32>,
}

/// Where a page of conflicts ended.
#[derive(Serialize, Deserialize)]
struct Place(String, String, String);

pub async fn list(
    State(gateway): State<Arc<Gateway>>,
    caller: Caller,
    Query(ask): Query<Ask>,
) -> Result<Response, Error> {
    let limit = records::limit(ask.limit, PAGE, gateway.config.batch_max)?;
    let tables: Option<Vec<&str>> = ask.tables.as_deref().map(|names| names.split(',').collect());
    let after: Option<Place> = page::read(ask.after.as_deref())?;
    let (table, id, conflict) = match &after {
        Some(Place(table, id, conflict)) => (Some(table), Some(id), Some(conflict)),
        None => (None, None, None),
    };
    let sql = "select c.table_name, c.id, c.conflict::text, jsonb_strip_nulls(jsonb_build_object(
                      'table', c.table_name, 'id', c.id, 'winner', c.winner, 'conflict', c.conflict,
                      'ancestor', c.ancestor, 'grade', c.grade, 'attributes', to_jsonb(c.attributes),
                      'at', to_char(c.at at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"'), 'by', c.by))::text
                 from godwit.conflicts c
                where ($1::text[] is null or c.table_name = any ($1))
                  and ($2::text is null or (c.table_name collate \"C\", c.id collate \"C\", c.conflict::text collate \"C\")
                                         > ($2, $3, $4))
                order by c.table_name collate \"C\", c.id collate \"C\", c.conflict::text collate \"C\"
                limit $5";
    let parameters = [texts(&tables), text(&table), text(&id), text(&conflict), int8(&limit)];
    let rows = gateway.database.rows(&caller, sql, &parameters).await?;
    let next = match rows.last() {
        Some(row) if rows.len() as i64 == limit => {
            Some(page::write(&Place(row.try_get(0)?, row.try_get(1)?, row.try_get(2)?))?)
        }
        _ => None,
    };
    let conflicts: Result<Vec<_>, Error> = rows.iter().map(|row| raw(row.try_get(3)?)).collect();
    #[derive(Serialize)]
    struct Answer {
        conflicts: Vec<Box<RawValue>>,
        next: Option<String>,
    }
    Ok(routes::json(StatusCode::OK, &Answer { conflicts: conflicts?, next }))
}

/// Every leaf of a record with its body, and for each that lives and isn't the winner what it has in
/// common with the winner.
pub async fn leaves(
    State(gateway): State<Arc<Gateway>>,
    caller: Caller,
    Path((table, id)): Path<(String, String)>,
) -> Result<Response, Error> {
    records::check_id(&id)?;
    let sql = "select jsonb_build_object('id', $2, 'leaves', jsonb_agg(jsonb_strip_nulls(jsonb_build_object(
                          'revision', l.revision, 'deleted', nullif(l.deleted, false), 'winner', nullif(l.winner, false),
                          'grade', c.grade, 'clashes', to_jsonb(c.attributes)))
                      || jsonb_build_object('attributes', l.record -> 'attributes')
                      || case when c.ancestor is null then '{}' else jsonb_build_object('ancestor',
                             godwit.get(t.relation, $2, c.ancestor)) end order by l.place))::text
                 from (select godwit.find_table($1) as relation) t
                cross join lateral godwit.leaves(t.relation, $2) with ordinality
                      as l(revision, previous, deleted, stub, winner, leaf, seq, at, by, record, place)
                 left join godwit.conflicts c
                   on c.relation = t.relation and c.id = $2 and c.conflict::text = l.revision
               having count(*) > 0";
    match gateway.database.json(&caller, sql, &[text(&table), text(&id)]).await? {
        Some(leaves) => Ok(routes::json(StatusCode::OK, &leaves)),
        None => Err(Error::not_found(format!("there is no record {id:?}"))),
    }
}

/// What ends a conflict: which leaf is kept (the winner if none is named), what it is edited to, and
/// the leaves that the caller has looked at.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Resolution {
    #[schema(value_type = Option<String>)]
    keep: Option<RevisionId>,
    #[schema(value_type = Option<crate::openapi::Attributes>)]
    #[serde(default, deserialize_with = "some_attributes")]
    attributes: Option<Attributes>,
    #[schema(value_type = Option<Vec<String>>)]
    leaves: Option<Vec<RevisionId>>,
}

fn some_attributes<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Attributes>, D::Error> {
    revision::attributes(deserializer).map(Some)
}

pub async fn resolve(
    State(gateway): State<Arc<Gateway>>,
    caller: Caller,
    Path((table, id)): Path<(String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Error> {
    records::check_id(&id)?;
    let sent: Resolution = body::json(&headers, body, gateway.config.body_bytes_max).await?;
    let keep = sent.keep.map(|keep| keep.to_string());
    let leaves: Option<Vec<String>> =
        sent.leaves.map(|leaves| leaves.iter().map(ToString::to_string).collect());
    let attributes =
        sent.attributes.map(|attributes| serde_json::to_string(&attributes)).transpose();
    let attributes = attributes
        .map_err(|error| Error::bad_value(format!("the attributes can't be passed on: {error}")))?;
    let sql = "select godwit.resolve(godwit.find_table($1), $2, $3, $4::text::jsonb, $5)::text";
    let parameters = [text(&table), text(&id), text(&keep), text(&attributes), texts(&leaves)];
    let answer = gateway.database.json(&caller, sql, &parameters).await?;
    Ok(routes::json(StatusCode::OK, &answer))
}
