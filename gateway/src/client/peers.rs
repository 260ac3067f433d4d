//! In charge of checkpoints.

use reqwest::Method;
use serde::{Deserialize, Serialize};

use super::answer::{Paged, Peer};
use super::{Client, Error};

/// What a peer says of itself; what is none stays as it was.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Checkpoint {
    /// How far it has read the database's stream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pulled: Option<i64>,
    /// How far of its own it has brought there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pushed: Option<i64>,
    /// Of which database, as it was, the sequences are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub incarnation: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub software: Option<String>,
}

impl Client {
    /// A page of the caller's peers, by name; operators are given all.
    pub async fn peers(
        &self,
        after: Option<&str>,
        limit: Option<u32>,
    ) -> Result<Paged<Peer, String>, Error> {
        #[derive(Deserialize)]
        struct Answer {
            peers: Vec<Peer>,
            next: Option<String>,
        }
        let ask = self.ask(Method::GET, &["v1", "peers"])?;
        let answer: Answer =
            self.answer(ask.query_if("after", after).query_if("limit", limit)).await?;
        Ok(Paged { items: answer.peers, next: answer.next })
    }

    pub async fn peer(&self, peer: &str) -> Result<Option<Peer>, Error> {
        match self.answer(self.ask(Method::GET, &["v1", "peers", peer])?).await {
            Err(error) if error.name() == Some("not_found") => Ok(None),
            answer => answer.map(Some),
        }
    }

    /// Keeps how far a peer is. It may go back: what the peer says counts.
    pub async fn put_peer(&self, peer: &str, checkpoint: &Checkpoint) -> Result<(), Error> {
        self.done(self.ask(Method::PUT, &["v1", "peers", peer])?.json(checkpoint)?).await
    }

    /// Drops what is kept of a peer; false if there was nothing.
    pub async fn forget_peer(&self, peer: &str) -> Result<bool, Error> {
        match self.done(self.ask(Method::DELETE, &["v1", "peers", peer])?).await {
            Err(error) if error.name() == Some("not_found") => Ok(false),
            answer => answer.map(|()| true),
        }
    }
}
