//! In charge of reading records: one, its revisions, a page of them. All of it runs as the caller,
//! with the caller's rights on the table and its twin.

use pgrx::JsonB;
use pgrx::pg_sys;
use pgrx::prelude::*;
use revision::{Record, RevisionId};
use std::collections::{BTreeMap, BTreeSet};

use crate::argument::{Json, need};
use crate::body::{Ancestry, Body};
use crate::by_name;
use crate::conflicted;
use crate::error::{Error, OrReport};
use crate::filter::{self, Filter};
use crate::form::Form;
use crate::known;
use crate::resolve::revision_of;
use crate::role;
use crate::row::{self, Cells};
use crate::settings::Settings;
use crate::shape::Shape;
use crate::spi;
use crate::twin;
use crate::walk::{self, Gate, Sight};

const PINNED_PATH: &std::ffi::CStr = c"pg_catalog, godwit, pg_temp";

/// Leaves in SQL. Whole rows go by an alias that no column can have: `h` would be the column of that
/// name, where the app has one.
fn is_leaf(shape: &Shape) -> String {
    twin::is_leaf(shape, "_godwit_row")
}

/// What of a revision goes on the wire beside its attributes.
#[derive(Clone, Copy, Default)]
struct With {
    revisions: bool,
    conflicts: bool,
}

#[pg_extern(sql = false)]
fn _get(
    relation: Option<pg_sys::Oid>,
    id: Option<&str>,
    revision: Option<&str>,
    revisions: Option<bool>,
    conflicts: Option<bool>,
) -> Option<JsonB> {
    let (relation, id) = (need(relation, "relation"), need(id, "id"));
    let shape = Shape::of(relation).or_report();
    let _settings = Settings::path(PINNED_PATH);
    let revision = revision.map(|text| revision_of(id, text).or_report());
    let with =
        With { revisions: need(revisions, "revisions"), conflicts: need(conflicts, "conflicts") };
    if revision.is_none()
        && let Some(record) = highest(&shape, id, with)
    {
        return Some(record);
    }
    let condition = match &revision {
        Some(_) => "_rev = $2".to_owned(),
        None => format!("$2 is null and {}", is_leaf(&shape)),
    };
    let sql = format!(
        "select _godwit_row from {} _godwit_row where _id = $1 and {condition}
          order by _deleted, _rev desc limit 1",
        shape.twin
    );
    let args = [spi::text(id), twin::revision_arg(&shape, revision.as_ref())];
    spi::rows(&sql, &args, |row| wire(&shape, row, with)).into_iter().next()
}

/// The winner, where it is the highest revision of all: that has no child, so no other is looked at.
fn highest(shape: &Shape, id: &str, with: With) -> Option<JsonB> {
    let sql = format!(
        "select top._godwit_row from (
            select _godwit_row, _deleted or _stub as passed from {} _godwit_row
             where _id = $1 order by _rev desc limit 1) top
          where not top.passed",
        shape.twin
    );
    spi::rows(&sql, &[spi::text(id)], |row| wire(shape, row, with)).into_iter().next()
}

/// The wire record of a whole row of the twin.
#[pg_extern(sql = false)]
fn _record(relation: pg_sys::Oid, revision: pgrx::AnyElement, revisions: bool) -> JsonB {
    let shape = Shape::of(relation).or_report();
    let header = row::whole_row(&revision, shape.twin_relation).or_report();
    let mut record = of_header(&shape, header).map_err(Error::of_argument).or_report();
    if let (true, Some(revision)) = (revisions, &record.revision) {
        record.revisions = Some(ancestry(&shape, &record.id, revision));
    }
    JsonB(to_json(&record))
}

/// The wire record of a whole row of the twin, with its parent or with all its ancestry.
pub fn record_of(
    shape: &Shape,
    body: &mut Body,
    row: pg_sys::Datum,
    all_ancestry: bool,
    form: Form,
) -> Vec<u8> {
    let mut out = Vec::new();
    // SAFETY: the callers' statements select whole rows of the twin.
    unsafe { body.take_datum(row) };
    match all_ancestry {
        true => {
            let revision = row::read_revision(body.revision());
            let line = stored(&ancestry(shape, body.id(), &revision));
            body.append(Ancestry::All(&line), form, &mut out);
        }
        false => body.append(Ancestry::Parent, form, &mut out),
    }
    out
}

