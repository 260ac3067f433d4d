//! In charge of JSON that carries attachments: written in pieces, so that an answer never holds more of them than a part.

use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use futures_util::stream;
use revision::{Record, RevisionId};
use serde_json::{Map, Value as Json};
use std::collections::VecDeque;
use std::sync::Arc;

use super::attachment::{self, Attachment};
use crate::auth::Caller;
use crate::database::text;
use crate::error::Error;
use crate::routes::Gateway;

/// Which attachments come with their bytes.
#[derive(Debug, Clone, Default)]
pub struct Inline {
    pub wanted: bool,
    /// Revisions that the reader has: what came with them or before is a stub.
    pub since: Vec<RevisionId>,
}

impl Inline {
    pub fn brings(&self, record: &Record, one: &Attachment) -> bool {
        let line = record.revisions.as_deref().unwrap_or_default();
        let known = self.since.iter().filter(|since| line.contains(since));
        let known = known.map(RevisionId::generation).max().unwrap_or(0);
        self.wanted && one.revpos > known
    }
}

enum Piece {
    Text(String),
    Base64(Vec<u8>),
    Bytes(Vec<u8>),
}

/// An answer's text, beside its attachments, that is held at once; in bytes.
const TEXT_BYTES_MAX: usize = 256 * 1024 * 1024;

/// An answer being written.
#[derive(Default)]
pub struct Pieces(VecDeque<Piece>, usize);

impl Pieces {
    /// Whether the answer is one that can be held.
    pub fn check(&self) -> Result<(), Error> {
        if self.1 > TEXT_BYTES_MAX {
            return Err(Error::too_large("the answer is too large; ask for less at once"));
        }
        Ok(())
    }

    pub fn text(&mut self, text: &str) {
        self.1 += text.len();
        match self.0.back_mut() {
            Some(Piece::Text(last)) => last.push_str(text),
            _ => self.0.push_back(Piece::Text(text.to_owned())),
        }
    }

    /// A document with what its record has attached.
    pub fn document(&mut self, record: &Record, mut body: Map<String, Json>, inline: &Inline) {
        let attached = attachment::of(&record.attributes);
        if !attached.values().any(|one| inline.brings(record, one)) {
            return self.text(&Json::from(body).to_string());
        }
        body.remove(attachment::ATTRIBUTE);
        let written = Json::from(body).to_string();
        // Without the brace that ends it; there is an id before.
        self.text(&written[..written.len() - 1]);
        self.text(",\"_attachments\":{");
        for (place, (name, one)) in attached.iter().enumerate() {
            if place > 0 {
                self.text(",");
            }
            let mut said = one.stub();
            let is_inline = inline.brings(record, one);
            if let (true, Some(members)) = (is_inline, said.as_object_mut()) {
                members.remove("stub");
                members.remove("length");
            }
            let said = said.to_string();
            self.text(&format!("{}:", Json::from(name.as_str())));
            match is_inline {
                false => self.text(&said),
                true => {
                    self.text(&said[..said.len() - 1]);
                    self.text(",\"data\":\"");
                    self.0.extend(one.parts.iter().map(|part| Piece::Base64(part.clone())));
                    self.text("\"}");
                }
            }
        }
        self.text("}}");
    }

    /// An attachment's bytes as they are.
    pub fn bytes(&mut self, attachment: &Attachment) {
        self.0.extend(attachment.parts.iter().map(|part| Piece::Bytes(part.clone())));
    }

    pub fn answer(self, gateway: &Arc<Gateway>, caller: &Caller, db: &str) -> Response {
        self.answer_as(gateway, caller, db, HeaderValue::from_static("application/json"))
    }

    pub fn answer_as(
        mut self,
        gateway: &Arc<Gateway>,
        caller: &Caller,
        db: &str,
        kind: HeaderValue,
    ) -> Response {
        if let (1, Some(Piece::Text(text))) = (self.0.len(), self.0.front_mut()) {
            let text = std::mem::take(text);
            return (StatusCode::OK, [(header::CONTENT_TYPE, kind)], text).into_response();
        }
        let state = (Arc::clone(gateway), caller.clone(), db.to_owned(), self.0);
        let body = stream::unfold(state, |(gateway, caller, db, mut pieces)| async move {
            let written = match pieces.pop_front()? {
                Piece::Text(text) => Ok(Bytes::from(text)),
                // An error cuts the connection: the reader sees that there is more.
                Piece::Base64(digest) => part(&gateway, &caller, &db, &digest)
                    .await
                    .map(|bytes| Bytes::from(BASE64.encode(bytes))),
                Piece::Bytes(digest) => {
                    part(&gateway, &caller, &db, &digest).await.map(Bytes::from)
                }
            };
            if written.is_err() {
                pieces.clear();
            }
            Some((written, (gateway, caller, db, pieces)))
        });
        (StatusCode::OK, [(header::CONTENT_TYPE, kind)], Body::from_stream(body)).into_response()
    }
}

/// One part's bytes.
pub async fn part(
    gateway: &Gateway,
    caller: &Caller,
    db: &str,
    digest: &[u8],
) -> Result<Vec<u8>, Error> {
    let sql = "select godwit.attachment_part(godwit.find_table($1), decode($2, 'hex'))";
    let name = hex::encode(digest);
    let rows = gateway.database.rows(caller, sql, &[text(&db), text(&name)]).await?;
    let found: Option<Vec<u8>> = rows.first().map(|row| row.try_get(0)).transpose()?.flatten();
    found.ok_or_else(|| {
        tracing::warn!(table = db, digest = name, "a part of an attachment is not here");
        Error::not_found("Document is missing attachment")
    })
}
