//! In charge of what `_changes` may be asked for.

use axum::body::Body;
use axum::extract::{Extension, State};
use axum::http::{HeaderMap, StatusCode};
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::error::{Answer, Refusal};
use super::feed::{self, Asked, Mode};
use super::mango::Selector;
use super::parameters::{self, Parameters};
use crate::auth::Caller;
use crate::changes::{self, Ask, Since};
use crate::extract::Path;
use crate::limits::Asking;
use crate::routes::Gateway;

/// Changes that are read at a time.
const PAGE: i64 = 1000;
/// CouchDB's own: how long a feed waits, and how often it shows that it is alive when it is asked to.
const WAIT_MS: u64 = 60_000;
const HEARTBEAT_MS: u64 = 60_000;
/// A feed is no clock.
const HEARTBEAT_MS_MIN: u64 = 100;

pub async fn get(
    State(gateway): State<Arc<Gateway>>,
    caller: Caller,
    Extension(asking): Extension<Asking>,
    Path(db): Path<String>,
    parameters: Parameters,
    headers: HeaderMap,
) -> Answer {
    answer(gateway, caller, &asking, &db, &parameters, &headers).await
}

pub async fn post(
    State(gateway): State<Arc<Gateway>>,
    caller: Caller,
    Extension(asking): Extension<Asking>,
    Path(db): Path<String>,
    parameters: Parameters,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    let sent: BTreeMap<String, Box<RawValue>> =
        parameters::body(&headers, body, gateway.config.body_bytes_max).await?;
    let parameters = parameters.with_body(sent);
    answer(gateway, caller, &asking, &db, &parameters, &headers).await
}

async fn answer(
    gateway: Arc<Gateway>,
    caller: Caller,
    asking: &Asking,
    db: &str,
    parameters: &Parameters,
    headers: &HeaderMap,
) -> Answer {
    let mode = match parameters.string("feed").as_deref() {
        None | Some("normal") => Mode::Normal,
        Some("longpoll") => Mode::Longpoll,
        Some("continuous") => Mode::Continuous,
        Some("eventsource") => Mode::Eventsource,
        Some(other) => {
            return Err(Refusal::bad_request(format!("there is no feed {other:?}")));
        }
    };
    let all_leaves = match parameters.string("style").as_deref() {
        None | Some("main_only") => false,
        Some("all_docs") => true,
        Some(other) => {
            return Err(Refusal::bad_request(format!("there is no style {other:?}")));
        }
    };
    let (mut ids, mut selector) = (None, None);
    // PouchDB sends the ids or the selector without naming the filter.
    let usual = ["doc_ids", "selector"].into_iter().find(|name| parameters.text(name).is_some());
    let filter = parameters.string("filter").or_else(|| usual.map(|name| format!("_{name}")));
    match filter.as_deref() {
        None | Some("") => {}
        Some("_doc_ids") => {
            let said: Option<Vec<String>> = parameters.json("doc_ids")?;
            ids = Some(said.ok_or_else(|| Refusal::bad_request("`doc_ids` filter needs doc_ids"))?);
        }
        Some("_selector") => {
            let said: Option<Box<RawValue>> = parameters.json("selector")?;
            let said = said.ok_or_else(|| Refusal::bad_request("selector must be specified"))?;
            selector = Some(Selector::parse(&said)?);
        }
        Some("_design") => ids = Some(Vec::new()),
        Some(_) => return Err(no_filter()),
    }
    let include_docs = parameters.flag("include_docs")?;
    let heartbeat = match parameters.text("heartbeat") {
        // A browser's EventSource would come back at once, and again.
        None if mode == Mode::Eventsource => Some(HEARTBEAT_MS),
        None | Some("false") => None,
        Some("true") => Some(HEARTBEAT_MS),
        Some(_) => parameters.number("heartbeat")?,
    };
    let heartbeat = heartbeat.map(|ms| Duration::from_millis(ms.max(HEARTBEAT_MS_MIN)));
    let wait = parameters.number("timeout")?.unwrap_or(WAIT_MS);
    let wait = Duration::from_millis(wait.min(gateway.config.longpoll_timeout_ms_max));
    let with_bodies = include_docs || selector.is_some();
    let limit = parameters.number("limit")?.map(|limit| limit.max(1));
    // With a selector most of what is read may not be sent.
    let page = limit.filter(|_| selector.is_none()).and_then(|limit| i64::try_from(limit).ok());
    let page = page.map_or(PAGE, |limit| limit.min(PAGE));
    let ask = Arc::new(Ask::of_leaves(caller, db, page, with_bodies, ids, limit.is_some()));
    let resumed = headers.get("last-event-id").filter(|_| mode == Mode::Eventsource);
    let resumed = resumed.and_then(|id| id.to_str().ok()).map(str::to_owned);
    let since = match resumed.or_else(|| parameters.string("since")) {
        None => 0,
        Some(said) => changes::begin(&gateway, &ask, Some(Since::Text(said))).await?,
    };
    let columns = gateway.columns.of(&gateway, ask.caller(), db).await?;
    let asked = Asked {
        mode,
        // CouchDB takes none for one.
        limit,
        all_leaves,
        include_docs,
        conflicts: parameters.flag("conflicts")?,
        descending: parameters.flag("descending")?,
        selector,
        heartbeat,
        wait,
        columns,
    };
    feed::serve(gateway, asking, ask, since, asked).await
}

fn no_filter() -> Refusal {
    Refusal::new(
        StatusCode::NOT_IMPLEMENTED,
        "not_implemented",
        "There are no filter functions here: use filter=_selector, filter=_doc_ids or row-level security.",
    )
}
