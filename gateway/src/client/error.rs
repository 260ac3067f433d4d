//! In charge of what goes wrong between a client and its gateway.

use revision::RevisionId;
use std::time::Duration;

/// What the gateway answered instead of what was asked for; docs/http.md lists the names.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name} ({status}): {reason}")]
pub struct Refusal {
    pub status: u16,
    /// To match on.
    pub name: String,
    /// For a person.
    pub reason: String,
    /// The winner, of a `conflict`.
    pub winner: Option<RevisionId>,
    /// The tombstone, of what is `deleted`.
    pub revision: Option<RevisionId>,
    /// When the gateway wants to be asked again.
    pub retry_after: Option<Duration>,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the client can't be made: {0}")]
    Setup(String),
    #[error("no token could be had: {0}")]
    Token(String),
    /// What can't be asked at all.
    #[error("{0}")]
    Unaskable(String),
    #[error("the gateway can't be reached: {0}")]
    Unreachable(String),
    #[error("{0}")]
    Refused(Box<Refusal>),
    #[error("the answer has more than {bytes_max} bytes")]
    LongAnswer { bytes_max: usize },
    #[error("the answer can't be read: {0}")]
    Unreadable(String),
}

impl Error {
    /// The name by which the gateway refused.
    pub fn name(&self) -> Option<&str> {
        match self {
            Error::Refused(refusal) => Some(&refusal.name),
            _ => None,
        }
    }

    /// Whether the same request may well succeed later.
    pub fn passes(&self) -> bool {
        match self {
            Error::Unreachable(_) => true,
            // What proxies answer on the way is meant as well.
            Error::Refused(refusal) => matches!(refusal.status, 408 | 429 | 502 | 503 | 504),
            _ => false,
        }
    }

    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match self {
            Error::Refused(refusal) => refusal.retry_after,
            _ => None,
        }
    }
}

/// What reqwest says, and why.
pub fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
