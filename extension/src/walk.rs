//! In charge of reading a twin by its indexes, without SQL: for who may read all of it, the executor is most of what
//! a look costs.
//!
//! Whatever a policy, or a right to some columns only, would stand between is for Postgres to read (`gate`).

use pgrx::pg_sys;
use pgrx::prelude::*;

use crate::row;
use crate::shape::Shape;

/// What stands between the caller and a twin.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Gate {
    /// The caller may read every row of it and every column.
    Open,
    /// Every column, of the rows that its policies let pass.
    Policies,
    Closed,
}

pub fn gate(shape: &Shape) -> Gate {
    // SAFETY: catalog look-ups by OID for the current user.
    unsafe {
        let user = pg_sys::GetUserId();
        let right = pg_sys::ACL_SELECT as pg_sys::AclMode;
        let may = pg_sys::pg_class_aclcheck(shape.twin_relation, user, right);
        let policies = pg_sys::check_enable_rls(shape.twin_relation, pg_sys::InvalidOid, true);
        match may == pg_sys::AclResult::ACLCHECK_OK {
            true if policies != pg_sys::CheckEnableRlsResult::RLS_ENABLED as i32 => Gate::Open,
            true => Gate::Policies,
            false => Gate::Closed,
        }
    }
}

/// What is seen by several walks alike: all that was committed when it was taken.
pub struct Sight(pg_sys::Snapshot);

impl Sight {
    pub fn now() -> Sight {
        // SAFETY: it is registered until this is dropped.
        Sight(unsafe { pg_sys::RegisterSnapshot(pg_sys::GetLatestSnapshot()) })
    }

    /// The snapshot, for a scan that borrows this.
    pub fn raw(&self) -> pg_sys::Snapshot {
        self.0
    }
}

impl Drop for Sight {
    fn drop(&mut self) {
        // While a panic unwinds, the abort of the (sub)transaction does it.
        if !std::thread::panicking() {
            // SAFETY: it was registered by `now`, and the walks that use it are gone: they borrow it.
            unsafe { pg_sys::UnregisterSnapshot(self.0) };
        }
    }
}

/// A scan of one of a twin's indexes, or of another table's.
pub struct Walk<'a> {
    table: pg_sys::Relation,
    index: pg_sys::Relation,
    scan: pg_sys::SysScanDesc,
    direction: pg_sys::ScanDirection::Type,
    /// A scan that has ended would begin again.
    is_over: bool,
    /// What the scan was begun with; `seek` and `find` put other values in.
    keys: [pg_sys::ScanKeyData; 2],
    _sight: &'a Sight,
}

