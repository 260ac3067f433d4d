//! In charge of rows that were there before their table was tracked: a first revision for each.
//!
//! They are touched: an UPDATE that changes nothing, which the trigger on the table stamps and the history
//! takes in. A trigger of the app's would see it, and maybe change the row; under the replica role none
//! does. But then the table's own functions (its checks, its triggers for replicas) would run without
//! foreign keys holding them, so that takes a superuser, as setting the role by hand does.

use pgrx::pg_sys;
use pgrx::prelude::*;

use crate::catalog;
use crate::error::{Error, OrReport};
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
    check(relation).or_report();
    let sql = format!(
        "select pg_relation_size({}) / current_setting('block_size')::int8",
        relation.to_u32()
    );
    let blocks: i64 = spi::rows(&sql, &[], |row| row.need(1)).first().copied().unwrap_or(0);
    let (mut next, mut stamped) = (block.max(0), 0);
    while next < blocks && stamped < i64::from(rows) {
        let to = next + BLOCKS;
        let (from, until) = (format!("({next},0)"), format!("({to},0)"));
        let range = "t.ctid >= $1::tid and t.ctid < $2::tid";
        stamped += touch(&shape, range, &[spi::text(&from), spi::text(&until)]) as i64;
        next = to;
    }
    TableIterator::once((next, stamped))
}

/// Gives the rows for which this holds of `t`, and which have none, their first revision.
pub fn touch(shape: &Shape, condition: &str, args: &[spi::Arg]) -> u64 {
    let sql =
        format!("update {} t set _rev = null where t._rev is null and {condition}", shape.table);
    let silence = may_silence() && has_update_triggers(shape.relation);
    role::as_owner(shape.owner, || {
        let _quiet = silence.then(Settings::replica);
        spi::run(&sql, args)
    })
}

#[pg_extern(sql = false)]
fn _check_backfill(relation: pg_sys::Oid) {
    let _settings = Settings::path(c"pg_catalog, pg_temp");
    check(relation).or_report();
}

fn check(relation: pg_sys::Oid) -> Result<(), Error> {
    if may_silence() || !has_update_triggers(relation) {
        return Ok(());
    }
    let reason = "the table has UPDATE triggers of the app's: they would see every row, and only a \
                  superuser can keep them still";
    Err(Error::Forbidden(reason.into()))
}

fn may_silence() -> bool {
    // SAFETY: a cached look-up of the role that called.
    unsafe { pg_sys::superuser_arg(role::author()) }
}

/// Whether an UPDATE fires triggers that are not ours.
fn has_update_triggers(relation: pg_sys::Oid) -> bool {
    let sql = "select exists (select from pg_catalog.pg_trigger t
                where t.tgrelid = $1 and not t.tgisinternal and t.tgenabled <> 'D'
                  and t.tgtype & 16 <> 0 and t.tgname !~ '^[~!]godwit_')";
    let found = spi::rows(sql, &[spi::oid(relation)], |row| row.need::<bool>(1));
    found.first().copied().unwrap_or(true)
}
