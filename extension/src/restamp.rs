//! In charge of rows that ALTER TABLE … TYPE has computed anew: each that shows another value than its
//! revision has is an edit, and gets the revision that an UPDATE to the same would have made.

use pgrx::pg_sys;
use pgrx::prelude::*;
use revision::RevisionId;
use std::collections::BTreeMap;

use crate::argument::without_nulls;
use crate::capture;
use crate::catalog;
use crate::error::OrReport;
use crate::expected;
use crate::history;
use crate::reconcile;
use crate::role;
use crate::settings::Settings;
use crate::shape::Shape;
use crate::spi;
use crate::twin::{self, Revision};

/// Rows that are held in memory at once.
const CHUNK: usize = 1000;

/// Returns how many rows there were. The table is locked by whoever alters it.
#[pg_extern(sql = false)]
fn _restamp(relation: pg_sys::Oid, columns: Vec<Option<String>>) -> i64 {
    let _settings = Settings::fixed();
    catalog::require_owner(&[relation]).or_report();
    let shape = Shape::of(relation).or_report();
    let columns = without_nulls(columns);
    let differs: Vec<String> = columns
        .iter()
        .filter_map(|name| shape.attribute(name))
        .map(|column| {
            let value = shape.eras.value(column);
            format!(
                "t.{}::text is distinct from ({value})::{}::text",
                column.quoted, column.type_name
            )
        })
        .collect();
    if differs.is_empty() {
        return 0;
    }
    let sql = format!(
        "select {row} from {table} t join {twin} h on h._id = {id} and h._rev operator(godwit.=) t._rev
          where ({differs}) limit {CHUNK}",
        row = shape.whole_row("t"),
        table = shape.table,
        twin = shape.twin,
        id = shape.id_of_row("t"),
        differs = differs.join(" or ")
    );
    role::as_owner_restricted(shape.owner, || {
        // Nobody has written anything: no trigger of the app's has a part in it.
        let _quiet = Settings::replica();
        let mut count = 0;
        loop {
            let rows = spi::rows(&sql, &[], |row| {
                // SAFETY: the column is a whole row of the table.
                unsafe {
                    let header =
                        pg_sys::pg_detoast_datum(row.need::<pg_sys::Datum>(1).cast_mut_ptr());
                    capture::row_of_table(&shape, header.cast())
                }
            });
            let edits: Vec<Revision> =
                rows.into_iter().map(|row| edit(&shape, row, &columns)).collect();
            if edits.is_empty() {
                return count;
            }
            count += edits.len() as i64;
            let edits: Vec<&Revision> = edits.iter().collect();
            expected::while_capturing(shape.twin_relation, || twin::insert(&shape, &edits));
            show(&shape, &edits);
        }
    })
}

fn edit(
    shape: &Shape,
    (id, previous, attributes): (String, RevisionId, revision::Attributes),
    columns: &[String],
) -> Revision {
    let kept = history::extra(shape, &id, &previous).or_report();
    let kept = kept.carried(shape, |name| columns.iter().any(|column| column == name));
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
