//! In charge of rows that ALTER TABLE … TYPE has computed anew: each that shows another value than its
//! revision has is an edit, and gets the revision that an UPDATE to the same would have made.

use pgrx::pg_sys;
use pgrx::prelude::*;
use revision::{Attributes, RevisionId};
use std::collections::BTreeMap;

use crate::argument::{need, without_nulls};
use crate::capture;
use crate::catalog;
use crate::cursor::Cursor;
use crate::error::{Error, OrReport};
use crate::expected;
use crate::history;
use crate::reconcile;
use crate::role;
use crate::settings::Settings;
use crate::shape::{Column, Shape};
use crate::spi;
use crate::subtransaction::{Failure, attempt};
use crate::twin::{self, Revision};

/// Rows that are held in memory at once.
const CHUNK: usize = 1000;

type Row = (String, RevisionId, Attributes);

/// Returns how many rows there were. The table is locked by whoever alters it.
#[pg_extern(sql = false)]
fn _restamp(relation: pg_sys::Oid, columns: Vec<Option<String>>) -> i64 {
    let _settings = Settings::fixed();
    catalog::require_owner(&[relation]).or_report();
    let shape = Shape::of(relation).or_report();
    let columns = without_nulls(columns);
    let altered: Vec<&Column> = columns.iter().filter_map(|name| shape.attribute(name)).collect();
    if altered.is_empty() {
        return 0;
    }
    role::as_owner_restricted(shape.owner, || {
        // Nobody has written anything: no trigger of the app's has a part in it.
        let _quiet = Settings::replica();
        // What has been edited when a cast fails is passed over by the second look.
        match restamp(&shape, &altered, false) {
            Ok(count) => count,
            Err((count, _)) => {
                count
                    + restamp(&shape, &altered, true)
                        .unwrap_or_else(|(_, failure)| failure.rethrow())
            }
        }
    })
}

/// That casts work is tried first, for to ask of each value whether it can be cast takes longer. Returns how many rows
/// were edited; where a cast has failed, also why.
fn restamp(shape: &Shape, altered: &[&Column], is_careful: bool) -> Result<i64, (i64, Failure)> {
    let mut count = 0;
    let failed = |failure: Failure, count| match is_careful || !failure.is_refusal() {
        true => failure.rethrow(),
        false => (count, failure),
    };
    let sql = differing(shape, altered, is_careful);
    let mut rows = attempt(|| Cursor::open(&sql)).map_err(|failure| failed(failure, 0))?;
    loop {
        let some = match attempt(|| rows.next(CHUNK, |row| capture::shown_in(shape, row))) {
            Ok(some) if !some.is_empty() => some,
            ended => {
                rows.close();
                return ended.map(|_| count).map_err(|failure| failed(failure, count));
            }
        };
        count += some.len() as i64;
        let edits: Vec<Revision> = some.into_iter().map(|row| edit(shape, row, altered)).collect();
        let edits: Vec<&Revision> = edits.iter().collect();
        expected::while_capturing(shape.twin_relation, || twin::insert(shape, &edits));
        show(shape, &edits);
    }
}

/// Rows that show another value than a cast of what their revisions say.
fn differing(shape: &Shape, altered: &[&Column], is_careful: bool) -> String {
    let differs = |column: &&Column| {
        let value = shape.eras.value(column);
        let differs = format!(
            "t.{}::text is distinct from ({value})::{}::text",
            column.quoted, column.type_name
        );
        match is_careful {
            false => differs,
            true => {
                let is_unreadable = shape.eras.is_unreadable(shape.relation, column);
                format!("case when {is_unreadable} then true else {differs} end")
            }
        }
    };
    format!(
        "select {row} from {table} t join {twin} h on h._id = {id} and h._rev operator(godwit.=) t._rev
          where {differs}",
        row = shape.whole_row("t"),
        table = shape.table,
        twin = shape.twin,
        id = shape.id_of_row("t"),
        differs = altered.iter().map(differs).collect::<Vec<String>>().join(" or ")
    )
}

/// Whether a text can be cast to a column's type.
#[pg_extern(sql = false)]
fn _reads(relation: Option<pg_sys::Oid>, column: Option<&str>, text: Option<&str>) -> bool {
    let (relation, column) = (need(relation, "relation"), need(column, "column"));
    let shape = Shape::of(relation).or_report();
    let column = shape.attribute(column).unwrap_or_else(|| {
        Error::BadArgument(format!("{} has no column {column:?}", shape.table)).report()
    });
    let sql = format!("select $1::{}", column.type_name);
    match attempt(|| spi::run(&sql, &[spi::optional_text(text)])) {
        Ok(_) => true,
        Err(failure) if failure.is_refusal() => false,
        Err(failure) => failure.rethrow(),
    }
}

fn edit(shape: &Shape, (id, previous, attributes): Row, altered: &[&Column]) -> Revision {
    let kept = history::extra(shape, &id, &previous).or_report();
    let kept = kept.carried(shape, |name| altered.iter().any(|column| column.name == name));
    let mut whole = attributes;
    kept.lay_over(&mut whole);
    Revision {
        revision: twin::edited(&id, Some(&previous), false, &whole),
        id,
        previous: Some(previous),
        deleted: false,
        attributes: whole,
    }
}

fn show(shape: &Shape, edits: &[&Revision]) {
    let winners: BTreeMap<String, RevisionId> =
        edits.iter().map(|edit| (edit.id.clone(), edit.revision.clone())).collect();
    let ids: Vec<String> = winners.keys().cloned().collect();
    let mut args = reconcile::key_args(shape, &ids);
    let revisions: Vec<String> = winners.values().map(RevisionId::to_string).collect();
    args.push(spi::texts(revisions.iter().map(String::as_str)));
    let sql = format!(
        "update {table} t set _rev = n.revision::godwit.revision
           from {keys}, rows from (pg_catalog.unnest($1), pg_catalog.unnest(${last})) n(id, revision)
          where n.id = k.id and {same}",
        table = shape.table,
        keys = reconcile::keys(shape),
        last = args.len(),
        same = reconcile::same_key(shape),
    );
    expected::while_writing(shape.relation, winners, || spi::run(&sql, &args));
}
