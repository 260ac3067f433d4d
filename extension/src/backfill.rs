//! In charge of rows that were there before their table was tracked: a first revision for each.
//!
//! They are touched: an UPDATE that changes nothing, which the trigger on the table stamps and the history
//! takes in. Under the replica role no trigger of the app's sees it.

use pgrx::pg_sys;
use pgrx::prelude::*;

use crate::catalog;
use crate::error::OrReport;
use crate::role;
use crate::settings::Settings;
use crate::shape::Shape;
use crate::spi;

/// Blocks of the table that one statement looks at.
const BLOCKS: i64 = 128;

/// Stamps what has no revision from this block on, until so many rows have got one.
#[pg_extern(sql = false)]
fn _backfill(
    relation: pg_sys::Oid,
    block: i64,
    rows: i32,
) -> TableIterator<'static, (name!(next, i64), name!(stamped, i64))> {
    let _settings = Settings::path(c"pg_catalog, godwit, pg_temp");
    catalog::require_owner(&[relation]).or_report();
    let shape = Shape::of(relation).or_report();
    let sql = format!(
        "select pg_relation_size({}) / current_setting('block_size')::int8",
        relation.to_u32()
    );
    let blocks: i64 = spi::rows(&sql, &[], |row| row.need(1)).first().copied().unwrap_or(0);
    let (mut next, mut stamped) = (block, 0);
    while next < blocks && stamped < i64::from(rows) {
        let to = next + BLOCKS;
        let range = format!("t.ctid >= '({next},0)' and t.ctid < '({to},0)'");
        stamped += touch(&shape, &range) as i64;
        next = to;
    }
    TableIterator::once((next, stamped))
}

/// Gives the rows for which this holds of `t`, and which have none, their first revision.
pub fn touch(shape: &Shape, condition: &str) -> u64 {
    touch_with(shape, condition, &[])
}

pub fn touch_with(shape: &Shape, condition: &str, args: &[spi::Arg]) -> u64 {
    let sql =
        format!("update {} t set _rev = null where t._rev is null and {condition}", shape.table);
    role::as_owner(shape.owner, || {
        let _quiet = Settings::replica();
        spi::run(&sql, args)
    })
}
