//! In charge of the errors that leave the extension: one variant a cause, one SQLSTATE each.

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;
use revision::RevisionId;

pub enum Error {
    /// The put edits a revision that is not a leaf any more.
    Conflict { id: String, edited: Option<RevisionId>, winner: RevisionId },
    /// The caller has seen other leaves than there are.
    OtherLeaves { id: String, winner: RevisionId },
    /// The put names a revision that this database has never seen.
    UnknownRevision { id: String, revision: RevisionId },
    /// A delete of a record that is not there.
    NoRecord { id: String },
    /// A revision known by name only.
    Stub { id: String, revision: RevisionId },
    /// A body that was dropped to save room.
    Compacted { id: String, revision: RevisionId },
    /// The wire record is malformed.
    BadRecord(String),
    /// A record id that can't be a key of this table.
    BadId { id: String, reason: String },
    /// An argument out of what the function takes.
    BadArgument(String),
    /// The relation has no history twin.
    NotTracked(String),
    /// No tracked table has this name on the wire.
    NoTable(String),
    /// The revision is of the last generation that there is.
    LastGeneration { id: String },
    /// A revision id that is known came with another body.
    OtherBody { id: String, revision: RevisionId },
    /// A trigger of the app's or a rule keeps the winner out of the table.
    NotShown { table: String, id: String },
    /// A policy can't be asked of what an old revision says.
    PolicyFails { table: String },
    /// Another session brings what a batch brings. The batch takes it back and goes on in order: nobody is told.
    Overtaken,
    /// More than a value of Postgres's can hold.
    TooLarge(String),
    /// The caller may not do this.
    Forbidden(String),
    /// A bug of ours, or a catalog that somebody changed by hand.
    Internal(String),
}

impl Error {
    fn code(&self) -> PgSqlErrorCode {
        use PgSqlErrorCode as Code;
        match self {
            Error::Conflict { .. } | Error::OtherLeaves { .. } => {
                Code::ERRCODE_T_R_SERIALIZATION_FAILURE
            }
            Error::UnknownRevision { .. } | Error::BadArgument(_) => {
                Code::ERRCODE_INVALID_PARAMETER_VALUE
            }
            Error::NoRecord { .. } | Error::Stub { .. } | Error::Compacted { .. } => {
                Code::ERRCODE_NO_DATA_FOUND
            }
            Error::BadRecord(_) | Error::BadId { .. } => Code::ERRCODE_INVALID_TEXT_REPRESENTATION,
            Error::NotTracked(_) | Error::NoTable(_) => Code::ERRCODE_UNDEFINED_TABLE,
            Error::LastGeneration { .. } | Error::TooLarge(_) => {
                Code::ERRCODE_PROGRAM_LIMIT_EXCEEDED
            }
            Error::OtherBody { .. } => Code::ERRCODE_UNIQUE_VIOLATION,
            Error::Overtaken => Code::ERRCODE_LOCK_NOT_AVAILABLE,
            Error::NotShown { .. } => Code::ERRCODE_TRIGGERED_DATA_CHANGE_VIOLATION,
            Error::PolicyFails { .. } => Code::ERRCODE_INVALID_OBJECT_DEFINITION,
            Error::Forbidden(_) => Code::ERRCODE_INSUFFICIENT_PRIVILEGE,
            Error::Internal(_) => Code::ERRCODE_INTERNAL_ERROR,
        }
    }

    /// What can't be read is no bug of ours where it is what the caller handed us.
    pub fn of_argument(self) -> Error {
        match self {
            Error::Internal(reason) => Error::BadArgument(reason),
            other => other,
        }
    }

    pub fn message(&self) -> String {
        match self {
            Error::Conflict { id, edited: Some(edited), .. } => {
                format!("record {id:?}: {edited} has been edited already")
            }
            Error::Conflict { id, edited: None, .. } => {
                format!("record {id:?} exists: name the revision that you edit")
            }
            Error::OtherLeaves { id, .. } => {
                format!("record {id:?} has other leaves by now than those named")
            }
            Error::UnknownRevision { id, revision } => {
                format!("record {id:?}: revision {revision} is not known here")
            }
            Error::NoRecord { id } => format!("there is no record {id:?}"),
            Error::Stub { id, revision } => {
                format!("record {id:?}: revision {revision} is known by name only")
            }
            Error::Compacted { id, revision } => {
                format!("record {id:?}: the body of {revision} was dropped from the history")
            }
            Error::BadId { id, reason } => format!("record id {id:?}: {reason}"),
            Error::NotTracked(name) | Error::NoTable(name) => {
                format!("table {name} is not tracked")
            }
            Error::LastGeneration { id } => {
                format!("record {id:?}: no revision can follow one of generation 2^53-1")
            }
            Error::OtherBody { id, revision } => {
                format!("record {id:?}: revision {revision} is known with another body")
            }
            Error::NotShown { table, id } => {
                format!("table {table} does not take the winner of record {id:?}")
            }
            Error::PolicyFails { table } => {
                format!("a policy of {table} names what isn't there, asked of an old revision")
            }
            Error::Overtaken => "another session brings the same revisions".to_owned(),
            Error::BadRecord(reason)
            | Error::BadArgument(reason)
            | Error::TooLarge(reason)
            | Error::Forbidden(reason)
            | Error::Internal(reason) => reason.clone(),
        }
    }

    /// What a program reads: the gateway takes the winner of a conflict from here.
    fn detail(&self) -> Option<String> {
        match self {
            Error::Conflict { winner, .. } | Error::OtherLeaves { winner, .. } => {
                Some(format!("winner: {winner}"))
            }
            _ => None,
        }
    }

    fn hint(&self) -> Option<&'static str> {
        match self {
            Error::Conflict { .. } => Some(
                "Read the winner and put again with it as the revision, \
                 or keep both with on_conflict => 'branch'.",
            ),
            Error::OtherLeaves { .. } => Some("Look at its leaves again, then resolve."),
            Error::NotTracked(_) => Some("Track it with select godwit.track('the_table')."),
            Error::NoTable(_) => {
                Some("godwit.tables() lists those that are; godwit.track() adds one.")
            }
            Error::Compacted { .. } => Some("Ask for a later time: this was compacted or erased."),
            Error::NotShown { .. } => {
                Some("A BEFORE trigger returned null, or a rule or policy hides the row.")
            }
            Error::PolicyFails { .. } => Some(
                "It runs under the search path pg_catalog, godwit, pg_temp: qualify what it names. \
                 Or what the revision says is taken for a name.",
            ),
            Error::Internal(_) => Some("This is a bug in godwit; please report it."),
            _ => None,
        }
    }

    /// Raises the error in Postgres; it does not come back.
    pub fn report(self) -> ! {
        let mut report = ErrorReport::new(self.code(), self.message(), "godwit");
        if let Some(detail) = self.detail() {
            report = report.set_detail(detail);
        }
        if let Some(hint) = self.hint() {
            report = report.set_hint(hint);
        }
        report.report(PgLogLevel::ERROR);
        unreachable!("ERROR does not return")
    }
}

/// Turns a domain result into its value or a Postgres error.
pub trait OrReport<T> {
    fn or_report(self) -> T;
}

impl<T> OrReport<T> for Result<T, Error> {
    fn or_report(self) -> T {
        self.unwrap_or_else(|error| error.report())
    }
}
