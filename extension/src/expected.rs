//! In charge of what a backend remembers between its own triggers: what reconciliation is writing
//! to the table, and what the BEFORE trigger stamped that the AFTER trigger has not yet kept.
//!
//! An error may leave a count too high or a mark standing. Both err to the safe side: they cost one more look at the
//! history, and end with the transaction. What a rolled-back savepoint has counted goes with it: a count that is too low
//! would leave a parent out.

use pgrx::pg_sys;
use revision::RevisionId;
use rustc_hash::{FxHashMap, FxHashSet};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ffi::c_void;

use crate::extra::Extra;
use crate::transaction;
use crate::unguarded;

thread_local! {
    /// Statements of reconciliation under way, innermost last: table, record id, winner.
    static WRITING: RefCell<Vec<(pg_sys::Oid, BTreeMap<String, RevisionId>)>> =
        const { RefCell::new(Vec::new()) };
    /// The command at which reconciliation last wrote each table.
    static WRITTEN: RefCell<FxHashMap<pg_sys::Oid, pg_sys::CommandId>> = RefCell::default();
    static CAPTURING: RefCell<Vec<pg_sys::Oid>> = const { RefCell::new(Vec::new()) };
    static PENDING: RefCell<FxHashMap<pg_sys::Oid, Pending>> = RefCell::default();
    /// Of each subtransaction under way that began since the first stamp, innermost last.
    static SAVEPOINTS: RefCell<Vec<Savepoint>> = const { RefCell::new(Vec::new()) };
    static HEARS_SAVEPOINTS: Cell<bool> = const { Cell::new(false) };
    static ORIGINS: RefCell<FxHashMap<(pg_sys::Oid, String, RevisionId), (RevisionId, Extra)>> =
        RefCell::default();
    static MOVED: RefCell<FxHashSet<pg_sys::Oid>> = RefCell::default();
    /// Of partitioned tables: record ids before and after.
    static MOVES: RefCell<Vec<Move>> = const { RefCell::new(Vec::new()) };
    static CARRYING: RefCell<FxHashSet<pg_sys::Oid>> = RefCell::default();
    /// Revisions made, and statements of reconciliation that began within another.
    static EDITS: Cell<u64> = const { Cell::new(0) };
    static TRANSACTION: Cell<u32> = const { Cell::new(0) };
}

#[derive(Clone, Copy, Default)]
struct Pending {
    count: i64,
    /// The command of the outermost statement that they are of.
    since: pg_sys::CommandId,
}

/// What was pending when a subtransaction began, and how many moves there were.
struct Savepoint {
    began: pg_sys::SubTransactionId,
    pending: FxHashMap<pg_sys::Oid, Pending>,
    moves: usize,
}

/// A row whose key an UPDATE has changed.
pub struct Move {
    relation: pg_sys::Oid,
    /// The command of the statement.
    at: pg_sys::CommandId,
    pub from: String,
    pub to: String,
}

struct Pop(fn());

