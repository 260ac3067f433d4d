//! In charge of the changes of records that a reader names, or that were found for it: by the twin's key, record by record.

use pgrx::pg_sys;
use pgrx::prelude::*;

use crate::body::Body;
use crate::walk::{Stored, Walk};

/// Bytes of rows that are kept until they are shown, rather than looked for again.
pub const ROWS_KEPT_BYTES_MAX: u32 = 16 * 1024 * 1024;

/// A change of a record that was asked for.
pub struct Named {
    pub number: i64,
    /// A text of Postgres's.
    pub id: pg_sys::Datum,
    pub revision: Stored,
    /// Its row, as long as they take little.
    pub row: Option<pg_sys::HeapTuple>,
    pub is_highest: bool,
}

/// The changes of these records between two numbers, the last first. The ids come in order: neighbours in the index are
/// on the same pages.
pub fn changes(
    records: &mut Walk,
    revision: &mut Body,
    ids: &[&str],
    only_latest: bool,
    since: i64,
    horizon: i64,
) -> Vec<Named> {
    let (mut rows, mut kept_bytes) = (Vec::new(), 0u32);
    for id in ids {
        let Some(id) = id.into_datum() else { continue };
        let (of_others, mut is_highest) = (rows.len(), true);
        // SAFETY: a text, which stays.
        unsafe { records.seek(id) };
        while let Some(tuple) = records.next() {
            pgrx::check_for_interrupts!();
            // SAFETY: a tuple of the twin, which stays until the walk goes on.
            unsafe { revision.take(tuple) };
            if !revision.is_stub() && (since + 1..=horizon).contains(&revision.number()) {
                // SAFETY: the tuple is there until the walk goes on.
                kept_bytes = kept_bytes.saturating_add(unsafe { (*tuple).t_len });
                rows.push(Named {
                    number: revision.number(),
                    id,
                    revision: Stored::of(revision.revision()),
                    row: (kept_bytes < ROWS_KEPT_BYTES_MAX).then(|| revision.copied()),
                    is_highest,
                });
            }
            is_highest = false;
        }
        if only_latest && rows.len() > of_others {
            rows[of_others..].sort_unstable_by_key(|row| std::cmp::Reverse(row.number));
            rows.truncate(of_others + 1);
        }
    }
    rows.sort_unstable_by_key(|row: &Named| std::cmp::Reverse(row.number));
    rows
}
