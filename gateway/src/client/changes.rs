//! In charge of the change stream: a page of it, and following it.

use futures_util::stream::{Stream, try_unfold};
use reqwest::Method;
use serde::Serialize;
use std::time::Duration;

use super::answer::Page;
use super::{Client, Error};

/// How long a gateway is asked to keep a long poll: below the minute after which proxies commonly give up.
const LONGPOLL: Duration = Duration::from_secs(30);

/// Which changes are asked for.
#[derive(Debug, Clone, Default)]
pub struct Changes {
    /// 0, or what a page said as `next`.
    pub since: i64,
    /// All that may be read, if none are named.
    pub tables: Vec<String>,
    /// Changes on a page; the gateway's own number if none is said.
    pub limit: Option<u32>,
    pub include: Include,
    pub style: Style,
    /// Only these records, if any are named.
    pub ids: Vec<String>,
    /// Only records whose columns are so, as `region.eq.north and size.gte.3`; tables must be named then.
    pub filter: Option<String>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Include {
    /// Names only.
    #[default]
    Nothing,
    /// The revision that has arrived, with its ancestry in `revisions`.
    Revision,
    /// The record as it is now.
    Record,
    /// The revision that has arrived, with its parent in `revisions`.
    Records,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Style {
    /// Every revision, parents first.
    #[default]
    Revisions,
    /// Each record once, at its latest change, with all its leaves.
    Leaves,
}

/// A question as a body: names may be more than an address takes.
#[derive(Serialize)]
struct Question<'a> {
    since: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    tables: Option<&'a [String]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<u32>,
    include: &'static str,
    style: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    ids: Option<&'a [String]>,
    #[serde(rename = "where", skip_serializing_if = "Option::is_none")]
    filter: Option<&'a str>,
    feed: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    timeout_ms: Option<u64>,
}

fn some(names: &[String]) -> Option<&[String]> {
    (!names.is_empty()).then_some(names)
}

impl Client {
    /// The changes that there are, up to a page of them.
    pub async fn changes(&self, asked: &Changes) -> Result<Page, Error> {
        self.changes_within(asked, None).await
    }

    /// As `changes`; where there are none, waits for some for up to `wait`.
    pub async fn changes_within(
        &self,
        asked: &Changes,
        wait: Option<Duration>,
    ) -> Result<Page, Error> {
        let question = Question {
            since: asked.since,
            tables: some(&asked.tables),
            limit: asked.limit,
            include: match asked.include {
                Include::Nothing => "none",
                Include::Revision => "revision",
                Include::Record => "record",
                Include::Records => "records",
            },
            style: match asked.style {
                Style::Revisions => "revisions",
                Style::Leaves => "leaves",
            },
            ids: some(&asked.ids),
            filter: asked.filter.as_deref(),
            feed: if wait.is_some() { "longpoll" } else { "normal" },
            timeout_ms: wait.map(|wait| wait.as_millis().try_into().unwrap_or(u64::MAX)),
        };
        let ask = self.ask(Method::POST, &["v1", "changes"])?.json(&question)?;
        self.answer(ask.wait(wait.unwrap_or_default())).await
    }

    /// Where the stream is now: whoever wants only what comes follows it from there.
    pub async fn now(&self) -> Result<i64, Error> {
        let ask =
            self.ask(Method::GET, &["v1", "changes"])?.query("since", "now").query("limit", 1);
        let page: Page = self.answer(ask).await?;
        Ok(page.changes.first().map_or(page.next, |first| first.sequence - 1))
    }

    /// Pages of changes for as long as they are asked for, none of them empty. A connection that breaks, a
    /// gateway that restarts and a database that is away are waited for, and the stream goes on where it was;
    /// it ends with an error only where asking again is of no use. Keep `next` of a page after what it says.
    pub fn follow(&self, asked: Changes) -> impl Stream<Item = Result<Page, Error>> + Send + use<> {
        try_unfold((self.clone(), asked), |(client, mut asked)| async move {
            let mut failures = 0;
            loop {
                match client.changes_within(&asked, Some(LONGPOLL)).await {
                    Ok(page) if page.changes.is_empty() => {
                        failures = 0;
                        asked.since = page.next;
                    }
                    Ok(page) => {
                        asked.since = page.next;
                        return Ok(Some((page, (client, asked))));
                    }
                    Err(error) if error.passes() => {
                        failures += 1;
                        client.pause(failures, &error).await;
                    }
                    Err(error) => return Err(error),
                }
            }
        })
    }
}
