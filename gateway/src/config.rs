//! In charge of the command line and the environment.

use axum::http::HeaderValue;
use clap::{Args, Parser, Subcommand, ValueEnum};
use ipnet::IpNet;
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

    /// Check a database and say what to do about what is amiss.
    ///
    /// Changes nothing. Exit status 0: all is well; 1: something deserves a look; 2: something is wrong,
    /// or the database can't be reached.
    Doctor(Box<Doctor>),

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

/// The database, and how much of it is used.
#[derive(Args, Debug, Clone)]
pub struct Database {
    /// The database, as postgres://user:password@host:port/name or key=value pairs.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    pub database_url: String,

    /// A file with the root certificates in PEM that the database's certificate must lead to. With it the
    /// connection is encrypted, and the certificate must name the host (libpq's verify-full).
    #[arg(long, env = "GODWIT_DATABASE_CA_FILE")]
    pub database_ca_file: Option<PathBuf>,

    /// Connections to the database, at most. Each request holds one while its statement runs; a
    /// waiting long poll or feed holds none.
    #[arg(long, env = "GODWIT_POOL_SIZE", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..))]
    pub pool_size: u16,

    /// How long a request waits for a free connection before it is answered with 503, in
    /// milliseconds.
    #[arg(long, env = "GODWIT_POOL_WAIT_MS", default_value_t = 5_000)]
    pub pool_wait_ms: u64,

    /// How long a statement may run in the database, in milliseconds; 0 is for ever.
    #[arg(long, env = "GODWIT_STATEMENT_TIMEOUT_MS", default_value_t = 30_000)]
    pub statement_timeout_ms: u32,
}

/// Names and passwords, for clients that bring no tokens.
#[derive(Args, Clone)]
pub struct Users {
    /// A table or view with the columns name, password (a bcrypt hash) and role, as schema.table, that the gateway's
    /// login may read. Whoever names a row of it by HTTP Basic or at /couch/_session runs as that role.
    #[arg(long, env = "GODWIT_USERS_TABLE")]
    pub users_table: Option<String>,

    /// A secret of at least 32 bytes that session cookies are signed with: the same for all gateways, and not that
    /// of tokens.
    #[arg(long, env = "GODWIT_SESSION_SECRET", hide_env_values = true)]
    pub session_secret: Option<String>,

    /// How long a session lasts that isn't used, in seconds.
    #[arg(long, env = "GODWIT_SESSION_S", default_value_t = 600)]
    pub session_s: u64,
}

/// Without the secret.
impl std::fmt::Debug for Users {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Users")
            .field("users_table", &self.users_table)
            .finish_non_exhaustive()
    }
}

#[derive(Args, Debug, Clone)]
pub struct Doctor {
    #[command(flatten)]
    pub database: Database,

    #[command(flatten)]
    pub auth: Auth,

    /// Roles that tokens will name, separated by commas: whether they are there and the login may switch
    /// to them. The anonymous role is looked at by itself.
    #[arg(long, env = "GODWIT_DOCTOR_ROLES", value_delimiter = ',')]
    pub roles: Vec<String>,

    /// Columns that readers filter by (`where`), as table.column, separated by commas: whether an index
    /// begins with each. Those that policies filter by are looked at by themselves.
    #[arg(long, env = "GODWIT_DOCTOR_FILTERS", value_delimiter = ',')]
    pub filters: Vec<String>,

    /// Print JSON instead of lines.
    #[arg(long)]
    pub json: bool,
}

#[derive(Args, Debug, Clone)]
pub struct Serve {
    #[command(flatten)]
    pub database: Database,

    /// How long to wait at the start for a database that can't be reached yet, in milliseconds.
    #[arg(long, env = "GODWIT_DATABASE_WAIT_MS", default_value_t = 0)]
    pub database_wait_ms: u64,

    /// The address and port to listen on. Port 0 takes a free one, which the log names.
    #[arg(long, env = "GODWIT_LISTEN", default_value = "127.0.0.1:8090")]
    pub listen: SocketAddr,

    /// The largest request body, in bytes, as it is when it has been decompressed. Larger ones are answered
    /// with 413.
    #[arg(long, env = "GODWIT_BODY_BYTES_MAX", default_value_t = 16 * 1024 * 1024)]
    pub body_bytes_max: usize,

