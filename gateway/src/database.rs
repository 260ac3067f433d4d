//! In charge of the connections, and of the one statement that a request runs.

use deadpool_postgres::{
    Hook, HookError, Manager, ManagerConfig, Object, Pool, QueueMode, RecyclingMethod, Runtime,
};
use scopeguard::ScopeGuard;
use serde_json::value::RawValue;
use std::path::Path;
use std::time::Duration;
use tokio_postgres::config::SslMode;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{NoTls, Row};

use crate::auth::Caller;
use crate::config;
use crate::error::Error;
use crate::tls;

#[derive(Clone)]
pub struct Database {
    pool: Pool,
    /// How long a statement may run, if that is bounded.
    statement_timeout: Option<Duration>,
}

/// A parameter; all of them go as text and are cast in SQL, so that nothing is prepared by name
/// and a pooler in transaction mode may stand between.
pub type Parameter<'a> = (&'a (dyn ToSql + Sync), Type);

pub fn text<'a>(value: &'a (dyn ToSql + Sync)) -> Parameter<'a> {
    (value, Type::TEXT)
}

pub fn int8<'a>(value: &'a (dyn ToSql + Sync)) -> Parameter<'a> {
    (value, Type::INT8)
}

pub fn texts<'a>(value: &'a (dyn ToSql + Sync)) -> Parameter<'a> {
    (value, Type::TEXT_ARRAY)
}

pub fn boolean<'a>(value: &'a (dyn ToSql + Sync)) -> Parameter<'a> {
    (value, Type::BOOL)
}

impl Database {
    /// A pool that connects when it is first asked to.
    pub fn new(config: &config::Database) -> Result<Self, String> {
        // libpq's word for what a file of root certificates means here in any case.
        let url = config.database_url.replace("sslmode=verify-full", "sslmode=require");
        let mut target: tokio_postgres::Config =
            url.parse().map_err(|error| format!("DATABASE_URL can't be read: {error}"))?;
        target.connect_timeout(config.pool_wait());
        if target.get_application_name().is_none() {
            target.application_name("godwit");
        }
        let manager = manager(target, config.database_ca_file.as_deref())?;
        let timeout = config.statement_timeout_ms;
        let pool = Pool::builder(manager)
            .max_size(config.pool_size.into())
            // The connection that was used last has its plans and its caches warm; by turns all would be cold.
            .queue_mode(QueueMode::Lifo)
            .runtime(Runtime::Tokio1)
            .wait_timeout(Some(config.pool_wait()))
            .create_timeout(Some(config.pool_wait()))
            .post_create(Hook::async_fn(move |client, _| {
                Box::pin(async move {
                    let settings =
                        format!("set statement_timeout = {timeout}; set timezone = 'UTC'");
                    client.batch_execute(&settings).await.map_err(HookError::Backend)
                })
            }))
            .build()
            .map_err(|error| format!("the connection pool can't be made: {error}"))?;
        let statement_timeout = (timeout > 0).then(|| Duration::from_millis(timeout.into()));
        Ok(Database { pool, statement_timeout })
    }

    /// How full the pool is.
    pub fn pool(&self) -> deadpool_postgres::Status {
        self.pool.status()
    }

