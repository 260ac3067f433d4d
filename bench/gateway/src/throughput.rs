//! In charge of a large table streamed from end to end: through the gateway, and by COPY.

use futures_util::TryStreamExt;
use std::time::Instant;
use tokio_postgres::Client;

use crate::{Fault, Options, http::Feed, memory};

const COLUMNS: &str = "id bigint primary key, name text, region text, born date, seen timestamptz,
    weight numeric, score double precision, active boolean, note text, tags text[]";

pub async fn measure(options: &Options, sql: &Client) -> Result<(), Fault> {
    let rows = options.rows;
    sql.batch_execute(&format!(
        "create table large ({COLUMNS});
         insert into large select g, 'person number ' || g, 'region-' || g % 50, date '1980-01-01' + (g % 9000)::int,
             timestamptz '2026-01-01 00:00Z' + g * interval '1 second', (g % 10000) / 100.0, g / 7.0, g % 3 = 0,
             repeat('note ' || g % 1000 || ' ', 12), array['tag' || g % 7, 'tag' || g % 11]
           from generate_series(1, {rows}) g;
         select godwit.track('large');"
    ))
    .await?;
    // Each by itself: not in the transaction that several statements at once are.
    for table in ["large", "large_history"] {
        sql.batch_execute(&format!("vacuum analyze {table}")).await?;
    }
    for round in 1..=2 {
        println!("round {round}");
        copy(options, sql, "COPY of the table", "large").await?;
        copy(options, sql, "COPY of the twin", "large_history").await?;
        feed(options, "feed, names only", "include=none").await?;
        feed(options, "feed with records", "include=records").await?;
        snapshot(options).await?;
    }
    Ok(())
}

fn print(name: &str, rows: u64, bytes: u64, begun: Instant, more: &str) {
    let seconds = begun.elapsed().as_secs_f64();
    println!(
        "{name:<19}{rows:>9} rows  {seconds:6.1} s  {:9.0} rows/s  {:6.1} MB/s{more}",
        rows as f64 / seconds,
        bytes as f64 / 1e6 / seconds
    );
}

async fn copy(_: &Options, sql: &Client, name: &str, table: &str) -> Result<(), Fault> {
    let begun = Instant::now();
    let stream = sql.copy_out(&format!("copy {table} to stdout")).await?;
    let (rows, bytes) = stream
        .try_fold(
            (0, 0),
            |(rows, bytes), line| async move { Ok((rows + 1, bytes + line.len() as u64)) },
        )
        .await?;
    print(name, rows, bytes, begun, "");
    Ok(())
}

async fn feed(options: &Options, name: &str, include: &str) -> Result<(), Fault> {
    let begun = Instant::now();
    let path = format!("/v1/changes?feed=ndjson&tables=large&since=0&{include}");
    let mut feed = Feed::open(&options.address, &path).await?;
    let mut rows = 0;
    while rows < options.rows as u64 {
        match feed.line().await? {
            Some(line) if line.starts_with(b"{\"next\"") => {}
            Some(_) => rows += 1,
            None => return Err("the feed ended".into()),
        }
    }
    let memory = format!("  gateway {:.0} MB", memory(options.pid)? as f64 / 1e6);
    print(name, rows, feed.bytes, begun, &memory);
    Ok(())
}

async fn snapshot(options: &Options) -> Result<(), Fault> {
    let begun = Instant::now();
    let mut feed = Feed::open(&options.address, "/v1/tables/large/snapshot").await?;
    let mut rows = 0;
    while let Some(line) = feed.line().await? {
        rows += u64::from(!line.starts_with(b"{\"next\""));
    }
    let memory = format!("  gateway {:.0} MB", memory(options.pid)? as f64 / 1e6);
    print("snapshot", rows, feed.bytes, begun, &memory);
    Ok(())
}
