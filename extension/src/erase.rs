//! In charge of taking bodies out of the history: `godwit.compact` drops old ones, `godwit.erase` all of
//! a record's. A revision without its body is a stub; one that had a body keeps its number, by which
//! it is told from one that never came: no peer is asked for it again, and none can bring it back.

use pgrx::JsonB;
use pgrx::pg_sys;
use pgrx::prelude::*;
use revision::{Attributes, RevisionId, Value};
use std::collections::BTreeSet;

use crate::about;
use crate::argument::need;
use crate::catalog;
use crate::conflicted;
use crate::error::{Error, OrReport};
use crate::expected;
use crate::graft::Arrival;
use crate::history;
use crate::reconcile;
use crate::rejected;
use crate::role;
use crate::row;
use crate::settings::Settings;
use crate::shape::Shape;
use crate::spi;
use crate::twin::{self, Revision};

/// A tombstone with this attribute erases what it ends, wherever it comes to.
const MARK: &str = "@erased";

/// SQL that takes a body out of a twin's row.
fn without_body(shape: &Shape) -> String {
    let own = ["_id", "_rev", "_prev", "_deleted", "_seq", "_at", "_by", "_stub", "_extra"];
    let sql = "select a.attname::text from pg_catalog.pg_attribute a
                where a.attrelid = $1 and a.attnum > 0 and not a.attisdropped";
    let names: Vec<String> =
        spi::rows(sql, &[spi::oid(shape.twin_relation)], |row| row.need::<String>(1));
    let nulls: Vec<String> = names
        .iter()
        .filter(|name| !own.contains(&name.as_str()))
        .map(|name| format!(", {} = null", crate::shape::quote(name)))
        .collect();
    format!("_stub = true, _extra = null{}", nulls.concat())
}

/// One batch of `godwit.compact`: the records after `after`; returns where it has come to, null at the
/// end, and how many bodies it dropped. The table's owner may.
#[pg_extern(sql = false)]
fn _compact(
    relation: Option<pg_sys::Oid>,
    after: Option<&str>,
    keep: Option<Interval>,
    revisions: Option<i32>,
    batch: Option<i32>,
) -> TableIterator<'static, (name!(after, Option<String>), name!(freed, i64))> {
    let (relation, batch) = (need(relation, "relation"), need(batch, "batch"));
    if batch < 1 {
        Error::BadArgument("batch is 1 or more".into()).report()
    }
    let _settings = Settings::path(c"pg_catalog, godwit, pg_temp");
    let shape = Shape::of(relation).or_report();
    catalog::require_owner(&[relation]).or_report();
    let shape = shape.held().or_report();
    let (after, freed) = role::as_owner(shape.owner, || {
        let ids: Vec<String> = next_ids(&shape, after, batch);
        reconcile::lock(&shape, &ids);
        (ids.last().cloned(), drop_old(&shape, &ids, keep, revisions))
    });
    TableIterator::once((after, freed as i64))
}

fn next_ids(shape: &Shape, after: Option<&str>, batch: i32) -> Vec<String> {
    // No id is empty. Not `$1 is null or …`: a generic plan would read the index from its beginning for every batch, as
    // it might where it doesn't know how many are wanted.
    let sql = format!(
        "select distinct _id from {} where _id > $1 order by _id limit {batch}",
        shape.twin
    );
    spi::rows(&sql, &[spi::text(after.unwrap_or_default())], |row| row.need(1))
}

/// Keeps leaves, tombstones, what a conflict's branches began from, and under row-level security what
/// a deleted record said last: that tells who may hear of its end.
fn drop_old(shape: &Shape, ids: &[String], keep: Option<Interval>, revisions: Option<i32>) -> u64 {
    let conflicted = conflicted::listed(shape, ids);
    let sql = format!(
        "update {twin} h set {without_body}
          where h._id = any ($1) and not h._stub and not h._deleted and not ({is_leaf})
            and ($2 is null or h._at < pg_catalog.now() - $2)
            and ($3 is null or godwit.generation(h._rev) + $3 <= (
                 select godwit.generation(m._rev) from {twin} m
                  where m._id = h._id order by m._rev desc limit 1))
            and not (h._id = any ($4) and (select count(*) from {twin} c where {is_child}) > 1)
            and not ($5 and exists (select from {twin} c where {is_child} and c._deleted))",
        twin = shape.twin,
        is_child = twin::is_child("c", "h"),
        without_body = without_body(shape),
        is_leaf = twin::is_leaf(shape, "h"),
    );
    let args = [
        spi::texts(ids.iter().map(String::as_str)),
        spi::Arg(pg_sys::INTERVALOID, keep.and_then(|keep| keep.into_datum())),
        spi::Arg(pg_sys::INT4OID, revisions.and_then(|revisions| revisions.into_datum())),
        spi::texts(conflicted.iter().map(String::as_str)),
        spi::boolean(shape.row_security),
    ];
    expected::while_capturing(shape.twin_relation, || spi::run(&sql, &args))
}

