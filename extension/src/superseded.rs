//! In charge of functions that the SQL of an older version names and this library has no more, or takes other
//! arguments for: between the library's update and the extension's, who calls them is told what is missing.

use pgrx::prelude::*;

use crate::error::Error;

fn superseded() -> ! {
    let reason = "this database has the SQL of an older godwit: alter extension godwit update";
    Error::BadArgument(reason.into()).report()
}

#[pg_extern(sql = false)]
fn _changes() -> i64 {
    superseded()
}

#[pg_extern(sql = false)]
fn _first_revision() -> i64 {
    superseded()
}

#[pg_extern(sql = false)]
fn _put_revisions() -> i64 {
    superseded()
}
