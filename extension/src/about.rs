//! In charge of saying which record an error is about that Postgres itself raises: a constraint, a type,
//! a trigger of the app's. Its message stays what it is; the record is added to the detail.

use pgrx::PgTryBuilder;
use pgrx::pg_sys::panic::{CaughtError, ErrorReport};
use pgrx::prelude::*;
use std::panic::AssertUnwindSafe;

use crate::put::short;
use crate::shape::Shape;

/// Runs `work` on one record.
pub fn record<T>(shape: &Shape, id: &str, work: impl FnOnce() -> T) -> T {
    PgTryBuilder::new(AssertUnwindSafe(work))
        .catch_others(|caught| {
            let CaughtError::PostgresError(found) = &caught else { caught.rethrow() };
            let which = format!("Record {:?} of {}.", short(id), shape.wire_name);
            let detail =
                found.detail().map_or(which.clone(), |detail| format!("{detail}\n{which}"));
            let message = found.message().to_owned();
            let mut report = ErrorReport::new(found.sql_error_code(), message, "godwit");
            report = report.set_detail(detail);
            if let Some(hint) = found.hint() {
                report = report.set_hint(hint);
            }
            report.report(PgLogLevel::ERROR);
            unreachable!("ERROR does not return")
        })
        .execute()
}
