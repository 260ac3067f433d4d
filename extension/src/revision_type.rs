//! In charge of the SQL type `godwit.revision`: how a revision id is read, printed and stored.
//!
//! It is stored so that its bytes sort as section 3 of DESIGN.md says (`revision::sortable`; `revision_order.rs`
//! compares them).

use pgrx::prelude::*;
use revision::RevisionId;
use std::ffi::{CStr, CString};

use crate::error::{Error, OrReport};

#[pg_extern(sql = false, immutable, parallel_safe, strict)]
fn _revision_in(text: &CStr) -> Vec<u8> {
    parse(text.to_bytes())
}

#[pg_extern(sql = false, immutable, parallel_safe, strict)]
fn _revision_out(stored: &[u8]) -> CString {
    CString::new(read(stored).to_string()).unwrap_or_default()
}

#[pg_extern(sql = false, immutable, parallel_safe, strict)]
fn _revision_recv(mut message: pgrx::Internal) -> Vec<u8> {
    // SAFETY: a receive function is handed a StringInfo; the rest of the message is the text.
    let bytes = unsafe {
        let buffer: &mut pg_sys::StringInfoData = message.get_mut().unwrap_or_else(|| {
            Error::Internal("a receive function without a message".into()).report()
        });
        let length = buffer.len - buffer.cursor;
        let start = pg_sys::pq_getmsgbytes(buffer, length);
        std::slice::from_raw_parts(start.cast::<u8>(), length as usize)
    };
    parse(bytes)
}

/// The binary form is the text as well: a driver that doesn't know the type reads what it shows.
#[pg_extern(sql = false, immutable, parallel_safe, strict)]
fn _revision_send(stored: &[u8]) -> Vec<u8> {
    read(stored).to_string().into_bytes()
}

#[pg_extern(sql = false, immutable, parallel_safe, strict)]
fn _revision_text(stored: &[u8]) -> String {
    read(stored).to_string()
}

#[pg_extern(sql = false, immutable, parallel_safe, strict)]
fn _revision_of_text(text: &str) -> Vec<u8> {
    parse(text.as_bytes())
}

#[pg_extern(sql = false, immutable, parallel_safe, strict)]
fn _generation(stored: &[u8]) -> i64 {
    read(stored).generation() as i64
}

/// What sorts below every revision so many generations on; a bound for an index, not a revision.
#[pg_extern(sql = false, immutable, parallel_safe, strict)]
fn _generation_floor(stored: &[u8], ahead: i32) -> Vec<u8> {
    let generation = read(stored).generation();
    RevisionId::floor(generation.saturating_add_signed(ahead.into())).to_sortable()
}

/// A floor is of this type and is no revision.
fn read(stored: &[u8]) -> RevisionId {
    RevisionId::from_sortable(stored)
        .map_err(|error| Error::BadArgument(error.to_string()))
        .or_report()
}

fn parse(text: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(text);
    let parsed = RevisionId::parse(&text).map_err(|error| Error::BadRecord(error.to_string()));
    parsed.or_report().to_sortable()
}
