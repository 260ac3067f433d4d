//! In charge of bringing attachments that documents are sent with to where they are kept, before the documents name
//! them. What fails after that leaves parts which nobody names; `godwit.sweep_attachments` drops them.

use axum::http::StatusCode;
use md5::{Digest, Md5};
use revision::RevisionId;
use sha2::Sha256;
use std::collections::BTreeMap;
use tokio_postgres::types::Type;

use super::attachment::{self, Attachment, PART_BYTES, Sent};
use super::document::Document;
use super::error::Refusal;
use super::leaves;
use crate::auth::Caller;
use crate::database::{text, texts};
use crate::routes::Gateway;

/// Bytes that one statement carries, about.
const STATEMENT_BYTES: usize = 4 * PART_BYTES;

/// Bytes on their way: cut into parts as they come.
pub struct Keeper<'a> {
    gateway: &'a Gateway,
    caller: &'a Caller,
    db: &'a str,
    waiting: Vec<Vec<u8>>,
    waiting_bytes: usize,
    /// What has come of the part that is being filled.
    part: Vec<u8>,
    parts: Vec<Vec<u8>>,
    md5: Md5,
    length: u64,
}

impl<'a> Keeper<'a> {
    pub fn new(gateway: &'a Gateway, caller: &'a Caller, db: &'a str) -> Self {
        Keeper {
            gateway,
            caller,
            db,
            waiting: Vec::new(),
            waiting_bytes: 0,
            part: Vec::new(),
            parts: Vec::new(),
            md5: Md5::new(),
            length: 0,
        }
    }

    pub fn length(&self) -> u64 {
        self.length
    }

    pub async fn take(&mut self, mut bytes: &[u8]) -> Result<(), Refusal> {
        self.md5.update(bytes);
        self.length += bytes.len() as u64;
        while !bytes.is_empty() {
            let (now, rest) = bytes.split_at(bytes.len().min(PART_BYTES - self.part.len()));
            self.part.extend_from_slice(now);
            bytes = rest;
            if self.part.len() == PART_BYTES {
                self.end_part();
            }
            if self.waiting_bytes >= STATEMENT_BYTES {
                self.flush().await?;
            }
        }
        Ok(())
    }

    fn end_part(&mut self) {
        let part = std::mem::take(&mut self.part);
        self.parts.push(Sha256::digest(&part).to_vec());
        self.waiting_bytes += part.len();
        self.waiting.push(part);
    }

    /// Ends one attachment; its last parts go with those of the next, or when all are flushed.
    pub fn end(&mut self, content_type: String, revpos: u64) -> Attachment {
        if !self.part.is_empty() {
            self.end_part();
        }
        Attachment {
            content_type,
            length: std::mem::take(&mut self.length),
            md5: self.md5.finalize_reset().to_vec(),
            revpos,
            parts: std::mem::take(&mut self.parts),
        }
    }

    pub async fn flush(&mut self) -> Result<(), Refusal> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        let sql = "select godwit.keep_attachment_parts(godwit.find_table($1), $2)::text";
        let parameters = [text(&self.db), (&self.waiting as _, Type::BYTEA_ARRAY)];
        self.gateway.database.rows(self.caller, sql, &parameters).await?;
        self.waiting.clear();
        self.waiting_bytes = 0;
        Ok(())
    }
}

/// Keeps what documents have attached, and finds what their stubs stand for. A document whose stub stands for nothing
/// that is here is refused by itself.
pub async fn settle(
    gateway: &Gateway,
    caller: &Caller,
    db: &str,
    documents: &mut [(&str, &mut Document)],
    is_edit: bool,
) -> Result<Vec<Option<Refusal>>, Refusal> {
    let mut refusals: Vec<Option<Refusal>> = documents.iter().map(|_| None).collect();
    let has_stub = |document: &Document| {
        document.attachments.values().any(|sent| matches!(sent, Sent::Stub { .. }))
    };
    let with_stubs: Vec<String> = documents
        .iter()
        .filter(|(_, document)| has_stub(document))
        .map(|(id, _)| (*id).to_owned())
        .collect();
    let earlier = match with_stubs.is_empty() {
        true => BTreeMap::new(),
        false => earlier(gateway, caller, db, &with_stubs).await?,
    };
    let mut keeper = Keeper::new(gateway, caller, db);
    for ((id, document), refusal) in documents.iter_mut().zip(&mut refusals) {
        let generation = document.generation(is_edit);
        let mut kept = BTreeMap::new();
        for (name, sent) in std::mem::take(&mut document.attachments) {
            match sent {
                Sent::Inline { content_type, data, revpos } => {
                    keeper.take(&data).await?;
                    let revpos = revpos.filter(|_| !is_edit).unwrap_or(generation);
                    kept.insert(name, keeper.end(content_type, revpos));
                }
                Sent::Kept(attachment) => {
                    kept.insert(name, attachment);
                }
                Sent::Follows { .. } => {
                    let reason = format!(
                        "the attachment {name:?} follows nothing: this is no multipart body"
                    );
                    *refusal = Some(Refusal::bad_request(reason));
                }
                Sent::Stub { digest } => {
                    let known = earlier.get(*id).into_iter().flatten();
                    let edited = document.revision.as_ref().filter(|_| is_edit);
                    let mut fits = known.filter(|(revision, other, attachment)| {
                        *other == name
                            // An edit goes on from one revision, whatever others have under that name.
                            && edited.is_none_or(|edited| edited == revision)
                            && digest.as_ref().is_none_or(|digest| attachment.digest() == *digest)
                    });
                    match fits.next() {
                        Some((_, _, attachment)) => {
                            kept.insert(name, attachment.clone());
                        }
                        None => *refusal = Some(missing_stub(id, &name)),
                    }
                }
            }
        }
        if !kept.is_empty() {
            document.attach(attachment::to_attribute(&kept));
        }
    }
    keeper.flush().await?;
    Ok(refusals)
}

fn missing_stub(id: &str, name: &str) -> Refusal {
    let reason = format!("Invalid attachment stub in {id} for {name}");
    Refusal::new(StatusCode::PRECONDITION_FAILED, "missing_stub", reason)
}

type Earlier = BTreeMap<String, Vec<(RevisionId, String, Attachment)>>;

/// What the revisions of these records that are here have attached, the highest revision's first.
async fn earlier(
    gateway: &Gateway,
    caller: &Caller,
    db: &str,
    ids: &[String],
) -> Result<Earlier, Refusal> {
    let sql = "select h.record::text
                 from (select godwit.find_table($1) as relation offset 0) t
                 cross join unnest($2) k(id)
                 cross join lateral godwit.history(t.relation, k.id) h
                where h.record -> 'attributes' ? '_attachments'";
    let rows = gateway.database.rows(caller, sql, &[text(&db), texts(&ids)]).await?;
    let mut found: Vec<revision::Record> = Vec::new();
    for row in rows {
        found.push(leaves::record(row.try_get(0)?)?);
    }
    found.sort_by(|one, other| other.revision.cmp(&one.revision));
    let mut earlier = Earlier::new();
    for record in found {
        let Some(revision) = record.revision else { continue };
        let attached = attachment::of(&record.attributes).into_iter();
        let attached = attached.map(|(name, one)| (revision.clone(), name, one));
        earlier.entry(record.id).or_default().extend(attached);
    }
    Ok(earlier)
}
