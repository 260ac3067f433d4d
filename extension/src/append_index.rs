//! In charge of a twin's indexes while rows are added to it without SQL.
//!
//! The executor opens all of a table's indexes and compiles their predicates for each statement, which for one row
//! takes longer than the entries do. Of the twin's own most rows go into two; the others are opened when a row comes
//! that goes into them. A twin with an index that isn't ours has all of them written as the executor does it.

use pgrx::pg_sys;
use std::rc::Rc;

use crate::append_plan::{Plan, Planned, Takes};
use crate::batch::Slot;
use crate::shape::Shape;
use crate::unguarded::{self, guarded};

pub enum Indexes {
    Own(Own),
    ByExecutor(ByExecutor),
}

impl Indexes {
    /// # Safety
    /// The relation is the plan's twin, and stays open until these are closed; so does the memory at hand.
    pub unsafe fn open(shape: &Shape, plan: &Rc<Plan>, twin: pg_sys::Relation) -> Indexes {
        // SAFETY: the caller vouches for the twin.
        unsafe {
            match plan.indexes {
                Some(_) => Indexes::Own(Own::of(plan, twin)),
                None => Indexes::ByExecutor(ByExecutor::open(shape, twin)),
            }
        }
    }

    /// Puts rows into the indexes, those at `from` and after: up to one that the key may have already, whose place is
    /// returned. `have_extra` tells how many there are.
    ///
    /// # Safety
    /// The slots' rows have their places in the heap. What is allocated is the caller's to reset.
    pub unsafe fn insert(
        &mut self,
        slots: &[Slot],
        have_extra: &[bool],
        from: usize,
    ) -> Option<usize> {
        let mut rows = (from..).zip(&slots[from..]);
        // SAFETY: the caller vouches for the rows.
        unsafe {
            match self {
                Indexes::Own(own) => own.insert(slots, have_extra, from),
                Indexes::ByExecutor(executor) => {
                    let found = rows.find(|(_, slot)| executor.insert(**slot));
                    found.map(|(at, _)| at)
                }
            }
        }
    }

    /// # Safety
    /// They are used no more, and it is called by `guarded`.
    pub unsafe fn close_unguarded(&self) {
        // SAFETY: they were opened by `open`.
        unsafe {
            match self {
                Indexes::Own(own) => own.close_unguarded(),
                Indexes::ByExecutor(executor) => executor.close_unguarded(),
            }
        }
    }
}

pub struct Own {
    plan: Rc<Plan>,
    twin: pg_sys::Relation,
    /// By their places in the plan.
    open: Vec<Option<Opened>>,
    /// Where what is opened stays.
    memory: pg_sys::MemoryContext,
}

struct Opened {
    index: pg_sys::Relation,
    info: *mut pg_sys::IndexInfo,
}

const MODE: pg_sys::LOCKMODE = pg_sys::RowExclusiveLock as pg_sys::LOCKMODE;

impl Own {
    unsafe fn of(plan: &Rc<Plan>, twin: pg_sys::Relation) -> Own {
        let count = plan.indexes.as_ref().map_or(0, Vec::len);
        let open = (0..count).map(|_| None).collect();
        // SAFETY: the memory at hand.
        let memory = unsafe { pg_sys::CurrentMemoryContext };
        Own { plan: Rc::clone(plan), twin, open, memory }
    }

    /// One index after the other, whose pages stay at hand then; the key comes last.
    unsafe fn insert(&mut self, slots: &[Slot], have_extra: &[bool], from: usize) -> Option<usize> {
        let (twin, memory) = (self.twin, self.memory);
        let planned = self.plan.indexes.as_deref().unwrap_or_default();
        let open = self.open.as_mut_slice();
        let rows = || (from..).zip(slots.iter().zip(have_extra).skip(from));
        // SAFETY: the indexes are the twin's, and the slots hold rows of it.
        unsafe {
            guarded(|| {
                for (planned, opened) in planned.iter().zip(open) {
                    // After a row that is there already the others are in.
                    if from > 0 && !planned.is_key {
                        continue;
                    }
                    for (at, (slot, has_extra)) in rows() {
                        let is_taken = match planned.takes {
                            Takes::All => true,
                            Takes::WithExtra => *has_extra,
                        };
                        if is_taken {
                            let opened = opened.get_or_insert_with(|| Opened::of(planned, memory));
                            if opened.insert(twin, *slot, planned.is_key) {
                                return Some(at);
                            }
                        }
                    }
                }
                None
            })
        }
    }

