//! In charge of finding and reading Godwit's own tables and sequences without SQL: what every backend looks up before
//! its first write would else have to be planned there.

use pgrx::pg_sys;
use pgrx::prelude::*;
use std::ffi::CStr;

use crate::error::Error;
use crate::history;
use crate::spi::Row;
use crate::walk;

const READING: pg_sys::LOCKMODE = pg_sys::AccessShareLock as pg_sys::LOCKMODE;

/// The relation of this name in the schema of the extension.
pub fn relation(name: &CStr) -> pg_sys::Oid {
    find(name).unwrap_or_else(|| {
        Error::Internal(format!("godwit.{} is not there", name.to_string_lossy())).report()
    })
}

/// The same, where there may be none.
pub fn find(name: &CStr) -> Option<pg_sys::Oid> {
    // SAFETY: cached catalog look-ups by names.
    let found = unsafe {
        let schema = pg_sys::get_namespace_oid(c"godwit".as_ptr(), false);
        pg_sys::get_relname_relid(name.as_ptr(), schema)
    };
    (found != pg_sys::InvalidOid).then_some(found)
}

/// The type of this name there.
pub fn type_named(name: &CStr) -> pg_sys::Oid {
    let names = pg_sys::SysCacheIdentifier::TYPENAMENSP as i32;
    let oid = pg_sys::Anum_pg_type_oid as i16;
    let none = pg_sys::Datum::from(0);
    // SAFETY: a cached catalog look-up by the cache's two keys.
    unsafe {
        let schema = pg_sys::get_namespace_oid(c"godwit".as_ptr(), false);
        pg_sys::GetSysCacheOid(names, oid, name.as_ptr().into(), schema.into(), none, none)
    }
}

/// Who owns a relation.
pub fn owner(relation: pg_sys::Oid) -> pg_sys::Oid {
    let owner = with_class(relation, |class| class.relowner);
    owner.unwrap_or_else(|| Error::Internal(format!("no relation {relation:?}")).report())
}

/// What pg_class says of a relation; none where there is none.
pub fn with_class<T>(
    relation: pg_sys::Oid,
    read: impl FnOnce(&pg_sys::FormData_pg_class) -> T,
) -> Option<T> {
    let classes = pg_sys::SysCacheIdentifier::RELOID as i32;
    // SAFETY: a look-up by the cache's one key. The row stays while it is read, and is let go.
    unsafe {
        let row = pg_sys::SearchSysCache1(classes, relation.into());
        if row.is_null() {
            return None;
        }
        let read = read(&*pg_sys::GETSTRUCT(row).cast());
        pg_sys::ReleaseSysCache(row);
        Some(read)
    }
}

/// The rows of one of Godwit's own tables that are about a relation, as of now: `index` begins with the column `relation`,
/// which is the table's first.
pub fn rows_about<T>(
    relation: pg_sys::Oid,
    table: &CStr,
    index: &CStr,
    each: impl FnMut(&Row) -> T,
) -> Vec<T> {
    let table = self::relation(table);
    while_reading(table, || rows_of((table, self::relation(index)), 1, relation, each))
}

/// Looks at a table and lets go of it: a REINDEX waits for nobody here. Its indexes are looked up meanwhile, for REINDEX
/// CONCURRENTLY puts others in their places.
pub fn while_reading<T>(table: pg_sys::Oid, look: impl FnOnce() -> T) -> T {
    // SAFETY: a lock by OID, which the abort of a transaction lets go too.
    unsafe {
        pg_sys::LockRelationOid(table, READING);
        let seen = look();
        pg_sys::UnlockRelationOid(table, READING);
        seen
    }
}

/// Looks into a list by its index, which is named once the list is locked, unless nothing was ever put into it: then
/// there is nothing.
pub fn look_into<T: Default>(
    list: pg_sys::Oid,
    index: impl FnOnce() -> pg_sys::Oid,
    look: impl FnOnce(pg_sys::Oid) -> T,
) -> T {
    while_reading(list, || {
        let index = index();
        if history::is_empty(index) { T::default() } else { look(index) }
    })
}

/// Whether a table, which the caller has locked, has a row that these keys fit, as of now; by an index, or all through.
pub fn has_row(
    table: pg_sys::Oid,
    index: Option<pg_sys::Oid>,
    keys: &mut [pg_sys::ScanKeyData],
) -> bool {
    let (by, count) = (index.unwrap_or(pg_sys::InvalidOid), keys.len() as i32);
    // SAFETY: the table is closed after the scan, which has a snapshot of its own. Without a key the index finds the first
    // row, past whatever has been taken out.
    unsafe {
        let table = pg_sys::table_open(table, pg_sys::NoLock as pg_sys::LOCKMODE);
        let (now, keys) = (std::ptr::null_mut(), keys.as_mut_ptr());
        let scan = pg_sys::systable_beginscan(table, by, index.is_some(), now, count, keys);
        let found = !pg_sys::systable_getnext(scan).is_null();
        pg_sys::systable_endscan(scan);
        pg_sys::table_close(table, pg_sys::NoLock as pg_sys::LOCKMODE);
        found
    }
}

/// The rows of a table of a catalog whose column `number` is this relation, by an index that begins with it, as of now.
pub fn rows_of<T>(
    (table, index): (pg_sys::Oid, pg_sys::Oid),
    number: i16,
    relation: pg_sys::Oid,
    mut each: impl FnMut(&Row) -> T,
) -> Vec<T> {
    let mut rows = Vec::new();
    let mut key = walk::equal(number, pg_sys::F_OIDEQ, relation.into_datum());
    // SAFETY: the table is closed after the scan, which has a snapshot of its own: for what isn't in the catalog cache a
    // new one. A row is read before the next one comes.
    unsafe {
        let table = pg_sys::table_open(table, READING);
        let scan =
            pg_sys::systable_beginscan(table, index, true, std::ptr::null_mut(), 1, &mut key);
        loop {
            let tuple = pg_sys::systable_getnext(scan);
            if tuple.is_null() {
                break;
            }
            rows.push(each(&Row { tuple, desc: (*table).rd_att }));
        }
        pg_sys::systable_endscan(scan);
        pg_sys::table_close(table, READING);
    }
    rows
}
