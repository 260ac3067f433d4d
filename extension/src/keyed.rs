//! In charge of which records have a row in their table, asked by the table's own key without SQL: of new records
//! none has, and a statement that finds nothing costs as much as one that finds them all.

use pgrx::pg_sys;

use crate::shape::Shape;
use crate::twin;
use crate::walk::Sight;

/// Those of these records that may have a row now. Where keys are equal whose texts are not, the row is maybe
/// another record's: that is for SQL to tell.
pub fn with_rows(shape: &Shape, ids: &[String]) -> Vec<String> {
    let sight = Sight::now();
    match Keyed::open(shape, &sight) {
        Some(mut rows) => ids.iter().filter(|id| rows.has(id)).cloned().collect(),
        None => ids.to_vec(),
    }
}

/// A scan of the table's primary key.
struct Keyed<'a> {
    shape: &'a Shape,
    table: pg_sys::Relation,
    index: pg_sys::Relation,
    scan: pg_sys::SysScanDesc,
    keys: Vec<pg_sys::ScanKeyData>,
}

impl<'a> Keyed<'a> {
    /// None where the table has no index of all its rows: one that is partitioned, a key that is deferrable.
    fn open(shape: &'a Shape, sight: &'a Sight) -> Option<Keyed<'a>> {
        let (lock, none) = (pg_sys::AccessShareLock as pg_sys::LOCKMODE, pg_sys::NoLock as _);
        // SAFETY: what is opened is closed here or when this is dropped; the list is only made so that the relation
        // knows its key.
        unsafe {
            let table = pg_sys::table_open(shape.relation, lock);
            pg_sys::list_free(pg_sys::RelationGetIndexList(table));
            let is_table = (*(*table).rd_rel).relkind as u8 == pg_sys::RELKIND_RELATION;
            let key = (*table).rd_pkindex;
            if !is_table || key == pg_sys::InvalidOid {
                pg_sys::table_close(table, none);
                return None;
            }
            let index = pg_sys::index_open(key, lock);
            // The shape was read before the table was open: its key may have become another.
            if !is_of(shape, index) {
                pg_sys::index_close(index, none);
                pg_sys::table_close(table, none);
                return None;
            }
            let mut keys = keys(shape, index);
            let (first, count) = (keys.as_mut_ptr(), keys.len() as i32);
            let scan = pg_sys::systable_beginscan_ordered(table, index, sight.raw(), count, first);
            // It was begun with the table's column numbers; from here on they are the index's.
            for (place, key) in keys.iter_mut().enumerate() {
                key.sk_attno = place as i16 + 1;
            }
            Some(Keyed { shape, table, index, scan, keys })
        }
    }

    fn has(&mut self, id: &str) -> bool {
        let parts = twin::key_parts(self.shape, id);
        for ((key, column), part) in self.keys.iter_mut().zip(self.shape.key_columns()).zip(parts) {
            let Some(value) = column.codec.write(&column.codec.key_value(&part)) else {
                return true;
            };
            key.sk_argument = value;
        }
        let (keys, count) = (self.keys.as_mut_ptr(), self.keys.len() as i32);
        let forward = pg_sys::ScanDirection::ForwardScanDirection;
        // SAFETY: as many keys as the scan was begun with, each with a value of its column's type.
        unsafe {
            pg_sys::index_rescan((*self.scan).iscan, keys, count, std::ptr::null_mut(), 0);
            !pg_sys::systable_getnext_ordered(self.scan, forward).is_null()
        }
    }
}

impl Drop for Keyed<'_> {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // SAFETY: opened by `open`; the locks last to the end of the transaction.
            unsafe {
                pg_sys::systable_endscan_ordered(self.scan);
                pg_sys::index_close(self.index, pg_sys::NoLock as pg_sys::LOCKMODE);
                pg_sys::table_close(self.table, pg_sys::NoLock as pg_sys::LOCKMODE);
            }
        }
    }
}

/// Whether an index has just the key's columns in their order.
///
/// # Safety
/// The index must be open.
unsafe fn is_of(shape: &Shape, index: pg_sys::Relation) -> bool {
    // SAFETY: the caller has it open, and it has as many columns as it says.
    let columns = unsafe {
        let form = (*index).rd_index;
        (*form).indkey.values.as_slice((*form).indnkeyatts as usize)
    };
    shape.key_columns().map(|column| column.number).eq(columns.iter().copied())
}

/// Comparisons of the key's columns by the equality that its index keeps.
///
/// # Safety
/// The index must be open, and be of the key.
unsafe fn keys(shape: &Shape, index: pg_sys::Relation) -> Vec<pg_sys::ScanKeyData> {
    let equal = pg_sys::BTEqualStrategyNumber as i16;
    let key_of = |(place, column): (usize, &crate::shape::Column)| {
        let mut key = pg_sys::ScanKeyData::default();
        // SAFETY: the caller vouches for the index, which has a class and a collation for each of its columns.
        unsafe {
            let class = *(*index).rd_opcintype.add(place);
            let family = *(*index).rd_opfamily.add(place);
            let operator = pg_sys::get_opfamily_member(family, class, class, equal);
            pg_sys::ScanKeyEntryInitialize(
                &mut key,
                0,
                column.number,
                equal as u16,
                pg_sys::InvalidOid,
                *(*index).rd_indcollation.add(place),
                pg_sys::get_opcode(operator),
                pg_sys::Datum::from(0),
            );
        }
        key
    };
    shape.key_columns().enumerate().map(key_of).collect()
}
