//! In charge of `godwit.verify`: the statements that look for what is not as it should be, a stream of
//! rows each, so that a table of any size can be checked.

use pgrx::AnyElement;
use pgrx::pg_sys;
use pgrx::prelude::*;
use revision::RevisionId;

use crate::argument::Json;
use crate::conflicted;
use crate::error::{Error, OrReport};
use crate::extra::Extra;
use crate::row;
use crate::settings::Settings;
use crate::shape::Shape;
use crate::twin;

#[pg_extern(sql = false)]
fn _verify_sql(relation: pg_sys::Oid) -> Vec<String> {
    let _settings = Settings::path(c"pg_catalog, godwit, pg_temp");
    let shape = Shape::of(relation).or_report();
    let (table, twin, oid) = (&shape.table, &shape.twin, relation.to_u32());
    let id = shape.id_of_row("t");
    let is_leaf = twin::is_leaf_of_all(&shape, "h");
    // Compared as texts: a type may have no equality.
    let differs: Vec<String> = shape
        .attribute_columns()
        .map(|column| {
            format!(
                // What a revision doesn't say need not be of the column's type: a domain may refuse null.
                "case when {2} then t.{0}::text is distinct from h.{0}::{1}::text else false end",
                column.quoted,
                column.type_name,
                shape.eras.says(column)
            )
        })
        .collect();
    let differs = if differs.is_empty() { "false".to_owned() } else { differs.join(" or ") };
    vec![
        format!(
            "select h._id, h._rev::text, 'the hash is not that of its body' from {twin} h
              where not h._stub and not godwit._is_hashed({oid}::oid, h.*::{twin})"
        ),
        format!(
            "select h._id, h._rev::text, 'its parent is not in the history' from {twin} h
              where h._prev is not null and not exists (
                    select from {twin} p where p._id = h._id and p._rev operator(godwit.=) h._prev)"
        ),
        format!(
            "with winners as (
                select distinct on (h._id) h._id, h._rev, h._deleted from {twin} h
                 where {is_leaf} order by h._id, h._deleted, h._rev using operator(godwit.>))
             select coalesce(w._id, {id}), coalesce(t._rev, w._rev)::text, case
                    when t._rev is null then 'the winner is not shown'
                    when w._id is null then 'the row has no history'
                    else 'the row is not the winner ' || w._rev::text end
               from (select * from winners where not _deleted) w
               full join {table} t on {id} = w._id
              where t._rev is distinct from w._rev"
        ),
        format!(
            "select h._id, h._rev::text, 'the row is not what its revision says'
               from {table} t join {twin} h on h._id = {id} and h._rev operator(godwit.=) t._rev
              where not h._stub and ({differs})"
        ),
        format!(
            "select h._id, null::text, 'its conflict is not listed' from {twin} h
              where not h._deleted and {is_leaf}
              group by h._id having count(*) > 1 and not godwit._is_listed({oid}::oid, h._id)"
        ),
    ]
}

/// Whether a revision's id is that of its body, or was made by another system.
#[pg_extern(sql = false)]
fn _is_hashed(relation: pg_sys::Oid, revision: AnyElement) -> bool {
    let shape = Shape::of(relation).or_report();
    let header = row::whole_row(&revision, shape.twin_relation).or_report();
    let _settings = shape.settings();
    // SAFETY: the header is that of a whole row of the twin.
    unsafe {
        let (cells, desc) = row::record_cells(header);
        let extra = cells.get::<Json>("_extra").map(|json| {
            let extra = json.read().and_then(|json| Extra::read(&json));
            extra.map_err(Error::of_argument).or_report()
        });
        let id: String = cells.get("_id").unwrap_or_default();
        let deleted = cells.get::<bool>("_deleted").unwrap_or(false);
        let attributes = twin::attributes(&shape, &cells).map_err(Error::of_argument).or_report();
        let made = RevisionId::of(&id, cells.revision("_prev").as_ref(), deleted, &attributes);
        let same = extra.is_some_and(|extra| extra.foreign) || cells.revision("_rev") == Some(made);
        pg_sys::FreeTupleDesc(desc);
        same
    }
}

#[pg_extern(sql = false)]
fn _is_listed(relation: pg_sys::Oid, id: &str) -> bool {
    let _settings = Settings::path(c"pg_catalog, godwit, pg_temp");
    let shape = Shape::of(relation).or_report();
    conflicted::is_listed(&shape, id)
}
