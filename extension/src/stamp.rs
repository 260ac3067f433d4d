//! In charge of `_rev` in a row that is about to be written: the BEFORE trigger on the table.
//!
//! The hash is made here, of the row as it will be stored: the trigger's name sorts after every
//! other, so that what the app's own triggers change is in it. Of that row nothing is written: ON CONFLICT
//! fires a BEFORE INSERT for a row that then becomes an UPDATE, which is stamped again. What an outer statement
//! has made of the row that it takes the place of is added to the history, for nobody would find it later.

use pgrx::pg_sys;
use revision::{RevisionId, Value};

use crate::bounds;
use crate::capture;
use crate::error::{Error, OrReport};
use crate::expected;
use crate::extra::Extra;
use crate::history;
use crate::role;
use crate::row::{self, Cells};
use crate::shape::{Column, Shape};
use crate::trigger::{self, Event};
use crate::twin;
use crate::unguarded;

trigger::entry!(godwit_stamp, pg_finfo_godwit_stamp, stamp);

fn stamp(trigger: *mut pg_sys::TriggerData) -> pg_sys::HeapTuple {
    let event = trigger::event(trigger);
    let writes = matches!(event, Event::Insert | Event::Update);
    let is_ours = trigger::is_for_each_row(trigger) && trigger::is_before(trigger) && writes;
    trigger::require(trigger, is_ours);
    // SAFETY: Postgres hands a row trigger its relation and tuples.
    let (relation, desc, old, new) = unsafe {
        let relation = (*trigger).tg_relation;
        let (first, second) = ((*trigger).tg_trigtuple, (*trigger).tg_newtuple);
        let new = if event == Event::Update { second } else { first };
        ((*relation).rd_id, (*relation).rd_att, first, new)
    };
    let shape = Shape::of_rows(relation).or_report();
    let _settings = shape.settings();
    // SAFETY: both tuples are rows of the relation.
    let after = unsafe { Cells::of(new, desc) };
    let id = shape.id(&after);
    bounds::check(&shape, &id, &after);
    if expected::is_writing(shape.relation)
        && let Some(revision) = after.revision_at(shape.revision_number)
        && expected::is(shape.relation, &id, &revision)
        // A row that shows it already is written again by a trigger of the app's: that is an edit.
        // SAFETY: the old tuple of an update is a row of the relation.
        && !(event == Event::Update && unsafe { shows(&shape, old, desc, &revision) })
    {
        // SAFETY: Postgres hands a trigger its relation.
        if unsafe { !trigger::has_others_before((*trigger).tg_relation) } {
            return new;
        }
        return as_the_revision_says(&shape, &id, &revision, &after, new);
    }
    let revision = if event == Event::Update {
        // SAFETY: as above.
        let before = unsafe { Cells::of(old, desc) };
        // SAFETY: the old tuple of an update is a row as the table has it.
        if unsafe { may_be_pending(&shape, old) } {
            keep(&shape, &before);
        }
        if relation != shape.relation && !shape.is_same_record(&before, &after) {
            expected::moves(shape.relation, shape.id(&before), id.clone());
        }
        updated(&shape, &before, &id, &after)
    } else {
        inserted(&shape, &id, &after)
    };
    // SAFETY: `_rev` is of type godwit.revision, whose stored form this is.
    unsafe { after.formed_with(shape.revision_number, row::revision_datum(&revision)) }
}

/// # Safety
/// The tuple must be of the descriptor.
unsafe fn shows(
    shape: &Shape,
    row: pg_sys::HeapTuple,
    desc: pg_sys::TupleDesc,
    revision: &RevisionId,
) -> bool {
    // SAFETY: the caller vouches for the tuple.
    let cells = unsafe { Cells::of(row, desc) };
    cells.revision_at(shape.revision_number).as_ref() == Some(revision)
}

/// A record that was deleted continues from its tombstone; any other begins.
fn inserted(shape: &Shape, id: &str, after: &Cells) -> RevisionId {
    check_id(id);
    keep_shown(shape, id);
    let previous = match history::is_new(shape, id) {
        true => None,
        false => ended_with(shape, id),
    };
    expected::stamped(shape.relation);
    twin::edited_row(shape, id, previous.as_ref(), after)
}

/// What a record without a row goes on from. A row that goes to another partition is inserted there, and the row that
/// it replaces may have gone with the same statement: then it goes on from what that showed.
fn ended_with(shape: &Shape, id: &str) -> Option<RevisionId> {
    match history::highest(shape, id)? {
        (_, true) if expected::has_key_changed(shape.relation) => winner(shape, id),
        (revision, _) => Some(revision),
    }
}

fn winner(shape: &Shape, id: &str) -> Option<RevisionId> {
    history::winner(&history::leaves(shape, id)).map(|(revision, _)| revision.clone())
}

