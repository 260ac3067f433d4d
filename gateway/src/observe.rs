//! In charge of what each request leaves behind: one line in the log, and its counts. Never a token, a body or
//! a record id.

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;
use std::sync::Arc;
use std::time::Instant;
use tracing::Instrument;

use crate::auth::Caller;
use crate::remote::Client;
use crate::routes::Gateway;

pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Longer ones are the client's mistake, and would fill the log.
const REQUEST_ID_BYTES_MAX: usize = 128;
/// The route of what leads nowhere.
const NO_ROUTE: &str = "none";

/// Who was answered; an answer carries it as far as this module.
#[derive(Clone)]
pub struct Answered {
    pub client: Client,
    pub caller: Option<Caller>,
}

/// Drops a request id that won't do, so that the request is given one.
pub async fn check_id(mut request: Request, next: Next) -> Response {
    let fits = |id: &HeaderValue| {
        let bytes = id.as_bytes();
        bytes.len() <= REQUEST_ID_BYTES_MAX && bytes.iter().all(u8::is_ascii_graphic)
    };
    if request.headers().get(REQUEST_ID).is_some_and(|id| !fits(id)) {
        request.headers_mut().remove(REQUEST_ID);
    }
    next.run(request).await
}

pub async fn observe(
    State(gateway): State<Arc<Gateway>>,
    request: Request,
    next: Next,
) -> Response {
    let start = Instant::now();
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>();
    let route = route.map_or(NO_ROUTE, MatchedPath::as_str).to_owned();
    let id = request.headers().get(REQUEST_ID).and_then(|id| id.to_str().ok());
    let span = tracing::info_span!("request", id);
    let path = request.uri().path().to_owned();
    span.in_scope(|| tracing::debug!(%method, path, "asked"));
    let mut response = next.run(request).instrument(span.clone()).await;
    let took = start.elapsed();
    let status = response.status().as_u16();
    gateway.metrics.answered(&method, &route, status, took);
    let answered = response.extensions_mut().remove::<Answered>();
    let client = answered.as_ref().map(|answered| match &answered.client {
        Client::Subject(subject) => subject.clone(),
        Client::Address(address) => address.to_string(),
    });
    let role = answered.and_then(|answered| match answered.caller {
        Some(Caller::Role { role, .. }) => Some(role),
        Some(Caller::Login) | None => None,
    });
    let ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    span.in_scope(|| tracing::info!(%method, route, status, ms, client, role, "answered"));
    response
}
