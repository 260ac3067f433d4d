//! In charge of what writers, readers and the chaos around them share.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio_postgres::{Client, NoTls};

use crate::mark::Ledger;

pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// The tracked tables, in the order of the bits by which a follower names those it reads.
pub const TABLES: [&str; 4] = ["hot", "bulk", "marks", "cases"];

pub fn place_of(table: &str) -> Option<u8> {
    TABLES.iter().position(|name| *name == table).map(|place| place as u8)
}

/// What is said of one transaction that was prepared, before it is.
#[derive(Clone, Copy)]
pub struct Decision {
    pub commit: bool,
    /// Its writer still minds it; else whoever finds it ends it as decided.
    pub minded: bool,
}

#[derive(Default)]
pub struct Figures {
    pub committed: AtomicU64,
    pub aborted: AtomicU64,
    pub prepared: AtomicU64,
    pub rows: AtomicU64,
    pub backend_kills: AtomicU64,
    pub server_kills: AtomicU64,
    pub promotions: AtomicU64,
    /// Sessions of readers that found a replica.
    pub on_replica: AtomicU64,
}

impl Figures {
    pub fn add(figure: &AtomicU64, count: u64) {
        figure.fetch_add(count, Ordering::Relaxed);
    }
}

pub struct World {
    /// Names both servers; the one that takes writes is found by asking.
    pub url: String,
    /// Each server's own.
    pub urls: [String; 2],
    pub gateway_url: String,
    pub begun: Instant,
    rows_a_second: u64,
    pub writing: AtomicBool,
    pub reading: AtomicBool,
    /// No transaction may commit before it is on the replica's disk too.
    pub durable_only: AtomicBool,
    /// No transaction may wait for a disk: what a crash then takes back must not have been shown.
    pub lax_only: AtomicBool,
    /// Transactions under way that don't wait for any disk.
    pub lax: AtomicI64,
    pub figures: Figures,
    pub ledger: Mutex<Ledger>,
    pub decisions: Mutex<HashMap<String, Decision>>,
    faults: Mutex<Vec<String>>,
}

impl World {
    pub fn new(url: String, urls: [String; 2], gateway_url: String, rows_a_second: u64) -> Self {
        World {
            url,
            urls,
            gateway_url,
            begun: Instant::now(),
            rows_a_second,
            writing: AtomicBool::new(true),
            reading: AtomicBool::new(true),
            durable_only: AtomicBool::new(false),
            lax_only: AtomicBool::new(false),
            lax: AtomicI64::new(0),
            figures: Figures::default(),
            ledger: Mutex::default(),
            decisions: Mutex::default(),
            faults: Mutex::default(),
        }
    }

    pub fn is_writing(&self) -> bool {
        self.writing.load(Ordering::SeqCst)
    }

    /// Something that must not be, in words.
    pub fn fault(&self, words: String) {
        let mut faults = held(&self.faults);
        if faults.len() < 20 {
            println!("{:7.2} s  FAULT: {words}", self.begun.elapsed().as_secs_f64());
        }
        faults.push(words);
    }

    pub fn faults(&self) -> Vec<String> {
        held(&self.faults).clone()
    }

    pub fn say(&self, words: &str) {
        println!("{:7.2} s  {words}", self.begun.elapsed().as_secs_f64());
    }

    /// Waits while more was written than an hour's memory and disk have room for.
    pub async fn pace(&self) {
        while self.is_writing() {
            let allowed = (self.begun.elapsed().as_secs_f64() * self.rows_a_second as f64) as u64;
            if self.figures.rows.load(Ordering::Relaxed) <= allowed {
                return;
            }
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
    }

    /// A session with the server that takes writes; tried until there is one.
    pub async fn session(&self) -> Client {
        loop {
            match session(&self.url).await {
                Ok(client) => return client,
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    }
}

/// A session with a replica where there is one, else with the primary.
pub async fn replica_session(world: &World) -> Result<Client, Failure> {
    let mut primary = Err("no server answers".into());
    for url in &world.urls {
        let Ok(client) = session(url).await else { continue };
        let row = client.query_one("select pg_is_in_recovery()", &[]).await?;
        if row.try_get(0)? {
            Figures::add(&world.figures.on_replica, 1);
            return Ok(client);
        }
        primary = Ok(client);
    }
    primary
}

pub async fn session(url: &str) -> Result<Client, Failure> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    // How it ends is seen by who uses it.
    tokio::spawn(async move {
        let _ = connection.await;
    });
    Ok(client)
}

/// What a mutex holds, also if a task has panicked meanwhile: that ends the run with a fault anyway.
pub fn held<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Errors that killing, promoting and many writers bring about; every other one is a finding.
pub fn is_expected(error: &tokio_postgres::Error) -> bool {
    let Some(code) = error.code() else {
        let cause = std::error::Error::source(error);
        return error.is_closed() || cause.is_some_and(|cause| cause.is::<std::io::Error>());
    };
    matches!(
        code.code(),
        // serialization_failure, deadlock_detected, lock_not_available
        "40001" | "40P01" | "55P03"
        // admin_shutdown, crash_shutdown, cannot_connect_now, too_many_connections, a standby
        | "57P01" | "57P02" | "57P03" | "53300" | "25006"
    ) || code.code().starts_with("08")
}
