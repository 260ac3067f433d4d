//! In charge of single records: reading, putting and deleting them.

use reqwest::Method;
use revision::{Attributes, Record, RevisionId};
use serde::{Deserialize, Serialize};

use super::answer::{Branches, Paged, Put, Version};
use super::{Client, Error};

/// A local edit.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Edit {
    /// The revision that is edited; none where the record is new, or was deleted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<RevisionId>,
    /// Columns that are left out stay as they are.
    pub attributes: Attributes,
    /// Where that revision is edited already: a second leaf beside the winner, and no `conflict`.
    #[serde(skip)]
    pub branch: bool,
}

impl Edit {
    /// Of a record that is new.
    pub fn new(attributes: Attributes) -> Self {
        Edit { attributes, ..Edit::default() }
    }

    pub fn of(revision: RevisionId, attributes: Attributes) -> Self {
        Edit { revision: Some(revision), attributes, branch: false }
    }
}

/// Which revision is read, and with what.
#[derive(Debug, Clone, Default)]
pub struct Show {
    /// The winner if none is named.
    pub revision: Option<RevisionId>,
    /// With its ancestry.
    pub revisions: bool,
    /// With the other living leaves.
    pub conflicts: bool,
}

impl Client {
    /// A record's winner; none where there is no such record, or it is deleted.
    pub async fn get(&self, table: &str, id: &str) -> Result<Option<Record>, Error> {
        match self.show(table, id, &Show::default()).await {
            Ok(record) => Ok(Some(record)),
            Err(error) if matches!(error.name(), Some("not_found" | "deleted")) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// A record as it is asked for; `not_found` and `deleted` are errors by these names.
    pub async fn show(&self, table: &str, id: &str, show: &Show) -> Result<Record, Error> {
        let ask = self.ask(Method::GET, &["v1", "tables", table, "records", id])?;
        let ask = ask
            .query_if("revision", show.revision.as_ref())
            .query_if("revisions", show.revisions.then_some(true))
            .query_if("conflicts", show.conflicts.then_some(true));
        self.answer(ask).await
    }

    /// A page of winners, by the bytes of their ids.
    pub async fn records(
        &self,
        table: &str,
        after: Option<&str>,
        limit: Option<u32>,
    ) -> Result<Paged<Record, String>, Error> {
        #[derive(Deserialize)]
        struct Answer {
            records: Vec<Record>,
            next: Option<String>,
        }
        let ask = self.ask(Method::GET, &["v1", "tables", table, "records"])?;
        let ask = ask.query_if("after", after).query_if("limit", limit);
        let answer: Answer = self.answer(ask).await?;
        Ok(Paged { items: answer.records, next: answer.next })
    }

    /// Makes or edits a record. An error by the name `conflict` says which revision is the winner.
    pub async fn put(&self, table: &str, id: &str, edit: &Edit) -> Result<Put, Error> {
        let ask = self.ask(Method::PUT, &["v1", "tables", table, "records", id])?;
        let ask = ask.query_if("on_conflict", edit.branch.then_some("branch"));
        self.answer(ask.json(edit)?).await
    }

    /// Puts a tombstone on a leaf.
    pub async fn delete(&self, table: &str, id: &str, revision: &RevisionId) -> Result<Put, Error> {
        let ask = self.ask(Method::DELETE, &["v1", "tables", table, "records", id])?;
        self.answer(ask.query("revision", revision)).await
    }

    /// Every revision of a record, highest first.
    pub async fn history(&self, table: &str, id: &str) -> Result<Vec<Version>, Error> {
        #[derive(Deserialize)]
        struct Answer {
            revisions: Vec<Version>,
        }
        let ask = self.ask(Method::GET, &["v1", "tables", table, "records", id, "history"])?;
        let answer: Answer = self.answer(ask).await?;
        Ok(answer.revisions)
    }

    /// A record's leaves side by side, with what each has in common with the winner.
    pub async fn leaves(&self, table: &str, id: &str) -> Result<Branches, Error> {
        self.answer(self.ask(Method::GET, &["v1", "tables", table, "records", id, "leaves"])?).await
    }
}
