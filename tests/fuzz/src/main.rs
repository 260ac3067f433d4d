//! In charge of the fuzzing of every SQL function: `godwit-fuzz [seconds] [seed]` calls them with what
//! nobody should hand them, looks at each answer, and checks between the calls that the tables still
//! show the winners. A third of the time goes to random programs of an app's (`program.rs`).
//!
//! `GODWIT_DATABASE_URL` names an empty database that a superuser may fill; `GODWIT_SERVER_LOG` its log.

mod argument;
mod check;
mod dice;
mod function;
mod judge;
mod program;
mod record;
mod run;
mod sentence;
mod session;
mod statement;
mod table;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::session::Fault;

const SECONDS_DEFAULT: u64 = 60;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Fault> {
    let mut arguments = std::env::args().skip(1);
    let seconds: u64 = arguments.next().map_or(Ok(SECONDS_DEFAULT), |text| text.parse())?;
    let seed = match arguments.next().filter(|text| !text.is_empty()) {
        Some(text) => text.parse()?,
        None => SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis() as u64 % 1_000_000_000,
    };
    println!("seed {seed}");
    let url = std::env::var("GODWIT_DATABASE_URL")
        .map_err(|_| "GODWIT_DATABASE_URL is not set: scripts/test.sh fuzz starts a cluster")?;
    let budget = Duration::from_secs(seconds);
    let findings = run::run(&url, budget * 2 / 3, seed).await?;
    let of_programs = program::run(&url, budget / 3, seed).await?;
    if findings + of_programs > 0 {
        return Err(format!(
            "{findings} findings, in target/fuzz/findings.txt, and {of_programs} of programs, above"
        )
        .into());
    }
    Ok(())
}
