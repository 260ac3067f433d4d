//! In charge of `ETag`, `If-Match` and `If-None-Match`, which carry revisions (RFC 9110, 13.1).

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use revision::RevisionId;

use crate::error::Error;

/// What a request asks of the record's state.
#[derive(Debug, PartialEq, Eq)]
pub enum Tag {
    /// `*`: any state that exists.
    Any,
    Revision(RevisionId),
}

pub fn if_match(headers: &HeaderMap) -> Result<Option<Tag>, Error> {
    read(headers, header::IF_MATCH)
}

pub fn if_none_match(headers: &HeaderMap) -> Result<Option<Tag>, Error> {
    read(headers, header::IF_NONE_MATCH)
}

fn read(headers: &HeaderMap, name: HeaderName) -> Result<Option<Tag>, Error> {
    let mut values = headers.get_all(&name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let fault = |what: &str| Error::bad_revision(format!("{name}: {what}"));
    if values.next().is_some() {
        return Err(fault("one is taken, not several"));
    }
    let text = value.to_str().map_err(|_| fault("it is not ASCII"))?.trim();
    if text == "*" {
        return Ok(Some(Tag::Any));
    }
    let quoted = text.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
    let quoted = quoted.ok_or_else(|| {
        fault("expected one strong entity tag: a revision in double quotes, \"3-…\"")
    })?;
    let revision = RevisionId::parse(quoted).map_err(|error| fault(&error.to_string()))?;
    Ok(Some(Tag::Revision(revision)))
}

/// A revision as an entity tag.
pub fn etag(revision: &str) -> Option<HeaderValue> {
    HeaderValue::from_str(&format!("\"{revision}\"")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(value: &str) -> Result<Option<Tag>, Error> {
        let mut headers = HeaderMap::new();
        headers.insert(header::IF_MATCH, value.parse().unwrap());
        if_match(&headers)
    }

    #[test]
    fn a_tag_is_one_quoted_revision_or_a_star() {
        let revision = RevisionId::parse("3-abc").unwrap();
        assert_eq!(of("\"3-abc\"").unwrap(), Some(Tag::Revision(revision)));
        assert_eq!(of("*").unwrap(), Some(Tag::Any));
        assert_eq!(if_match(&HeaderMap::new()).unwrap(), None);
        for wrong in ["3-abc", "W/\"3-abc\"", "\"abc\"", "\"1-a\", \"2-b\"", "\"\"", "\"0-a\""] {
            assert_eq!(of(wrong).unwrap_err().name, "bad_revision", "{wrong}");
        }
    }
}
