//! In charge of one page of changes for who may read all of the twins: straight from their indexes, a row at a time.
//! `changes.rs` asks Postgres in SQL for everybody else.

use pgrx::pg_sys;
use pgrx::prelude::*;
use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use crate::body::{Body, Ancestry, push_revision};
use crate::answer::Shown;
use crate::changes::{Ask, Include};
use crate::error::Error;
use crate::policy;
use crate::shape::Shape;
use crate::walk::{self, Sight, Stored, Walk};

/// Where a reader names records, the stream itself is read if it has less than this many changes for each: a look
/// at a record's revisions costs about as much.
const CHANGES_A_RECORD: i64 = 64;
/// Winners of deleted records that are remembered: finding one takes a look at every revision.
const WINNERS_MAX: usize = 10_000;
/// Records whose latest change is remembered.
const LATEST_MAX: usize = 100_000;

/// Whether this page can be read here.
pub fn is_open(shapes: &[Rc<Shape>], ask: &Ask) -> bool {
    ask.filter.is_none() && shapes.iter().all(|shape| walk::is_open(shape) && !policy::applies(shape))
}

/// Hands each change above `since` and up to the horizon to `each`, in order, as many as are asked for; how many
/// those were, and the number of the last. None where a twin isn't as it was made.
pub fn page(
    shapes: &[Rc<Shape>],
    ask: &Ask,
    since: i64,
    horizon: i64,
    mut each: impl FnMut(&Shown),
) -> Option<(i64, i64)> {
    let sight = Sight::now();
    let sources: Option<Vec<Source>> =
        shapes.iter().map(|shape| Source::of(shape, &sight, ask, since, horizon)).collect();
    let mut sources = sources?;
    let mut heads: Vec<Option<i64>> = sources.iter_mut().map(Source::advance).collect();
    let (mut count, mut last) = (0, since);
    while count < ask.max {
        let first = heads.iter().enumerate().filter_map(|(at, head)| Some(((*head)?, at))).min();
        let Some((number, at)) = first else { break };
        pgrx::check_for_interrupts!();
        match ask.leaves {
            true => sources[at].show_leaves(ask.include, &mut each),
            false => sources[at].show(ask.include, &mut each),
        }
        heads[at] = sources[at].advance();
        (count, last) = (count + 1, number);
    }
    Some((count, last))
}

/// One table's changes.
struct Source<'a> {
    shape: &'a Shape,
    rows: Rows<'a>,
    /// The change at hand.
    body: Body<'a>,
    /// For the record's other revisions.
    records: Walk<'a>,
    higher: Walk<'a>,
    revisions: Walk<'a>,
    other: Body<'a>,
    winners: HashMap<String, Winner>,
    /// Each record's latest change, where only that is asked for.
    latest: Option<Latest>,
    texts: Texts,
    ancestor: Body<'a>,
}

enum Rows<'a> {
    InOrder(Box<Walk<'a>>, Option<HashSet<&'a str>>),
    /// Those of the records that were asked for, the last first.
    Listed(Vec<Listed>),
}

/// A change's number, its record's id as a text of Postgres's, its revision.
type Listed = (i64, pg_sys::Datum, Stored);

/// By record id a number that the record's latest change is not below.
struct Latest {
    numbers: HashMap<String, i64>,
    until: i64,
    /// The leaves of the record at hand.
    leaves: Vec<(Stored, bool)>,
}

#[derive(Clone)]
enum Winner {
    /// The change at hand.
    This,
    /// Another revision, and whether it has a body to show.
    Other(Stored, bool),
    None,
}

/// What a change is written into, one after the other.
#[derive(Default)]
struct Texts {
    revision: Vec<u8>,
    winner: Vec<u8>,
    record: Vec<u8>,
}

