//! In charge of answering `_changes` in each of its forms: a list that streams, a list that waits, and feeds that stay
//! open. A page is read when the reader has taken the one before, so a slow reader slows its feed down.

use axum::body::{Body, Bytes};
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use revision::{Attributes, Record, RevisionId};
use serde::Deserialize;
use serde_json::{Value as Json, json};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

use super::columns::Columns;
use super::document;
use super::error::{Answer, Refusal};
use super::mango::Selector;
use crate::changes::{self, Ask, Page};
use crate::deep;
use crate::error::Error;
use crate::feed::{TICK, Ticks};
use crate::limits::{Asking, Place};
use crate::live::{PAUSE, PAUSE_MAX};
use crate::remote::Client;
use crate::routes::Gateway;

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Normal,
    Longpoll,
    Continuous,
    Eventsource,
}

pub struct Asked {
    pub mode: Mode,
    pub limit: Option<u64>,
    pub all_leaves: bool,
    pub include_docs: bool,
    pub conflicts: bool,
    pub descending: bool,
    pub selector: Option<Selector>,
    pub heartbeat: Option<Duration>,
    pub wait: Duration,
    pub columns: Arc<Columns>,
}

/// A change as `changes` writes it.
#[derive(Deserialize)]
struct Change {
    sequence: i64,
    id: String,
    #[serde(default)]
    left: bool,
    #[serde(default)]
    leaves: Vec<Leaf>,
}

#[derive(Deserialize)]
struct Leaf {
    revision: RevisionId,
    #[serde(default)]
    deleted: bool,
    #[serde(default, deserialize_with = "revision::attributes")]
    attributes: Attributes,
}

impl Asked {
    /// A change as its reader sees it; none that it is not shown.
    fn row(&self, change: &[u8]) -> Result<Option<(i64, Json)>, Error> {
        let change: Change = deep::parse(change).map_err(|error| {
            tracing::error!(%error, "a change can't be read");
            Error::unavailable("the database answered with what can't be read")
        })?;
        // What has left the reader's view is not spoken of, and ids that CouchDB keeps for itself are none here.
        let Some(winner) = change.leaves.first().filter(|_| !change.left) else { return Ok(None) };
        if change.id.starts_with('_') {
            return Ok(None);
        }
        let mut row = json!({"seq": change.sequence, "id": change.id});
        if self.include_docs || self.selector.is_some() {
            let record = Record {
                id: change.id.clone(),
                table: None,
                revision: Some(winner.revision.clone()),
                deleted: winner.deleted,
                attributes: winner.attributes.clone(),
                revisions: None,
                conflicts: None,
            };
            let mut doc = Json::from(document::write(&record, &self.columns));
            if self.selector.as_ref().is_some_and(|selector| !selector.matches(&doc)) {
                return Ok(None);
            }
            if self.include_docs {
                let others = change.leaves[1..].iter().filter(|leaf| !leaf.deleted);
                let others: Vec<String> = others.map(|leaf| leaf.revision.to_string()).collect();
                if self.conflicts && !others.is_empty() {
                    doc["_conflicts"] = others.into();
                }
                row["doc"] = doc;
            }
        }
        let shown = if self.all_leaves { change.leaves.as_slice() } else { &change.leaves[..1] };
        row["changes"] =
            shown.iter().map(|leaf| json!({"rev": leaf.revision.to_string()})).collect();
        if winner.deleted {
            row["deleted"] = true.into();
        }
        Ok(Some((change.sequence, row)))
    }

    fn is_list(&self) -> bool {
        matches!(self.mode, Mode::Normal | Mode::Longpoll)
    }
}

struct Feed {
    gateway: Arc<Gateway>,
    ask: Arc<Ask>,
    asked: Asked,
    since: i64,
    /// None of an answer that waits for nothing: it says what there is when it is asked, and not what others were told.
    ticks: Option<Ticks>,
    /// Read before the answer begins, so that what is wrong with the request has a status.
    first: Option<Page>,
    has_begun: bool,
    /// Rows that were sent.
    sent: u64,
    is_behind: bool,
    /// Sequences that were not looked at, about, where a limit ended the answer.
    pending: i64,
    /// When waiting ends.
    deadline: Instant,
    expires: Option<Instant>,
    is_over: bool,
    _place: Option<Place<Client>>,
}

