//! In charge of `godwit doctor`: looks at a database, changes nothing, and says what to do.

use serde::Serialize;
use std::fmt;
use tokio_postgres::Row;

use crate::auth::Caller;
use crate::config;
use crate::database::{Database, text, texts};
use crate::error::Error;
use crate::login::Login;
use crate::sample::{self, Holder};

/// The exit status where something is wrong.
pub const FAILED: u8 = 2;
/// A transaction that writes for longer than this is worth a look.
const HELD_SECONDS: f64 = 60.0;
/// Sequences end at 2^53. From a thousandth below on there is still time to think.
const SEQUENCE_WARN: i64 = (1 << 53) / 1000 * 999;
/// As many connections as an operator needs to get in and look.
const CONNECTIONS_LEFT: i64 = 3;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
enum Level {
    Ok,
    Warn,
    Fail,
}

/// What one check found.
#[derive(Debug, Serialize)]
struct Finding {
    level: Level,
    check: &'static str,
    says: String,
    /// What to do about it.
    #[serde(rename = "do", skip_serializing_if = "Option::is_none")]
    remedy: Option<String>,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let level = match self.level {
            Level::Ok => "ok",
            Level::Warn => "warn",
            Level::Fail => "FAIL",
        };
        write!(f, "{level:4}  {:13} {}", self.check, self.says)?;
        match &self.remedy {
            Some(remedy) => write!(f, "\n{:20}-> {remedy}", ""),
            None => Ok(()),
        }
    }
}

fn ok(check: &'static str, says: impl Into<String>) -> Finding {
    Finding { level: Level::Ok, check, says: says.into(), remedy: None }
}

fn warn(check: &'static str, says: impl Into<String>, remedy: impl Into<String>) -> Finding {
    Finding { level: Level::Warn, check, says: says.into(), remedy: Some(remedy.into()) }
}

fn fail(check: &'static str, says: impl Into<String>, remedy: impl Into<String>) -> Finding {
    Finding { level: Level::Fail, check, says: says.into(), remedy: Some(remedy.into()) }
}

type Findings = Result<Vec<Finding>, Error>;

/// Returns the exit status: 0, 1 with a warning, 2 with a failure.
pub async fn run(config: config::Doctor) -> Result<u8, String> {
    let database = Database::new(&config.database)?;
    let mut findings = Vec::new();
    match database.check().await {
        Ok(version) => {
            findings.push(ok("extension", format!("godwit {version}")));
            look(&database, &config, &mut findings).await;
        }
        Err(fault) => {
            let says: String = fault.into();
            findings.push(Finding { level: Level::Fail, check: "extension", says, remedy: None });
        }
    }
    let worst = findings.iter().map(|finding| finding.level).max().unwrap_or(Level::Ok);
    if config.json {
        let all = serde_json::to_string_pretty(&findings).map_err(|error| error.to_string())?;
        println!("{all}");
    } else {
        for finding in &findings {
            println!("{finding}");
        }
    }
    Ok(match worst {
        Level::Ok => 0,
        Level::Warn => 1,
        Level::Fail => FAILED,
    })
}