impl<'a> Source<'a> {
    fn of(
        shape: &'a Shape,
        sight: &'a Sight,
        ask: &'a Ask,
        since: i64,
        horizon: i64,
    ) -> Option<Source<'a>> {
        let numbers = Walk::of_numbers(shape, sight, since, horizon)?;
        let mut records = Walk::of_records(shape, sight);
        let mut other = Body::of(shape);
        let rows = match &ask.ids {
            Some(ids) if (horizon - since) / CHANGES_A_RECORD > ids.len() as i64 => {
                let ids: HashSet<&str> = ids.iter().map(String::as_str).collect();
                Rows::Listed(listed(&mut records, &mut other, ids, ask.leaves, since, horizon))
            }
            ids => {
                let ids = ids.as_ref().map(|ids| ids.iter().map(String::as_str).collect());
                Rows::InOrder(Box::new(numbers), ids)
            }
        };
        Some(Source {
            shape,
            rows,
            body: Body::of(shape),
            records,
            higher: Walk::of_higher(shape, sight),
            revisions: Walk::of_revisions(shape, sight),
            other,
            winners: HashMap::new(),
            latest: ask.leaves.then(|| Latest { numbers: HashMap::new(), until: horizon, leaves: Vec::new() }),
            texts: Texts::default(),
            ancestor: Body::of(shape),
        })
    }

    /// Takes the next change, and says its number.
    fn advance(&mut self) -> Option<i64> {
        loop {
            let number = self.next_change()?;
            if self.is_latest(number) {
                return Some(number);
            }
        }
    }

    fn next_change(&mut self) -> Option<i64> {
        match &mut self.rows {
            Rows::InOrder(walk, ids) => loop {
                let tuple = walk.next()?;
                // SAFETY: a tuple of the twin, which stays until the walk goes on.
                unsafe { self.body.take(tuple) };
                let is_asked = ids.as_ref().is_none_or(|ids| ids.contains(self.body.id()));
                if is_asked && !self.body.is_stub() {
                    return Some(self.body.number());
                }
                pgrx::check_for_interrupts!();
            },
            Rows::Listed(rows) => {
                let (number, id, revision) = rows.pop()?;
                // SAFETY: the id was made a text; the tuple is one of the twin's and is copied, for the walk goes on.
                unsafe { self.body.take_copy(self.revisions.find(id, revision.datum())?) };
                Some(number)
            }
        }
    }

    /// Whether the record at hand has no later change up to the horizon, where that matters.
    fn is_latest(&mut self, number: i64) -> bool {
        let Some(latest) = &mut self.latest else { return true };
        if let Some(known) = latest.numbers.get(self.body.id())
            && *known > number
        {
            return false;
        }
        if latest.numbers.len() == LATEST_MAX {
            latest.numbers.clear();
        }
        // Mostly what was edited was edited again, and there is a higher revision that came later.
        // SAFETY: the id and the revision stay as long as the change is at hand, the tuple until the walk goes on.
        unsafe {
            if let Some(tuple) = self.higher.find(self.body.id_datum(), self.body.revision_datum()) {
                self.other.take(tuple);
                let higher = self.other.number();
                if !self.other.is_stub() && (number + 1..=latest.until).contains(&higher) {
                    latest.numbers.insert(self.body.id().to_owned(), higher);
                    return false;
                }
            }
            self.records.seek(self.body.id_datum());
        }
        let (mut last, until) = (number, latest.until);
        latest.leaves = leaves(&mut self.records, &mut self.other, |other| {
            if !other.is_stub() && other.number() <= until {
                last = last.max(other.number());
            }
        });
        latest.numbers.insert(self.body.id().to_owned(), last);
        last == number
    }

    /// Shows the record at hand with its leaves: those that live before tombstones, the highest first.
    fn show_leaves(&mut self, include: Include, each: &mut impl FnMut(&Shown)) {
        let found = self.latest.as_mut().map(|latest| std::mem::take(&mut latest.leaves));
        let found = found.unwrap_or_default();
        let (living, deleted): (Vec<_>, Vec<_>) = found.into_iter().partition(|leaf| !leaf.1);
        let Texts { revision, winner, record } = &mut self.texts;
        for text in [&mut *revision, &mut *winner, &mut *record] {
            text.clear();
        }
        push_revision(self.body.revision(), revision);
        for (place, (stored, is_deleted)) in living.iter().chain(&deleted).enumerate() {
            if place == 0 {
                push_revision(stored.bytes(), winner);
            }
            record.push(if place == 0 { b'[' } else { b',' });
            if include == Include::Nothing {
                self.other.write_name(stored.bytes(), *is_deleted, record);
                continue;
            }
            // SAFETY: the id is a text, the tuple one of the twin's.
            let Some(row) = (unsafe { self.revisions.find(self.body.id_datum(), stored.datum()) })
            else {
                continue;
            };
            // SAFETY: as above; it is copied, for the walk goes on to the ancestors.
            unsafe { self.other.take_copy(row) };
            match include {
                Include::Revision => {
                    let line = line(&self.other, &mut self.revisions, &mut self.ancestor);
                    self.other.write(Ancestry::All(&line), record);
                }
                _ => self.other.write(Ancestry::Parent, record),
            }
        }
        let leaves = !record.is_empty();
        if leaves {
            record.push(b']');
        }
        each(&Shown {
            sequence: self.body.number(),
            table: &self.shape.wire_name,
            id: self.body.id(),
            revision: Some(ascii(revision)),
            deleted: self.body.is_deleted(),
            winner: leaves.then(|| ascii(winner)),
            record: None,
            leaves: leaves.then_some(record),
            has_left: false,
        });
    }

    fn show(&mut self, include: Include, each: &mut impl FnMut(&Shown)) {
        let winner = self.winner();
        let Texts { revision, winner: winner_text, record } = &mut self.texts;
        for text in [&mut *revision, &mut *winner_text, &mut *record] {
            text.clear();
        }
        push_revision(self.body.revision(), revision);
        let has_record = match (include, &winner) {
            (Include::Nothing, _) => false,
            (Include::Records, _) => {
                self.body.write(Ancestry::Parent, record);
                true
            }
            (Include::Revision, _) => {
                let line = line(&self.body, &mut self.revisions, &mut self.other);
                self.body.write(Ancestry::All(&line), record);
                true
            }
            (Include::Record, Winner::This) if !self.body.is_deleted() => {
                self.body.write(Ancestry::Parent, record);
                true
            }
            (Include::Record, Winner::Other(stored, true)) => {
                // SAFETY: the id is a text, the tuple one of the twin's.
                unsafe {
                    if let Some(tuple) = self.revisions.find(self.body.id_datum(), stored.datum()) {
                        self.other.take(tuple);
                        self.other.write(Ancestry::Parent, record);
                    }
                }
                !record.is_empty()
            }
            (Include::Record, _) => false,
        };
        if let Winner::Other(stored, _) = &winner {
            push_revision(stored.bytes(), winner_text);
        }
        let (revision, winner_text) = (ascii(revision), ascii(winner_text));
        each(&Shown {
            sequence: self.body.number(),
            table: &self.shape.wire_name,
            id: self.body.id(),
            revision: Some(revision),
            deleted: self.body.is_deleted(),
            winner: match winner {
                Winner::This => Some(revision),
                Winner::Other(..) => Some(winner_text),
                Winner::None => None,
            },
            record: has_record.then_some(record),
            leaves: None,
            has_left: false,
        });
    }

    /// The winner of the record at hand (DESIGN.md section 3). The highest revision has no child, so mostly it is it.
    fn winner(&mut self) -> Winner {
        // SAFETY: the id and the revision stay as long as the change is at hand.
        let higher = unsafe { self.higher.find(self.body.id_datum(), self.body.revision_datum()) };
        match higher {
            None if !self.body.is_deleted() => return Winner::This,
            None => {}
            Some(tuple) => {
                // SAFETY: a tuple of the twin, which stays until the walk goes on.
                unsafe { self.other.take(tuple) };
                if !self.other.is_deleted() && !self.other.is_stub() {
                    return Winner::Other(Stored::of(self.other.revision()), true);
                }
            }
        }
        if let Some(winner) = self.winners.get(self.body.id()) {
            return self.as_seen(winner.clone());
        }
        // SAFETY: the id stays.
        unsafe { self.records.seek(self.body.id_datum()) };
        let winner = among_all(&mut self.records, &mut self.other);
        if self.winners.len() == WINNERS_MAX {
            self.winners.clear();
        }
        self.winners.insert(self.body.id().to_owned(), winner.clone());
        self.as_seen(winner)
    }

    fn as_seen(&self, winner: Winner) -> Winner {
        match winner {
            Winner::Other(stored, _) if stored.bytes() == self.body.revision() => Winner::This,
            winner => winner,
        }
    }
}