fn wire(shape: &Shape, row: &spi::Row, with: With) -> JsonB {
    let mut record = of_datum(shape, row.need(1)).or_report();
    record.revisions = match &record.revision {
        Some(revision) if with.revisions => Some(ancestry(shape, &record.id, revision)),
        _ => None,
    };
    if with.conflicts {
        record.conflicts = Some(conflicts(shape, &record.id));
    }
    JsonB(to_json(&record))
}

fn to_json(record: &Record) -> serde_json::Value {
    serde_json::to_value(record).unwrap_or_else(|error| {
        Error::Internal(format!("a record can't be written: {error}")).report()
    })
}

/// A record from a composite datum of the twin's row type, with its parent as ancestry.
pub fn of_datum(shape: &Shape, datum: pg_sys::Datum) -> Result<Record, Error> {
    // SAFETY: the callers' statements select whole rows of the twin.
    of_header(shape, unsafe { pg_sys::pg_detoast_datum(datum.cast_mut_ptr()) }.cast())
}

fn of_header(shape: &Shape, header: pg_sys::HeapTupleHeader) -> Result<Record, Error> {
    let _settings = shape.settings();
    // SAFETY: the header is that of a whole row of the twin.
    unsafe {
        let (cells, desc) = row::record_cells(header);
        let record = of_cells(shape, &cells);
        pg_sys::FreeTupleDesc(desc);
        record
    }
}

fn of_cells(shape: &Shape, cells: &Cells) -> Result<Record, Error> {
    let (Some(id), Some(revision)) = (cells.get::<String>("_id"), cells.revision("_rev")) else {
        return Err(Error::BadArgument(format!("this is not a row of {}", shape.twin)));
    };
    if cells.get::<bool>("_stub").unwrap_or(false) {
        return Err(Error::Stub { id, revision });
    }
    let mut revisions = vec![revision.clone()];
    revisions.extend(cells.revision("_prev"));
    Ok(Record {
        id,
        table: Some(shape.wire_name.clone()),
        revision: Some(revision),
        deleted: cells.get::<bool>("_deleted").unwrap_or(false),
        attributes: twin::attributes(shape, cells)?,
        revisions: Some(revisions),
        conflicts: None,
    })
}

/// A revision and its ancestors, as far as they are known by name.
pub fn ancestry(shape: &Shape, id: &str, revision: &RevisionId) -> Vec<RevisionId> {
    let sql = format!(
        "with recursive line(revision) as (
            select $2 union all
            -- One look-up a step: a join would be free to read the whole record for each.
            select (select _godwit_row._prev from {} _godwit_row
                     where _godwit_row._id = $1 and _godwit_row._rev = line.revision)
              from line where line.revision is not null)
         select revision from line where revision is not null",
        shape.twin
    );
    let args = [spi::text(id), twin::revision_arg(shape, Some(revision))];
    // Names of what the caller may not see stand in the line all the same.
    role::as_owner(shape.owner, || {
        spi::rows(&sql, &args, |row| row::read_revision(&row.need::<Vec<u8>>(1)))
    })
}

fn stored(line: &[RevisionId]) -> Vec<Vec<u8>> {
    line.iter().map(RevisionId::to_sortable).collect()
}

/// The leaves that are neither the winner nor tombstones, highest first.
fn conflicts(shape: &Shape, id: &str) -> Vec<RevisionId> {
    // Few records have any, and a record's leaves are found by looking at all its revisions.
    if !conflicted::is_listed(shape, id) {
        return Vec::new();
    }
    let sql = format!(
        "select _godwit_row._rev from {} _godwit_row where _godwit_row._id = $1 and not _godwit_row._deleted and {}
          order by _godwit_row._rev desc offset 1",
        shape.twin,
        is_leaf(shape)
    );
    spi::rows(&sql, &[spi::text(id)], |row| row::read_revision(&row.need::<Vec<u8>>(1)))
}

