//! In charge of a reader who wants each record once: which of a record's changes is its latest up to the horizon, and
//! what leaves it has then.
//!
//! Most histories are a line, and the stream has most of it: A, then B on A, then C on B. What came so is known to have
//! a child each but for C, if nothing else of the record stands among them; and that is so if just as many entries of
//! the key's index stand from C down to A. They are counted, and only what stands below A is read again.

use pgrx::pg_sys;
use std::collections::HashMap;

use crate::body::Body;
use crate::lineage::{self, Leaf};
use crate::walk::Walk;

/// Records whose latest change is remembered.
const RECORDS_MAX: usize = 100_000;

pub struct Latest {
    seen: HashMap<String, Seen>,
    until: i64,
    /// The leaves of the record whose latest change was found last.
    pub leaves: Vec<Leaf>,
}

/// What the stream has said of a record so far.
struct Seen {
    /// The record's latest change is not below.
    number: i64,
    /// None where its revisions came otherwise.
    line: Option<Line>,
}

/// Revisions in their stored form, each of which came right on top of the one before.
pub struct Line {
    pub first: Vec<u8>,
    last: Vec<u8>,
    pub count: u32,
}

impl Line {
    fn of(body: &Body) -> Line {
        let first = body.revision().to_vec();
        Line { last: first.clone(), first, count: 1 }
    }

    fn with(mut self, body: &Body) -> Option<Line> {
        let revision = body.revision();
        if body.previous() != Some(&self.last) || revision <= self.last.as_slice() {
            return None;
        }
        self.last.clear();
        self.last.extend_from_slice(revision);
        self.count += 1;
        Some(self)
    }
}

/// The twin's rows of a record: those above a revision, and all.
pub struct Walks<'w, 'a> {
    pub higher: &'w mut Walk<'a>,
    pub records: &'w mut Walk<'a>,
}

impl Latest {
    pub fn until(horizon: i64) -> Latest {
        Latest { seen: HashMap::new(), until: horizon, leaves: Vec::new() }
    }

    /// Whether the record of this change has no later one; `other` is for rows that are looked at.
    pub fn is(&mut self, change: &Body, other: &mut Body, walks: Walks) -> bool {
        let number = change.number();
        let last = match self.see(change) {
            Some(known) if known > number => return false,
            Some(_) => self.look(change, other, walks.records),
            None => match self.later(change, other, walks.higher) {
                Some(later) => later,
                None => self.look(change, other, walks.records),
            },
        };
        if let Some(seen) = self.seen.get_mut(change.id()) {
            seen.number = last;
        }
        last == number
    }

    /// Takes note of a change, and says what the record's latest was known not to be below.
    fn see(&mut self, change: &Body) -> Option<i64> {
        if let Some(seen) = self.seen.get_mut(change.id()) {
            seen.line = seen.line.take().and_then(|line| line.with(change));
            return Some(seen.number);
        }
        if self.seen.len() == RECORDS_MAX {
            self.seen.clear();
        }
        let (number, line) = (change.number(), Some(Line::of(change)));
        self.seen.insert(change.id().to_owned(), Seen { number, line });
        None
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
        let (mut last, until) = (change.number(), self.until);
        let mut each = |other: &Body| {
            if !other.is_stub() && other.number() <= until {
                last = last.max(other.number());
            }
        };
        let line = self.seen.get(change.id()).and_then(|seen| seen.line.as_ref());
        let id: pg_sys::Datum = change.id_datum();
        let known = line.and_then(|line| {
            // SAFETY: the id stays as long as the change is at hand.
            unsafe { records.seek(id) };
            lineage::leaves_of_line(line, change, records, other, &mut each)
        });
        self.leaves = known.unwrap_or_else(|| {
            // SAFETY: as above.
            unsafe { records.seek(id) };
            lineage::leaves(records, other, |other, _| each(other))
        });
        last
    }
}
