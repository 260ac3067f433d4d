//! In charge of `godwit replicate`: two gateways in step, from checkpoint to checkpoint.

mod checkpoint;
mod direction;
mod progress;

use clap::Args;
use std::path::PathBuf;

use crate::peering::stop::Stop;
use crate::peering::{Ending, endpoint};
use direction::Direction;

#[derive(Args, Debug, Clone)]
pub struct Replicate {
    /// The gateway to read from, as https://host/path.
    #[arg(long, value_parser = endpoint::url)]
    pub from: String,

    /// The gateway to put to; the same one will do.
    #[arg(long, value_parser = endpoint::url)]
    pub to: String,

    /// The bearer token for --from.
    #[arg(long, env = "GODWIT_FROM_TOKEN", hide_env_values = true)]
    pub from_token: Option<String>,

    /// A file with the bearer token for --from, read for each request.
    #[arg(long, env = "GODWIT_FROM_TOKEN_FILE", conflicts_with = "from_token")]
    pub from_token_file: Option<PathBuf>,

    /// The bearer token for --to.
    #[arg(long, env = "GODWIT_TO_TOKEN", hide_env_values = true)]
    pub to_token: Option<String>,

    /// A file with the bearer token for --to, read for each request.
    #[arg(long, env = "GODWIT_TO_TOKEN_FILE", conflicts_with = "to_token")]
    pub to_token_file: Option<PathBuf>,

    /// The tables, separated by commas; all that the source has and the token may use, unless named.
    #[arg(long, value_delimiter = ',')]
    pub tables: Vec<String>,

    /// Go on for ever: wait for changes, and for gateways that are away.
    #[arg(long)]
    pub continuous: bool,

    /// Replicate the other way as well.
    #[arg(long)]
    pub both: bool,

    /// Make the tables that the target lacks, with a record id column `_id`.
    #[arg(long)]
    pub create_tables: bool,

    /// Offer everything again, whatever the checkpoints say.
    #[arg(long)]
    pub from_start: bool,

    /// The name under which both sides keep the checkpoint. By default one is made of what the two
    /// databases are and of the tables' names.
    #[arg(long)]
    pub peer: Option<String>,

    /// Changes that are read, and put, at once.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub batch: u32,
}

/// Replicates; the error is what to tell a person.
pub async fn run(options: Replicate) -> Result<Ending, String> {
    let stop = Stop::by_signals()?;
    let from = endpoint::client(
        &options.from,
        options.from_token.as_ref(),
        options.from_token_file.as_ref(),
    )?;
    let to =
        endpoint::client(&options.to, options.to_token.as_ref(), options.to_token_file.as_ref())?;
    let there = Direction::new(from.clone(), to.clone(), &options, options.peer.clone(), &stop);
    if !options.both {
        return there.run().await;
    }
    // Under one name each would take the other's incarnation for its own.
    let peer = options.peer.as_ref().map(|peer| format!("{peer}-back"));
    let back = Direction::new(to, from, &options, peer, &stop);
    let endings = if options.continuous {
        // If one can't go on, the other is let go where it is: it is done again from its checkpoint.
        tokio::try_join!(there.run(), back.run())?
    } else {
        (there.run().await?, back.run().await?)
    };
    Ok(if endings == (Ending::Done, Ending::Done) { Ending::Done } else { Ending::Refused })
}
