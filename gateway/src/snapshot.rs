//! In charge of `/v1/tables/{table}/snapshot`: all winners as newline-delimited JSON, with the sequence to follow from.
//!
//! The sequence is read first. A record that changes while pages are read may be sent as it was or as it is; the
//! stream shows it again. So a snapshot that broke off goes on behind the last id that has come.

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use std::sync::Arc;
use tokio::task::JoinSet;
use utoipa::IntoParams;

use crate::auth::Caller;
use crate::database::{int8, text};
use crate::error::Error;
use crate::extract::{Path, Query};
use crate::filter;
use crate::routes::Gateway;

/// Records that are read at a time.
const PAGE: i64 = 1000;

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct Request {
    after: Option<String>,
    #[serde(rename = "where")]
    filter: Option<String>,
}

/// What the pages are of.
#[derive(Clone)]
struct Ask {
    caller: Caller,
    table: String,
    filter: Option<String>,
}

struct Page {
    lines: Vec<u8>,
    last: Option<String>,
    is_full: bool,
}

pub async fn show(
    State(gateway): State<Arc<Gateway>>,
    caller: Caller,
    Path(table): Path<String>,
    Query(request): Query<Request>,
    headers: HeaderMap,
) -> Result<Response, Error> {
    let comparisons = request.filter.as_deref().map(filter::parse).transpose();
    let comparisons = comparisons.map_err(Error::bad_request)?;
    let filter = comparisons.map(|comparisons| serde_json::to_string(&comparisons)).transpose();
    let filter = filter.map_err(|error| Error::bad_request(error.to_string()))?;
    let ask = Ask { caller, table, filter };
    let sql =
        "select h.horizon, godwit.current_incarnation(), godwit.last_change(godwit.find_table($1))
                 from (select godwit.last_sequence() as horizon offset 0) h";
    let rows = gateway.database.rows(&ask.caller, sql, &[text(&ask.table)]).await?;
    let Some(row) = rows.first() else {
        return Err(Error::unavailable("the database did not say its sequence"));
    };
    let (next, incarnation): (i64, String) = (row.try_get(0)?, row.try_get(1)?);
    let changed: Option<i64> = row.try_get(2)?;
    // Below a transaction that is still writing the same last change may come to stand for more.
    let tag =
        changed.filter(|changed| *changed <= next).map(|changed| tag(&ask, &incarnation, changed));
    let known = headers.get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok());
    let is_known =
        |tag: &String| known.is_some_and(|known| known.split(',').any(|known| known.trim() == tag));
    if let Some(tag) = tag.as_ref().filter(|tag| is_known(tag)) {
        return Ok(with_tag(StatusCode::NOT_MODIFIED.into_response(), Some(tag)));
    }
    let first = read(&gateway, &ask, request.after).await?;
    let state = Sending { gateway, ask, next, step: Step::Begin(first), ahead: JoinSet::new() };
    let body = Body::from_stream(stream::unfold(state, Sending::step));
    let kind = HeaderValue::from_static("application/x-ndjson");
    let mut response = ([(header::CONTENT_TYPE, kind)], body).into_response();
    response.headers_mut().insert("godwit-next", HeaderValue::from(next));
    Ok(with_tag(response, tag.as_ref()))
}

/// Weak: the same records, though the next read may write them in other pages. Who asks is part of it, since
/// policies may show each caller others.
fn tag(ask: &Ask, incarnation: &str, changed: i64) -> String {
    let mut hash = Sha256::new();
    let caller = ask.caller.lasting();
    for part in [&ask.table, ask.filter.as_deref().unwrap_or_default(), incarnation, &caller] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    let hash: String = hash.finalize()[..12].iter().map(|byte| format!("{byte:02x}")).collect();
    format!("W/\"{changed}-{hash}\"")
}

fn with_tag(mut response: Response, tag: Option<&String>) -> Response {
    let headers = response.headers_mut();
    if let Some(tag) = tag.and_then(|tag| HeaderValue::from_str(tag).ok()) {
        headers.insert(header::ETAG, tag);
    }
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    headers.insert(header::VARY, HeaderValue::from_static("authorization"));
    response
}

async fn read(gateway: &Gateway, ask: &Ask, after: Option<String>) -> Result<Page, Error> {
    let sql = "select r.id, r.record
                 from godwit._records(godwit.find_table($1), $2, $3::int8::int4, $4::text::jsonb) r";
    let parameters = [text(&ask.table), text(&after), int8(&PAGE), text(&ask.filter)];
    let rows = gateway.database.rows(&ask.caller, sql, &parameters).await?;
    let mut lines = Vec::new();
    for row in &rows {
        let record: &str = row.try_get(1)?;
        lines.extend_from_slice(record.as_bytes());
        lines.push(b'\n');
    }
    let last = rows.last().map(|row| row.try_get(0)).transpose()?;
    Ok(Page { lines, last, is_full: rows.len() as i64 == PAGE })
}

enum Step {
    Begin(Page),
    Send(Page),
    /// The next page if one is being read, else the last line.
    GoOn,
    Over,
}

struct Sending {
    gateway: Arc<Gateway>,
    ask: Ask,
    next: i64,
    step: Step,
    /// The page after the one that is being sent; given up with the connection.
    ahead: JoinSet<Result<Page, Error>>,
}

impl Sending {
    /// An error here cuts the connection, without the last line: the reader sees that there is more.
    async fn step(mut self) -> Option<(Result<Bytes, Error>, Self)> {
        match std::mem::replace(&mut self.step, Step::Over) {
            Step::Over => None,
            Step::Begin(page) => {
                let line = Bytes::from(format!("{{\"next\":{}}}\n", self.next));
                self.step = Step::Send(page);
                Some((Ok(line), self))
            }
            Step::Send(page) => {
                self.read_ahead(&page);
                let lines = Bytes::from(page.lines);
                Some((Ok(lines), self))
            }
            Step::GoOn => {
                if let Some(page) = self.ahead.join_next().await {
                    return match page {
                        Ok(Ok(page)) => {
                            self.read_ahead(&page);
                            Some((Ok(Bytes::from(page.lines)), self))
                        }
                        Ok(Err(error)) => Some((Err(error), self.over())),
                        Err(error) => {
                            tracing::error!(%error, "a page of a snapshot was not read");
                            let error = Error::unavailable("the snapshot broke off");
                            Some((Err(error), self.over()))
                        }
                    };
                }
                let line = format!("{{\"next\":{},\"complete\":true}}\n", self.next);
                Some((Ok(Bytes::from(line)), self.over()))
            }
        }
    }

    fn read_ahead(&mut self, page: &Page) {
        self.step = Step::GoOn;
        if page.is_full {
            let (gateway, ask) = (Arc::clone(&self.gateway), self.ask.clone());
            let after = page.last.clone();
            self.ahead.spawn(async move { read(&gateway, &ask, after).await });
        }
    }

    fn over(mut self) -> Self {
        self.step = Step::Over;
        self
    }
}
