//! In charge of which records have conflicts: `godwit.conflicted` lists every record that has more
//! than one living leaf, and maybe some that had. The view `godwit.conflicts` looks at the leaves.
//!
//! A second living leaf comes by an added revision alone, beside the leaf that the table showed or
//! beside another added one. So the twin is not searched: a record whose added revisions continue
//! what was shown costs nothing. What plain SQL writes never adds a leaf to a record that has one, but
//! where it goes on from what has ended (`capture.rs`).

use pgrx::pg_sys;
use pgrx::prelude::*;
use revision::RevisionId;
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};

use crate::body::Body;
use crate::catalog;
use crate::error::OrReport;
use crate::lineage;
use crate::own;
use crate::rejected::catalog_owner;
use crate::role;
use crate::settings::Settings;
use crate::shape::{self, Shape};
use crate::spi;
use crate::twin::{self, Revision};
use crate::unordered;
use crate::walk::{self, Sight, Walk};

/// Takes note of conflicts that these added revisions begin or end. `shown` is what the table
/// showed of these records before and since.
pub fn note(
    shape: &Shape,
    ids: &[String],
    added: &[&Revision],
    shown: &[(String, RevisionId)],
) -> Vec<String> {
    let shown = shown.iter().map(|(id, revision)| (id.as_str(), revision));
    let living = added.iter().filter(|new| !new.deleted);
    let mut all: Vec<(&str, &RevisionId)> =
        shown.chain(living.map(|new| (new.id.as_str(), &new.revision))).collect();
    all.sort_unstable();
    all.dedup();
    // Most records have one, and nothing more is asked of them.
    let several = all.chunk_by(|one, next| one.0 == next.0).filter(|of| of.len() > 1);
    let mut leaves: BTreeMap<&str, BTreeSet<&RevisionId>> =
        several.map(|of| (of[0].0, of.iter().map(|(_, revision)| *revision).collect())).collect();
    for new in added {
        if let (Some(of), Some(previous)) = (leaves.get_mut(new.id.as_str()), &new.previous) {
            of.remove(previous);
        }
    }
    leaves.retain(|_, of| of.len() > 1);
    let mut torn = end(shape, &among(shape, ids));
    leaves.retain(|id, _| !torn.contains(*id));
    if !leaves.is_empty() {
        torn.extend(begin(shape, &leaves));
    }
    torn.into_iter().collect()
}

/// Some records that are listed.
pub fn some(shape: &Shape, max: i32) -> Vec<String> {
    let sql = "select record_id from godwit.conflicted where relation = $1
                order by record_id limit $2";
    let args = [spi::oid(shape.relation), spi::int8(max.into())];
    role::as_owner(catalog_owner(), || spi::rows(sql, &args, |row| row.need(1)))
}

/// The list and its index.
#[derive(Clone, Copy)]
struct Relations {
    list: pg_sys::Oid,
    index: pg_sys::Oid,
}

thread_local! {
    /// As they were found when so much had been heard of relations that were made others.
    static RELATIONS: Cell<Option<(u64, Relations)>> = const { Cell::new(None) };
}

/// By their names: once, and again when anything was heard.
fn relations() -> Relations {
    let heard = shape::heard();
    if let Some((then, found)) = RELATIONS.get()
        && then == heard
    {
        return found;
    }
    let found =
        Relations { list: own::relation(c"conflicted"), index: own::relation(c"conflicted_pkey") };
    // What was heard meanwhile would not be heard of again.
    if shape::heard() == heard {
        RELATIONS.set(Some((heard, found)));
    }
    found
}

/// Whether any record of a table is listed. Every DELETE asks, so it is asked without SQL.
pub fn has_any(shape: &Shape) -> bool {
    in_list(|list, index| own::has_row(list, Some(index), &mut [of_table(shape)]))
}

fn in_list<T: Default>(look: impl FnOnce(pg_sys::Oid, pg_sys::Oid) -> T) -> T {
    let list = relations().list;
    own::look_into(list, || relations().index, |index| look(list, index))
}

fn of_table(shape: &Shape) -> pg_sys::ScanKeyData {
    walk::equal(1, pg_sys::F_OIDEQ, shape.relation.into_datum())
}

/// Whether a record is listed.
pub fn is_listed(shape: &Shape, id: &str) -> bool {
    !among(shape, &[id.to_owned()]).is_empty()
}