/// The winner among all of a record's revisions: the highest living leaf, else the highest leaf.
fn among_all(records: &mut Walk, revision: &mut Body) -> Winner {
    let leaves = leaves(records, revision, |_| ());
    let living = leaves.iter().find(|(_, is_deleted)| !is_deleted);
    match living.or(leaves.first()) {
        Some((stored, is_deleted)) => Winner::Other(stored.clone(), !is_deleted),
        None => Winner::None,
    }
}

/// A record's leaves, the highest first, each with whether it deletes. Children come before their parents.
fn leaves(
    records: &mut Walk,
    revision: &mut Body,
    mut each: impl FnMut(&Body),
) -> Vec<(Stored, bool)> {
    let mut parents: HashSet<Vec<u8>> = HashSet::new();
    let mut leaves = Vec::new();
    while let Some(tuple) = records.next() {
        pgrx::check_for_interrupts!();
        // SAFETY: a tuple of the twin, which stays until the walk goes on.
        unsafe { revision.take(tuple) };
        each(revision);
        if !revision.is_stub() && !parents.contains(revision.revision()) {
            leaves.push((Stored::of(revision.revision()), revision.is_deleted()));
        }
        parents.extend(revision.previous().map(<[u8]>::to_vec));
    }
    leaves
}

fn ascii(revision: &[u8]) -> &str {
    std::str::from_utf8(revision).unwrap_or_else(|error| {
        Error::Internal(format!("a stored revision id can't be read: {error}")).report()
    })
}