    /// The largest attachment that is taken by itself, in bytes; inside a document it is part of the body.
    #[arg(long, env = "GODWIT_ATTACHMENT_BYTES_MAX", default_value_t = 256 * 1024 * 1024)]
    pub attachment_bytes_max: u64,

    /// The most records or revisions in one request, and the most changes in one answer.
    #[arg(long, env = "GODWIT_BATCH_MAX", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub batch_max: u32,

    /// How long a request may take until its answer begins, its body included, in milliseconds. Long polls have
    /// their own bound.
    #[arg(long, env = "GODWIT_REQUEST_TIMEOUT_MS", default_value_t = 60_000)]
    pub request_timeout_ms: u64,

    /// How long a client may take to send a request's head, in milliseconds; a silent connection is
    /// closed after it.
    #[arg(long, env = "GODWIT_HEADER_TIMEOUT_MS", default_value_t = 10_000)]
    pub header_timeout_ms: u64,

    /// The longest that a long poll waits, in milliseconds, whatever it asks for.
    #[arg(long, env = "GODWIT_LONGPOLL_TIMEOUT_MS_MAX", default_value_t = 60_000)]
    pub longpoll_timeout_ms_max: u64,

    /// Long polls and feeds that may be open at once; one more is answered with 503.
    #[arg(long, env = "GODWIT_LONGPOLLS_MAX", default_value_t = 10_000)]
    pub longpolls_max: usize,

    #[command(flatten)]
    pub limits: Limits,

    #[command(flatten)]
    pub tls: Tls,

    #[command(flatten)]
    pub metrics: Metrics,

    #[command(flatten)]
    pub auth: Auth,

    #[command(flatten)]
    pub users: Users,

    /// Start although tokens are asked for and the login has more rights than to switch roles.
    #[arg(long, env = "GODWIT_ALLOW_PRIVILEGED_LOGIN")]
    pub allow_privileged_login: bool,

    /// Websites that may use the gateway from a browser (CORS), separated by commas, as
    /// https://app.example.org; or * for all. Without it none may.
    #[arg(long, env = "GODWIT_CORS_ORIGINS", value_delimiter = ',', value_parser = origin)]
    pub cors_origins: Vec<HeaderValue>,

    /// How long a browser may keep what it was told about that, in seconds.
    #[arg(long, env = "GODWIT_CORS_MAX_AGE_S", default_value_t = 3_600)]
    pub cors_max_age_s: u64,

    /// Serve CouchDB's API at / too, and not only at /couch: the gateway then looks like a CouchDB server whose
    /// databases are the tables. Tables named v1, health or metrics are found under /couch alone.
    #[arg(long, env = "GODWIT_COUCH_ROOT")]
    pub couch_root: bool,

    /// How long to go on taking connections after a signal to stop, in milliseconds, while /health/ready
    /// answers 503 already, so that whoever distributes requests notices first.
    #[arg(long, env = "GODWIT_SHUTDOWN_DRAIN_MS", default_value_t = 0)]
    pub shutdown_drain_ms: u64,

    /// How long requests that are under way may go on after that, in milliseconds.
    #[arg(long, env = "GODWIT_SHUTDOWN_WAIT_MS", default_value_t = 10_000)]
    pub shutdown_wait_ms: u64,

    /// How the log is written to standard error. What is logged is set by GODWIT_LOG
    /// (error, warn, info, debug, or per module).
    #[arg(long, env = "GODWIT_LOG_FORMAT", value_enum, default_value = "text")]
    pub log_format: LogFormat,
}

/// What clients may take, all together and each. A client is the subject of a token, else an address; of
/// IPv6 the first 64 bits are one.
#[derive(Args, Debug, Clone)]
pub struct Limits {
    /// Connections that may be open at once; one more is answered with 503 and closed.
    #[arg(long, env = "GODWIT_CONNECTIONS_MAX", default_value_t = 16_000, value_parser = at_least_one)]
    pub connections_max: usize,

    /// Connections from one address, trusted proxies excepted.
    #[arg(long, env = "GODWIT_CONNECTIONS_PER_CLIENT_MAX", default_value_t = 1_000, value_parser = at_least_one)]
    pub connections_per_client_max: usize,

    /// Requests under way at once, those that wait for changes not counted; one more is answered with 503.
    #[arg(long, env = "GODWIT_REQUESTS_MAX", default_value_t = 1_000, value_parser = at_least_one)]
    pub requests_max: usize,

