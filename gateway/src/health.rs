//! In charge of `/health`: whether the process lives, and whether clients should be sent to it.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::database::{Database, Fault};
use crate::error::Error;
use crate::routes::{self, Gateway};

/// How long an outcome is good for. Nobody is asked for a token here, and no place is needed: however many
/// ask, the database is asked once a second.
const GOOD_FOR: Duration = Duration::from_secs(1);

type Outcome = Result<String, Fault>;

#[derive(Default)]
pub struct Health(Mutex<Option<(Instant, Outcome)>>);

impl Health {
    /// The extension's version, or why the database won't do.
    async fn database(&self, database: &Database) -> Outcome {
        let mut last = self.0.lock().await;
        if let Some((at, outcome)) = last.as_ref()
            && at.elapsed() < GOOD_FOR
        {
            return outcome.clone();
        }
        let outcome = database.check().await;
        if let Err(fault) = outcome.clone() {
            tracing::warn!(reason = String::from(fault), "not healthy");
        }
        *last = Some((Instant::now(), outcome.clone()));
        outcome
    }
}

/// The process answers: nothing is asked of the database, for whose absence no gateway is to be restarted.
pub async fn live() -> Response {
    routes::json(StatusCode::OK, &json!({"status": "ok", "version": env!("CARGO_PKG_VERSION")}))
}

/// Clients may be sent here.
pub async fn ready(State(gateway): State<Arc<Gateway>>) -> Result<Response, Error> {
    if !gateway.stopping.is_serving() {
        return Err(Error::unavailable("this gateway is stopping"));
    }
    match gateway.health.database(&gateway.database).await {
        Ok(extension) => {
            let version = env!("CARGO_PKG_VERSION");
            let body = json!({"status": "ok", "version": version, "extension": extension});
            Ok(routes::json(StatusCode::OK, &body))
        }
        Err(_) => {
            Err(Error::unavailable("the database is not to be reached, or lacks the extension"))
        }
    }
}
