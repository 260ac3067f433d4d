//! In charge of a request's parameters: CouchDB's are JSON in a query, and clients write them loosely.

use axum::body::Body;
use axum::extract::FromRequestParts;
use axum::http::HeaderMap;
use axum::http::request::Parts;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use std::collections::BTreeMap;

use super::error::Refusal;
use crate::body;
use crate::deep;
use crate::extract::Query;

/// A query's parameters by name; the last of a name counts. Those that nobody asks for are passed over, as in CouchDB.
#[derive(Debug, Default, Clone)]
pub struct Parameters(BTreeMap<String, String>);

impl<S: Send + Sync> FromRequestParts<S> for Parameters {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        let pairs = Query::<Vec<(String, String)>>::from_request_parts(parts, state).await?;
        Ok(Parameters(pairs.0.into_iter().collect()))
    }
}

impl Parameters {
    pub fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    pub fn flag(&self, name: &str) -> Result<bool, Refusal> {
        match self.text(name) {
            None | Some("false" | "\"false\"") => Ok(false),
            Some("true" | "\"true\"") => Ok(true),
            Some(other) => Err(Refusal::new(
                axum::http::StatusCode::BAD_REQUEST,
                "query_parse_error",
                format!("Invalid boolean parameter: {other:?}"),
            )),
        }
    }

    pub fn number(&self, name: &str) -> Result<Option<u64>, Refusal> {
        let Some(text) = self.text(name) else { return Ok(None) };
        match text.trim_matches('"').parse() {
            Ok(number) => Ok(Some(number)),
            Err(_) => Err(Refusal::new(
                axum::http::StatusCode::BAD_REQUEST,
                "query_parse_error",
                format!("Invalid value for integer parameter: {text:?}"),
            )),
        }
    }

    /// A parameter that is JSON.
    pub fn json<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, Refusal> {
        let Some(text) = self.text(name) else { return Ok(None) };
        let value = deep::parse(text.as_bytes());
        value.map(Some).map_err(|_| Refusal::bad_request(format!("Invalid JSON in {name}")))
    }

    /// A string that is JSON, or that somebody has not bothered to quote.
    pub fn string(&self, name: &str) -> Option<String> {
        let text = self.text(name)?;
        Some(serde_json::from_str(text).unwrap_or_else(|_| text.to_owned()))
    }

    /// What a body says stands over what the query does; values are kept as the query would have them.
    pub fn with_body(mut self, body: BTreeMap<String, Box<RawValue>>) -> Self {
        self.0.extend(body.into_iter().map(|(name, value)| (name, value.get().to_owned())));
        self
    }
}

/// A body of JSON, whatever content type it was sent under: CouchDB's clients are not strict about it.
pub async fn body<T: DeserializeOwned>(
    headers: &HeaderMap,
    body: Body,
    bytes_max: usize,
) -> Result<T, Refusal> {
    parse(&body::bytes(headers, body, bytes_max).await?)
}

/// The same of a body that is kept.
pub fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Refusal> {
    if deep::depth(bytes) > deep::BRACKETS_DEEP_MAX {
        return Err(Refusal::bad_request("the body is nested too deep"));
    }
    deep::parse_within(bytes).map_err(|error| match error.classify() {
        serde_json::error::Category::Data => Refusal::bad_request(error.to_string()),
        _ => Refusal::bad_request("invalid UTF-8 JSON"),
    })
}
