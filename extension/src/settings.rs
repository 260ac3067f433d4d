//! In charge of the settings under which values are printed and read, whatever the session has.

use pgrx::pg_sys;
use std::ffi::{CStr, CString};

/// What docs/canonical.md fixes for types that travel as their output text.
const FIXED: &[(&CStr, &CStr)] = &[
    (c"DateStyle", c"ISO, YMD"),
    (c"TimeZone", c"UTC"),
    (c"IntervalStyle", c"iso_8601"),
    (c"extra_float_digits", c"1"),
    (c"bytea_output", c"hex"),
    (c"lc_monetary", c"C"),
    (c"search_path", c"pg_catalog, pg_temp"),
];

/// Which settings of the session ours take the place of.
pub fn names() -> impl Iterator<Item = &'static CStr> {
    FIXED.iter().map(|(name, _)| *name)
}

/// Settings that hold until this is dropped. On an error Postgres itself takes them back with the
/// (sub)transaction.
pub struct Settings {
    level: i32,
}

impl Settings {
    /// Everything that the text of a value may depend on.
    pub fn fixed() -> Self {
        Self::with(FIXED)
    }

    pub fn path(path: &CStr) -> Self {
        Self::with(&[(c"search_path", path)])
    }

    /// What a session had before ours took its place.
    pub fn restored(session: &[(&CStr, CString)]) -> Self {
        let differs = |(name, value): &&(&CStr, CString)| {
            // SAFETY: the option exists, and its text is only compared.
            let now =
                unsafe { CStr::from_ptr(pg_sys::GetConfigOption(name.as_ptr(), false, false)) };
            now != value.as_c_str()
        };
        let others: Vec<(&CStr, &CStr)> =
            session.iter().filter(differs).map(|(name, value)| (*name, value.as_c_str())).collect();
        Self::with(&others)
    }

    /// The app's own triggers keep still; ours don't.
    pub fn replica() -> Self {
        Self::with_context(
            &[(c"session_replication_role", c"replica")],
            pg_sys::GucContext::PGC_SUSET,
        )
    }

    fn with(options: &[(&CStr, &CStr)]) -> Self {
        Self::with_context(options, pg_sys::GucContext::PGC_USERSET)
    }

    fn with_context(options: &[(&CStr, &CStr)], context: pg_sys::GucContext::Type) -> Self {
        // SAFETY: a nest level is opened here and closed in `drop`, as functions with SET clauses
        // do; names and values are NUL-terminated.
        unsafe {
            let level = pg_sys::NewGUCNestLevel();
            for (name, value) in options {
                pg_sys::set_config_option(
                    name.as_ptr(),
                    value.as_ptr(),
                    context,
                    pg_sys::GucSource::PGC_S_SESSION,
                    pg_sys::GucAction::GUC_ACTION_SAVE,
                    true,
                    0,
                    false,
                );
            }
            Settings { level }
        }
    }
}

impl Drop for Settings {
    fn drop(&mut self) {
        // While a panic unwinds, the abort of the (sub)transaction closes the level.
        if !std::thread::panicking() {
            // SAFETY: the level was opened by `with`, and inner ones are closed before it.
            unsafe { pg_sys::AtEOXact_GUC(true, self.level) };
        }
    }
}
