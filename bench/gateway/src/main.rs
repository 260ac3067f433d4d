//! Measures the gateway beside what Postgres does by itself, in one run:
//!
//! - idle listeners: memory of the gateway per open feed;
//! - from commit to listener: feeds beside LISTEN/NOTIFY with a connection each;
//! - throughput: the change feed and the snapshot beside COPY of the same rows.
//!
//! Expects a fresh database and a gateway in front of it (bench/gateway.sh).

mod http;
mod latency;
mod throughput;

use clap::Parser;
use std::time::Duration;

pub type Fault = Box<dyn std::error::Error + Send + Sync>;

#[derive(Parser)]
#[command(about)]
pub struct Options {
    #[arg(long, env = "GODWIT_DATABASE_URL", hide_env_values = true)]
    pub database_url: String,

    /// The gateway's address, as host:port.
    #[arg(long, env = "GODWIT_ADDRESS")]
    pub address: String,

    /// The gateway's process, whose memory is looked at.
    #[arg(long, env = "GODWIT_PID")]
    pub pid: u32,

    /// Feeds that are held open in silence.
    #[arg(long, default_value_t = 10_000)]
    pub idle: usize,

    /// Listeners while there are writes.
    #[arg(long, default_value_t = 1_000)]
    pub listeners: usize,

    /// Writes a second.
    #[arg(long, default_value_t = 200)]
    pub writes: u32,

    /// How long there are writes, in seconds.
    #[arg(long, default_value_t = 20)]
    pub seconds: u64,

    /// Rows that are streamed.
    #[arg(long, default_value_t = 1_000_000)]
    pub rows: i64,
}

#[tokio::main]
async fn main() -> Result<(), Fault> {
    let options = Options::parse();
    let sql = connect(&options.database_url).await?;
    sql.batch_execute(
        "create table idle (id int primary key); select godwit.track('idle');
         create table lively (id bigint primary key, note text); select godwit.track('lively');",
    )
    .await?;
    idle(&options).await?;
    latency::measure(&options, &sql).await?;
    throughput::measure(&options, &sql).await?;
    Ok(())
}

pub async fn connect(url: &str) -> Result<tokio_postgres::Client, Fault> {
    let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            eprintln!("bench: a connection ended: {error}");
        }
    });
    Ok(client)
}

async fn idle(options: &Options) -> Result<(), Fault> {
    let before = memory(options.pid)?;
    let mut feeds = Vec::with_capacity(options.idle);
    for _ in 0..options.idle {
        let path = "/v1/changes?feed=ndjson&tables=idle&since=0&heartbeat_ms=600000";
        let mut feed = http::Feed::open(&options.address, path).await?;
        feed.line().await?;
        feeds.push(feed);
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    let after = memory(options.pid)?;
    println!(
        "idle listeners     {:>9}  gateway {:.0} MB, {:.1} KB each",
        feeds.len(),
        after as f64 / 1e6,
        (after.saturating_sub(before)) as f64 / 1e3 / feeds.len() as f64
    );
    Ok(())
}

/// The process's resident memory, in bytes.
pub fn memory(pid: u32) -> Result<u64, Fault> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
    let kilobytes: u64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kilobytes * 1024)
}
