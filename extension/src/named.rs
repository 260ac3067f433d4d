//! In charge of the changes of records that a reader names, or that were found for it: by the twin's key, record by record.

use pgrx::pg_sys;
use pgrx::prelude::*;

use crate::body::Body;
use crate::key_records::KeyRecords;
use crate::shape::Shape;
use crate::walk::{Sight, Stored, Walk};

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

/// The changes of these records between two numbers, the last first. The ids come in the order of their bytes, each once.
pub fn changes(
    shape: &Shape,
    sight: &Sight,
    ids: &[&str],
    only_latest: bool,
    since: i64,
    horizon: i64,
) -> Vec<Named> {
    let key = Walk::of_records(shape, sight);
    let mut records = Records {
        key: KeyRecords::of(&key),
        places: Vec::new(),
        is_by_places: false,
        by_place: Walk::of_places(shape, sight),
        by_key: Walk::of_records(shape, sight),
    };
    let mut revision = Body::of(shape);
    let (mut rows, mut kept_bytes) = (Vec::new(), 0u32);
    for id in ids {
        let Some(datum) = id.into_datum() else { continue };
        let (of_others, mut is_highest) = (rows.len(), true);
        // SAFETY: a text, which stays.
        unsafe { records.seek(id, datum) };
        while let Some(tuple) = records.next() {
            pgrx::check_for_interrupts!();
            // SAFETY: a tuple of the twin, which stays until the walk goes on.
            unsafe { revision.take(tuple) };
            if !revision.is_stub() && (since + 1..=horizon).contains(&revision.number()) {
                // SAFETY: the tuple is there until the walk goes on.
                kept_bytes = kept_bytes.saturating_add(unsafe { (*tuple).t_len });
                rows.push(Named {
                    number: revision.number(),
                    id: datum,
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

/// The rows of one record after the other, the highest revision first.
struct Records<'k, 'a> {
    key: Option<KeyRecords<'k>>,
    /// Where the rows at hand are that are still to come.
    places: Vec<pg_sys::ItemPointerData>,
    is_by_places: bool,
    by_place: Walk<'a>,
    by_key: Walk<'a>,
}

impl Records<'_, '_> {
    /// # Safety
    /// The datum must be the id as a text, and stay until another is asked for.
    unsafe fn seek(&mut self, id: &str, datum: pg_sys::Datum) {
        let places = &mut self.places;
        let found = self.key.as_mut().and_then(|key| key.find(id.as_bytes(), places));
        self.is_by_places = found.is_some();
        if !self.is_by_places {
            // SAFETY: the caller vouches for the datum.
            unsafe { self.by_key.seek(datum) };
        }
    }

    fn next(&mut self) -> Option<pg_sys::HeapTuple> {
        if !self.is_by_places {
            return self.by_key.next();
        }
        loop {
            let place = self.places.pop()?;
            if let Some(row) = self.by_place.row_at(place) {
                return Some(row);
            }
        }
    }
}
