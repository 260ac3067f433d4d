//! In charge of a reader who wants each record once: which of a record's changes is its latest up to the horizon, and
//! what leaves it has then.

use pgrx::pg_sys;
use std::collections::HashMap;

use crate::body::Body;
use crate::lineage::{self, Leaf};
use crate::shape::Shape;
use crate::straight::Straight;
use crate::walk::{Sight, Stored, Walk};

/// Records whose latest change is remembered.
const RECORDS_MAX: usize = 100_000;

pub struct Latest<'a> {
    /// Numbers that records' latest changes are not below.
    seen: HashMap<String, i64>,
    until: i64,
    straight: Straight<'a>,
    /// The leaves of the record whose latest change was found last.
    pub leaves: Vec<Leaf>,
}

/// The twin's rows of a record: those above a revision, and all.
pub struct Walks<'w, 'a> {
    pub higher: &'w mut Walk<'a>,
    pub records: &'w mut Walk<'a>,
}

impl<'a> Latest<'a> {
    pub fn until(shape: &Shape, sight: &'a Sight, horizon: i64) -> Latest<'a> {
        let straight = Straight::of(shape, sight);
        Latest { seen: HashMap::new(), until: horizon, straight, leaves: Vec::new() }
    }

    /// Whether the record of this change has no later one; `other` is for rows that are looked at.
    pub fn is(&mut self, change: &Body, other: &mut Body, walks: Walks) -> bool {
        let (number, known) = (change.number(), self.seen.get(change.id()).copied());
        if known.is_some_and(|known| known > number) {
            return false;
        }
        let later = match known {
            Some(_) => None,
            None => self.later(change, other, walks.higher),
        };
        let last = later.unwrap_or_else(|| self.look(change, other, walks.records));
        self.remember(change.id(), last);
        last == number
    }

    /// Takes a change of which it is known that it is its record's latest, and only leaf.
    pub fn take(&mut self, change: &Body) {
        self.leaves = vec![(Stored::of(change.revision()), change.is_deleted())];
    }

    fn remember(&mut self, id: &str, number: i64) {
        if let Some(seen) = self.seen.get_mut(id) {
            *seen = number;
            return;
        }
        if self.seen.len() == RECORDS_MAX {
            self.seen.clear();
        }
        self.seen.insert(id.to_owned(), number);
    }

    /// The number of the highest revision above a change, if it came later: mostly what was edited was edited again.
    fn later(&self, change: &Body, other: &mut Body, higher: &mut Walk) -> Option<i64> {
        // SAFETY: the id and the revision stay as long as the change is at hand, the tuple until the walk goes on.
        unsafe {
            other.take(higher.find(change.id_datum(), change.revision_datum())?);
        }
        let range = change.number() + 1..=self.until;
        (!other.is_stub() && range.contains(&other.number())).then(|| other.number())
    }

    /// The number of the record's latest change, with its leaves.
    fn look(&mut self, change: &Body, other: &mut Body, records: &mut Walk) -> i64 {
        if self.straight.has_top(change) {
            self.take(change);
            return change.number();
        }
        let (mut last, until) = (change.number(), self.until);
        let id: pg_sys::Datum = change.id_datum();
        // SAFETY: the id stays as long as the change is at hand.
        unsafe { records.seek(id) };
        self.leaves = lineage::leaves(records, other, |other, _| {
            if !other.is_stub() && other.number() <= until {
                last = last.max(other.number());
            }
        });
        last
    }
}
