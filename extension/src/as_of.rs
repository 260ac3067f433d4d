//! In charge of a table as it was: the statement that elects the winners among the revisions that
//! were there then, and gives them as rows of the table.

use pgrx::pg_sys;
use pgrx::prelude::*;

use crate::erase;
use crate::error::{Error, OrReport};
use crate::policy;
use crate::settings::Settings;
use crate::shape::Shape;
use crate::twin;

/// The statement for `godwit.as_of`; `then` says of a revision `h` that it was there.
#[pg_extern(sql = false)]
fn _as_of_sql(row_type: pg_sys::Oid, then: &str) -> String {
    // SAFETY: a catalog look-up by OID.
    let relation = unsafe { pg_sys::get_typ_typrelid(row_type) };
    if relation == pg_sys::InvalidOid {
        let reason = "as_of takes a null of the table's row type: null::the_table";
        Error::BadArgument(reason.into()).report()
    }
    let _settings = Settings::path(c"pg_catalog, godwit, pg_temp");
    let shape = Shape::of(relation).or_report();
    let child_then = then.replace("h.", "c.");
    let then = match then {
        "h._at <= $1" | "h._seq <= $1" => then,
        other => Error::BadArgument(format!("no condition for as_of: {other:?}")).report(),
    };
    let stored: Vec<String> = shape
        .in_order()
        .filter_map(|column| match column {
            None => Some("h._rev".to_owned()),
            Some(column) if column.name == "_id" => Some("h._id".to_owned()),
            Some(column) if column.generated => None,
            Some(column) => Some(format!("{} as {}", shape.eras.value(column), column.quoted)),
        })
        .collect();
    // A winner of that time whose body was dropped since can't be shown, and must not be left out.
    format!(
        "select {row} from (
            select {stored} from (
                select distinct on (h._id) h.* from {twin} h
                 where {then} and (not h._stub or h._seq is not null) and not exists (
                       select from {twin} c
                        where {is_child} and {child_then} and (not c._stub or c._seq is not null))
                 order by h._id, h._deleted, h._rev using operator(godwit.>)) h
             where not h._deleted
               and (not h._stub or godwit._was_erased({relation}::oid, h._id, h._rev))) {name}",
        row = policy::row_expression(&shape),
        is_child = twin::is_child("c", "h"),
        stored = stored.join(", "),
        twin = shape.twin,
        relation = relation.to_u32(),
        name = crate::shape::quote(&shape.name),
    )
}

/// What was erased is left out, as if it had never been; a body that was dropped to save room is an
/// error.
#[pg_extern(sql = false)]
fn _was_erased(relation: pg_sys::Oid, id: &str, revision: &[u8]) -> bool {
    let shape = Shape::of(relation).or_report();
    if !erase::is_erased(&shape, id) {
        let revision = crate::row::read_revision(revision);
        Error::Compacted { id: crate::put::short(id), revision }.report()
    }
    false
}
