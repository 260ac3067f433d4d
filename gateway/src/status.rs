//! In charge of `/v1/status`: how far the change stream is, what holds it back, and what the database is.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use std::sync::Arc;

use crate::auth::Caller;
use crate::error::Error;
use crate::routes::{self, Gateway};

pub async fn show(State(gateway): State<Arc<Gateway>>, caller: Caller) -> Result<Response, Error> {
    let sql = "select jsonb_build_object('sequence', max(s.last_sequence), 'horizon', max(s.horizon),
                      'incarnation', godwit.current_incarnation(), 'holders',
                      coalesce(jsonb_agg(jsonb_strip_nulls(jsonb_build_object('at', s.holds_at, 'pid', s.pid,
                          'prepared', s.prepared, 'role', s.role, 'application', s.application,
                          'state', s.state, 'seconds', s.seconds))) filter (where s.holds_at is not null), '[]'))::text
                 from godwit.stream_status() s";
    let status = gateway.database.json(&caller, sql, &[]).await?;
    Ok(routes::json(StatusCode::OK, &status))
}
