//! Measures listeners of the gateway, for bench/measures/listeners.py; prints one JSON object a line:
//!
//! - `idle`: the gateway's memory per open feed;
//! - `latency`: from a write to the listeners, feeds and LISTEN/NOTIFY in turns.

mod feed;
mod latency;

use clap::{Parser, Subcommand};
use std::time::Duration;

pub type Fault = Box<dyn std::error::Error + Send + Sync>;

#[derive(Parser)]
#[command(about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Memory per feed that is held open in silence.
    Idle {
        /// The gateway's address, as host:port.
        #[arg(long)]
        address: String,

        /// The gateway's process, whose memory is looked at.
        #[arg(long)]
        pid: u32,

        #[arg(long)]
        listeners: usize,
    },
    /// Time from when a write is sent to each listener.
    Latency(Latency),
}

#[derive(Parser)]
pub struct Latency {
    #[arg(long, env = "BENCH_DATABASE_URL", hide_env_values = true)]
    pub database_url: String,

    /// The gateway's address, as host:port.
    #[arg(long)]
    pub address: String,

    /// Feeds that listen.
    #[arg(long)]
    pub listeners: usize,

    /// Connections that LISTEN, in turns with the feeds; none where Postgres can't hold so many.
    #[arg(long)]
    pub notified: usize,

    /// Writes a second.
    #[arg(long, default_value_t = 200)]
    pub writes: u32,

    /// How long there are writes in a round, in seconds.
    #[arg(long)]
    pub seconds: u32,

    /// After one that warms up.
    #[arg(long)]
    pub rounds: u32,
}

#[tokio::main]
async fn main() -> Result<(), Fault> {
    match Cli::parse().command {
        Command::Idle { address, pid, listeners } => idle(&address, pid, listeners).await,
        Command::Latency(options) => latency::measure(&options).await,
    }
}

async fn idle(address: &str, pid: u32, listeners: usize) -> Result<(), Fault> {
    let before = memory(pid)?;
    let feeds = feed::open_many(address, listeners).await?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let grown = memory(pid)?.saturating_sub(before);
    println!("{{\"bytes_each\": {}}}", grown as f64 / feeds.len() as f64);
    Ok(())
}

/// The process's resident memory, in bytes.
fn memory(pid: u32) -> Result<u64, Fault> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
    let kilobytes: u64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kilobytes * 1024)
}
