//! In charge of sites: databases of their own, each behind a gateway of its own that can be killed, and
//! the `godwit` command between them.

use std::path::PathBuf;
use std::process::{Output, Stdio};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio_postgres::{Client, NoTls};

use crate::stack::Fault;

/// How long a gateway may take to start, and any command to end.
const PATIENCE: Duration = Duration::from_secs(120);

pub struct Site {
    pub name: String,
    pub url: String,
    pub sql: Client,
    database_url: String,
    gateway: Child,
}

fn named(name: &str) -> Result<String, Fault> {
    std::env::var(name).map_err(|_| format!("{name} is not set: run this by `make e2e`").into())
}

/// The command that `make install` has built.
pub fn godwit(arguments: &[&str]) -> Result<Command, Fault> {
    let mut command = Command::new(named("GODWIT_BINARY")?);
    command.args(arguments).stdin(Stdio::null()).kill_on_drop(true);
    Ok(command)
}

/// Runs the command to its end: exit status, and what it said.
pub async fn run(arguments: &[&str]) -> Result<(i32, String), Fault> {
    let output: Output = tokio::time::timeout(PATIENCE, godwit(arguments)?.output()).await??;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let status = output.status.code().ok_or_else(|| format!("a signal ended it: {said}"))?;
    Ok((status, said))
}

impl Site {
    /// A database in the test's cluster, with the extension, and a gateway in front of it.
    pub async fn open(name: &str) -> Result<Self, Fault> {
        let base = named("GODWIT_DATABASE_URL")?;
        let database = format!("{name}_{}", &uuid::Uuid::new_v4().simple().to_string()[..12]);
        connect(&base).await?.batch_execute(&format!("create database {database}")).await?;
        let (server, _) = base.rsplit_once('/').ok_or("GODWIT_DATABASE_URL names no database")?;
        let database_url = format!("{server}/{database}");
        let sql = connect(&database_url).await?;
        sql.batch_execute("create extension godwit").await?;
        let (gateway, url) = serve(&database_url, "127.0.0.1:0").await?;
        Ok(Site { name: name.into(), url, sql, database_url, gateway })
    }

    /// Another site, whose database is a copy of this one's as it is now: a backup that was restored.
    pub async fn copy(&mut self, name: &str) -> Result<Self, Fault> {
        self.gateway.kill().await?;
        let (server, from) = self.database_url.rsplit_once('/').ok_or("no database is named")?;
        let to = format!("{name}_{}", &uuid::Uuid::new_v4().simple().to_string()[..12]);
        let database_url = format!("{server}/{to}");
        let outside = connect(&named("GODWIT_DATABASE_URL")?).await?;
        // A template has no sessions.
        let end =
            "select pg_terminate_backend(pid, 10000) from pg_stat_activity where datname = $1";
        outside.query(end, &[&from]).await?;
        outside.batch_execute(&format!("create database {to} template {from}")).await?;
        self.sql = connect(&self.database_url).await?;
        let address = self.url.trim_start_matches("http://").to_owned();
        (self.gateway, self.url) = serve(&self.database_url, &address).await?;
        let sql = connect(&database_url).await?;
        let (gateway, url) = serve(&database_url, "127.0.0.1:0").await?;
        Ok(Site { name: name.into(), url, sql, database_url, gateway })
    }

    pub async fn session(&self) -> Result<Client, Fault> {
        connect(&self.database_url).await
    }

    /// kill -9 of the gateway, and another in its place.
    pub async fn kill_gateway(&mut self) -> Result<(), Fault> {
        self.gateway.kill().await?;
        let address = self.url.trim_start_matches("http://").to_owned();
        (self.gateway, self.url) = serve(&self.database_url, &address).await?;
        Ok(())
    }

    /// One value of one row as text.
    pub async fn value(&self, sql: &str) -> Result<String, Fault> {
        Ok(self.sql.query_one(sql, &[]).await?.try_get::<_, Option<String>>(0)?.unwrap_or_default())
    }

    /// Everything that two sites must have alike: rows with their winners, history and conflicts. Sequences,
    /// times and who brought it are each site's own.
    pub async fn digest(&self, table: &str) -> Result<String, Fault> {
        let sql = format!(
            "select concat_ws(E'\\n',
                 (select string_agg(t::text, E'\\n' order by t.id::text) from {table} t),
                 (select string_agg((to_jsonb(h) - '{{_seq,_at,_by}}'::text[])::text, E'\\n' order by h._id collate \"C\", h._rev)
                    from {table}_history h),
                 (select string_agg((c.id, c.winner, c.conflict, c.ancestor, c.grade, c.attributes)::text, E'\\n'
                             order by c.id collate \"C\", c.conflict::text collate \"C\") from godwit.conflicts c
                   where c.table_name = '{table}'))"
        );
        self.value(&sql).await
    }
}

async fn connect(url: &str) -> Result<Client, Fault> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    // Ends with its client.
    tokio::spawn(connection);
    Ok(client)
}

/// A gateway, and the address that its log names.
async fn serve(database_url: &str, address: &str) -> Result<(Child, String), Fault> {
    let mut command = godwit(&["serve"])?;
    command.env("DATABASE_URL", database_url).env("GODWIT_LISTEN", address);
    command.env("GODWIT_LOG_FORMAT", "json").env("GODWIT_LOG", "info").stderr(Stdio::piped());
    let mut child = command.spawn()?;
    let stderr = child.stderr.take().ok_or("the gateway has no standard error")?;
    let mut lines = BufReader::new(stderr).lines();
    let address = tokio::time::timeout(PATIENCE, async {
        let mut seen = String::new();
        while let Some(line) = lines.next_line().await? {
            let entry: serde_json::Value = serde_json::from_str(&line).unwrap_or_default();
            if let Some(address) = entry["fields"]["address"].as_str() {
                return Ok::<_, Fault>(address.to_owned());
            }
            seen += &line;
        }
        Err(format!("the gateway did not start: {seen}").into())
    })
    .await??;
    // A full pipe would hold the gateway up.
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    Ok((child, format!("http://{address}")))
}

/// A file that is gone with the test.
pub struct Scratch(pub PathBuf);

impl Scratch {
    pub fn new(name: &str) -> Self {
        Scratch(std::env::temp_dir().join(format!("godwit-{}-{name}", uuid::Uuid::new_v4())))
    }

    pub fn path(&self) -> &str {
        self.0.to_str().unwrap_or_default()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // It may never have been made.
        let _ = std::fs::remove_file(&self.0);
    }
}
