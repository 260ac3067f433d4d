//! In charge of what must hold whatever was called: the history is whole, the tables show the winners,
//! the server has not crashed.

use tokio_postgres::Client;

use crate::session::Fault;

/// Two looks at the same: the extension's own, and an election written out in plain SQL.
pub const DIFFERENCES: &str = include_str!("../../regress/sql/00_check.sql");

/// What is wrong with any tracked table, a sentence each.
pub async fn problems(sql: &Client) -> Result<Vec<String>, Fault> {
    let mut out = Vec::new();
    for row in
        sql.query("select relation::regclass::text from godwit.tracked order by 1", &[]).await?
    {
        let table: String = row.get(0);
        for (by, query) in [
            (
                "godwit.verify",
                "select concat_ws(' ', id, revision, problem) from godwit.verify(($1::text)::regclass)",
            ),
            (
                "differences",
                "select concat_ws(' ', id, shown, elected) from differences(($1::text)::regclass)",
            ),
            (
                "body_differences",
                "select n::text from body_differences(($1::text)::regclass) n where n > 0",
            ),
        ] {
            match sql.query(query, &[&table]).await {
                Ok(rows) => out.extend(
                    rows.iter()
                        .take(5)
                        .map(|row| format!("{by} of {table}: {}", row.get::<_, String>(0))),
                ),
                Err(error) => out.push(format!(
                    "{by} of {table} fails: {}",
                    error.as_db_error().map_or(error.to_string(), |told| told.message().to_owned())
                )),
            }
        }
    }
    Ok(out)
}

/// Tables that are tracked no more.
pub async fn forgotten(sql: &Client, tables: &[&str]) -> Result<Vec<String>, Fault> {
    let query = "select name from unnest($1::text[]) name
                  where not exists (select from godwit.tracked t where t.relation = to_regclass(name))";
    Ok(sql
        .query(query, &[&tables])
        .await?
        .iter()
        .map(|row| format!("{} is not tracked any more", row.get::<_, String>(0)))
        .collect())
}

/// The most memory that a backend has had; where the system doesn't tell, nothing.
pub fn memory_bytes(pid: i32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let peak = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .and_then(|rest| rest.split_whitespace().next()?.parse().ok());
    peak.unwrap_or(0u64) * 1024
}

/// Lines of the server's log that tell of a crash.
pub fn crashes() -> Vec<String> {
    let Ok(path) = std::env::var("GODWIT_SERVER_LOG") else { return Vec::new() };
    let log = std::fs::read(path).unwrap_or_default();
    String::from_utf8_lossy(&log)
        .lines()
        .filter(|line| {
            line.contains("terminated by signal")
                || line.contains("PANIC:")
                || line.contains("TRAP:")
        })
        .map(str::to_owned)
        .collect()
}
