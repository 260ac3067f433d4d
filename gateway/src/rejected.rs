//! In charge of refused revisions: listing them with the reason, trying them again, giving them up.

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde::{Deserialize, Serialize};
use serde_json::json;
use serde_json::value::RawValue;
use std::sync::Arc;
use utoipa::{IntoParams, ToSchema};

use crate::auth::Caller;
use crate::body;
use crate::database::{int8, raw, text, texts};
use crate::error::Error;
use crate::extract::{Path, Query};
use crate::records;
use crate::routes::{self, Gateway};

const PAGE: u32 = 100;
/// Revisions that one request tries again where it doesn't say.
const RETRIES: u32 = 1000;

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct Ask {
    tables: Option<String>,
    #[serde(default)]
    after: i64,
    limit: Option<u32>,
}

/// What the caller owns the tables of, in the order in which it was refused.
pub async fn list(
    State(gateway): State<Arc<Gateway>>,
    caller: Caller,
    Query(ask): Query<Ask>,
) -> Result<Response, Error> {
    let limit = records::limit(ask.limit, PAGE, gateway.config.batch_max)?;
    let tables: Option<Vec<&str>> = ask.tables.as_deref().map(|names| names.split(',').collect());
    let sql = "select r.number, (jsonb_strip_nulls(jsonb_build_object(
                      'number', r.number, 'table', t.name, 'id', r.record_id, 'revision', r.revision::text,
                      'sqlstate', r.sqlstate, 'reason', r.reason, 'detail', r.detail, 'by', r.by,
                      'at', to_char(r.at at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')))
                      || jsonb_build_object('record', r.record))::text
                 from godwit.rejected r
                cross join lateral (select godwit._wire_name(r.relation::oid)) t(name)
                where r.number > $1 and ($2::text[] is null or t.name = any ($2))
                order by r.number limit $3";
    let parameters = [int8(&ask.after), texts(&tables), int8(&limit)];
    let rows = gateway.database.rows(&caller, sql, &parameters).await?;
    let next = match rows.last() {
        Some(row) if rows.len() as i64 == limit => Some(row.try_get::<_, i64>(0)?),
        _ => None,
    };
    let rejected: Result<Vec<_>, Error> = rows.iter().map(|row| raw(row.try_get(1)?)).collect();
    #[derive(Serialize)]
    struct Answer {
        rejected: Vec<Box<RawValue>>,
        next: Option<i64>,
    }
    Ok(routes::json(StatusCode::OK, &Answer { rejected: rejected?, next }))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Retry {
    limit: Option<u32>,
}

pub async fn retry(
    State(gateway): State<Arc<Gateway>>,
    caller: Caller,
    Path(table): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Error> {
    let sent: Retry = body::json(&headers, body, gateway.config.body_bytes_max).await?;
    let limit = records::limit(sent.limit, RETRIES, gateway.config.batch_max)?;
    let sql = "select number, id, revision, status, reason
                 from godwit.retry_rejected(godwit.find_table($1), $2::int8::int4)";
    let rows = gateway.database.rows(&caller, sql, &[text(&table), int8(&limit)]).await?;
    #[derive(Serialize)]
    struct Retried {
        number: i64,
        id: Option<String>,
        revision: Option<String>,
        status: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    }
    let results: Result<Vec<Retried>, Error> = rows
        .iter()
        .map(|row| {
            Ok(Retried {
                number: row.try_get(0)?,
                id: row.try_get(1)?,
                revision: row.try_get(2)?,
                status: row.try_get(3)?,
                reason: row.try_get(4)?,
            })
        })
        .collect();
    Ok(routes::json(StatusCode::OK, &json!({"results": results?})))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Discard {
    numbers: Vec<i64>,
}

pub async fn discard(
    State(gateway): State<Arc<Gateway>>,
    caller: Caller,
    Path(table): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Error> {
    let sent: Discard = body::json(&headers, body, gateway.config.body_bytes_max).await?;
    let numbers = serde_json::to_string(&sent.numbers)
        .map_err(|error| Error::bad_value(format!("the numbers can't be passed on: {error}")))?;
    let sql = "select godwit.discard_rejected(godwit.find_table($1),
                      array(select n::int8 from jsonb_array_elements_text($2::text::jsonb) n))";
    let rows = gateway.database.rows(&caller, sql, &[text(&table), text(&numbers)]).await?;
    let discarded: i64 = rows.first().map_or(Ok(0), |row| row.try_get(0))?;
    Ok(routes::json(StatusCode::OK, &json!({"discarded": discarded})))
}
