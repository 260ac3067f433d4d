//! In charge of the history of plain SQL: the AFTER triggers on a table, which add to its twin.
//!
//! One statement of the app's is one statement here, over its transition tables. Under logical
//! replication, where Postgres fires no statement triggers, a row trigger does the same by the row.
//!
//! A trigger of the app's may edit rows of a statement that has not reached us yet. The inner
//! statement then meets revisions that the twin doesn't have: it adds them first, so that a parent
//! always comes before its child, and the outer one finds them there.
//!
//! Of a partitioned table the root is tracked. A statement that names a partition fires that
//! partition's statement triggers only, so each has them; its rows are read by the root's shape.

use pgrx::pg_sys;
use pgrx::prelude::*;
use revision::{Attributes, RevisionId};

use crate::catalog;
use crate::error::OrReport;
use crate::expected;
use crate::history;
use crate::role;
use crate::row::{self, Cells};
use crate::settings::Settings;
use crate::shape::Shape;
use crate::spi;
use crate::trigger::{self, Event};
use crate::twin::{self, Revision};

trigger::entry!(godwit_capture, pg_finfo_godwit_capture, capture);

fn capture(trigger: *mut pg_sys::TriggerData) -> pg_sys::HeapTuple {
    // SAFETY: Postgres hands a trigger its relation.
    let relation = unsafe { (*(*trigger).tg_relation).rd_id };
    let event = trigger::event(trigger);
    let (old, new) = (trigger::has_old_table(trigger), trigger::has_new_table(trigger));
    let has_rows = trigger::is_for_each_row(trigger)
        || match event {
            Event::Insert => new,
            Event::Update => old && new,
            Event::Delete => old,
            Event::Truncate => true,
        };
    let rows = Shape::of_rows(relation).or_report();
    let is_partition = rows.relation != relation;
    let is_early = event == Event::Truncate && is_partition;
    trigger::require(trigger, has_rows && trigger::is_before(trigger) == is_early);
    let shape = if is_partition { Shape::of(rows.relation).or_report() } else { rows.clone() };
    let _settings = shape.settings();
    role::as_owner(shape.owner, || match event {
        Event::Truncate if is_partition => emptied(&shape, relation),
        Event::Truncate => truncated(&shape),
        event if trigger::is_for_each_row(trigger) => one_row(&rows, trigger, event),
        Event::Insert => inserted(&shape, trigger),
        Event::Update => updated(&shape, trigger),
        Event::Delete => deleted(&shape, trigger),
    });
    trigger::nothing()
}

fn inserted(shape: &Shape, trigger: *mut pg_sys::TriggerData) {
    let sql = format!(
        "{insert}
         select {id}, n._rev, {parent}, false, null {columns} from godwit_new n {known}",
        insert = twin::insert_into(shape),
        id = shape.id_of_row("n"),
        parent = parent_of_row(shape, "n"),
        columns = shape.body_columns("n."),
        known = twin::on_known(shape),
    );
    let kept = add(shape, || spi::run_in_trigger(trigger, &sql, &[]));
    expected::kept(shape.relation, kept);
}

fn updated(shape: &Shape, trigger: *mut pg_sys::TriggerData) {
    // SAFETY: an AFTER UPDATE statement trigger has both transition tables.
    let rows = unsafe { spi::transition_rows((*trigger).tg_newtable) };
    if expected::pending(shape.relation) != rows {
        catch_up(shape, trigger);
    }
    let sql = format!(
        "{insert}
         select {id}, n._rev, coalesce(o._rev, {parent}), false, {kept} {columns}
           from godwit_new n
           left join godwit_old o on {same_key}
           left join {twin} h on h._id = {id} and h._rev = o._rev and h._extra is not null
          where o._rev is null or n._rev <> o._rev {known}",
        insert = twin::insert_into(shape),
        id = shape.id_of_row("n"),
        parent = parent_of_row(shape, "n"),
        kept = format_args!(
            "case when h._extra is not null then godwit._carried({}::oid, h._extra, {}, {}) end",
            shape.relation.to_u32(),
            shape.whole_row("o"),
            shape.whole_row("n"),
        ),
        columns = shape.body_columns("n."),
        same_key = shape.same_key("o", "n"),
        twin = shape.twin,
        known = twin::on_known(shape),
    );
    let kept = add(shape, || spi::run_in_trigger(trigger, &sql, &[]));
    expected::kept(shape.relation, kept);
    if expected::has_key_changed(shape.relation) {
        let gone = format!(
            "select {id} from godwit_old o where not exists (
                    select from godwit_new n where {same_key})",
            id = shape.id_of_row("o"),
            same_key = shape.same_key("o", "n"),
        );
        let sql = end_leaves(shape, &format!("and h._id in ({gone})"));
        add(shape, || spi::run_in_trigger(trigger, &sql, &[]));
    }
}

fn deleted(shape: &Shape, trigger: *mut pg_sys::TriggerData) {
    if expected::pending(shape.relation) != 0 {
        catch_up(shape, trigger);
    }
    let ids = format!("select {} from godwit_old o", shape.id_of_row("o"));
    let sql = end_leaves(shape, &format!("and h._id in ({ids})"));
    add(shape, || spi::run_in_trigger(trigger, &sql, &[]));
}

fn truncated(shape: &Shape) {
    let sql = end_leaves(shape, "");
    add(shape, || spi::run(&sql, &[]));
}

/// TRUNCATE of a partition, which still has its rows then.
fn emptied(shape: &Shape, partition: pg_sys::Oid) {
    let sql = "select pg_catalog.format('%I.%I', n.nspname, c.relname) from pg_catalog.pg_class c
                 join pg_catalog.pg_namespace n on n.oid = c.relnamespace where c.oid = $1";
    for name in spi::rows(sql, &[spi::oid(partition)], |row| row.need::<String>(1)) {
        let ids = format!("select {} from {name} o", shape.id_of_row("o"));
        let sql = end_leaves(shape, &format!("and h._id in ({ids})"));
        add(shape, || spi::run(&sql, &[]));
    }
}

