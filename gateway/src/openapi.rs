//! In charge of `/openapi.json`: the API as OpenAPI 3.1 describes it, for client generators and for tests.
//!
//! What comes in is described by the types that read it; what Postgres writes is described here. The document is
//! kept in docs/openapi.json, and a test compares them.

use axum::http::StatusCode;
use axum::response::Response;
use serde::Serialize;
use serde_json::Value as Json;
use std::collections::BTreeMap;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{IntoResponses, Modify, OpenApi, ToSchema};

use crate::{changes, conflicts, peers, records, rejected, revisions, routes, snapshot, tables};

pub async fn show() -> Response {
    routes::json(StatusCode::OK, &Api::openapi())
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Godwit",
        description = "Offline-first sync for Postgres tables. docs/http.md says what each means."
    ),
    paths(
        health_show, health_live, health_ready, openapi_show, tables_list, tables_show, tables_create, tables_policy, records_list, records_show,
        records_put, records_delete, records_history, records_leaves, records_resolve, records_put_many,
        snapshot_show, revisions_put, revisions_missing, rejected_list, rejected_retry, rejected_discard,
        conflicts_list, changes_list, changes_list_by_post, peers_list,
        peers_show, peers_put, peers_forget, status_show,
    ),
    components(schemas(Refusal)),
    modifiers(&Bearer)
)]
pub struct Api;

struct Bearer;

impl Modify for Bearer {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("JWT").build();
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("token", SecurityScheme::Http(scheme));
    }
}

/// What is answered instead of what was asked for.
#[derive(ToSchema, Serialize)]
pub struct Refusal {
    /// A name to match on.
    error: String,
    /// For a person.
    reason: String,
    /// The winner that a conflicting put did not name.
    #[serde(skip_serializing_if = "Option::is_none")]
    winner: Option<String>,
    /// The tombstone of a record that is deleted.
    #[serde(skip_serializing_if = "Option::is_none")]
    revision: Option<String>,
}

#[derive(IntoResponses)]
#[allow(dead_code, clippy::enum_variant_names)] // Described, not made; named as the answers are.
enum Refused {
    /// The request can't be read, or names what can't be.
    #[response(status = 400)]
    BadRequest(Refusal),
    /// There is no valid token.
    #[response(status = 401)]
    Unauthorized(Refusal),
    /// The database doesn't allow it.
    #[response(status = 403)]
    Forbidden(Refusal),
    /// No such table, record, revision or path.
    #[response(status = 404)]
    NotFound(Refusal),
    /// The path takes other methods.
    #[response(status = 405)]
    MethodNotAllowed(Refusal),
    /// Nothing of the body came for too long.
    #[response(status = 408)]
    Stalled(Refusal),
    /// The edited revision is no leaf any more, or the table exists.
    #[response(status = 409)]
    Conflict(Refusal),
    /// A body or a batch above its bound.
    #[response(status = 413)]
    TooLarge(Refusal),
    /// The URL is above its bound.
    #[response(status = 414)]
    TooLong(Refusal),
    /// The body isn't JSON, or compressed by what is not known here.
    #[response(status = 415)]
    UnsupportedMediaType(Refusal),
    /// The table's own rules refuse it.
    #[response(status = 422)]
    Unprocessable(Refusal),
    /// The headers are above their bound.
    #[response(status = 431)]
    HeadersTooLarge(Refusal),
    /// Too many requests of this client.
    #[response(status = 429)]
    TooMany(Refusal),
    /// The database is away or busy, or it took too long: try again.
    #[response(status = 503)]
    Unavailable(Refusal),
}

/// A value: an object with one member, the kind. `{"string": "Amina"}`, `{"int": "7"}`, `{"null": true}`.
#[derive(ToSchema, Serialize)]
#[serde(rename_all = "lowercase")]
#[allow(dead_code)]
pub enum Value {
    Null(bool),
    Bool(String),
    Int(String),
    Float(String),
    Decimal(String),
    String(String),
    Bytes(String),
    Date(String),
    Timestamp(String),
    /// Of values.
    List(Vec<Json>),
    /// Of values.
    Map(BTreeMap<String, Json>),
}

/// Attributes by name.
#[derive(ToSchema, Serialize)]
pub struct Attributes(BTreeMap<String, Value>);

/// A record on the wire.
#[derive(ToSchema, Serialize)]
pub struct Record {
    #[schema(min_length = 1, max_length = 1024)]
    id: String,
    table: Option<String>,
    /// `N-` and 1 to 128 printable ASCII characters without a comma or a quote.
    #[schema(pattern = "^[1-9][0-9]{0,15}-[!#-+\\--~]{1,128}$")]
    revision: Option<String>,
    #[serde(default)]
    deleted: Option<bool>,
    #[serde(default)]
    attributes: Option<Attributes>,
    /// Its ancestry, itself first.
    revisions: Option<Vec<String>>,
    /// The other leaves that are not tombstones.
    conflicts: Option<Vec<String>>,
}