impl<'a> Walk<'a> {
    /// The twin's rows whose numbers are above `since` and up to `until`, in their order. None where the twin
    /// isn't the plain table that was made, with its index.
    pub fn of_numbers(shape: &Shape, sight: &'a Sight, since: i64, until: i64) -> Option<Walk<'a>> {
        let (index, number) = index_by_number(shape)?;
        let bound = |strategy: u32, function: u32, value: i64| {
            key(number, strategy, function, value.into_datum())
        };
        let keys = [
            bound(pg_sys::BTGreaterStrategyNumber, pg_sys::F_INT8GT, since),
            bound(pg_sys::BTLessEqualStrategyNumber, pg_sys::F_INT8LE, until),
        ];
        let forward = pg_sys::ScanDirection::ForwardScanDirection;
        Some(Walk::begin(shape, sight, index, keys, 2, forward))
    }

    /// A record's rows by `seek`, the highest revision first.
    pub fn of_records(shape: &Shape, sight: &'a Sight) -> Walk<'a> {
        let backward = pg_sys::ScanDirection::BackwardScanDirection;
        let keys = [of_record(""), pg_sys::ScanKeyData::default()];
        Walk::by_key(shape, sight, keys, 1, backward)
    }

    /// A record's highest row above a revision, by `find`.
    pub fn of_higher(shape: &Shape, sight: &'a Sight) -> Walk<'a> {
        let above = key(2, pg_sys::BTGreaterStrategyNumber, pg_sys::F_BYTEAGT, no_revision());
        let backward = pg_sys::ScanDirection::BackwardScanDirection;
        Walk::by_key(shape, sight, [of_record(""), above], 2, backward)
    }

    /// One revision's row, by `find`.
    pub fn of_revisions(shape: &Shape, sight: &'a Sight) -> Walk<'a> {
        let same = key(2, pg_sys::BTEqualStrategyNumber, pg_sys::F_BYTEAEQ, no_revision());
        let forward = pg_sys::ScanDirection::ForwardScanDirection;
        Walk::by_key(shape, sight, [of_record(""), same], 2, forward)
    }

    /// A record's entry and those after it, by `seek_entries`.
    pub fn of_entries(shape: &Shape, sight: &'a Sight) -> Walk<'a> {
        let from = key(1, pg_sys::BTGreaterEqualStrategyNumber, pg_sys::F_TEXT_GE, "".into_datum());
        let forward = pg_sys::ScanDirection::ForwardScanDirection;
        let keys = [from, pg_sys::ScanKeyData::default()];
        Walk::by_key(shape, sight, keys, 1, forward)
    }

    /// Rows of which the key has said where they are, by `row_at`.
    pub fn of_places(shape: &Shape, sight: &'a Sight) -> Walk<'a> {
        Walk::of_records(shape, sight)
    }

    fn by_key(
        shape: &Shape,
        sight: &'a Sight,
        keys: [pg_sys::ScanKeyData; 2],
        count: i32,
        direction: pg_sys::ScanDirection::Type,
    ) -> Walk<'a> {
        // Which index it is is certain only then.
        shape.lock_twin_to_read();
        Walk::begin(shape, sight, shape.twin_index(), keys, count, direction)
    }

    fn begin(
        shape: &Shape,
        sight: &'a Sight,
        index: pg_sys::Oid,
        keys: [pg_sys::ScanKeyData; 2],
        count: i32,
        direction: pg_sys::ScanDirection::Type,
    ) -> Walk<'a> {
        Walk::of_table(shape.twin_relation, sight, index, keys, count, direction)
    }

    /// The rows of any table by an index whose first columns the keys are of.
    pub fn of_table(
        table: pg_sys::Oid,
        sight: &'a Sight,
        index: pg_sys::Oid,
        mut keys: [pg_sys::ScanKeyData; 2],
        count: i32,
        direction: pg_sys::ScanDirection::Type,
    ) -> Walk<'a> {
        let lock = pg_sys::AccessShareLock as pg_sys::LOCKMODE;
        // SAFETY: relations and scan are closed when this is dropped; keys are of the index's own column types.
        unsafe {
            let table = pg_sys::table_open(table, lock);
            let index = pg_sys::index_open(index, lock);
            let first = keys.as_mut_ptr();
            let scan = pg_sys::systable_beginscan_ordered(table, index, sight.0, count, first);
            Walk { table, index, scan, direction, is_over: false, keys, _sight: sight }
        }
    }

    /// How its rows are laid out, while the walk lasts.
    pub fn desc(&self) -> pg_sys::TupleDesc {
        // SAFETY: the relation is open.
        unsafe { (*self.table).rd_att }
    }

    /// The next row; it is there until the walk goes on.
    pub fn next(&mut self) -> Option<pg_sys::HeapTuple> {
        if self.is_over {
            return None;
        }
        // SAFETY: the scan is open.
        let tuple = unsafe { pg_sys::systable_getnext_ordered(self.scan, self.direction) };
        self.is_over = tuple.is_null();
        (!tuple.is_null()).then_some(tuple)
    }

    /// The number of the first row, in a walk of numbers, which begins anew then.
    pub fn first_number(&mut self) -> Option<i64> {
        let tuple = self.next()?;
        // SAFETY: the tuple stays until the walk goes on, and is of the descriptor.
        let number = unsafe {
            let place = row::position(self.desc(), "_seq")?;
            let mut is_null = false;
            pg_sys::heap_getattr(tuple, place as i32 + 1, self.desc(), &mut is_null)
        };
        self.is_over = false;
        let none = std::ptr::null_mut();
        // SAFETY: the scan was begun with two keys, and keeps them.
        unsafe { pg_sys::index_rescan((*self.scan).iscan, none, 2, none, 0) };
        Some(number.value() as i64)
    }

    /// Goes to a record.
    ///
    /// # Safety
    /// The datum must be a text, and stay until the walk goes elsewhere.
    pub unsafe fn seek(&mut self, id: pg_sys::Datum) {
        self.keys[0].sk_argument = id;
        self.go(1);
    }

    /// The same by a text of ours.
    pub fn seek_id(&mut self, id: &str) {
        // SAFETY: a text, which stays.
        unsafe { self.seek(id.into_datum().unwrap_or(pg_sys::Datum::from(0))) };
    }

    /// Whether there is any row of a record.
    pub fn has(&mut self, id: &str) -> bool {
        self.seek_id(id);
        self.next().is_some()
    }

    /// The row of a revision, or the highest above it.
    ///
    /// # Safety
    /// The datums must be a text and a revision in its stored form.
    pub unsafe fn find(
        &mut self,
        id: pg_sys::Datum,
        revision: pg_sys::Datum,
    ) -> Option<pg_sys::HeapTuple> {
        self.keys[0].sk_argument = id;
        self.keys[1].sk_argument = revision;
        self.go(2);
        self.next()
    }

    /// Goes to a record's first entry, or else, in a walk of entries, that of the next.
    ///
    /// # Safety
    /// The datum must be a text, and stay until the walk goes elsewhere.
    pub unsafe fn seek_entries(&mut self, id: pg_sys::Datum) {
        self.want_entries();
        self.keys[0].sk_argument = id;
        self.go(1);
    }

    fn want_entries(&mut self) {
        // SAFETY: the scan is open; the flag is heeded when it begins anew.
        unsafe { (*(*self.scan).iscan).xs_want_itup = true };
    }

    /// The row that an entry of the index said is at a place, if it is seen; it is there until the walk goes on.
    pub fn row_at(&mut self, place: pg_sys::ItemPointerData) -> Option<pg_sys::HeapTuple> {
        // SAFETY: the scan is open; its slot is one for the table's rows, and keeps what it holds.
        unsafe {
            let (scan, slot) = ((*self.scan).iscan, (*self.scan).slot);
            ((*scan).xs_heaptid, (*scan).xs_heap_continue) = (place, false);
            let is_seen = pg_sys::index_fetch_heap(scan, slot);
            is_seen.then(|| pg_sys::ExecFetchSlotHeapTuple(slot, false, std::ptr::null_mut()))
        }
    }

    /// The index that it goes by, which is open as long as it is there.
    pub fn index(&self) -> pg_sys::Relation {
        self.index
    }

    /// The next entry of the index, whether anybody can see its row or not; it is there until the walk goes on. None
    /// after the last, and for what can't be read where it stands.
    pub fn next_entry(&mut self) -> Option<Entry> {
        if !self.has_entry() {
            return None;
        }
        // SAFETY: `seek_entries` has asked for entries, and the scan is at one.
        unsafe { Entry::at((*self.scan).iscan) }
    }

    pub fn is_over(&self) -> bool {
        self.is_over
    }

    fn has_entry(&mut self) -> bool {
        // SAFETY: the scan is open.
        self.is_over = self.is_over
            || unsafe { pg_sys::index_getnext_tid((*self.scan).iscan, self.direction).is_null() };
        !self.is_over
    }

    fn go(&mut self, count: i32) {
        self.is_over = false;
        let (keys, none) = (self.keys.as_mut_ptr(), std::ptr::null_mut());
        // SAFETY: as many keys as the scan was begun with; their numbers are those of the index's columns.
        unsafe { pg_sys::index_rescan((*self.scan).iscan, keys, count, none, 0) };
    }
}

/// The index of a twin's rows by their numbers, and the column that has them.
fn index_by_number(shape: &Shape) -> Option<(pg_sys::Oid, i16)> {
    // SAFETY: the twin is open while its entry is read, and is locked to the end of the transaction.
    unsafe {
        let twin = pg_sys::table_open(shape.twin_relation, pg_sys::AccessShareLock as i32);
        let is_table = (*(*twin).rd_rel).relkind as u8 == pg_sys::RELKIND_RELATION;
        let place = row::position((*twin).rd_att, "_seq").filter(|_| is_table);
        let indexes = pgrx::PgList::<pg_sys::Oid>::from_pg(pg_sys::RelationGetIndexList(twin));
        let found = place.and_then(|place| {
            let number = place as i16 + 1;
            let index = indexes.iter_oid().find(|index| is_by(*index, number))?;
            Some((index, number))
        });
        pg_sys::table_close(twin, pg_sys::NoLock as i32);
        found
    }
}

/// Whether an index is a B-tree of all rows by this column alone, upwards.
///
/// # Safety
/// It must be an index, and its table be locked.
unsafe fn is_by(index: pg_sys::Oid, number: i16) -> bool {
    // SAFETY: the caller vouches for the index, whose entry is read while it is open.
    unsafe {
        let index = pg_sys::index_open(index, pg_sys::AccessShareLock as i32);
        let form = (*index).rd_index;
        let is_it = (*(*index).rd_rel).relam == pg_sys::BTREE_AM_OID
            && (*form).indisvalid
            && (*form).indnatts == 1
            && (*form).indkey.values.as_slice(1)[0] == number
            && *(*index).rd_indoption == 0
            && pg_sys::RelationGetIndexPredicate(index).is_null();
        pg_sys::index_close(index, pg_sys::NoLock as i32);
        is_it
    }
}

/// What an index says of a row.
pub struct Entry {
    id: *const pg_sys::varlena,
    revision: *const pg_sys::varlena,
}

impl Entry {
    /// The entry that a scan of the key is at; none where it can't be read where it stands.
    ///
    /// # Safety
    /// The scan must have been begun with the wish for entries, and be at one. It is there until the scan goes on.
    pub unsafe fn at(scan: pg_sys::IndexScanDesc) -> Option<Entry> {
        // SAFETY: the caller vouches for the scan, which is at an entry.
        unsafe {
            if let Some(entry) = Entry::at_short(scan) {
                return Some(entry);
            }
            if (*(*scan).xs_itupdesc).natts != 2 {
                return None;
            }
        }
        let (mut values, mut nulls) = ([pg_sys::Datum::from(0); 2], [false; 2]);
        // SAFETY: as above; there is room for two columns.
        unsafe {
            let (values, nulls) = (values.as_mut_ptr(), nulls.as_mut_ptr());
            pg_sys::index_deform_tuple((*scan).xs_itup, (*scan).xs_itupdesc, values, nulls);
        }
        let [id, revision] = values.map(|value| value.cast_mut_ptr::<pg_sys::varlena>());
        // SAFETY: both are varlenas of the entry.
        unsafe {
            let is_plain = |bytes| !pgrx::varlena::varatt_is_4b_c(bytes);
            (is_plain(id) && is_plain(revision)).then_some(Entry { id, revision })
        }
    }

    /// The same of those that are read without a call of Postgres's.
    ///
    /// # Safety
    /// As of `at`.
    pub unsafe fn at_short(scan: pg_sys::IndexScanDesc) -> Option<Entry> {
        // SAFETY: the caller vouches for the scan, which is at an entry. An owner may have made another key, with
        // columns included.
        unsafe {
            match (*(*scan).xs_itupdesc).natts {
                2 => Entry::of_short((*scan).xs_itup),
                _ => None,
            }
        }
    }

    /// An entry of two values with short heads, as nearly all are: such stand side by side.
    ///
    /// # Safety
    /// It must be an entry of a key of two varlenas.
    unsafe fn of_short(entry: pg_sys::IndexTuple) -> Option<Entry> {
        use pgrx::varlena::{varatt_is_1b, varatt_is_1b_e, varsize_1b};
        // SAFETY: the caller vouches for the entry; a second value that is not short begins with its head, or with the
        // zeros before it.
        unsafe {
            let first = entry.cast::<u8>().add(size_of::<pg_sys::IndexTupleData>());
            let is_short =
                |value: *const u8| varatt_is_1b(value.cast()) && !varatt_is_1b_e(value.cast());
            if u32::from((*entry).t_info) & pg_sys::INDEX_NULL_MASK != 0 || !is_short(first) {
                return None;
            }
            let second = first.add(varsize_1b(first.cast()));
            is_short(second).then_some(Entry { id: first.cast(), revision: second.cast() })
        }
    }

    /// The record's id, and the revision in its stored form.
    ///
    /// # Safety
    /// The walk must not have gone on.
    pub unsafe fn key(&self) -> (&[u8], &[u8]) {
        // SAFETY: the caller vouches for the entry; both are as they can be read.
        unsafe {
            let id = pgrx::varlena_to_byte_slice(self.id);
            (id, pgrx::varlena_to_byte_slice(self.revision))
        }
    }
}

impl Drop for Walk<'_> {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // SAFETY: opened by `begin`. The locks last to the end of the transaction, which is what keeps the
            // tables' definition.
            unsafe {
                pg_sys::systable_endscan_ordered(self.scan);
                pg_sys::index_close(self.index, pg_sys::NoLock as pg_sys::LOCKMODE);
                pg_sys::table_close(self.table, pg_sys::NoLock as pg_sys::LOCKMODE);
            }
        }
    }
}

