//! In charge of which path leads where: all routes on one screen.

use axum::Router;
use axum::extract::{OriginalUri, Request};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use serde::Serialize;
use std::sync::Arc;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::request_id::{MakeRequestUuid, PropagateRequestIdLayer, SetRequestIdLayer};
use tower_http::trace::TraceLayer;

use crate::auth::Auth;
use crate::config;
use crate::database::Database;
use crate::error::Error;
use crate::feed::Feed;
use crate::{changes, conflicts, health, peers, records, rejected, revisions, status, tables};

/// What every action has at hand.
pub struct Gateway {
    pub config: config::Serve,
    pub auth: Auth,
    pub database: Database,
    pub feed: Feed,
}

/// The gateway's routes over a database; must be called within a Tokio runtime.
pub fn routes(config: config::Serve) -> Result<(Router, Database), String> {
    let database = Database::new(&config)?;
    let feed = Feed::start(database.clone(), config.longpolls_max);
    let timeout = config.request_timeout();
    let auth = Auth::new(&config.auth)?;
    let gateway = Arc::new(Gateway { config, auth, database: database.clone(), feed });
    let id = HeaderName::from_static("x-request-id");
    let router = Router::new()
        .route("/health", get(health::show))
        .route("/v1/tables", get(tables::list))
        .route("/v1/tables/{table}", get(tables::show).put(tables::create))
        .route("/v1/tables/{table}/records", get(records::list))
        .route(
            "/v1/tables/{table}/records/{id}",
            get(records::show).put(records::put).delete(records::delete),
        )
        .route("/v1/tables/{table}/records/{id}/history", get(records::history))
        .route("/v1/tables/{table}/records/{id}/leaves", get(conflicts::leaves))
        .route("/v1/tables/{table}/records/{id}/resolve", post(conflicts::resolve))
        .route("/v1/tables/{table}/policy", put(tables::set_policy))
        .route("/v1/tables/{table}/rejected:retry", post(rejected::retry))
        .route("/v1/tables/{table}/rejected:discard", post(rejected::discard))
        .route("/v1/tables/{table}/revisions", post(revisions::put))
        .route("/v1/tables/{table}/revisions:missing", post(revisions::missing))
        .route("/v1/changes", get(changes::list))
        .route("/v1/conflicts", get(conflicts::list))
        .route("/v1/rejected", get(rejected::list))
        .route("/v1/peers", get(peers::list))
        .route("/v1/peers/{peer}", get(peers::show).put(peers::put).delete(peers::forget))
        .route("/v1/status", get(status::show))
        .fallback(no_route)
        .method_not_allowed_fallback(no_method)
        .layer(CatchPanicLayer::custom(panicked))
        .layer(middleware::from_fn(move |request: Request, next: Next| async move {
            tokio::time::timeout(timeout, next.run(request)).await.unwrap_or_else(|_| {
                let reason = "the request took too long; ask for less, or try again";
                Error::new(StatusCode::SERVICE_UNAVAILABLE, "timeout", reason).into_response()
            })
        }))
        .layer(TraceLayer::new_for_http().make_span_with(span))
        .layer(PropagateRequestIdLayer::new(id.clone()))
        .layer(SetRequestIdLayer::new(id, MakeRequestUuid))
        .with_state(gateway);
    Ok((router, database))
}

/// A JSON answer.
pub fn json(status: StatusCode, body: &impl Serialize) -> Response {
    match serde_json::to_vec(body) {
        Ok(bytes) => {
            let kind = HeaderValue::from_static("application/json");
            (status, [(axum::http::header::CONTENT_TYPE, kind)], bytes).into_response()
        }
        Err(error) => {
            tracing::error!(%error, "an answer can't be written");
            Error::unavailable("the answer can't be written").into_response()
        }
    }
}

async fn no_route(OriginalUri(uri): OriginalUri) -> Error {
    Error::not_found(format!("there is nothing at {}", uri.path()))
}

async fn no_method(method: Method, OriginalUri(uri): OriginalUri) -> Error {
    Error::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
        format!("{} does not take {method}", uri.path()),
    )
}

/// A panic is a bug: it is logged with its message and answered without it.
fn panicked(panic: Box<dyn std::any::Any + Send>) -> Response {
    let message = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("a panic without a message");
    tracing::error!(message, "a request panicked");
    Error::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the gateway failed").into_response()
}

fn span(request: &Request) -> tracing::Span {
    let id = request.headers().get("x-request-id").and_then(|id| id.to_str().ok());
    tracing::info_span!("request", method = %request.method(), path = request.uri().path(), id)
}