/// What a put has made.
#[derive(ToSchema, Serialize)]
struct Written {
    id: String,
    table: String,
    revision: String,
    deleted: Option<bool>,
}

#[derive(ToSchema, Serialize)]
struct Records {
    records: Vec<Record>,
    /// What `after` is to be for the next page.
    next: Option<String>,
}

#[derive(ToSchema, Serialize)]
struct HistoryLine {
    revision: String,
    previous: Option<String>,
    deleted: bool,
    /// Known by name only.
    stub: bool,
    winner: bool,
    leaf: bool,
    sequence: Option<i64>,
    at: Option<String>,
    by: Option<String>,
    attributes: Option<Attributes>,
}

#[derive(ToSchema, Serialize)]
struct History {
    id: String,
    revisions: Vec<HistoryLine>,
}

#[derive(ToSchema, Serialize)]
struct Leaf {
    revision: String,
    deleted: Option<bool>,
    winner: Option<bool>,
    attributes: Option<Attributes>,
    /// The record that this leaf and the winner both began from.
    ancestor: Option<Record>,
    grade: Option<String>,
    clashes: Option<Vec<String>>,
}

#[derive(ToSchema, Serialize)]
struct Leaves {
    id: String,
    leaves: Vec<Leaf>,
}

#[derive(ToSchema, Serialize)]
struct Conflict {
    table: String,
    id: String,
    winner: String,
    conflict: String,
    ancestor: Option<String>,
    /// `soft` where the branches changed different attributes, else `hard`.
    grade: Option<String>,
    attributes: Option<Vec<String>>,
    at: Option<String>,
    by: Option<String>,
}

#[derive(ToSchema, Serialize)]
struct Conflicts {
    conflicts: Vec<Conflict>,
    next: Option<String>,
}

#[derive(ToSchema, Serialize)]
struct Rejected {
    number: i64,
    table: String,
    id: String,
    revision: Option<String>,
    record: Record,
    sqlstate: String,
    reason: String,
    detail: Option<String>,
    by: Option<String>,
    at: Option<String>,
}

#[derive(ToSchema, Serialize)]
struct RejectedPage {
    rejected: Vec<Rejected>,
    next: Option<i64>,
}

#[derive(ToSchema, Serialize)]
struct Retried {
    number: i64,
    id: String,
    revision: Option<String>,
    status: String,
    reason: Option<String>,
}

#[derive(ToSchema, Serialize)]
struct RetriedAll {
    results: Vec<Retried>,
}

#[derive(ToSchema, Serialize)]
struct Discarded {
    discarded: i64,
}

#[derive(ToSchema, Serialize)]
struct Outcome {
    id: Option<String>,
    revision: Option<String>,
    /// accepted, known, conflict, rejected or forbidden.
    status: String,
    reason: Option<String>,
    winner: Option<String>,
}

#[derive(ToSchema, Serialize)]
struct Outcomes {
    results: Vec<Outcome>,
}

#[derive(ToSchema, Serialize)]
struct RecordBatch {
    records: Vec<Record>,
}

#[derive(ToSchema, Serialize)]
struct RevisionBatch {
    revisions: Vec<Record>,
}

#[derive(ToSchema, Serialize)]
struct Missing {
    missing: Vec<String>,
    possible_ancestors: Option<Vec<String>>,
}

#[derive(ToSchema, Serialize)]
struct Change {
    sequence: i64,
    table: String,
    id: String,
    revision: Option<String>,
    deleted: Option<bool>,
    /// The reader is to let the record go.
    left: Option<bool>,
    winner: Option<String>,
    record: Option<Record>,
    leaves: Option<Vec<Json>>,
}

#[derive(ToSchema, Serialize)]
struct Changes {
    changes: Vec<Change>,
    /// What `since` is to be for what comes after.
    next: i64,
}

/// A server-sent event: `change` with a change in `data`, `next`, or `error`.
#[derive(ToSchema, Serialize)]
#[allow(dead_code)]
struct Event {
    event: String,
    id: Option<String>,
    data: String,
}

#[derive(ToSchema, Serialize)]
struct Holder {
    at: i64,
    pid: Option<i64>,
    prepared: Option<String>,
    role: Option<String>,
    application: Option<String>,
    state: Option<String>,
    seconds: Option<f64>,
}

#[derive(ToSchema, Serialize)]
struct Status {
    sequence: i64,
    horizon: i64,
    holders: Vec<Holder>,
    incarnation: String,
}

