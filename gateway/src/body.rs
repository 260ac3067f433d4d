//! In charge of request bodies: bounded in size and depth before anything is parsed, and refused
//! with a reason that names the fault.

use axum::body::Body;
use axum::http::{HeaderMap, StatusCode, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::DeserializeOwned;

use crate::deep::{self, BRACKETS_DEEP_MAX};
use crate::error::Error;

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
    let collected = Limited::new(body, bytes_max).collect().await;
    let bytes = match collected {
        Ok(collected) => collected.to_bytes(),
        Err(error) if error.is::<LengthLimitError>() => {
            return Err(Error::too_large(format!("the body has more than {bytes_max} bytes")));
        }
        Err(error) => return Err(Error::bad_request(format!("the body broke off: {error}"))),
    };
    parse(&bytes)
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    if deep::depth(bytes) > BRACKETS_DEEP_MAX {
        return Err(Error::new(
            StatusCode::BAD_REQUEST,
            "too_deep",
            format!("the body nests more than {BRACKETS_DEEP_MAX} brackets"),
        ));
    }
    deep::parse(bytes).map_err(|error| match error.classify() {
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
