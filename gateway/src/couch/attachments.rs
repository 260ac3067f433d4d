//! In charge of `/{db}/{id}/{name}`: one attachment, which comes and goes in parts.

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use http_body_util::BodyExt;
use revision::{Record, RevisionId};
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use super::attaching::Keeper;
use super::attachment::{self, Attachment, PART_BYTES};
use super::document::{Document, check_id, revision_id};
use super::error::{Answer, Refusal};
use super::parameters::Parameters;
use super::{documents, leaves, pieces, server};
use crate::auth::Caller;
use crate::error::Error;
use crate::extract::Path;
use crate::routes::{Gateway, Uncompressed};

pub async fn route(
    State(gateway): State<Arc<Gateway>>,
    caller: Caller,
    Path((db, id, name)): Path<(String, String, String)>,
    parameters: Parameters,
    request: Request,
) -> Answer {
    check_id(&id)?;
    attachment::check_name(&name)?;
    let (parts, body) = request.into_parts();
    match parts.method.as_str() {
        "GET" | "HEAD" => {
            let record = read(&gateway, &caller, &db, &id, &parameters).await?;
            let found = record.as_ref().map(|record| attachment::of(&record.attributes));
            let found = found.ok_or_else(Refusal::missing)?.remove(&name);
            let missing = || Refusal::from(Error::not_found("Document is missing attachment"));
            show(gateway, caller, db, found.ok_or_else(missing)?, &parts.headers)
        }
        "PUT" => {
            let edited = edited(&gateway, &caller, &db, &id, &parameters, &parts.headers).await?;
            let kept = keep(&gateway, &caller, &db, &parts.headers, body, edited.as_ref()).await?;
            let mut attached = edited.as_ref().map(|r| attachment::of(&r.attributes));
            attached.get_or_insert_default().insert(name, kept);
            let attached = attached.unwrap_or_default();
            let document = Document::of_record(edited, attachment::to_attribute(&attached));
            documents::put_attached(&gateway, &caller, &db, &id, document, StatusCode::CREATED)
                .await
        }
        "DELETE" => {
            let edited = edited(&gateway, &caller, &db, &id, &parameters, &parts.headers).await?;
            let edited = edited.ok_or_else(Refusal::missing)?;
            let mut attached = attachment::of(&edited.attributes);
            if attached.remove(&name).is_none() {
                return Err(Error::not_found("Document is missing attachment").into());
            }
            let document = Document::of_record(Some(edited), attachment::to_attribute(&attached));
            documents::put_attached(&gateway, &caller, &db, &id, document, StatusCode::OK).await
        }
        _ => Ok(server::no_method(parts.method, axum::extract::OriginalUri(parts.uri)).await),
    }
}

/// The revision that is asked for, or the winner.
async fn read(
    gateway: &Gateway,
    caller: &Caller,
    db: &str,
    id: &str,
    parameters: &Parameters,
) -> Result<Option<Record>, Refusal> {
    let asked = parameters.string("rev").as_deref().map(revision_id).transpose()?;
    let is_winner = asked.is_none();
    let found = leaves::one(gateway, caller, db, id, asked, false).await?;
    match found.map(|found| found.record) {
        Some(record) if record.deleted && is_winner => Err(Refusal::deleted()),
        found => Ok(found),
    }
}

/// The revision that is edited. None named, the document is new: of one that is there the put will say so.
async fn edited(
    gateway: &Gateway,
    caller: &Caller,
    db: &str,
    id: &str,
    parameters: &Parameters,
    headers: &HeaderMap,
) -> Result<Option<Record>, Refusal> {
    let Some(revision) = documents::edited(None, parameters, headers)? else { return Ok(None) };
    let found = leaves::one(gateway, caller, db, id, Some(revision), false).await?;
    found.map(|found| Some(found.record)).ok_or_else(Refusal::conflict)
}

async fn keep(
    gateway: &Gateway,
    caller: &Caller,
    db: &str,
    headers: &HeaderMap,
    mut body: Body,
    edited: Option<&Record>,
) -> Result<Attachment, Refusal> {
    let max = gateway.config.attachment_bytes_max;
    let mut keeper = Keeper::new(gateway, caller, db);
    while let Some(frame) = body.frame().await {
        let frame = frame
            .map_err(|error| Refusal::bad_request(format!("the attachment broke off: {error}")))?;
        let Some(data) = frame.data_ref() else { continue };
        if keeper.length() + data.len() as u64 > max {
            return Err(
                Error::too_large(format!("the attachment has more than {max} bytes")).into()
            );
        }
        keeper.take(data).await?;
    }
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let kind = kind.unwrap_or("application/octet-stream").to_owned();
    let generation = edited.and_then(|record| record.revision.as_ref());
    let generation = generation.map_or(0, RevisionId::generation) + 1;
    let kept = keeper.end(kind, generation);
    keeper.flush().await?;
    Ok(kept)
}

