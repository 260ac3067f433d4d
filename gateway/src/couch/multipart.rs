//! In charge of documents with their attachments beside them: multipart/related as it comes (RFC 2387), and the
//! multipart/mixed and multipart/related that a reader may ask for.

use axum::body::{Body, BodyDataStream, Bytes};
use axum::http::{HeaderMap, StatusCode, header};
use flate2::write::GzDecoder;
use futures_util::Stream;
use mime::Mime;
use multer::{Field, Multipart};
use revision::Record;
use serde_json::value::RawValue;
use serde_json::{Map, Value as Json};
use std::io::Write;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll};

use super::attaching::Keeper;
use super::attachment::{self, Attachment, Sent};
use super::document::Document;
use super::error::Refusal;
use super::pieces::{Inline, Pieces};
use crate::auth::Caller;
use crate::error::Error;
use crate::routes::Gateway;

/// The boundary of a body that is multipart/related.
pub fn boundary(headers: &HeaderMap) -> Result<Option<String>, Refusal> {
    let Some(kind) = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()) else {
        return Ok(None);
    };
    let Ok(kind) = kind.parse::<Mime>() else { return Ok(None) };
    if kind.essence_str() != "multipart/related" {
        return Ok(None);
    }
    match kind.get_param(mime::BOUNDARY) {
        Some(boundary) => Ok(Some(boundary.as_str().to_owned())),
        None => Err(Refusal::bad_request("multipart/related needs a boundary")),
    }
}

/// Whether a reader takes such a type and would not rather have JSON.
pub fn is_wanted(headers: &HeaderMap, kind: &str) -> bool {
    let accepted: Vec<&str> = headers
        .get_all(header::ACCEPT)
        .iter()
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(','))
        .map(|one| one.split(';').next().unwrap_or_default().trim())
        .collect();
    accepted.contains(&kind) && !accepted.contains(&"application/json")
}

fn broken(error: multer::Error) -> Refusal {
    // What is to blame is the last of the causes.
    let error: &dyn std::error::Error = &error;
    let causes = std::iter::successors(Some(error), |error| error.source());
    let said = causes.last().map(ToString::to_string).unwrap_or_default();
    Refusal::bad_request(format!("the multipart body can't be read: {said}"))
}

/// A document, whose attachments follow and are kept as they come.
pub async fn read(
    gateway: &Gateway,
    caller: &Caller,
    db: &str,
    body: Body,
    boundary: String,
    is_edit: bool,
) -> Result<Document, Refusal> {
    let taken = Arc::new(AtomicUsize::new(0));
    let data = Metered {
        data: body.into_data_stream(),
        given: 0,
        taken: Arc::clone(&taken),
        rests: false,
    };
    let mut parts = Multipart::new(data, boundary);
    let missing = || Refusal::bad_request("the multipart body has no document");
    let mut first = parts.next_field().await.map_err(broken)?.ok_or_else(missing)?;
    let max = gateway.config.body_bytes_max;
    let mut json = Vec::new();
    while let Some(chunk) = first.chunk().await.map_err(broken)? {
        taken.fetch_add(chunk.len(), Relaxed);
        if json.len() + chunk.len() > max {
            return Err(Error::too_large(format!("the document has more than {max} bytes")).into());
        }
        json.extend_from_slice(&chunk);
    }
    drop(first);
    if crate::deep::depth(&json) > crate::deep::BRACKETS_DEEP_MAX {
        return Err(Refusal::bad_request("the document is nested too deep"));
    }
    let json: Box<RawValue> =
        serde_json::from_slice(&json).map_err(|_| Refusal::bad_request("invalid UTF-8 JSON"))?;
    let mut document = Document::parse(&json)?;
    // Parts that don't say whose they are come in the order in which the document names them.
    let mut following = document.following();
    let generation = document.generation(is_edit);
    let mut keeper = Keeper::new(gateway, caller, db);
    while let Some(part) = parts.next_field().await.map_err(broken)? {
        let place = match part.file_name() {
            Some(name) => following.iter().position(|known| known == name),
            None => (!following.is_empty()).then_some(0),
        };
        let Some(place) = place else {
            return Err(Refusal::bad_request("a part follows that the document doesn't name"));
        };
        let name = following.remove(place);
        let (kept, revpos) = keep(gateway, &mut keeper, &mut document, &name, part, &taken).await?;
        // What is new came with what is new, whatever its sender says.
        let revpos = revpos.filter(|_| !is_edit).unwrap_or(generation);
        let kept = Attachment { revpos, ..kept };
        document.attachments.insert(name, Sent::Kept(kept));
    }
    keeper.flush().await?;
    if let Some(name) = following.first() {
        return Err(Refusal::bad_request(format!("the attachment {name:?} doesn't follow")));
    }
    Ok(document)
}