/// Winners by the bytes of their ids: the rows of the table, as the history has them.
#[pg_extern(sql = false)]
fn _records(
    relation: Option<pg_sys::Oid>,
    after: Option<&str>,
    max: Option<i32>,
    filter: Option<Json>,
) -> TableIterator<'static, (name!(id, String), name!(record, String))> {
    let (relation, max) = (need(relation, "relation"), need(max, "max"));
    if max < 0 {
        Error::BadArgument("max is not negative".into()).report()
    }
    let shape = Shape::of(relation).or_report();
    let _settings = Settings::path(PINNED_PATH);
    let filter = filter::read(filter);
    let condition = match &filter {
        None => "true".to_owned(),
        Some(filter) => filter.condition(&shape, "t", "$3").or_report(),
    };
    let values = filter.as_ref().map_or_else(|| spi::texts([]), Filter::values);
    // Not `$1 is null or …`: a generic plan would read the index from its beginning for every page.
    let above = if after.is_some() { "_godwit_row._id > $1" } else { "true" };
    let same = shape.same_record("t", "_godwit_row");
    let (twin, table) = (&shape.twin, &shape.table);
    let sql = match &filter {
        // In the order of the twin's index, row by row: Postgres thinks that next to none will match.
        None => format!(
            "select _godwit_row from {twin} _godwit_row
              cross join lateral (select from {table} t where {same} and t._rev = _godwit_row._rev offset 0) t
              where {above} and $3::text[] is not null order by _godwit_row._id limit $2"
        ),
        // By the table's own indexes, as far as they fit.
        Some(_) => format!(
            "select _godwit_row from {twin} _godwit_row join {table} t on {same} and t._rev = _godwit_row._rev
              where {above} and {condition} order by _godwit_row._id limit $2"
        ),
    };
    let args = [spi::optional_text(after), spi::int8(max.into()), values];
    let mut body = Body::of(&shape);
    TableIterator::new(spi::rows(&sql, &args, |row| id_and_record(&mut body, row)))
}

fn id_and_record(body: &mut Body, row: &spi::Row) -> (String, String) {
    // SAFETY: the statements select whole rows of the twin.
    unsafe { body.take_datum(row.need(1)) };
    let mut out = Vec::new();
    body.append(Ancestry::Nothing, Form::Json, &mut out);
    (body.id().to_owned(), text(out))
}

fn text(json: Vec<u8>) -> String {
    String::from_utf8(json).unwrap_or_else(|error| {
        Error::Internal(format!("a record can't be written: {error}")).report()
    })
}

/// Revisions by name, or winners where none is named; what isn't here in full has no record.
#[pg_extern(sql = false)]
fn _get_many(
    relation: Option<pg_sys::Oid>,
    ids: Option<Vec<Option<String>>>,
    revisions: Option<Vec<Option<String>>>,
    ancestry: Option<bool>,
) -> TableIterator<
    'static,
    (name!(ord, i32), name!(id, String), name!(record, Option<String>), name!(leaf, bool)),
