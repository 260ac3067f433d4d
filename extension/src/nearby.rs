//! In charge of saying that a revision is its record's highest without a look from the index's root down.
//!
//! Changes often come by records in the order of their ids: as a table was loaded, or as ids rise with time. Then the
//! entry that is asked for stands right after the last one, and the entry after it is of another record. An entry may
//! stand for a row that nobody sees any more; so this never says what another revision is, only that there is none.

use std::cmp::Ordering;

use crate::shape::Shape;
use crate::walk::{Entry, Sight, Stored, Walk};

/// Records in order before a walk begins: a page of the index is read then, which costs as much as three looks.
const RISING_MIN: u32 = 8;
const RISING_MAX: u32 = 4096;
/// Entries that are passed on the way to the one that is asked for; a look takes as long as ten.
const STEPS_MAX: usize = 8;
/// Records in a row that stand before where the walk is; it is given up then.
const BEHIND_MAX: u32 = 8;
/// A walk that has said so much was worth its page.
const PROVEN_MIN: u32 = 32;

pub struct Nearby<'a> {
    entries: Walk<'a>,
    is_walking: bool,
    /// The record that the walk began with; the scan looks at it as long as it goes on.
    begin: Stored,
    /// The entry at hand; none after the last.
    at: Option<Entry>,
    /// What was asked for before.
    last: Vec<u8>,
    rising: u32,
    rising_min: u32,
    behind: u32,
    proven: u32,
}

impl<'a> Nearby<'a> {
    pub fn of(shape: &Shape, sight: &'a Sight) -> Nearby<'a> {
        Nearby {
            entries: Walk::of_entries(shape, sight),
            is_walking: false,
            begin: Stored::of(&[]),
            at: None,
            last: Vec::new(),
            rising: 0,
            rising_min: RISING_MIN,
            behind: 0,
            proven: 0,
        }
    }

    /// Whether a record has no revision above this one, which is in the twin. False where that isn't known from here.
    pub fn is_highest(&mut self, id: &[u8], revision: &[u8]) -> bool {
        if !self.is_walking && !self.begins(id) {
            return false;
        }
        for _ in 0..STEPS_MAX {
            let Some(at) = &self.at else { break };
            // SAFETY: the walk goes on only where another entry is taken.
            match unsafe { at.key() }.cmp(&(id, revision)) {
                Ordering::Less => self.at = self.entries.next_entry(),
                Ordering::Equal => return self.is_last_of(id),
                Ordering::Greater if self.behind < BEHIND_MAX => {
                    self.behind += 1;
                    return false;
                }
                Ordering::Greater => break,
            }
        }
        self.give_up();
        false
    }

    /// Whether the entry after the one at hand is of another record.
    fn is_last_of(&mut self, id: &[u8]) -> bool {
        self.at = self.entries.next_entry();
        self.behind = 0;
        self.proven += 1;
        match &self.at {
            // SAFETY: as above.
            Some(next) => unsafe { next.key() }.0 != id,
            None => self.entries.is_over(),
        }
    }

    /// Begins a walk if enough records came in order.
    fn begins(&mut self, id: &[u8]) -> bool {
        self.rising = if id > self.last.as_slice() { self.rising + 1 } else { 0 };
        self.last.clear();
        self.last.extend_from_slice(id);
        if self.rising < self.rising_min {
            return false;
        }
        self.begin = Stored::of(id);
        // SAFETY: a text's bytes behind a head, which stay until the next walk begins.
        unsafe { self.entries.seek_entries(self.begin.datum()) };
        self.at = self.entries.next_entry();
        (self.is_walking, self.behind, self.proven) = (true, 0, 0);
        true
    }

    fn give_up(&mut self) {
        self.rising_min = match self.proven >= PROVEN_MIN {
            true => RISING_MIN,
            false => (2 * self.rising_min).min(RISING_MAX),
        };
        (self.is_walking, self.rising) = (false, 0);
    }
}
