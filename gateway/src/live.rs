//! In charge of feeds that stay open: server-sent events and newline-delimited JSON. A page is read when the
//! reader has taken the one before, so a slow reader slows its feed down and takes no memory.

use axum::body::{Body, Bytes};
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use serde_json::json;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, Sleep};

use crate::changes::{self, Ask, Page};
use crate::error::Error;
use crate::feed::{TICK, Ticks};
use crate::limits::{Asking, Place};
use crate::remote::Client;
use crate::routes::Gateway;

/// How long a feed waits for a database that is away, at first and at most; between them it doubles.
pub const PAUSE: Duration = Duration::from_millis(500);
pub const PAUSE_MAX: Duration = Duration::from_secs(10);

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Sse,
    Ndjson,
}

/// One page with its end, as a feed sends it.
pub fn write(format: Format, page: &Page) -> Bytes {
    let size: usize = page.changes().map(|(_, change)| change.len() + 64).sum();
    let mut out = Vec::with_capacity(size + 64);
    for (sequence, change) in page.changes() {
        if format == Format::Sse {
            out.extend_from_slice(format!("event: change\nid: {sequence}\ndata: ").as_bytes());
        }
        out.extend_from_slice(change);
        out.extend_from_slice(if format == Format::Sse { b"\n\n" } else { b"\n" });
    }
    out.extend_from_slice(&place(format, page.next));
    out.into()
}

/// Where to go on from, which also shows that the feed is alive.
fn place(format: Format, next: i64) -> Bytes {
    match format {
        Format::Sse => format!("event: next\nid: {next}\ndata: {{\"next\":{next}}}\n\n").into(),
        Format::Ndjson => format!("{{\"next\":{next}}}\n").into(),
    }
}

/// Why a feed ends that its reader would have go on.
fn fault(format: Format, error: &Error) -> Bytes {
    let told = json!({"error": error.name, "reason": error.reason});
    match format {
        Format::Sse => format!("event: error\ndata: {told}\n\n").into(),
        Format::Ndjson => format!("{told}\n").into(),
    }
}

/// Rings at a time that mostly is put off before it comes. So it is set anew when it rings too early, and not each time
/// that it is put off: runtimes keep their clocks under locks.
struct Alarm(Pin<Box<Sleep>>);

impl Alarm {
    async fn rings(&mut self, until: Instant) {
        if until < self.0.deadline() {
            self.0.as_mut().reset(until);
        }
        loop {
            self.0.as_mut().await;
            if until <= Instant::now() {
                return;
            }
            self.0.as_mut().reset(until);
        }
    }
}

struct Listener {
    gateway: Arc<Gateway>,
    format: Format,
    heartbeat: Duration,
    since: i64,
    ticks: Ticks,
    /// The first page is read before the answer begins, so that what is wrong with the request has a status.
    first: Option<Box<Page>>,
    is_behind: bool,
    ends: Option<Instant>,
    alarm: Alarm,
    is_over: bool,
    _place: Place<Client>,
}

pub async fn serve(
    gateway: Arc<Gateway>,
    asking: &Asking,
    ask: Arc<Ask>,
    since: i64,
    heartbeat: Duration,
    format: Format,
) -> Result<Response, Error> {
    let place = gateway.limits.listen(asking)?;
    let ticks = gateway.feed.watch(&ask);
    let first = Some(Box::new(changes::read(&gateway.database, &ask, since).await?));
    let ends = ask.caller().expires().map(|left| Instant::now() + left);
    let listener = Listener {
        gateway,
        format,
        heartbeat,
        since,
        ticks,
        first,
        is_behind: false,
        ends,
        alarm: Alarm(Box::pin(tokio::time::sleep(heartbeat))),
        is_over: false,
        _place: place,
    };
    // On the heap: it would be copied at each of its steps.
    let body = Body::from_stream(stream::unfold(Box::new(listener), |mut listener| async move {
        let sent = listener.step().await?;
        Some((Result::<_, Infallible>::Ok(sent), listener))
    }));
    let kind = match format {
        Format::Sse => "text/event-stream",
        Format::Ndjson => "application/x-ndjson",
    };
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(kind)),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        // nginx would keep the feed back until its buffer is full.
        (HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no")),
    ];
    Ok((headers, body).into_response())
}

impl Listener {
    /// What is sent next, when there is something.
    async fn step(&mut self) -> Option<Bytes> {
        if self.is_over {
            return None;
        }
        if let Some(page) = self.first.take() {
            return Some(self.advance(&page));
        }
        let heartbeat = Instant::now() + self.heartbeat;
        let mut pause = PAUSE;
        loop {
            if !self.is_behind {
                let until = self.ends.map_or(heartbeat, |ends| ends.min(heartbeat));
                let is_quiet = tokio::select! {
                    biased;
                    () = self.ticks.changed() => false,
                    () = self.alarm.rings(until) => true,
                };
                if is_quiet && heartbeat <= Instant::now() {
                    return Some(place(self.format, self.since));
                }
            }
            if self.gateway.stopping.is_stopped() || self.has_expired() {
                return Some(self.over());
            }
            match self.ticks.page(&self.gateway, self.since).await {
                Ok(page) if page.is_empty() => {
                    self.since = page.next;
                    self.is_behind = self.ticks.are_ahead_of(&page);
                    if self.is_behind {
                        tokio::time::sleep(TICK).await;
                    }
                }
                Ok(page) => return Some(self.advance(&page)),
                // The database is away: what has come up is read when it is back.
                Err(error) if error.status.is_server_error() => {
                    tokio::select! {
                        () = tokio::time::sleep(pause) => {}
                        () = self.gateway.stopping.stopped() => return Some(self.over()),
                    }
                    pause = (pause * 2).min(PAUSE_MAX);
                    self.is_behind = true;
                    if Instant::now() >= heartbeat {
                        return Some(place(self.format, self.since));
                    }
                }
                Err(error) => {
                    self.is_over = true;
                    return Some(fault(self.format, &error));
                }
            }
        }
    }

    fn has_expired(&self) -> bool {
        self.ends.is_some_and(|ends| ends <= Instant::now())
    }

    fn advance(&mut self, page: &Page) -> Bytes {
        self.since = page.next;
        self.is_behind = page.is_full || self.ticks.are_ahead_of(page);
        page.sent_as(self.format)
    }

    /// The gateway stops, or the token has expired: the reader goes on elsewhere, or with another.
    fn over(&mut self) -> Bytes {
        self.is_over = true;
        place(self.format, self.since)
    }
}
