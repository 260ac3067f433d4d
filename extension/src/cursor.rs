//! In charge of reading the rows of a statement some at a time, while the tables that it reads are written: it goes on
//! through what there was when it began. The same statement with LIMIT, again and again, would pass over all that has been
//! done for each of its pages.

use pgrx::pg_sys;
use std::ffi::c_char;

use crate::spi::{self, Row};

/// A portal, as plpgsql's loops have one.
pub struct Cursor(pg_sys::Portal);

impl Cursor {
    /// Opens one on what has been committed up to now, and on what this transaction has done.
    pub fn open(sql: &str) -> Cursor {
        let text = spi::statement(sql);
        let (none, nulls): (_, *const c_char) = (std::ptr::null_mut(), std::ptr::null());
        // SAFETY: connect and finish are paired, or an error disconnects. The portal copies the snapshot, and outlives the
        // connection; what is pinned nobody else closes.
        unsafe {
            spi::check(pg_sys::SPI_connect(), "connect", sql);
            pg_sys::CommandCounterIncrement();
            pg_sys::PushActiveSnapshot(pg_sys::GetLatestSnapshot());
            let (types, values) = (none, std::ptr::null_mut());
            let portal = pg_sys::SPI_cursor_open_with_args(
                std::ptr::null(),
                text.as_ptr(),
                0,
                types,
                values,
                nulls,
                true,
                0,
            );
            pg_sys::PopActiveSnapshot();
            pg_sys::PinPortal(portal);
            spi::check(pg_sys::SPI_finish(), "finish", sql);
            Cursor(portal)
        }
    }

    /// The next rows, up to so many; none after the last.
    pub fn next<T>(&mut self, max: usize, each: impl FnMut(&Row) -> T) -> Vec<T> {
        // SAFETY: connect and finish are paired, or an error disconnects. Rows are read before SPI_finish frees them.
        unsafe {
            spi::check(pg_sys::SPI_connect(), "connect", "a cursor");
            pg_sys::SPI_cursor_fetch(self.0, true, max as _);
            let rows = spi::fetched(each);
            spi::check(pg_sys::SPI_finish(), "finish", "a cursor");
            rows
        }
    }

    /// After the last row, or an error in a subtransaction: no transaction commits while one is open.
    pub fn close(self) {
        // SAFETY: the portal is open, and pinned by `open`.
        unsafe {
            pg_sys::UnpinPortal(self.0);
            pg_sys::SPI_cursor_close(self.0);
        }
    }
}
