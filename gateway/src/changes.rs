//! In charge of `/v1/changes`: what a reader may ask the change stream for, and one page of it.

use axum::body::{Body, Bytes};
use axum::extract::{Extension, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::time::Instant;
use utoipa::{IntoParams, ToSchema};

use crate::auth::Caller;
use crate::body;
use crate::database::{Database, int8, text, texts};
use crate::error::Error;
use crate::extract::Query;
use crate::feed::TICK;
use crate::filter;
use crate::limits::Asking;
use crate::live::{self, Format};
use crate::records;
use crate::routes::Gateway;

/// Changes in an answer where the request doesn't say.
const PAGE: u32 = 1000;
/// How long a long poll waits where the request doesn't say: below the minute after which proxies
/// commonly give up.
const WAIT_MS: u64 = 30_000;
/// How long a live feed is silent where the request doesn't say.
const HEARTBEAT_MS: u64 = 30_000;
/// The shortest: a feed is no clock.
const HEARTBEAT_MS_MIN: u64 = 100;

/// What a request may say, in its query or in a JSON body.
#[derive(Deserialize, IntoParams, ToSchema)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct Request {
    since: Option<Since>,
    tables: Option<Names>,
    limit: Option<Number>,
    #[serde(default)]
    include: Include,
    #[serde(default)]
    style: Style,
    #[serde(default)]
    feed: Feed,
    timeout_ms: Option<Number>,
    heartbeat_ms: Option<Number>,
    ids: Option<Names>,
    #[serde(rename = "where")]
    filter: Option<String>,
}

/// A number, which a query can only write as a text.
#[derive(Deserialize, ToSchema)]
#[serde(untagged)]
enum Number {
    Number(u64),
    Text(String),
}

#[derive(Deserialize, ToSchema)]
#[serde(untagged)]
pub enum Since {
    Sequence(i64),
    Text(String),
}

/// Names: an array, or a text that is split at its commas or is itself a JSON array.
#[derive(Deserialize, ToSchema)]
#[serde(untagged)]
enum Names {
    List(Vec<String>),
    Text(String),
}

#[derive(Deserialize, ToSchema, Default, Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[serde(rename_all = "lowercase")]
enum Include {
    #[default]
    None,
    Revision,
    Record,
    Records,
}

#[derive(Deserialize, ToSchema, Default, Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[serde(rename_all = "lowercase")]
enum Style {
    #[default]
    Revisions,
    Leaves,
}

#[derive(Deserialize, ToSchema, Default, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Feed {
    #[default]
    Normal,
    Longpoll,
    Sse,
    Ndjson,
}

/// What a page of the stream depends on, beside where it begins.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Ask {
    caller: Caller,
    tables: Option<Vec<String>>,
    limit: i64,
    include: Include,
    style: Style,
    ids: Option<Vec<String>>,
    /// As the extension takes it.
    filter: Option<String>,
    /// Whether its reader wants to know how far the sequence is.
    with_last: bool,
}

impl Number {
    fn read(self, name: &str) -> Result<u64, Error> {
        match self {
            Number::Number(number) => Ok(number),
            Number::Text(text) => text
                .parse()
                .map_err(|_| Error::bad_request(format!("{name} is a whole number, not {text:?}"))),
        }
    }
}

impl Names {
    fn read(self, name: &str) -> Result<Vec<String>, Error> {
        match self {
            Names::List(names) => Ok(names),
            Names::Text(text) if text.starts_with('[') => serde_json::from_str(&text)
                .map_err(|_| Error::bad_request(format!("{name} is a JSON array of strings"))),
            Names::Text(text) => Ok(text.split(',').map(str::to_owned).collect()),
        }
    }
}

pub async fn list(
    State(gateway): State<Arc<Gateway>>,
    caller: Caller,
    Extension(asking): Extension<Asking>,
    headers: HeaderMap,
    Query(request): Query<Request>,
) -> Result<Response, Error> {
    answer(gateway, caller, &asking, &headers, request).await
}

