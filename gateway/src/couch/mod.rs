//! CouchDB's HTTP API over the same tables, so that PouchDB, RxDB and CouchDB replicate with them as they are
//! (docs/couchdb.md). Table of contents, and all of its routes on one screen.

mod all_docs;
mod attaching;
mod attachment;
mod attachments;
mod bulk;
mod changes;
mod columns;
mod databases;
mod document;
mod documents;
mod error;
mod feed;
mod find;
mod indexes;
mod leaves;
mod local;
mod mango;
mod multipart;
mod parameters;
mod pieces;
mod server;

use axum::Router;
use axum::routing::{any, delete, get, post};
use std::sync::Arc;

use crate::routes::Gateway;

pub use columns::{Cache, of_every_kind};
pub use document::round;
pub use mango::Selector;
pub use server::welcome;

/// At `/couch`, and at `/` with `--couch-root`.
pub fn routes() -> Router<Arc<Gateway>> {
    Router::new()
        .route("/", get(server::welcome))
        .route("/_all_dbs", get(server::all_dbs))
        .route("/_up", get(server::up))
        .route("/_session", get(server::session).post(server::log_in).delete(server::log_out))
        .route("/_uuids", get(server::uuids))
        .route(
            "/{db}",
            get(databases::show)
                .put(databases::create)
                .delete(databases::drop)
                .post(documents::post),
        )
        .route(
            "/{db}/",
            get(databases::show)
                .put(databases::create)
                .delete(databases::drop)
                .post(documents::post),
        )
        .route("/{db}/_ensure_full_commit", post(databases::ensure_full_commit))
        .route("/{db}/_security", get(databases::security).put(databases::set_security))
        .route("/{db}/_compact", post(databases::compact))
        .route("/{db}/_revs_limit", get(databases::revs_limit).put(databases::set_revs_limit))
        .route("/{db}/_changes", get(changes::get).post(changes::post))
        .route("/{db}/_revs_diff", post(bulk::revs_diff))
        .route("/{db}/_bulk_docs", post(bulk::bulk_docs))
        .route("/{db}/_bulk_get", post(bulk::bulk_get))
        .route("/{db}/_all_docs", get(all_docs::get).post(all_docs::post))
        .route("/{db}/_find", post(find::find))
        .route("/{db}/_explain", post(find::explain))
        .route("/{db}/_index", get(indexes::list).post(indexes::create))
        // The slash in a design document's name is encoded by some clients and not by others.
        .route("/{db}/_index/{ddoc}/json/{name}", delete(indexes::delete))
        .route("/{db}/_index/_design/{ddoc}/json/{name}", delete(indexes::delete))
        .route("/{db}/_local_docs", any(server::not_here))
        .route("/{db}/_local/{id}", get(local::show).put(local::put).delete(local::delete))
        .route("/{db}/_design/{name}", any(server::no_functions))
        .route("/{db}/_design/{name}/{*rest}", any(server::no_functions))
        .route("/{db}/_temp_view", any(server::no_functions))
        .route("/{db}/_design_docs", get(server::no_rows).post(server::no_rows))
        .route("/{db}/{id}", any(documents::route))
        .route("/{db}/{id}/{*name}", any(attachments::route))
        .method_not_allowed_fallback(server::no_method)
}