/// The attachment, or a range of it (RFC 9110, 14.2; one range, the rest is passed over as it allows).
fn show(
    gateway: Arc<Gateway>,
    caller: Caller,
    db: String,
    found: Attachment,
    headers: &HeaderMap,
) -> Answer {
    let etag = format!("\"{}\"", found.digest());
    let etag = HeaderValue::from_str(&etag).unwrap_or(HeaderValue::from_static("\"\""));
    if headers.get(header::IF_NONE_MATCH) == Some(&etag) {
        return Ok((StatusCode::NOT_MODIFIED, [(header::ETAG, etag)]).into_response());
    }
    let asked = headers.get(header::RANGE).and_then(|range| range.to_str().ok());
    let asked = asked.filter(|_| found.length > 0);
    let (status, range) = match asked.map(|asked| range(asked, found.length)) {
        None | Some(Asked::Whole) => (StatusCode::OK, 0..found.length),
        Some(Asked::Part(range)) => (StatusCode::PARTIAL_CONTENT, range),
        Some(Asked::Beyond) => {
            let range = HeaderValue::from_str(&format!("bytes */{}", found.length));
            let refusal = Refusal::new(
                StatusCode::RANGE_NOT_SATISFIABLE,
                "requested_range_not_satisfiable",
                "Requested range not satisfiable",
            );
            let mut response = refusal.into_response();
            if let Ok(range) = range {
                response.headers_mut().insert(header::CONTENT_RANGE, range);
            }
            return Ok(response);
        }
    };
    let mut response: Response = Body::empty().into_response();
    *response.status_mut() = status;
    // It is as small as it gets, or its length and ranges would no longer be true.
    response.extensions_mut().insert(Uncompressed);
    let out = response.headers_mut();
    let kind = HeaderValue::from_str(&found.content_type);
    let any = HeaderValue::from_static("application/octet-stream");
    out.insert(header::CONTENT_TYPE, kind.unwrap_or(any));
    out.insert(header::ETAG, etag);
    out.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    out.insert(header::CONTENT_LENGTH, HeaderValue::from(range.end - range.start));
    // What anybody has attached is no page of this server's.
    let sandbox = HeaderValue::from_static("sandbox");
    out.insert(header::CONTENT_SECURITY_POLICY, sandbox);
    out.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if status == StatusCode::PARTIAL_CONTENT {
        let said =
            format!("bytes {}-{}/{}", range.start, range.end.saturating_sub(1), found.length);
        if let Ok(said) = HeaderValue::from_str(&said) {
            out.insert(header::CONTENT_RANGE, said);
        }
    }
    *response.body_mut() = body(gateway, caller, db, found.parts, range);
    Ok(response)
}

enum Asked {
    Whole,
    Part(Range<u64>),
    Beyond,
}

fn range(asked: &str, length: u64) -> Asked {
    let Some(said) = asked.strip_prefix("bytes=").filter(|said| !said.contains(',')) else {
        return Asked::Whole;
    };
    let Some((first, last)) = said.split_once('-') else { return Asked::Whole };
    let (first, last) = (first.trim().parse::<u64>().ok(), last.trim().parse::<u64>().ok());
    match (first, last) {
        (Some(first), last) if first < length => {
            let end = last.map_or(length, |last| last.saturating_add(1).min(length));
            if end > first { Asked::Part(first..end) } else { Asked::Whole }
        }
        (Some(_), _) => Asked::Beyond,
        (None, Some(0)) => Asked::Beyond,
        (None, Some(count)) => Asked::Part(length.saturating_sub(count)..length),
        (None, None) => Asked::Whole,
    }
}

/// The parts that the range touches, each read when the one before was taken.
fn body(
    gateway: Arc<Gateway>,
    caller: Caller,
    db: String,
    parts: Vec<Vec<u8>>,
    range: Range<u64>,
) -> Body {
    let size = PART_BYTES as u64;
    let touched: VecDeque<(u64, Vec<u8>)> = (0..)
        .zip(parts)
        .map(|(place, part): (u64, _)| (place * size, part))
        .filter(|(start, _)| *start < range.end && start + size > range.start)
        .collect();
    let state = (gateway, caller, db, touched);
    let stream = stream::unfold(state, move |(gateway, caller, db, mut touched)| {
        let range = range.clone();
        async move {
            let (start, digest) = touched.pop_front()?;
            let read = pieces::part(&gateway, &caller, &db, &digest).await.map(|bytes| {
                let length = bytes.len();
                let within = |place: u64| {
                    usize::try_from(place.saturating_sub(start)).unwrap_or(length).min(length)
                };
                Bytes::from(bytes).slice(within(range.start)..within(range.end))
            });
            if read.is_err() {
                touched.clear();
            }
            Some((read, (gateway, caller, db, touched)))
        }
    });
    Body::from_stream(stream)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_those_of_http() {
        let part = |asked: &str| match range(asked, 10) {
            Asked::Part(range) => Some((range.start, range.end)),
            _ => None,
        };
        assert_eq!(part("bytes=0-3"), Some((0, 4)));
        assert_eq!(part("bytes=8-"), Some((8, 10)));
        assert_eq!(part("bytes=-3"), Some((7, 10)));
        assert_eq!(part("bytes=-30"), Some((0, 10)));
        assert_eq!(part("bytes=2-99"), Some((2, 10)));
        for whole in ["bytes=5-2", "bytes=1-2,4-5", "lines=1-2", "bytes=-", "bytes=x-y"] {
            assert!(matches!(range(whole, 10), Asked::Whole), "{whole}");
        }
        assert!(matches!(range("bytes=10-", 10), Asked::Beyond));
        assert!(matches!(range("bytes=-0", 10), Asked::Beyond));
    }
}