pub async fn serve(
    gateway: Arc<Gateway>,
    asking: &Asking,
    ask: Arc<Ask>,
    since: i64,
    asked: Asked,
) -> Answer {
    if asked.descending {
        return backwards(&gateway, &ask, since, &asked).await;
    }
    let place = match asked.mode {
        Mode::Normal => None,
        _ => Some(gateway.limits.listen(asking)?),
    };
    let ticks = (asked.mode != Mode::Normal).then(|| gateway.feed.watch(&ask));
    let first = changes::read(&gateway.database, &ask, since).await?;
    let mode = asked.mode;
    let feed = Feed {
        deadline: Instant::now() + asked.wait,
        expires: ask.caller().expires().map(|left| Instant::now() + left),
        gateway,
        ask,
        asked,
        since,
        ticks,
        first: Some(first),
        has_begun: false,
        sent: 0,
        is_behind: false,
        pending: 0,
        is_over: false,
        _place: place,
    };
    let body = Body::from_stream(stream::unfold(feed, Feed::step));
    let kind = HeaderValue::from_static(match mode {
        Mode::Eventsource => "text/event-stream",
        _ => "application/json",
    });
    let mut response = ([(header::CONTENT_TYPE, kind)], body).into_response();
    if mode != Mode::Normal {
        // nginx would keep the feed back until its buffer is full; and it must not wait in a compressor.
        let no = HeaderValue::from_static("no");
        response.headers_mut().insert(HeaderName::from_static("x-accel-buffering"), no);
    }
    let never = HeaderValue::from_static("no-store");
    response.headers_mut().insert(header::CACHE_CONTROL, never);
    Ok(response)
}

/// The last changes first. The stream is read from its beginning for that, so a limit saves memory and not time.
async fn backwards(gateway: &Gateway, ask: &Ask, since: i64, asked: &Asked) -> Answer {
    // They are held until the last is known.
    let most = gateway.config.batch_max as usize;
    let most =
        asked.limit.map_or(most, |limit| usize::try_from(limit).map_or(most, |l| l.min(most)));
    let mut rows: VecDeque<(i64, Json)> = VecDeque::new();
    let mut next = since;
    loop {
        let page = changes::read(&gateway.database, ask, next).await?;
        next = page.next;
        for (_, change) in page.changes() {
            let Some(row) = asked.row(change)? else { continue };
            if rows.len() == most {
                rows.pop_front();
            }
            rows.push_back(row);
        }
        if !page.is_full {
            break;
        }
    }
    let last = rows.front().map_or(since, |(sequence, _)| *sequence);
    let rows: Vec<Json> = rows.into_iter().rev().map(|(_, row)| row).collect();
    let answer = json!({"results": rows, "last_seq": last, "pending": 0});
    let response: Response = crate::routes::json(axum::http::StatusCode::OK, &answer);
    Ok::<Response, Refusal>(response)
}

impl Feed {
    /// What is sent next, when there is something. An error cuts the connection: the reader sees that there is more.
    async fn step(mut self) -> Option<(Result<Bytes, Error>, Self)> {
        if self.is_over {
            return None;
        }
        match self.next_bytes().await {
            Ok(bytes) => Some((Ok(bytes), self)),
            Err(error) => {
                self.is_over = true;
                Some((Err(error), self))
            }
        }
    }

    async fn next_bytes(&mut self) -> Result<Bytes, Error> {
        let mut out = Vec::new();
        if !self.has_begun {
            self.has_begun = true;
            if self.asked.is_list() {
                out.extend_from_slice(b"{\"results\":[\n");
            }
        }
        if let Some(first) = self.first.take() {
            self.take(&first, &mut out)?;
            // Said at once, so that whoever is between sees the answer begin.
            if !out.is_empty() || self.is_over {
                return Ok(out.into());
            }
        }
        let beat = self.asked.heartbeat.map(|every| Instant::now() + every);
        let mut pause = PAUSE;
        loop {
            if !self.is_behind {
                let is_done = match self.asked.mode {
                    Mode::Normal => true,
                    Mode::Longpoll => self.sent > 0,
                    _ => false,
                };
                if is_done || !self.wait(beat).await {
                    self.end(&mut out);
                    return Ok(out.into());
                }
                if beat.is_some_and(|beat| beat <= Instant::now()) {
                    return Ok(self.heartbeat());
                }
            }
            let page = match &self.ticks {
                Some(ticks) => ticks.page(&self.gateway, self.since).await,
                None => {
                    changes::read(&self.gateway.database, &self.ask, self.since).await.map(Arc::new)
                }
            };
            let page = match page {
                Ok(page) => page,
                // The database is away: a feed that stays open waits for it.
                Err(error) if error.status.is_server_error() && !self.asked.is_list() => {
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(PAUSE_MAX);
                    self.is_behind = true;
                    if self.gateway.stopping.is_stopped() {
                        self.end(&mut out);
                        return Ok(out.into());
                    }
                    if beat.is_some_and(|beat| beat <= Instant::now()) {
                        return Ok(self.heartbeat());
                    }
                    continue;
                }
                Err(error) => return Err(error),
            };
            self.take(&page, &mut out)?;
            if !out.is_empty() || self.is_over {
                return Ok(out.into());
            }
            if self.is_behind && !page.is_full {
                tokio::time::sleep(TICK).await;
            }
            if beat.is_some_and(|beat| beat <= Instant::now()) {
                return Ok(self.heartbeat());
            }
        }
    }

