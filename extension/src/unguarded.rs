//! In charge of Postgres's functions without a guard around each.
//!
//! pgrx puts a guard around every call, a `sigsetjmp` that turns Postgres's errors into panics, so that Rust's
//! destructors run. It costs some hundred instructions, as much as many of the functions themselves. Where a trigger
//! calls a dozen of them one after the other, one guard around all (`guarded`) does the same.
//!
//! An error jumps over everything between the function that failed and the guard. So what is done there owns nothing
//! that would have to be dropped, and never panics: it reads, calls and writes by pointers.

use pgrx::pg_sys;
use std::ffi::c_char;

/// Declares functions as pgrx has read them in the headers of the Postgres at hand: where one is another there, nothing
/// is compiled.
macro_rules! as_in_the_headers {
    ($($visible:vis fn $name:ident(
        $($(#[$condition:meta])* $argument:ident: $type:ty),* $(,)?
    ) $(-> $returned:ty)?;)*) => {
        unsafe extern "C-unwind" {
            $($visible fn $name($($(#[$condition])* $argument: $type),*) $(-> $returned)?;)*
        }
        $(const _: unsafe fn($($(#[$condition])* $type),*) $(-> $returned)? = pg_sys::$name;)*
    };
}

as_in_the_headers! {
    pub fn CommandCounterIncrement();
    pub fn FormIndexDatum(
        info: *mut pg_sys::IndexInfo,
        slot: *mut pg_sys::TupleTableSlot,
        state: *mut pg_sys::EState,
        values: *mut pg_sys::Datum,
        nulls: *mut bool,
    );
    pub fn BuildIndexInfo(index: pg_sys::Relation) -> *mut pg_sys::IndexInfo;
    pub fn ExecCloseIndices(target: *mut pg_sys::ResultRelInfo);
    pub fn ExecDropSingleTupleTableSlot(slot: *mut pg_sys::TupleTableSlot);
    pub fn ExecStoreHeapTuple(
        tuple: pg_sys::HeapTuple,
        slot: *mut pg_sys::TupleTableSlot,
        should_free: bool,
    ) -> *mut pg_sys::TupleTableSlot;
    pub fn FreeExecutorState(state: *mut pg_sys::EState);
    pub fn LockBuffer(buffer: pg_sys::Buffer, mode: i32);
    pub fn MakeSingleTupleTableSlot(
        desc: pg_sys::TupleDesc,
        ops: *const pg_sys::TupleTableSlotOps,
    ) -> *mut pg_sys::TupleTableSlot;
    pub fn MemoryContextDelete(context: pg_sys::MemoryContext);
    pub fn MemoryContextReset(context: pg_sys::MemoryContext);
    pub fn GetConfigOption(
        name: *const c_char,
        missing_ok: bool,
        restrict_privileged: bool,
    ) -> *const c_char;
    pub fn GetUserNameFromId(role: pg_sys::Oid, noerr: bool) -> *mut c_char;
    pub fn ReadBuffer(relation: pg_sys::Relation, number: pg_sys::BlockNumber) -> pg_sys::Buffer;
    pub fn RelationClose(relation: pg_sys::Relation);
    pub fn RelationIdGetRelation(relation: pg_sys::Oid) -> pg_sys::Relation;
    pub fn RelationGetNumberOfBlocksInFork(
        relation: pg_sys::Relation,
        fork: pg_sys::ForkNumber::Type,
    ) -> pg_sys::BlockNumber;
    pub fn UnlockReleaseBuffer(buffer: pg_sys::Buffer);
    pub fn cstring_to_text_with_len(bytes: *const c_char, len: i32) -> *mut pg_sys::text;
    pub fn GetCurrentCommandId(used: bool) -> pg_sys::CommandId;
    pub fn heap_form_tuple(
        desc: pg_sys::TupleDesc,
        #[cfg(any(feature = "pg15", feature = "pg16"))] values: *mut pg_sys::Datum,
        #[cfg(not(any(feature = "pg15", feature = "pg16")))] values: *const pg_sys::Datum,
        #[cfg(any(feature = "pg15", feature = "pg16"))] nulls: *mut bool,
        #[cfg(not(any(feature = "pg15", feature = "pg16")))] nulls: *const bool,
    ) -> pg_sys::HeapTuple;
    fn heap_getnextslot(
        scan: pg_sys::TableScanDesc,
        direction: pg_sys::ScanDirection::Type,
        slot: *mut pg_sys::TupleTableSlot,
    ) -> bool;
    pub fn heap_multi_insert(
        table: pg_sys::Relation,
        slots: *mut *mut pg_sys::TupleTableSlot,
        count: i32,
        command: pg_sys::CommandId,
        options: i32,
        state: *mut pg_sys::BulkInsertStateData,
    );
    pub fn index_close(index: pg_sys::Relation, lock: pg_sys::LOCKMODE);
    pub fn index_insert(
        index: pg_sys::Relation,
        values: *mut pg_sys::Datum,
        nulls: *mut bool,
        place: pg_sys::ItemPointer,
        table: pg_sys::Relation,
        check: pg_sys::IndexUniqueCheck::Type,
        is_unchanged: bool,
        info: *mut pg_sys::IndexInfo,
    ) -> bool;
    pub fn index_open(index: pg_sys::Oid, lock: pg_sys::LOCKMODE) -> pg_sys::Relation;
    pub fn pfree(pointer: *mut std::ffi::c_void);
    pub fn relation_close(relation: pg_sys::Relation, lock: pg_sys::LOCKMODE);
    pub fn relation_open(relation: pg_sys::Oid, lock: pg_sys::LOCKMODE) -> pg_sys::Relation;
    pub fn simple_heap_delete(table: pg_sys::Relation, place: pg_sys::ItemPointer);
    fn slot_getsomeattrs_int(slot: *mut pg_sys::TupleTableSlot, count: i32);
    pub fn table_close(table: pg_sys::Relation, lock: pg_sys::LOCKMODE);
    pub fn tuplestore_alloc_read_pointer(table: *mut pg_sys::Tuplestorestate, flags: i32) -> i32;
    fn tuplestore_gettupleslot(
        table: *mut pg_sys::Tuplestorestate,
        forward: bool,
        copy: bool,
        slot: *mut pg_sys::TupleTableSlot,
    ) -> bool;
    pub fn tuplestore_rescan(table: *mut pg_sys::Tuplestorestate);
    pub fn tuplestore_select_read_pointer(table: *mut pg_sys::Tuplestorestate, pointer: i32);
    pub fn tuplestore_tuple_count(table: *mut pg_sys::Tuplestorestate) -> i64;
}

// What never fails, and needs no guard at all.
as_in_the_headers! {
    pub fn ActiveSnapshotSet() -> bool;
    pub fn GetActiveSnapshot() -> pg_sys::Snapshot;
    pub fn GetCurrentTimestamp() -> pg_sys::TimestampTz;
    pub fn j2date(julian: i32, year: *mut i32, month: *mut i32, day: *mut i32);
    pub fn HeapTupleHeaderGetCmin(
        #[cfg(not(feature = "pg18"))] row: pg_sys::HeapTupleHeader,
        #[cfg(feature = "pg18")] row: *const pg_sys::HeapTupleHeaderData,
    ) -> pg_sys::CommandId;
    pub fn TransactionIdIsCurrentTransactionId(transaction: pg_sys::TransactionId) -> bool;
    pub fn heap_deform_tuple(
        tuple: pg_sys::HeapTuple,
        desc: pg_sys::TupleDesc,
        values: *mut pg_sys::Datum,
        nulls: *mut bool,
    );
    pub fn GetUserIdAndSecContext(user: *mut pg_sys::Oid, context: *mut i32);
    pub fn SetUserIdAndSecContext(user: pg_sys::Oid, context: i32);
}

// What stands in headers that pgrx doesn't read.
unsafe extern "C-unwind" {
    /// Of storage/predicate.h.
    pub fn PredicateLockRelation(relation: pg_sys::Relation, snapshot: pg_sys::Snapshot);
    /// Of access/nbtree.h.
    pub fn _bt_checkpage(index: pg_sys::Relation, buffer: pg_sys::Buffer);
    /// Of storage/predicate.h.
    pub fn TransferPredicateLocksToHeapRelation(relation: pg_sys::Relation);
    /// Of commands/cluster.h.
    pub fn finish_heap_swap(
        old: pg_sys::Oid,
        new: pg_sys::Oid,
        is_system_catalog: bool,
        swap_toast_by_content: bool,
        check_constraints: bool,
        is_internal: bool,
        frozen_xid: pg_sys::TransactionId,
        least_multixact: pg_sys::MultiXactId,
        persistence: c_char,
    );
    /// Of catalog/pg_inherits.h.
    pub fn find_all_inheritors(
        relation: pg_sys::Oid,
        lock: pg_sys::LOCKMODE,
        parents: *mut *mut pg_sys::List,
    ) -> *mut pg_sys::List;
    /// Of catalog/partition.h.
    pub fn get_partition_ancestors(relation: pg_sys::Oid) -> *mut pg_sys::List;
    /// Of commands/sequence.h.
    pub fn nextval_internal(sequence: pg_sys::Oid, check_permissions: bool) -> i64;
    /// Of commands/cluster.h.
    pub fn make_new_heap(
        old: pg_sys::Oid,
        tablespace: pg_sys::Oid,
        access_method: pg_sys::Oid,
        persistence: c_char,
        lock: pg_sys::LOCKMODE,
    ) -> pg_sys::Oid;
}

/// Takes the next row of a tuplestore into a slot, with all its columns; false after the last.
///
/// # Safety
/// The slot must be one for the store's rows, and this be called by `guarded`.
pub unsafe fn take_next(
    store: *mut pg_sys::Tuplestorestate,
    slot: *mut pg_sys::TupleTableSlot,
) -> bool {
    // SAFETY: the caller vouches for both, and for the guard.
    unsafe {
        let is_there = tuplestore_gettupleslot(store, true, false, slot);
        if is_there {
            slot_getsomeattrs_int(slot, (*(*slot).tts_tupleDescriptor).natts);
        }
        is_there
    }
}

/// Takes the next row of a heap into a slot, with all its columns; false after the last.
///
/// # Safety
/// The slot must be one for the heap's rows, and this be called by `guarded`.
pub unsafe fn take_next_row(
    scan: pg_sys::TableScanDesc,
    slot: *mut pg_sys::TupleTableSlot,
) -> bool {
    // SAFETY: the caller vouches for both, and for the guard.
    unsafe {
        let is_there = heap_getnextslot(scan, pg_sys::ScanDirection::ForwardScanDirection, slot);
        if is_there {
            slot_getsomeattrs_int(slot, (*(*slot).tts_tupleDescriptor).natts);
        }
        is_there
    }
}

/// Calls Postgres behind one guard: an error in any of it becomes a panic here.
///
/// # Safety
/// What is called is used as Postgres asks. Nothing that `calls` makes has a destructor, and none of it panics.
pub unsafe fn guarded<T: Copy>(calls: impl FnOnce() -> T) -> T {
    // SAFETY: the caller vouches for what is called, and that it may be jumped over.
    unsafe { pg_sys::ffi::pg_guard_ffi_boundary(calls) }
}
