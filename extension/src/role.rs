//! In charge of who a statement runs as: the table's owner for the twin, the caller for the table.
//!
//! An app may have INSERT on a table and no right on its twin; its write still makes a revision.
//! So the twin is written as the table's owner, the way referential integrity triggers work, with
//! the search path pinned: whatever schema the caller has put first, no operator of its own runs
//! with the owner's rights. What reconciliation does to the table itself runs as the caller again,
//! with the caller's own search path, so that privileges, policies and triggers hold.

use pgrx::pg_sys;
use std::cell::RefCell;
use std::ffi::{CStr, CString};
use std::rc::Rc;

use crate::settings::{self, Settings};
use crate::sqlstate::{self, Kept};
use crate::unguarded;

const PINNED_PATH: &CStr = c"pg_catalog, godwit, pg_temp";

#[derive(Clone)]
struct Caller {
    user: pg_sys::Oid,
    context: i32,
    session: Session,
}

/// The settings of ours that whoever called had otherwise.
type Session = Rc<Vec<(&'static CStr, CString)>>;

thread_local! {
    /// Who called, while the owner's statements run; empty when nobody has been switched.
    static CALLER: RefCell<Option<Caller>> = const { RefCell::new(None) };
    /// What was set when a function of ours was called.
    static SESSION: RefCell<Option<Session>> = const { RefCell::new(None) };
}

/// Puts user and caller back however the closure ends.
struct Restore {
    user: pg_sys::Oid,
    context: i32,
    caller: Option<Caller>,
}

impl Drop for Restore {
    fn drop(&mut self) {
        // SAFETY: the pair was read from Postgres when the switch was made.
        unsafe { unguarded::SetUserIdAndSecContext(self.user, self.context) };
        CALLER.set(self.caller.take());
    }
}

fn current() -> (pg_sys::Oid, i32) {
    let (mut user, mut context) = (pg_sys::InvalidOid, 0);
    // SAFETY: writes the two out parameters.
    unsafe { unguarded::GetUserIdAndSecContext(&mut user, &mut context) };
    (user, context)
}

/// A function that anybody may call runs as who calls it now. Where it is called by what runs as a table's
/// owner (a trigger that the owner has put on the twin), that is the owner, and not who wrote the table.
pub struct Entered {
    caller: Option<Caller>,
    session: Option<Session>,
    _sqlstates: Kept,
}

/// Called first, before any setting is changed.
pub fn enter() -> Entered {
    let session = SESSION.replace(Some(session()));
    Entered { caller: CALLER.take(), session, _sqlstates: sqlstate::keep() }
}

/// The same for what calls nobody back under the session's own settings.
pub fn enter_to_look() -> Entered {
    Entered { caller: CALLER.take(), session: SESSION.take(), _sqlstates: sqlstate::keep() }
}

impl Drop for Entered {
    fn drop(&mut self) {
        CALLER.set(self.caller.take());
        SESSION.set(self.session.take());
    }
}

/// Runs `work` as `owner` under a pinned search path.
pub fn as_owner<T>(owner: pg_sys::Oid, work: impl FnOnce() -> T) -> T {
    let flags = pg_sys::SECURITY_LOCAL_USERID_CHANGE | pg_sys::SECURITY_NOFORCE_RLS;
    switch(owner, flags, work)
}

/// The same where nobody asked for the owner's code to run (a superuser's DDL may lead to it): it can
/// leave nothing behind that runs later, as whoever commits. REFRESH MATERIALIZED VIEW does the same.
pub fn as_owner_restricted<T>(owner: pg_sys::Oid, work: impl FnOnce() -> T) -> T {
    let flags = pg_sys::SECURITY_LOCAL_USERID_CHANGE
        | pg_sys::SECURITY_NOFORCE_RLS
        | pg_sys::SECURITY_RESTRICTED_OPERATION;
    switch(owner, flags, work)
}

fn switch<T>(owner: pg_sys::Oid, flags: u32, work: impl FnOnce() -> T) -> T {
    let (user, context) = current();
    let before = CALLER.with_borrow(Clone::clone);
    let caller = before.clone().unwrap_or_else(|| Caller {
        user,
        context,
        session: SESSION.with_borrow(Clone::clone).unwrap_or_else(session),
    });
    let _settings = Settings::path(PINNED_PATH);
    let _restore = Restore { user, context, caller: before };
    CALLER.set(Some(caller));
    // SAFETY: `Restore` puts it back, and so does the abort of a (sub)transaction.
    unsafe { unguarded::SetUserIdAndSecContext(owner, context | flags as i32) };
    work()
}

/// Runs `work` with the rights of `owner` and nothing else changed: for functions of Postgres's own, which run no
/// code of anybody's.
pub fn with_rights_of<T>(owner: pg_sys::Oid, work: impl FnOnce() -> T) -> T {
    let (user, context) = current();
    let _restore = Restore { user, context, caller: CALLER.with_borrow(Clone::clone) };
    let flags = pg_sys::SECURITY_LOCAL_USERID_CHANGE as i32;
    // SAFETY: as in `as_owner`.
    unsafe { unguarded::SetUserIdAndSecContext(owner, context | flags) };
    work()
}

/// Runs `work` as whoever called before `as_owner` switched.
pub fn as_caller<T>(work: impl FnOnce() -> T) -> T {
    let Some(caller) = CALLER.with_borrow(Clone::clone) else {
        return work();
    };
    let (user, context) = current();
    let _settings = Settings::restored(&caller.session);
    let _restore = Restore { user, context, caller: Some(caller.clone()) };
    CALLER.set(None);
    // SAFETY: as in `as_owner`.
    unsafe { unguarded::SetUserIdAndSecContext(caller.user, caller.context) };
    work()
}

/// The role that a revision made now is made by.
pub fn author() -> pg_sys::Oid {
    CALLER.with_borrow(|caller| caller.as_ref().map(|caller| caller.user)).unwrap_or(current().0)
}

fn session() -> Session {
    let value = |name: &'static CStr| {
        // SAFETY: the option exists, and the string is copied at once.
        let value = unsafe { CStr::from_ptr(pg_sys::GetConfigOption(name.as_ptr(), false, false)) };
        (name, if name == c"search_path" { catalog_first(value) } else { value.to_owned() })
    };
    Rc::new(settings::names().map(value).collect())
}

/// A search path under which what we write by its bare name (a type, a function of Postgres's own) is what
/// we mean: pg_catalog comes first unless a path says otherwise.
fn catalog_first(path: &CStr) -> CString {
    let text = path.to_bytes();
    // SET writes names in quotes under quote_all_identifiers, and set_config leaves them in any case.
    let is_catalog = |schema: &[u8]| {
        let name = schema.trim_ascii();
        name == b"\"pg_catalog\"" || name.eq_ignore_ascii_case(b"pg_catalog")
    };
    let mut schemas = text.split(|&byte| byte == b',');
    if is_catalog(schemas.next().unwrap_or_default()) || !schemas.any(is_catalog) {
        return path.to_owned();
    }
    CString::new([b"pg_catalog, ", text].concat()).unwrap_or_else(|_| path.to_owned())
}