    /// Requests under way at once of one client; one more is answered with 429.
    #[arg(long, env = "GODWIT_REQUESTS_PER_CLIENT_MAX", default_value_t = 100, value_parser = at_least_one)]
    pub requests_per_client_max: usize,

    /// Long polls and feeds that one client may have open at once; one more is answered with 429.
    #[arg(long, env = "GODWIT_LONGPOLLS_PER_CLIENT_MAX", default_value_t = 100, value_parser = at_least_one)]
    pub longpolls_per_client_max: usize,

    /// The longest URL, in bytes. Longer ones are answered with 414.
    #[arg(long, env = "GODWIT_URL_BYTES_MAX", default_value_t = 16 * 1024, value_parser = at_least_one)]
    pub url_bytes_max: usize,

    /// The most that a request's headers may have together, in bytes. More is answered with 431.
    #[arg(long, env = "GODWIT_HEADER_BYTES_MAX", default_value_t = 32 * 1024, value_parser = at_least_one)]
    pub header_bytes_max: usize,

    /// How long a connection may stay open between two requests, in milliseconds.
    #[arg(long, env = "GODWIT_IDLE_TIMEOUT_MS", default_value_t = 75_000)]
    pub idle_timeout_ms: u64,

    /// How long a client may take nothing of an answer, or send nothing of a body, in milliseconds; the
    /// connection is closed after it.
    #[arg(long, env = "GODWIT_STALL_TIMEOUT_MS", default_value_t = 30_000)]
    pub stall_timeout_ms: u64,

    /// Networks of the proxies in front of the gateway, separated by commas, as 10.0.0.0/8. What they say
    /// of a client's address is believed; nobody else is.
    #[arg(long, env = "GODWIT_TRUSTED_PROXIES", value_delimiter = ',', value_parser = network)]
    pub trusted_proxies: Vec<IpNet>,

    /// The header in which they say it. The other one comes from the client as it likes.
    #[arg(long, env = "GODWIT_FORWARDED_HEADER", value_enum, default_value = "x-forwarded-for")]
    pub forwarded_header: ForwardedHeader,
}

#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
pub enum ForwardedHeader {
    XForwardedFor,
    /// RFC 7239.
    Forwarded,
}

#[derive(Args, Debug, Clone)]
pub struct Tls {
    /// A file with the certificate and those between it and the root, in PEM: the gateway speaks HTTPS.
    /// It is read again when it changes.
    #[arg(long, env = "GODWIT_TLS_CERT", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,

    /// A file with the certificate's private key, in PEM.
    #[arg(long, env = "GODWIT_TLS_KEY", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,

    /// How long a client may take for the TLS handshake, in milliseconds.
    #[arg(long, env = "GODWIT_TLS_HANDSHAKE_TIMEOUT_MS", default_value_t = 10_000)]
    pub tls_handshake_timeout_ms: u64,
}

#[derive(Args, Debug, Clone)]
pub struct Metrics {
    /// An address and port of their own for /metrics and /health, without TLS: for the inside.
    #[arg(long, env = "GODWIT_METRICS_LISTEN")]
    pub metrics_listen: Option<SocketAddr>,

    /// Serve /metrics where clients are served, to anybody.
    #[arg(long, env = "GODWIT_METRICS_PUBLIC")]
    pub metrics_public: bool,

    /// The database role under which /metrics asks for the stream's status: a member of pg_monitor sees how
    /// long others' transactions go on. Without it the login asks.
    #[arg(long, env = "GODWIT_METRICS_ROLE")]
    pub metrics_role: Option<String>,
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

impl Database {
    pub fn pool_wait(&self) -> Duration {
        Duration::from_millis(self.pool_wait_ms)
    }
}

impl Auth {
    /// Whether requests run as roles, and not as the login.
    pub fn is_asked_for(&self) -> bool {
        self.jwt_keys_file.is_some() || self.jwt_secret.is_some() || self.anonymous_role.is_some()
    }
}

impl Serve {
    pub fn header_timeout(&self) -> Duration {
        Duration::from_millis(self.header_timeout_ms)
    }

