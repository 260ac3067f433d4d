//! In charge of what all our trigger functions share: their entry points and their events.

use pgrx::pg_sys;
use std::ffi::CStr;

use crate::error::Error;

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Event {
    Insert,
    Update,
    Delete,
    Truncate,
}

/// Makes a Rust function a trigger function that SQL can name.
macro_rules! entry {
    ($symbol:ident, $info:ident, $function:path) => {
        #[pgrx::pg_guard]
        #[unsafe(no_mangle)]
        unsafe extern "C-unwind" fn $symbol(
            call: pgrx::pg_sys::FunctionCallInfo,
        ) -> pgrx::pg_sys::Datum {
            let tuple: pgrx::pg_sys::HeapTuple = $function($crate::trigger::data(call));
            pgrx::pg_sys::Datum::from(tuple)
        }

        #[unsafe(no_mangle)]
        extern "C" fn $info() -> &'static pgrx::pg_sys::Pg_finfo_record {
            const V1: pgrx::pg_sys::Pg_finfo_record =
                pgrx::pg_sys::Pg_finfo_record { api_version: 1 };
            &V1
        }
    };
}
pub(crate) use entry;

/// The trigger that a function is called for; an error where it is called otherwise.
pub fn data(call: pg_sys::FunctionCallInfo) -> *mut pg_sys::TriggerData {
    // SAFETY: Postgres hands every function its call information; the node's tag is checked.
    unsafe {
        let context = (*call).context;
        if context.is_null() || (*context).type_ != pg_sys::NodeTag::T_TriggerData {
            Error::BadArgument("this function runs as a trigger only".into()).report()
        }
        context.cast()
    }
}

pub fn event(trigger: *mut pg_sys::TriggerData) -> Event {
    // SAFETY: `data` has checked the node.
    match unsafe { (*trigger).tg_event } & pg_sys::TRIGGER_EVENT_OPMASK {
        pg_sys::TRIGGER_EVENT_INSERT => Event::Insert,
        pg_sys::TRIGGER_EVENT_UPDATE => Event::Update,
        pg_sys::TRIGGER_EVENT_DELETE => Event::Delete,
        _ => Event::Truncate,
    }
}

/// Anybody may make a trigger of ours on a table of theirs: where it is handed no row, or other tables than
/// it reads, it must not look for them.
pub fn require(trigger: *mut pg_sys::TriggerData, fits: bool) {
    if !fits {
        // SAFETY: Postgres hands a trigger what it was made as.
        let name = unsafe { CStr::from_ptr((*(*trigger).tg_trigger).tgname) };
        let name = name.to_string_lossy();
        Error::BadArgument(format!("trigger {name:?} was not made by godwit.track")).report()
    }
}

pub fn is_before(trigger: *mut pg_sys::TriggerData) -> bool {
    // SAFETY: `data` has checked the node.
    let event = unsafe { (*trigger).tg_event };
    event & pg_sys::TRIGGER_EVENT_TIMINGMASK == pg_sys::TRIGGER_EVENT_BEFORE
}

pub fn has_old_table(trigger: *mut pg_sys::TriggerData) -> bool {
    // SAFETY: `data` has checked the node; a trigger without the table has NULL for its name.
    unsafe { is_named((*(*trigger).tg_trigger).tgoldtable, c"godwit_old") }
}

pub fn has_new_table(trigger: *mut pg_sys::TriggerData) -> bool {
    // SAFETY: as above.
    unsafe { is_named((*(*trigger).tg_trigger).tgnewtable, c"godwit_new") }
}

/// # Safety
/// The name must be NULL or NUL-terminated.
unsafe fn is_named(name: *const std::ffi::c_char, wanted: &CStr) -> bool {
    // SAFETY: the caller vouches for it.
    !name.is_null() && unsafe { CStr::from_ptr(name) } == wanted
}

pub fn is_for_each_row(trigger: *mut pg_sys::TriggerData) -> bool {
    // SAFETY: `data` has checked the node.
    unsafe { (*trigger).tg_event & pg_sys::TRIGGER_EVENT_ROW != 0 }
}

/// Whether an app's own trigger may change what is written to a table, or keep it out.
///
/// # Safety
/// The relation must be open.
pub unsafe fn has_others_before(relation: pg_sys::Relation) -> bool {
    // SAFETY: the caller vouches for the relation.
    unsafe { of_relation(relation) }.iter().any(|trigger| {
        let is_before_row = trigger.tgtype as u32 & BEFORE_ROW == BEFORE_ROW;
        is_before_row && name_of(trigger) != b"~godwit_stamp"
    })
}

/// Whether a table has any trigger of others, those of foreign keys among them.
///
/// # Safety
/// The relation must be open.
pub unsafe fn has_others(relation: pg_sys::Relation) -> bool {
    // SAFETY: as above.
    unsafe { of_relation(relation) }.iter().any(|trigger| {
        let name = name_of(trigger);
        name != b"~godwit_stamp" && !name.starts_with(b"!godwit_")
    })
}

/// The triggers of a relation.
///
/// # Safety
/// It must be open as long as they are looked at.
pub unsafe fn of_relation<'a>(relation: pg_sys::Relation) -> &'a [pg_sys::Trigger] {
    // SAFETY: the caller vouches for the relation, whose descriptor has as many triggers as it says.
    unsafe {
        let triggers = (*relation).trigdesc;
        match triggers.is_null() {
            true => &[],
            false => {
                let count = (*triggers).numtriggers as usize;
                std::slice::from_raw_parts((*triggers).triggers, count)
            }
        }
    }
}

pub fn name_of(trigger: &pg_sys::Trigger) -> &[u8] {
    // SAFETY: a trigger's name is NUL-terminated and lives as long as it.
    unsafe { CStr::from_ptr(trigger.tgname) }.to_bytes()
}

const BEFORE_ROW: u32 = pg_sys::TRIGGER_TYPE_ROW | pg_sys::TRIGGER_TYPE_BEFORE;

/// What a trigger returns whose answer Postgres does not look at.
pub fn nothing() -> pg_sys::HeapTuple {
    std::ptr::null_mut()
}
