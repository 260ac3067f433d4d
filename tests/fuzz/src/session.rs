//! In charge of the connection that calls are made on: roles, settings, what stands around a call.

use bytes::BytesMut;
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;
use tokio_postgres::error::{DbError, ErrorPosition};
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

pub type Fault = Box<dyn std::error::Error + Send + Sync>;

/// What stands around a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Around {
    Nothing,
    /// A transaction that is committed.
    Commit,
    RollBack,
    /// A savepoint that is rolled back to, and then the commit.
    Savepoint,
    ReadOnly,
    RepeatableRead,
    Serializable,
    /// A plpgsql block with an exception handler that raises again.
    Handler,
    /// A generic plan, executed twice.
    Prepared,
}

pub const AROUND: &[Around] = &[
    Around::Nothing,
    Around::Nothing,
    Around::Commit,
    Around::Commit,
    Around::RollBack,
    Around::Savepoint,
    Around::ReadOnly,
    Around::RepeatableRead,
    Around::Serializable,
    Around::Handler,
    Around::Prepared,
];

pub struct Call {
    pub role: &'static str,
    pub settings: Vec<&'static str>,
    pub around: Around,
    pub statement: String,
}

/// An error as the server told it.
#[derive(Clone, Debug)]
pub struct Failure {
    pub sqlstate: String,
    pub message: String,
    pub detail: String,
    pub context: String,
    /// The statement inside a function that it happened in.
    pub inner: Option<String>,
    /// Where in the server's source.
    pub file: String,
    pub is_about_the_call: bool,
}

pub enum Outcome {
    Done { wrote: bool },
    Failed(Failure),
    Lost(String),
}

pub struct Answer {
    pub outcome: Outcome,
    pub took: Duration,
}

pub struct Session {
    pub client: Client,
    pub pid: i32,
    driver: JoinHandle<()>,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Session {
    pub async fn connect(url: &str) -> Result<Session, Fault> {
        let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
        let driver = tokio::spawn(async move {
            // How it ended is seen by whoever waits for an answer.
            let _ = connection.await;
        });
        let pid = client.query_one("select pg_backend_pid()", &[]).await?.get(0);
        Ok(Session { client, pid, driver })
    }

    /// After a crash the server needs a moment.
    pub async fn connect_again(url: &str) -> Result<Session, Fault> {
        let begun = Instant::now();
        loop {
            match Session::connect(url).await {
                Err(error) if begun.elapsed() > Duration::from_secs(60) => return Err(error),
                Err(_) => tokio::time::sleep(Duration::from_millis(200)).await,
                done => return done,
            }
        }
    }

    pub async fn make(&self, call: &Call) -> Answer {
        let begun = Instant::now();
        let outcome = match self.prelude(call).await {
            Ok(()) => self.run(call).await,
            Err(error) => Err(error),
        };
        let took = begun.elapsed();
        let outcome = match (outcome, self.reset().await) {
            (_, Err(error)) => Outcome::Lost(error.to_string()),
            (Ok(wrote), Ok(())) => Outcome::Done { wrote },
            (Err(error), Ok(())) => match error.as_db_error() {
                Some(told) => Outcome::Failed(failure(told)),
                None => Outcome::Lost(error.to_string()),
            },
        };
        Answer { outcome, took }
    }

    /// Hands these bytes to the type's receive function.
    pub async fn receive(&self, bytes: Vec<u8>) -> Answer {
        let begun = Instant::now();
        let outcome =
            match self.client.query("select $1::godwit.revision::text", &[&Binary(bytes)]).await {
                Ok(_) => Outcome::Done { wrote: false },
                Err(error) => match error.as_db_error() {
                    Some(told) => Outcome::Failed(failure(told)),
                    None => Outcome::Lost(error.to_string()),
                },
            };
        Answer { outcome, took: begun.elapsed() }
    }

    async fn prelude(&self, call: &Call) -> Result<(), tokio_postgres::Error> {
        let mut sql =
            format!("set session authorization {}; set statement_timeout = '30s'", call.role);
        for setting in &call.settings {
            sql.push_str("; set ");
            sql.push_str(setting);
        }
        self.client.batch_execute(&sql).await
    }

    async fn run(&self, call: &Call) -> Result<bool, tokio_postgres::Error> {
        let statement = &call.statement;
        let begin = match call.around {
            Around::Nothing => return self.statement(statement).await.map(|()| false),
            Around::Handler => {
                let inner = statement.strip_prefix("select ").map(|rest| format!("perform {rest}"));
                let inner = inner.as_ref().unwrap_or(statement);
                let sql = format!(
                    "do $fuzzing$ begin {inner}; exception when division_by_zero then raise; end $fuzzing$"
                );
                return self.statement(&sql).await.map(|()| false);
            }
            Around::Prepared => {
                self.statement(&format!("prepare fuzzed as {statement}")).await?;
                self.statement("execute fuzzed").await?;
                return self.statement("execute fuzzed").await.map(|()| false);
            }
            Around::ReadOnly => "begin read only",
            Around::RepeatableRead => "begin isolation level repeatable read",
            Around::Serializable => "begin isolation level serializable",
            _ => "begin",
        };
        self.statement(begin).await?;
        if call.around == Around::Savepoint {
            self.statement("savepoint fuzzed").await?;
            let outcome = self.statement(statement).await;
            self.statement("rollback to savepoint fuzzed").await?;
            self.statement("commit").await?;
            return outcome.map(|()| false);
        }
        self.statement(statement).await?;
        let wrote = self
            .client
            .simple_query("select pg_catalog.pg_current_xact_id_if_assigned() is not null")
            .await?;
        let wrote = wrote.iter().any(
            |message| matches!(message, SimpleQueryMessage::Row(row) if row.get(0) == Some("t")),
        );
        self.statement(if call.around == Around::RollBack { "rollback" } else { "commit" }).await?;
        Ok(wrote)
    }

    async fn statement(&self, sql: &str) -> Result<(), tokio_postgres::Error> {
        self.client.simple_query(sql).await.map(|_| ())
    }

    /// Back to a clean session, whatever state the call left it in.
    async fn reset(&self) -> Result<(), tokio_postgres::Error> {
        let mut outcome = Ok(());
        // The call may have set a timeout that these would run into.
        for _ in 0..3 {
            outcome = async {
                self.client.simple_query("rollback").await?;
                self.client.simple_query("reset session authorization").await?;
                self.client.simple_query("reset all").await?;
                self.client.simple_query("deallocate all").await
            }
            .await
            .map(|_| ());
            if outcome.is_ok() {
                break;
            }
        }
        outcome
    }
}

/// Bytes that go out as they are, whatever the type.
#[derive(Debug)]
struct Binary(Vec<u8>);

impl ToSql for Binary {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Fault> {
        out.extend_from_slice(&self.0);
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

fn failure(told: &DbError) -> Failure {
    let inner = match told.position() {
        Some(ErrorPosition::Internal { query, .. }) => Some(query.clone()),
        _ => None,
    };
    Failure {
        sqlstate: told.code().code().to_owned(),
        message: told.message().to_owned(),
        detail: told.detail().unwrap_or_default().to_owned(),
        context: told.where_().unwrap_or_default().to_owned(),
        inner,
        file: told.file().unwrap_or_default().to_owned(),
        is_about_the_call: matches!(told.position(), Some(ErrorPosition::Original(_))),
    }
}
