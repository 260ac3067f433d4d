//! In charge of which path leads where: all routes on one screen.

use axum::Router;
use axum::body::Body;
use axum::extract::{Extension, MatchedPath, OriginalUri, Request, State};
use axum::http::{
    Extensions, HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version, header,
};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use futures_util::FutureExt;
use serde::Serialize;
use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;
use tower_http::CompressionLevel;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::{Predicate, SizeAbove};
use tower_http::cors::{Any, CorsLayer};
use tower_http::decompression::RequestDecompressionLayer;
use tower_http::request_id::{MakeRequestUuid, PropagateRequestIdLayer, SetRequestIdLayer};
use tower_http::timeout::RequestBodyTimeoutLayer;

use crate::auth::{Auth, Caller};
use crate::config;
use crate::database::Database;
use crate::error::Error;
use crate::feed::Feed;
use crate::health::{self, Health};
use crate::held::Held;
use crate::limits::{self, Limits};
use crate::metrics::{self, Metrics};
use crate::observe::{self, Answered, REQUEST_ID};
use crate::remote::{self, Client, Peer};
use crate::stopping::Stopping;
use crate::users::{Known, Users};
use crate::{
    changes, conflicts, couch, openapi, peers, records, rejected, revisions, snapshot, status,
    tables,
};

/// Smaller answers don't get smaller: a packet takes about as much.
const COMPRESSED_BYTES_MIN: u16 = 1024;
/// Of gzip and of zstd. A page of changes is as small by zlib-rs's second level as by its sixth, in half the time.
const COMPRESSION_LEVEL: i32 = 2;

/// What every action has at hand.
pub struct Gateway {
    pub config: config::Serve,
    pub auth: Auth,
    /// People with names and passwords, where there is a table of them.
    pub users: Option<Users>,
    pub database: Database,
    pub feed: Feed,
    pub limits: Arc<Limits>,
    pub stopping: Stopping,
    pub metrics: Metrics,
    pub health: Health,
    /// What the columns of tables hold, as far as it was asked a moment ago.
    pub columns: couch::Cache,
}

impl Gateway {
    /// Over a database that it connects to when it first has to; must be called within a Tokio runtime.
    pub fn new(config: config::Serve) -> Result<Arc<Self>, String> {
        let database = Database::new(&config.database)?;
        let limits = Arc::new(Limits::new(&config));
        let users = Users::new(&config.users, config.tls.tls_cert.is_some())?;
        if users.is_some() && config.users.session_secret == config.auth.jwt_secret {
            return Err("GODWIT_SESSION_SECRET and GODWIT_JWT_SECRET are the same: a cookie would be a token".into());
        }
        let auth = Auth::new(&config.auth)?.with_users(users.is_some());
        if auth.is_open() {
            tracing::warn!(
                "no tokens are asked for: whoever reaches this gateway has the rights of its login. \
                 Set GODWIT_JWT_KEYS_FILE, GODWIT_JWT_SECRET or GODWIT_USERS_TABLE."
            );
        }
        let stopping = Stopping::default();
        Ok(Arc::new(Gateway {
            feed: Feed::start(
                &config.database,
                database.clone(),
                Arc::clone(&limits),
                stopping.clone(),
            )?,
            metrics: Metrics::new(config.metrics.metrics_role.clone()),
            stopping,
            health: Health::default(),
            columns: couch::Cache::default(),
            config,
            auth,
            users,
            database,
            limits,
        }))
    }
}

/// What clients are served.
pub fn routes(gateway: Arc<Gateway>) -> Router {
    let config = &gateway.config;
    let timeout = config.request_timeout();
    let mut router = inside()
        .route("/openapi.json", get(openapi::show))
        .route("/v1/tables", get(tables::list))
        .route("/v1/tables/{table}", get(tables::show).put(tables::create))
        .route("/v1/tables/{table}/records", get(records::list))
        .route("/v1/tables/{table}/records:put", post(revisions::put_records))
        .route("/v1/tables/{table}/snapshot", get(snapshot::show))
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
        .route("/v1/changes", get(changes::list).post(changes::list_by_post))
        .route("/v1/conflicts", get(conflicts::list))
        .route("/v1/rejected", get(rejected::list))
        .route("/v1/peers", get(peers::list))
        .route("/v1/peers/{peer}", get(peers::show).put(peers::put).delete(peers::forget))
        .route("/v1/status", get(status::show));
    if config.metrics.metrics_public {
        router = router.route("/metrics", get(metrics::show));
    }
    router = router.nest("/couch", couch::routes()).route("/couch/", get(couch::welcome));
    if config.couch_root {
        router = router.merge(couch::routes());
    }
    router
        .fallback(no_route)
        .method_not_allowed_fallback(no_method)
        // The innermost first: what comes later sees the request earlier.
        .layer(middleware::from_fn(catch_panics))
        .layer(RequestDecompressionLayer::new().pass_through_unaccepted(true))
        .layer(RequestBodyTimeoutLayer::new(config.limits.stall_timeout()))
        .layer(middleware::from_fn(move |request: Request, next: Next| async move {
            tokio::time::timeout(timeout, next.run(request)).await.unwrap_or_else(|_| {
                let reason = "the request took too long; ask for less, or try again";
                Error::new(StatusCode::SERVICE_UNAVAILABLE, "timeout", reason).into_response()
            })
        }))
        .layer(middleware::from_fn_with_state(Arc::clone(&gateway), admit))
        .layer(
            CompressionLayer::new()
                .quality(CompressionLevel::Precise(COMPRESSION_LEVEL))
                .compress_when(SizeAbove::new(COMPRESSED_BYTES_MIN).and(is_no_feed)),
        )
        .layer(cors(config))
        .layer(middleware::from_fn_with_state(Arc::clone(&gateway), observe::observe))
        .layer(PropagateRequestIdLayer::new(REQUEST_ID))
        .layer(SetRequestIdLayer::new(REQUEST_ID, MakeRequestUuid))
        .layer(middleware::from_fn(observe::check_id))
        .with_state(gateway)
}

