//! In charge of reading a statement trigger's transition tables without SQL.

use pgrx::pg_sys;

use crate::row::Cells;
use crate::unguarded::{self, guarded};

/// The rows of one transition table, in the order in which the statement wrote them.
pub struct Rows {
    table: *mut pg_sys::Tuplestorestate,
    /// Where this reader is; other readers of the table have places of their own.
    pointer: i32,
    count: i64,
    left: i64,
    /// Whether `row` holds the row that was read last, and is to be handed out again.
    is_read: bool,
    is_at_hand: bool,
    slot: *mut pg_sys::TupleTableSlot,
    row: Cells,
}

impl Rows {
    /// The old rows of an AFTER trigger for the statement that has them; see `trigger::has_old_table`.
    pub fn old_of(trigger: *mut pg_sys::TriggerData) -> Rows {
        // SAFETY: Postgres hands a trigger the tables that it was made with.
        unsafe { Rows::of((*trigger).tg_oldtable, (*(*trigger).tg_relation).rd_att) }
    }

    /// The new rows, likewise.
    pub fn new_of(trigger: *mut pg_sys::TriggerData) -> Rows {
        // SAFETY: as above.
        unsafe { Rows::of((*trigger).tg_newtable, (*(*trigger).tg_relation).rd_att) }
    }

    /// # Safety
    /// The table must be one of the trigger at hand, and the descriptor that of its relation.
    unsafe fn of(table: *mut pg_sys::Tuplestorestate, desc: pg_sys::TupleDesc) -> Rows {
        // SAFETY: the caller vouches for the table, which lives as long as its trigger runs.
        unsafe {
            let (pointer, count, slot) = guarded(|| {
                let flags = pg_sys::EXEC_FLAG_REWIND as i32;
                let pointer = unguarded::tuplestore_alloc_read_pointer(table, flags);
                unguarded::tuplestore_select_read_pointer(table, pointer);
                unguarded::tuplestore_rescan(table);
                let count = unguarded::tuplestore_tuple_count(table);
                let ops = &raw const pg_sys::TTSOpsMinimalTuple;
                (pointer, count, unguarded::MakeSingleTupleTableSlot(desc, ops))
            });
            let row = Cells::for_rows(desc);
            let (is_read, is_at_hand) = (false, false);
            Rows { table, pointer, count, left: count, is_read, is_at_hand, slot, row }
        }
    }

    pub fn count(&self) -> i64 {
        self.count
    }

    /// The next row; it is there until the one after it is asked for.
    pub fn next(&mut self) -> Option<&Cells> {
        if self.left == 0 {
            return None;
        }
        self.left -= 1;
        if std::mem::take(&mut self.is_at_hand) {
            return Some(&self.row);
        }
        let (table, pointer, slot) = (self.table, self.pointer, self.slot);
        // SAFETY: as above; the slot holds a row where the table had one.
        unsafe {
            let is_there = guarded(|| {
                unguarded::tuplestore_select_read_pointer(table, pointer);
                unguarded::take_next(table, slot)
            });
            if !is_there {
                return None;
            }
            self.row.take_slot(slot);
        }
        self.is_read = true;
        Some(&self.row)
    }

    /// Back to the first row, which is not read again if it is the only one.
    pub fn rewind(&mut self) {
        let (table, pointer) = (self.table, self.pointer);
        self.is_at_hand = self.is_read && self.count == 1;
        self.left = self.count;
        if self.is_at_hand {
            return;
        }
        // SAFETY: as above.
        unsafe {
            guarded(|| {
                unguarded::tuplestore_select_read_pointer(table, pointer);
                unguarded::tuplestore_rescan(table);
            });
        }
    }

    /// Called when the rows have been read; after an error Postgres does it.
    pub fn end(self) {
        // SAFETY: the slot is this reader's own.
        unsafe { pg_sys::ExecDropSingleTupleTableSlot(self.slot) };
    }
}
