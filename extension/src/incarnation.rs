//! In charge of noticing that this database isn't what it was when it last numbered a change:
//! restored, promoted, copied.
//!
//! Numbers may then have been handed out that it doesn't remember, so the sequence moves past them.
//! Who finds that out may be in a transaction that lasts for hours or is rolled back, and nobody
//! must wait for it or take it at its word. So the mark that says whose numbers these are is a
//! sequence itself: setval is never rolled back, is seen at once, and is in the WAL behind the move.

use pgrx::pg_sys;
use pgrx::{direct_function_call, prelude::*};
use sha2::{Digest, Sha256};
use std::ffi::CStr;

use crate::error::Error;
use crate::own;
use crate::role;
use crate::sequence::{self, NUMBER_MAX};
use crate::settings::Settings;
use crate::spi;
use crate::unguarded::{self, guarded};
use crate::walk;

/// A new incarnation continues at the clock's milliseconds since 1970 times this: above anything
/// that an older one can have handed out at under a million changes a second, and below 2^53 until
/// the year 2248.
const NUMBERS_A_MILLISECOND: i64 = 1024;

/// The key of the advisory lock under which the sequence is moved. It is none of the change
/// stream's: those have other top bits (`sequence.rs`).
const MOVING: i64 = 0x176 << 53;

/// What tells this database apart from every copy of it.
struct Identity {
    system: i64,
    timeline: i64,
    database: i64,
}

impl Identity {
    fn here() -> Self {
        // SAFETY: reads what shared memory holds since the server started.
        unsafe {
            Identity {
                system: pg_sys::GetSystemIdentifier() as i64,
                timeline: i64::from(timeline()),
                database: i64::from(pg_sys::MyDatabaseId.to_u32()),
            }
        }
    }

    /// The identity as a number that a sequence can hold: 1 to 2^63-1.
    fn mark(&self) -> i64 {
        let mut hasher = Sha256::new();
        for part in [self.system, self.timeline, self.database] {
            hasher.update(part.to_be_bytes());
        }
        let digest = hasher.finalize();
        let first = digest.iter().take(8).fold(0, |bytes, byte| bytes << 8 | i64::from(*byte));
        (first & i64::MAX).max(1)
    }
}

/// # Safety
/// The server must not be in recovery.
unsafe fn timeline() -> u32 {
    // SAFETY: reads what shared memory holds since recovery ended.
    unsafe { pg_sys::GetWALInsertionTimeLine() }
}

/// Names what this database is now. Readers that find another name than last time may have seen what was
/// lost on the way, and offer it back.
#[pg_extern(sql = false)]
fn _current_incarnation() -> String {
    let _settings = Settings::path(c"pg_catalog, godwit, pg_temp");
    // SAFETY: reads a flag in shared memory.
    let is_standby = unsafe { pg_sys::RecoveryInProgress() };
    // A standby is what its primary is, which has written it down.
    let mark = if is_standby {
        let (_, owner) = sequence::sequence();
        role::as_owner(owner, || last_value(mark_sequence()).unwrap_or(0))
    } else {
        Identity::here().mark()
    };
    format!("{mark:016x}")
}

/// Moves the change sequence where this incarnation hasn't numbered anything yet. Called as the
/// catalog's owner, before a backend's first number.
pub fn recognise(sequence: pg_sys::Oid) {
    let identity = Identity::here();
    let mark_sequence = mark_sequence();
    let mark = identity.mark();
    let mut found = None;
    if last_value(mark_sequence) != Some(mark) {
        let _alone = Alone::wait();
        let before = last_value(mark_sequence);
        if before != Some(mark) {
            let last = last_value(sequence).unwrap_or(0);
            // A database that has never numbered anything begins at 1.
            if before.is_some() {
                let clock = now_ms() * NUMBERS_A_MILLISECOND;
                set_value(sequence, last.max(clock.min(NUMBER_MAX)));
            }
            set_value(mark_sequence, mark);
            found = Some(last);
        }
    }
    remember(&identity, found);
}

/// The catalog's row for people. It comes with the transaction at hand; where that is rolled back
/// the next backend leaves one, which no longer knows what was found.
fn remember(identity: &Identity, found: Option<i64>) {
    if found.is_none() && is_remembered(identity) {
        return;
    }
    let sql = "insert into godwit.incarnation (system_identifier, timeline, database, after)
               values ($1, $2, $3, $4)";
    let args = [
        spi::int8(identity.system),
        spi::int8(identity.timeline),
        spi::int8(identity.database),
        spi::Arg(pg_sys::INT8OID, found.and_then(|found| found.into_datum())),
    ];
    spi::run(sql, &args);
}

