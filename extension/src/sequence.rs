//! In charge of the change stream's numbers: handing them out, and how far a reader may go.
//!
//! Numbers are drawn before a transaction commits, so a reader that takes all it sees may step over
//! one that commits later. Therefore a transaction, before its first number, reads the sequence's
//! last value L and takes a shared advisory lock whose key is L: all its numbers are above L. A
//! reader reads the last value M, then the keys of the locks that are held, then takes its
//! snapshot, and reads up to the least of them. Locks are released after a commit is visible, so
//!
//! - a writer that holds its lock is seen, and the reader stops at its L, below all its numbers;
//! - a writer that has read L but not yet locked will draw above M;
//! - a writer whose lock is gone has committed, and the snapshot, being later, sees it;
//! - a prepared transaction keeps its locks without a backend;
//! - a savepoint that is rolled back takes its lock with it, and the next number locks again.
//!
//! **A later horizon may be lower.** Each is true for good: all up to it has ended. But a writer that has read L
//! before one and locks after it brings the next back to L. So a page of changes and the place to go on from
//! come from one horizon: whoever looked up to the lower one and went on from the higher would skip what has
//! committed between the two.
//!
//! A hot standby sees no locks. There a reader goes as far as the primary has written that its own
//! readers may go: that stands in the WAL behind the commits it covers (`published.rs`).

use pgrx::pg_sys;
use pgrx::prelude::*;
use std::cell::Cell;
use std::ffi::{CStr, c_char};
use std::time::Duration;

use crate::argument::need;
use crate::error::Error;
use crate::incarnation;
use crate::own;
use crate::published;
use crate::role;
use crate::settings::Settings;
use crate::shape;
use crate::spi;
use crate::transaction;
use crate::unguarded::{self, guarded};

/// Advisory lock keys of ours have these top 11 bits, which leaves 53 for a number: those that
/// JavaScript can hold. ("gwt" modulo 2^10, below the sign bit.)
const LOCK_SPACE: i64 = 0x177 << 53;
pub const NUMBER_MAX: i64 = (1 << 53) - 1;

const CLAIMS: &CStr = c"request.jwt.claims";

thread_local! {
    /// The lock that was taken last, and by which transaction.
    static LOCK: Cell<Option<(u32, i64)>> = const { Cell::new(None) };
    static INCARNATION_KNOWN: Cell<bool> = const { Cell::new(false) };
    /// The role that was last found to write to a history.
    static WRITER: Cell<pg_sys::Oid> = const { Cell::new(pg_sys::InvalidOid) };
    /// A horizon whose changes are known to be on disk.
    static ON_DISK: Cell<i64> = const { Cell::new(0) };
    /// The sequence and its owner, and how much had been heard of relations when it was there.
    static SEQUENCE: Cell<Option<(u64, (pg_sys::Oid, pg_sys::Oid))>> = const { Cell::new(None) };
}

/// The next number; the lock is taken where this (sub)transaction doesn't hold it.
#[pg_extern(sql = false)]
fn _next_sequence() -> i64 {
    require_writer();
    draw(begin())
}

/// What comes before a (sub)transaction's first number; returns the sequence to draw from. What is drawn before
/// anything else can run needs no other look at the lock. For who adds to a twin.
pub fn begin() -> pg_sys::Oid {
    let (sequence, owner) = sequence();
    if !INCARNATION_KNOWN.get() {
        role::as_owner(owner, || incarnation::recognise(sequence));
        INCARNATION_KNOWN.set(true);
    }
    let transaction = transaction::number();
    let is_held = |(by, key)| by == transaction && is_held(key);
    if !cfg!(feature = "broken-guard") && !LOCK.get().is_some_and(is_held) {
        published::by_writer(owner);
        let key = LOCK_SPACE | last_value(sequence);
        if cfg!(feature = "slow-guard") {
            // SAFETY: sleeps, for up to 8 ms.
            unsafe { pg_sys::pg_usleep((pg_sys::GetCurrentTimestamp() & 0x1fff) as _) };
        }
        let mode = pg_sys::ShareLock as pg_sys::LOCKMODE;
        // SAFETY: a lock of the transaction, which its end releases.
        unsafe { pg_sys::LockAcquire(&tag(key), mode, false, false) };
        LOCK.set(Some((transaction, key)));
    }
    sequence
}