/// A revision and its ancestors, as far as they are known by name.
fn line(revision: &Body, revisions: &mut Walk, ancestor: &mut Body) -> Vec<Vec<u8>> {
    let mut line = vec![revision.revision().to_vec()];
    let mut next = revision.previous().map(Stored::of);
    while let Some(stored) = next {
        line.push(stored.bytes().to_vec());
        // SAFETY: the id stays as long as the change is at hand, the tuple until the walk goes on.
        next = unsafe {
            revisions.find(revision.id_datum(), stored.datum()).and_then(|tuple| {
                ancestor.take(tuple);
                ancestor.previous().map(Stored::of)
            })
        };
    }
    line
}

/// The changes of these records between two numbers, the last first.
fn listed(
    records: &mut Walk,
    revision: &mut Body,
    ids: HashSet<&str>,
    only_latest: bool,
    since: i64,
    horizon: i64,
) -> Vec<Listed> {
    let mut rows = Vec::new();
    for id in ids {
        let Some(id) = id.into_datum() else { continue };
        let of_others = rows.len();
        // SAFETY: a text, which stays.
        unsafe { records.seek(id) };
        while let Some(tuple) = records.next() {
            pgrx::check_for_interrupts!();
            // SAFETY: a tuple of the twin, which stays until the walk goes on.
            unsafe { revision.take(tuple) };
            if !revision.is_stub() && (since + 1..=horizon).contains(&revision.number()) {
                rows.push((revision.number(), id, Stored::of(revision.revision())));
            }
        }
        if only_latest && rows.len() > of_others {
            rows[of_others..].sort_unstable_by_key(|(number, ..)| std::cmp::Reverse(*number));
            rows.truncate(of_others + 1);
        }
    }
    rows.sort_unstable_by_key(|(number, ..): &Listed| std::cmp::Reverse(*number));
    rows
}
