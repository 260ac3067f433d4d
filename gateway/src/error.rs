//! In charge of what leaves HTTP when something fails: one shape, a name to match on, a reason for a
//! person, and nothing internal.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use tokio_postgres::error::{DbError, SqlState};

/// An answer that is not what was asked for.
#[derive(Debug, Clone)]
pub struct Error {
    pub status: StatusCode,
    pub name: &'static str,
    pub reason: String,
    /// The winner that a conflicting put did not name.
    pub winner: Option<String>,
    /// The tombstone of a record that is deleted.
    pub revision: Option<String>,
}

/// For what is logged, and for bodies that break off.
impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.name, self.reason)
    }
}

impl std::error::Error for Error {}

impl Error {
    pub fn new(status: StatusCode, name: &'static str, reason: impl Into<String>) -> Self {
        Error { status, name, reason: reason.into(), winner: None, revision: None }
    }

    pub fn bad_request(reason: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_request", reason)
    }

    pub fn bad_value(reason: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_value", reason)
    }

    pub fn bad_revision(reason: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_revision", reason)
    }

    pub fn unauthorized(reason: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", reason)
    }

    pub fn forbidden(reason: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", reason)
    }

    pub fn too_large(reason: impl Into<String>) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", reason)
    }

    pub fn not_found(reason: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", reason)
    }

    pub fn unavailable(reason: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", reason)
    }

    pub fn too_many(reason: impl Into<String>) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, "too_many_requests", reason)
    }

    fn internal() -> Self {
        let reason = "the gateway failed; its log has the cause under this request's id";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", reason)
    }
}

/// SQLSTATEs to answers; the first row whose code begins with the prefix counts. The condition's
/// name is Postgres's own (appendix A of its documentation). With `true` the message of the database is for
/// the person who sent the request.
#[rustfmt::skip]
const ANSWERS: &[(&str, StatusCode, &str, bool)] = &[
    ("P0002", StatusCode::NOT_FOUND, "not_found", true),                   // no_data_found
    ("42P01", StatusCode::NOT_FOUND, "table_not_found", true),             // undefined_table
    ("42P07", StatusCode::CONFLICT, "table_exists", true),                 // duplicate_table
    ("42710", StatusCode::CONFLICT, "table_exists", true),                 // duplicate_object
    ("42501", StatusCode::FORBIDDEN, "forbidden", false),                  // insufficient_privilege
    ("42883", StatusCode::SERVICE_UNAVAILABLE, "unavailable", false),      // undefined_function
    ("3F000", StatusCode::SERVICE_UNAVAILABLE, "unavailable", false),      // invalid_schema_name
    ("22023", StatusCode::BAD_REQUEST, "bad_request", true),               // invalid_parameter_value
    ("22", StatusCode::BAD_REQUEST, "bad_value", true),                    // data_exception
    ("23", StatusCode::UNPROCESSABLE_ENTITY, "refused", true),             // integrity_constraint_violation
    ("27", StatusCode::UNPROCESSABLE_ENTITY, "refused", true),             // triggered_data_change_violation
    ("44", StatusCode::FORBIDDEN, "forbidden", false),                     // with_check_option_violation
    ("P0001", StatusCode::UNPROCESSABLE_ENTITY, "refused", true),          // raise_exception, an app's own
    ("54", StatusCode::BAD_REQUEST, "too_large", true),                    // program_limit_exceeded
    ("0A", StatusCode::BAD_REQUEST, "bad_request", true),                  // feature_not_supported
    ("42", StatusCode::BAD_REQUEST, "bad_request", true),                  // syntax_error_or_access_rule_violation
    ("40", StatusCode::SERVICE_UNAVAILABLE, "unavailable", false),         // transaction_rollback: try again
    ("57014", StatusCode::SERVICE_UNAVAILABLE, "timeout", false),          // query_canceled
    ("25006", StatusCode::SERVICE_UNAVAILABLE, "unavailable", false),      // read_only_sql_transaction
    ("53", StatusCode::SERVICE_UNAVAILABLE, "unavailable", false),         // insufficient_resources
    ("55", StatusCode::SERVICE_UNAVAILABLE, "unavailable", false),         // object_not_in_prerequisite_state
    ("57", StatusCode::SERVICE_UNAVAILABLE, "unavailable", false),         // operator_intervention
    ("08", StatusCode::SERVICE_UNAVAILABLE, "unavailable", false),         // connection_exception
];

/// Classes of Postgres's own SQLSTATEs that are nobody's fault but the gateway's or the database's.
const OF_POSTGRES: &[&str] = &[
    "00", "01", "02", "03", "09", "0B", "0F", "0L", "0P0", "0Z", "20", "21", "24", "25", "26",
    "28", "2B", "2D", "2F", "34", "38", "39", "3B", "3D", "3F", "58", "72", "F0", "HV", "P0000",
    "P0003", "P0004", "XX",
];

