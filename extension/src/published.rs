//! In charge of the horizon that a primary writes for its standbys: a sequence, for setval is in the
//! WAL at once, behind every commit that the horizon covers.
//!
//! Readers and writers on the primary write it as they go, at most once a second each, so that it
//! costs a busy database nothing to speak of. Where nobody reads or writes any more the last
//! changes wait: whoever watches over a standby calls `godwit.last_sequence()` on the primary.

use pgrx::pg_sys;
use std::cell::Cell;

use crate::incarnation;
use crate::own;
use crate::role;
use crate::sequence;
use crate::settings::Settings;
use crate::unguarded;

/// In microseconds.
const INTERVAL_MIN: i64 = 1_000_000;

thread_local! {
    static LAST: Cell<i64> = const { Cell::new(i64::MIN) };
}

/// How far a reader on a standby may go.
pub fn horizon() -> i64 {
    incarnation::last_value(sequence()).unwrap_or(0)
}

/// A reader has found this horizon.
pub fn by_reader(owner: pg_sys::Oid, horizon: i64) {
    if is_due() {
        write(owner, horizon);
    }
}

/// A writer looks for the horizon before its first number.
pub fn by_writer(owner: pg_sys::Oid) {
    if is_due() {
        let _settings = Settings::path(c"pg_catalog, godwit, pg_temp");
        write(owner, sequence::settled());
    }
}

fn is_due() -> bool {
    // SAFETY: reads the clock and the transaction's own flag.
    let (now, read_only) = unsafe { (unguarded::GetCurrentTimestamp(), pg_sys::XactReadOnly) };
    if read_only || now < LAST.get().saturating_add(INTERVAL_MIN) {
        return false;
    }
    LAST.set(now);
    true
}

fn write(owner: pg_sys::Oid, horizon: i64) {
    let sequence = sequence();
    role::with_rights_of(owner, || {
        if incarnation::last_value(sequence).unwrap_or(0) < horizon {
            incarnation::set_value(sequence, horizon);
        }
    });
}

fn sequence() -> pg_sys::Oid {
    own::relation(c"horizon")
}
