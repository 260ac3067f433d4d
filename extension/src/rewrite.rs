//! In charge of the one pass over a table that is tracked with its rows: each gets its first revision on the way into a
//! heap that takes the old one's place, as ALTER TABLE and CLUSTER do it, and into the twin.
//!
//! ALTER TABLE would write row by row, from an expression of which nobody knows that it has the row at hand, and the
//! twin's rows would be read from the new heap again.

use pgrx::pg_sys;
use pgrx::prelude::*;

use crate::append::{self, Fitting};
use crate::batch::Batch;
use crate::catalog;
use crate::error::{Error, OrReport};
use crate::first_revisions as first;
use crate::row::{self, Cells};
use crate::settings::Settings;
use crate::shape::Shape;
use crate::twin;
use crate::unguarded::{self, guarded};

/// Rewrites a table with its rows' first revisions, and adds them to its twin, which has no key yet. False, and nothing
/// is done, where that takes SQL: a table of partitions, a table that is no heap, a twin that is not as it was made.
#[pg_extern(sql = false)]
fn _rewrite(relation: pg_sys::Oid) -> bool {
    let _settings = Settings::path(c"pg_catalog, godwit, pg_temp");
    catalog::require_owner(&[relation]).or_report();
    let lock = pg_sys::AccessExclusiveLock as pg_sys::LOCKMODE;
    // SAFETY: a lock by OID, which the transaction's end releases.
    unsafe { pg_sys::LockRelationOid(relation, lock) };
    let shape = Shape::of(relation).or_report();
    if shape.twin_index() != pg_sys::InvalidOid {
        Error::BadArgument(format!("{} has been filled", shape.twin)).report()
    }
    let _fixed = shape.settings();
    let none = pg_sys::NoLock as pg_sys::LOCKMODE;
    // SAFETY: the table is locked, and open while it is looked at and read.
    unsafe {
        let table = pg_sys::table_open(relation, none);
        let class = &*(*table).rd_rel;
        let is_heap = class.relkind as u8 == pg_sys::RELKIND_RELATION
            && class.relam == pg_sys::HEAP_TABLE_AM_OID;
        let twin = append::fitting(&shape).filter(|_| is_heap);
        let fits = twin.is_some();
        if let Some(twin) = twin {
            rewrite(&shape, table, twin);
        } else {
            pg_sys::table_close(table, none);
        }
        fits
    }
}

/// What ATRewriteTables (commands/tablecmds.c) does.
///
/// # Safety
/// The table must be a heap, locked against everybody, and open once, by the caller; it is closed here.
unsafe fn rewrite(shape: &Shape, table: pg_sys::Relation, twin: Fitting) {
    let none = pg_sys::NoLock as pg_sys::LOCKMODE;
    // SAFETY: the caller vouches for the table. Whoever has it open in this session, or its triggers still to fire, would
    // look for rows where they are no more.
    unsafe {
        let (relation, persistence) = ((*table).rd_id, (*(*table).rd_rel).relpersistence);
        pg_sys::CheckTableNotInUse(table, c"track".as_ptr());
        let (new, new_heap) = guarded(|| {
            unguarded::TransferPredicateLocksToHeapRelation(table);
            let class = &*(*table).rd_rel;
            let new = unguarded::make_new_heap(
                relation,
                class.reltablespace,
                class.relam,
                persistence,
                pg_sys::AccessExclusiveLock as pg_sys::LOCKMODE,
            );
            (new, unguarded::relation_open(new, none))
        });
        copy(shape, table, new_heap, twin);
        guarded(|| {
            unguarded::table_close(new_heap, none);
            unguarded::table_close(table, none);
            // No row is older than this transaction, and none is locked. Its indexes are built anew as its owner.
            let (frozen, least) = (pg_sys::RecentXmin, pg_sys::ReadNextMultiXactId());
            unguarded::finish_heap_swap(
                relation,
                new,
                false,
                false,
                true,
                true,
                frozen,
                least,
                persistence,
            );
        });
    }
}

/// # Safety
/// Both heaps must be open, and have the same columns.
unsafe fn copy(shape: &Shape, table: pg_sys::Relation, new_heap: pg_sys::Relation, twin: Fitting) {
    use pg_sys::ScanOptions::{SO_ALLOW_PAGEMODE, SO_ALLOW_STRAT, SO_TYPE_SEQSCAN};
    let flags = SO_TYPE_SEQSCAN | SO_ALLOW_STRAT | SO_ALLOW_PAGEMODE;
    // SAFETY: the snapshot is registered while it is scanned with; a row is read before the next is asked for, and what
    // was made of it stays until then.
    unsafe {
        let desc = (*table).rd_att;
        let dropped: Vec<usize> = (0..(*desc).natts as usize)
            .filter(|at| row::attribute(desc, *at).attisdropped)
            .collect();
        let snapshot = pg_sys::RegisterSnapshot(pg_sys::GetLatestSnapshot());
        let slot = pg_sys::table_slot_create(table, std::ptr::null_mut());
        let none = std::ptr::null_mut();
        let scan = pg_sys::heap_beginscan(table, snapshot, 0, none, std::ptr::null_mut(), flags);
        let mut rows = Batch::open(new_heap);
        let of_row = pg_sys::AllocSetContextCreateExtended(
            pg_sys::CurrentMemoryContext,
            c"godwit first revision".as_ptr(),
            pg_sys::ALLOCSET_DEFAULT_MINSIZE as usize,
            pg_sys::ALLOCSET_DEFAULT_INITSIZE as usize,
            pg_sys::ALLOCSET_DEFAULT_MAXSIZE as usize,
        );
        let next = || {
            guarded(|| {
                unguarded::MemoryContextReset(of_row);
                unguarded::take_next_row(scan, slot)
            })
        };
        let mut cells = Cells::for_rows(desc);
        twin.append(|append| {
            let mut count = 0;
            while next() {
                pgrx::check_for_interrupts!();
                count += 1;
                first::say_how_far(count);
                cells.take_slot(slot);
                for at in &dropped {
                    cells.put(*at, None);
                }
                let outer = pg_sys::MemoryContextSwitchTo(of_row);
                let id = shape.id(&cells);
                first::check_id(&id);
                let revision = row::revision_datum(&twin::edited_row(shape, &id, None, &cells));
                pg_sys::MemoryContextSwitchTo(outer);
                cells.put(shape.revision_number as usize - 1, Some(revision));
                cells.add_to(&mut rows);
                if rows.is_full() {
                    rows.write();
                    rows.clear();
                }
                append.add_row(shape, &id, &cells, None);
            }
            rows.write();
        });
        guarded(|| {
            rows.close();
            unguarded::MemoryContextDelete(of_row);
        });
        pg_sys::heap_endscan(scan);
        pg_sys::ExecDropSingleTupleTableSlot(slot);
        pg_sys::UnregisterSnapshot(snapshot);
    }
}
