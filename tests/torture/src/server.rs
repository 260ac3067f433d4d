//! In charge of the two servers, of which one takes writes: scripts/test_server.sh does to their
//! processes what it is told here.

use std::process::Command;
use std::time::{Duration, Instant};
use tokio_postgres::Client;

use crate::world::{Failure, session};

/// One server's place.
#[derive(Clone)]
pub struct Server {
    pub folder: String,
    pub port: String,
    pub url: String,
}

pub struct Servers {
    script: String,
    pub primary: Server,
    pub other: Server,
}

impl Servers {
    pub fn from_environment() -> Result<Servers, Failure> {
        let named = |name: &str| {
            std::env::var(name)
                .map_err(|_| format!("{name} is not set: run this by scripts/torture.sh"))
        };
        let server = |letter: &str| -> Result<Server, Failure> {
            Ok(Server {
                folder: named(&format!("GODWIT_TORTURE_FOLDER_{letter}"))?,
                port: named(&format!("GODWIT_TORTURE_PORT_{letter}"))?,
                url: named(&format!("GODWIT_TORTURE_URL_{letter}"))?,
            })
        };
        Ok(Servers {
            script: named("GODWIT_TORTURE_SERVER")?,
            primary: server("A")?,
            other: server("B")?,
        })
    }

    async fn run(&self, arguments: &[&str]) -> Result<(), Failure> {
        let mut command = Command::new(&self.script);
        command.args(arguments);
        let words = arguments.join(" ");
        let output = tokio::task::spawn_blocking(move || command.output()).await??;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(format!("{words}: {said}").into());
        }
        Ok(())
    }

    /// kill -9 of every process of the primary.
    pub async fn kill_primary(&self) -> Result<(), Failure> {
        self.run(&["kill", &self.primary.folder]).await
    }

    pub async fn start_primary(&self) -> Result<(), Failure> {
        self.run(&["start", &self.primary.folder, &self.primary.port]).await
    }

    /// kill -9 of one process, after which the others start anew.
    pub async fn kill_process(&self, process: i32) -> Result<(), Failure> {
        self.run(&["kill-one", &self.primary.folder, &process.to_string()]).await
    }

    /// Makes the other server a streaming replica of the primary, anew.
    pub async fn clone_primary(&self) -> Result<(), Failure> {
        let Servers { primary, other, .. } = self;
        self.run(&["clone", &primary.folder, &primary.port, &other.folder, &other.port]).await
    }

    /// The other server takes writes from now on. The old primary must be dead.
    pub async fn promote(&mut self) -> Result<(), Failure> {
        self.run(&["promote", &self.other.folder]).await?;
        std::mem::swap(&mut self.primary, &mut self.other);
        Ok(())
    }

    /// A session with the primary, as soon as it answers.
    pub async fn answering(&self) -> Result<Client, Failure> {
        let begun = Instant::now();
        loop {
            match session(&self.primary.url).await {
                Ok(client) if client.batch_execute("select 1").await.is_ok() => return Ok(client),
                _ if begun.elapsed() > Duration::from_secs(60) => {
                    return Err("the server does not answer for a minute".into());
                }
                _ => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    }

    /// Waits until the replica has on disk what the primary has on its own.
    pub async fn replica_has_all(&self) -> Result<(), Failure> {
        let (primary, replica) = (self.answering().await?, session(&self.other.url).await?);
        let here = "select pg_current_wal_flush_lsn()::text";
        let position: String = primary.query_one(here, &[]).await?.try_get(0)?;
        let sql =
            format!("select coalesce(pg_last_wal_receive_lsn() >= '{position}'::pg_lsn, false)");
        let begun = Instant::now();
        while !replica.query_one(&sql, &[]).await?.try_get::<_, bool>(0)? {
            if begun.elapsed() > Duration::from_secs(60) {
                return Err("the replica does not keep up".into());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// From now on the replica gets nothing more.
    pub async fn cut_replica(&self) -> Result<(), Failure> {
        let replica = session(&self.other.url).await?;
        replica.batch_execute("alter system set primary_conninfo = ''").await?;
        replica.batch_execute("select pg_reload_conf()").await?;
        Ok(())
    }

    /// Commits wait for the replica from now on.
    pub async fn make_synchronous(&self) -> Result<(), Failure> {
        let primary = self.answering().await?;
        primary.batch_execute("alter system set synchronous_standby_names = '*'").await?;
        primary.batch_execute("select pg_reload_conf()").await?;
        let sql = "select exists (select from pg_stat_replication where sync_state = 'sync')
                       and current_setting('synchronous_standby_names') = '*'";
        let begun = Instant::now();
        while !primary.query_one(sql, &[]).await?.try_get::<_, bool>(0)? {
            if begun.elapsed() > Duration::from_secs(60) {
                return Err("the replica does not become synchronous".into());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        // The checkpointer tells the other processes; they heed it at their next statement.
        tokio::time::sleep(Duration::from_millis(500)).await;
        Ok(())
    }
}
