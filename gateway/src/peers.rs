//! In charge of `/v1/peers`: checkpoints, which say how far each peer has pulled and pushed.

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use std::sync::Arc;
use utoipa::{IntoParams, ToSchema};

use crate::auth::Caller;
use crate::body;
use crate::database::{int8, raw, text};
use crate::error::Error;
use crate::extract::{Path, Query};
use crate::records;
use crate::routes::{self, Gateway};

const PAGE: u32 = 100;

/// One peer as JSON, of `godwit.peers() p`.
macro_rules! peer_json {
    () => {
        "jsonb_strip_nulls(jsonb_build_object('peer', p.peer, 'pulled', p.pulled, 'pushed', p.pushed,
             'behind', p.behind, 'incarnation', p.incarnation, 'software', p.software, 'owner', p.owner,
             'first_seen', to_char(p.first_seen at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"'),
             'last_seen', to_char(p.last_seen at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')))::text"
    };
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct Ask {
    after: Option<String>,
    limit: Option<u32>,
}

pub async fn list(
    State(gateway): State<Arc<Gateway>>,
    caller: Caller,
    Query(ask): Query<Ask>,
) -> Result<Response, Error> {
    let limit = records::limit(ask.limit, PAGE, gateway.config.batch_max)?;
    let sql = concat!(
        "select p.peer, ",
        peer_json!(),
        " from godwit.peers() p where $1::text is null or p.peer collate \"C\" > $1
          order by p.peer collate \"C\" limit $2"
    );
    let rows = gateway.database.rows(&caller, sql, &[text(&ask.after), int8(&limit)]).await?;
    let next = match rows.last() {
        Some(row) if rows.len() as i64 == limit => Some(row.try_get::<_, String>(0)?),
        _ => None,
    };
    let peers: Result<Vec<_>, Error> = rows.iter().map(|row| raw(row.try_get(1)?)).collect();
    #[derive(Serialize)]
    struct Answer {
        peers: Vec<Box<RawValue>>,
        next: Option<String>,
    }
    Ok(routes::json(StatusCode::OK, &Answer { peers: peers?, next }))
}

pub async fn show(
    State(gateway): State<Arc<Gateway>>,
    caller: Caller,
    Path(peer): Path<String>,
) -> Result<Response, Error> {
    check_name(&peer)?;
    let sql = concat!("select ", peer_json!(), " from godwit.peers() p where p.peer = $1");
    match gateway.database.json(&caller, sql, &[text(&peer)]).await? {
        Some(found) => Ok(routes::json(StatusCode::OK, &found)),
        None => Err(Error::not_found(format!("there is no peer {peer:?}"))),
    }
}

/// What a peer says of itself; what it doesn't name stays as it was, and null takes it away.
#[derive(Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    #[serde(default, deserialize_with = "named", skip_serializing_if = "Option::is_none")]
    pulled: Option<Option<i64>>,
    #[serde(default, deserialize_with = "named", skip_serializing_if = "Option::is_none")]
    pushed: Option<Option<i64>>,
    #[serde(default, deserialize_with = "named", skip_serializing_if = "Option::is_none")]
    incarnation: Option<Option<String>>,
    #[serde(default, deserialize_with = "named", skip_serializing_if = "Option::is_none")]
    software: Option<Option<String>>,
}

/// A member that is there, be it null.
fn named<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

pub async fn put(
    State(gateway): State<Arc<Gateway>>,
    caller: Caller,
    Path(peer): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Error> {
    check_name(&peer)?;
    let entry: Entry = body::json(&headers, body, gateway.config.body_bytes_max).await?;
    let texts = [&entry.incarnation, &entry.software];
    if texts.into_iter().flatten().flatten().any(|text| text.contains('\0')) {
        return Err(Error::bad_value("a peer's entry holds U+0000"));
    }
    let entry = serde_json::to_string(&entry)
        .map_err(|error| Error::bad_value(format!("the entry can't be passed on: {error}")))?;
    let sql = "select godwit.put_peer($1, $2::text::jsonb)::text";
    gateway.database.rows(&caller, sql, &[text(&peer), text(&entry)]).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

pub async fn forget(
    State(gateway): State<Arc<Gateway>>,
    caller: Caller,
    Path(peer): Path<String>,
) -> Result<Response, Error> {
    check_name(&peer)?;
    let sql = "select godwit.forget_peer($1)";
    let rows = gateway.database.rows(&caller, sql, &[text(&peer)]).await?;
    match rows.first().map(|row| row.try_get(0)).transpose()? {
        Some(true) => Ok(StatusCode::NO_CONTENT.into_response()),
        _ => Err(Error::not_found(format!("there is no peer {peer:?} of yours"))),
    }
}

/// The database checks the rest; this one it could not be asked with.
fn check_name(peer: &str) -> Result<(), Error> {
    match peer.contains('\0') {
        true => Err(Error::bad_request("a peer's name holds U+0000")),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_named_is_left_out_and_null_is_not() {
        let passed = |json: &str| {
            serde_json::from_str::<Entry>(json).map(|e| serde_json::to_string(&e).unwrap())
        };
        assert_eq!(passed("{\"pulled\":7}").unwrap(), "{\"pulled\":7}");
        assert_eq!(passed("{\"software\":null}").unwrap(), "{\"software\":null}");
        assert!(passed("{\"pulled\":\"7\"}").is_err());
        assert!(passed("{\"owner\":\"me\"}").is_err());
    }
}