/// A revision id in its stored form, kept while the walk goes on.
#[derive(Clone)]
pub struct Stored(Vec<u8>);

impl Stored {
    pub fn of(bytes: &[u8]) -> Stored {
        let mut varlena = Vec::with_capacity(size_of::<u32>() + bytes.len());
        varlena.extend_from_slice(&[0; size_of::<u32>()]);
        varlena.extend_from_slice(bytes);
        // SAFETY: there is room for the head.
        unsafe { pgrx::set_varsize_4b(varlena.as_mut_ptr().cast(), varlena.len() as i32) };
        Stored(varlena)
    }

    pub fn bytes(&self) -> &[u8] {
        &self.0[size_of::<u32>()..]
    }

    pub fn datum(&self) -> pg_sys::Datum {
        pg_sys::Datum::from(self.0.as_ptr())
    }
}

/// A comparison with a column; `_id` and `_rev` are a twin's first and second column, and its index's.
pub fn key(
    number: i16,
    strategy: u32,
    function: u32,
    value: Option<pg_sys::Datum>,
) -> pg_sys::ScanKeyData {
    let mut entry = pg_sys::ScanKeyData::default();
    // SAFETY: ScanKeyInit fills the entry; its collation is "C", as the column's.
    unsafe {
        pg_sys::ScanKeyInit(
            &mut entry,
            number,
            strategy as u16,
            pg_sys::Oid::from_u32(function),
            value.unwrap_or(pg_sys::Datum::from(0)),
        );
    }
    entry
}

/// That a column equals a value, by its type's own function.
pub fn equal(number: i16, function: u32, value: Option<pg_sys::Datum>) -> pg_sys::ScanKeyData {
    key(number, pg_sys::BTEqualStrategyNumber, function, value)
}

pub fn of_record(id: &str) -> pg_sys::ScanKeyData {
    equal(1, pg_sys::F_TEXTEQ, id.into_datum())
}

fn no_revision() -> Option<pg_sys::Datum> {
    let none: &[u8] = &[];
    none.into_datum()
}
