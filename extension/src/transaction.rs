//! In charge of telling a backend's transactions apart.

use pgrx::pg_sys;

/// The number of the transaction under way among this backend's own; also of one that has no other number yet.
pub fn number() -> u32 {
    // SAFETY: MyProc points to this backend's own entry for as long as it runs.
    #[cfg(not(any(feature = "pg17", feature = "pg18")))]
    return unsafe { (*pg_sys::MyProc).lxid };
    // SAFETY: as above.
    #[cfg(any(feature = "pg17", feature = "pg18"))]
    return unsafe { (*pg_sys::MyProc).vxid.lxid };
}
