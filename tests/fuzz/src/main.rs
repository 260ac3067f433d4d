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
/// Whoever changes something is told whether that is at fault: the programs are the same each time, and of these none
/// found anything. Who looks for more names a seed.
const PROGRAMS: (u64, usize) = (786_742_726, 300);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Fault> {
    let mut arguments = std::env::args().skip(1);
    let seconds: u64 = arguments.next().map_or(Ok(SECONDS_DEFAULT), |text| text.parse())?;
    let named: Option<u64> =
        arguments.next().filter(|text| !text.is_empty()).map(|text| text.parse()).transpose()?;
    let seed = match named {
        Some(seed) => seed,
        None => SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis() as u64 % 1_000_000_000,
    };
    println!("seed {seed}");
    let url = std::env::var("GODWIT_DATABASE_URL")
        .map_err(|_| "GODWIT_DATABASE_URL is not set: scripts/test.sh fuzz starts a cluster")?;
    let budget = Duration::from_secs(seconds);
    let findings = run::run(&url, budget * 2 / 3, seed).await?;
    let programs = named.map_or(PROGRAMS, |seed| (seed, usize::MAX));
    let of_programs = program::run(&url, budget / 3, programs).await?;
    if findings + of_programs > 0 {
        return Err(format!(
            "{findings} findings, in target/fuzz/findings.txt, and {of_programs} of programs, above"
        )
        .into());
    }
    Ok(())
}
