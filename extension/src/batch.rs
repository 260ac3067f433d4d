//! In charge of rows on their way into a heap: they are collected, and written many at once.
//!
//! This is what COPY does (CopyMultiInsertBufferFlush in commands/copyfrom.c), but for what a statement would look at
//! for each row: defaults, constraints, triggers, indexes.

use pgrx::pg_sys;

use crate::unguarded::{self, guarded};

/// How much is collected before it is written, in rows and bytes: as much as COPY
/// (MAX_BUFFERED_TUPLES and MAX_BUFFERED_BYTES in commands/copyfrom.c).
const ROWS_MAX: usize = 1000;
const BYTES_MAX: usize = 65_535;

pub type Slot = *mut pg_sys::TupleTableSlot;

pub struct Batch {
    table: pg_sys::Relation,
    slots: Vec<Slot>,
    filled: usize,
    bytes: usize,
    /// Holds what is collected; emptied when that has been written.
    pub memory: pg_sys::MemoryContext,
}

impl Batch {
    /// # Safety
    /// The table must be a heap, and stay open until the batch is closed; so must the memory at hand.
    pub unsafe fn open(table: pg_sys::Relation) -> Batch {
        // SAFETY: a new memory context, which `close` deletes.
        let memory = unsafe {
            pg_sys::AllocSetContextCreateExtended(
                pg_sys::CurrentMemoryContext,
                c"godwit batch".as_ptr(),
                pg_sys::ALLOCSET_DEFAULT_MINSIZE as usize,
                pg_sys::ALLOCSET_DEFAULT_INITSIZE as usize,
                pg_sys::ALLOCSET_DEFAULT_MAXSIZE as usize,
            )
        };
        Batch { table, slots: Vec::new(), filled: 0, bytes: 0, memory }
    }

    /// Puts the row that these values make into the next slot.
    ///
    /// # Safety
    /// There is a value, or a null, for each of the table's columns.
    pub unsafe fn take(&mut self, values: &mut [pg_sys::Datum], nulls: &mut [bool]) {
        let (memory, table) = (self.memory, self.table);
        let (values, nulls) = (values.as_mut_ptr(), nulls.as_mut_ptr());
        let known = self.slots.get(self.filled).copied();
        // SAFETY: the tuple is formed and stored before anything that it is made of goes; it lives
        // until the batch is written.
        let (slot, length) = unsafe {
            guarded(|| {
                let desc = (*table).rd_att;
                let slot = match known {
                    Some(slot) => slot,
                    None => {
                        let ops = &raw const pg_sys::TTSOpsHeapTuple;
                        unguarded::MakeSingleTupleTableSlot(desc, ops)
                    }
                };
                let outer = pg_sys::MemoryContextSwitchTo(memory);
                let tuple = unguarded::heap_form_tuple(desc, values, nulls);
                pg_sys::MemoryContextSwitchTo(outer);
                (*tuple).t_tableOid = (*table).rd_id;
                // The slot's own: or it would be copied into the slot's memory once more.
                unguarded::ExecStoreHeapTuple(tuple, slot, true);
                (slot, (*tuple).t_len as usize)
            })
        };
        if known.is_none() {
            self.slots.push(slot);
        }
        self.filled += 1;
        self.bytes += length;
    }

    pub fn is_full(&self) -> bool {
        self.filled == ROWS_MAX || self.bytes >= BYTES_MAX
    }

    /// The rows that have been taken since the last `clear`.
    pub fn rows(&self) -> &[Slot] {
        &self.slots[..self.filled]
    }

    /// Writes what has been collected. From then on its rows have their places in the heap. Not through a ring of buffers,
    /// as COPY does it: where two heaps are written side by side each turn of a ring waits for the WAL of both.
    pub fn write(&mut self) {
        if self.filled == 0 {
            return;
        }
        let (table, memory) = (self.table, self.memory);
        let (slots, count) = (self.slots.as_mut_ptr(), self.filled as i32);
        // SAFETY: the slots hold tuples of the table's own descriptor. What is made of them on their way lives as long.
        unsafe {
            guarded(|| {
                let outer = pg_sys::MemoryContextSwitchTo(memory);
                let command = unguarded::GetCurrentCommandId(true);
                let no_state = std::ptr::null_mut();
                unguarded::heap_multi_insert(table, slots, count, command, 0, no_state);
                pg_sys::MemoryContextSwitchTo(outer);
            });
        }
    }

    /// Forgets what has been collected.
    pub fn clear(&mut self) {
        let (memory, filled) = (self.memory, &self.slots[..self.filled]);
        // SAFETY: nothing of the rows is looked at any more.
        unsafe {
            guarded(|| {
                for slot in filled {
                    // What `ExecClearTuple` does.
                    ((*(**slot).tts_ops).clear.unwrap_unchecked())(*slot);
                }
                unguarded::MemoryContextReset(memory);
            });
        }
        (self.filled, self.bytes) = (0, 0);
    }

    /// # Safety
    /// It is called by `guarded`, when all has been written, and the batch is used no more.
    pub unsafe fn close(&self) {
        // SAFETY: `open` and `take` made them.
        unsafe {
            for slot in &self.slots {
                unguarded::ExecDropSingleTupleTableSlot(*slot);
            }
            unguarded::MemoryContextDelete(self.memory);
        }
    }
}
