//! In charge of what has left a reader's view: a change after which row-level security hides the record from
//! who could see what it said before. A reader is told so, or it would keep the record as it was for ever. What
//! it did meanwhile is kept when it arrives.

use pgrx::pg_sys;
use std::collections::HashSet;

use crate::graft::Arrival;
use crate::policy;
use crate::reach::Reach;
use crate::role;
use crate::shape::Shape;
use crate::spi::{self, Row};
use crate::stream::{self, CHANGES_A_RECORD};

/// Changes that are looked through at a time: their bodies are held in memory.
const CHANGES_AT_ONCE: usize = 1000;

/// A change by which a record has left, or may have.
pub struct Left {
    pub sequence: i64,
    pub id: String,
}

/// Whether anything can have left the caller's view since a sequence. Where it is known what the caller reaches, nothing
/// but what it has seen and doesn't see now can have.
pub fn is_possible(shape: &Shape, since: i64, reach: Option<&Reach>) -> bool {
    // Who begins has nothing that could leave.
    since != 0 && policy::applies(shape) && reach.is_none_or(Reach::has_unseen)
}

/// The records that left between two sequences, each at its latest such change.
pub fn between(
    shape: &Shape,
    since: i64,
    until: i64,
    ids: Option<&[String]>,
    reach: Option<&Reach>,
) -> Vec<Left> {
    if !is_possible(shape, since, reach) {
        return Vec::new();
    }
    let mut left: Vec<Left> = Vec::new();
    let mut look = |edits: &[Left]| {
        for found in left_by(shape, edits) {
            left.retain(|earlier| earlier.id != found.id);
            left.push(found);
        }
    };
    let unseen = reach.map(Reach::unseen);
    if let Some(unseen) = &unseen
        && (until - since) / CHANGES_A_RECORD >= unseen.len() as i64
    {
        edits_of(shape, since, until, unseen).chunks(CHANGES_AT_ONCE).for_each(look);
        return left;
    }
    if let Some(ids) = ids
        && stream::are_few(ids.len(), since, until)
    {
        let ids = ids.iter().map(String::as_str).collect();
        edits_of(shape, since, until, &ids).chunks(CHANGES_AT_ONCE).for_each(look);
        return left;
    }
    let mut at = since;
    loop {
        pgrx::check_for_interrupts!();
        let mut edits = edits_after(shape, at, until, ids);
        let Some(last) = edits.last() else { return left };
        at = last.sequence;
        let is_full = edits.len() == CHANGES_AT_ONCE;
        edits.retain(|edit| unseen.as_ref().is_none_or(|ids| ids.contains(edit.id.as_str())));
        look(&edits);
        if !is_full {
            return left;
        }
    }
}

/// The edits above a sequence, in order, as many as are looked through at a time.
fn edits_after(shape: &Shape, since: i64, until: i64, ids: Option<&[String]>) -> Vec<Left> {
    let sql = format!(
        "select c._seq, c._id from {twin} c
          where c._seq > $1 and c._seq <= $2 and not c._stub and c._prev is not null {only}
          order by c._seq limit {CHANGES_AT_ONCE}",
        twin = shape.twin,
        only = if ids.is_some() { "and c._id = any ($3)" } else { "" },
    );
    let mut args = vec![spi::int8(since), spi::int8(until)];
    args.extend(ids.map(|ids| spi::texts(ids.iter().map(String::as_str))));
    role::as_owner(shape.owner, || spi::rows(&sql, &args, edit))
}

/// All edits of some records, in order. Each is looked up by the twin's key.
fn edits_of(shape: &Shape, since: i64, until: i64, ids: &HashSet<&str>) -> Vec<Left> {
    if ids.is_empty() {
        return Vec::new();
    }
    let sql = format!(
        "select c._seq, c._id from pg_catalog.unnest($3) k(id)
          cross join lateral (
            select c._seq, c._id from {twin} c
             where c._id = k.id and not c._stub and c._prev is not null offset 0) c
          where c._seq > $1 and c._seq <= $2 order by c._seq",
        twin = shape.twin,
    );
    let ids = spi::texts(ids.iter().copied());
    let args = [spi::int8(since), spi::int8(until), ids];
    role::as_owner(shape.owner, || spi::rows(&sql, &args, edit))
}

fn edit(row: &Row) -> Left {
    Left { sequence: row.need(1), id: row.need(2) }
}

/// The records that have left by any of these edits: the caller could see what they were made from, and can't see
/// the record now.
fn left_by(shape: &Shape, edits: &[Left]) -> Vec<Left> {
    if edits.is_empty() {
        return Vec::new();
    }
    let sql = format!(
        "select c._seq, c._id, _godwit_row as body
           from pg_catalog.unnest($1) k(number) join {twin} c on c._seq = k.number
           join {twin} _godwit_row on _godwit_row._id = c._id and _godwit_row._rev = c._prev
            and not _godwit_row._stub and not _godwit_row._deleted
          order by c._seq",
        twin = shape.twin,
    );
    let numbers: Vec<i64> = edits.iter().map(|edit| edit.sequence).collect();
    let (edits, bodies): (Vec<Left>, Vec<Option<pg_sys::Datum>>) =
        role::as_owner(shape.owner, || {
            spi::rows(&sql, &[spi::int8s(&numbers)], |row| (edit(row), row.carry_out(3).1))
        })
        .into_iter()
        .unzip();
    let bodies: Vec<pg_sys::Datum> = bodies.into_iter().flatten().collect();
    let shown = edits.into_iter().zip(policy::shown_of(shape, &bodies));
    let were_visible: Vec<Left> = shown.filter(|(_, shown)| *shown).map(|(edit, _)| edit).collect();
    let ids: Vec<String> = were_visible.iter().map(|edit| edit.id.clone()).collect();
    let seen = policy::seen_of(shape, &ids);
    were_visible.into_iter().filter(|edit| !seen.contains(&edit.id)).collect()
}

/// Whether who sends this could see what it was made from: a body in its line that passes the policies.
pub fn had(shape: &Shape, arrival: &Arrival) -> bool {
    let id = &arrival.revision.id;
    arrival.line.iter().skip(1).any(|ancestor| {
        policy::body_of(shape, id, ancestor).is_some_and(|body| policy::shows(shape, body))
    })
}