/// A number, after `begin`.
pub fn draw(sequence: pg_sys::Oid) -> i64 {
    // SAFETY: the sequence is there.
    unsafe { guarded(|| draw_unguarded(sequence)) }
}

/// The same behind a guard of the caller's.
///
/// # Safety
/// It is called by `guarded`.
pub unsafe fn draw_unguarded(sequence: pg_sys::Oid) -> i64 {
    // SAFETY: the sequence is there. Rights are not asked for: the writer has none on it.
    unsafe { unguarded::nextval_internal(sequence, false) }
}

/// Who draws a number holds the stream back until its transaction ends: that takes the right to write to some
/// history, or a table that could be given one. (Whoever writes to a table writes its twin as the owner.)
fn require_writer() {
    // SAFETY: reads the current user.
    let user = unsafe { pg_sys::GetUserId() };
    if WRITER.get() == user {
        return;
    }
    let _settings = Settings::path(c"pg_catalog, pg_temp");
    let sql = "select exists (select from godwit.tracked t
                where pg_catalog.has_table_privilege($1, t.twin, 'insert'))
              or exists (select from pg_catalog.pg_class c
                where c.relkind in ('r', 'p') and pg_catalog.pg_has_role($1, c.relowner, 'usage'))";
    if spi::rows(sql, &[spi::oid(user)], |row| row.need::<bool>(1)).first() != Some(&true) {
        let reason = "numbers of the change stream are for who writes to a history";
        Error::Forbidden(reason.to_owned()).report()
    }
    WRITER.set(user);
}

/// Who writes what is being written: the JWT's subject, else the SQL role.
#[pg_extern(sql = false)]
fn _author() -> String {
    author()
}

pub fn author() -> String {
    let role = role::author();
    // SAFETY: the option may be missing, and the role; both texts are read before anything else is asked.
    let (claims, name) = unsafe {
        let (claims, name) = guarded(|| {
            let claims = unguarded::GetConfigOption(CLAIMS.as_ptr(), true, false);
            (claims, unguarded::GetUserNameFromId(role, true))
        });
        let text = |text: *const c_char| (!text.is_null()).then(|| CStr::from_ptr(text));
        (text(claims), text(name))
    };
    let claimed = subject(claims.unwrap_or_default()).unwrap_or_else(|error| {
        Error::BadArgument(format!("the setting request.jwt.claims can't be read: {error}"))
            .report()
    });
    if claimed.as_ref().is_some_and(|subject| subject.contains('\0')) {
        let reason = "the setting request.jwt.claims names a subject that holds U+0000";
        Error::BadArgument(reason.to_owned()).report()
    }
    claimed.or_else(|| Some(name?.to_string_lossy().into_owned())).unwrap_or_default()
}

/// The member `sub` of the setting that PostgREST and its like put a JWT's claims in.
fn subject(claims: &CStr) -> Result<Option<String>, serde_json::Error> {
    if claims.is_empty() {
        return Ok(None);
    }
    let claims: serde_json::Value = serde_json::from_slice(claims.to_bytes())?;
    Ok(match &claims["sub"] {
        serde_json::Value::Null => None,
        serde_json::Value::String(subject) => Some(subject.clone()),
        other => Some(other.to_string()),
    })
}

/// A lock that `pg_advisory_lock` and its like can't name: those have 1 or 2 where this has 3. Or a writer
/// could hold it for its session, let it go before it commits, and be stepped over.
pub fn tag(key: i64) -> pg_sys::LOCKTAG {
    pg_sys::LOCKTAG {
        // SAFETY: set when the backend connected.
        locktag_field1: unsafe { pg_sys::MyDatabaseId }.to_u32(),
        locktag_field2: (key >> 32) as u32,
        locktag_field3: key as u32,
        locktag_field4: 3,
        locktag_type: pg_sys::LockTagType::LOCKTAG_ADVISORY as u8,
        locktag_lockmethodid: pg_sys::USER_LOCKMETHOD as u8,
    }
}

