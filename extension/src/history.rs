//! In charge of finding one record's revisions in its twin by the twin's own index, without SQL.
//!
//! The triggers on the table need one look a row: an index scan costs a tenth of a statement.

use pgrx::pg_sys;
use pgrx::prelude::*;
use revision::{Attributes, RevisionId};

use crate::argument::Json;
use crate::error::Error;
use crate::expected;
use crate::extra::Extra;
use crate::key_top::{self, Top};
use crate::role;
use crate::row::{self, Cells};
use crate::shape::Shape;
use crate::spi;
use crate::twin;
use crate::unguarded::{self, guarded};
use crate::walk::{self, of_record};

/// The highest revision of a record and whether it deletes. Where the record is not in the table
/// all its leaves are tombstones, and this is the one that a new insert continues from.
pub fn highest(shape: &Shape, id: &str) -> Option<(RevisionId, bool)> {
    scan_by(shape, Shape::twin_index, WRITING, id, None, |cells| {
        let revision = cells.revision("_rev")?;
        Some((revision, cells.get::<bool>("_deleted").unwrap_or(false)))
    })
    .flatten()
}

/// Whether the twin's key is known to have no entry for a record, not even one that nobody sees yet or any more. Of most
/// records that are inserted this is so, and it takes neither a snapshot nor the twin itself.
pub fn is_new(shape: &Shape, id: &str) -> bool {
    key_top::of(shape, id, |top| matches!(top, Top::Nothing)) == Some(true)
}

/// Whether this is known to be a record's highest revision by the twin's key alone: it has the revision, and nothing
/// above, not even an entry that nobody sees. Where it isn't so, `highest` tells.
pub fn is_highest(shape: &Shape, id: &str, revision: &[u8]) -> bool {
    let is_it = |top: Top| matches!(top, Top::Entry(entry, true) if entry.revision == revision);
    key_top::of(shape, id, is_it) == Some(true)
}

/// What is kept beside the columns of a revision.
pub fn extra(shape: &Shape, id: &str, revision: &RevisionId) -> Result<Extra, Error> {
    match may_have_extras(shape) {
        false => Ok(Extra::default()),
        true => extra_by(shape, id, revision),
    }
}

/// Whether any revision of a table was ever known to have something beside the columns; most tables have none.
pub fn may_have_extras(shape: &Shape) -> bool {
    shape.lock_twin();
    shape.extras_index().is_none_or(|index| !is_empty_in_locked(index))
}

/// `is_empty` of an index of a table that is locked to be written: until then nobody makes it another, and it needs no
/// lock of its own.
fn is_empty_in_locked(index: pg_sys::Oid) -> bool {
    // SAFETY: the index is let go again.
    unsafe {
        guarded(|| {
            let index = unguarded::RelationIdGetRelation(index);
            if index.is_null() {
                return false;
            }
            let pages = pages_of(index);
            unguarded::RelationClose(index);
            pages <= PAGES_EMPTY
        })
    }
}

/// The first page of a btree says where its root is.
const PAGES_EMPTY: u32 = 1;

/// Whether nothing was ever put into an index: a btree has but its first page then. What was committed has made it
/// longer before, for everybody to see.
pub fn is_empty(index: pg_sys::Oid) -> bool {
    pages(index) <= PAGES_EMPTY
}

/// How long an index is, in pages.
pub fn pages(index: pg_sys::Oid) -> u32 {
    // SAFETY: the index is closed again, and its table locked by the caller.
    unsafe {
        guarded(|| {
            let index = unguarded::index_open(index, READING);
            let pages = pages_of(index);
            unguarded::index_close(index, READING);
            pages
        })
    }
}

/// # Safety
/// The index must be open, and this be called by `guarded`.
unsafe fn pages_of(index: pg_sys::Relation) -> u32 {
    // SAFETY: the caller vouches for both.
    unsafe { unguarded::RelationGetNumberOfBlocksInFork(index, pg_sys::ForkNumber::MAIN_FORKNUM) }
}

fn extra_by(shape: &Shape, id: &str, revision: &RevisionId) -> Result<Extra, Error> {
    let index = |shape: &Shape| shape.extras_index().unwrap_or_else(|| shape.twin_index());
    let found = scan_by(shape, index, READING, id, Some(revision), |cells| {
        cells.get::<Json>("_extra").map(|json| Extra::read(&json.read()?))
    });
    found.flatten().unwrap_or_else(|| Ok(Extra::default()))
}

/// Whether the twin has this revision, and not as a stub.
pub fn has_body(shape: &Shape, id: &str, revision: &RevisionId) -> bool {
    let is_stub = |cells: &Cells| cells.get::<bool>("_stub").unwrap_or(false);
    with_revision(shape, id, revision, is_stub).is_some_and(|stub| !stub)
}

/// Hands a revision's row of the twin to `read`.
pub fn with_revision<T>(
    shape: &Shape,
    id: &str,
    revision: &RevisionId,
    read: impl FnOnce(&Cells) -> T,
) -> Option<T> {
    scan(shape, id, Some(revision), read)
}

/// The first row of the twin for this record, from the highest revision down, or the row of one
/// revision.
fn scan<T>(
    shape: &Shape,
    id: &str,
    revision: Option<&RevisionId>,
    read: impl FnOnce(&Cells) -> T,
) -> Option<T> {
    scan_by(shape, Shape::twin_index, READING, id, revision, read)
}

const READING: pg_sys::LOCKMODE = pg_sys::AccessShareLock as pg_sys::LOCKMODE;
/// Of who is about to write to the twin, and needs this lock then.
const WRITING: pg_sys::LOCKMODE = pg_sys::RowExclusiveLock as pg_sys::LOCKMODE;

