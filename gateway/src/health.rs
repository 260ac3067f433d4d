//! In charge of `/health`.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::json;
use std::sync::Arc;

use crate::error::Error;
use crate::routes::{self, Gateway};

pub async fn show(State(gateway): State<Arc<Gateway>>) -> Result<Response, Error> {
    match gateway.database.check().await {
        Ok(extension) => {
            let version = env!("CARGO_PKG_VERSION");
            let body = json!({"status": "ok", "version": version, "extension": extension});
            Ok(routes::json(StatusCode::OK, &body))
        }
        Err(reason) => {
            tracing::warn!(reason, "not healthy");
            Err(Error::unavailable("the database is not to be reached, or lacks the extension"))
        }
    }
}