    /// Runs one statement as its caller: a transaction under the caller's role, sent in one go.
    pub async fn rows(
        &self,
        caller: &Caller,
        sql: &str,
        parameters: &[Parameter<'_>],
    ) -> Result<Vec<Row>, Error> {
        // On the heap while it runs: else each of those who wait for changes would keep room for it.
        Box::pin(self.run(caller, sql, parameters)).await
    }

    async fn run(
        &self,
        caller: &Caller,
        sql: &str,
        parameters: &[Parameter<'_>],
    ) -> Result<Vec<Row>, Error> {
        let timeout = self.statement_timeout;
        let lent = scopeguard::guard(self.pool.get().await?, |client| give_back(client, timeout));
        let outcome = ask(&lent, caller, sql, parameters).await;
        drop(ScopeGuard::into_inner(lent));
        outcome
    }

    /// The first row's first column as JSON text; null and no row are `None`.
    pub async fn json(
        &self,
        caller: &Caller,
        sql: &str,
        parameters: &[Parameter<'_>],
    ) -> Result<Option<Box<RawValue>>, Error> {
        let rows = self.rows(caller, sql, parameters).await?;
        let found = rows.first().map(|row| row.try_get::<_, Option<String>>(0)).transpose()?;
        found.flatten().map(raw).transpose()
    }

    /// Whether the database is there and has the extension in a version that this gateway speaks.
    pub async fn check(&self) -> Result<String, Fault> {
        let client = self.pool.get().await.map_err(|error| {
            let (cause, says_so_itself) = match &error {
                deadpool_postgres::PoolError::Backend(error) => {
                    (describe(error), error.as_db_error().is_some_and(|db| !is_starting(db.code())))
                }
                other => (other.to_string(), false),
            };
            let reason = format!("the database can't be reached: {cause}. Check DATABASE_URL.");
            if says_so_itself { Fault::Wrong(reason) } else { Fault::Away(reason) }
        })?;
        let sql = "select extversion from pg_catalog.pg_extension where extname = 'godwit'";
        let away = |error: tokio_postgres::Error| Fault::Away(describe(&error));
        let rows = client.query_typed(sql, &[]).await.map_err(away)?;
        let Some(row) = rows.first() else {
            return Err(Fault::Wrong(
                "the database has no extension godwit: run `create extension godwit` in it as a \
                 superuser."
                    .into(),
            ));
        };
        let version: String = row.try_get(0).map_err(away)?;
        let ours = env!("CARGO_PKG_VERSION");
        let series = |version: &str| version.rsplit_once('.').map(|(series, _)| series.to_owned());
        if series(&version) != series(ours) {
            return Err(Fault::Wrong(format!(
                "the extension is of version {version}, this gateway of {ours}: run \
                 `alter extension godwit update`, or the gateway that goes with it."
            )));
        }
        Ok(version)
    }
}

async fn ask(
    client: &Object,
    caller: &Caller,
    sql: &str,
    parameters: &[Parameter<'_>],
) -> Result<Vec<Row>, Error> {
    let Caller::Role { role, claims } = caller else {
        return Ok(client.query_typed(sql, parameters).await?);
    };
    let who = [text(role), text(claims)];
    let become_caller = "select pg_catalog.set_config('role', $1, true),
                                pg_catalog.set_config('request.jwt.claims', $2, true)";
    // All four are sent before the first answer is awaited: a request that is given up in between
    // leaves no transaction open.
    let (begun, became, rows, ended) = tokio::join!(
        biased;
        client.batch_execute("begin"),
        client.query_typed(become_caller, &who),
        client.query_typed(sql, parameters),
        client.batch_execute("commit"),
    );
    begun?;
    became.map_err(not_this_role)?;
    let rows = rows?;
    ended?;
    Ok(rows)
}

/// Of a request that is given up the answers are still to come. The next to use the connection would wait for them, and
/// that is the very next request: so it is given back when they have come. One that doesn't answer is dead.
fn give_back(client: Object, statement_timeout: Option<Duration>) {
    const GRACE: Duration = Duration::from_secs(5);
    let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
    let patience = statement_timeout.map_or(Duration::MAX, |timeout| timeout + GRACE);
    runtime.spawn(async move {
        if tokio::time::timeout(patience, client.batch_execute("")).await.is_err() {
            drop(Object::take(client));
        }
    });
}

/// Why a database won't do; one line that says what to do.
#[derive(Debug, Clone)]
pub enum Fault {
    /// It may come.
    Away(String),
    /// Somebody has to do something.
    Wrong(String),
}

impl From<Fault> for String {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Away(reason) | Fault::Wrong(reason) => reason,
        }
    }
}

/// What a server says that starts, stops or has no room, rather than of who asks.
fn is_starting(code: &SqlState) -> bool {
    code.code().starts_with("57P") || code.code().starts_with("53")
}

/// Encrypted where there are root certificates. Encryption that trusts any certificate is none against who
/// stands in between, so it isn't offered.
fn manager(mut target: tokio_postgres::Config, roots: Option<&Path>) -> Result<Manager, String> {
    let how = ManagerConfig { recycling_method: RecyclingMethod::Fast };
    let Some(roots) = roots else {
        if target.get_ssl_mode() == SslMode::Require {
            return Err("DATABASE_URL asks for TLS: name the file with the database's root \
                        certificates in GODWIT_DATABASE_CA_FILE."
                .into());
        }
        return Ok(Manager::from_config(target, NoTls, how));
    };
    target.ssl_mode(SslMode::Require);
    let tls = tokio_postgres_rustls::MakeRustlsConnect::new(tls::client(roots)?);
    Ok(Manager::from_config(target, tls, how))
}

/// A role that isn't there, or that the gateway's login is no member of, is the token's fault.
fn not_this_role(error: tokio_postgres::Error) -> Error {
    let code = error.code().map(SqlState::code);
    if matches!(code, Some("42501" | "22023" | "42704")) {
        tracing::warn!(%error, "a token's role could not be taken");
        return Error::forbidden("the token's role may not be used here");
    }
    error.into()
}

/// The database's own words where it has any, else the cause of the connection's failure.
fn describe(error: &tokio_postgres::Error) -> String {
    use std::error::Error as _;
    match error.as_db_error() {
        Some(db) => db.message().to_owned(),
        None => error.source().map_or_else(|| error.to_string(), ToString::to_string),
    }
}

/// JSON that Postgres wrote, put into an answer as it is.
pub fn raw(text: String) -> Result<Box<RawValue>, Error> {
    RawValue::from_string(text).map_err(|error| {
        tracing::error!(%error, "the database returned what is not JSON");
        Error::unavailable("the database answered with what can't be read")
    })
}
