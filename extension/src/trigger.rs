//! In charge of what all our trigger functions share: their entry points and their events.

use pgrx::pg_sys;

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

pub fn is_for_each_row(trigger: *mut pg_sys::TriggerData) -> bool {
    // SAFETY: `data` has checked the node.
    unsafe { (*trigger).tg_event & pg_sys::TRIGGER_EVENT_ROW != 0 }
}

/// What a trigger returns whose answer Postgres does not look at.
pub fn nothing() -> pg_sys::HeapTuple {
    std::ptr::null_mut()
}
