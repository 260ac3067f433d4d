//! In charge of what is asked of the server as a whole.

use axum::body::Body;
use axum::extract::{Extension, OriginalUri, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::IntoResponse;
use serde::Deserialize;
use serde_json::json;
use std::sync::Arc;

use super::document;
use super::error::{Answer, Refusal};
use super::parameters::Parameters;
use crate::auth::Caller;
use crate::error::Error;
use crate::routes::{self, Gateway};
use crate::users::Users;

/// The version of CouchDB whose API this is; clients look at its first number.
const VERSION: &str = "3.3.3";
const UUIDS_MAX: u64 = 1000;
const LOG_IN_BYTES_MAX: usize = 4096;

/// Who answers. The uuid stays over restarts and failovers: clients name their checkpoints by it.
pub async fn welcome(State(gateway): State<Arc<Gateway>>, caller: Caller) -> Answer {
    let sql = "select godwit.database_uuid()";
    let rows = gateway.database.rows(&caller, sql, &[]).await?;
    let uuid: Option<String> = rows.first().map(|row| row.try_get(0)).transpose()?;
    let answer = json!({
        "couchdb": "Welcome",
        "version": VERSION,
        "uuid": uuid,
        "features": [],
        "vendor": {"name": "Godwit", "version": env!("CARGO_PKG_VERSION")},
    });
    Ok(routes::json(StatusCode::OK, &answer))
}

pub async fn all_dbs(
    State(gateway): State<Arc<Gateway>>,
    caller: Caller,
    parameters: Parameters,
) -> Answer {
    let sql = "select t.name from godwit.tables() t
                where has_table_privilege(t.table_oid, 'select') or has_any_column_privilege(t.table_oid, 'insert')
                order by t.name collate \"C\"";
    let rows = gateway.database.rows(&caller, sql, &[]).await?;
    let mut names: Vec<String> = rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?;
    if parameters.flag("descending")? {
        names.reverse();
    }
    let skip = parameters.number("skip")?.unwrap_or(0);
    let limit = parameters.number("limit")?.unwrap_or(u64::MAX);
    let count = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
    let names: Vec<String> = names.into_iter().skip(count(skip)).take(count(limit)).collect();
    Ok(routes::json(StatusCode::OK, &names))
}

pub async fn up(State(gateway): State<Arc<Gateway>>) -> Answer {
    match gateway.database.check().await {
        Ok(_) => Ok(routes::json(StatusCode::OK, &json!({"status": "ok", "seeds": {}}))),
        Err(_) => Ok(routes::json(StatusCode::NOT_FOUND, &json!({"status": "unavailable"}))),
    }
}

/// Who the caller is. Where nothing is asked of anybody, all are what CouchDB calls an admin party.
pub async fn session(Extension(caller): Extension<Result<Caller, Error>>) -> Answer {
    let (name, roles) = match &caller {
        Ok(Caller::Login) => (None, vec!["_admin"]),
        Ok(Caller::Role { role, .. }) => {
            (caller.as_ref().ok().and_then(Caller::subject), vec![role.as_str()])
        }
        Err(error) if error.status == StatusCode::UNAUTHORIZED => (None, Vec::new()),
        // Nobody is logged out because the database is away.
        Err(error) => return Err(error.clone().into()),
    };
    let answer = json!({
        "ok": true,
        "userCtx": {"name": name, "roles": roles},
        "info": {"authentication_handlers": ["jwt", "cookie", "default"]},
    });
    Ok(routes::json(StatusCode::OK, &answer))
}

#[derive(Deserialize)]
struct LogIn {
    #[serde(alias = "username")]
    name: String,
    password: String,
}

/// A name and password for a cookie, as JSON or as a form.
pub async fn log_in(State(gateway): State<Arc<Gateway>>, headers: HeaderMap, body: Body) -> Answer {
    let users = gateway.users.as_ref().ok_or_else(|| {
        let reason = "No names and passwords are known here: bring a bearer token.";
        Refusal::new(StatusCode::NOT_IMPLEMENTED, "not_implemented", reason)
    })?;
    let bytes = crate::body::bytes(&headers, body, LOG_IN_BYTES_MAX).await?;
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let asked: Option<LogIn> = match kind {
        Some(kind) if kind.starts_with("application/x-www-form-urlencoded") => {
            serde_urlencoded::from_bytes(&bytes).ok()
        }
        _ => serde_json::from_slice(&bytes).ok(),
    };
    let asked = asked
        .ok_or_else(|| Refusal::bad_request("request body must contain a name and a password"))?;
    let (caller, cookie) = users.log_in(&gateway.database, &asked.name, &asked.password).await?;
    let roles: Vec<&str> = match &caller {
        Caller::Role { role, .. } => vec![role],
        Caller::Login => Vec::new(),
    };
    let answer = json!({"ok": true, "name": asked.name, "roles": roles});
    let mut response = routes::json(StatusCode::OK, &answer);
    response.headers_mut().append(header::SET_COOKIE, cookie);
    Ok(response)
}

pub async fn log_out() -> Answer {
    let mut response = routes::json(StatusCode::OK, &json!({"ok": true}));
    response.headers_mut().append(header::SET_COOKIE, Users::log_out());
    Ok(response)
}

pub async fn uuids(parameters: Parameters) -> Answer {
    let count = parameters.number("count")?.unwrap_or(1);
    if count > UUIDS_MAX {
        return Err(Refusal::bad_request(format!(
            "count parameter too large: at most {UUIDS_MAX}"
        )));
    }
    let uuids: Vec<String> = (0..count).map(|_| uuid()).collect();
    let mut response = routes::json(StatusCode::OK, &json!({"uuids": uuids}));
    let never = axum::http::HeaderValue::from_static("no-store");
    response.headers_mut().insert(axum::http::header::CACHE_CONTROL, never);
    Ok(response)
}

/// A new document's id.
pub fn uuid() -> String {
    uuid::Uuid::new_v4().simple().to_string()
}

pub async fn no_functions() -> Refusal {
    document::no_functions()
}

/// There are no design documents, and a list of them is empty.
pub async fn no_rows() -> Answer {
    Ok(routes::json(StatusCode::OK, &json!({"total_rows": 0, "offset": 0, "rows": []})))
}

pub async fn not_here(OriginalUri(uri): OriginalUri) -> Refusal {
    let reason = format!("{} is not served here: see docs/couchdb.md", uri.path());
    Refusal::new(StatusCode::NOT_IMPLEMENTED, "not_implemented", reason)
}

pub async fn no_method(method: Method, OriginalUri(uri): OriginalUri) -> axum::response::Response {
    let reason = format!("{} does not take {method}", uri.path());
    Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", reason).into_response()
}