> {
    let (relation, ancestry) = (need(relation, "relation"), need(ancestry, "ancestry"));
    let (ids, revisions) = (need(ids, "ids"), need(revisions, "revisions"));
    if ids.len() != revisions.len() {
        Error::BadArgument("there are as many revisions as ids; null is the winner".into()).report()
    }
    let ids: Vec<String> = ids.into_iter().map(|id| need(id, "an id")).collect();
    let shape = Shape::of(relation).or_report();
    let _settings = Settings::path(PINNED_PATH);
    let revisions: Vec<Option<RevisionId>> = ids
        .iter()
        .zip(&revisions)
        .map(|(id, text)| text.as_deref().map(|text| revision_of(id, text).or_report()))
        .collect();
    if by_name::may_be_read_here(&shape) {
        let asked = ids.iter().map(String::as_str).zip(revisions.iter().map(Option::as_ref));
        let found = by_name::read(&shape, &asked.collect::<Vec<_>>(), ancestry);
        let rows = (1..).zip(ids).zip(found).map(|((ord, id), found)| {
            let is_leaf = found.as_ref().is_none_or(|(_, is_leaf)| *is_leaf);
            (ord, id, found.map(|(record, _)| text(record)), is_leaf)
        });
        return TableIterator::new(rows);
    }
    let named: Vec<Option<String>> =
        revisions.iter().map(|revision| revision.as_ref().map(RevisionId::to_string)).collect();
    let (twin, is_leaf) = (&shape.twin, is_leaf(&shape));
    let sql = format!(
        "select k.ord::int8, k.id, coalesce(n.row, w.row), coalesce(n.leaf, true)
           from unnest($1, $2) with ordinality k(id, revision, ord)
           left join lateral (
                select _godwit_row as row, {is_leaf} as leaf from {twin} _godwit_row
                 where _godwit_row._id = k.id and _godwit_row._rev = k.revision::godwit.revision
                   and not _godwit_row._stub) n on k.revision is not null
           left join lateral (
                select _godwit_row as row from {twin} _godwit_row
                 where _godwit_row._id = k.id and not _godwit_row._stub and {is_leaf}
                 order by _godwit_row._deleted, _godwit_row._rev desc limit 1) w on k.revision is null
          order by k.ord"
    );
    let args = [spi::texts(ids.iter().map(String::as_str)), spi::optional_texts(&named)];
    let mut body = Body::of(&shape);
    TableIterator::new(spi::rows(&sql, &args, |row| {
        let record = row.get::<pg_sys::Datum>(3).map(|datum| {
            // SAFETY: the statement selects whole rows of the twin.
            unsafe { body.take_datum(datum) };
            let revision = row::read_revision(body.revision());
            let line = ancestry.then(|| stored(&self::ancestry(&shape, body.id(), &revision)));
            let mut out = Vec::new();
            let line = line.as_deref().map_or(Ancestry::Nothing, Ancestry::All);
            body.append(line, Form::Json, &mut out);
            text(out)
        });
        (row.need::<i64>(1) as i32, row.need(2), record, row.need(4))
    }))
}

/// Winners whose ids lie between two, both included, from either end.
#[pg_extern(sql = false)]
fn _records_between(
    relation: Option<pg_sys::Oid>,
    low: Option<&str>,
    high: Option<&str>,
    descending: Option<bool>,
    skip: Option<i64>,
    max: Option<i32>,
) -> TableIterator<'static, (name!(id, String), name!(record, String))> {
    let (relation, max) = (need(relation, "relation"), need(max, "max"));
    let (descending, skip) = (need(descending, "descending"), need(skip, "skip"));
    if max < 0 || skip < 0 {
        Error::BadArgument("neither max nor skip is negative".into()).report()
    }
    let shape = Shape::of(relation).or_report();
    let _settings = Settings::path(PINNED_PATH);
    // A bound that isn't there is not in the statement, so that the index is read between those that are.
    let above = if low.is_some() { "_godwit_row._id >= $1" } else { "$1::text is null" };
    let below = if high.is_some() { "_godwit_row._id <= $2" } else { "$2::text is null" };
    let order = if descending { "desc" } else { "asc" };
    let same = shape.same_record("t", "_godwit_row");
    let sql = format!(
        "select _godwit_row from {twin} _godwit_row
          cross join lateral (select from {table} t where {same} and t._rev = _godwit_row._rev offset 0) t
          where {above} and {below} order by _godwit_row._id {order} offset $3 limit $4",
        twin = shape.twin,
        table = shape.table,
    );
    let args =
        [spi::optional_text(low), spi::optional_text(high), spi::int8(skip), spi::int8(max.into())];
    let mut body = Body::of(&shape);
    TableIterator::new(spi::rows(&sql, &args, |row| id_and_record(&mut body, row)))
}

type Line = (
    String,
    Option<String>,
    bool,
    bool,
    bool,
    bool,
    Option<i64>,
    Option<TimestampWithTimeZone>,
    Option<String>,
    Option<JsonB>,
);

/// All revisions of a record, or its leaves; highest first.
#[pg_extern(sql = false)]
fn _history(
    relation: pg_sys::Oid,
    id: &str,
    leaves_only: bool,
) -> TableIterator<
    'static,
    (
        name!(revision, String),
        name!(previous, Option<String>),
        name!(deleted, bool),
        name!(stub, bool),
        name!(winner, bool),
        name!(leaf, bool),
        name!(seq, Option<i64>),
        name!(at, Option<TimestampWithTimeZone>),
        name!(by, Option<String>),
        name!(record, Option<JsonB>),
    ),