/// The number that a lock is of, if it is one of `tag`'s in this database.
fn locked_number(found: &pg_sys::LOCKTAG) -> Option<i64> {
    let key = (i64::from(found.locktag_field2) << 32) | i64::from(found.locktag_field3);
    let ours = tag(key);
    let is_ours = found.locktag_type == ours.locktag_type
        && found.locktag_field1 == ours.locktag_field1
        && found.locktag_field4 == ours.locktag_field4
        && key & !NUMBER_MAX == LOCK_SPACE;
    is_ours.then_some(key & NUMBER_MAX)
}

fn is_held(key: i64) -> bool {
    let mode = pg_sys::ShareLock as pg_sys::LOCKMODE;
    // SAFETY: a look at this backend's own locks.
    #[cfg(not(any(feature = "pg17", feature = "pg18")))]
    return unsafe { pg_sys::LockHeldByMe(&tag(key), mode) };
    // SAFETY: as above.
    #[cfg(any(feature = "pg17", feature = "pg18"))]
    return unsafe { pg_sys::LockHeldByMe(&tag(key), mode, false) };
}

fn last_value(sequence: pg_sys::Oid) -> i64 {
    incarnation::last_value(sequence).unwrap_or(0)
}

/// The sequence and its owner, by name: once per backend, again when it is gone.
pub fn sequence() -> (pg_sys::Oid, pg_sys::Oid) {
    let heard = shape::heard();
    let is_there = |(then, (sequence, _)): (u64, (pg_sys::Oid, _))| {
        // SAFETY: a cached catalog look-up.
        then == heard || !unsafe { pg_sys::get_rel_name(sequence) }.is_null()
    };
    let found = match SEQUENCE.get().filter(|known| is_there(*known)) {
        Some((_, found)) => found,
        None => {
            let sequence = own::relation(c"change_sequence");
            INCARNATION_KNOWN.set(false);
            (sequence, own::owner(sequence))
        }
    };
    SEQUENCE.set(Some((heard, found)));
    found
}

/// How far a reader may go now: everything up to here has committed or never will.
pub fn horizon() -> i64 {
    let (_, owner) = sequence();
    if is_standby() {
        return published::horizon();
    }
    let horizon = settled();
    published::by_reader(owner, horizon);
    horizon
}

fn is_standby() -> bool {
    // SAFETY: reads a flag in shared memory.
    unsafe { pg_sys::RecoveryInProgress() }
}

/// The horizon on a primary.
pub fn settled() -> i64 {
    let (sequence, _) = sequence();
    let last = last_value(sequence);
    least_locked().map_or(last, |least| least.min(last))
}

/// The least number that a writer of this database has locked. What pg_locks would say, but for the locks of
/// SERIALIZABLE, of which a look at pg_locks lists every place, taken or not: that was most of its cost.
fn least_locked() -> Option<i64> {
    // SAFETY: the list is a copy, of as many locks as it says, and is freed here.
    unsafe {
        let data = pg_sys::GetLockStatusData();
        let locks = std::slice::from_raw_parts((*data).locks, (*data).nelements as usize);
        let least = locks.iter().filter_map(|lock| locked_number(&lock.locktag)).min();
        pg_sys::pfree((*data).locks.cast());
        pg_sys::pfree(data.cast());
        least
    }
}

#[pg_extern(sql = false)]
fn _last_sequence() -> i64 {
    let _settings = Settings::path(c"pg_catalog, godwit, pg_temp");
    let (sequence, _) = sequence();
    last_value(sequence)
}

/// How far a reader is shown, and may go on from: what is up to there is on disk, or a crash would hand out
/// its numbers again.
#[pg_extern(sql = false)]
fn _horizon() -> i64 {
    let _settings = Settings::path(c"pg_catalog, godwit, pg_temp");
    let horizon = horizon();
    on_disk(horizon);
    horizon
}