impl From<tokio_postgres::Error> for Error {
    fn from(error: tokio_postgres::Error) -> Self {
        match error.as_db_error() {
            Some(db) => from_db(db.code(), db.message(), db.detail(), Some(db)),
            None if error.is_closed() || error.code().is_none() => {
                tracing::warn!(%error, "the database connection failed");
                Error::unavailable("the database is not to be reached; try again")
            }
            None => {
                tracing::error!(%error, "a statement failed");
                Error::internal()
            }
        }
    }
}

fn from_db(code: &SqlState, message: &str, detail: Option<&str>, db: Option<&DbError>) -> Error {
    if *code == SqlState::T_R_SERIALIZATION_FAILURE
        && let Some(winner) = detail.and_then(|detail| detail.strip_prefix("winner: "))
    {
        let mut error = Error::new(StatusCode::CONFLICT, "conflict", message);
        error.winner = Some(winner.to_owned());
        return error;
    }
    let answer = ANSWERS.iter().find(|(prefix, ..)| code.code().starts_with(prefix));
    // What an app's trigger raises under a code of its own is the app's word on what was sent.
    let is_made_up =
        answer.is_none() && !OF_POSTGRES.iter().any(|class| code.code().starts_with(class));
    if is_made_up {
        return Error::new(StatusCode::UNPROCESSABLE_ENTITY, "refused", message);
    }
    let Some((_, status, name, told)) = answer else {
        tracing::error!(sqlstate = code.code(), message, "the database failed");
        return Error::internal();
    };
    if *told {
        let constraint =
            db.and_then(DbError::constraint).map(|name| format!(" (constraint {name})"));
        return Error::new(*status, name, format!("{message}{}", constraint.unwrap_or_default()));
    }
    tracing::warn!(sqlstate = code.code(), message, "the database refused");
    let reason = match *name {
        "forbidden" => "this is not allowed",
        "timeout" => "the database took too long; ask for less, or try again",
        _ => "the database can't do this now; try again",
    };
    Error::new(*status, name, reason)
}

impl From<deadpool_postgres::PoolError> for Error {
    fn from(error: deadpool_postgres::PoolError) -> Self {
        match error {
            deadpool_postgres::PoolError::Backend(error) => error.into(),
            deadpool_postgres::PoolError::Timeout(_) => {
                tracing::warn!("no database connection became free in time");
                Error::unavailable("all database connections are busy; try again")
            }
            other => {
                tracing::error!(error = %other, "the connection pool failed");
                Error::internal()
            }
        }
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let mut body = json!({"error": self.name, "reason": self.reason});
        if let Some(winner) = self.winner {
            body["winner"] = winner.into();
        }
        if let Some(revision) = self.revision {
            body["revision"] = revision.into();
        }
        let json = [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))];
        let mut response = (self.status, json, body.to_string()).into_response();
        if self.status == StatusCode::UNAUTHORIZED {
            let challenge = HeaderValue::from_static("Bearer realm=\"godwit\"");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        }
        if [StatusCode::SERVICE_UNAVAILABLE, StatusCode::TOO_MANY_REQUESTS].contains(&self.status) {
            let second = HeaderValue::from_static("1");
            response.headers_mut().insert(header::RETRY_AFTER, second);
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(code: &str, detail: Option<&str>) -> Error {
        from_db(&SqlState::from_code(code), "what the database said", detail, None)
    }

    #[test]
    fn a_conflict_names_the_winner_and_a_serialization_failure_is_to_be_tried_again() {
        let conflict = answer("40001", Some("winner: 3-abc"));
        assert_eq!((conflict.status.as_u16(), conflict.name), (409, "conflict"));
        assert_eq!(conflict.winner.as_deref(), Some("3-abc"));
        let failure = answer("40001", None);
        assert_eq!((failure.status.as_u16(), failure.name), (503, "unavailable"));
    }

    #[test]
    fn each_class_has_its_answer() {
        for (code, status, name) in [
            ("42P01", 404, "table_not_found"),
            ("42P07", 409, "table_exists"),
            ("42501", 403, "forbidden"),
            ("22P02", 400, "bad_value"),
            ("22023", 400, "bad_request"),
            ("23505", 422, "refused"),
            ("57014", 503, "timeout"),
            ("57P01", 503, "unavailable"),
            ("53300", 503, "unavailable"),
            ("XX000", 500, "internal"),
        ] {
            let error = answer(code, None);
            assert_eq!((error.status.as_u16(), error.name), (status, name), "{code}");
        }
    }

    #[test]
    fn what_is_not_for_the_sender_is_not_told() {
        for code in ["42501", "XX000", "57014", "53200"] {
            assert!(!answer(code, None).reason.contains("what the database said"), "{code}");
        }
        assert!(answer("23502", None).reason.contains("what the database said"));
    }
}
