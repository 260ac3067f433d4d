//! In charge of reading a change stream page by page, each with its revisions' bodies.

use revision::Record;
use std::time::Duration;

use crate::client::{Changes, Client, Error, Include, Page};

pub struct Pages {
    from: Client,
    tables: Vec<String>,
    limit: u32,
    limit_max: u32,
}

impl Pages {
    pub fn new(from: Client, tables: Vec<String>, limit_max: u32) -> Self {
        Pages { from, tables, limit: limit_max, limit_max }
    }

    /// The page after `since`: the records, and where to go on. With `wait` it waits for changes.
    pub async fn read(
        &mut self,
        since: i64,
        wait: Option<Duration>,
    ) -> Result<(Vec<Record>, i64), Error> {
        if self.tables.is_empty() {
            // No names would mean all tables.
            tokio::time::sleep(wait.unwrap_or_default()).await;
            return Ok((Vec::new(), since));
        }
        loop {
            let asked = Changes {
                since,
                tables: self.tables.clone(),
                limit: Some(self.limit),
                include: Include::Records,
                ..Changes::default()
            };
            match self.from.changes_within(&asked, wait).await {
                Ok(page) => {
                    self.limit = (self.limit * 2).min(self.limit_max);
                    return records(page);
                }
                // Records that are large, or a gateway that takes smaller pages.
                Err(error) if self.limit > 1 && is_too_much(&error) => self.limit /= 2,
                Err(error) => return Err(error),
            }
        }
    }
}

fn is_too_much(error: &Error) -> bool {
    matches!(error, Error::LongAnswer { .. })
        || matches!(error.name(), Some("too_large" | "timeout" | "bad_request"))
}

fn records(page: Page) -> Result<(Vec<Record>, i64), Error> {
    let mut records = Vec::with_capacity(page.changes.len());
    for change in page.changes {
        // The reader's view says nothing of what is in the history.
        if change.left {
            continue;
        }
        let mut record = change.record.ok_or_else(|| {
            Error::Unreadable(format!("change {} comes without its record", change.sequence))
        })?;
        if change.revision.is_none() || record.revision != change.revision {
            let reason = format!("change {} comes with another revision", change.sequence);
            return Err(Error::Unreadable(reason));
        }
        record.table = Some(change.table);
        record.revisions.get_or_insert_with(|| change.revision.into_iter().collect());
        records.push(record);
    }
    Ok((records, page.next))
}
