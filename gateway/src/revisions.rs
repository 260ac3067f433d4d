//! In charge of what comes in bulk: revisions that arrive, revisions that are missing here, edits by the thousand.

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use revision::{Record, RevisionId};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::sync::Arc;
use utoipa::IntoParams;

use crate::auth::Caller;
use crate::body;
use crate::database::text;
use crate::deep;
use crate::error::Error;
use crate::extract::{Path, Query};
use crate::routes::{self, Gateway};

/// Each revision is read by itself, so that a malformed one doesn't stop the others.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Batch {
    revisions: Vec<Box<RawValue>>,
}

#[derive(Serialize)]
struct Outcome {
    id: Option<String>,
    revision: Option<String>,
    status: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    winner: Option<String>,
}

pub async fn put(
    State(gateway): State<Arc<Gateway>>,
    caller: Caller,
    Path(table): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Error> {
    let batch: Batch = body::json(&headers, body, gateway.config.body_bytes_max).await?;
    let sql = "select ord::int8, id, revision, status, reason, null::text
                 from godwit._put_revisions(godwit.find_table($1), $2::text)
                where $3::text is null";
    put_each(&gateway, &caller, &table, &batch.revisions, sql, None).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Records {
    records: Vec<Box<RawValue>>,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct PutRecords {
    on_conflict: Option<String>,
}

/// Local edits in bulk, each for itself: `godwit.put_many`.
pub async fn put_records(
    State(gateway): State<Arc<Gateway>>,
    caller: Caller,
    Path(table): Path<String>,
    Query(put): Query<PutRecords>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Error> {
    let batch: Records = body::json(&headers, body, gateway.config.body_bytes_max).await?;
    let sql = "select ord::int8, id, revision, status, reason, winner
                 from godwit.put_many(godwit.find_table($1), $2::jsonb, coalesce($3, 'fail'))";
    put_each(&gateway, &caller, &table, &batch.records, sql, put.on_conflict).await
}

/// Hands over what can be read of a batch, and answers for each in its place.
async fn put_each(
    gateway: &Gateway,
    caller: &Caller,
    table: &str,
    items: &[Box<RawValue>],
    sql: &str,
    on_conflict: Option<String>,
) -> Result<Response, Error> {
    check_count(items.len(), gateway.config.batch_max)?;
    let mut results: Vec<Option<Outcome>> = Vec::new();
    let mut places = Vec::new();
    let mut good: Vec<&str> = Vec::new();
    for (place, item) in items.iter().enumerate() {
        // What is read here is passed on as it came: written anew it would say the same.
        match deep::parse_within::<Record>(item.get().as_bytes()) {
            Ok(_) => {
                good.push(item.get());
                places.push(place);
                results.push(None);
            }
            Err(error) => results.push(Some(unreadable(item, &error))),
        }
    }
    let json = format!("[{}]", good.join(","));
    let parameters = [text(&table), text(&json), text(&on_conflict)];
    for row in gateway.database.rows(caller, sql, &parameters).await? {
        let ord: i64 = row.try_get(0)?;
        let place = usize::try_from(ord - 1).ok().and_then(|at| places.get(at));
        if let Some(slot) = place.and_then(|place| results.get_mut(*place)) {
            *slot = Some(Outcome {
                id: row.try_get(1)?,
                revision: row.try_get(2)?,
                status: row.try_get(3)?,
                reason: row.try_get(4)?,
                winner: row.try_get(5)?,
            });
        }
    }
    let answered: Vec<Outcome> = results.into_iter().flatten().collect();
    if answered.len() != items.len() {
        tracing::error!(sent = items.len(), answered = answered.len(), "results missing");
        return Err(Error::unavailable("the database did not answer for every one"));
    }
    #[derive(Serialize)]
    struct Answer {
        results: Vec<Outcome>,
    }
    Ok(routes::json(StatusCode::OK, &Answer { results: answered }))
}

/// The outcome of what is no record; its id and revision as far as they can be made out.
fn unreadable(item: &RawValue, error: &serde_json::Error) -> Outcome {
    let loose: serde_json::Value = serde_json::from_str(item.get()).unwrap_or_default();
    let said = |name: &str| loose.get(name).and_then(|value| value.as_str()).map(str::to_owned);
    Outcome {
        id: said("id"),
        revision: said("revision"),
        status: "rejected".into(),
        reason: Some(format!("the record can't be read: {error}")),
        winner: None,
    }
}

pub async fn missing(
    State(gateway): State<Arc<Gateway>>,
    caller: Caller,
    Path(table): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Error> {
    let asked: BTreeMap<String, Vec<RevisionId>> =
        body::json(&headers, body, gateway.config.body_bytes_max).await?;
    check_count(asked.values().map(Vec::len).sum(), gateway.config.batch_max)?;
    let json = serde_json::to_string(&asked)
        .map_err(|error| Error::bad_value(format!("the question can't be passed on: {error}")))?;
    let sql = "select godwit._revs_diff(godwit.find_table($1), $2::text)";
    let answer = gateway.database.json(&caller, sql, &[text(&table), text(&json)]).await?;
    Ok(routes::json(StatusCode::OK, &answer))
}

fn check_count(count: usize, max: u32) -> Result<(), Error> {
    if count > max as usize {
        return Err(Error::too_large(format!(
            "{count} revisions; at most {max} are taken at once"
        )));
    }
    Ok(())
}
