//! In charge of comparing and hashing `godwit.revision` inside Postgres: by the bytes as stored.
//!
//! Postgres's own functions for bytea would do, but a function in language internal is looked up
//! among three thousand names each time an index checks a new row for uniqueness; that took a
//! quarter of a bulk INSERT.

use pgrx::pg_sys;
use std::cmp::Ordering;

use crate::row;

/// Makes a comparison of two revisions a function that SQL can name.
macro_rules! order {
    ($symbol:ident, $info:ident, $answer:expr) => {
        #[pgrx::pg_guard]
        #[unsafe(no_mangle)]
        unsafe extern "C-unwind" fn $symbol(call: pg_sys::FunctionCallInfo) -> pg_sys::Datum {
            let answer: fn(Ordering) -> _ = $answer;
            // SAFETY: SQL declares the function strict, of two revisions.
            pg_sys::Datum::from(answer(unsafe { stored(call, 0).cmp(stored(call, 1)) }))
        }

        #[unsafe(no_mangle)]
        extern "C" fn $info() -> &'static pg_sys::Pg_finfo_record {
            &V1
        }
    };
}

const V1: pg_sys::Pg_finfo_record = pg_sys::Pg_finfo_record { api_version: 1 };

order!(godwit_revision_eq, pg_finfo_godwit_revision_eq, Ordering::is_eq);
order!(godwit_revision_ne, pg_finfo_godwit_revision_ne, Ordering::is_ne);
order!(godwit_revision_lt, pg_finfo_godwit_revision_lt, Ordering::is_lt);
order!(godwit_revision_le, pg_finfo_godwit_revision_le, Ordering::is_le);
order!(godwit_revision_gt, pg_finfo_godwit_revision_gt, Ordering::is_gt);
order!(godwit_revision_ge, pg_finfo_godwit_revision_ge, Ordering::is_ge);
order!(godwit_revision_cmp, pg_finfo_godwit_revision_cmp, |order| order as i32);

/// The stored bytes of an argument that is a revision.
///
/// # Safety
/// The call must have such an argument, not null.
unsafe fn stored<'a>(call: pg_sys::FunctionCallInfo, number: usize) -> &'a [u8] {
    // SAFETY: the caller vouches for the argument; what is fetched lives as long as the call.
    unsafe {
        let argument = (*call).args.as_slice((*call).nargs as usize)[number];
        row::plain_bytes(argument.value)
    }
}
