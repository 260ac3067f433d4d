//! In charge of the command line and the environment.

use clap::{Args, Parser, Subcommand, ValueEnum};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::bundle::{Export, Import};
use crate::replicate::Replicate;

/// Offline-first sync for Postgres tables: the gateway that clients talk to.
#[derive(Parser, Debug)]
#[command(name = "godwit", version, about)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand, Debug)]
pub enum Command {
    /// Serve the change stream and take puts over HTTP.
    ///
    /// Stateless: any number of gateways may stand in front of one database, and each may be killed
    /// at any time. The database must have the extension: create extension godwit.
    Serve(Box<Serve>),

    /// Bring what one gateway has to another, with its whole history; both ways with --both.
    ///
    /// Goes on from the checkpoint that both sides keep, so it can be cut off and run again at any time. Exits
    /// with 0 when all is done, 1 when it failed, 2 when it was called wrongly, and 3 when all is done and the
    /// target refused some of it.
    Replicate(Box<Replicate>),

    /// Write a gateway's revisions to a file, for where there is no network.
    Export(Box<Export>),

    /// Put a file's revisions to a gateway, once or often: the outcome is the same.
    ///
    /// The whole file is checked before anything is put. Exits as replicate does.
    Import(Box<Import>),
}

#[derive(Args, Debug, Clone)]
pub struct Serve {
    /// The database, as postgres://user:password@host:port/name or key=value pairs.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    pub database_url: String,

    /// The address and port to listen on. Port 0 takes a free one, which the log names.
    #[arg(long, env = "GODWIT_LISTEN", default_value = "127.0.0.1:8090")]
    pub listen: SocketAddr,

    /// Connections to the database, at most. Each request holds one while its statement runs; a
    /// waiting long poll holds none.
    #[arg(long, env = "GODWIT_POOL_SIZE", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..))]
    pub pool_size: u16,

    /// How long a request waits for a free connection before it is answered with 503, in
    /// milliseconds.
    #[arg(long, env = "GODWIT_POOL_WAIT_MS", default_value_t = 5_000)]
    pub pool_wait_ms: u64,

    /// The largest request body, in bytes. Larger ones are answered with 413.
    #[arg(long, env = "GODWIT_BODY_BYTES_MAX", default_value_t = 16 * 1024 * 1024)]
    pub body_bytes_max: usize,

    /// The most records or revisions in one request, and the most changes in one answer.
    #[arg(long, env = "GODWIT_BATCH_MAX", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub batch_max: u32,

    /// How long a statement may run in the database, in milliseconds; 0 is for ever.
    #[arg(long, env = "GODWIT_STATEMENT_TIMEOUT_MS", default_value_t = 30_000)]
    pub statement_timeout_ms: u32,

    /// How long a request may take, its body included, in milliseconds. Long polls have their own
    /// bound.
    #[arg(long, env = "GODWIT_REQUEST_TIMEOUT_MS", default_value_t = 60_000)]
    pub request_timeout_ms: u64,

    /// How long a client may take to send a request's head, in milliseconds; a silent connection is
    /// closed after it.
    #[arg(long, env = "GODWIT_HEADER_TIMEOUT_MS", default_value_t = 10_000)]
    pub header_timeout_ms: u64,

    /// The longest that a long poll waits, in milliseconds, whatever it asks for.
    #[arg(long, env = "GODWIT_LONGPOLL_TIMEOUT_MS_MAX", default_value_t = 60_000)]
    pub longpoll_timeout_ms_max: u64,

    /// Long polls that may wait at once; one more is answered with 503.
    #[arg(long, env = "GODWIT_LONGPOLLS_MAX", default_value_t = 10_000)]
    pub longpolls_max: usize,

    #[command(flatten)]
    pub auth: Auth,

    /// How the log is written to standard error. What is logged is set by GODWIT_LOG
    /// (error, warn, info, debug, or per module).
    #[arg(long, env = "GODWIT_LOG_FORMAT", value_enum, default_value = "text")]
    pub log_format: LogFormat,
}

/// Who may do what. Without keys and without an anonymous role nobody is asked for a token, and
/// everything runs with the rights of the gateway's login.
#[derive(Args, Debug, Clone)]
pub struct Auth {
    /// A file with the keys that tokens are signed with: a JWK set, a public key in PEM (RSA, P-256 or
    /// Ed25519), or a secret of at least 32 bytes for HS256. It is read again when it changes.
    #[arg(long, env = "GODWIT_JWT_KEYS_FILE")]
    pub jwt_keys_file: Option<PathBuf>,

    /// A secret of at least 32 bytes that tokens are signed with by HS256.
    #[arg(long, env = "GODWIT_JWT_SECRET", hide_env_values = true)]
    pub jwt_secret: Option<String>,

    /// The audience that a token's `aud` must name; without it any does.
    #[arg(long, env = "GODWIT_JWT_AUDIENCE")]
    pub jwt_audience: Option<String>,

    /// The issuer that a token's `iss` must name; without it any does.
    #[arg(long, env = "GODWIT_JWT_ISSUER")]
    pub jwt_issuer: Option<String>,

    /// How far clocks may disagree about `exp` and `nbf`, in seconds.
    #[arg(long, env = "GODWIT_JWT_LEEWAY_S", default_value_t = 30)]
    pub jwt_leeway_s: u64,

    /// The claim that names the database role.
    #[arg(long, env = "GODWIT_JWT_ROLE_CLAIM", default_value = "role")]
    pub jwt_role_claim: String,

    /// The database role of requests without a token, or whose token names none. Without it they are
    /// answered with 401.
    #[arg(long, env = "GODWIT_ANONYMOUS_ROLE")]
    pub anonymous_role: Option<String>,
}

#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    Text,
    Json,
}

impl Serve {
    pub fn pool_wait(&self) -> Duration {
        Duration::from_millis(self.pool_wait_ms)
    }

    pub fn header_timeout(&self) -> Duration {
        Duration::from_millis(self.header_timeout_ms)
    }

    /// A long poll's wait is part of its request.
    pub fn request_timeout(&self) -> Duration {
        Duration::from_millis(self.request_timeout_ms.max(self.longpoll_timeout_ms_max + 5_000))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound_and_says_units() {
        Cli::command().debug_assert();
        let serve = Cli::command().find_subcommand("serve").unwrap().clone();
        for option in serve.get_arguments() {
            let name = option.get_id().as_str();
            let help = option.get_help().map(ToString::to_string).unwrap_or_default();
            assert!(!help.is_empty(), "{name} has no help");
            assert!(!name.ends_with("_ms") || help.contains("milliseconds"), "{name}: no unit");
        }
    }

    #[test]
    fn a_database_is_needed_and_the_rest_has_defaults() {
        let cli = Cli::try_parse_from(["godwit", "serve", "--database-url", "postgres://x/y"]);
        let Command::Serve(serve) = cli.unwrap().command else { panic!("another command") };
        assert_eq!(serve.listen.to_string(), "127.0.0.1:8090");
        assert!(serve.request_timeout() > Duration::from_millis(serve.longpoll_timeout_ms_max));
        let bad = ["godwit", "serve", "--database-url", "x", "--pool-size", "0"];
        assert!(Cli::try_parse_from(bad).is_err());
    }
}
