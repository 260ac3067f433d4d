//! In charge of SQLSTATEs that Postgres doesn't know: apps make them up (`using errcode = 'P0099'`), and
//! clients look at them. An error that passes through Rust would come out as XX000, since pgrx has an enum of
//! Postgres's own codes. Here an error context callback, which Postgres runs for each error on its way out,
//! takes note of the code, and puts it back when the same error is raised again.

use pgrx::pg_sys;
use pgrx::pg_sys::panic::ErrorReportWithLevel;
use pgrx::prelude::*;
use std::cell::{Cell, RefCell};
use std::ffi::CStr;
use std::ptr;

/// Postgres packs five characters of six bits each (MAKE_SQLSTATE in utils/elog.h).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SqlState(i32);

const INTERNAL_ERROR: SqlState = SqlState(PgSqlErrorCode::ERRCODE_INTERNAL_ERROR as i32);

impl SqlState {
    /// The code that an error had before Rust got hold of it.
    pub fn of(report: &ErrorReportWithLevel) -> SqlState {
        let known = SqlState(report.sql_error_code() as i32);
        noted(known, report.message()).unwrap_or(known)
    }

    /// Whether an app made it up.
    pub fn is_made_up(self) -> bool {
        self != INTERNAL_ERROR
            && PgSqlErrorCode::from(self.0) == PgSqlErrorCode::ERRCODE_INTERNAL_ERROR
    }
}

impl std::fmt::Display for SqlState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        (0..5).try_for_each(|at| {
            write!(f, "{}", char::from((((self.0 >> (6 * at)) & 0x3f) as u8) + b'0'))
        })
    }
}

struct Note {
    state: SqlState,
    message: String,
}

thread_local! {
    /// The last error with a made-up code.
    static NOTE: RefCell<Option<Note>> = const { RefCell::new(None) };
    /// One for the backend: what is linked once sees the errors of all that runs inside.
    static LINK: Cell<*mut pg_sys::ErrorContextCallback> = const { Cell::new(ptr::null_mut()) };
}

fn noted(known: SqlState, message: &str) -> Option<SqlState> {
    NOTE.with_borrow(|note| {
        let note = note.as_ref()?;
        (known == INTERNAL_ERROR && note.message == message).then_some(note.state)
    })
}

/// While this lives, and until the error that ends it has been raised, codes are kept.
pub struct Kept {
    linked: bool,
}

pub fn keep() -> Kept {
    // SAFETY: the chain is Postgres's own, walked and extended as C code does on entering a function. The
    // callback lives as long as the backend.
    unsafe {
        let mut link = LINK.get();
        if link.is_null() {
            link = Box::into_raw(Box::new(pg_sys::ErrorContextCallback {
                previous: ptr::null_mut(),
                callback: Some(look),
                arg: ptr::null_mut(),
            }));
            LINK.set(link);
        }
        let mut at = pg_sys::error_context_stack;
        while !at.is_null() {
            if at == link {
                return Kept { linked: false };
            }
            at = (*at).previous;
        }
        NOTE.set(None);
        (*link).previous = pg_sys::error_context_stack;
        pg_sys::error_context_stack = link;
        Kept { linked: true }
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        // An error on its way to Postgres still needs it; whoever catches that resets the chain.
        if self.linked && !std::thread::panicking() {
            // SAFETY: `keep` put it here, and whatever came on top has gone.
            unsafe { pg_sys::error_context_stack = (*LINK.get()).previous };
        }
    }
}

unsafe extern "C-unwind" {
    /// Not among pgrx's bindings.
    fn errcode(code: i32) -> i32;
}

/// Runs inside `errfinish`, where the error is on top of Postgres's stack.
#[pg_guard]
unsafe extern "C-unwind" fn look(_arg: *mut std::ffi::c_void) {
    let state = SqlState(unsafe { pg_sys::geterrcode() });
    if state != INTERNAL_ERROR && !state.is_made_up() {
        return;
    }
    // SAFETY: `CopyErrorData` may be called with an error on the stack, outside of ErrorContext.
    unsafe {
        let before = pg_sys::MemoryContextSwitchTo(pg_sys::TopMemoryContext);
        let error = pg_sys::CopyErrorData();
        let is_error = (*error).elevel >= PgLogLevel::ERROR as i32;
        let message = (*error).message;
        let message =
            (!message.is_null()).then(|| CStr::from_ptr(message).to_string_lossy().into_owned());
        pg_sys::FreeErrorData(error);
        pg_sys::MemoryContextSwitchTo(before);
        let Some(message) = message.filter(|_| is_error) else { return };
        if state.is_made_up() {
            NOTE.set(Some(Note { state, message }));
        } else if let Some(SqlState(code)) = noted(state, &message) {
            errcode(code);
        }
    }
}
