//! In charge of `/v1/tables`: listing, showing and creating tracked tables.

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::json;
use serde_json::value::RawValue;
use std::sync::Arc;
use utoipa::ToSchema;

use crate::auth::Caller;
use crate::body;
use crate::database::{raw, text};
use crate::error::Error;
use crate::extract::Path;
use crate::routes::{self, Gateway};

pub async fn list(State(gateway): State<Arc<Gateway>>, caller: Caller) -> Result<Response, Error> {
    let sql = "select godwit.table_def(t.table_oid)::text from godwit.tables() t
                where has_table_privilege(t.table_oid, 'select') or has_any_column_privilege(t.table_oid, 'insert')
                order by t.name";
    let rows = gateway.database.rows(&caller, sql, &[]).await?;
    let tables: Result<Vec<Box<RawValue>>, Error> =
        rows.iter().map(|row| raw(row.try_get(0)?)).collect();
    #[derive(Serialize)]
    struct Answer {
        tables: Vec<Box<RawValue>>,
    }
    Ok(routes::json(StatusCode::OK, &Answer { tables: tables? }))
}

pub async fn show(
    State(gateway): State<Arc<Gateway>>,
    caller: Caller,
    Path(table): Path<String>,
) -> Result<Response, Error> {
    let sql = "select godwit.table_def(godwit.find_table($1))::text";
    let def = gateway.database.json(&caller, sql, &[text(&table)]).await?;
    Ok(routes::json(StatusCode::OK, &def))
}

/// What is done about the table's conflicts: `godwit.set_policy`.
pub async fn set_policy(
    State(gateway): State<Arc<Gateway>>,
    caller: Caller,
    Path(table): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Error> {
    let policy: serde_json::Value =
        body::json(&headers, body, gateway.config.body_bytes_max).await?;
    let policy = policy.to_string();
    let sql = "select godwit.set_policy(godwit.find_table($1), $2::text::jsonb)::text";
    gateway.database.rows(&caller, sql, &[text(&table), text(&policy)]).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// A table definition; its name is the path's.
#[derive(Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Definition {
    #[serde(default)]
    columns: Vec<Column>,
    #[serde(default)]
    #[schema(value_type = Object)]
    metadata: serde_json::Map<String, serde_json::Value>,
}

#[derive(Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Column {
    name: String,
    #[serde(rename = "type")]
    kind: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    default: Option<serde_json::Value>,
    #[serde(default)]
    constraints: Vec<serde_json::Value>,
}

pub async fn create(
    State(gateway): State<Arc<Gateway>>,
    caller: Caller,
    Path(table): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Error> {
    let definition: Definition = body::json(&headers, body, gateway.config.body_bytes_max).await?;
    let definition = json!({
        "name": table, "columns": definition.columns, "metadata": definition.metadata,
    });
    let definition = definition.to_string();
    let sql = "select godwit.table_def(godwit.create_table($1::jsonb))::text";
    let def = gateway.database.json(&caller, sql, &[text(&definition)]).await?;
    Ok(routes::json(StatusCode::CREATED, &def))
}
