//! In charge of saying from the twin's key alone that a record is one line, whose top is its only leaf and came last.
//!
//! The record must have an entry of each generation from the top's down to the first, and none beside; and it must
//! not be listed (`unordered.rs`, which says why that is enough). Entries are taken whatever rows they are of: one more than
//! anybody sees makes a record look crooked, never straight, for the others' rows are then read and tell.

use revision::RevisionId;

use crate::body::Body;
use crate::row;
use crate::shape::Shape;
use crate::unordered::Listed;
use crate::walk::{Sight, Walk};

/// Entries between two looks whether the caller has given up.
const ENTRIES_AT_ONCE: u64 = 4096;

pub struct Straight<'a> {
    entries: Walk<'a>,
    listed: Listed<'a>,
}

impl<'a> Straight<'a> {
    pub fn of(shape: &Shape, sight: &'a Sight) -> Straight<'a> {
        Straight { entries: Walk::of_records(shape, sight), listed: Listed::of(shape, sight) }
    }

    /// Whether the record of this change, which has a body, is known to be a line up to it.
    pub fn has_top(&mut self, change: &Body) -> bool {
        // SAFETY: the id stays as long as the change is at hand.
        unsafe {
            if self.listed.has(change.id_datum()) {
                return false;
            }
            self.entries.seek_entries(change.id_datum());
        }
        let mut line = Line::from(change.revision());
        while let Some(entry) = self.entries.next_entry() {
            // SAFETY: the walk goes on only after.
            if !line.takes(unsafe { entry.key() }.1) {
                return false;
            }
        }
        self.entries.is_over() && line.is_whole()
    }
}

/// The entries of a record so far, from the highest down.
#[derive(Default)]
pub struct Line {
    last: Vec<u8>,
    generation: u64,
}

impl Line {
    /// One that the top's own entry is still to come of.
    pub fn from(top: &[u8]) -> Line {
        let mut line = Line::default();
        line.begin(top);
        line
    }

    pub fn begin(&mut self, top: &[u8]) {
        self.generation = generation(top);
        self.keep(top);
    }

    /// Whether an entry is the last one's.
    pub fn is_at(&self, revision: &[u8]) -> bool {
        self.last == revision
    }

    /// Whether this entry is the next one's of the line, or of the last one once more: a row may have had versions.
    pub fn takes(&mut self, revision: &[u8]) -> bool {
        if self.is_at(revision) {
            return true;
        }
        if generation(revision) + 1 != self.generation {
            return false;
        }
        self.generation -= 1;
        if self.generation.is_multiple_of(ENTRIES_AT_ONCE) {
            pgrx::check_for_interrupts!();
        }
        self.keep(revision);
        true
    }

    /// Whether it has come down to the first.
    pub fn is_whole(&self) -> bool {
        self.generation == 1
    }

    fn keep(&mut self, revision: &[u8]) {
        self.last.clear();
        self.last.extend_from_slice(revision);
    }
}

/// The generation of a revision in its stored form.
pub fn generation(stored: &[u8]) -> u64 {
    RevisionId::sortable_generation(stored).unwrap_or_else(|error| row::unreadable(&error))
}