    unsafe fn close_unguarded(&self) {
        for opened in self.open.iter().flatten() {
            // SAFETY: they are open. Their locks last to the end of the transaction, as the twin's does.
            unsafe { unguarded::index_close(opened.index, pg_sys::NoLock as pg_sys::LOCKMODE) };
        }
    }
}

/// Both stand behind a guard.
impl Opened {
    unsafe fn of(planned: &Planned, memory: pg_sys::MemoryContext) -> Opened {
        // SAFETY: the plan names an index of the twin, which is locked.
        unsafe {
            let outer = pg_sys::MemoryContextSwitchTo(memory);
            let index = unguarded::index_open(planned.index, MODE);
            let info = unguarded::BuildIndexInfo(index);
            pg_sys::MemoryContextSwitchTo(outer);
            Opened { index, info }
        }
    }

    unsafe fn insert(&self, twin: pg_sys::Relation, slot: Slot, is_key: bool) -> bool {
        let mut values = [pg_sys::Datum::from(0); pg_sys::INDEX_MAX_KEYS as usize];
        let mut nulls = [false; pg_sys::INDEX_MAX_KEYS as usize];
        // As for a deferred constraint: the entry is made, and it is said whether there may be another.
        let check = match is_key {
            true => pg_sys::IndexUniqueCheck::UNIQUE_CHECK_PARTIAL,
            false => pg_sys::IndexUniqueCheck::UNIQUE_CHECK_NO,
        };
        // SAFETY: the index has no expressions, so no executor is needed for its values.
        unsafe {
            let (values, nulls) = (values.as_mut_ptr(), nulls.as_mut_ptr());
            unguarded::FormIndexDatum(self.info, slot, std::ptr::null_mut(), values, nulls);
            let is_alone = unguarded::index_insert(
                self.index,
                values,
                nulls,
                &mut (*slot).tts_tid,
                twin,
                check,
                false,
                self.info,
            );
            is_key && !is_alone
        }
    }
}

pub struct ByExecutor {
    target: *mut pg_sys::ResultRelInfo,
    state: *mut pg_sys::EState,
    /// The twin's key, as the list of the indexes that may say that a row is there already.
    key: *mut pg_sys::List,
}

impl ByExecutor {
    unsafe fn open(shape: &Shape, twin: pg_sys::Relation) -> ByExecutor {
        // SAFETY: what is opened and allocated here is let go by `close`.
        unsafe {
            let state = pg_sys::CreateExecutorState();
            let target =
                pg_sys::palloc0(size_of::<pg_sys::ResultRelInfo>()).cast::<pg_sys::ResultRelInfo>();
            (*target).type_ = pg_sys::NodeTag::T_ResultRelInfo;
            pg_sys::InitResultRelInfo(target, twin, 1, std::ptr::null_mut(), 0);
            pg_sys::ExecOpenIndices(target, false);
            let key = pg_sys::lappend_oid(std::ptr::null_mut(), shape.twin_index());
            ByExecutor { target, state, key }
        }
    }

    unsafe fn insert(&mut self, slot: Slot) -> bool {
        // SAFETY: the caller has put the row into the heap.
        unsafe {
            let unsure = pg_sys::ExecInsertIndexTuples(
                self.target,
                slot,
                self.state,
                false,
                true,
                std::ptr::null_mut(),
                self.key,
                #[cfg(not(feature = "pg15"))]
                false,
            );
            // What an index's expressions have made.
            let expressions = (*self.state).es_per_tuple_exprcontext;
            if !expressions.is_null() {
                pg_sys::MemoryContextReset((*expressions).ecxt_per_tuple_memory);
            }
            !unsure.is_null()
        }
    }

    unsafe fn close_unguarded(&self) {
        // SAFETY: `open` made them.
        unsafe {
            unguarded::ExecCloseIndices(self.target);
            unguarded::pfree(self.target.cast());
            unguarded::FreeExecutorState(self.state);
        }
    }
}
