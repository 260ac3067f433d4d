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
    MONEY,
    (c"search_path", c"pg_catalog, pg_temp"),
    STRINGS,
    NULLS,
    (c"xmloption", c"content"),
];
const MONEY: (&CStr, &CStr) = (c"lc_monetary", c"C");
/// How constants in statements are read, ours and those of policies and defaults.
const STRINGS: (&CStr, &CStr) = (c"standard_conforming_strings", c"on");
/// How nulls in arrays are read.
const NULLS: (&CStr, &CStr) = (c"array_nulls", c"on");

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
        Self::with(&on_path(path))
    }

    /// The same where amounts of money are read, too, as they are kept.
    pub fn path_and_money(path: &CStr) -> Self {
        let mut options = on_path(path);
        options.push(MONEY);
        Self::with(&options)
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

    /// Whoever holds what is wanted isn't waited for (55P03) but for what takes a moment only, as making a table longer
    /// does: a hundredth of the time after which Postgres looks for deadlocks.
    pub fn hardly_waiting() -> Self {
        Self::with(&[(c"lock_timeout", c"10ms")])
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

/// A path, and what else must hold for every statement of ours. Hardly a session has that otherwise.
fn on_path(path: &CStr) -> Vec<(&CStr, &CStr)> {
    let mut options = vec![(c"search_path", path)];
    // SAFETY: both are Postgres's own, and read in its one thread.
    let (strings, nulls) = unsafe { (pg_sys::standard_conforming_strings, pg_sys::Array_nulls) };
    options.extend((!strings).then_some(STRINGS));
    options.extend((!nulls).then_some(NULLS));
    options
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
