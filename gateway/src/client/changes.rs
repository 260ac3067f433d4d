//! In charge of the change stream: a page of it, and following it.

use futures_util::stream::{Stream, try_unfold};
use reqwest::Method;
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
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Include {
    /// Names only.
    #[default]
    Nothing,
    /// Each change's record with its parent in `revisions`.
    Records,
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
        let mut ask = self.ask(Method::GET, &["v1", "changes"])?;
        ask = ask.query("since", asked.since).tables(&asked.tables).query_if("limit", asked.limit);
        if asked.include == Include::Records {
            ask = ask.query("include", "records");
        }
        if let Some(wait) = wait {
            ask = ask.query("feed", "longpoll").query("timeout_ms", wait.as_millis()).wait(wait);
        }
        self.answer(ask).await
    }

    /// Pages of changes for as long as they are asked for, none of them empty. A connection that breaks, a
    /// gateway that restarts and a database that is away are waited for, and the stream goes on where it was;
    /// it ends with an error only where asking again is of no use. Keep `next` of a page after what it says.
    pub fn follow(&self, asked: Changes) -> impl Stream<Item = Result<Page, Error>> + Send + use<> {
        try_unfold((self.clone(), asked), |(client, mut asked)| async move {
            let mut failures = 0;
            loop {
                match client.changes_within(&asked, Some(LONGPOLL)).await {
                    Ok(page) if page.changes.is_empty() => failures = 0,
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