/// Whether a statement that is still under way may have written a row: this transaction has, by a command that has
/// revisions which were not kept.
///
/// # Safety
/// The tuple must be one of the table's own.
unsafe fn may_be_pending(shape: &Shape, row: pg_sys::HeapTuple) -> bool {
    // SAFETY: the caller vouches for the tuple. A row that has been seen as committed is of an earlier transaction.
    unsafe {
        let header = (*row).t_data;
        if u32::from((*header).t_infomask) & pg_sys::HEAP_XMIN_COMMITTED != 0 {
            return false;
        }
        expected::pending_since(shape.relation).is_some_and(|since| {
            unguarded::TransactionIdIsCurrentTransactionId((*header).t_choice.t_heap.t_xmin)
                && unguarded::HeapTupleHeaderGetCmin(header) >= since
        })
    }
}

/// Adds what a row shows to the history before an edit hides it, where the statement that made it has not come to that:
/// of a row that is edited once more by every trigger that fires, only the last edit would be there to be found.
fn keep(rows: &Shape, before: &Cells) {
    let Some(revision) = before.revision_at(rows.revision_number) else {
        return;
    };
    let id = rows.id(before);
    if !history::has_body(rows, &id, &revision) {
        let shape = Shape::of(rows.relation).or_report();
        let attributes = rows.row_attributes(before);
        role::as_owner(shape.owner, || capture::keep(&shape, &id, &revision, attributes));
    }
}

/// The same for a row whose key another takes. Where it is looked at later, the two may stand beside one another.
fn keep_shown(rows: &Shape, id: &str) {
    if !rows.keys.takes_on_conflict && expected::is_within(rows.relation) {
        let shape = Shape::of(rows.relation).or_report();
        role::as_owner(shape.owner, || capture::keep_shown(&shape, &[id.to_owned()]));
    }
}

fn updated(shape: &Shape, before: &Cells, id: &str, after: &Cells) -> RevisionId {
    let Some(previous) = before.revision_at(shape.revision_number) else {
        // It was there before the table was tracked, and its turn has not come yet.
        return inserted(shape, id, after);
    };
    if !shape.is_same_record(before, after) {
        return moved(shape, id, after);
    }
    let is_changed = |column: &Column| {
        !before.is_image_of(after, column) && before.value(column) != after.value(column)
    };
    if !shape.attribute_columns().any(is_changed) {
        return previous;
    }
    expected::stamped(shape.relation);
    let kept = history::extra(shape, id, &previous).or_report();
    if kept == Extra::default() {
        return twin::edited_row(shape, id, Some(&previous), after);
    }
    expected::carries(shape.relation);
    let mut whole = shape.row_attributes(after);
    let carried = kept.carried(shape, |name| shape.attribute(name).is_some_and(is_changed));
    carried.lay_over(&mut whole);
    let revision = twin::edited(id, Some(&previous), false, &whole);
    // What the revision before didn't say, the row says by a default: whether it was changed can't be seen later.
    let is_told = |column: &Column| {
        kept.attributes.get(&column.name) != Some(&None)
            || is_changed(column) != (after.value(column) == Value::Null)
    };
    if !shape.attribute_columns().all(is_told) {
        expected::made_of(shape.relation, id, &revision, &previous, &carried);
    }
    revision
}

/// A changed key is a delete and an insert. Where one statement moves keys around, the new id may
/// still have a row: then this is an edit of that record's winner.
fn moved(shape: &Shape, id: &str, after: &Cells) -> RevisionId {
    check_id(id);
    keep_shown(shape, id);
    expected::key_changed(shape.relation);
    expected::stamped(shape.relation);
    twin::edited_row(shape, id, winner(shape, id).as_ref(), after)
}

fn check_id(id: &str) {
    if id.is_empty() || id.len() > revision::ID_BYTES_MAX {
        let reason = format!("must have 1 to {} bytes", revision::ID_BYTES_MAX);
        let id = id.chars().take(40).collect();
        Error::BadId { id, reason }.report()
    }
}

/// Reconciliation writes what a revision says. An app's BEFORE trigger may have changed the row;
/// the table shows the revision all the same, or it would not be what the history says.
fn as_the_revision_says(
    shape: &Shape,
    id: &str,
    revision: &RevisionId,
    after: &Cells,
    new: pg_sys::HeapTuple,
) -> pg_sys::HeapTuple {
    let put_back = |cells: &Cells| {
        let mut changes = Vec::new();
        for column in shape.attribute_columns() {
            // What the revision doesn't say is the table's own affair: a default, an older type.
            if !twin::says(shape, cells, &column.name) {
                continue;
            }
            let said = cells.named(&column.name, &column.codec);
            if said.is_some_and(|said| said != after.value(column)) {
                changes.push((column.number, cells.datum(&column.name)));
            }
        }
        if changes.is_empty() {
            return new;
        }
        // SAFETY: the twin's columns have the types of the table's.
        unsafe { row::with_columns(new, after.desc, &changes) }
    };
    history::with_revision(shape, id, revision, put_back).unwrap_or(new)
}