async fn look(database: &Database, config: &config::Doctor, findings: &mut Vec<Finding>) {
    let stream = stream(database);
    let checks: [(&'static str, Findings); 12] = [
        ("login", login(database, &config.auth).await),
        ("roles", roles(database, config).await),
        ("tables", tables(database).await),
        ("triggers", triggers(database).await),
        ("indexes", indexes(database).await),
        ("foreign keys", foreign_keys(database).await),
        ("filters", filters(database, &config.filters).await),
        ("stream", stream.await),
        ("connections", connections(database, config.database.pool_size).await),
        ("durability", durability(database).await),
        ("rejected", rejected(database).await),
        ("conflicts", conflicts(database).await),
    ];
    for (check, outcome) in checks {
        match outcome {
            Ok(found) => findings.extend(found),
            Err(error) => {
                let says = format!("could not be looked at: {}", error.reason);
                findings.push(warn(
                    check,
                    says,
                    "run this as the owner of the tables, or a superuser",
                ));
            }
        }
    }
}

async fn rows(database: &Database, sql: &str) -> Result<Vec<Row>, Error> {
    database.rows(&Caller::Login, sql, &[]).await
}

/// The first column of each row.
async fn names(database: &Database, sql: &str) -> Result<Vec<String>, Error> {
    rows(database, sql).await?.iter().map(|row| Ok(row.try_get(0)?)).collect()
}

fn one(rows: &[Row]) -> Result<&Row, Error> {
    rows.first().ok_or_else(|| Error::unavailable("the database answered with nothing"))
}

async fn login(database: &Database, auth: &config::Auth) -> Findings {
    let login = Login::read(database).await?;
    let finding = match login.excess() {
        None => ok("login", format!("{} may do no more than its own rights say", login.name)),
        Some(excess) if auth.is_asked_for() => {
            fail("login", excess, "do as it says; godwit serve refuses to start as it is")
        }
        Some(_) => warn(
            "login",
            format!("every request has the rights of {}: no tokens are asked for", login.name),
            "fine for development; else set GODWIT_JWT_KEYS_FILE or GODWIT_JWT_SECRET (docs/http.md)",
        ),
    };
    Ok(vec![finding])
}

async fn roles(database: &Database, config: &config::Doctor) -> Findings {
    let mut wanted = config.roles.clone();
    wanted.extend(config.auth.anonymous_role.clone());
    if wanted.is_empty() {
        let sql = "select r.rolname::text from pg_catalog.pg_roles r
                    where r.rolname <> session_user and pg_catalog.pg_has_role(session_user, r.oid, 'member')
                      and r.rolname !~ '^pg_' order by 1";
        let found = names(database, sql).await?;
        if !config.auth.is_asked_for() {
            return Ok(Vec::new());
        }
        return Ok(vec![match found.is_empty() {
            false => ok("roles", format!("tokens may name {}", found.join(", "))),
            true => {
                fail("roles", "the login may switch to no role", "grant it those that tokens name")
            }
        }]);
    }
    let sql = "select w.name, r.oid is not null, coalesce(pg_catalog.pg_has_role(session_user, r.oid, 'member'), false)
                 from pg_catalog.unnest($1) w(name) left join pg_catalog.pg_roles r on r.rolname = w.name";
    let mut findings = Vec::new();
    for row in database.rows(&Caller::Login, sql, &[texts(&wanted)]).await? {
        let (name, is_there, may): (String, bool, bool) =
            (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        findings.push(match (is_there, may) {
            (false, _) => {
                fail("roles", format!("there is no role {name}"), "create it, or name another")
            }
            (true, false) => {
                let says = format!("the login may not switch to {name}");
                fail("roles", says, format!("grant \"{name}\" to the login"))
            }
            (true, true) => ok("roles", format!("the login may switch to {name}")),
        });
    }
    Ok(findings)
}

async fn tables(database: &Database) -> Findings {
    let mut findings = Vec::new();
    let sql = "select t.relation::oid::text || ', twin ' || t.twin::oid::text from godwit.tracked t
                where not exists (select from pg_catalog.pg_class c where c.oid = t.relation)
                   or not exists (select from pg_catalog.pg_class c where c.oid = t.twin)";
    for lost in names(database, sql).await? {
        findings.push(fail(
            "tables",
            format!("the catalog has a table that is not there: oid {lost}"),
            "restore from a backup, or delete its line from godwit.tracked as a superuser",
        ));
    }
    let sql = "select pg_catalog.count(*) from godwit.tracked";
    let tracked: i64 = one(&rows(database, sql).await?)?.try_get(0)?;
    // Partitions have their root's twin; what an extension brings is its own affair.
    let sql = "select c.oid::pg_catalog.regclass::text from pg_catalog.pg_class c
                where c.relkind in ('r', 'p') and not c.relispartition and c.relpersistence = 'p'
                  and c.relnamespace::pg_catalog.regnamespace::text !~ '^(pg_.*|information_schema|godwit)$'
                  and not exists (select from godwit.tracked t where c.oid in (t.relation, t.twin))
                  and not exists (select from pg_catalog.pg_depend d where d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass
                                     and d.objid = c.oid and d.deptype = 'e')
                order by 1 limit 21";
    let bare = names(database, sql).await?;
    let beside = match bare.len() {
        0 => String::new(),
        count => {
            let more = if count > 20 { ", …" } else { "" };
            let bare: Vec<&str> = bare.iter().take(20).map(String::as_str).collect();
            format!("; without a twin, so not synced: {}{more}", bare.join(", "))
        }
    };
    let says = format!("{tracked} tracked{beside}");
    findings.push(match tracked {
        0 => warn("tables", says, "select godwit.track('a_table')"),
        _ => ok("tables", says),
    });
    Ok(findings)
}

async fn triggers(database: &Database) -> Findings {
    let sql = "with wanted as (
                   select t.relation as of, n.name from godwit.tracked t, pg_catalog.unnest(array['~godwit_stamp',
                          '!godwit_insert', '!godwit_update', '!godwit_delete', '!godwit_truncate', '!godwit_replay']) n(name)
                    union all
                   select t.twin, n.name from godwit.tracked t,
                          pg_catalog.unnest(array['godwit_reconcile_insert', 'godwit_reconcile_update']) n(name))
               select w.of::text, w.name, g.oid is null from wanted w
                 left join pg_catalog.pg_trigger g on g.tgrelid = w.of and g.tgname = w.name
                where g.oid is null or g.tgenabled = 'D' order by 1, 2";
    let mut findings = Vec::new();
    for row in rows(database, sql).await? {
        let (table, name, is_missing): (String, String, bool) =
            (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        findings.push(match is_missing {
            true => fail(
                "triggers",
                format!("{table} has no trigger {name}: its changes make no history"),
                format!("select godwit.untrack('{table}'); select godwit.track('{table}')"),
            ),
            false => fail(
                "triggers",
                format!("trigger {name} of {table} is disabled: its changes make no history"),
                format!("alter table {table} enable trigger all; then godwit.verify('{table}') says what it missed"),
            ),
        });
    }
    let sql = "select e.evtname::text from pg_catalog.pg_event_trigger e
                 join pg_catalog.pg_depend d on d.classid = 'pg_catalog.pg_event_trigger'::pg_catalog.regclass
                  and d.objid = e.oid and d.deptype = 'e'
                 join pg_catalog.pg_extension x on x.oid = d.refobjid and x.extname = 'godwit'
                where e.evtenabled = 'D'";
    for name in names(database, sql).await? {
        findings.push(fail(
            "triggers",
            format!("event trigger {name} is disabled: twins don't follow ALTER TABLE"),
            format!("alter event trigger {name} enable always"),
        ));
    }
    if findings.is_empty() {
        findings.push(ok("triggers", "all there and enabled"));
    }
    Ok(findings)
}

async fn indexes(database: &Database) -> Findings {
    let mut findings = Vec::new();
    let sql = "select i.indexrelid::pg_catalog.regclass::text, i.indrelid::pg_catalog.regclass::text
                 from pg_catalog.pg_index i join godwit.tracked t on i.indrelid in (t.relation, t.twin)
                where not i.indisvalid or not i.indisready order by 1";
    for row in rows(database, sql).await? {
        let (index, table): (String, String) = (row.try_get(0)?, row.try_get(1)?);
        findings.push(fail(
            "indexes",
            format!("index {index} of {table} is not valid, and not used"),
            format!("reindex index concurrently {index}"),
        ));
    }
    // What the stream and the look-up of a record's revisions go by.
    let sql = "select t.twin::text, w.columns
                 from godwit.tracked t cross join (values (array['_seq']), (array['_id', '_rev'])) w(columns)
                where not exists (
                      select from pg_catalog.pg_index i
                       where i.indrelid = t.twin and i.indisvalid and i.indpred is null
                         and w.columns = (select pg_catalog.array_agg(a.attname::text order by k.place)
                                            from pg_catalog.unnest(i.indkey::int2[]) with ordinality k(number, place)
                                            join pg_catalog.pg_attribute a on a.attrelid = t.twin and a.attnum = k.number
                                           where k.place <= i.indnkeyatts
                                             and k.place <= pg_catalog.cardinality(w.columns)))
                order by 1";
    for row in rows(database, sql).await? {
        let (twin, columns): (String, Vec<String>) = (row.try_get(0)?, row.try_get(1)?);
        let columns = columns.join(", ");
        findings.push(fail(
            "indexes",
            format!("{twin} has no index on ({columns})"),
            format!("create index concurrently on {twin} ({columns})"),
        ));
    }
    if findings.is_empty() {
        findings.push(ok("indexes", "the twins' are there and valid"));
    }
    Ok(findings)
}

/// What readers see is filtered by policies, and by the `where` of those who ask: a snapshot goes through the
/// whole table where no index begins with the column.
async fn filters(database: &Database, asked: &[String]) -> Findings {
    let sql = "with asked as (
                   select t.table_oid as relation, pg_catalog.regexp_replace(w.asked, '^.*[.]', '') as name
                     from pg_catalog.unnest($1) w(asked)
                     join godwit.tables() t on t.name = pg_catalog.regexp_replace(w.asked, '[.][^.]*$', '')),
               filtered as (
                   select t.relation, d.refobjsubid::int2 as number, 'policy ' || pg_catalog.quote_ident(p.polname) as by
                     from godwit.tracked t
                     join pg_catalog.pg_class c on c.oid = t.relation and c.relrowsecurity
                     join pg_catalog.pg_policy p on p.polrelid = t.relation and p.polcmd in ('*', 'r')
                     join pg_catalog.pg_depend d on d.classid = 'pg_catalog.pg_policy'::pg_catalog.regclass and d.objid = p.oid
                      and d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass and d.refobjid = t.relation and d.refobjsubid > 0
                    union
                   select a.attrelid, a.attnum, '--filters' from asked
                     join pg_catalog.pg_attribute a on a.attrelid = asked.relation and a.attname = asked.name
                      and a.attnum > 0 and not a.attisdropped)
               select f.relation::text, pg_catalog.quote_ident(a.attname), pg_catalog.string_agg(f.by, ', ' order by f.by),
                      exists (select from pg_catalog.pg_index i
                               where i.indrelid = f.relation and i.indisvalid and i.indpred is null
                                 and i.indkey[0] = f.number)
                 from filtered f join pg_catalog.pg_attribute a on a.attrelid = f.relation and a.attnum = f.number
                group by 1, 2, f.relation, f.number order by 1, 2";
    let found = database.rows(&Caller::Login, sql, &[texts(&asked)]).await?;
    let mut findings = Vec::new();
    for row in &found {
        let (table, column, by): (String, String, String) =
            (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        if !row.try_get::<_, bool>(3)? {
            findings.push(warn(
                "filters",
                format!("{table} is filtered by {column} ({by}), with which no index begins"),
                format!("create index concurrently on {table} ({column})"),
            ));
        }
    }
    let sql = "select w.asked from pg_catalog.unnest($1) w(asked)
                where not exists (
                      select from godwit.tables() t
                        join pg_catalog.pg_attribute a on a.attrelid = t.table_oid and a.attnum > 0 and not a.attisdropped
                       where t.name || '.' || a.attname = w.asked)";
    for row in database.rows(&Caller::Login, sql, &[texts(&asked)]).await? {
        let asked: String = row.try_get(0)?;
        findings.push(fail(
            "filters",
            format!("{asked} is no column of a tracked table"),
            "name it as table.column",
        ));
    }
    if findings.is_empty() {
        let says = format!("{} columns of policies and --filters, each with an index", found.len());
        findings.push(ok("filters", says));
    }
    Ok(findings)
}

/// Deleting or re-electing a record looks for rows that refer to it.
async fn foreign_keys(database: &Database) -> Findings {
    let sql = "select c.conrelid::pg_catalog.regclass::text, c.conname::text,
                      (select pg_catalog.string_agg(pg_catalog.quote_ident(a.attname), ', ' order by k.place)
                         from pg_catalog.unnest(c.conkey) with ordinality k(number, place)
                         join pg_catalog.pg_attribute a on a.attrelid = c.conrelid and a.attnum = k.number)
                 from pg_catalog.pg_constraint c join godwit.tracked t on t.relation = c.conrelid
                where c.contype = 'f' and not exists (
                      select from pg_catalog.pg_index i
                       where i.indrelid = c.conrelid and i.indisvalid and i.indpred is null
                         and (i.indkey::int2[])[0:pg_catalog.cardinality(c.conkey) - 1] operator(pg_catalog.@>) c.conkey)
                order by 1, 2";
    let mut findings = Vec::new();
    for row in rows(database, sql).await? {
        let (table, key, columns): (String, String, String) =
            (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        findings.push(warn(
            "foreign keys",
            format!("{key} of {table} has no index: each deleted parent reads the whole table"),
            format!("create index concurrently on {table} ({columns})"),
        ));
    }
    if findings.is_empty() {
        findings.push(ok("foreign keys", "each has an index"));
    }
    Ok(findings)
}

async fn stream(database: &Database) -> Findings {
    let (sequence, horizon, holders) = sample::holders(database, &Caller::Login).await?;
    let mut findings: Vec<Finding> = holders.iter().filter_map(holder).collect();
    if findings.is_empty() {
        let behind = (sequence - horizon).max(0);
        findings.push(ok("stream", format!("at {sequence}, readers {behind} behind")));
    }
    let of_all = format!("the last sequence is {sequence} of 9007199254740991");
    if sequence >= SEQUENCE_WARN {
        let remedy = "plan a new database to replicate to: numbers are never handed out twice";
        findings.push(warn("sequence", of_all, remedy));
    } else {
        findings.push(ok("sequence", of_all));
    }
    Ok(findings)
}

fn holder(holder: &Holder) -> Option<Finding> {
    let who = match (&holder.prepared, holder.pid) {
        (Some(name), _) => format!("prepared transaction '{name}'"),
        (None, Some(pid)) => format!("backend {pid}"),
        (None, None) => "a transaction".into(),
    };
    let of = [&holder.role, &holder.application, &holder.state];
    let of: Vec<&str> =
        of.into_iter().flatten().map(String::as_str).filter(|x| !x.is_empty()).collect();
    let who = format!("{who} ({}) holds the stream back", of.join(", "));
    let remedy = match (&holder.prepared, holder.pid) {
        (Some(name), _) => {
            let name = name.replace('\'', "''");
            format!("commit prepared '{name}', or rollback prepared '{name}'")
        }
        (None, Some(pid)) => {
            format!("see what it waits for; select pg_terminate_backend({pid}) ends it")
        }
        (None, None) => "select * from pg_prepared_xacts".into(),
    };
    match holder.seconds {
        Some(seconds) if seconds < HELD_SECONDS => None,
        Some(seconds) => Some(warn("stream", format!("{who} for {seconds:.0} s"), remedy)),
        None => {
            let says = format!("{who}; for how long, the login may not know");
            Some(warn("stream", says, "run this as a member of pg_monitor"))
        }
    }
}

async fn connections(database: &Database, pool_size: u16) -> Findings {
    let sql = "select pg_catalog.current_setting('max_connections')::int8
                    - pg_catalog.current_setting('superuser_reserved_connections')::int8,
                      (select pg_catalog.count(*) from pg_catalog.pg_stat_activity
                        where backend_type = 'client backend' and application_name <> 'godwit'),
                      (select d.datconnlimit::int8 from pg_catalog.pg_database d
                        where d.datname = pg_catalog.current_database()),
                      (select r.rolconnlimit::int8 from pg_catalog.pg_roles r where r.rolname = session_user)";
    let found = rows(database, sql).await?;
    let row = one(&found)?;
    let (max, others): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
    let bounds: [i64; 2] = [row.try_get(2)?, row.try_get(3)?];
    // A bound of -1 is none.
    let max = bounds.into_iter().filter(|bound| *bound >= 0).fold(max, i64::min);
    // One more watches the stream.
    let pool = i64::from(pool_size) + 1;
    let says = format!("a gateway takes up to {pool} of {max}, others have {others}");
    Ok(vec![match pool + others + CONNECTIONS_LEFT {
        _ if pool > max => {
            fail("connections", says, "lower GODWIT_POOL_SIZE, or raise max_connections")
        }
        needed if needed > max => {
            let remedy = "lower GODWIT_POOL_SIZE (of each gateway), raise max_connections, or put pgbouncer between";
            warn("connections", says, remedy)
        }
        _ => ok("connections", says),
    }])
}

async fn durability(database: &Database) -> Findings {
    let sql = "select s.name::text, s.setting from pg_catalog.pg_settings s
                where s.name in ('fsync', 'full_page_writes', 'synchronous_commit') and s.setting = 'off'";
    let mut findings = Vec::new();
    for name in names(database, sql).await? {
        let set = format!("alter system set {name} = on; select pg_reload_conf()");
        findings.push(match name.as_str() {
            "synchronous_commit" => warn(
                "durability",
                "synchronous_commit is off: what was acknowledged may be lost in a crash",
                set,
            ),
            _ => {
                fail("durability", format!("{name} is off: a crash may destroy the database"), set)
            }
        });
    }
    if findings.is_empty() {
        findings.push(ok("durability", "what is acknowledged is on disk"));
    }
    Ok(findings)
}

async fn rejected(database: &Database) -> Findings {
    let sql = "select relation::text, pg_catalog.count(*), pg_catalog.min(at)::text from godwit.rejected group by 1 order by 2 desc";
    let mut findings = Vec::new();
    for row in rows(database, sql).await? {
        let (table, count, since): (String, i64, String) =
            (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        findings.push(warn(
            "rejected",
            format!("{table} refused {count} revisions, the first at {since}"),
            format!("godwit.rejected has the reasons; select * from godwit.retry_rejected('{table}') when they are gone"),
        ));
    }
    if findings.is_empty() {
        let hidden = live(database, "godwit.rejected").await?;
        findings.push(match hidden {
            0 => ok("rejected", "nothing waits"),
            _ => warn(
                "rejected",
                format!("about {hidden} revisions wait"),
                "their tables' owners see them in godwit.rejected",
            ),
        });
    }
    Ok(findings)
}

async fn conflicts(database: &Database) -> Findings {
    let count = live(database, "godwit.conflicted").await?;
    Ok(vec![match count {
        0 => ok("conflicts", "none"),
        _ => warn(
            "conflicts",
            format!("about {count} records may have conflicts"),
            "godwit.conflicts lists them; godwit.resolve ends one, godwit.set_policy has them merged",
        ),
    }])
}

/// Postgres's own count of a table's rows, which asks for no rights.
async fn live(database: &Database, table: &str) -> Result<i64, Error> {
    let sql = "select pg_catalog.pg_stat_get_live_tuples($1::text::pg_catalog.regclass)";
    let found = database.rows(&Caller::Login, sql, &[text(&table)]).await?;
    Ok(one(&found)?.try_get(0)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(seconds: Option<f64>, prepared: Option<&str>) -> Holder {
        Holder {
            pid: prepared.is_none().then_some(17),
            prepared: prepared.map(str::to_owned),
            role: Some("clerk".into()),
            application: Some(String::new()),
            state: None,
            seconds,
        }
    }

    #[test]
    fn what_holds_the_stream_back_is_named_when_it_takes_long() {
        assert!(holder(&held(Some(5.0), None)).is_none());
        let found = holder(&held(Some(90.4), None)).unwrap().to_string();
        assert!(found.contains("backend 17 (clerk) holds the stream back for 90 s"), "{found}");
        assert!(found.contains("pg_terminate_backend(17)"), "{found}");
        let found = holder(&held(Some(90.0), Some("it's"))).unwrap().to_string();
        assert!(found.contains("rollback prepared 'it''s'"), "{found}");
        assert!(holder(&held(None, None)).unwrap().to_string().contains("pg_monitor"));
    }
}