/// A peer's checkpoint.
#[derive(ToSchema, Serialize)]
struct Peer {
    peer: String,
    pulled: Option<i64>,
    pushed: Option<i64>,
    /// How many sequences `pulled` is behind.
    behind: Option<i64>,
    incarnation: Option<String>,
    software: Option<String>,
    owner: String,
    first_seen: String,
    last_seen: String,
}

#[derive(ToSchema, Serialize)]
struct Peers {
    peers: Vec<Peer>,
    /// What `after` is to be for the next page.
    next: Option<String>,
}

#[derive(ToSchema, Serialize)]
struct Health {
    status: String,
    version: String,
    extension: String,
}

#[derive(ToSchema, Serialize)]
struct Tables {
    tables: Vec<Json>,
}

#[utoipa::path(get, path = "/health", tag = "operate", responses((status = 200, body = Health), Refused))]
#[allow(dead_code)]
fn health_show() {}

#[utoipa::path(get, path = "/health/live", tag = "operate", responses((status = 200, body = Object), Refused))]
#[allow(dead_code)]
fn health_live() {}

#[utoipa::path(get, path = "/health/ready", tag = "operate", responses((status = 200, body = Health), Refused))]
#[allow(dead_code)]
fn health_ready() {}

#[utoipa::path(get, path = "/openapi.json", tag = "operate", responses((status = 200, body = Object), Refused))]
#[allow(dead_code)]
fn openapi_show() {}

#[utoipa::path(get, path = "/v1/tables", tag = "tables", security(("token" = [])),
    responses((status = 200, body = Tables), Refused))]
#[allow(dead_code)]
fn tables_list() {}

#[utoipa::path(get, path = "/v1/tables/{table}", tag = "tables", security(("token" = [])),
    params(("table" = String, Path)), responses((status = 200, body = Object), Refused))]
#[allow(dead_code)]
fn tables_show() {}

#[utoipa::path(put, path = "/v1/tables/{table}", tag = "tables", security(("token" = [])),
    params(("table" = String, Path)), request_body = tables::Definition,
    responses((status = 201, body = Object), Refused))]
#[allow(dead_code)]
fn tables_create() {}

#[utoipa::path(put, path = "/v1/tables/{table}/policy", tag = "tables", security(("token" = [])),
    params(("table" = String, Path)), request_body = Object, responses((status = 204), Refused))]
#[allow(dead_code)]
fn tables_policy() {}

#[utoipa::path(get, path = "/v1/tables/{table}/records", tag = "records", security(("token" = [])),
    params(("table" = String, Path), records::Page), responses((status = 200, body = Records), Refused))]
#[allow(dead_code)]
fn records_list() {}

#[utoipa::path(get, path = "/v1/tables/{table}/records/{id}", tag = "records", security(("token" = [])),
    params(("table" = String, Path), ("id" = String, Path), records::Show),
    responses((status = 200, body = Record), (status = 304, description = "as If-None-Match says"), Refused))]
#[allow(dead_code)]
fn records_show() {}

#[utoipa::path(put, path = "/v1/tables/{table}/records/{id}", tag = "records", security(("token" = [])),
    params(("table" = String, Path), ("id" = String, Path), records::Put), request_body = records::Sent,
    responses((status = 200, body = Written), (status = 201, body = Written), Refused))]
#[allow(dead_code)]
fn records_put() {}

#[utoipa::path(delete, path = "/v1/tables/{table}/records/{id}", tag = "records", security(("token" = [])),
    params(("table" = String, Path), ("id" = String, Path), records::Delete),
    responses((status = 200, body = Written), Refused))]
#[allow(dead_code)]
fn records_delete() {}

#[utoipa::path(get, path = "/v1/tables/{table}/records/{id}/history", tag = "records", security(("token" = [])),
    params(("table" = String, Path), ("id" = String, Path)), responses((status = 200, body = History), Refused))]
#[allow(dead_code)]
fn records_history() {}

#[utoipa::path(get, path = "/v1/tables/{table}/records/{id}/leaves", tag = "conflicts", security(("token" = [])),
    params(("table" = String, Path), ("id" = String, Path)), responses((status = 200, body = Leaves), Refused))]
#[allow(dead_code)]
fn records_leaves() {}

#[utoipa::path(post, path = "/v1/tables/{table}/records/{id}/resolve", tag = "conflicts", security(("token" = [])),
    params(("table" = String, Path), ("id" = String, Path)), request_body = conflicts::Resolution,
    responses((status = 200, body = Object), Refused))]
#[allow(dead_code)]
fn records_resolve() {}