> {
    let shape = Shape::of(relation).or_report();
    let _settings = Settings::path(PINNED_PATH);
    let sql = format!(
        "select _godwit_row._rev::text, _godwit_row._prev::text, _godwit_row._deleted, _godwit_row._stub,
                l.leaf and row_number() over (order by not l.leaf, _godwit_row._deleted, _godwit_row._rev desc) = 1,
                l.leaf, _godwit_row._seq, _godwit_row._at, _godwit_row._by, _godwit_row
           from {twin} _godwit_row cross join lateral (select {is_leaf} as leaf) l
          where _godwit_row._id = $1 order by _godwit_row._rev desc",
        twin = shape.twin,
        is_leaf = is_leaf(&shape),
    );
    let lines: Vec<Line> = spi::rows(&sql, &[spi::text(id)], |row| {
        let stub: bool = row.need(4);
        let record = (!stub).then(|| {
            let mut record = of_datum(&shape, row.need(10)).or_report();
            record.revisions = None;
            JsonB(to_json(&record))
        });
        let (previous, leaf) = (row.get(2), row.need(6));
        let (seq, at, by) = (row.get(7), row.get(8), row.get(9));
        (row.need(1), previous, row.need(3), stub, row.need(5), leaf, seq, at, by, record)
    });
    TableIterator::new(lines.into_iter().filter(move |line| line.5 || !leaves_only))
}

/// What of the revisions named is not here: by record id, the missing and what might be their
/// ancestors: leaves of a lower generation than the highest that is missing.
#[pg_extern(sql = false)]
fn _revs_diff(relation: pg_sys::Oid, revisions: &str) -> String {
    #[derive(serde::Serialize)]
    struct Diff<'a> {
        missing: BTreeSet<&'a RevisionId>,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        possible_ancestors: Vec<&'a RevisionId>,
    }
    let shape = Shape::of(relation).or_report();
    let _settings = Settings::path(PINNED_PATH);
    let asked: BTreeMap<String, Vec<RevisionId>> =
        serde_json::from_str(revisions).unwrap_or_else(|error| {
            let reason = format!("expected {{\"record id\": [\"revision\", …]}}: {error}");
            Error::BadRecord(reason).report()
        });
    if asked.keys().any(|id| id.contains('\0')) {
        Error::BadRecord("a record id holds U+0000".into()).report()
    }
    let sql = format!(
        "select _godwit_row._id, _godwit_row._rev, {} from {} _godwit_row where _godwit_row._id = any ($1)
            and (not _godwit_row._stub or _godwit_row._seq is not null)",
        is_leaf(&shape),
        shape.twin
    );
    let mut known: BTreeMap<String, BTreeMap<RevisionId, bool>> = BTreeMap::new();
    let ids = maybe_known(&shape, asked.keys().map(String::as_str).collect());
    let rows = match ids.is_empty() {
        true => Vec::new(),
        false => spi::rows(&sql, &[spi::texts(ids)], |row| {
            (row.need(1), row::read_revision(&row.need::<Vec<u8>>(2)), row.need(3))
        }),
    };
    for (id, revision, leaf) in rows {
        known.entry(id).or_default().insert(revision, leaf);
    }
    let none = BTreeMap::new();
    let mut answer: BTreeMap<&str, Diff> = BTreeMap::new();
    for (id, revisions) in &asked {
        let here = known.get(id).unwrap_or(&none);
        let missing: BTreeSet<&RevisionId> =
            revisions.iter().filter(|revision| !here.contains_key(*revision)).collect();
        let Some(highest) = missing.last().map(|last| last.generation()) else { continue };
        let possible_ancestors = here
            .iter()
            .filter(|(revision, leaf)| **leaf && revision.generation() < highest)
            .map(|(revision, _)| revision)
            .collect();
        answer.insert(id, Diff { missing, possible_ancestors });
    }
    serde_json::to_string(&answer).unwrap_or_else(|error| {
        Error::Internal(format!("an answer can't be written: {error}")).report()
    })
}

/// Those of these records that the twin may have anything of. Most that a peer asks about are new to us, and where the
/// caller may read all of the twin its index says so.
fn maybe_known<'a>(shape: &Shape, ids: Vec<&'a str>) -> Vec<&'a str> {
    match walk::gate(shape) {
        Gate::Open => known::known(shape, &Sight::now(), ids),
        Gate::Policies | Gate::Closed => ids,
    }
}