    /// Waits for a sign of changes or for the time to show that the feed is alive; false when waiting is over.
    async fn wait(&mut self, beat: Option<Instant>) -> bool {
        let Some(ticks) = &mut self.ticks else { return false };
        // Who asks for a heartbeat is kept for as long as the token lasts.
        let deadline = if self.asked.heartbeat.is_some() { None } else { Some(self.deadline) };
        let ends = [deadline, self.expires].into_iter().flatten().min();
        // Of a feed that is always woken too.
        if ends.is_some_and(|ends| ends <= Instant::now()) {
            return false;
        }
        let until = [ends, beat].into_iter().flatten().min();
        let has_moved = match until {
            Some(until) => tokio::time::timeout_at(until, ticks.changed()).await.is_ok(),
            None => {
                ticks.changed().await;
                true
            }
        };
        !self.gateway.stopping.is_stopped()
            && (has_moved || ends.is_none_or(|ends| Instant::now() < ends))
    }

    fn heartbeat(&self) -> Bytes {
        match self.asked.mode {
            Mode::Eventsource => Bytes::from_static(b"event: heartbeat\ndata: \n\n"),
            _ => Bytes::from_static(b"\n"),
        }
    }

    /// Writes a page's rows, up to the limit.
    fn take(&mut self, page: &Page, out: &mut Vec<u8>) -> Result<(), Error> {
        for (sequence, change) in page.changes() {
            let Some((sequence, row)) = self.asked.row(change)? else {
                self.since = sequence;
                continue;
            };
            self.write(sequence, &row, out);
            self.since = sequence;
            if self.asked.limit.is_some_and(|limit| self.sent >= limit) {
                let is_last = page.last() == Some(sequence);
                if is_last && !page.is_full {
                    self.since = page.next;
                } else if self.asked.is_list() {
                    self.pending = page.pending_above(sequence);
                }
                self.end(out);
                return Ok(());
            }
        }
        self.since = page.next;
        let is_ahead = |ticks: &Ticks| ticks.are_ahead_of(page);
        self.is_behind = page.is_full || self.ticks.as_ref().is_some_and(is_ahead);
        if self.asked.mode == Mode::Normal && !page.is_full {
            self.end(out);
        }
        Ok(())
    }

    fn write(&mut self, sequence: i64, row: &Json, out: &mut Vec<u8>) {
        match self.asked.mode {
            Mode::Normal | Mode::Longpoll => {
                if self.sent > 0 {
                    out.extend_from_slice(b",\n");
                }
                out.extend_from_slice(row.to_string().as_bytes());
            }
            Mode::Continuous => out.extend_from_slice(format!("{row}\n").as_bytes()),
            Mode::Eventsource => {
                out.extend_from_slice(format!("data: {row}\nid: {sequence}\n\n").as_bytes());
            }
        }
        self.sent += 1;
        // Waiting is for the next change.
        self.deadline = Instant::now() + self.asked.wait;
    }

    fn end(&mut self, out: &mut Vec<u8>) {
        self.is_over = true;
        let (since, pending) = (self.since, self.pending);
        match self.asked.mode {
            Mode::Normal | Mode::Longpoll => {
                let end = format!("\n],\n\"last_seq\":{since},\"pending\":{pending}}}\n");
                out.extend_from_slice(end.as_bytes());
            }
            Mode::Continuous => {
                let end = format!("{{\"last_seq\":{since},\"pending\":{pending}}}\n");
                out.extend_from_slice(end.as_bytes());
            }
            Mode::Eventsource => {}
        }
    }
}
