//! In charge of trying something that may fail: one subtransaction, and the error as a value.

use pgrx::PgTryBuilder;
use pgrx::pg_sys;
use pgrx::pg_sys::panic::CaughtError;
use pgrx::prelude::*;
use std::panic::AssertUnwindSafe;

use crate::rejected;
use crate::sqlstate::SqlState;

/// An error that rolled a subtransaction back.
pub struct Failure {
    pub sqlstate: SqlState,
    pub message: String,
    pub detail: Option<String>,
    /// Whether it is our `Error::Overtaken`: no error of the app's is, whatever it says.
    pub is_overtaken: bool,
    caught: Box<CaughtError>,
}

impl Failure {
    /// Whether the data is at fault and not the moment or the caller: a value (22), a constraint
    /// (23), a trigger that keeps the row out (27) or raises an exception (P0001), a size (54), a
    /// type that doesn't fit (42804), or a code that an app made up.
    pub fn is_refusal(&self) -> bool {
        let sqlstate = self.sqlstate.to_string();
        ["22", "23", "27", "54"].iter().any(|class| sqlstate.starts_with(class))
            || ["P0001", "42804"].contains(&sqlstate.as_str())
            || self.sqlstate.is_made_up()
    }

    /// Whether it is what Postgres says of a value: that it can't be computed with, isn't of its domain, names nothing
    /// that there is, or finds too few rows or too many.
    pub fn is_of_value(&self) -> bool {
        let sqlstate = self.sqlstate.to_string();
        let others = ["23514", "21000", "42602", "42704", "P0002", "P0003"];
        sqlstate.starts_with("22") || others.contains(&sqlstate.as_str())
    }

    /// Whether a statement can't be what it is, and no right is missing: what it names isn't there, its types don't fit.
    pub fn is_of_names(&self) -> bool {
        let sqlstate = self.sqlstate.to_string();
        sqlstate.starts_with("42") && sqlstate != "42501"
    }

    /// Whether a right is missing, or a policy lets a row not pass.
    pub fn is_denied(&self) -> bool {
        self.sqlstate.to_string() == "42501"
    }

    /// Whether a unique or exclusion constraint has found another row.
    pub fn is_taken(&self) -> bool {
        ["23505", "23P01"].contains(&self.sqlstate.to_string().as_str())
    }

    /// Whether another session holds what couldn't be waited for.
    pub fn is_held(&self) -> bool {
        self.sqlstate.to_string() == rejected::HELD
    }

    /// Raises the error again as it came.
    pub fn rethrow(self) -> ! {
        (*self.caught).rethrow()
    }
}

/// What the app raises comes from Postgres; nothing else of ours has this code.
fn is_overtaken(caught: &CaughtError) -> bool {
    let code = PgSqlErrorCode::ERRCODE_LOCK_NOT_AVAILABLE;
    matches!(caught, CaughtError::ErrorReport(report) if report.sql_error_code() == code)
}

/// Runs `work` in a subtransaction: released when it ends well, rolled back when it fails. What Postgres allocates
/// meanwhile is freed after it, or a batch whose every record is refused would hold it all until its end.
pub fn attempt<T>(work: impl FnOnce() -> T) -> Result<T, Failure> {
    // SAFETY: this is what plpgsql does for a block with EXCEPTION: memory context and resource
    // owner are put back after either end.
    unsafe {
        let context = pg_sys::CurrentMemoryContext;
        let owner = pg_sys::CurrentResourceOwner;
        pg_sys::BeginInternalSubTransaction(std::ptr::null());
        let scratch = pg_sys::AllocSetContextCreateExtended(
            context,
            c"godwit attempt".as_ptr(),
            pg_sys::ALLOCSET_DEFAULT_MINSIZE as usize,
            pg_sys::ALLOCSET_DEFAULT_INITSIZE as usize,
            pg_sys::ALLOCSET_DEFAULT_MAXSIZE as usize,
        );
        pg_sys::MemoryContextSwitchTo(scratch);
        let outcome = PgTryBuilder::new(AssertUnwindSafe(|| Ok(work())))
            .catch_others(|caught| {
                let report = match &caught {
                    CaughtError::PostgresError(report)
                    | CaughtError::ErrorReport(report)
                    | CaughtError::RustPanic { ereport: report, .. } => report,
                };
                Err(Failure {
                    sqlstate: SqlState::of(report),
                    message: report.message().to_owned(),
                    detail: report.detail().map(str::to_owned),
                    is_overtaken: is_overtaken(&caught),
                    caught: Box::new(caught),
                })
            })
            .execute();
        if outcome.is_ok() {
            pg_sys::ReleaseCurrentSubTransaction();
        } else {
            pg_sys::MemoryContextSwitchTo(context);
            pg_sys::RollbackAndReleaseCurrentSubTransaction();
        }
        pg_sys::MemoryContextSwitchTo(context);
        pg_sys::MemoryContextDelete(scratch);
        pg_sys::CurrentResourceOwner = owner;
        outcome
    }
}