/// Every backend asks, so it is asked without SQL.
fn is_remembered(identity: &Identity) -> bool {
    let list = own::relation(c"incarnation");
    let column = |name: &CStr, value: i64| {
        // SAFETY: a catalog look-up by OID and name.
        let number = unsafe { pg_sys::get_attnum(list, name.as_ptr()) };
        walk::equal(number, pg_sys::F_INT8EQ, value.into_datum())
    };
    let mut identity = [
        column(c"system_identifier", identity.system),
        column(c"timeline", identity.timeline),
        column(c"database", identity.database),
    ];
    own::while_reading(list, || own::has_row(list, None, &mut identity))
}

/// What the last part of a sequence's page says (commands/sequence.c).
const MAGIC: u32 = 0x1717;

/// What a sequence's one row holds (commands/sequence.h, which pgrx doesn't read).
#[repr(C)]
struct SequenceRow {
    last_value: i64,
    log_count: i64,
    is_called: bool,
}

/// The last number of a sequence of ours; none before its first. Read where it stands, as `pg_sequence_last_value` does,
/// for no writer has a right on it: each asks this before its first number.
pub fn last_value(sequence: pg_sys::Oid) -> Option<i64> {
    // SAFETY: a sequence is one page of one row, which is copied under the page's lock if the page says that it is one.
    let found = unsafe {
        guarded(|| {
            // As `nextval` locks it, and keeps it locked.
            let lock = pg_sys::RowExclusiveLock as pg_sys::LOCKMODE;
            let relation = unguarded::relation_open(sequence, lock);
            let buffer = unguarded::ReadBuffer(relation, 0);
            unguarded::LockBuffer(buffer, pg_sys::BUFFER_LOCK_SHARE as i32);
            let page = pg_sys::BufferGetPage(buffer);
            let special = (*page.cast::<pg_sys::PageHeaderData>()).pd_special;
            let is_sequence = u32::from(special) <= pg_sys::BLCKSZ - u32::BITS / 8
                && page.add(special.into()).cast::<u32>().read_unaligned() == MAGIC;
            let found = is_sequence.then(|| {
                let item = pg_sys::PageGetItem(page, pg_sys::PageGetItemId(page, 1));
                let head = (*item.cast::<pg_sys::HeapTupleHeaderData>()).t_hoff;
                let row: *const SequenceRow = item.add(head.into()).cast();
                (*row).is_called.then_some((*row).last_value)
            });
            unguarded::UnlockReleaseBuffer(buffer);
            unguarded::relation_close(relation, pg_sys::NoLock as pg_sys::LOCKMODE);
            found
        })
    };
    found.unwrap_or_else(|| {
        Error::Internal(format!("the page of sequence {sequence:?} is damaged")).report()
    })
}

pub fn set_value(sequence: pg_sys::Oid, value: i64) {
    let args = [sequence.into_datum(), value.into_datum()];
    // SAFETY: the built-in function with its two arguments.
    unsafe { direct_function_call::<i64>(pg_sys::setval_oid, &args) };
}

fn now_ms() -> i64 {
    // SAFETY: reads the clock; microseconds since 2000-01-01.
    let since_2000 = unsafe { pg_sys::GetCurrentTimestamp() };
    since_2000 / 1000 + MS_1970_TO_2000
}

/// 10957 days: the difference of Postgres's epoch to Unix's (utils/timestamp.h, datatype/timestamp.h).
const MS_1970_TO_2000: i64 = 10_957 * 86_400_000;

fn mark_sequence() -> pg_sys::Oid {
    own::relation(c"incarnation_mark")
}

/// The lock of the session, not of the transaction: it is held for as long as the move takes.
struct Alone;

impl Alone {
    fn wait() -> Alone {
        // SAFETY: a lock of the session; an error releases it as well.
        unsafe { pg_sys::LockAcquire(&sequence::tag(MOVING), EXCLUSIVE, true, false) };
        Alone
    }
}

impl Drop for Alone {
    fn drop(&mut self) {
        // SAFETY: the lock is held.
        unsafe { pg_sys::LockRelease(&sequence::tag(MOVING), EXCLUSIVE, true) };
    }
}

const EXCLUSIVE: pg_sys::LOCKMODE = pg_sys::ExclusiveLock as pg_sys::LOCKMODE;
