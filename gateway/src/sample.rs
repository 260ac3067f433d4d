//! In charge of what the metrics ask the database, and how seldom.

use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::auth::Caller;
use crate::database::Database;
use crate::error::Error;

/// How long a sample is good for, however many scrapers there are.
const GOOD_FOR: Duration = Duration::from_secs(15);
/// Beyond it the scraper gets what is known: it has a time-out of its own, mostly of ten seconds.
const WAIT: Duration = Duration::from_secs(3);

#[derive(Debug, Default)]
pub struct Sample {
    pub sequence: i64,
    pub horizon: i64,
    pub rejected: i64,
    pub conflicted: i64,
    pub holders: Vec<Holder>,
}

/// A transaction that holds the stream back.
#[derive(Debug, Clone)]
pub struct Holder {
    pub pid: Option<i32>,
    pub prepared: Option<String>,
    pub role: Option<String>,
    pub application: Option<String>,
    pub state: Option<String>,
    /// None where another session's may not be known.
    pub seconds: Option<f64>,
}

#[derive(Clone)]
pub enum Outcome {
    Sampled(Arc<Sample>),
    /// The database answers, but not this.
    NotPermitted,
    Away,
}

impl Outcome {
    pub fn is_up(&self) -> bool {
        !matches!(self, Outcome::Away)
    }

    pub fn sample(&self) -> Option<&Sample> {
        match self {
            Outcome::Sampled(sample) => Some(sample),
            Outcome::NotPermitted | Outcome::Away => None,
        }
    }
}

pub struct Sampler {
    caller: Caller,
    last: Mutex<Option<(Instant, Outcome)>>,
}

impl Sampler {
    pub fn new(role: Option<String>) -> Self {
        let caller = match role {
            Some(role) => Caller::Role { role, claims: "{}".into() },
            None => Caller::Login,
        };
        Sampler { caller, last: Mutex::default() }
    }

    pub async fn sample(&self, database: &Database) -> Outcome {
        let mut last = self.last.lock().await;
        if let Some((at, outcome)) = last.as_ref()
            && at.elapsed() < GOOD_FOR
            && outcome.is_up()
        {
            return outcome.clone();
        }
        let read = tokio::time::timeout(WAIT, read(database, &self.caller)).await;
        let outcome = match read {
            Ok(Ok(sample)) => Outcome::Sampled(Arc::new(sample)),
            // The failure has been logged where it became an `Error`.
            Ok(Err(error)) if !error.status.is_server_error() => Outcome::NotPermitted,
            Ok(Err(_)) | Err(_) => Outcome::Away,
        };
        *last = Some((Instant::now(), outcome.clone()));
        outcome
    }
}

/// Who holds the stream back, in its order. Role and age of another's session are known to pg_monitor only.
pub async fn holders(
    database: &Database,
    caller: &Caller,
) -> Result<(i64, i64, Vec<Holder>), Error> {
    let sql = "select last_sequence, horizon, holds_at, pid, prepared, role::text, application, state, seconds
                 from godwit.stream_status()";
    let rows = database.rows(caller, sql, &[]).await?;
    let first = rows.first().ok_or_else(|| Error::unavailable("the stream has no status"))?;
    let (sequence, horizon) = (first.try_get(0)?, first.try_get(1)?);
    let mut holders = Vec::new();
    for row in &rows {
        if row.try_get::<_, Option<i64>>(2)?.is_some() {
            holders.push(Holder {
                pid: row.try_get(3)?,
                prepared: row.try_get(4)?,
                role: row.try_get(5)?,
                application: row.try_get(6)?,
                state: row.try_get(7)?,
                seconds: row.try_get(8)?,
            });
        }
    }
    Ok((sequence, horizon, holders))
}

async fn read(database: &Database, caller: &Caller) -> Result<Sample, Error> {
    let (sequence, horizon, holders) = holders(database, caller).await?;
    // Postgres's own count of live rows: it costs nothing, and needs no right to the rows.
    let sql = "select pg_catalog.pg_stat_get_live_tuples('godwit.rejected'::pg_catalog.regclass),
                      pg_catalog.pg_stat_get_live_tuples('godwit.conflicted'::pg_catalog.regclass)";
    let rows = database.rows(caller, sql, &[]).await?;
    let row = rows.first().ok_or_else(|| Error::unavailable("the database counts nothing"))?;
    Ok(Sample {
        sequence,
        horizon,
        rejected: row.try_get(0)?,
        conflicted: row.try_get(1)?,
        holders,
    })
}
