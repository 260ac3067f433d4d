//! In charge of talking to a gateway as a test must: wrong requests too, and nothing tried again. Whoever
//! isn't testing the gateway itself uses `gateway::client`.

use reqwest::{Client, Method, Response};
use revision::{Record, RevisionId};
use serde::Deserialize;
use serde_json::{Value as Json, json};
use std::collections::BTreeMap;

pub use ::gateway::client::{Change, Page};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the gateway can't be reached: {0}")]
    Http(#[from] reqwest::Error),
    /// What the gateway answered instead of what was asked for.
    #[error("{status} {name}: {reason}")]
    Refused { status: u16, name: String, reason: String, winner: Option<String> },
    #[error("the gateway's answer can't be read: {0}")]
    Unreadable(String),
}

#[derive(Deserialize, Debug)]
pub struct Outcome {
    pub id: Option<String>,
    pub revision: Option<String>,
    pub status: String,
    pub reason: Option<String>,
}

#[derive(Deserialize)]
struct Missing {
    missing: Vec<RevisionId>,
}

#[derive(Clone)]
pub struct Gateway {
    client: Client,
    pub url: String,
}

impl Gateway {
    pub fn new(url: impl Into<String>) -> Self {
        // Tests see what is on the wire; whoever asks for compression unpacks it themselves.
        let client = Client::builder().no_gzip().no_zstd().build().unwrap_or_default();
        Gateway { client, url: url.into() }
    }

    /// A request as it is, for tests of what the gateway does with a wrong one.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<Vec<u8>>,
    ) -> Result<Response, Error> {
        let mut request = self.client.request(method, format!("{}{path}", self.url));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(body) = body {
            request = request.body(body);
        }
        Ok(request.send().await?)
    }

    /// A request with a JSON body, and its answer.
    pub async fn json(
        &self,
        method: Method,
        path: &str,
        body: Option<&Json>,
    ) -> Result<Json, Error> {
        let headers: &[_] = match body {
            Some(_) => &[("content-type", "application/json")],
            None => &[],
        };
        let body = body.map(|body| body.to_string().into_bytes());
        read(self.send(method, path, headers, body).await?).await
    }

    pub async fn get<T: for<'de> Deserialize<'de>>(&self, path: &str) -> Result<T, Error> {
        parse(self.json(Method::GET, path, None).await?)
    }

    pub async fn changes(&self, since: i64, tables: &str, limit: u32) -> Result<Page, Error> {
        self.get(&format!(
            "/v1/changes?since={since}&tables={tables}&limit={limit}&include=records"
        ))
        .await
    }

    pub async fn record(&self, table: &str, id: &str, query: &str) -> Result<Record, Error> {
        self.get(&format!("/v1/tables/{table}/records/{}{query}", encode(id))).await
    }

    pub async fn missing(
        &self,
        table: &str,
        revisions: &BTreeMap<String, Vec<RevisionId>>,
    ) -> Result<BTreeMap<String, Vec<RevisionId>>, Error> {
        let path = format!("/v1/tables/{table}/revisions:missing");
        let answer = self.json(Method::POST, &path, Some(&json!(revisions))).await?;
        let answer: BTreeMap<String, Missing> = parse(answer)?;
        Ok(answer.into_iter().map(|(id, missing)| (id, missing.missing)).collect())
    }

    pub async fn put_revisions(
        &self,
        table: &str,
        records: &[Record],
    ) -> Result<Vec<Outcome>, Error> {
        let path = format!("/v1/tables/{table}/revisions");
        let body = json!({ "revisions": records });
        let mut answer = self.json(Method::POST, &path, Some(&body)).await?;
        parse(answer["results"].take())
    }
}

/// The answer, or the error that it names.
pub async fn read(response: Response) -> Result<Json, Error> {
    let status = response.status();
    let bytes = response.bytes().await?;
    let body: Json = serde_json::from_slice(&bytes)
        .map_err(|error| Error::Unreadable(format!("{status}: {error}")))?;
    if status.is_success() {
        return Ok(body);
    }
    let said = |name: &str| body[name].as_str().map(str::to_owned);
    let (Some(name), Some(reason)) = (said("error"), said("reason")) else {
        return Err(Error::Unreadable(format!("{status} without error and reason: {body}")));
    };
    Err(Error::Refused { status: status.as_u16(), name, reason, winner: said("winner") })
}

fn parse<T: for<'de> Deserialize<'de>>(body: Json) -> Result<T, Error> {
    serde_json::from_value(body).map_err(|error| Error::Unreadable(error.to_string()))
}

/// A path segment, percent-encoded (RFC 3986, 2.3: what is not unreserved).
pub fn encode(segment: &str) -> String {
    segment
        .bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                char::from(byte).to_string()
            }
            _ => format!("%{byte:02X}"),
        })
        .collect()
}
