//! In charge of what waits for somebody to decide: conflicts, and refused revisions.

use reqwest::Method;
use revision::{Attributes, RevisionId};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::answer::{Conflict, Paged, Rejected, Retried};
use super::{Client, Error};

/// What ends a conflict.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Resolution {
    /// The leaf that stays; the winner if none is named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep: Option<RevisionId>,
    /// What it is edited to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attributes: Option<Attributes>,
    /// The leaves that the caller has looked at; if there are others by now it is a `conflict`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub leaves: Option<Vec<RevisionId>>,
}

impl Client {
    /// A page of conflicts, over all tables if none are named.
    pub async fn conflicts(
        &self,
        tables: &[String],
        after: Option<&str>,
        limit: Option<u32>,
    ) -> Result<Paged<Conflict, String>, Error> {
        #[derive(Deserialize)]
        struct Answer {
            conflicts: Vec<Conflict>,
            next: Option<String>,
        }
        let ask = self.ask(Method::GET, &["v1", "conflicts"])?.tables(tables);
        let ask = ask.query_if("after", after).query_if("limit", limit);
        let answer: Answer = self.answer(ask).await?;
        Ok(Paged { items: answer.conflicts, next: answer.next })
    }

    /// Ends the other branches of a record; what the winner is then.
    pub async fn resolve(
        &self,
        table: &str,
        id: &str,
        resolution: &Resolution,
    ) -> Result<revision::Record, Error> {
        let ask = self.ask(Method::POST, &["v1", "tables", table, "records", id, "resolve"])?;
        self.answer(ask.json(resolution)?).await
    }

    /// A page of refused revisions, for the tables' owners.
    pub async fn rejected(
        &self,
        tables: &[String],
        after: Option<i64>,
        limit: Option<u32>,
    ) -> Result<Paged<Rejected, i64>, Error> {
        #[derive(Deserialize)]
        struct Answer {
            rejected: Vec<Rejected>,
            next: Option<i64>,
        }
        let ask = self.ask(Method::GET, &["v1", "rejected"])?.tables(tables);
        let ask = ask.query_if("after", after).query_if("limit", limit);
        let answer: Answer = self.answer(ask).await?;
        Ok(Paged { items: answer.rejected, next: answer.next })
    }

    /// Tries refused revisions of a table again.
    pub async fn retry_rejected(
        &self,
        table: &str,
        limit: Option<u32>,
    ) -> Result<Vec<Retried>, Error> {
        #[derive(Deserialize)]
        struct Answer {
            results: Vec<Retried>,
        }
        let ask = self.ask(Method::POST, &["v1", "tables", table, "rejected:retry"])?;
        let answer: Answer = self.answer(ask.json(&json!({ "limit": limit }))?).await?;
        Ok(answer.results)
    }

    /// Gives up refused revisions for good; how many there were.
    pub async fn discard_rejected(&self, table: &str, numbers: &[i64]) -> Result<u64, Error> {
        #[derive(Deserialize)]
        struct Answer {
            discarded: u64,
        }
        let ask = self.ask(Method::POST, &["v1", "tables", table, "rejected:discard"])?;
        let answer: Answer = self.answer(ask.json(&json!({ "numbers": numbers }))?).await?;
        Ok(answer.discarded)
    }
}
