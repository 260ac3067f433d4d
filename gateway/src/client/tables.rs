//! In charge of tables and what the database says of itself.

use reqwest::Method;
use revision::Policy;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::answer::{Status, Table};
use super::{Client, Error};

/// A table to be made. Its record id is a column `_id text`; without columns it is a document table.
#[derive(Debug, Clone, Default, Serialize)]
pub struct NewTable {
    pub columns: Vec<NewColumn>,
    pub metadata: serde_json::Map<String, Json>,
}

#[derive(Debug, Clone, Default, Serialize)]
pub struct NewColumn {
    pub name: String,
    /// By Postgres's name.
    #[serde(rename = "type")]
    pub kind: String,
    /// A value in wire form, or a JSON scalar.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default: Option<Json>,
    /// `{"not_null": {}}` and `{"unique": {}}`.
    pub constraints: Vec<Json>,
}

impl Client {
    /// The tracked tables that the caller may read or write.
    pub async fn tables(&self) -> Result<Vec<Table>, Error> {
        #[derive(Deserialize)]
        struct Answer {
            tables: Vec<Table>,
        }
        let answer: Answer = self.answer(self.ask(Method::GET, &["v1", "tables"])?).await?;
        Ok(answer.tables)
    }

    pub async fn table(&self, table: &str) -> Result<Table, Error> {
        self.answer(self.ask(Method::GET, &["v1", "tables", table])?).await
    }

    /// Makes a table. Made again it is an error by the name `table_exists`.
    pub async fn create_table(&self, table: &str, new: &NewTable) -> Result<Table, Error> {
        self.answer(self.ask(Method::PUT, &["v1", "tables", table])?.json(new)?).await
    }

    /// Says what is done about a table's conflicts.
    pub async fn set_policy(&self, table: &str, policy: &Policy) -> Result<(), Error> {
        self.done(self.ask(Method::PUT, &["v1", "tables", table, "policy"])?.json(policy)?).await
    }

    pub async fn status(&self) -> Result<Status, Error> {
        self.answer(self.ask(Method::GET, &["v1", "status"])?).await
    }
}
