//! In charge of one run: writers, readers and chaos for some seconds, then the verdict.

mod chaos;
mod check;
mod edit;
mod history;
mod mark;
mod path;
mod prepared;
mod random;
mod read;
mod server;
mod verdict;
mod world;
mod write;

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use chaos::Chaos;
use random::Random;
use read::{STYLES, SharedLog};
use server::Servers;
use world::{Failure, TABLES, World};

/// The defaults; every one can be given as `--name number`.
struct Options {
    seconds: u64,
    seed: u64,
    writers: u16,
    /// Rows that all writers together change, so that two cores are busy and an hour fits the memory.
    rows_a_second: u64,
}

impl Options {
    fn read() -> Result<Options, Failure> {
        let clock = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
        let seed = u64::from(clock.subsec_nanos()) ^ clock.as_secs();
        let mut options = Options { seconds: 60, seed, writers: 16, rows_a_second: 1200 };
        let mut arguments = std::env::args().skip(1);
        while let Some(name) = arguments.next() {
            let number = arguments.next().and_then(|text| text.parse().ok());
            let number: u64 = number.ok_or(format!("{name} takes a number"))?;
            match name.as_str() {
                "--seconds" => options.seconds = number.max(1),
                "--seed" => options.seed = number,
                "--writers" => options.writers = u16::try_from(number)?,
                "--rows" => options.rows_a_second = number.max(1),
                _ => return Err(format!("{name}? --seconds, --seed, --writers and --rows").into()),
            }
        }
        Ok(options)
    }
}

/// 0: all is well. 1: it is not, and the log says what. 2: the test itself could not be done.
#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}

async fn run() -> Result<bool, Failure> {
    let options = Options::read()?;
    let Options { seconds, seed, writers, rows_a_second } = options;
    let named = |name: &str| std::env::var(name).map_err(|_| format!("{name} is not set"));
    let (url, gateway) = (named("GODWIT_DATABASE_URL")?, named("GODWIT_URL")?);
    let servers = Servers::from_environment()?;
    let urls = [servers.primary.url.clone(), servers.other.url.clone()];
    let session = servers.answering().await?;
    session.batch_execute(edit::SCHEMA).await?;
    for table in TABLES {
        session.batch_execute(&format!("select godwit.track('{table}')")).await?;
    }
    println!("seed {seed}: scripts/torture.sh {seconds} --seed {seed}");

    let world = Arc::new(World::new(url, urls, gateway, rows_a_second));
    let length = Duration::from_secs(seconds);
    let end = Instant::now() + length;
    let logs: Vec<SharedLog> = STYLES.iter().map(|_| SharedLog::default()).collect();
    let mut readers = Vec::new();
    for (number, style) in STYLES.iter().enumerate() {
        let random = Random::new(seed, 1000 + number as u64);
        let reader = read::follow(world.clone(), *style, random, logs[number].clone(), length);
        readers.push(tokio::spawn(reader));
    }
    let tasks: Vec<_> = (0..writers)
        .map(|number| {
            let random = Random::new(seed, u64::from(number));
            tokio::spawn(write::write(world.clone(), number, random))
        })
        .collect();
    let written = Arc::new(AtomicBool::new(false));
    let minder = tokio::spawn(prepared::mind(world.clone(), written.clone()));

    let random = Random::new(seed, 2000);
    let mut chaos = Chaos { world: world.clone(), servers, logs, random, tails: Vec::new() };
    // A minute holds a round and a half; an hour has longer stretches without a crash, too.
    let pause_ms = if seconds > 300 { (500, 15_000) } else { (500, 3500) };
    chaos.reign(end, pause_ms).await?;
    world.writing.store(false, Ordering::SeqCst);
    for task in tasks {
        task.await?;
    }
    written.store(true, Ordering::SeqCst);
    minder.await?;
    world.say("nobody writes any more");
    world.reading.store(false, Ordering::SeqCst);
    for reader in readers {
        reader.await?;
    }
    world.say("every reader has come to the end");
    verdict::give(&world, &chaos, seconds, seed, writers).await
}
