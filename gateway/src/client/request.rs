//! In charge of one request and its answer: the token, the time that it may take, the bytes that are
//! taken, and trying again.

use axum::body::Bytes;
use reqwest::header::{
    AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER,
};
use reqwest::{Method, RequestBuilder, Response, StatusCode, Url};
use revision::RevisionId;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::time::Duration;

use super::error::{Refusal, with_causes};
use super::{Client, Error, Token};

/// The longest pause that a gateway's Retry-After is taken for.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(300);

/// Below so many bytes a body goes as it is: it fits a packet.
const COMPRESS_BYTES_MIN: usize = 1024;

/// Of zstd: fast, and all but as small as the levels above.
const COMPRESS_LEVEL: i32 = 3;

/// A request before it is sent.
pub struct Ask {
    method: Method,
    url: Url,
    headers: HeaderMap,
    body: Option<Bytes>,
    /// How long the gateway may keep silent on purpose.
    wait: Duration,
    /// Whether the caller makes it smaller when it takes too long.
    splits: bool,
}

/// The URL that all others begin with.
pub fn base(url: &str) -> Result<Url, Error> {
    let fault = |reason: String| Error::Setup(format!("{url:?} is no gateway's URL: {reason}"));
    let mut parsed = Url::parse(url).map_err(|error| fault(error.to_string()))?;
    if !matches!(parsed.scheme(), "http" | "https") || parsed.cannot_be_a_base() {
        return Err(fault("it begins with http:// or https://".into()));
    }
    if !parsed.username().is_empty() || parsed.password().is_some() {
        return Err(Error::Setup("a gateway's URL holds no password: pass a token".into()));
    }
    parsed.set_query(None);
    parsed.set_fragment(None);
    Ok(parsed)
}

impl Ask {
    pub fn query(mut self, name: &str, value: impl ToString) -> Self {
        self.url.query_pairs_mut().append_pair(name, &value.to_string());
        self
    }

    pub fn query_if(self, name: &str, value: Option<impl ToString>) -> Self {
        match value {
            Some(value) => self.query(name, value),
            None => self,
        }
    }

    /// Names of tables, separated by commas; none are all.
    pub fn tables(self, tables: &[String]) -> Self {
        let named = (!tables.is_empty()).then(|| tables.join(","));
        self.query_if("tables", named)
    }

    pub fn wait(mut self, wait: Duration) -> Self {
        self.wait = wait;
        self
    }

    pub fn splits(mut self) -> Self {
        self.splits = true;
        self
    }

    pub fn header(mut self, name: HeaderName, value: &str) -> Result<Self, Error> {
        let fault = |_| Error::Unaskable(format!("no header holds {value:?}"));
        self.headers.insert(name, HeaderValue::from_str(value).map_err(fault)?);
        Ok(self)
    }

    /// A body of JSON; compressed where that is of use to a slow line.
    pub fn body(mut self, body: Vec<u8>) -> Result<Self, Error> {
        self.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if body.len() < COMPRESS_BYTES_MIN {
            self.body = Some(body.into());
            return Ok(self);
        }
        let small = zstd::encode_all(body.as_slice(), COMPRESS_LEVEL)
            .map_err(|error| Error::Unaskable(format!("this can't be compressed: {error}")))?;
        self.headers.insert(CONTENT_ENCODING, HeaderValue::from_static("zstd"));
        self.body = Some(small.into());
        Ok(self)
    }

    pub fn json(self, body: &impl Serialize) -> Result<Self, Error> {
        let bytes = serde_json::to_vec(body)
            .map_err(|error| Error::Unaskable(format!("this can't be written: {error}")))?;
        self.body(bytes)
    }
}

impl Client {
    /// A request of a path, whose segments are encoded.
    pub(super) fn ask(&self, method: Method, segments: &[&str]) -> Result<Ask, Error> {
        // To a URL these are the folder and the one above, however they are encoded.
        if let Some(dots) = segments.iter().find(|segment| matches!(**segment, "." | ".." | "")) {
            return Err(Error::Unaskable(format!("no URL can name {dots:?}")));
        }
        let mut url = self.inner.url.clone();
        url.path_segments_mut()
            .map_err(|()| Error::Setup("the URL takes no path".into()))?
            .pop_if_empty()
            .extend(segments);
        let wait = Duration::ZERO;
        Ok(Ask { method, url, headers: HeaderMap::new(), body: None, wait, splits: false })
    }

    /// The answer as JSON of its type; tried again where what went wrong passes.
    pub(super) async fn answer<T: DeserializeOwned>(&self, ask: Ask) -> Result<T, Error> {
        let bytes = self.send(&ask).await?;
        parse(&bytes)
    }

    /// As `answer`, for what answers nothing.
    pub(super) async fn done(&self, ask: Ask) -> Result<(), Error> {
        self.send(&ask).await.map(drop)
    }

    async fn send(&self, ask: &Ask) -> Result<Vec<u8>, Error> {
        let mut failures = 0;
        loop {
            let error = match self.send_once(ask).await {
                Ok(bytes) => return Ok(bytes),
                Err(error) => error,
            };
            failures += 1;
            let splits = ask.splits && error.name() == Some("timeout");
            if !error.passes() || splits || failures >= self.inner.limits.attempts_max {
                return Err(error);
            }
            self.pause(failures, &error).await;
        }
    }

