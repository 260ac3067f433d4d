//! In charge of what a caller may do with a table before anything is done to its twin as its owner.

use pgrx::pg_sys;

use crate::error::Error;
use crate::shape::Shape;

#[derive(Clone, Copy)]
pub enum Right {
    Select,
    Insert,
    Update,
    Delete,
}

/// The caller needs these rights on the table itself; on the twin it needs none.
pub fn require(shape: &Shape, rights: &[Right]) -> Result<(), Error> {
    for right in rights {
        let (mode, name): (u32, _) = match right {
            Right::Select => (pg_sys::ACL_SELECT, "SELECT"),
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
