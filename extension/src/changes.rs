//! In charge of `godwit.changes`: the change stream's reader (DESIGN.md section 5).

use pgrx::JsonB;
use pgrx::pg_sys;
use pgrx::prelude::*;
use std::rc::Rc;

use crate::argument::without_nulls;
use crate::error::{Error, OrReport};
use crate::sequence;
use crate::settings::Settings;
use crate::shape::Shape;
use crate::spi;
use crate::twin;

/// Most changes that one call returns; a body may be large, and the answer is made in memory.
const CHANGES_MAX: i32 = 100_000;

#[pg_extern(sql = false)]
#[allow(clippy::type_complexity)]
fn _changes(
    since: i64,
    relations: Vec<Option<pg_sys::Oid>>,
    max: i32,
    include: &str,
) -> TableIterator<
    'static,
    (
        name!(seq, i64),
        name!(table_name, String),
        name!(id, String),
        name!(revision, String),
        name!(deleted, bool),
        name!(winner, Option<String>),
        name!(record, Option<JsonB>),
        name!(next, i64),
    ),
> {
    let records = match include {
        "none" => false,
        "records" => true,
        other => {
            Error::BadArgument(format!("include is 'none' or 'records', not {other:?}")).report()
        }
    };
    if !(1..=CHANGES_MAX).contains(&max) || since < 0 {
        let reason = format!("max is 1 to {CHANGES_MAX}, and since is not negative");
        Error::BadArgument(reason).report()
    }
    let shapes: Vec<Rc<Shape>> = without_nulls(relations)
        .into_iter()
        .map(|relation| Shape::of(relation).or_report())
        .collect();
    let _settings = Settings::path(c"pg_catalog, godwit, pg_temp");
    let horizon = sequence::horizon();
    if shapes.is_empty() || horizon <= since {
        return TableIterator::new(Vec::new());
    }
    let parts: Vec<String> = shapes.iter().map(|shape| part(shape, records)).collect();
    let sql = format!("{} order by 1 limit $3", parts.join("\n union all\n"));
    let args = [spi::int8(since), spi::int8(horizon), spi::int8(max.into())];
    let mut rows = spi::rows(&sql, &args, |row| {
        let winner = row.get(6);
        let record = row.get(7);
        (row.need(1), row.need(2), row.need(3), row.need(4), row.need(5), winner, record, horizon)
    });
    if rows.len() == max as usize {
        let last = rows[rows.len() - 1].0;
        for row in &mut rows {
            row.7 = last;
        }
    }
    if !rows.is_empty() {
        sequence::flush();
    }
    TableIterator::new(rows)
}

/// The highest revision has no child, so mostly it is the winner (see `reconcile::due`).
///
/// One table's changes above `$1` and up to the horizon `$2`.
fn part(shape: &Shape, records: bool) -> String {
    let record = if records {
        format!("godwit._record({}::oid, p._godwit_row)", shape.relation.to_u32())
    } else {
        "null::jsonb".to_owned()
    };
    format!(
        "select (p._godwit_row)._seq, {name}, (p._godwit_row)._id, (p._godwit_row)._rev::text, (p._godwit_row)._deleted,
                (select case when top.passed
                        then (select l._rev::text from {twin} l
                               where l._id = (p._godwit_row)._id and {is_leaf}
                               order by l._deleted, l._rev desc limit 1)
                        else top._rev::text end
                   from (select h._rev, h._deleted or h._stub as passed from {twin} h
                          where h._id = (p._godwit_row)._id order by h._rev desc limit 1) top),
                {record}
           from (select _godwit_row from {twin} _godwit_row where _seq > $1 and _seq <= $2 and not _stub
                  order by _seq limit $3) p",
        name = spi::literal(&shape.wire_name),
        twin = shape.twin,
        is_leaf = twin::is_leaf(shape, "l"),
    )
}
