//! In charge of `_index`: indexes on a table's columns, which are Postgres's own.

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::{Value as Json, json};
use std::sync::Arc;

use super::error::{Answer, Refusal};
use super::parameters;
use crate::auth::Caller;
use crate::database::{text, texts};
use crate::error::Error;
use crate::extract::Path;
use crate::routes::{self, Gateway};

#[derive(Deserialize)]
struct Request {
    index: Definition,
    name: Option<String>,
    ddoc: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
}

#[derive(Deserialize)]
struct Definition {
    fields: Vec<Json>,
    partial_filter_selector: Option<Json>,
}

pub async fn list(
    State(gateway): State<Arc<Gateway>>,
    caller: Caller,
    Path(db): Path<String>,
) -> Answer {
    let sql = "select i.name, i.columns from godwit.indexes(godwit.find_table($1)) i";
    let rows = gateway.database.rows(&caller, sql, &[text(&db)]).await?;
    let special = json!({"ddoc": null, "name": "_all_docs", "type": "special", "def": {"fields": [{"_id": "asc"}]}});
    let mut indexes = vec![special];
    for row in rows {
        let (name, columns): (String, Vec<String>) = (row.try_get(0)?, row.try_get(1)?);
        let fields: Vec<Json> = columns.iter().map(|column| json!({column: "asc"})).collect();
        let ddoc = format!("_design/{name}");
        indexes
            .push(json!({"ddoc": ddoc, "name": name, "type": "json", "def": {"fields": fields}}));
    }
    let answer = json!({"total_rows": indexes.len(), "indexes": indexes});
    Ok(routes::json(StatusCode::OK, &answer))
}

pub async fn create(
    State(gateway): State<Arc<Gateway>>,
    caller: Caller,
    Path(db): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    let asked: Request = parameters::body(&headers, body, gateway.config.body_bytes_max).await?;
    if asked.kind.as_deref().is_some_and(|kind| kind != "json")
        || asked.index.partial_filter_selector.is_some()
    {
        let reason = "Only whole indexes of type json are made here; make others in SQL.";
        return Err(Refusal::new(StatusCode::NOT_IMPLEMENTED, "not_implemented", reason));
    }
    let name = |field: &Json| match field {
        Json::String(name) => Some(name.clone()),
        Json::Object(members) if members.len() == 1 => members.keys().next().cloned(),
        _ => None,
    };
    let fields: Option<Vec<String>> = asked.index.fields.iter().map(name).collect();
    let fields =
        fields.ok_or_else(|| Refusal::bad_request("fields are names, or {name: \"asc\"}"))?;
    let usual = || asked.ddoc.clone().unwrap_or_else(|| format!("idx-{}", fields.join("-")));
    let name = asked.name.clone().unwrap_or_else(usual);
    let sql = "select godwit.create_index(godwit.find_table($1), $2, $3)";
    let rows =
        gateway.database.rows(&caller, sql, &[text(&db), text(&name), texts(&fields)]).await?;
    let row = rows.first().ok_or_else(|| Error::unavailable("the database gave no answer"))?;
    let result = if row.try_get(0)? { "created" } else { "exists" };
    let answer = json!({"result": result, "id": format!("_design/{name}"), "name": name});
    Ok(routes::json(StatusCode::OK, &answer))
}

pub async fn delete(
    State(gateway): State<Arc<Gateway>>,
    caller: Caller,
    Path((db, _, name)): Path<(String, String, String)>,
) -> Answer {
    let sql = "select godwit.drop_index(godwit.find_table($1), $2)";
    let rows = gateway.database.rows(&caller, sql, &[text(&db), text(&name)]).await?;
    let gone: bool = rows.first().map(|row| row.try_get(0)).transpose()?.unwrap_or(false);
    if !gone {
        return Err(Error::not_found("Index not found").into());
    }
    Ok(routes::json(StatusCode::OK, &json!({"ok": true})))
}
