//! In charge of the time from a commit, as its writer sees it, to a listener.

use futures_util::{StreamExt, stream};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio_postgres::{AsyncMessage, Client, NoTls};

use crate::{Fault, Options, connect, http::Feed};

pub async fn measure(options: &Options, sql: &Client) -> Result<(), Fault> {
    let feeds = through_feeds(options, sql).await?;
    print("feeds", options.listeners, feeds);
    let notified = through_notify(options).await?;
    print("LISTEN/NOTIFY", options.listeners, notified);
    Ok(())
}

/// A writer that keeps to its rate, and so late that a stall shows up as latency, not as fewer writes.
async fn write(options: &Options, notify: bool) -> Result<Vec<Instant>, Fault> {
    let writer = connect(&options.database_url).await?;
    let pause = Duration::from_secs(1) / options.writes;
    let count = u64::from(options.writes) * options.seconds;
    let begun = Instant::now();
    let mut commits = Vec::with_capacity(count as usize);
    for number in 0..count {
        tokio::time::sleep_until((begun + pause * number as u32).into()).await;
        let statement = match notify {
            false => format!("insert into lively values ({number}, 'x')"),
            true => format!(
                "begin; insert into plain values ({number}, 'x'); notify lively, '{number}'; commit"
            ),
        };
        writer.batch_execute(&statement).await?;
        commits.push(Instant::now());
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    Ok(commits)
}

async fn through_feeds(options: &Options, sql: &Client) -> Result<Vec<Duration>, Fault> {
    let now: i64 = sql.query_one("select godwit.last_sequence()", &[]).await?.get(0);
    let seen: Arc<Mutex<Vec<(u64, Instant)>>> = Arc::default();
    let mut listeners = JoinSet::new();
    for _ in 0..options.listeners {
        let path = format!("/v1/changes?feed=ndjson&tables=lively&since={now}&heartbeat_ms=600000");
        let mut feed = Feed::open(&options.address, &path).await?;
        let seen = Arc::clone(&seen);
        listeners.spawn(async move {
            while let Ok(Some(line)) = feed.line().await {
                let at = Instant::now();
                if let Some(number) = number_of(line) {
                    seen.lock().await.push((number, at));
                }
            }
        });
    }
    let commits = write(options, false).await?;
    listeners.shutdown().await;
    let seen = seen.lock().await;
    expect_all(seen.len(), commits.len() * options.listeners);
    Ok(latencies(&commits, &seen))
}

fn number_of(line: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(line).ok()?;
    let (_, rest) = text.split_once("\"id\":\"")?;
    rest.split_once('"')?.0.parse().ok()
}

async fn through_notify(options: &Options) -> Result<Vec<Duration>, Fault> {
    let sql = connect(&options.database_url).await?;
    sql.batch_execute("create table plain (id bigint primary key, note text)").await?;
    let seen: Arc<Mutex<Vec<(u64, Instant)>>> = Arc::default();
    let mut listeners = JoinSet::new();
    for _ in 0..options.listeners {
        let (client, mut connection) =
            tokio_postgres::connect(&options.database_url, NoTls).await?;
        let seen = Arc::clone(&seen);
        let messages = stream::poll_fn(move |context| connection.poll_message(context));
        let listen = async move {
            let mut messages = std::pin::pin!(messages);
            while let Some(Ok(message)) = messages.next().await {
                let at = Instant::now();
                if let AsyncMessage::Notification(notice) = message
                    && let Ok(number) = notice.payload().parse()
                {
                    seen.lock().await.push((number, at));
                }
            }
        };
        listeners.spawn(listen);
        client.batch_execute("listen lively").await?;
        // Dropped, it would end the connection.
        std::mem::forget(client);
    }
    let commits = write(options, true).await?;
    listeners.shutdown().await;
    let seen = seen.lock().await;
    expect_all(seen.len(), commits.len() * options.listeners);
    Ok(latencies(&commits, &seen))
}

fn expect_all(seen: usize, expected: usize) {
    if seen != expected {
        println!("  {seen} of {expected} arrived in time");
    }
}

fn latencies(commits: &[Instant], seen: &[(u64, Instant)]) -> Vec<Duration> {
    let of = |(number, at): &(u64, Instant)| {
        commits.get(*number as usize).map(|commit| at.saturating_duration_since(*commit))
    };
    let mut all: Vec<Duration> = seen.iter().filter_map(of).collect();
    all.sort();
    all
}

fn print(name: &str, listeners: usize, all: Vec<Duration>) {
    let at = |part: f64| {
        let place = ((all.len() as f64 * part) as usize).min(all.len().saturating_sub(1));
        all.get(place).map_or(f64::NAN, |time| time.as_secs_f64() * 1000.0)
    };
    println!(
        "commit to listener {listeners:>9}  {name:<14} p50 {:6.1} ms  p99 {:6.1} ms  max {:6.1} ms",
        at(0.5),
        at(0.99),
        at(1.0)
    );
}
