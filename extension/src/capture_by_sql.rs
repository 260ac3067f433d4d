//! In charge of adding a statement's rows to a twin in one statement of SQL, over its transition tables:
//! where the twin isn't as it was made (`append.rs`), and where a row's parent or what it carries on has to be
//! looked for.

use pgrx::pg_sys;

use crate::capture::{self, RowShown};
use crate::expected;
use crate::reconcile;
use crate::shape::Shape;
use crate::spi;
use crate::twin;
use crate::unordered;

/// Returns the new revisions of which another session has made something meanwhile.
pub fn inserted(shape: &Shape, trigger: *mut pg_sys::TriggerData) -> Vec<RowShown> {
    let sql = format!(
        "{insert}
         select {once} {id}, n._rev, {parent}, false, null {columns} from godwit_new n {known}",
        insert = twin::insert_into(shape),
        // A key may be there twice for a while, if it is deferred.
        once = match shape.keys.takes_on_conflict {
            true => String::new(),
            false => format!("distinct on ({}, n._rev)", shape.id_of_row("n")),
        },
        id = shape.id_of_row("n"),
        parent = parent_of_row(shape, "n"),
        columns = shape.body_columns("n."),
        known = twin::on_known(shape),
    );
    let kept = add(shape, || spi::run_in_trigger(trigger, &sql, &[]));
    expected::kept(shape.relation, kept);
    overtaken(shape, trigger)
}

/// The same for an UPDATE that has changed no keys.
pub fn updated(shape: &Shape, trigger: *mut pg_sys::TriggerData) -> Vec<RowShown> {
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
    if !unordered::has_any(shape) {
        // What others know of an edit before it is made here is a name without a parent.
        return Vec::new();
    }
    overtaken(shape, trigger)
}

/// Ends the records that an UPDATE has made others of. Keys may be equal and have other texts.
pub fn end_moved(shape: &Shape, trigger: *mut pg_sys::TriggerData) {
    let (old, new) = (shape.id_of_row("o"), shape.id_of_row("n"));
    let sql =
        end_old(shape, &format!("where not exists (select from godwit_new n where {new} = {old})"));
    add(shape, || spi::run_in_trigger(trigger, &sql, &[]));
}

/// The new revisions that have children already. They have come after those.
fn overtaken(shape: &Shape, trigger: *mut pg_sys::TriggerData) -> Vec<RowShown> {
    let sql = format!(
        "select {row} from godwit_new n where exists (
                select from {twin} c where c._id = {id} and c._prev = n._rev
                   and c._rev > godwit._generation_floor(n._rev, 1)
                   and c._rev < godwit._generation_floor(n._rev, 2))",
        row = shape.whole_row("n"),
        id = shape.id_of_row("n"),
        twin = shape.twin,
    );
    let found = spi::rows_in_trigger(trigger, &sql, &[], |row| capture::shown_in(shape, row));
    let ids: Vec<String> = found.iter().map(|(id, ..)| id.clone()).collect();
    unordered::list(shape, &ids);
    found
}

pub fn deleted(shape: &Shape, trigger: *mut pg_sys::TriggerData) {
    let sql = end_old(shape, "");
    add(shape, || spi::run_in_trigger(trigger, &sql, &[]));
}

/// Ends the records of a statement's old rows. A trigger of the app's may have brought a row back before it is our turn:
/// that goes on, and the others of its record's leaves end.
fn end_old(shape: &Shape, of: &str) -> String {
    let id = shape.id_of_row("o");
    let is_so = format!(
        "{} and h._id in (select {id} from godwit_old o {of})",
        twin::is_leaf_of_all(shape, "h")
    );
    let shown = format!(
        "select {id}, t._rev from godwit_old o join {table} t on {same_key} and {id_in_table} = {id}",
        table = shape.table,
        same_key = shape.same_key("t", "o"),
        id_in_table = shape.id_of_row("t"),
    );
    end_but(shape, &is_so, &shown)
}

/// What the rows of these records show.
pub fn shown(shape: &Shape, ids: &[String]) -> Vec<RowShown> {
    let sql = format!(
        "select {row} from {keys} join {table} t on {same} where t._rev is not null",
        row = shape.whole_row("t"),
        keys = reconcile::keys(shape),
        table = shape.table,
        same = reconcile::same_key(shape),
    );
    spi::rows(&sql, &reconcile::key_args(shape, ids), |row| capture::shown_in(shape, row))
}

/// Those of these records that have no row.
pub fn without_rows(shape: &Shape, ids: &[String]) -> Vec<String> {
    let sql = format!(
        "select k.id from {keys} where not exists (select from {table} t where {same})",
        keys = reconcile::keys(shape),
        table = shape.table,
        same = reconcile::same_key(shape),
    );
    spi::rows(&sql, &reconcile::key_args(shape, ids), |row| row.need(1))
}

/// Ends these records, as `end_old` does.
pub fn end(shape: &Shape, ids: &[String]) {
    let is_so = format!("{} and h._id = any ($1)", twin::is_leaf(shape, "h"));
    let shown = format!(
        "select k.id, t._rev from {keys} join {table} t on {same}",
        keys = reconcile::keys(shape),
        table = shape.table,
        same = reconcile::same_key(shape),
    );
    let sql = end_but(shape, &is_so, &shown);
    add(shape, || spi::run(&sql, &reconcile::key_args(shape, ids)));
}

pub fn truncated(shape: &Shape) {
    let sql = end_leaves(shape, "");
    add(shape, || spi::run(&sql, &[]));
}

/// TRUNCATE of a partition, which still has its rows then.
pub fn emptied(shape: &Shape, partition: pg_sys::Oid) {
    let sql = "select pg_catalog.format('%I.%I', n.nspname, c.relname) from pg_catalog.pg_class c
                 join pg_catalog.pg_namespace n on n.oid = c.relnamespace where c.oid = $1";
    for name in spi::rows(sql, &[spi::oid(partition)], |row| row.need::<String>(1)) {
        let ids = format!("select {} from {name} o", shape.id_of_row("o"));
        let sql = end_leaves(shape, &format!("and h._id in ({ids})"));
        add(shape, || spi::run(&sql, &[]));
    }
}

/// A tombstone on every leaf that is not one: what SQL deleted stays deleted. Of how many records isn't known before.
pub fn end_leaves(shape: &Shape, of: &str) -> String {
    tombstones(shape, &living(shape, &format!("{} {of}", twin::is_leaf_of_all(shape, "h"))))
}

/// The same of leaves that rows don't show. What they show is looked for when the leaves are found: as a condition on the
/// twin's rows it would keep the planner from looking them up.
fn end_but(shape: &Shape, is_so: &str, shown: &str) -> String {
    let found = living(shape, is_so);
    let shown = format!("select s.* from ({shown} where t._rev is not null) s");
    let from = format!(
        "(select h._id, h._rev from {found} offset 0) h where (h._id, h._rev) not in ({shown})"
    );
    tombstones(shape, &from)
}

fn living(shape: &Shape, is_so: &str) -> String {
    format!("{} h where not h._deleted and {is_so}", shape.twin)
}

fn tombstones(shape: &Shape, of: &str) -> String {
    format!(
        "{insert}
         select h._id, godwit._tombstone(h._id, h._rev), h._rev, true, null {nulls} from {of} {known}",
        insert = twin::insert_into(shape),
        nulls = ", null".repeat(shape.attributes.len()),
        known = twin::on_known(shape),
    )
}

/// Adds to the twin what the table shows already: there is nothing to reconcile.
pub fn add(shape: &Shape, work: impl FnOnce() -> u64) -> u64 {
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
