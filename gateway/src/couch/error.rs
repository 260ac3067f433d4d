//! In charge of errors as CouchDB words them: the names and statuses that its clients act on.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value as Json, json};

use crate::error::Error;

/// An answer in CouchDB's words.
#[derive(Debug)]
pub struct Refusal(Error);

pub type Answer = Result<Response, Refusal>;

impl Refusal {
    pub fn new(status: StatusCode, name: &'static str, reason: impl Into<String>) -> Self {
        Refusal(Error::new(status, name, reason))
    }

    pub fn bad_request(reason: impl Into<String>) -> Self {
        Refusal(Error::bad_request(reason))
    }

    pub fn missing() -> Self {
        Refusal(Error::not_found("missing"))
    }

    pub fn deleted() -> Self {
        Refusal(Error::not_found("deleted"))
    }

    pub fn conflict() -> Self {
        Self::new(StatusCode::CONFLICT, "conflict", "Document update conflict.")
    }

    pub fn name(&self) -> &'static str {
        self.0.name
    }

    /// As it stands inside an answer about several documents.
    pub fn body(&self) -> Json {
        json!({"error": self.0.name, "reason": self.0.reason})
    }
}

/// What the rest of the gateway answers, by the names that CouchDB has for it.
impl From<Error> for Refusal {
    fn from(mut error: Error) -> Self {
        match error.name {
            "table_not_found" => {
                error.name = "not_found";
                error.reason = "Database does not exist.".into();
            }
            "table_exists" => {
                error.status = StatusCode::PRECONDITION_FAILED;
                error.name = "file_exists";
                error.reason = "The database could not be created, the file already exists.".into();
            }
            "conflict" => return Self::conflict(),
            "bad_value" | "bad_revision" | "too_deep" => error.name = "bad_request",
            // What a replicating client notes and goes on from.
            "refused" => {
                error.status = StatusCode::FORBIDDEN;
                error.name = "forbidden";
            }
            "unsupported_media_type" => error.name = "bad_content_type",
            "unavailable" => error.name = "service_unavailable",
            _ => {}
        }
        Refusal(error)
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        refusal.0
    }
}

impl From<tokio_postgres::Error> for Refusal {
    fn from(error: tokio_postgres::Error) -> Self {
        Error::from(error).into()
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        self.0.into_response()
    }
}

/// What became of a document among several, where it was refused.
pub fn refused(id: Option<&str>, revision: Option<&str>, refusal: &Refusal) -> Json {
    let mut body = refusal.body();
    if let Some(id) = id {
        body["id"] = id.into();
    }
    if let Some(revision) = revision {
        body["rev"] = revision.into();
    }
    body
}
