//! In charge of what a caller may do with a table before anything is written to its twin.

use pgrx::pg_sys;

use crate::error::Error;
use crate::shape::Shape;

#[derive(Clone, Copy)]
pub enum Right {
    Insert,
    Update,
    Delete,
}

/// The caller needs these rights on the table itself; on the twin it needs none.
pub fn require(shape: &Shape, rights: &[Right]) -> Result<(), Error> {
    for right in rights {
        let (mode, name): (u32, _) = match right {
            Right::Insert => (pg_sys::ACL_INSERT, "INSERT"),
            Right::Update => (pg_sys::ACL_UPDATE, "UPDATE"),
            Right::Delete => (pg_sys::ACL_DELETE, "DELETE"),
        };
        // SAFETY: catalog look-ups by OID.
        let result = unsafe {
            pg_sys::pg_class_aclcheck(shape.relation, pg_sys::GetUserId(), mode as pg_sys::AclMode)
        };
        if result != pg_sys::AclResult::ACLCHECK_OK {
            let table = &shape.wire_name;
            return Err(Error::Forbidden(format!("this needs the right to {name} on {table}")));
        }
    }
    Ok(())
}

/// A branch that loses is written to no table, so no policy would look at it. Until the twin has
/// the table's policies, who is under row-level security can't write branches.
pub fn refuse_row_security(shape: &Shape) -> Result<(), Error> {
    // SAFETY: a catalog look-up by OID for the current user.
    let enabled = unsafe { pg_sys::check_enable_rls(shape.relation, pg_sys::InvalidOid, true) };
    if enabled == pg_sys::CheckEnableRlsResult::RLS_ENABLED as i32 {
        let table = &shape.wire_name;
        return Err(Error::NotSupported(format!(
            "revisions of {table} can't be put under its row-level security in this version"
        )));
    }
    Ok(())
}