    /// A long poll's wait is part of its request.
    pub fn request_timeout(&self) -> Duration {
        Duration::from_millis(self.request_timeout_ms.max(self.longpoll_timeout_ms_max + 5_000))
    }
}

impl Limits {
    pub fn idle_timeout(&self) -> Duration {
        Duration::from_millis(self.idle_timeout_ms)
    }

    pub fn stall_timeout(&self) -> Duration {
        Duration::from_millis(self.stall_timeout_ms)
    }
}

fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err("a whole number of at least 1".into()),
        Ok(number) => Ok(number),
    }
}

/// A network, or one address.
fn network(text: &str) -> Result<IpNet, String> {
    let one = || text.parse::<std::net::IpAddr>().map(IpNet::from);
    text.parse().or_else(|_| one()).map_err(|_| "an address or a network as 10.0.0.0/8".into())
}

/// What a browser sends as `Origin`: scheme, host and maybe a port, and nothing after them.
fn origin(text: &str) -> Result<HeaderValue, String> {
    let fault = || "an origin as https://app.example.org, or *".to_owned();
    let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let is_origin = host.is_some_and(|host| !host.is_empty() && !host.contains(['/', '*', ' ']));
    if text != "*" && !is_origin {
        return Err(fault());
    }
    HeaderValue::from_str(text).map_err(|_| fault())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound_and_says_units() {
        Cli::command().debug_assert();
        for command in Cli::command().get_subcommands() {
            // What runs as a service is set up by its environment; the others are told once, on the line.
            let is_service = ["serve", "doctor"].contains(&command.get_name());
            for option in command.get_arguments() {
                let name = option.get_id().as_str();
                let help = option.get_help().map(ToString::to_string).unwrap_or_default();
                assert!(!help.is_empty(), "{name} has no help");
                for (end, unit) in
                    [("_ms", "milliseconds"), ("_s", "seconds"), ("bytes_max", "bytes")]
                {
                    assert!(!name.ends_with(end) || help.contains(unit), "{name}: no unit");
                }
                let is_ours = !["help", "json"].contains(&name);
                assert!(
                    !is_ours || !is_service || option.get_env().is_some(),
                    "{name} is not in the environment"
                );
            }
        }
    }

    #[test]
    fn every_option_is_in_the_table_of_the_docs() {
        let table = include_str!("../../docs/operate.md");
        let cli = Cli::command();
        let serve = cli.find_subcommand("serve").unwrap();
        for option in serve.get_arguments().filter(|option| option.get_id() != "help") {
            let flag = option.get_long().unwrap();
            let name = option.get_env().unwrap().to_str().unwrap();
            let row = format!("| `--{flag}` | `{name}` | ");
            let default = option.get_default_values().first().and_then(|value| value.to_str());
            let line = table.lines().find(|line| line.starts_with(&row));
            let line = line.unwrap_or_else(|| panic!("docs/operate.md has no line {row}"));
            assert!(default.is_none_or(|default| line.contains(default)), "{line} {default:?}");
        }
    }

    fn serve(more: &[&str]) -> Result<Box<Serve>, clap::Error> {
        let line = ["godwit", "serve", "--database-url", "postgres://x/y"];
        let cli = Cli::try_parse_from(line.iter().chain(more))?;
        let Command::Serve(serve) = cli.command else { panic!("not serve") };
        Ok(serve)
    }

    #[test]
    fn a_database_is_needed_and_the_rest_has_defaults() {
        let defaults = serve(&[]).unwrap();
        assert_eq!(defaults.listen.to_string(), "127.0.0.1:8090");
        assert!(
            defaults.request_timeout() > Duration::from_millis(defaults.longpoll_timeout_ms_max)
        );
        assert!(defaults.cors_origins.is_empty());
        for bad in [
            ["--pool-size", "0"],
            ["--requests-max", "0"],
            ["--trusted-proxies", "10.0.0.0/8,here"],
            ["--cors-origins", "https://a.example/path"],
            ["--cors-origins", "a.example"],
            ["--tls-cert", "only.pem"],
        ] {
            assert!(serve(&bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn lists_are_separated_by_commas() {
        let lists =
            ["--trusted-proxies", "10.0.0.0/8,::1", "--cors-origins", "https://a,http://b:1"];
        let serve = serve(&lists).unwrap();
        assert_eq!(serve.limits.trusted_proxies.len(), 2);
        assert_eq!(serve.cors_origins, ["https://a", "http://b:1"]);
    }
}
