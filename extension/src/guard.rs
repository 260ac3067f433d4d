//! In charge of calling several of Postgres's functions under one guard. pgrx puts one around each call, which saves
//! where an error would jump to: that is most of what a short call costs.

use pgrx::pg_sys;

/// Postgres's functions as they are, for use within `guarded` only.
pub mod unguarded {
    use pgrx::pg_sys::{BlockNumber, Buffer, Relation, Snapshot};

    unsafe extern "C-unwind" {
        pub fn ReadBuffer(relation: Relation, number: BlockNumber) -> Buffer;
        pub fn LockBuffer(buffer: Buffer, mode: i32);
        pub fn UnlockReleaseBuffer(buffer: Buffer);
        /// Declared in access/nbtree.h, which pgrx doesn't read.
        pub fn _bt_checkpage(index: Relation, buffer: Buffer);
        /// Declared in storage/predicate.h, which pgrx doesn't read.
        pub fn PredicateLockRelation(relation: Relation, snapshot: Snapshot);
    }
}

/// Makes calls that may raise an error, which becomes a panic here as it does behind any other guard.
///
/// # Safety
/// An error jumps over what has been begun: nothing in it may have a destructor, or panic.
#[inline(always)]
pub unsafe fn guarded<T: Copy>(calls: impl FnOnce() -> T) -> T {
    // SAFETY: the caller vouches for the calls.
    unsafe { pg_sys::ffi::pg_guard_ffi_boundary(calls) }
}