/// Ends the records whose rows went with a partition.
#[pg_extern(sql = false)]
fn _end_missing(relation: pg_sys::Oid) {
    let _settings = Settings::fixed();
    catalog::require_owner(&[relation]).or_report();
    let shape = Shape::of(relation).or_report();
    role::as_owner_restricted(shape.owner, || {
        let rows = format!("select from {} t where {} = h._id", shape.table, shape.id_of_row("t"));
        let sql = end_leaves(&shape, &format!("and not exists ({rows})"));
        add(&shape, || spi::run(&sql, &[]));
    });
}

/// A tombstone on every leaf that is not one: what SQL deleted stays deleted.
fn end_leaves(shape: &Shape, of: &str) -> String {
    format!(
        "{insert}
         select h._id, godwit._tombstone(h._id, h._rev), h._rev, true, null {nulls}
           from {twin} h
          where not h._deleted {of} and {is_leaf} {known}",
        insert = twin::insert_into(shape),
        nulls = ", null".repeat(shape.attributes.len()),
        twin = shape.twin,
        is_leaf = twin::is_leaf(shape, "h"),
        known = twin::on_known(shape),
    )
}

/// Adds to the twin what the table shows already: there is nothing to reconcile.
fn add(shape: &Shape, work: impl FnOnce() -> u64) -> u64 {
    expected::while_capturing(shape.twin_relation, work)
}

/// SQL for the parent of a row's revision where no old row tells it: an insert over a tombstone.
fn parent_of_row(shape: &Shape, row: &str) -> String {
    format!(
        "case when godwit.generation({row}._rev) > 1
              then godwit._parent({}::oid, {}) end",
        shape.relation.to_u32(),
        shape.whole_row(row),
    )
}

/// Adds the old rows' revisions that an outer statement has made and not kept yet.
fn catch_up(shape: &Shape, trigger: *mut pg_sys::TriggerData) {
    let sql = format!(
        "select {row} from godwit_old o where o._rev is not null and not exists (
                select from {twin} h where h._id = {id} and h._rev = o._rev and not h._stub)",
        row = shape.whole_row("o"),
        twin = shape.twin,
        id = shape.id_of_row("o"),
    );
    let missing = spi::rows_in_trigger(trigger, &sql, &[], |row| {
        // SAFETY: the column is a whole row of the table. Inside a row a composite may have a short
        // header, which detoasting makes whole again.
        unsafe {
            let header = pg_sys::pg_detoast_datum(row.need::<pg_sys::Datum>(1).cast_mut_ptr());
            row_of_table(shape, header.cast())
        }
    });
    for (id, revision, attributes) in missing {
        keep(shape, &id, &revision, attributes);
    }
}

/// Id, revision and attributes of a whole row of the table.
///
/// # Safety
/// The header must be that of a composite datum of the table's row type.
pub unsafe fn row_of_table(
    shape: &Shape,
    header: pg_sys::HeapTupleHeader,
) -> (String, RevisionId, Attributes) {
    // SAFETY: the caller vouches for the header.
    unsafe {
        let (cells, desc) = row::record_cells(header);
        let found = of_cells(shape, &cells);
        pg_sys::FreeTupleDesc(desc);
        found
    }
}

fn of_cells(shape: &Shape, cells: &Cells) -> (String, RevisionId, Attributes) {
    let revision = cells.revision_at(shape.revision_number).unwrap_or_else(|| {
        crate::error::Error::Internal(format!("a row of {} has no revision", shape.table)).report()
    });
    (shape.id(cells), revision, shape.row_attributes(cells))
}

/// Adds one revision that a row of the table shows.
fn keep(shape: &Shape, id: &str, revision: &RevisionId, attributes: Attributes) {
    let found = history::parent(shape, id, revision, &attributes).or_report();
    let (previous, extra) = found.map_or((None, Default::default()), |(p, e)| (Some(p), e));
    let mut attributes = attributes;
    extra.lay_over(&mut attributes);
    let new = Revision {
        id: id.to_owned(),
        revision: revision.clone(),
        previous,
        deleted: false,
        attributes,
    };
    add(shape, || twin::insert(shape, &[&new]));
    expected::kept(shape.relation, 1);
}

/// A row at a time, where a session replays another server's changes.
fn one_row(shape: &Shape, trigger: *mut pg_sys::TriggerData, event: Event) {
    // SAFETY: a row trigger's tuples are rows of its relation.
    let (old, new) = unsafe {
        let desc = (*(*trigger).tg_relation).rd_att;
        let first = Cells::of((*trigger).tg_trigtuple, desc);
        let second = (event == Event::Update).then(|| Cells::of((*trigger).tg_newtuple, desc));
        match event {
            Event::Insert => (None, Some(first)),
            _ => (Some(first), second),
        }
    };
    let has_revision = |cells: &&Cells| cells.revision_at(shape.revision_number).is_some();
    let before = old.as_ref().filter(has_revision).map(|cells| of_cells(shape, cells));
    if let Some(cells) = &new {
        let (id, revision, attributes) = of_cells(shape, cells);
        if !history::has_body(shape, &id, &revision) {
            keep(shape, &id, &revision, attributes);
        }
        if before.as_ref().is_none_or(|(old_id, ..)| *old_id == id) {
            return;
        }
    }
    if let Some((id, ..)) = before {
        let sql = end_leaves(shape, "and h._id = $1");
        add(shape, || spi::run(&sql, &[spi::text(&id)]));
    }
}