/// How long one call may hold its snapshot, in microseconds.
const AWAIT_MAX: i64 = 1_000_000;
/// Between two looks at the sequence, which take microseconds: soon where a call has only begun, for a stream that
/// has just moved is likely to move again, and a thousand times a second after that.
const LOOK_SOON: Duration = Duration::from_micros(250);
const LOOK: Duration = Duration::from_micros(1000);
const SOON: i64 = 10_000;
/// Between two looks at the locks while a transaction holds the stream back: a look takes a tenth of a
/// millisecond and more. Most that write commit at once, so the pauses double from one to the other.
const LOOK_HELD: Duration = Duration::from_micros(250);
const LOOK_HELD_MAX: Duration = Duration::from_micros(4000);

/// The horizon as soon as it is another than the one that is named, or the same when time is up.
///
/// In the server a look is so cheap that it can be taken a thousand times a second, and no writer does
/// anything for it, as NOTIFY would have it.
#[pg_extern(sql = false)]
fn _await_change(known: Option<i64>, timeout_ms: Option<i32>) -> i64 {
    let (known, timeout_ms) = (need(known, "known"), need(timeout_ms, "timeout_ms"));
    let _settings = Settings::path(c"pg_catalog, godwit, pg_temp");
    let (sequence, _) = sequence();
    // SAFETY: reads the clock.
    let now = || unsafe { pg_sys::GetCurrentTimestamp() };
    let begun = now();
    let end = begun + (i64::from(timeout_ms.max(0)) * 1000).min(AWAIT_MAX);
    let mut held = LOOK_HELD;
    loop {
        let is_still = !is_standby() && last_value(sequence) == known;
        let horizon = if is_still { known } else { horizon() };
        if horizon != known || now() >= end {
            on_disk(horizon);
            return horizon;
        }
        if is_still {
            held = LOOK_HELD;
            pause(if now() < begun + SOON { LOOK_SOON } else { LOOK });
        } else {
            pause(held);
            held = (held * 2).min(LOOK_HELD_MAX);
        }
        pgrx::check_for_interrupts!();
    }
}

/// Waits for the time or a signal, and ends with the server.
fn pause(time: Duration) {
    // SAFETY: a latch counts in milliseconds; what is shorter is slept, in which nothing can be missed for long.
    unsafe {
        if time < Duration::from_millis(1) {
            return pg_sys::pg_usleep(time.as_micros() as _);
        }
        let events = pg_sys::WL_LATCH_SET | pg_sys::WL_TIMEOUT | pg_sys::WL_EXIT_ON_PM_DEATH;
        let time = time.as_millis() as _;
        pg_sys::WaitLatch(pg_sys::MyLatch, events as _, time, pg_sys::PG_WAIT_EXTENSION);
        pg_sys::ResetLatch(pg_sys::MyLatch);
    }
}

/// Sees to it that what is up to a horizon is on disk.
pub fn on_disk(horizon: i64) {
    if horizon != ON_DISK.get() {
        flush();
        ON_DISK.set(horizon);
    }
}

/// Waits until everything that a snapshot taken before can have seen is on disk: with
/// `synchronous_commit = off` a crash could take back what a reader was shown.
pub fn flush() {
    // What a standby has received is on the primary's disk.
    if is_standby() {
        return;
    }
    // SAFETY: flushing up to the insert position is what a commit does. A position just behind a
    // page's header has nothing on that page yet: what is written ends where the page begins.
    unsafe {
        let position = pg_sys::GetXLogInsertRecPtr();
        let in_page = position % u64::from(pg_sys::XLOG_BLCKSZ);
        let in_segment = position % (pg_sys::wal_segment_size as u64);
        let first_of_segment = in_segment < u64::from(pg_sys::XLOG_BLCKSZ);
        let header = if first_of_segment {
            size_of::<pg_sys::XLogLongPageHeaderData>()
        } else {
            size_of::<pg_sys::XLogPageHeaderData>()
        } as u64;
        let written = if in_page <= header { position - in_page } else { position };
        pg_sys::XLogFlush(written);
    }
}
