//! In charge of databases, which are tables.

use axum::body::Body;
use axum::extract::{OriginalUri, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use serde_json::{Value as Json, json};
use std::sync::Arc;

use super::error::{Answer, Refusal};
use super::parameters;
use crate::auth::Caller;
use crate::database::text;
use crate::extract::Path;
use crate::routes::{self, Gateway};

/// CouchDB's bound on the revisions that it remembers; here they are all kept until they are compacted.
const REVS_LIMIT: u32 = 1000;

pub async fn show(
    State(gateway): State<Arc<Gateway>>,
    caller: Caller,
    Path(db): Path<String>,
) -> Answer {
    let sql = "select godwit.count_records(t.relation), godwit.last_sequence(), godwit.current_incarnation(),
                      pg_total_relation_size(t.relation) + pg_total_relation_size(k.twin)
                 from (select godwit.find_table($1) as relation offset 0) t join godwit.tracked k using (relation)";
    let rows = gateway.database.rows(&caller, sql, &[text(&db)]).await?;
    let row = rows.first().ok_or_else(|| {
        Refusal::from(crate::error::Error::unavailable("the database gave no answer"))
    })?;
    let (count, sequence): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
    let (start, size): (String, i64) = (row.try_get(2)?, row.try_get(3)?);
    let answer = json!({
        "db_name": db,
        "doc_count": count,
        "update_seq": sequence,
        "purge_seq": 0,
        "compact_running": false,
        "sizes": {"active": size, "external": size, "file": size},
        "disk_format_version": 8,
        "instance_start_time": "0",
        "incarnation": start,
        "props": {},
        "cluster": {"q": 1, "n": 1, "w": 1, "r": 1},
    });
    Ok(routes::json(StatusCode::OK, &answer))
}

/// A document table: its records are documents and nothing else. Columns can be added to it later.
pub async fn create(
    State(gateway): State<Arc<Gateway>>,
    caller: Caller,
    Path(db): Path<String>,
    OriginalUri(uri): OriginalUri,
) -> Answer {
    if db.is_empty() || db.starts_with('_') || db.contains('\0') {
        let reason = format!(
            "Name: '{db}'. Only tables can be databases, and none whose name begins with an underscore."
        );
        return Err(Refusal::new(StatusCode::BAD_REQUEST, "illegal_database_name", reason));
    }
    let definition = json!({"name": db, "columns": [], "metadata": {}}).to_string();
    let sql = "select godwit.create_table($1::jsonb)::text";
    gateway.database.rows(&caller, sql, &[text(&definition)]).await?;
    gateway.columns.forget(&db);
    let mut response = routes::json(StatusCode::CREATED, &json!({"ok": true}));
    if let Ok(location) = HeaderValue::from_str(uri.path()) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

/// A document table with its history, as CouchDB would. One that has columns is some app's and is dropped in SQL.
pub async fn drop(
    State(gateway): State<Arc<Gateway>>,
    caller: Caller,
    Path(db): Path<String>,
) -> Answer {
    let sql = "select godwit.drop_document_table(godwit.find_table($1))::text";
    gateway.database.rows(&caller, sql, &[text(&db)]).await?;
    gateway.columns.forget(&db);
    Ok(routes::json(StatusCode::OK, &json!({"ok": true})))
}

/// What was answered is committed: nothing is left to be done.
pub async fn ensure_full_commit(
    State(gateway): State<Arc<Gateway>>,
    caller: Caller,
    Path(db): Path<String>,
) -> Answer {
    find(&gateway, &caller, &db).await?;
    Ok(routes::json(StatusCode::CREATED, &json!({"ok": true, "instance_start_time": "0"})))
}

/// Grants and policies decide, and they are SQL's: here there is nothing to read in them.
pub async fn security(
    State(gateway): State<Arc<Gateway>>,
    caller: Caller,
    Path(db): Path<String>,
) -> Answer {
    find(&gateway, &caller, &db).await?;
    let nobody = json!({"names": [], "roles": []});
    Ok(routes::json(StatusCode::OK, &json!({"admins": nobody, "members": nobody})))
}

pub async fn set_security() -> Refusal {
    let reason = "Who may do what is said in SQL here: GRANT, REVOKE and CREATE POLICY.";
    Refusal::new(StatusCode::NOT_IMPLEMENTED, "not_implemented", reason)
}

/// Postgres vacuums by itself. Old bodies are dropped by `godwit.compact`, which is no client's to call.
pub async fn compact(
    State(gateway): State<Arc<Gateway>>,
    caller: Caller,
    Path(db): Path<String>,
) -> Answer {
    find(&gateway, &caller, &db).await?;
    Ok(routes::json(StatusCode::ACCEPTED, &json!({"ok": true})))
}

pub async fn revs_limit(
    State(gateway): State<Arc<Gateway>>,
    caller: Caller,
    Path(db): Path<String>,
) -> Answer {
    find(&gateway, &caller, &db).await?;
    Ok(routes::json(StatusCode::OK, &REVS_LIMIT))
}

pub async fn set_revs_limit(
    State(gateway): State<Arc<Gateway>>,
    caller: Caller,
    Path(db): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    let asked: Json = parameters::body(&headers, body, gateway.config.body_bytes_max).await?;
    if asked.as_u64().is_none_or(|limit| limit == 0) {
        return Err(Refusal::bad_request("`rev_limit` must be greater than zero"));
    }
    find(&gateway, &caller, &db).await?;
    // Every revision is kept, which is more than was asked for.
    Ok(routes::json(StatusCode::OK, &json!({"ok": true})))
}

async fn find(gateway: &Gateway, caller: &Caller, db: &str) -> Result<(), Refusal> {
    let sql = "select godwit.find_table($1)::text";
    gateway.database.rows(caller, sql, &[text(&db)]).await?;
    Ok(())
}
