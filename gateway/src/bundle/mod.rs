//! In charge of `godwit export` and `godwit import`: revisions in a file, for where there is no network.
//!
//! The file is a zstd stream of JSON, a line each: what it is, the revisions, and a seal over all that came
//! before it (docs/replicate.md).

mod export;
mod import;
mod reader;
mod seal;
mod writer;

use clap::Args;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

use crate::client::Table;
use crate::peering::endpoint;

pub use export::export;
pub use import::import;

/// The format that this version writes and reads.
const FORMAT: u32 = 1;

/// A line is a revision, whose body a gateway would hardly have taken if it were larger than this.
const LINE_BYTES_MAX: usize = 64 * 1024 * 1024;

#[derive(Args, Debug, Clone)]
pub struct Export {
    /// The gateway to read from, as https://host/path.
    #[arg(long, value_parser = endpoint::url)]
    pub from: String,

    /// The bearer token for --from.
    #[arg(long, env = "GODWIT_FROM_TOKEN", hide_env_values = true)]
    pub from_token: Option<String>,

    /// A file with the bearer token for --from, read for each request.
    #[arg(long, env = "GODWIT_FROM_TOKEN_FILE", conflicts_with = "from_token")]
    pub from_token_file: Option<PathBuf>,

    /// The tables, separated by commas; all that the token may use, unless named.
    #[arg(long, value_delimiter = ',')]
    pub tables: Vec<String>,

    /// Only what came after this sequence: what the last export said that it goes up to.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(i64).range(0..))]
    pub since: i64,

    /// A file with at least 32 bytes that the file is signed with, by HMAC-SHA-256.
    #[arg(long, env = "GODWIT_KEY_FILE")]
    pub key_file: Option<PathBuf>,

    /// Changes that are read at once.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub batch: u32,

    /// The file to write. Until it is whole it has .part behind its name.
    pub file: PathBuf,
}

#[derive(Args, Debug, Clone)]
pub struct Import {
    /// The gateway to put to, as https://host/path.
    #[arg(long, value_parser = endpoint::url)]
    pub to: String,

    /// The bearer token for --to.
    #[arg(long, env = "GODWIT_TO_TOKEN", hide_env_values = true)]
    pub to_token: Option<String>,

    /// A file with the bearer token for --to, read for each request.
    #[arg(long, env = "GODWIT_TO_TOKEN_FILE", conflicts_with = "to_token")]
    pub to_token_file: Option<PathBuf>,

    /// Make the tables that the target lacks, with a record id column `_id`.
    #[arg(long)]
    pub create_tables: bool,

    /// The file with the key that the file must be signed with.
    #[arg(long, env = "GODWIT_KEY_FILE")]
    pub key_file: Option<PathBuf>,

    /// Revisions that are put at once.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub batch: u32,

    /// The file to read, twice: it can't be a pipe.
    pub file: PathBuf,
}

/// The first line: what the file is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Header {
    pub godwit_export: u32,
    pub software: String,
    /// Of which database, as it was, the sequences are.
    pub incarnation: String,
    /// The file has the changes above this sequence,
    pub since: i64,
    /// and up to this one.
    pub until: i64,
    pub tables: Vec<Table>,
}

/// How many records a file has that is read to its unsigned seal.
pub(crate) fn count(path: &std::path::Path, file: std::fs::File) -> Result<usize, String> {
    let mut reader = reader::Reader::open(path, file, seal::Sealer::new(None)?)?;
    let mut count = 0;
    while reader.next()?.is_some() {
        count += 1;
    }
    Ok(count)
}