/// What those are served who look after the gateway.
pub fn inner_routes(gateway: Arc<Gateway>) -> Router {
    inside()
        .route("/metrics", get(metrics::show))
        .fallback(no_route)
        .method_not_allowed_fallback(no_method)
        .layer(middleware::from_fn(catch_panics))
        .with_state(gateway)
}

fn inside() -> Router<Arc<Gateway>> {
    Router::new()
        .route("/health", get(health::ready))
        .route("/health/live", get(health::live))
        .route("/health/ready", get(health::ready))
}

/// Refuses what is too much, and finds out for whom a request is counted. Health is always told.
async fn admit(
    State(gateway): State<Arc<Gateway>>,
    Extension(Peer(peer)): Extension<Peer>,
    mut request: Request,
    next: Next,
) -> Response {
    let limits = &gateway.config.limits;
    let address = remote::address(limits, peer.ip(), request.headers());
    let (caller, cookie) = who(&gateway, request.headers(), address).await;
    let client = Client::of(caller.as_ref().ok(), address);
    let answered = Answered { client: client.clone(), caller: caller.clone().ok() };
    let path = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
    let is_inside = path.is_some_and(|path| path == "/metrics" || path.starts_with("/health"));
    let answer = async {
        limits::check_head(limits, &request)?;
        if is_inside {
            return Ok(next.run(request).await);
        }
        let asking = gateway.limits.ask(client)?;
        request.extensions_mut().insert(caller);
        request.extensions_mut().insert(asking.clone());
        let response = next.run(request).await;
        if !asking.has_place() {
            return Ok(response);
        }
        Ok(response.map(|body| Body::new(Held::new(body, asking))))
    };
    let mut response = answer.await.unwrap_or_else(|error: Error| error.into_response());
    response.extensions_mut().insert(answered);
    // Who logs in or out has said which cookie is to be theirs.
    if let Some(cookie) = cookie.filter(|_| !response.headers().contains_key(header::SET_COOKIE)) {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
    response
}

/// Who asks: by a name and password or the cookie for them, else by a token. A password's check is itself a request
/// under way, for it is what somebody who guesses would ask for most.
async fn who(
    gateway: &Gateway,
    headers: &HeaderMap,
    address: IpAddr,
) -> (Result<Caller, Error>, Option<HeaderValue>) {
    if let Some(users) = &gateway.users
        && Users::are_named(headers)
    {
        let _checking = match gateway.limits.ask(Client::Address(address)) {
            Ok(place) => place,
            Err(error) => return (Err(error), None),
        };
        match users.caller(&gateway.database, headers).await {
            Ok(Some(Known { caller, cookie })) => return (Ok(caller), cookie),
            Ok(None) => {}
            Err(error) => return (Err(error), None),
        }
    }
    (gateway.auth.caller(headers), None)
}

/// What is to arrive at once must not wait in a compressor, nor in a proxy, which it is told by this header.
fn is_no_feed(_: StatusCode, _: Version, headers: &HeaderMap, extensions: &Extensions) -> bool {
    !headers.contains_key("x-accel-buffering") && extensions.get::<Uncompressed>().is_none()
}

/// Marks an answer whose bytes are to go as they are.
#[derive(Clone, Copy)]
pub struct Uncompressed;

fn cors(config: &config::Serve) -> CorsLayer {
    if config.cors_origins.is_empty() {
        // Says nothing: a browser lets no other website's scripts read an answer.
        return CorsLayer::new();
    }
    let layer = CorsLayer::new()
        .allow_methods([Method::GET, Method::HEAD, Method::PUT, Method::POST, Method::DELETE])
        .allow_headers([
            header::AUTHORIZATION,
            header::CONTENT_TYPE,
            header::CONTENT_ENCODING,
            header::IF_MATCH,
            header::IF_NONE_MATCH,
            header::RANGE,
            HeaderName::from_static("last-event-id"),
            REQUEST_ID,
        ])
        .expose_headers([
            header::ETAG,
            header::RETRY_AFTER,
            header::WWW_AUTHENTICATE,
            HeaderName::from_static("godwit-next"),
            REQUEST_ID,
        ])
        .max_age(Duration::from_secs(config.cors_max_age_s));
    match config.cors_origins.iter().any(|origin| origin == "*") {
        true => layer.allow_origin(Any),
        // PouchDB asks for it in every request. The session's cookie is for its own site alone all the same.
        false => layer.allow_origin(config.cors_origins.clone()).allow_credentials(true),
    }
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

/// tower-http's layer for this would put another box around each answer's body, which a feed goes through at each change.
async fn catch_panics(request: Request, next: Next) -> Response {
    AssertUnwindSafe(next.run(request)).catch_unwind().await.unwrap_or_else(panicked)
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