async fn keep(
    gateway: &Gateway,
    keeper: &mut Keeper<'_>,
    document: &mut Document,
    name: &str,
    mut part: Field<'_>,
    taken: &AtomicUsize,
) -> Result<(Attachment, Option<u64>), Refusal> {
    let Some(Sent::Follows { content_type, length, revpos, is_gzip }) =
        document.attachments.remove(name)
    else {
        return Err(Refusal::bad_request("a part follows that the document doesn't name"));
    };
    let max = gateway.config.attachment_bytes_max;
    let mut unzip = is_gzip.then(|| GzDecoder::new(Vec::new()));
    let broken_zip = |_| Refusal::bad_request("an attachment is not in gzip as it says");
    while let Some(chunk) = part.chunk().await.map_err(broken)? {
        taken.fetch_add(chunk.len(), Relaxed);
        match &mut unzip {
            None => keeper.take(&chunk).await?,
            Some(unzip) => {
                // In pieces, for a little of it may become very much.
                for piece in chunk.chunks(4096) {
                    unzip.write_all(piece).map_err(broken_zip)?;
                    let bytes = std::mem::take(unzip.get_mut());
                    keeper.take(&bytes).await?;
                }
            }
        }
        if keeper.length() > max {
            return Err(
                Error::too_large(format!("the attachment has more than {max} bytes")).into()
            );
        }
    }
    if let Some(unzip) = unzip {
        let rest = unzip.finish().map_err(broken_zip)?;
        keeper.take(&rest).await?;
    }
    if length.is_some_and(|length| length != keeper.length()) {
        let reason = format!("the attachment {name:?} has another length than it says");
        return Err(Refusal::new(StatusCode::PRECONDITION_FAILED, "doc_validation", reason));
    }
    Ok((keeper.end(content_type, 0), revpos))
}

/// How far the reader of parts may be ahead of who takes them: for heads and boundaries, which it holds back until they end.
const AHEAD_BYTES_MAX: usize = 4 * 1024 * 1024;

/// A body that is given a chunk at a time, and no more of it than is taken: the reader of parts would have whatever comes,
/// while it looks for a boundary that never does.
struct Metered {
    data: BodyDataStream,
    given: usize,
    taken: Arc<AtomicUsize>,
    rests: bool,
}

impl Stream for Metered {
    type Item = Result<Bytes, axum::Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if std::mem::take(&mut self.rests) {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        if self.given > self.taken.load(Relaxed) + AHEAD_BYTES_MAX {
            let reason = "a part's head, or what stands between two, has no end";
            return Poll::Ready(Some(Err(axum::Error::new(std::io::Error::other(reason)))));
        }
        let polled = Pin::new(&mut self.data).poll_next(context);
        if let Poll::Ready(Some(Ok(bytes))) = &polled {
            self.given += bytes.len();
            self.rests = true;
        }
        polled
    }
}

/// A boundary that no attachment holds, but by a chance of one in 2^122.
pub fn new_boundary() -> String {
    uuid::Uuid::new_v4().simple().to_string()
}

/// A document and its attachments as parts of a multipart/related body.
pub fn related(
    pieces: &mut Pieces,
    record: &Record,
    mut body: Map<String, Json>,
    inline: &Inline,
    boundary: &str,
) {
    let attached = attachment::of(&record.attributes);
    let mut following = Vec::new();
    let mut said = Map::new();
    for (name, one) in &attached {
        let mut stub = one.stub();
        if inline.brings(record, one) {
            if let Some(members) = stub.as_object_mut() {
                members.remove("stub");
            }
            stub["follows"] = true.into();
            following.push((name, one));
        }
        said.insert(name.clone(), stub);
    }
    if !said.is_empty() {
        body.insert(attachment::ATTRIBUTE.into(), said.into());
    }
    let json = Json::from(body);
    pieces.text(&format!("--{boundary}\r\nContent-Type: application/json\r\n\r\n{json}"));
    for (name, one) in following {
        // A name that would end its quotes, or the line, is told by its place alone.
        let is_plain = |c: char| !c.is_control() && !matches!(c, '"' | '\\');
        let named = match name.chars().all(is_plain) {
            true => format!("Content-Disposition: attachment; filename=\"{name}\"\r\n"),
            false => String::new(),
        };
        let kind: String = one.content_type.chars().filter(|c| !c.is_control()).collect();
        pieces.text(&format!(
            "\r\n--{boundary}\r\n{named}Content-Type: {kind}\r\nContent-Length: {}\r\n\r\n",
            one.length
        ));
        pieces.bytes(one);
    }
    pieces.text(&format!("\r\n--{boundary}--"));
}

/// Whether a document has attachments that are to come with it.
pub fn brings_any(record: &Record, inline: &Inline) -> bool {
    attachment::of(&record.attributes).values().any(|one| inline.brings(record, one))
}
