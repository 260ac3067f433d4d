//! In charge of what a backend remembers between its own triggers: what reconciliation is writing
//! to the table, and what the BEFORE trigger stamped that the AFTER trigger has not yet kept.
//!
//! Errors and rolled-back savepoints may leave a count too high or a mark standing. Both err to the
//! safe side: they cost one more look at the history, and end with the transaction.

use pgrx::pg_sys;
use revision::RevisionId;
use rustc_hash::{FxHashMap, FxHashSet};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use crate::transaction;

thread_local! {
    /// Statements of reconciliation under way, innermost last: table, record id, winner.
    static WRITING: RefCell<Vec<(pg_sys::Oid, BTreeMap<String, RevisionId>)>> =
        const { RefCell::new(Vec::new()) };
    static CAPTURING: RefCell<Vec<pg_sys::Oid>> = const { RefCell::new(Vec::new()) };
    static PENDING: RefCell<FxHashMap<pg_sys::Oid, i64>> = RefCell::default();
    static MOVED: RefCell<FxHashSet<pg_sys::Oid>> = RefCell::default();
    static CARRYING: RefCell<FxHashSet<pg_sys::Oid>> = RefCell::default();
    /// Revisions made, and statements of reconciliation that began within another.
    static EDITS: Cell<u64> = const { Cell::new(0) };
    static TRANSACTION: Cell<u32> = const { Cell::new(0) };
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
    PENDING.with_borrow_mut(|pending| *pending.entry(relation).or_default() += 1);
}

/// How many revisions of this table have been stamped and not kept. More than the statement at
/// hand has made, and an outer one is under way, whose revisions this one may have edited.
pub fn pending(relation: pg_sys::Oid) -> i64 {
    renew();
    PENDING.with_borrow(|pending| pending.get(&relation).copied().unwrap_or(0))
}

/// The AFTER trigger has kept this many.
pub fn kept(relation: pg_sys::Oid, revisions: u64) {
    PENDING.with_borrow_mut(|pending| {
        let left = pending.entry(relation).or_default();
        *left = (*left - revisions as i64).max(0);
    });
}

pub fn key_changed(relation: pg_sys::Oid) {
    renew();
    MOVED.with_borrow_mut(|moved| moved.insert(relation));
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
        MOVED.with_borrow_mut(FxHashSet::clear);
        CARRYING.with_borrow_mut(FxHashSet::clear);
    }
}
