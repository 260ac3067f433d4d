//! In charge of adding rows to a twin without SQL: many at once into the heap, then into each index.
//!
//! This is what COPY does (CopyMultiInsertBufferFlush in commands/copyfrom.c). It skips what a
//! statement would look at for each row: defaults, constraints, triggers. So it is only for a twin that
//! is as `godwit.track` made it (`append_plan.rs`); any other is written by SQL (`twin.rs`).
//!
//! A revision may be there already, or come from another session at the same moment. As with a
//! deferred unique constraint, the index takes the new entry and says that there may be another; then
//! the row is taken back and goes by `INSERT … ON CONFLICT`, which waits and decides.

use pgrx::pg_sys;
use pgrx::prelude::*;
use std::rc::Rc;

use crate::append_index::Indexes;
use crate::append_plan::{Plan, Source};
use crate::batch::{Batch, Slot};
use crate::error::{Error, OrReport};
use crate::expected;
use crate::role;
use crate::row::Cells;
use crate::sequence;
use crate::shape::Shape;
use crate::twin::{self, Revision};
use crate::unguarded::{self, guarded};
use crate::unordered;

/// What stands before a revision's body.
pub struct Head<'a> {
    pub id: &'a str,
    pub revision: pg_sys::Datum,
    pub previous: Option<pg_sys::Datum>,
    pub deleted: bool,
    pub extra: Option<pg_sys::Datum>,
}

/// A twin that rows are being added to.
pub struct Append<'a> {
    shape: &'a Shape,
    plan: Rc<Plan>,
    twin: pg_sys::Relation,
    indexes: Indexes,
    batch: Batch,
    /// Of the rows in the batch.
    have_extra: Vec<bool>,
    values: Vec<pg_sys::Datum>,
    nulls: Vec<bool>,
    steps_back: bool,
    by: Option<pg_sys::Datum>,
    sequence: Option<pg_sys::Oid>,
    written: u64,
    clashes: Vec<(pg_sys::ItemPointerData, Revision)>,
}

/// What has come of rows that were to be added.
pub struct Added {
    pub rows: u64,
    /// Those that were there already, be it as stubs.
    pub known: Vec<Revision>,
}

/// A twin that takes rows without SQL.
pub struct Fitting<'a> {
    shape: &'a Shape,
    plan: Rc<Plan>,
    steps_back: bool,
}

/// The twin if it takes rows without SQL. Who is giving it a trigger or a column just now is waited for before the
/// plan is looked at: a shape that was read before knows nothing of it.
pub fn fitting(shape: &Shape) -> Option<Fitting<'_>> {
    shape.lock_twin();
    let read = || Plan::of(shape).map(Rc::new);
    let plan = if shape.is_current() { shape.append.get_or_init(read).clone() } else { read() };
    plan.map(|plan| Fitting { shape, plan, steps_back: false })
}

impl<'a> Fitting<'a> {
    /// Fails with `Error::Overtaken` where a row may be there already, rather than wait for whoever brings it: who waits
    /// with rows of its own in the index may be waited for.
    pub fn stepping_back(self) -> Self {
        Fitting { steps_back: true, ..self }
    }

    /// Adds what `work` adds, and returns what has come of it; what is known already stays as it is.
    pub fn append(self, work: impl FnOnce(&mut Append)) -> Added {
        let Fitting { shape, plan, steps_back } = self;
        let calls_functions = plan.calls_functions;
        let run = || {
            // SAFETY: closed by `finish`; after an error Postgres does it.
            unsafe {
                let mut append = Append::open(shape, plan, steps_back);
                work(&mut append);
                append.finish()
            }
        };
        if calls_functions { role::as_owner(shape.owner, run) } else { run() }
    }
}