/// Those of these records that are listed. Each is looked up: on the way to any one of the table's, all would be passed
/// that a transaction which merges thousands of conflicts has struck before.
fn among(shape: &Shape, ids: &[String]) -> Vec<String> {
    in_list(|list, index| {
        let is_listed = |id: &&String| {
            let of_record = walk::equal(2, pg_sys::F_TEXTEQ, id.as_str().into_datum());
            own::has_row(list, Some(index), &mut [of_table(shape), of_record])
        };
        ids.iter().filter(is_listed).cloned().collect()
    })
}

/// Lists those of these records that have two of these as living leaves; returns them.
fn begin(shape: &Shape, leaves: &BTreeMap<&str, BTreeSet<&RevisionId>>) -> Vec<String> {
    let pairs: Vec<(&str, String)> = leaves
        .iter()
        .flat_map(|(id, of)| of.iter().map(|revision| (*id, revision.to_string())))
        .collect();
    let sql = format!(
        "select k.id from unnest($1, $2) k(id, revision)
           join {twin} h on h._id = k.id and h._rev = k.revision::godwit.revision
          where not h._deleted and {is_leaf}
          group by k.id having count(*) > 1",
        twin = shape.twin,
        is_leaf = twin::is_leaf(shape, "h"),
    );
    let args = [
        spi::texts(pairs.iter().map(|(id, _)| *id)),
        spi::texts(pairs.iter().map(|(_, revision)| revision.as_str())),
    ];
    let ids: Vec<String> =
        role::as_owner(shape.owner, || spi::rows(&sql, &args, |row| row.need(1)));
    list(shape, &ids);
    ids
}

/// Lists these records.
pub fn list(shape: &Shape, ids: &[String]) {
    if ids.is_empty() {
        return;
    }
    // An entry that is there is locked, so that nobody strikes it who can't see these leaves yet.
    let sql = "insert into godwit.conflicted (relation, record_id) select $1, unnest($2)
               on conflict (relation, record_id) do update set record_id = excluded.record_id";
    let args = [spi::oid(shape.relation), spi::texts(ids.iter().map(String::as_str))];
    role::as_owner(catalog_owner(), || spi::run(sql, &args));
}

/// Lists every record of a table that has conflicts, or whose revisions are no line.
#[pg_extern(sql = false)]
fn _list_conflicts(relation: pg_sys::Oid) {
    let _settings = Settings::path(c"pg_catalog, godwit, pg_temp");
    let shape = Shape::of(relation).or_report();
    catalog::require_owner(&[relation]).or_report();
    let sql = format!(
        "select h._id from {twin} h where not h._deleted and {is_leaf}
          group by h._id having count(*) > 1",
        twin = shape.twin,
        is_leaf = twin::is_leaf_of_all(&shape, "h"),
    );
    let ids: Vec<String> = role::as_owner(shape.owner, || spi::rows(&sql, &[], |row| row.need(1)));
    list(&shape, &ids);
    unordered::list_all(&shape);
}

/// Which of these records are listed; they are locked.
pub fn listed(shape: &Shape, ids: &[String]) -> Vec<String> {
    // Each is looked up by the list's key: of a table with many conflicts all would be read else.
    let sql = "select c.record_id from (select id from unnest($2) id order by id collate \"C\") k
                cross join lateral (
                      select record_id from godwit.conflicted
                       where relation = $1 and record_id = k.id offset 0 for update) c";
    let args = [spi::oid(shape.relation), spi::texts(ids.iter().map(String::as_str))];
    role::as_owner(catalog_owner(), || spi::rows(sql, &args, |row| row.need(1)))
}

/// Strikes those of these records that are listed and have one living leaf, or none; returns the others that are.
/// Their entries are locked and not written: a transaction that adds a thousand leaves to a record would pass a thousand
/// versions of its entry each time.
fn end(shape: &Shape, ids: &[String]) -> BTreeSet<String> {
    if ids.is_empty() {
        return BTreeSet::new();
    }
    let listed = listed(shape, ids);
    let (torn, ended): (BTreeSet<String>, BTreeSet<String>) = {
        // Taken once they are locked.
        let sight = Sight::now();
        let mut records = Walk::of_records(shape, &sight);
        let mut revision = Body::of(shape);
        listed.into_iter().partition(|id| {
            records.seek_id(id);
            lineage::living(&mut records, &mut revision, 2).len() == 2
        })
    };
    if !ended.is_empty() {
        let sql = "delete from godwit.conflicted where ctid = any (array(
                    select c.ctid from unnest($2) k(id) cross join lateral (
                           select ctid from godwit.conflicted
                            where relation = $1 and record_id = k.id offset 0) c))";
        let args = [spi::oid(shape.relation), spi::texts(ended.iter().map(String::as_str))];
        role::as_owner(catalog_owner(), || spi::run(sql, &args));
    }
    torn
}
