//! In charge of request bodies: bounded in size and depth before anything is parsed, and refused
//! with a reason that names the fault.

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, StatusCode, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::DeserializeOwned;
use std::time::Duration;
use tower_http::timeout::TimeoutError;

use crate::deep::{self, BRACKETS_DEEP_MAX};
use crate::error::Error;

/// How much of a body that is too large is read and forgotten, and for how long.
const SKIPPED_TIMES: usize = 4;
const SKIP_TIME: Duration = Duration::from_secs(5);

/// Reads a JSON body of the type that the request takes.
pub async fn json<T: DeserializeOwned>(
    headers: &HeaderMap,
    body: Body,
    bytes_max: usize,
) -> Result<T, Error> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let kind = kind.map(|kind| kind.split(';').next().unwrap_or_default().trim());
    if !kind.is_some_and(|kind| kind.eq_ignore_ascii_case("application/json")) {
        return Err(Error::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported_media_type",
            "the body must be sent as content-type: application/json",
        ));
    }
    parse(&bytes(headers, body, bytes_max).await?)
}

/// Reads a body of any type.
pub async fn bytes(headers: &HeaderMap, body: Body, bytes_max: usize) -> Result<Bytes, Error> {
    // What the gateway can decompress it has by now, and the header is gone.
    if headers.get(header::CONTENT_ENCODING).is_some_and(|encoding| encoding != "identity") {
        return Err(Error::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported_media_type",
            "the body may be compressed by gzip or zstd, and nothing else",
        ));
    }
    let mut body = body;
    let collected = Limited::new(&mut body, bytes_max).collect().await;
    match collected {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => {
            // Who is still sending when the connection closes may never see the answer.
            let rest = bytes_max.saturating_mul(SKIPPED_TIMES);
            let skipped = tokio::time::timeout(SKIP_TIME, skip(body, rest)).await;
            tracing::debug!(whole = matches!(skipped, Ok(true)), "a body was too large");
            Err(Error::too_large(format!("the body has more than {bytes_max} bytes")))
        }
        Err(error) if has_stalled(error.as_ref()) => {
            let reason = "nothing of the body came for too long";
            Err(Error::new(StatusCode::REQUEST_TIMEOUT, "timeout", reason))
        }
        Err(error) => Err(Error::bad_request(format!("the body broke off: {error}"))),
    }
}

/// Each layer around a body has wrapped the error once.
fn has_stalled(error: &(dyn std::error::Error + 'static)) -> bool {
    std::iter::successors(Some(error), |error| error.source())
        .any(|error| error.is::<TimeoutError>())
}

/// Reads a body to its end, or to this many bytes, and forgets it.
async fn skip(mut body: Body, bytes_max: usize) -> bool {
    let mut skipped = 0;
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return false };
        skipped += frame.data_ref().map_or(0, |data| data.len());
        if skipped > bytes_max {
            return false;
        }
    }
    true
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    if deep::depth(bytes) > BRACKETS_DEEP_MAX {
        return Err(Error::new(
            StatusCode::BAD_REQUEST,
            "too_deep",
            format!("the body nests more than {BRACKETS_DEEP_MAX} brackets"),
        ));
    }
    deep::parse_within(bytes).map_err(|error| match error.classify() {
        serde_json::error::Category::Data => Error::bad_value(format!("the body: {error}")),
        _ => Error::bad_request(format!("the body is not JSON: {error}")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use revision::Record;

    #[test]
    fn every_fault_has_its_name() {
        let name = |body: &str| parse::<Record>(body.as_bytes()).unwrap_err().name;
        assert_eq!(name("{\"id\":"), "bad_request");
        assert_eq!(name(&"[".repeat(20_000)), "too_deep");
        assert_eq!(name("{\"id\":\"a\",\"attributes\":{\"n\":7}}"), "bad_value");
        let twice = r#"{"id":"a","attributes":{"n":{"int":"7"},"n":{"int":"8"}}}"#;
        let error = parse::<Record>(twice.as_bytes()).unwrap_err();
        assert_eq!(error.name, "bad_value");
        assert!(error.reason.contains("\"n\" comes twice"), "{}", error.reason);
    }

    #[tokio::test]
    async fn a_body_above_the_bound_is_refused_before_it_is_read() {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, "application/json".parse().unwrap());
        let body = Body::from(vec![b' '; 100]);
        let error = json::<serde_json::Value>(&headers, body, 99).await.unwrap_err();
        assert_eq!((error.status.as_u16(), error.name), (413, "too_large"));
        let error = json::<serde_json::Value>(&HeaderMap::new(), Body::empty(), 9).await;
        assert_eq!(error.unwrap_err().status.as_u16(), 415);
    }
}
