//! In charge of local documents: what a client keeps with a database and doesn't replicate, such as its checkpoints.
//! They come back as they were sent, to the last digit.

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use serde_json::json;
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::error::{Answer, Refusal};
use super::parameters::{self, Parameters};
use crate::auth::Caller;
use crate::database::text;
use crate::error::Error;
use crate::extract::Path;
use crate::routes::{self, Gateway};

type Members = BTreeMap<String, Box<RawValue>>;

pub async fn show(
    State(gateway): State<Arc<Gateway>>,
    caller: Caller,
    Path((db, id)): Path<(String, String)>,
) -> Answer {
    let sql = "select l.revision, l.body
                 from godwit.get_local(godwit.find_table($1), $2) l";
    let rows = gateway.database.rows(&caller, sql, &[text(&db), text(&id)]).await?;
    let row = rows.first().ok_or_else(Refusal::missing)?;
    let (revision, body): (i64, String) = (row.try_get(0)?, row.try_get(1)?);
    let mut members: Members = serde_json::from_str(&body).map_err(|error| {
        tracing::error!(%error, "a local document can't be read");
        Error::unavailable("the database answered with what can't be read")
    })?;
    for (name, value) in [("_id", format!("_local/{id}")), ("_rev", format!("0-{revision}"))] {
        members.insert(name.into(), raw(&value)?);
    }
    Ok(routes::json(StatusCode::OK, &members))
}

fn raw(text: &str) -> Result<Box<RawValue>, Refusal> {
    serde_json::value::to_raw_value(text).map_err(|error| Refusal::bad_request(error.to_string()))
}

/// `0-N`, as a number; a revision in another form was never one of ours.
fn number(revision: &str) -> Result<i64, Refusal> {
    let number = revision.strip_prefix("0-").and_then(|number| number.parse::<i64>().ok());
    number.filter(|number| *number > 0).ok_or_else(Refusal::conflict)
}

pub async fn put(
    State(gateway): State<Arc<Gateway>>,
    caller: Caller,
    Path((db, id)): Path<(String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    let mut members: Members =
        parameters::body(&headers, body, gateway.config.body_bytes_max).await?;
    let revision: Option<String> = match members.remove("_rev") {
        Some(revision) => serde_json::from_str(revision.get())
            .map_err(|_| Refusal::bad_request("Invalid rev format"))?,
        None => None,
    };
    members.remove("_id");
    let edited = revision.as_deref().map(number).transpose()?;
    let deleted = members.remove("_deleted").is_some_and(|deleted| deleted.get() == "true");
    if deleted {
        return remove(&gateway, &caller, &db, &id, edited).await;
    }
    if let Some(name) = members.keys().find(|name| name.starts_with('_') && *name != "_revisions") {
        let reason = format!("Bad special document member: {name}");
        return Err(Refusal::new(StatusCode::BAD_REQUEST, "doc_validation", reason));
    }
    let body = serde_json::to_string(&members)
        .map_err(|error| Refusal::bad_request(format!("the document can't be kept: {error}")))?;
    let sql = "select godwit.put_local(godwit.find_table($1), $2, $3::text::int8, $4)";
    let edited = edited.map(|edited| edited.to_string());
    let parameters = [text(&db), text(&id), text(&edited), text(&body)];
    let rows = gateway.database.rows(&caller, sql, &parameters).await?;
    let row = rows.first().ok_or_else(|| Error::unavailable("the database gave no answer"))?;
    let revision: i64 = row.try_get(0)?;
    let answer = json!({"ok": true, "id": format!("_local/{id}"), "rev": format!("0-{revision}")});
    Ok(routes::json(StatusCode::CREATED, &answer))
}

pub async fn delete(
    State(gateway): State<Arc<Gateway>>,
    caller: Caller,
    Path((db, id)): Path<(String, String)>,
    parameters: Parameters,
) -> Answer {
    let edited = parameters.string("rev").as_deref().map(number).transpose()?;
    remove(&gateway, &caller, &db, &id, edited).await
}

async fn remove(
    gateway: &Gateway,
    caller: &Caller,
    db: &str,
    id: &str,
    edited: Option<i64>,
) -> Answer {
    let sql = "select godwit.delete_local(godwit.find_table($1), $2, $3::text::int8)";
    let edited = edited.map(|edited| edited.to_string());
    let rows = gateway.database.rows(caller, sql, &[text(&db), text(&id), text(&edited)]).await?;
    let gone: bool = rows.first().map(|row| row.try_get(0)).transpose()?.unwrap_or(false);
    if !gone {
        return Err(if edited.is_some() { Refusal::conflict() } else { Refusal::missing() });
    }
    let answer = json!({"ok": true, "id": format!("_local/{id}"), "rev": "0-0"});
    Ok(routes::json(StatusCode::OK, &answer))
}