impl<'a> Append<'a> {
    unsafe fn open(shape: &'a Shape, plan: Rc<Plan>, steps_back: bool) -> Append<'a> {
        // SAFETY: what is opened and allocated here is let go by `finish`. `fitting` has locked the twin.
        unsafe {
            let twin = pg_sys::table_open(shape.twin_relation, pg_sys::NoLock as pg_sys::LOCKMODE);
            Append {
                shape,
                twin,
                indexes: Indexes::open(shape, &plan, twin),
                batch: Batch::open(twin),
                have_extra: Vec::new(),
                values: vec![pg_sys::Datum::from(0); plan.columns.len()],
                nulls: vec![true; plan.columns.len()],
                plan,
                steps_back,
                by: None,
                sequence: None,
                written: 0,
                clashes: Vec::new(),
            }
        }
    }

    /// Adds the revision that a row of the table shows; `rows` says where that row has its columns.
    pub fn add_row(
        &mut self,
        rows: &Shape,
        id: &str,
        cells: &Cells,
        previous: Option<pg_sys::Datum>,
    ) {
        let revision = cells.datum_at(rows.revision_number).unwrap_or(pg_sys::Datum::from(0));
        let head = Head { id, revision, previous, deleted: false, extra: None };
        self.add(head, |column| cells.datum_at(rows.columns[column].number));
    }

    /// Adds one revision; `body` gives the value of a column by its place in `Shape::columns`.
    pub fn add(&mut self, head: Head, body: impl Fn(usize) -> Option<pg_sys::Datum>) {
        let by = *self.by.get_or_insert_with(|| {
            sequence::author().into_datum().unwrap_or(pg_sys::Datum::from(0))
        });
        let sequence = *self.sequence.get_or_insert_with(sequence::begin);
        let batch = self.batch.memory;
        // SAFETY: the text lives until the batch is written.
        let (id, number) = unsafe {
            guarded(|| {
                let outer = pg_sys::MemoryContextSwitchTo(batch);
                let id = unguarded::cstring_to_text_with_len(
                    head.id.as_ptr().cast(),
                    head.id.len() as i32,
                );
                pg_sys::MemoryContextSwitchTo(outer);
                (id, sequence::draw_unguarded(sequence))
            })
        };
        // SAFETY: reads the clock.
        let now = unsafe { unguarded::GetCurrentTimestamp() };
        for (at, source) in self.plan.columns.iter().enumerate() {
            let value = match *source {
                Source::Id => Some(pg_sys::Datum::from(id)),
                Source::Revision => Some(head.revision),
                Source::Previous => head.previous,
                Source::Deleted => head.deleted.into_datum(),
                Source::Sequence => number.into_datum(),
                Source::At => Some(pg_sys::Datum::from(now)),
                Source::By => Some(by),
                Source::Stub => false.into_datum(),
                Source::Extra => head.extra,
                Source::Body(column) => body(column),
                Source::Null => None,
            };
            self.values[at] = value.unwrap_or(pg_sys::Datum::from(0));
            self.nulls[at] = value.is_none();
        }
        // SAFETY: the plan has a source for each of the twin's columns.
        unsafe { self.batch.take(&mut self.values, &mut self.nulls) };
        self.have_extra.push(head.extra.is_some());
        if self.batch.is_full() {
            self.flush();
            self.have_extra.clear();
            self.batch.clear();
        }
    }

    /// Writes what has been collected.
    fn flush(&mut self) {
        self.batch.write();
        // SAFETY: the rows have their places in the heap. What is allocated for them goes with the batch; a clash is
        // read before its tuple does.
        unsafe {
            let outer = pg_sys::MemoryContextSwitchTo(self.batch.memory);
            let mut from = 0;
            while let Some(at) = self.indexes.insert(self.batch.rows(), &self.have_extra, from) {
                if self.steps_back {
                    Error::Overtaken.report()
                }
                let slot = self.batch.rows()[at];
                self.clashes.push(((*slot).tts_tid, self.revision_in(slot)));
                from = at + 1;
            }
            pg_sys::MemoryContextSwitchTo(outer);
        }
        self.written += self.batch.rows().len() as u64;
    }

    unsafe fn revision_in(&self, slot: Slot) -> Revision {
        // SAFETY: the slot holds a row of the twin.
        let cells = unsafe { Cells::of_slot(slot) };
        twin::revision_of(self.shape, &cells).or_report()
    }

    unsafe fn finish(mut self) -> Added {
        // SAFETY: as `open` promises. A row that has been written by this transaction is deleted once
        // the command counter has moved on.
        unsafe {
            self.flush();
            let (twin, batch, clashes) = (self.twin, &self.batch, &mut self.clashes);
            let indexes = &self.indexes;
            guarded(|| {
                indexes.close_unguarded();
                unguarded::CommandCounterIncrement();
                for (place, _) in &mut *clashes {
                    unguarded::simple_heap_delete(twin, place);
                }
                if !clashes.is_empty() {
                    unguarded::CommandCounterIncrement();
                }
                batch.close();
                unguarded::table_close(twin, pg_sys::NoLock as pg_sys::LOCKMODE);
            });
        }
        let clashes: Vec<&Revision> = self.clashes.iter().map(|(_, revision)| revision).collect();
        let mut rows = self.written - clashes.len() as u64;
        if !clashes.is_empty() {
            // Whoever adds rows looks at what they make of a record afterwards.
            let insert = || {
                expected::while_capturing(self.shape.twin_relation, || {
                    twin::insert_by_sql(self.shape, &clashes)
                })
            };
            rows += role::as_owner(self.shape.owner, insert);
            unordered::note(self.shape, twin::names(&clashes));
        }
        let known = self.clashes.into_iter().map(|(_, revision)| revision).collect();
        Added { rows, known }
    }
}
