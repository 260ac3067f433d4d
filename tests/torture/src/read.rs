//! In charge of the readers: each asks again from where it was told to, through kills and promotions,
//! and keeps what it was shown.

use godwit_e2e::Gateway;
use godwit_e2e::gateway;
use reqwest::Method;
use revision::{Record, RevisionId};
use serde::Deserialize;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio_postgres::Client;
use tokio_postgres::types::Type;

use crate::check::{Seen, hash_of};
use crate::mark::Mark;
use crate::random::Random;
use crate::world::{Failure, TABLES, World, held, is_expected, place_of, replica_session, session};

/// An answer that takes longer is a fault: a crash recovery takes a few seconds here.
const ANSWER_SECONDS_MAX: u64 = 60;

#[derive(Clone, Copy)]
pub enum Source {
    /// `godwit.changes` in a transaction of this isolation, so many calls in each.
    Sql { isolation: &'static str, calls: usize },
    /// `GET /v1/changes` with this feed.
    Http { feed: &'static str },
    /// The same, held open for up to so many pages.
    Live { feed: Feed, pages: u64 },
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Feed {
    Ndjson,
    Sse,
}

#[derive(Clone, Copy)]
pub struct Style {
    pub name: &'static str,
    pub source: Source,
    /// A page's size: anything between.
    pub page: (u64, u64),
    /// All, where there are none.
    pub tables: &'static [&'static str],
    pub records: bool,
    /// Reads a replica while there is one.
    pub replica: bool,
    /// Comes when so much of the run is over, and reads from the beginning.
    pub late_percent: u32,
}

const SQL: Source = Source::Sql { isolation: "read committed", calls: 1 };
const REPEATABLE: Source = Source::Sql { isolation: "repeatable read", calls: 1 };
const NORMAL: Source = Source::Http { feed: "normal" };
const LONGPOLL: Source = Source::Http { feed: "longpoll&timeout_ms=700" };

const fn style(name: &'static str, source: Source, page: (u64, u64)) -> Style {
    Style { name, source, page, tables: &[], records: false, replica: false, late_percent: 0 }
}

pub const STYLES: [Style; 19] = [
    style("read committed, pages of 1000", SQL, (1000, 1000)),
    style("read committed, small pages", SQL, (1, 60)),
    style("repeatable read, pages of 100", REPEATABLE, (100, 100)),
    Style { records: true, ..style("repeatable read, with records", REPEATABLE, (1, 2000)) },
    style(
        "repeatable read, three calls in a transaction",
        Source::Sql { isolation: "repeatable read", calls: 3 },
        (20, 200),
    ),
    style(
        "serializable, two calls in a transaction",
        Source::Sql { isolation: "serializable", calls: 2 },
        (20, 200),
    ),
    Style { tables: &["hot", "marks"], ..style("two tables", SQL, (1, 300)) },
    Style { tables: &["cases"], records: true, ..style("one table, with records", SQL, (50, 50)) },
    style("gateway, normal", NORMAL, (500, 500)),
    Style { records: true, ..style("gateway, longpoll with records", LONGPOLL, (1, 500)) },
    Style {
        tables: &["bulk", "cases"],
        ..style("gateway, longpoll of two", LONGPOLL, (1000, 1000))
    },
    style("gateway, ndjson", Source::Live { feed: Feed::Ndjson, pages: 40 }, (1, 1000)),
    Style {
        tables: &["hot", "cases"],
        records: true,
        ..style(
            "gateway, ndjson of two with records",
            Source::Live { feed: Feed::Ndjson, pages: 400 },
            (200, 200),
        )
    },
    style("gateway, server-sent events", Source::Live { feed: Feed::Sse, pages: 40 }, (1, 300)),
    // Of a table with few changes most pages are empty, and their readers go on from what an empty one says.
    Style { tables: &["marks"], ..style("gateway, normal of one", NORMAL, (1000, 1000)) },
    Style {
        tables: &["marks"],
        ..style(
            "gateway, ndjson of one",
            Source::Live { feed: Feed::Ndjson, pages: 400 },
            (1000, 1000),
        )
    },
    Style { replica: true, ..style("on a replica", SQL, (300, 300)) },
    Style { replica: true, ..style("on a replica, repeatable read", REPEATABLE, (1, 200)) },
    Style { late_percent: 50, ..style("late, from the beginning", SQL, (2000, 2000)) },
];

impl Style {
    /// A bit for each of its tables.
    pub fn mask(&self) -> u8 {
        let wanted = |name: &str| self.tables.is_empty() || self.tables.contains(&name);
        (0..TABLES.len()).filter(|place| wanted(TABLES[*place])).map(|place| 1 << place).sum()
    }
}

#[derive(Default)]
pub struct Log {
    pub seen: Vec<Seen>,
    pub marks: Vec<Mark>,
    /// Where a reader was that did not come to the end in time.
    pub stopped_at: Option<i64>,
}

pub type SharedLog = Arc<Mutex<Log>>;

struct Change {
    sequence: i64,
    table: String,
    id: String,
    revision: String,
    deleted: bool,
    record: Option<Record>,
}

/// A line of a feed.
#[derive(Deserialize)]
#[serde(untagged)]
enum Line {
    Change(Box<gateway::Change>),
    Next { next: i64 },
}

impl Change {
    fn of(change: gateway::Change) -> Change {
        Change {
            sequence: change.sequence,
            table: change.table,
            id: change.id,
            revision: change.revision.map_or_else(String::new, |revision| revision.to_string()),
            deleted: change.deleted,
            record: change.record,
        }
    }
}

struct Page {
    changes: Vec<Change>,
    next: i64,
}

struct Reader {
    world: Arc<World>,
    style: Style,
    log: SharedLog,
    random: Random,
    since: i64,
}

/// Readers have as long as the run to come to the end, and at least this.
const DRAIN_MIN: Duration = Duration::from_secs(300);

/// Follows the stream to its end, which is an empty answer to a question asked after the writers'.
pub async fn follow(
    world: Arc<World>,
    style: Style,
    random: Random,
    log: SharedLog,
    run: Duration,
) {
    tokio::time::sleep(run * style.late_percent / 100).await;
    let mut reader = Reader { world, style, log, random, since: 0 };
    let mut client = None;
    let gateway = Gateway::new(reader.world.gateway_url.clone());
    let mut drained_since: Option<Instant> = None;
    loop {
        let last = !reader.world.reading.load(Ordering::SeqCst);
        let answer = match reader.style.source {
            Source::Sql { isolation, calls } => reader.sql(&mut client, isolation, calls).await,
            Source::Http { feed } => reader.http(&gateway, feed).await,
            Source::Live { feed, pages } => reader.live(&gateway, feed, pages).await,
        };
        match answer {
            Some(0) if last => return,
            Some(0) if matches!(reader.style.source, Source::Sql { .. }) => {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            Some(_) => {}
            None => tokio::time::sleep(Duration::from_millis(50)).await,
        }
        if last && drained_since.get_or_insert_with(Instant::now).elapsed() > run.max(DRAIN_MIN) {
            let name = reader.style.name;
            held(&reader.log).stopped_at = Some(reader.since);
            return reader.world.fault(format!("{name}: the stream does not come to an end"));
        }
    }
}

impl Reader {
    /// One transaction. How many changes its last call brought; none where the server went away.
    async fn sql(
        &mut self,
        client: &mut Option<Client>,
        isolation: &str,
        calls: usize,
    ) -> Option<usize> {
        let session = match client.take() {
            Some(session) => session,
            None if self.style.replica => replica_session(&self.world).await.ok()?,
            None => session(&self.world.url).await.ok()?,
        };
        let limit = Duration::from_secs(ANSWER_SECONDS_MAX);
        let answer =
            tokio::time::timeout(limit, self.transaction(&session, isolation, calls)).await;
        match answer {
            Ok(Ok(count)) => {
                // Now and then it looks whether there is a replica.
                if !self.style.replica || !self.random.chance(1) {
                    *client = Some(session);
                }
                return Some(count);
            }
            Ok(Err(error)) => match error.downcast_ref::<tokio_postgres::Error>() {
                Some(error) if is_expected(error) => {}
                _ => self.fault(&error.to_string()),
            },
            Err(_) => self.fault("no answer for a minute"),
        }
        None
    }

    async fn transaction(
        &mut self,
        session: &Client,
        isolation: &str,
        calls: usize,
    ) -> Result<usize, Failure> {
        let alone = calls == 1 && isolation == "read committed";
        if !alone {
            session.batch_execute(&format!("begin isolation level {isolation}")).await?;
        }
        let mut count = 0;
        for _ in 0..calls {
            let page = self.call(session).await?;
            count = page.changes.len();
            self.take(page);
        }
        if !alone {
            session.batch_execute("commit").await?;
        }
        Ok(count)
    }

    async fn call(&mut self, session: &Client) -> Result<Page, Failure> {
        let sql = "select seq, table_name, id, revision, deleted, record::text, next
                     from godwit.changes($1, $2, $3, $4)";
        let tables = (!self.style.tables.is_empty()).then_some(self.style.tables);
        let max = self.max() as i32;
        let include = if self.style.records { "records" } else { "none" };
        let rows = session
            .query_typed(
                sql,
                &[
                    (&self.since, Type::INT8),
                    (&tables, Type::TEXT_ARRAY),
                    (&max, Type::INT4),
                    (&include, Type::TEXT),
                ],
            )
            .await?;
        let mut page = Page { changes: Vec::with_capacity(rows.len()), next: self.since };
        for row in rows {
            let record: Option<String> = row.try_get(5)?;
            page.changes.push(Change {
                sequence: row.try_get(0)?,
                table: row.try_get(1)?,
                id: row.try_get(2)?,
                revision: row.try_get(3)?,
                deleted: row.try_get(4)?,
                record: record.map(|text| serde_json::from_str(&text)).transpose()?,
            });
            page.next = row.try_get(6)?;
        }
        Ok(page)
    }

    async fn http(&mut self, gateway: &Gateway, feed: &str) -> Option<usize> {
        let include = if self.style.records { "records" } else { "none" };
        let (since, max) = (self.since, self.max());
        let mut path =
            format!("/v1/changes?since={since}&limit={max}&include={include}&feed={feed}");
        if !self.style.tables.is_empty() {
            path += &format!("&tables={}", self.style.tables.join(","));
        }
        let limit = Duration::from_secs(ANSWER_SECONDS_MAX);
        let page: gateway::Page = match tokio::time::timeout(limit, gateway.get(&path)).await {
            Ok(Ok(page)) => page,
            Ok(Err(gateway::Error::Refused { name, .. }))
                if name == "unavailable" || name == "timeout" =>
            {
                return None;
            }
            Ok(Err(error)) => {
                self.fault(&error.to_string());
                return None;
            }
            Err(_) => {
                self.fault("no answer for a minute");
                return None;
            }
        };
        let page =
            Page { changes: page.changes.into_iter().map(Change::of).collect(), next: page.next };
        let count = page.changes.len();
        self.take(page);
        Some(count)
    }

    /// One feed, until it breaks, until it has brought so many pages, or until it has nothing more.
    async fn live(&mut self, gateway: &Gateway, feed: Feed, pages: u64) -> Option<usize> {
        let include = if self.style.records { "records" } else { "none" };
        let name = if feed == Feed::Sse { "sse" } else { "ndjson" };
        let max = self.max();
        let mut path =
            format!("/v1/changes?limit={max}&include={include}&feed={name}&heartbeat_ms=500");
        if !self.style.tables.is_empty() {
            path += &format!("&tables={}", self.style.tables.join(","));
        }
        let since = self.since.to_string();
        let resumed = [("last-event-id", since.as_str())];
        let headers: &[_] = if feed == Feed::Sse { &resumed } else { &[] };
        if feed == Feed::Ndjson {
            path += &format!("&since={since}");
        }
        let limit = Duration::from_secs(ANSWER_SECONDS_MAX);
        let opened = tokio::time::timeout(limit, gateway.send(Method::GET, &path, headers, None));
        let mut response = match opened.await {
            Ok(Ok(response)) if response.status() == 200 => response,
            Ok(Ok(response)) if response.status() == 503 => return None,
            Ok(Ok(response)) => {
                self.fault(&format!("the feed is answered with {}", response.status()));
                return None;
            }
            Ok(Err(error)) => {
                self.fault(&error.to_string());
                return None;
            }
            Err(_) => {
                self.fault("no feed for a minute");
                return None;
            }
        };
        let mut changes = Vec::new();
        let (mut buffer, mut count, mut left) = (Vec::new(), 0, pages);
        loop {
            let chunk = match tokio::time::timeout(limit, response.chunk()).await {
                Ok(Ok(Some(chunk))) => chunk,
                Ok(_) => {
                    // Each event's id is a place to go on from, in the middle of a page too.
                    if let (Feed::Sse, Some(next)) =
                        (feed, changes.last().map(|last: &Change| last.sequence))
                    {
                        self.take(Page { changes, next });
                    }
                    return None;
                }
                Err(_) => {
                    self.fault("a feed was silent for a minute");
                    return None;
                }
            };
            buffer.extend_from_slice(&chunk);
            while let Some(end) = buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = buffer.drain(..=end).collect();
                let line = match feed {
                    Feed::Ndjson => Some(line.as_slice()),
                    Feed::Sse => line.strip_prefix(b"data: "),
                };
                let Some(line) = line else { continue };
                match serde_json::from_slice::<Line>(line) {
                    Ok(Line::Change(change)) => changes.push(Change::of(*change)),
                    Ok(Line::Next { next }) => {
                        let is_empty = changes.is_empty();
                        count += changes.len();
                        self.take(Page { changes: std::mem::take(&mut changes), next });
                        left = left.saturating_sub(1);
                        if is_empty || left == 0 {
                            return Some(if is_empty { 0 } else { count });
                        }
                    }
                    Err(error) => {
                        let line = String::from_utf8_lossy(line);
                        self.fault(&format!("{error}: {line}"));
                        return None;
                    }
                }
            }
        }
    }

    fn max(&mut self) -> u64 {
        self.random.between(self.style.page.0, self.style.page.1)
    }

    /// Keeps what a page shows and goes on from where it says.
    fn take(&mut self, page: Page) {
        let mut before = self.since;
        let log = self.log.clone();
        let mut log = held(&log);
        for change in page.changes {
            if change.sequence <= before || change.sequence > page.next {
                let (sequence, since, next) = (change.sequence, self.since, page.next);
                self.fault(&format!(
                    "{sequence} comes after {before} on the page from {since} to {next}"
                ));
            }
            before = change.sequence;
            let place = place_of(&change.table);
            if place.is_none_or(|place| self.style.mask() & (1 << place) == 0) {
                self.fault(&format!("it did not ask for table {}", change.table));
            }
            if change.record.is_some() != self.style.records {
                self.fault(&format!("{} has a record or lacks it", change.sequence));
            }
            if change.table == "marks" {
                match Mark::parse(&change.id) {
                    Some(mark) => log.marks.push(mark),
                    None => self.fault(&format!("{} is no mark", change.id)),
                }
            }
            let name = name_of(&change.table, &change.id, &change.revision, change.deleted);
            let body = change.record.as_ref().map(|record| self.body(&change, record));
            log.seen.push(Seen { sequence: change.sequence, name, body });
        }
        self.since = page.next;
    }

    fn body(&self, change: &Change, record: &Record) -> u64 {
        let named = record.revision.as_ref().map(RevisionId::to_string);
        if record.id != change.id
            || record.deleted != change.deleted
            || named.as_ref() != Some(&change.revision)
        {
            self.fault(&format!("{} comes with the record of another", change.sequence));
        }
        let made =
            RevisionId::of(&record.id, record.previous(), record.deleted, &record.attributes);
        if named != Some(made.to_string()) && !is_foreign(&record.id) {
            self.fault(&format!("the body of {} {} hashes to {made}", change.id, change.revision));
        }
        body_of(record)
    }

    fn fault(&self, words: &str) {
        self.world.fault(format!("reader \"{}\": {words}", self.style.name));
    }
}

pub fn name_of(table: &str, id: &str, revision: &str, deleted: bool) -> u64 {
    hash_of((table, id, revision, deleted))
}

pub fn body_of(record: &Record) -> u64 {
    hash_of((record.deleted, serde_json::to_string(&record.attributes).unwrap_or_default()))
}

/// Records whose revisions another system named.
pub fn is_foreign(id: &str) -> bool {
    id.starts_with("foreign")
}