/// The same by POST, for lists that are too long for an address.
pub async fn list_by_post(
    State(gateway): State<Arc<Gateway>>,
    caller: Caller,
    Extension(asking): Extension<Asking>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Error> {
    let request: Request = body::json(&headers, body, gateway.config.body_bytes_max).await?;
    answer(gateway, caller, &asking, &headers, request).await
}

async fn answer(
    gateway: Arc<Gateway>,
    caller: Caller,
    asking: &Asking,
    headers: &HeaderMap,
    request: Request,
) -> Result<Response, Error> {
    let limit = request.limit.map(|limit| limit.read("limit")).transpose()?;
    let limit = limit.map(|limit| u32::try_from(limit).unwrap_or(u32::MAX));
    let comparisons = request.filter.as_deref().map(filter::parse).transpose();
    let comparisons = comparisons.map_err(Error::bad_request)?;
    if comparisons.is_some() && request.tables.is_none() {
        return Err(Error::bad_request("where names columns: say of which tables"));
    }
    let filter = comparisons.map(|comparisons| serde_json::to_string(&comparisons)).transpose();
    let ask = Arc::new(Ask {
        caller,
        tables: request.tables.map(|names| names.read("tables")).transpose()?,
        limit: records::limit(limit, PAGE, gateway.config.batch_max)?,
        include: request.include,
        style: request.style,
        ids: request.ids.map(|ids| ids.read("ids")).transpose()?,
        filter: filter.map_err(|error| Error::bad_request(error.to_string()))?,
        with_last: false,
    });
    let number = |number: Option<Number>, name: &str, usual: u64| {
        number.map_or(Ok(usual), |number| number.read(name))
    };
    let wait = number(request.timeout_ms, "timeout_ms", WAIT_MS)?;
    let heartbeat = number(request.heartbeat_ms, "heartbeat_ms", HEARTBEAT_MS)?;
    let heartbeat = Duration::from_millis(heartbeat.max(HEARTBEAT_MS_MIN));
    let resumed = headers.get("last-event-id").filter(|_| request.feed == Feed::Sse);
    let since = match resumed.and_then(|id| id.to_str().ok()) {
        Some(id) => Some(Since::Text(id.to_owned())),
        None => request.since,
    };
    let since = begin(&gateway, &ask, since).await?;
    match request.feed {
        Feed::Normal => Ok(whole(&read(&gateway.database, &ask, since).await?)),
        Feed::Longpoll => {
            let _place = gateway.limits.listen(asking)?;
            let page = poll(&gateway, &ask, since, wait).await?;
            Ok(whole(&page))
        }
        Feed::Sse => live::serve(gateway, asking, ask, since, heartbeat, Format::Sse).await,
        Feed::Ndjson => live::serve(gateway, asking, ask, since, heartbeat, Format::Ndjson).await,
    }
}

/// The sequence that a reader begins from.
pub async fn begin(gateway: &Gateway, ask: &Ask, since: Option<Since>) -> Result<i64, Error> {
    let fault = || {
        Error::bad_request(
            "since is a sequence (0, or what an answer said as next), `now`, or a time by RFC 3339",
        )
    };
    let said = match since {
        None => return Ok(0),
        Some(Since::Sequence(sequence)) if sequence >= 0 => return Ok(sequence),
        Some(Since::Sequence(_)) => return Err(fault()),
        Some(Since::Text(said)) => said,
    };
    if let Ok(sequence) = said.parse::<i64>() {
        return if sequence >= 0 { Ok(sequence) } else { Err(fault()) };
    }
    let rows = match said.as_str() {
        "now" => gateway.database.rows(&ask.caller, "select godwit.last_sequence()", &[]).await?,
        time if is_time(time) => {
            let sql = "select godwit.sequence_at($1::text::timestamptz, $2)";
            let parameters = [text(&time), texts(&ask.tables)];
            gateway.database.rows(&ask.caller, sql, &parameters).await?
        }
        _ => return Err(fault()),
    };
    match rows.first() {
        Some(row) => Ok(row.try_get(0)?),
        None => Err(Error::unavailable("the database did not say its sequence")),
    }
}

/// Postgres reads more than RFC 3339: the shape is checked here, the values there.
fn is_time(text: &str) -> bool {
    let shape: String = text
        .chars()
        .map(|c| if c.is_ascii_digit() { '9' } else { c.to_ascii_uppercase() })
        .collect();
    let Some(rest) = shape.strip_prefix("9999-99-99T99:99:99") else { return false };
    let zone = match rest.strip_prefix('.') {
        Some(fraction) => {
            let zone = fraction.trim_start_matches('9');
            if zone.len() == fraction.len() {
                return false;
            }
            zone
        }
        None => rest,
    };
    matches!(zone, "Z" | "+99:99" | "-99:99")
}

/// Waits until there is something, or time is up, or the gateway stops.
async fn poll(
    gateway: &Gateway,
    ask: &Arc<Ask>,
    since: i64,
    wait: u64,
) -> Result<Arc<Page>, Error> {
    let wait = wait.min(gateway.config.longpoll_timeout_ms_max);
    let end = Instant::now() + Duration::from_millis(wait);
    let mut ticks = gateway.feed.watch(ask);
    let mut page = Arc::new(read(&gateway.database, ask, since).await?);
    loop {
        if !page.is_empty() {
            return Ok(page);
        }
        // What was seen to have come and is not on the page yet comes without another sign.
        let until = if ticks.are_ahead_of(&page) { end.min(Instant::now() + TICK) } else { end };
        let tick = tokio::time::timeout_at(until, ticks.changed()).await;
        if gateway.stopping.is_stopped() || (tick.is_err() && end <= Instant::now()) {
            return Ok(page);
        }
        page = ticks.page(gateway, page.next).await?;
    }
}

/// Changes as the database has written them, and where to ask from next.
pub struct Page {
    /// One after the other, with a comma between.
    text: Bytes,
    /// Each one's sequence, and where it ends.
    ends: Vec<(i64, usize)>,
    pub next: i64,
    pub is_full: bool,
    /// The sequence's last number, where the reader wanted it and there are changes.
    last: Option<i64>,
    /// As each kind of feed sends it, made when it is first needed, once for all that listen.
    ndjson: OnceLock<Bytes>,
    sse: OnceLock<Bytes>,
}

impl Page {
    pub fn bytes(&self) -> usize {
        let forms = [&self.ndjson, &self.sse].into_iter().filter_map(OnceLock::get);
        self.text.len() + forms.map(Bytes::len).sum::<usize>()
    }

    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The sequence of the last change.
    pub fn last(&self) -> Option<i64> {
        self.ends.last().map(|(sequence, _)| *sequence)
    }

    /// How many sequences lie above one: as many changes at most.
    pub fn pending_above(&self, sequence: i64) -> i64 {
        self.last.map_or(0, |last| (last - sequence).max(0))
    }

    /// Each change with its sequence.
    pub fn changes(&self) -> impl ExactSizeIterator<Item = (i64, &[u8])> {
        let mut begin = 0;
        self.ends.iter().map(move |(sequence, end)| {
            let change = &self.text[begin..*end];
            begin = end + 1;
            (*sequence, change)
        })
    }

    pub fn sent_as(&self, format: Format) -> Bytes {
        let slot = match format {
            Format::Ndjson => &self.ndjson,
            Format::Sse => &self.sse,
        };
        slot.get_or_init(|| live::write(format, self)).clone()
    }
}

fn whole(page: &Page) -> Response {
    let next = format!("],\"next\":{}}}", page.next);
    let out = [b"{\"changes\":[", &page.text[..], next.as_bytes()].concat();
    let kind = HeaderValue::from_static("application/json");
    (StatusCode::OK, [(header::CONTENT_TYPE, kind)], out).into_response()
}

pub async fn read(database: &Database, ask: &Ask, since: i64) -> Result<Page, Error> {
    let include = match ask.include {
        Include::None => "none",
        Include::Revision => "revision",
        Include::Record => "record",
        Include::Records => "records",
    };
    let style = match ask.style {
        Style::Revisions => "revisions",
        Style::Leaves => "leaves",
    };
    let last = if ask.with_last { "(select godwit._last_sequence())" } else { "null::int8" };
    let sql = format!(
        "select c.seq, c.change, {last}
           from godwit._changes_on_wire($1, $2, $3::int8::int4, $4, $5, $6, $7::text::jsonb) c"
    );
    let parameters = [
        int8(&since),
        texts(&ask.tables),
        int8(&ask.limit),
        text(&include),
        text(&style),
        texts(&ask.ids),
        text(&ask.filter),
    ];
    let rows = database.rows(&ask.caller, &sql, &parameters).await?;
    let size = rows.iter().map(|row| row.raw_size_bytes()).sum();
    let (mut text, mut ends) = (Vec::with_capacity(size), Vec::with_capacity(rows.len()));
    let mut next = since;
    for row in &rows {
        let sequence = row.try_get(0)?;
        let change: Option<&str> = row.try_get(1)?;
        // A row without a change says where to go on from, and nothing else may be taken for that: another look
        // at the sequence may have reached further than this page.
        let Some(change) = change else {
            next = sequence;
            continue;
        };
        if !text.is_empty() {
            text.push(b',');
        }
        text.extend_from_slice(change.as_bytes());
        ends.push((sequence, text.len()));
    }
    let is_full = ends.len() as i64 >= ask.limit;
    let last = rows.first().map(|row| row.try_get(2)).transpose()?.flatten();
    let (ndjson, sse) = (OnceLock::new(), OnceLock::new());
    Ok(Page { text: text.into(), ends, next, is_full, last, ndjson, sse })
}

impl Ask {
    /// Records of one table, each once with its leaves, with their bodies if they are wanted.
    pub fn of_leaves(
        caller: Caller,
        table: &str,
        limit: i64,
        with_bodies: bool,
        ids: Option<Vec<String>>,
        with_last: bool,
    ) -> Self {
        Ask {
            caller,
            tables: Some(vec![table.to_owned()]),
            limit,
            include: if with_bodies { Include::Records } else { Include::None },
            style: Style::Leaves,
            ids,
            filter: None,
            with_last,
        }
    }

    pub fn caller(&self) -> &Caller {
        &self.caller
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_rfc_3339() {
        for time in [
            "2026-11-23T10:00:00Z",
            "2026-11-23t10:00:00.123456+02:00",
            "2026-01-01T00:00:00-00:00",
        ] {
            assert!(is_time(time), "{time}");
        }
        for text in [
            "2026-11-23",
            "yesterday",
            "2026-11-23T10:00:00",
            "2026-11-23T10:00:00.Z",
            "2026-11-23 10:00:00Z",
            "",
            "é",
        ] {
            assert!(!is_time(text), "{text}");
        }
    }

    #[test]
    fn names_are_a_list_however_they_are_written() {
        let read = |json: &str| serde_json::from_str::<Names>(json).unwrap().read("ids").unwrap();
        assert_eq!(read(r#"["a,b","c"]"#), ["a,b", "c"]);
        assert_eq!(read(r#""a,b""#), ["a", "b"]);
        assert_eq!(read(r#""[\"a,b\"]""#), ["a,b"]);
    }
}