/// The same by another index whose first columns are the key's, which is named once the twin is locked.
fn scan_by<T>(
    shape: &Shape,
    index: impl FnOnce(&Shape) -> pg_sys::Oid,
    lock: pg_sys::LOCKMODE,
    id: &str,
    revision: Option<&RevisionId>,
    read: impl FnOnce(&Cells) -> T,
) -> Option<T> {
    // SAFETY: relations are closed again (their locks last to the end of the transaction, which
    // is what keeps their definition), the snapshot is registered while it is scanned with, and
    // the row is read before the scan ends. Keys are of the index's own column types.
    unsafe {
        let twin = pg_sys::table_open(shape.twin_relation, lock);
        let index = pg_sys::index_open(index(shape), lock);
        let snapshot = pg_sys::RegisterSnapshot(pg_sys::GetLatestSnapshot());
        let mut keys = [of_record(id), pg_sys::ScanKeyData::default()];
        let mut count = 1;
        if let Some(revision) = revision {
            let same = pg_sys::BTEqualStrategyNumber;
            let revision = revision.to_sortable().into_datum();
            keys[1] = walk::key(2, same, pg_sys::F_BYTEAEQ, revision);
            count = 2;
        }
        let scan =
            pg_sys::systable_beginscan_ordered(twin, index, snapshot, count, keys.as_mut_ptr());
        let tuple =
            pg_sys::systable_getnext_ordered(scan, pg_sys::ScanDirection::BackwardScanDirection);
        let out = (!tuple.is_null()).then(|| read(&Cells::of(tuple, (*twin).rd_att)));
        pg_sys::systable_endscan_ordered(scan);
        pg_sys::UnregisterSnapshot(snapshot);
        pg_sys::index_close(index, pg_sys::NoLock as pg_sys::LOCKMODE);
        pg_sys::table_close(twin, pg_sys::NoLock as pg_sys::LOCKMODE);
        out
    }
}

/// Whether a revision is a leaf.
pub fn is_leaf(shape: &Shape, id: &str, revision: &RevisionId) -> bool {
    let sql = format!(
        "select 1 from {twin} h where h._id = $1 and h._rev = $2 and {is_leaf}",
        twin = shape.twin,
        is_leaf = twin::is_leaf(shape, "h"),
    );
    let args = [spi::text(id), twin::revision_arg(shape, Some(revision))];
    role::as_owner(shape.owner, || spi::run(&sql, &args)) > 0
}

/// The leaves of a record, highest first, each with whether it deletes.
pub fn leaves(shape: &Shape, id: &str) -> Vec<(RevisionId, bool)> {
    let sql = format!(
        "select h._rev, h._deleted from {twin} h
          where h._id = $1 and {is_leaf} order by h._rev desc",
        twin = shape.twin,
        is_leaf = twin::is_leaf(shape, "h"),
    );
    role::as_owner(shape.owner, || {
        spi::rows(&sql, &[spi::text(id)], |row| {
            (row::read_revision(&row.need::<Vec<u8>>(1)), row.need(2))
        })
    })
}

/// The winner among leaves that come highest first (DESIGN.md section 3).
pub fn winner(leaves: &[(RevisionId, bool)]) -> Option<&(RevisionId, bool)> {
    leaves.iter().find(|(_, deleted)| !deleted).or(leaves.first())
}

/// The revision that a row's revision was made from. A row doesn't say; but the hash covers it, so
/// the one candidate that gives the same hash is it.
pub fn parent(
    shape: &Shape,
    id: &str,
    revision: &RevisionId,
    attributes: &Attributes,
) -> Result<Option<(RevisionId, Extra)>, Error> {
    if revision.generation() == 1 {
        return Ok(None);
    }
    if let Some(origin) = expected::origin(shape.relation, id, revision) {
        return Ok(Some(origin));
    }
    let sql = format!(
        "select h._rev from {} h where h._id = $1
            and h._rev > godwit._generation_floor($2, -1)
            and h._rev < godwit._generation_floor($2, 0)",
        shape.twin
    );
    let args = [spi::text(id), twin::revision_arg(shape, Some(revision))];
    let candidates = role::as_owner(shape.owner, || {
        spi::rows(&sql, &args, |row| row::read_revision(&row.need::<Vec<u8>>(1)))
    });
    for candidate in candidates {
        // An insert carries nothing: it goes on from what was about to be deleted by another session.
        if twin::edited(id, Some(&candidate), false, attributes) == *revision {
            return Ok(Some((candidate, Extra::default())));
        }
        let kept = carried_from(shape, id, &candidate, attributes)?;
        let mut whole = attributes.clone();
        kept.lay_over(&mut whole);
        if twin::edited(id, Some(&candidate), false, &whole) == *revision {
            return Ok(Some((candidate, kept)));
        }
    }
    Err(Error::Internal(format!("record {id:?}: the parent of {revision} is not in the history")))
}

/// What a row with these attributes keeps of a revision's `_extra`; nothing of a tombstone's. What the revision doesn't
/// say is taken for unchanged where the row has null: where that isn't so `stamp` has noted the origin.
fn carried_from(
    shape: &Shape,
    id: &str,
    revision: &RevisionId,
    attributes: &Attributes,
) -> Result<Extra, Error> {
    let carried = with_revision(shape, id, revision, |cells| {
        let Some(json) = cells.get::<Json>("_extra") else {
            return Ok(Extra::default());
        };
        if cells.get::<bool>("_deleted").unwrap_or(false) {
            return Ok(Extra::default());
        }
        let changed = |name: &str| {
            let column = shape.attribute(name);
            let before = column.and_then(|column| cells.named(name, &column.codec));
            before.as_ref() != attributes.get(name)
        };
        Ok(Extra::read(&json.read()?)?.carried(shape, changed))
    });
    carried.unwrap_or_else(|| Ok(Extra::default()))
}
