//! In charge of the running gateway and database that a test or the demo is given, and of seeing
//! what the database itself says.

use revision::Attributes;
use serde_json::Value as Json;
use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};
use tokio::sync::{Mutex, OwnedMutexGuard};
use tokio_postgres::{Client, NoTls};

use crate::gateway::{Error, Gateway};
use crate::peer::{Peer, Shown};

/// One test at a time in a process: another's open transaction would hold back the change stream, as
/// it should, and a test that counts changes would count too few.
static ALONE: LazyLock<Arc<Mutex<()>>> = LazyLock::new(Arc::default);

pub type Fault = Box<dyn std::error::Error + Send + Sync>;

pub struct Stack {
    pub gateway: Gateway,
    pub sql: Client,
    database_url: String,
    _alone: OwnedMutexGuard<()>,
}

impl Stack {
    /// Connects to what `make e2e` and `make demo` have started.
    pub async fn connect() -> Result<Self, Fault> {
        let named = |name: &str| {
            std::env::var(name).map_err(|_| {
                format!("{name} is not set: run this by `make e2e` or `make demo`, which start a gateway")
            })
        };
        let database_url = named("GODWIT_DATABASE_URL")?;
        let gateway = Gateway::new(named("GODWIT_URL")?);
        let _alone = ALONE.clone().lock_owned().await;
        let sql = session(&database_url).await?;
        Ok(Stack { gateway, sql, database_url, _alone })
    }

    /// Another session in plain SQL.
    pub async fn session(&self) -> Result<Client, Fault> {
        session(&self.database_url).await
    }

    /// A tracked table of a name that no other test has.
    pub async fn table(&self, prefix: &str, columns: &str) -> Result<String, Fault> {
        let name = format!("{prefix}_{}", &uuid::Uuid::new_v4().simple().to_string()[..12]);
        let sql = format!("create table {name} ({columns}); select godwit.track('{name}');");
        self.sql.batch_execute(&sql).await?;
        Ok(name)
    }

    pub fn peer(&self, name: &str, table: &str) -> Peer {
        Peer::new(name, table, self.gateway.clone())
    }

    /// What the database shows, through HTTP, page by page.
    pub async fn shown(&self, table: &str) -> Result<Shown, Error> {
        #[derive(serde::Deserialize)]
        struct Page {
            records: Vec<revision::Record>,
            next: Option<String>,
        }
        let (mut shown, mut after) = (Shown::new(), String::new());
        loop {
            let path = format!("/v1/tables/{table}/records?limit=7{after}");
            let page: Page = self.gateway.get(&path).await?;
            for record in page.records {
                let revision = record.revision.ok_or_else(|| {
                    Error::Unreadable(format!("record {} has no revision", record.id))
                })?;
                shown.insert(record.id, (revision, record.attributes));
            }
            let Some(next) = page.next else { return Ok(shown) };
            after = format!("&after={}", crate::gateway::encode(&next));
        }
    }

    /// The revisions in the table itself, by record id, and those that the history elects, by an
    /// election of its own.
    pub async fn table_and_elected(
        &self,
        table: &str,
    ) -> Result<[BTreeMap<String, String>; 2], Fault> {
        let shown = format!("select {table}.id::text, _rev::text from {table}");
        let elected = format!(
            "select distinct on (_id) _id, case when _deleted then '' else _rev::text end
               from {table}_history h
              where not _stub and not exists (
                    select from {table}_history c where c._id = h._id and c._prev = h._rev)
              order by _id, _deleted, split_part(_rev::text, '-', 1)::bigint desc,
                       substr(_rev::text, strpos(_rev::text, '-') + 1) collate \"C\" desc"
        );
        let mut out = [BTreeMap::new(), BTreeMap::new()];
        for (sql, out) in [shown, elected].iter().zip(&mut out) {
            for row in self.sql.query(sql, &[]).await? {
                let revision: String = row.try_get(1)?;
                if !revision.is_empty() {
                    out.insert(row.try_get(0)?, revision);
                }
            }
        }
        Ok(out)
    }
}

async fn session(database_url: &str) -> Result<Client, Fault> {
    let (client, connection) = tokio_postgres::connect(database_url, NoTls).await?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            eprintln!("a session in plain SQL ended: {error}");
        }
    });
    Ok(client)
}

/// What a record's body says as plain text, for a person to read.
pub fn plain(attributes: &Attributes) -> String {
    let part = |(name, value): (&String, &revision::Value)| {
        let json = revision::to_json(value);
        let text = match json {
            Json::String(text) => text,
            other => other.to_string(),
        };
        format!("{name} {text}")
    };
    attributes.iter().map(part).collect::<Vec<_>>().join(", ")
}
