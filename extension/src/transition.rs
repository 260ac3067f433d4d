//! In charge of reading a statement trigger's transition tables without SQL.

use pgrx::pg_sys;

use crate::row::Cells;

/// The rows of one transition table, in the order in which the statement wrote them.
pub struct Rows {
    table: *mut pg_sys::Tuplestorestate,
    /// Where this reader is; other readers of the table have places of their own.
    pointer: i32,
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
            let pointer =
                pg_sys::tuplestore_alloc_read_pointer(table, pg_sys::EXEC_FLAG_REWIND as i32);
            pg_sys::tuplestore_select_read_pointer(table, pointer);
            pg_sys::tuplestore_rescan(table);
            let slot = pg_sys::MakeSingleTupleTableSlot(desc, &pg_sys::TTSOpsMinimalTuple);
            Rows { table, pointer, slot, row: Cells::for_rows(desc) }
        }
    }

    pub fn count(&self) -> i64 {
        // SAFETY: as above.
        unsafe { pg_sys::tuplestore_tuple_count(self.table) }
    }

    /// The next row; it is there until the one after it is asked for.
    pub fn next(&mut self) -> Option<&Cells> {
        // SAFETY: as above; the slot holds a row where the table had one.
        unsafe {
            pg_sys::tuplestore_select_read_pointer(self.table, self.pointer);
            if !pg_sys::tuplestore_gettupleslot(self.table, true, false, self.slot) {
                return None;
            }
            self.row.take_slot(self.slot);
        }
        Some(&self.row)
    }

    pub fn rewind(&mut self) {
        // SAFETY: as above.
        unsafe {
            pg_sys::tuplestore_select_read_pointer(self.table, self.pointer);
            pg_sys::tuplestore_rescan(self.table);
        }
    }

    /// Called when the rows have been read; after an error Postgres does it.
    pub fn end(self) {
        // SAFETY: the slot is this reader's own.
        unsafe { pg_sys::ExecDropSingleTupleTableSlot(self.slot) };
    }
}
