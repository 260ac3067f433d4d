//! In charge of a table's winners as a stream, with the sequence to follow from.

use reqwest::Method;
use reqwest::header::{ETAG, IF_NONE_MATCH};
use revision::Record;
use serde::Deserialize;

use super::lines::Lines;
use super::request::{Ask, parse};
use super::{Client, Error};

/// Which winners, and what is known of them.
#[derive(Debug, Clone, Default)]
pub struct Winners {
    /// Comparisons of the table's columns, such as `region.eq.north` (docs/http.md).
    pub filter: Option<String>,
    /// The tag of a snapshot that is kept: nothing is sent where it is still true.
    pub known: Option<String>,
}

/// A table's winners, by the bytes of their ids, one at a time. A connection that breaks is made again, and
/// goes on behind the last record that came.
pub struct Snapshot {
    client: Client,
    table: String,
    filter: Option<String>,
    /// The sequence to follow the stream from, once every record has come.
    pub next: i64,
    /// What the snapshot can be asked for again by; none while the table is being written.
    pub tag: Option<String>,
    after: Option<String>,
    lines: Option<Lines>,
    failures: u32,
    is_over: bool,
}

/// A line that is no record: the first, and the last, which says that all have come.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Mark {
    next: i64,
    #[serde(default)]
    complete: bool,
}

/// Lines below so many bytes may be marks.
const MARK_BYTES_MAX: usize = 64;

impl Client {
    /// A table's winners; none where the tag that is known is still true. What changes meanwhile comes as it was or
    /// as it is, and the stream after [`Snapshot::next`] shows it again.
    pub async fn snapshot(&self, table: &str, asked: &Winners) -> Result<Option<Snapshot>, Error> {
        let mut snapshot = Snapshot {
            client: self.clone(),
            table: table.to_owned(),
            filter: asked.filter.clone(),
            next: 0,
            tag: None,
            after: None,
            lines: None,
            failures: 0,
            is_over: false,
        };
        loop {
            match snapshot.begin(asked.known.as_deref()).await {
                Ok(true) => return Ok(Some(snapshot)),
                Ok(false) => return Ok(None),
                Err(error) => snapshot.wait(error).await?,
            }
        }
    }
}

impl Snapshot {
    /// The next record; none when all have come.
    pub async fn record(&mut self) -> Result<Option<Record>, Error> {
        while !self.is_over {
            match self.line().await {
                Ok(Some(record)) => {
                    self.failures = 0;
                    self.after = Some(record.id.clone());
                    return Ok(Some(record));
                }
                Ok(None) => self.is_over = true,
                Err(error) => {
                    self.lines = None;
                    self.wait(error).await?;
                }
            }
        }
        Ok(None)
    }

    /// Asks, and reads the first line; false where what is known is still true.
    async fn begin(&mut self, known: Option<&str>) -> Result<bool, Error> {
        let mut ask = self.ask()?;
        if let Some(known) = known {
            ask = ask.header(IF_NONE_MATCH, known)?;
        }
        let response = self.client.open(&ask).await?;
        if response.status() == reqwest::StatusCode::NOT_MODIFIED {
            return Ok(false);
        }
        let tag = response.headers().get(ETAG).and_then(|tag| tag.to_str().ok());
        self.tag = tag.map(str::to_owned);
        self.next = self.take_lines(response).await?;
        Ok(true)
    }

    async fn line(&mut self) -> Result<Option<Record>, Error> {
        if self.lines.is_none() {
            let response = self.client.open(&self.ask()?).await?;
            // Of a later look; what was read before it is followed from the first.
            self.take_lines(response).await?;
        }
        let line = match &mut self.lines {
            Some(lines) => lines.next().await?,
            None => None,
        };
        let line = line.ok_or_else(broken)?;
        match mark(&line) {
            Some(mark) if mark.complete => Ok(None),
            Some(_) => Err(Error::Unreadable("a snapshot begins in its middle".into())),
            None => parse(&line).map(Some),
        }
    }

    async fn take_lines(&mut self, response: reqwest::Response) -> Result<i64, Error> {
        let limits = self.client.limits();
        let mut lines = Lines::of(response, limits.request, limits.answer_bytes_max);
        let first = lines.next().await?.ok_or_else(broken)?;
        let unknown = || Error::Unreadable("what came is no snapshot".into());
        let first = mark(&first).filter(|mark| !mark.complete).ok_or_else(unknown)?;
        self.lines = Some(lines);
        Ok(first.next)
    }

    fn ask(&self) -> Result<Ask, Error> {
        let ask = self.client.ask(Method::GET, &["v1", "tables", &self.table, "snapshot"])?;
        Ok(ask.query_if("where", self.filter.as_ref()).query_if("after", self.after.as_ref()))
    }

    /// Before it is asked again; the error itself where that is of no use.
    async fn wait(&mut self, error: Error) -> Result<(), Error> {
        self.failures += 1;
        if !error.passes() || self.failures >= self.client.limits().attempts_max {
            return Err(error);
        }
        self.client.pause(self.failures, &error).await;
        Ok(())
    }
}

fn mark(line: &[u8]) -> Option<Mark> {
    if line.len() > MARK_BYTES_MAX {
        return None;
    }
    serde_json::from_slice(line).ok()
}

fn broken() -> Error {
    Error::Unreachable("the snapshot broke off".into())
}