#[utoipa::path(post, path = "/v1/tables/{table}/records:put", tag = "records", security(("token" = [])),
    params(("table" = String, Path), revisions::PutRecords), request_body = RecordBatch,
    responses((status = 200, body = Outcomes), Refused))]
#[allow(dead_code)]
fn records_put_many() {}

#[utoipa::path(get, path = "/v1/tables/{table}/snapshot", tag = "changes", security(("token" = [])),
    params(("table" = String, Path), snapshot::Request),
    responses((status = 200, content_type = "application/x-ndjson", body = String),
              (status = 304, description = "as If-None-Match says"), Refused))]
#[allow(dead_code)]
fn snapshot_show() {}

#[utoipa::path(post, path = "/v1/tables/{table}/revisions", tag = "replication", security(("token" = [])),
    params(("table" = String, Path)), request_body = RevisionBatch,
    responses((status = 200, body = Outcomes), Refused))]
#[allow(dead_code)]
fn revisions_put() {}

#[utoipa::path(post, path = "/v1/tables/{table}/revisions:missing", tag = "replication", security(("token" = [])),
    params(("table" = String, Path)), request_body = BTreeMap<String, Vec<String>>,
    responses((status = 200, body = BTreeMap<String, Missing>), Refused))]
#[allow(dead_code)]
fn revisions_missing() {}

#[utoipa::path(get, path = "/v1/rejected", tag = "rejected", security(("token" = [])), params(rejected::Ask),
    responses((status = 200, body = RejectedPage), Refused))]
#[allow(dead_code)]
fn rejected_list() {}

#[utoipa::path(post, path = "/v1/tables/{table}/rejected:retry", tag = "rejected", security(("token" = [])),
    params(("table" = String, Path)), request_body = rejected::Retry,
    responses((status = 200, body = RetriedAll), Refused))]
#[allow(dead_code)]
fn rejected_retry() {}

#[utoipa::path(post, path = "/v1/tables/{table}/rejected:discard", tag = "rejected", security(("token" = [])),
    params(("table" = String, Path)), request_body = rejected::Discard,
    responses((status = 200, body = Discarded), Refused))]
#[allow(dead_code)]
fn rejected_discard() {}

#[utoipa::path(get, path = "/v1/conflicts", tag = "conflicts", security(("token" = [])), params(conflicts::Ask),
    responses((status = 200, body = Conflicts), Refused))]
#[allow(dead_code)]
fn conflicts_list() {}

#[utoipa::path(get, path = "/v1/changes", tag = "changes", security(("token" = [])), params(changes::Request),
    responses((status = 200, content(
        (Changes = "application/json"), (Event = "text/event-stream"), (String = "application/x-ndjson"))), Refused))]
#[allow(dead_code)]
fn changes_list() {}

#[utoipa::path(post, path = "/v1/changes", tag = "changes", security(("token" = [])),
    request_body = changes::Request,
    responses((status = 200, content(
        (Changes = "application/json"), (Event = "text/event-stream"), (String = "application/x-ndjson"))), Refused))]
#[allow(dead_code)]
fn changes_list_by_post() {}

#[utoipa::path(get, path = "/v1/peers", tag = "operate", security(("token" = [])), params(peers::Ask),
    responses((status = 200, body = Peers), Refused))]
#[allow(dead_code)]
fn peers_list() {}

#[utoipa::path(get, path = "/v1/peers/{peer}", tag = "operate", security(("token" = [])), params(("peer" = String, Path)),
    responses((status = 200, body = Peer), Refused))]
#[allow(dead_code)]
fn peers_show() {}

#[utoipa::path(put, path = "/v1/peers/{peer}", tag = "operate", security(("token" = [])), params(("peer" = String, Path)),
    request_body = peers::Entry, responses((status = 204), Refused))]
#[allow(dead_code)]
fn peers_put() {}

#[utoipa::path(delete, path = "/v1/peers/{peer}", tag = "operate", security(("token" = [])), params(("peer" = String, Path)),
    responses((status = 204), Refused))]
#[allow(dead_code)]
fn peers_forget() {}

#[utoipa::path(get, path = "/v1/status", tag = "operate", security(("token" = [])),
    responses((status = 200, body = Status), Refused))]
#[allow(dead_code)]
fn status_show() {}

#[cfg(test)]
mod tests {
    use super::*;

    /// `UPDATE=1 cargo test -p gateway openapi` writes it.
    #[test]
    fn the_document_is_the_one_that_is_kept() {
        let now = Api::openapi().to_pretty_json().unwrap() + "\n";
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/openapi.json");
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(path, &now).unwrap();
        }
        let kept = std::fs::read_to_string(path).unwrap();
        assert!(
            kept == now,
            "docs/openapi.json is not what the types say: UPDATE=1 cargo test -p gateway openapi"
        );
    }
}
