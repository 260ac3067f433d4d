//! A client of the gateway's HTTP API: typed requests, typed answers, errors by name.
//!
//! Every call can be made again: what was done already is found done. So calls that fail for reasons that pass
//! (a connection that broke, 503) are tried again by themselves, after pauses that grow and differ, and
//! [`Client::follow`] goes on from where it was. Large batches are split below the gateway's limits.
//!
//! ```no_run
//! use futures_util::{StreamExt, pin_mut};
//! use gateway::client::{Changes, Client, Edit, Error};
//! use revision::{Attributes, Value};
//!
//! # async fn example() -> Result<(), Error> {
//! let client = Client::builder("https://sync.example.org").token("eyJ…").build()?;
//!
//! let attributes = Attributes::from([("name".to_owned(), Value::String("Amina".into()))]);
//! let put = client.put("cases", "case-17", &Edit::new(attributes)).await?;
//! let record = client.get("cases", "case-17").await?;
//! assert_eq!(record.and_then(|record| record.revision), Some(put.revision));
//!
//! // From the last checkpoint to the end of the stream, and then whatever comes.
//! let pages = client.follow(Changes { since: 0, tables: vec!["cases".into()], ..Changes::default() });
//! pin_mut!(pages);
//! while let Some(page) = pages.next().await {
//!     let page = page?;
//!     for change in &page.changes {
//!         println!("{} {} is now {:?}", change.table, change.id, change.winner);
//!     }
//!     // Kept only after what came before it: then nothing is ever skipped.
//!     let checkpoint = page.next;
//!     # let _ = checkpoint;
//! }
//! # Ok(())
//! # }
//! ```

mod answer;
mod backoff;
mod changes;
mod conflicts;
mod error;
mod lines;
mod peers;
mod records;
mod request;
mod revisions;
mod snapshot;
mod tables;

use futures_util::future::BoxFuture;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

pub use answer::{
    Branch, Branches, Change, Column, Conflict, Holder, Leaf, Missing, Outcome, OutcomeStatus,
    Page, Paged, Peer, Put, Rejected, Retried, Status, Table, Version,
};
pub use backoff::Backoff;
pub use changes::{Changes, Include, Style};
pub use conflicts::Resolution;
pub use error::{Error, Refusal};
pub use peers::Checkpoint;
pub use records::{Edit, Show};
pub use snapshot::{Snapshot, Winners};
pub use tables::{NewColumn, NewTable};

/// Why a token could not be had.
pub type TokenError = Box<dyn std::error::Error + Send + Sync>;
type TokenSource = dyn Fn() -> BoxFuture<'static, Result<String, TokenError>> + Send + Sync;

#[derive(Clone)]
enum Token {
    None,
    Fixed(String),
    /// Asked before each request, so that a token which is about to expire can be replaced.
    Asked(Arc<TokenSource>),
}

/// What bounds a client. The defaults are those of a gateway that was configured by its own defaults.
#[derive(Debug, Clone)]
pub struct Limits {
    /// How long a connection may take to be made.
    pub connect: Duration,
    /// How long a request may take with its answer; a long poll's wait comes on top.
    pub request: Duration,
    /// The largest body that is sent in one request, in bytes; only a single record may be larger.
    pub body_bytes_max: usize,
    /// The largest answer that is taken, in bytes.
    pub answer_bytes_max: usize,
    /// The most records or revisions in one request.
    pub batch_max: usize,
    /// How often a request that fails for a reason that passes is made in all.
    pub attempts_max: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            connect: Duration::from_secs(10),
            request: Duration::from_secs(60),
            // Half of the gateway's default: a proxy's is often 10 MB.
            body_bytes_max: 8 * 1024 * 1024,
            answer_bytes_max: 256 * 1024 * 1024,
            batch_max: 1000,
            attempts_max: 6,
        }
    }
}

/// Makes a [`Client`].
pub struct Builder {
    url: String,
    token: Token,
    limits: Limits,
    backoff: Backoff,
}

impl Builder {
    /// The bearer token of every request.
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.token = Token::Fixed(token.into());
        self
    }

    /// What gives the bearer token; called before each request.
    pub fn token_source(
        mut self,
        source: impl Fn() -> BoxFuture<'static, Result<String, TokenError>> + Send + Sync + 'static,
    ) -> Self {
        self.token = Token::Asked(Arc::new(source));
        self
    }

    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.backoff = backoff;
        self
    }

    pub fn build(self) -> Result<Client, Error> {
        let url = request::base(&self.url)?;
        let http = reqwest::Client::builder()
            .user_agent(concat!("godwit/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(self.limits.connect)
            // A token goes where it was meant to go.
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|error| Error::Setup(error::with_causes(&error)))?;
        let Builder { token, limits, backoff, .. } = self;
        Ok(Client { inner: Arc::new(Inner { http, url, token, limits, backoff }) })
    }
}

struct Inner {
    http: reqwest::Client,
    url: reqwest::Url,
    token: Token,
    limits: Limits,
    backoff: Backoff,
}

/// A gateway, as seen by one of its clients. Cheap to clone; clones share their connections.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

impl Client {
    /// A client without a token.
    pub fn new(url: &str) -> Result<Self, Error> {
        Self::builder(url).build()
    }

    pub fn builder(url: &str) -> Builder {
        Builder {
            url: url.to_owned(),
            token: Token::None,
            limits: Limits::default(),
            backoff: Backoff::default(),
        }
    }

    /// Where the gateway is.
    pub fn url(&self) -> &str {
        self.inner.url.as_str().trim_end_matches('/')
    }

    pub fn limits(&self) -> &Limits {
        &self.inner.limits
    }
}

/// Without the token.
impl fmt::Debug for Client {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Client").field("url", &self.url()).finish_non_exhaustive()
    }
}