#[pg_extern(sql = false)]
fn _erase(relation: pg_sys::Oid, id: &str) -> JsonB {
    let _entered = role::enter();
    let _settings = Settings::path(c"pg_catalog, godwit, pg_temp");
    let shape = Shape::of(relation).or_report();
    catalog::require_owner(&[relation]).or_report();
    let shape = shape.held().or_report();
    let revision =
        about::record(&shape, id, || role::as_owner(shape.owner, || erase(&shape, id))).or_report();
    JsonB(serde_json::json!({
        "id": id, "table": shape.wire_name, "revision": revision.to_string(), "deleted": true,
    }))
}

fn erase(shape: &Shape, id: &str) -> Result<RevisionId, Error> {
    let ids = [id.to_owned()];
    let locked = reconcile::lock(shape, &ids);
    let leaves = history::leaves(shape, id);
    let mark = Attributes::from([(MARK.to_owned(), Value::Bool(true))]);
    let ends: Vec<Revision> = leaves
        .iter()
        .map(|(leaf, _)| Revision {
            id: id.to_owned(),
            revision: twin::edited(id, Some(leaf), true, &mark),
            previous: Some(leaf.clone()),
            deleted: true,
            attributes: mark.clone(),
        })
        .collect();
    let Some(highest) = ends.iter().map(|end| end.revision.clone()).max() else {
        return Err(Error::NoRecord { id: crate::put::short(id) });
    };
    let ends: Vec<&Revision> = ends.iter().collect();
    let added = expected::while_capturing(shape.twin_relation, || twin::insert(shape, &ends));
    reconcile::reconcile(shape, &ids, &added, Some(locked));
    forget(shape, &ends);
    Ok(highest)
}

/// Erases what these revisions end, where they say so, and what has come of records that were erased
/// before. Who may only write the table can't make it forget: the mark is heeded from the table's owner,
/// as which a replication runs, also where somebody else has brought it first.
pub fn heed<'a>(shape: &Shape, batch: impl Iterator<Item = &'a Arrival>) {
    let ids: BTreeSet<&str> = batch.map(|arrival| arrival.revision.id.as_str()).collect();
    if ids.is_empty() || !history::may_have_extras(shape) {
        return;
    }
    let sql = format!(
        "select h._id, h._rev, h._prev from {} h
          where h._id = any ($1) and h._deleted and h._extra @> $2 and h._extra is not null",
        shape.twin
    );
    let mark = serde_json::json!({MARK: Value::Bool(true).to_wire()});
    let args = [spi::texts(ids), spi::json(&mark)];
    let ends = spi::rows(&sql, &args, |row| Revision {
        id: row.need(1),
        revision: row::read_revision(&row.need::<Vec<u8>>(2)),
        previous: row.get::<Vec<u8>>(3).map(|bytes| row::read_revision(&bytes)),
        deleted: true,
        attributes: Attributes::new(),
    });
    if !ends.is_empty() && role::as_caller(|| catalog::require_owner(&[shape.relation]).is_ok()) {
        forget(shape, &ends.iter().collect::<Vec<_>>());
    }
}

/// Whether a record has been erased.
pub fn is_erased(shape: &Shape, id: &str) -> bool {
    let sql =
        format!("select 1 from {} where _id = $1 and _deleted and _extra ? $2 limit 1", shape.twin);
    let args = [spi::text(id), spi::text(MARK)];
    role::as_owner(shape.owner, || spi::run(&sql, &args)) > 0
}

/// Takes out the bodies of all ancestors of these revisions, and what was refused of their records.
fn forget(shape: &Shape, ends: &[&Revision]) {
    // With OFFSET 0 the planner can't join the whole twin for every step of a line.
    let sql = format!(
        "with recursive line(id, revision) as (
            select e.id collate \"C\", e.revision::godwit.revision from unnest($1, $2) e(id, revision)
             union
            select l.id, p._prev from line l cross join lateral (
                select h._prev from {twin} h where h._id = l.id and h._rev = l.revision offset 0) p
             where p._prev is not null),
         latest(id, number) as (
            select e.id, max(s._seq) from (select distinct id from unnest($1) id) e cross join lateral (
                select h._seq from {twin} h where h._id = e.id offset 0) s
             group by e.id)
         update {twin} h set {without_body}, _seq = coalesce(h._seq, t.number)
           from line l join latest t on t.id = l.id
          where h._id = l.id and h._rev = l.revision and not h._deleted",
        twin = shape.twin,
        without_body = without_body(shape),
    );
    let previous: Vec<String> =
        ends.iter().filter_map(|end| end.previous.as_ref()).map(RevisionId::to_string).collect();
    let with_previous = ends.iter().filter(|end| end.previous.is_some());
    let args = [
        spi::texts(with_previous.map(|end| end.id.as_str())),
        spi::texts(previous.iter().map(String::as_str)),
    ];
    expected::while_capturing(shape.twin_relation, || spi::run(&sql, &args));
    let ids: BTreeSet<&str> = ends.iter().map(|end| end.id.as_str()).collect();
    rejected::erase(shape, ids);
}