    /// Waits before trying again, and says so.
    pub(crate) async fn pause(&self, failures: u32, error: &Error) {
        let pause = self.inner.backoff.pause(failures, error.retry_after());
        let wait_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
        tracing::warn!(%error, gateway = self.url(), failures, wait_ms, "trying again");
        tokio::time::sleep(pause).await;
    }

    async fn send_once(&self, ask: &Ask) -> Result<Vec<u8>, Error> {
        let limits = &self.inner.limits;
        let all = async { read(self.open(ask).await?, limits.answer_bytes_max).await };
        within(limits.request + ask.wait, all).await
    }

    /// The answer before its body is read; what is neither success nor 304 is an error.
    pub(super) async fn open(&self, ask: &Ask) -> Result<Response, Error> {
        let limits = &self.inner.limits;
        let mut request = self.inner.http.request(ask.method.clone(), ask.url.clone());
        request = self.authorized(request).await?.headers(ask.headers.clone());
        if let Some(body) = &ask.body {
            request = request.body(body.clone());
        }
        let answered = async {
            let answer = request.send().await.map_err(unreachable)?;
            let status = answer.status();
            if status.is_success() || status == StatusCode::NOT_MODIFIED {
                return Ok(answer);
            }
            let retry_after = retry_after(&answer);
            let bytes = read(answer, limits.answer_bytes_max).await?;
            Err(Error::Refused(Box::new(refusal(status.as_u16(), &bytes, retry_after))))
        };
        within(limits.request + ask.wait, answered).await
    }

    async fn authorized(&self, request: RequestBuilder) -> Result<RequestBuilder, Error> {
        let token = match &self.inner.token {
            Token::None => return Ok(request),
            Token::Fixed(token) => token.clone(),
            Token::Asked(source) => {
                source().await.map_err(|error| Error::Token(error.to_string()))?
            }
        };
        let mut value = HeaderValue::from_str(&format!("Bearer {}", token.trim()))
            .map_err(|_| Error::Token("it holds characters that no header may".into()))?;
        value.set_sensitive(true);
        Ok(request.header(AUTHORIZATION, value))
    }
}

async fn within<T>(
    time: Duration,
    answer: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    let late = |_| Error::Unreachable("the answer did not come in time".into());
    tokio::time::timeout(time, answer).await.map_err(late)?
}

pub fn unreachable(error: reqwest::Error) -> Error {
    // What is to blame stands in the causes; the URL would be told twice.
    Error::Unreachable(with_causes(&error.without_url()))
}

fn retry_after(response: &Response) -> Option<Duration> {
    let seconds = response.headers().get(RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds).min(RETRY_AFTER_MAX))
}

async fn read(mut response: Response, bytes_max: usize) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
        if bytes.len() + chunk.len() > bytes_max {
            return Err(Error::LongAnswer { bytes_max });
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

/// The refusal that the answer names; a proxy's may name none.
fn refusal(status: u16, bytes: &[u8], retry_after: Option<Duration>) -> Refusal {
    let body: serde_json::Value = serde_json::from_slice(bytes).unwrap_or_default();
    let said = |name: &str| body.get(name).and_then(|value| value.as_str()).map(str::to_owned);
    let revision = |name: &str| said(name).and_then(|text| RevisionId::parse(&text).ok());
    let text = || {
        let start: String = String::from_utf8_lossy(bytes).chars().take(200).collect();
        format!("the answer is not the gateway's: {start:?}")
    };
    Refusal {
        status,
        name: said("error").unwrap_or_else(|| "unknown".into()),
        reason: said("reason").unwrap_or_else(text),
        winner: revision("winner"),
        revision: revision("revision"),
        retry_after,
    }
}

pub fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    crate::deep::parse(bytes).map_err(|error| Error::Unreadable(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_encoded_and_prefixes_kept() {
        let client = Client::new("https://example.org/sync/").unwrap();
        let ask = client.ask(Method::GET, &["v1", "tables", "a b", "records", "x/y?#%"]).unwrap();
        let ask = ask.query("after", "ü&");
        let url = "https://example.org/sync/v1/tables/a%20b/records/x%2Fy%3F%23%25?after=%C3%BC%26";
        assert_eq!(ask.url.as_str(), url);
        assert!(client.ask(Method::GET, &["v1", ".."]).is_err());
        assert!(client.ask(Method::POST, &["v1", "revisions:missing"]).is_ok());
    }

    #[test]
    fn what_is_no_gateway_is_refused() {
        for url in ["example.org", "ftp://example.org", "https://me:secret@example.org", ""] {
            let error = Client::new(url).unwrap_err();
            assert!(!error.to_string().contains("secret"), "{error}");
        }
    }

    #[test]
    fn a_refusal_has_its_name_and_a_proxys_has_none() {
        let json = br#"{"error": "conflict", "reason": "edited", "winner": "3-abc"}"#;
        let told = refusal(409, json, None);
        assert_eq!((told.name.as_str(), told.winner.unwrap().generation()), ("conflict", 3));
        let told = refusal(502, b"<html>Bad Gateway", None);
        assert_eq!(told.name, "unknown");
        assert!(Error::Refused(Box::new(told)).passes());
    }
}