impl Drop for Pop {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// Runs a statement that writes these winners to a table: the BEFORE trigger lets them through.
pub fn while_writing<T>(
    relation: pg_sys::Oid,
    winners: BTreeMap<String, RevisionId>,
    work: impl FnOnce() -> T,
) -> T {
    renew();
    // SAFETY: it is only read.
    let at = unsafe { pg_sys::GetCurrentCommandId(false) };
    WRITTEN.with_borrow_mut(|written| written.insert(relation, at));
    WRITING.with_borrow_mut(|writing| {
        EDITS.set(EDITS.get() + u64::from(!writing.is_empty()));
        writing.push((relation, winners));
    });
    let _pop = Pop(|| WRITING.with_borrow_mut(|writing| writing.truncate(writing.len() - 1)));
    work()
}

/// Whether reconciliation is writing just this revision of this record now.
pub fn is(relation: pg_sys::Oid, id: &str, revision: &RevisionId) -> bool {
    WRITING.with_borrow(|writing| {
        writing
            .iter()
            .any(|(table, winners)| *table == relation && winners.get(id) == Some(revision))
    })
}

/// Whether reconciliation is writing this table at all.
pub fn is_writing(relation: pg_sys::Oid) -> bool {
    WRITING.with_borrow(|writing| writing.iter().any(|(table, _)| *table == relation))
}

/// Whether reconciliation has written this table since the statement at hand began: for a trigger of the app's that puts,
/// or because it is what the statement belongs to.
pub fn has_written_meanwhile(relation: pg_sys::Oid) -> bool {
    renew();
    WRITTEN.with_borrow(|written| written.get(&relation).is_some_and(|at| *at >= command()))
}

/// Another number than before where a trigger of the app's has edited any record meanwhile.
pub fn edits() -> u64 {
    EDITS.get()
}

/// Runs a statement that adds to a twin what the table shows already, or what is reconciled in
/// one go afterwards: the trigger on the twin has nothing to do.
pub fn while_capturing<T>(twin: pg_sys::Oid, work: impl FnOnce() -> T) -> T {
    CAPTURING.with_borrow_mut(|capturing| capturing.push(twin));
    let _pop =
        Pop(|| CAPTURING.with_borrow_mut(|capturing| capturing.truncate(capturing.len() - 1)));
    work()
}

pub fn is_capturing(twin: pg_sys::Oid) -> bool {
    CAPTURING.with_borrow(|capturing| capturing.last() == Some(&twin))
}

/// The BEFORE trigger made a revision of this table.
pub fn stamped(relation: pg_sys::Oid) {
    EDITS.set(EDITS.get() + 1);
    renew();
    hear_savepoints();
    PENDING.with_borrow_mut(|pending| {
        let pending = pending.entry(relation).or_default();
        // What a trigger BEFORE the statement has written may be counted still, and is of a later command.
        pending.since = match pending.count {
            0 => command(),
            _ => pending.since.min(command()),
        };
        pending.count += 1;
    });
}

/// The command that the statement at hand writes its rows as: its snapshot was taken just before.
fn command() -> pg_sys::CommandId {
    // SAFETY: a snapshot that is active is there to be read.
    unsafe {
        match unguarded::ActiveSnapshotSet() {
            true => (*unguarded::GetActiveSnapshot()).curcid,
            false => pg_sys::FirstCommandId,
        }
    }
}

/// How many revisions of this table have been stamped and not kept. More than the statement at
/// hand has made, and an outer one is under way, whose revisions this one may have edited.
pub fn pending(relation: pg_sys::Oid) -> i64 {
    renew();
    PENDING.with_borrow(|pending| pending.get(&relation).map_or(0, |pending| pending.count))
}

/// The first command whose rows may show revisions that have not been kept.
pub fn pending_since(relation: pg_sys::Oid) -> Option<pg_sys::CommandId> {
    renew();
    PENDING.with_borrow(|pending| {
        pending.get(&relation).filter(|pending| pending.count > 0).map(|pending| pending.since)
    })
}

/// Whether a statement that is still under way has begun the one at hand, and has revisions that were not kept.
pub fn is_within(relation: pg_sys::Oid) -> bool {
    pending_since(relation).is_some_and(|since| since < command())
}

/// The AFTER trigger has kept this many.
pub fn kept(relation: pg_sys::Oid, revisions: u64) {
    PENDING.with_borrow_mut(|pending| {
        let left = pending.entry(relation).or_default();
        left.count = (left.count - revisions as i64).max(0);
    });
}

/// Notes what a revision was made of, where its row alone doesn't tell.
pub fn made_of(
    relation: pg_sys::Oid,
    id: &str,
    revision: &RevisionId,
    previous: &RevisionId,
    carried: &Extra,
) {
    renew();
    let (key, origin) =
        ((relation, id.to_owned(), revision.clone()), (previous.clone(), carried.clone()));
    ORIGINS.with_borrow_mut(|origins| origins.insert(key, origin));
}

/// What `made_of` has noted in this transaction: the parent, and what is carried on from it.
pub fn origin(
    relation: pg_sys::Oid,
    id: &str,
    revision: &RevisionId,
) -> Option<(RevisionId, Extra)> {
    renew();
    ORIGINS.with_borrow(|origins| {
        if origins.is_empty() {
            return None;
        }
        origins.get(&(relation, id.to_owned(), revision.clone())).cloned()
    })
}

fn hear_savepoints() {
    if !HEARS_SAVEPOINTS.replace(true) {
        // SAFETY: the function stays as long as the backend.
        unsafe { pg_sys::RegisterSubXactCallback(Some(savepoint), std::ptr::null_mut()) };
    }
}

unsafe extern "C-unwind" fn savepoint(
    event: pg_sys::SubXactEvent::Type,
    own: pg_sys::SubTransactionId,
    _parent: pg_sys::SubTransactionId,
    _: *mut c_void,
) {
    match event {
        pg_sys::SubXactEvent::SUBXACT_EVENT_START_SUB => {
            renew();
            let pending = PENDING.with_borrow(FxHashMap::clone);
            let savepoint = Savepoint { began: own, pending, moves: MOVES.with_borrow(Vec::len) };
            SAVEPOINTS.with_borrow_mut(|savepoints| savepoints.push(savepoint));
        }
        pg_sys::SubXactEvent::SUBXACT_EVENT_COMMIT_SUB => drop(left(own)),
        pg_sys::SubXactEvent::SUBXACT_EVENT_ABORT_SUB => {
            let of = left(own);
            MOVES.with_borrow_mut(|moves| moves.truncate(of.as_ref().map_or(0, |of| of.moves)));
            if let Some(of) = of {
                PENDING.set(of.pending);
            }
        }
        _ => {}
    }
}

/// What was noted of this subtransaction, which ends now. One that began before the first stamp isn't known.
fn left(own: pg_sys::SubTransactionId) -> Option<Savepoint> {
    SAVEPOINTS.with_borrow_mut(|savepoints| savepoints.pop_if(|of| of.began == own))
}

pub fn key_changed(relation: pg_sys::Oid) {
    renew();
    MOVED.with_borrow_mut(|moved| moved.insert(relation));
}

/// A row of a partition is about to be another record's.
pub fn moves(relation: pg_sys::Oid, from: String, to: String) {
    renew();
    hear_savepoints();
    let at = command();
    MOVES.with_borrow_mut(|moves| moves.push(Move { relation, at, from, to }));
}

/// The moves of the statement at hand, and of what it began, since they were last asked for.
pub fn moved(relation: pg_sys::Oid) -> Vec<Move> {
    renew();
    let since = command();
    let is_of = |of: &mut Move| of.relation == relation && of.at >= since;
    MOVES.with_borrow_mut(|moves| moves.extract_if(.., is_of).collect())
}

pub fn has_key_changed(relation: pg_sys::Oid) -> bool {
    renew();
    MOVED.with_borrow(|moved| moved.contains(&relation))
}

/// The BEFORE trigger met a revision that has more than the columns say, which an UPDATE carries on.
pub fn carries(relation: pg_sys::Oid) {
    renew();
    CARRYING.with_borrow_mut(|carrying| carrying.insert(relation));
}

pub fn has_carried(relation: pg_sys::Oid) -> bool {
    renew();
    CARRYING.with_borrow(|carrying| carrying.contains(&relation))
}

/// Forgets what an earlier transaction left.
fn renew() {
    let transaction = transaction::number();
    if TRANSACTION.replace(transaction) != transaction {
        PENDING.with_borrow_mut(FxHashMap::clear);
        WRITTEN.with_borrow_mut(FxHashMap::clear);
        SAVEPOINTS.with_borrow_mut(Vec::clear);
        ORIGINS.with_borrow_mut(FxHashMap::clear);
        MOVED.with_borrow_mut(FxHashSet::clear);
        MOVES.with_borrow_mut(Vec::clear);
        CARRYING.with_borrow_mut(FxHashSet::clear);
    }
}
