//! In charge of one page of changes for who may read all of the twins: straight from their indexes, a row at a time.
//! `changes.rs` asks Postgres in SQL for everybody else.

use pgrx::pg_sys;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet, VecDeque};
use std::rc::Rc;

use crate::answer::Shown;
use crate::body::{Ancestry, Body, push_revision};
use crate::by_record::{self, Pace};
use crate::changes::{Ask, Include};
use crate::error::Error;
use crate::form::{Form, Json, Writer};
use crate::jsonb::Jsonb;
use crate::latest::{Latest, Walks};
use crate::lineage::{self, Leaf, Winner};
use crate::matching::Matching;
use crate::named::{self, Named};
use crate::nearby::Nearby;
use crate::policy;
use crate::reach::Reach;
use crate::shape::Shape;
use crate::walk::{self, Gate, Sight, Stored, Walk};

/// Where a reader names records, the stream itself is read if it has less than this many changes for each: a look
/// at a record's revisions costs about as much.
pub const CHANGES_A_RECORD: i64 = 64;
/// Winners of deleted records that are remembered: finding one takes a look at every revision.
const WINNERS_MAX: usize = 10_000;
/// Changes that are put to the policies at once.
const CHANGES_AT_ONCE: usize = 1000;

/// Whether this page can be read here.
pub fn is_for(shapes: &[Rc<Shape>], ask: &Ask) -> bool {
    shapes.iter().all(|shape| match walk::gate(shape) {
        Gate::Open => !policy::applies(shape),
        // Which of a record's changes is the last that is seen, and what a filter matches of it, is asked in SQL.
        Gate::Policies => {
            let is_plain = !ask.leaves && ask.filter.is_none();
            is_plain && policy::applies(shape) && policy::is_ours_alone(shape)
        }
        Gate::Closed => false,
    })
}

/// A table, and what the caller reaches of it, where that was looked up.
pub type Table = (Rc<Shape>, Option<Reach>);

/// Hands each change above `since` and up to the horizon to `each`, in order, as many as are asked for; how many
/// those were, and the number of the last. None where a twin isn't as it was made.
pub fn page(
    tables: &[Table],
    ask: &Ask,
    since: i64,
    horizon: i64,
    mut each: impl FnMut(&Shown),
) -> Option<(i64, i64)> {
    let sight = Sight::now();
    let range = Range { since, horizon };
    let waiting: Option<Vec<Waiting>> = tables
        .iter()
        .map(|(shape, reach)| Waiting::of(shape, reach.as_ref(), &sight, ask, range))
        .collect();
    let mut waiting: Vec<Option<Waiting>> = waiting?.into_iter().map(Some).collect();
    let mut sources: Vec<Option<Source>> = waiting.iter().map(|_| None).collect();
    let firsts = waiting.iter_mut().enumerate().filter_map(|(at, table)| {
        let number = table.as_mut()?.numbers.first_number()?;
        Some(Reverse((number, at)))
    });
    let mut heads: BinaryHeap<Reverse<(i64, usize)>> = firsts.collect();
    let (mut count, mut last) = (0, since);
    while count < ask.max {
        let Some(Reverse((number, at))) = heads.pop() else { break };
        pgrx::check_for_interrupts!();
        if let Some(source) = &mut sources[at] {
            match ask.leaves {
                _ if source.has_left() => source.show_left(&mut each),
                true => source.show_leaves(&mut each),
                false => source.show(&mut each),
            }
            (count, last) = (count + 1, number);
        } else if let Some(table) = waiting[at].take() {
            sources[at] = Some(Source::of(table, &sight, ask, range));
        }
        let next = sources[at].as_mut().and_then(Source::advance);
        heads.extend(next.map(|number| Reverse((number, at))));
    }
    Some((count, last))
}

/// The numbers that are asked for: those above the first, and up to the other.
#[derive(Clone, Copy)]
struct Range {
    since: i64,
    horizon: i64,
}

/// A table whose turn hasn't come: what it takes to show its changes is not made before, for of a thousand tables few
/// have any on a page.
struct Waiting<'a> {
    shape: &'a Shape,
    reach: Option<&'a Reach>,
    numbers: Walk<'a>,
    matching: Option<Matching<'a>>,
}

impl<'a> Waiting<'a> {
    /// None where the twin isn't as it was made, or what matches is better asked in SQL.
    fn of(
        shape: &'a Shape,
        reach: Option<&'a Reach>,
        sight: &'a Sight,
        ask: &'a Ask,
        Range { since, horizon }: Range,
    ) -> Option<Waiting<'a>> {
        let numbers = Walk::of_numbers(shape, sight, since, horizon)?;
        let matching = match &ask.filter {
            None => None,
            Some(filter) => Some(Matching::of(shape, filter, horizon - since)?),
        };
        Some(Waiting { shape, reach, numbers, matching })
    }
}

/// Whether a look at each of so many records is less than one at all changes between two numbers.
pub fn are_few(records: usize, since: i64, until: i64) -> bool {
    (until - since) / CHANGES_A_RECORD > records as i64
}

/// These ids in the order of their bytes, each once.
fn in_order<'a>(ids: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut ids: Vec<&str> = ids.collect();
    ids.sort_unstable();
    ids.dedup();
    ids
}

/// One table's changes.
struct Source<'a> {
    shape: &'a Shape,
    include: Include,
    form: Form,
    rows: Rows<'a>,
    matching: Option<Matching<'a>>,
    /// What was looked through and is shown to the caller, where row-level security hides some.
    seen: Option<VecDeque<Looked>>,
    reach: Option<&'a Reach>,
    /// The change at hand.
    body: Body<'a>,
    /// Whether it is known to be the record's highest revision.
    is_highest: bool,
    /// For the record's other revisions.
    records: Walk<'a>,
    higher: Walk<'a>,
    nearby: Nearby<'a>,
    revisions: Walk<'a>,
    other: Body<'a>,
    winners: HashMap<String, Winner>,
    /// Each record's latest change, where only that is asked for.
    latest: Option<Latest<'a>>,
    /// Where all records' changes are passed for that.
    pace: Option<Pace<'a>>,
    /// Whether the change at hand is known to be the record's latest and its only leaf.
    is_only_leaf: bool,
    texts: Texts,
    ancestor: Body<'a>,
}

enum Rows<'a> {
    InOrder(Box<Walk<'a>>, Option<HashSet<String>>),
    /// Those of the records that were asked for, the last first.
    Listed(Vec<Named>),
    /// Those that are left of all records, each one's latest, the last first.
    ByRecord(Vec<by_record::Change>),
}

/// A change that is looked through for whether the caller may see it.
struct Looked {
    number: i64,
    tuple: pg_sys::HeapTuple,
    id: String,
    /// The revision that has a body.
    body: Option<Stored>,
    is_highest: bool,
}

/// What a change is written into, one after the other.
#[derive(Default)]
struct Texts {
    revision: Vec<u8>,
    winner: Vec<u8>,
    record: Vec<u8>,
}

impl Texts {
    fn clear(&mut self) {
        self.revision.clear();
        self.winner.clear();
        self.record.clear();
    }
}

impl<'a> Source<'a> {
    fn of(table: Waiting<'a>, sight: &'a Sight, ask: &'a Ask, range: Range) -> Source<'a> {
        let Waiting { shape, reach, numbers, matching } = table;
        let Range { since, horizon } = range;
        let asked = ask.ids.as_ref().map(|ids| in_order(ids.iter().map(String::as_str)));
        let mut ids = asked.or_else(|| Some(in_order(reach?.ids())));
        if let Some(matching) = &matching {
            let matching = matching.revisions.keys().map(String::as_str);
            let fits = |id: &&str| ids.as_ref().is_none_or(|ids| ids.binary_search(id).is_ok());
            ids = Some(in_order(matching.filter(fits)));
        }
        let is_hidden = policy::applies(shape);
        let passes_all = ask.leaves && !is_hidden && ids.is_none();
        let pace = || Pace::of(shape, sight, since, horizon, ask.max);
        let rows = match ids {
            Some(ids) if are_few(ids.len(), since, horizon) => {
                Rows::Listed(named::changes(shape, sight, &ids, ask.leaves, since, horizon))
            }
            ids => {
                let ids = ids.map(|ids| ids.into_iter().map(str::to_owned).collect());
                Rows::InOrder(Box::new(numbers), ids)
            }
        };
        Source {
            shape,
            include: ask.include,
            form: ask.form,
            rows,
            matching,
            seen: is_hidden.then(VecDeque::new),
            reach,
            body: Body::of(shape),
            is_highest: false,
            records: Walk::of_records(shape, sight),
            higher: Walk::of_higher(shape, sight),
            nearby: Nearby::of(shape, sight),
            revisions: Walk::of_revisions(shape, sight),
            other: Body::of(shape),
            winners: HashMap::new(),
            latest: ask.leaves.then(|| Latest::until(shape, sight, horizon)),
            pace: passes_all.then(pace),
            is_only_leaf: false,
            texts: Texts::default(),
            ancestor: Body::of(shape),
        }
    }

    /// Takes the next change, and says its number.
    fn advance(&mut self) -> Option<i64> {
        loop {
            let number = self.next_change()?;
            let is_latest = self.is_latest();
            let left = self.pace.as_mut().and_then(|pace| pace.note(number, is_latest));
            if let Some(left) = left {
                (self.rows, self.pace) = (Rows::ByRecord(left), None);
            }
            if is_latest {
                return Some(number);
            }
        }
    }

    fn next_change(&mut self) -> Option<i64> {
        if self.seen.is_none() {
            return self.next_row();
        }
        loop {
            if let Some(row) = self.seen.as_mut().and_then(VecDeque::pop_front) {
                // SAFETY: a copy of a tuple of the twin.
                unsafe { self.body.keep(row.tuple) };
                self.is_highest = row.is_highest;
                return Some(row.number);
            }
            let number = self.next_row()?;
            match self.is_reached() {
                Some(true) => return Some(number),
                Some(false) => {
                    pgrx::check_for_interrupts!();
                }
                None => self.look_on(number),
            }
        }
    }

    /// Whether the caller is shown the change at hand, where what it reaches tells.
    fn is_reached(&self) -> Option<bool> {
        let revision = (!self.body.is_deleted()).then(|| self.body.revision());
        self.reach?.shows(self.body.id(), revision)
    }

    /// Looks through the change at hand and some more for those that the caller may see.
    fn look_on(&mut self, number: i64) {
        let mut rows: Vec<Looked> = Vec::new();
        let mut next = Some(number);
        while let Some(number) = next {
            rows.push(Looked {
                number,
                tuple: self.body.copied(),
                id: self.body.id().to_owned(),
                body: (!self.body.is_deleted()).then(|| Stored::of(self.body.revision())),
                is_highest: self.is_highest,
            });
            let is_full = rows.len() == CHANGES_AT_ONCE;
            next = (!is_full).then(|| self.next_row()).flatten();
        }
        let is_visible = |id: &str| self.reach.is_some_and(|reach| reach.shows(id, None).is_some());
        let ids = in_order(rows.iter().map(|row| row.id.as_str()).filter(|id| !is_visible(id)));
        let ids: Vec<String> = ids.into_iter().map(str::to_owned).collect();
        let seen = policy::seen_of(self.shape, &ids);
        let is_seen = |row: &Looked| seen.contains(&row.id) || is_visible(&row.id);
        let mut shown = self.shown_of(rows.iter().filter(|row| is_seen(row))).into_iter();
        let queue = self.seen.get_or_insert_default();
        for row in rows {
            if is_seen(&row) && shown.next() == Some(true) {
                queue.push_back(row);
            } else {
                // SAFETY: a copy that nobody else has.
                unsafe { pg_sys::heap_freetuple(row.tuple) };
            }
        }
    }

    /// Which of these changes have a body that passes the policies, or none.
    fn shown_of<'b>(&self, rows: impl Iterator<Item = &'b Looked>) -> Vec<bool> {
        let rows: Vec<&Looked> = rows.collect();
        if let Some(reach) = self.reach {
            let is_shown = |row: &&Looked| {
                row.body.as_ref().is_none_or(|revision| reach.passes(&row.id, revision.bytes()))
            };
            return rows.iter().map(is_shown).collect();
        }
        let with_body = rows.iter().filter(|row| row.body.is_some());
        let bodies: Vec<pg_sys::Datum> =
            with_body.map(|row| self.body.datum_of(row.tuple)).collect();
        let mut shown = policy::shown_of(self.shape, &bodies).into_iter();
        for body in bodies {
            // SAFETY: it was made above.
            unsafe { pg_sys::pfree(body.cast_mut_ptr()) };
        }
        rows.iter().map(|row| row.body.is_none() || shown.next() == Some(true)).collect()
    }

    fn next_row(&mut self) -> Option<i64> {
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
                let Named { number, id, revision, row, is_highest } = rows.pop()?;
                self.is_highest = is_highest;
                // SAFETY: the id was made a text.
                unsafe { self.take_kept(row, id, &revision)? };
                Some(number)
            }
            Rows::ByRecord(changes) => {
                let by_record::Change { number, id, revision, row, is_only_leaf } =
                    changes.pop()?;
                self.is_only_leaf = is_only_leaf;
                // SAFETY: the id is a text by its bytes.
                unsafe {
                    self.take_kept(row.map(by_record::Row::into_tuple), id.datum(), &revision)?
                };
                Some(number)
            }
        }
    }

    /// Takes the row that was kept of a change, or looks for it again.
    ///
    /// # Safety
    /// The id must be a text.
    unsafe fn take_kept(
        &mut self,
        row: Option<pg_sys::HeapTuple>,
        id: pg_sys::Datum,
        revision: &Stored,
    ) -> Option<()> {
        // SAFETY: what was kept is a copy; what wasn't is one of the twin's, and is copied, for the walk goes on.
        unsafe {
            match row {
                Some(row) => self.body.keep(row),
                None => self.body.take_copy(self.revisions.find(id, revision.datum())?),
            }
        }
        Some(())
    }

    /// Whether the record at hand has no later change up to the horizon, where that matters.
    fn is_latest(&mut self) -> bool {
        let Some(latest) = &mut self.latest else { return true };
        if self.is_only_leaf {
            latest.take(&self.body);
            return true;
        }
        let walks = Walks { higher: &mut self.higher, records: &mut self.records };
        latest.is(&self.body, &mut self.other, walks)
    }

    /// Whether the record at hand matched once and does no longer. What is deleted has not left.
    fn has_left(&mut self) -> bool {
        if self.matching.is_none() {
            return false;
        }
        let winner = match self.winner() {
            Winner::This if !self.body.is_deleted() => Stored::of(self.body.revision()),
            Winner::Other(stored, true) => stored,
            _ => return false,
        };
        let id = self.body.id();
        self.matching.as_ref().is_some_and(|matching| !matching.has(self.shape, id, &winner))
    }

    fn show_left(&self, each: &mut impl FnMut(&Shown)) {
        each(&Shown {
            sequence: self.body.number(),
            table: &self.shape.wire_name,
            id: self.body.id(),
            revision: None,
            deleted: false,
            winner: None,
            record: None,
            leaves: None,
            has_left: true,
        });
    }

    /// Shows the record at hand with its leaves: those that live before tombstones, the highest first.
    fn show_leaves(&mut self, each: &mut impl FnMut(&Shown)) {
        let found = self.latest.as_mut().map(|latest| std::mem::take(&mut latest.leaves));
        let (mut leaves, deleted): (Vec<Leaf>, Vec<Leaf>) =
            found.unwrap_or_default().into_iter().partition(|(_, is_deleted)| !is_deleted);
        leaves.extend(deleted);
        let mut texts = std::mem::take(&mut self.texts);
        texts.clear();
        push_revision(self.body.revision(), &mut texts.revision);
        if let Some((highest, _)) = leaves.first() {
            push_revision(highest.bytes(), &mut texts.winner);
            match self.form {
                Form::Json => self.write_leaves(&leaves, &mut Json(&mut texts.record)),
                Form::Jsonb => self.write_leaves(&leaves, &mut Jsonb::on(&mut texts.record)),
            }
        }
        let there = !leaves.is_empty();
        each(&Shown {
            sequence: self.body.number(),
            table: &self.shape.wire_name,
            id: self.body.id(),
            revision: Some(ascii(&texts.revision)),
            deleted: self.body.is_deleted(),
            winner: there.then(|| ascii(&texts.winner)),
            record: None,
            leaves: there.then_some(&texts.record),
            has_left: false,
        });
        self.texts = texts;
    }

    fn write_leaves(&mut self, leaves: &[Leaf], out: &mut impl Writer) {
        out.list(leaves.len(), |out, at| self.write_leaf(&leaves[at], out));
    }

    fn write_leaf(&mut self, (stored, is_deleted): &Leaf, out: &mut impl Writer) {
        if self.include == Include::Nothing {
            return self.body.write_name(stored.bytes(), *is_deleted, out);
        }
        if self.include == Include::Records && stored.bytes() == self.body.revision() {
            return self.body.write(Ancestry::Parent, out);
        }
        // SAFETY: the id is a text, the tuple one of the twin's.
        let row = unsafe { self.revisions.find(self.body.id_datum(), stored.datum()) };
        let row = row.unwrap_or_else(|| {
            Error::Internal(format!("a leaf of record {:?} is gone", self.body.id())).report()
        });
        // SAFETY: as above; it is copied, for the walk goes on to the ancestors.
        unsafe { self.other.take_copy(row) };
        if self.include == Include::Revision {
            let line = lineage::line(&self.other, &mut self.revisions, &mut self.ancestor);
            return self.other.write(Ancestry::All(&line), out);
        }
        self.other.write(Ancestry::Parent, out);
    }

    fn show(&mut self, each: &mut impl FnMut(&Shown)) {
        let winner = self.winner();
        self.texts.clear();
        push_revision(self.body.revision(), &mut self.texts.revision);
        let has_record = self.write_record(&winner);
        let Texts { revision, winner: winner_text, record } = &mut self.texts;
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

    /// Whether a record goes with the change at hand, which is written then.
    fn write_record(&mut self, winner: &Winner) -> bool {
        let (form, record) = (self.form, &mut self.texts.record);
        match (self.include, winner) {
            (Include::Records, _) => self.body.append(Ancestry::Parent, form, record),
            (Include::Revision, _) => {
                let line = lineage::line(&self.body, &mut self.revisions, &mut self.other);
                self.body.append(Ancestry::All(&line), form, record);
            }
            (Include::Record, Winner::This) if !self.body.is_deleted() => {
                self.body.append(Ancestry::Parent, form, record);
            }
            (Include::Record, Winner::Other(stored, true)) => {
                // SAFETY: the id is a text, the tuple one of the twin's.
                unsafe {
                    if let Some(tuple) = self.revisions.find(self.body.id_datum(), stored.datum()) {
                        self.other.take(tuple);
                        self.other.append(Ancestry::Parent, form, record);
                    }
                }
            }
            _ => {}
        }
        !record.is_empty()
    }

    /// The winner of the record at hand (DESIGN.md section 3). The highest revision has no child, so mostly it is it.
    fn winner(&mut self) -> Winner {
        if !self.body.is_deleted() && self.is_highest() {
            return Winner::This;
        }
        // SAFETY: the id and the revision stay as long as the change is at hand.
        let higher = unsafe { self.higher.find(self.body.id_datum(), self.body.revision_datum()) };
        match higher {
            None if !self.body.is_deleted() => return Winner::This,
            Some(tuple) if self.seen.is_none() => {
                // SAFETY: a tuple of the twin, which stays until the walk goes on.
                unsafe { self.other.take(tuple) };
                if !self.other.is_deleted() && !self.other.is_stub() {
                    return Winner::Other(Stored::of(self.other.revision()), true);
                }
            }
            _ => {}
        }
        if let Some(winner) = self.winners.get(self.body.id()) {
            return self.as_seen(winner.clone());
        }
        // SAFETY: the id stays.
        unsafe { self.records.seek(self.body.id_datum()) };
        let winner = match self.seen {
            None => lineage::among_all(&mut self.records, &mut self.other),
            Some(_) => lineage::among_seen(self.shape, &mut self.records, &mut self.other),
        };
        if self.winners.len() == WINNERS_MAX {
            self.winners.clear();
        }
        self.winners.insert(self.body.id().to_owned(), winner.clone());
        self.as_seen(winner)
    }

    /// Whether the change at hand is known to be the record's highest revision.
    fn is_highest(&mut self) -> bool {
        self.is_highest || self.nearby.is_highest(self.body.id().as_bytes(), self.body.revision())
    }

    fn as_seen(&self, winner: Winner) -> Winner {
        match winner {
            Winner::Other(stored, _) if stored.bytes() == self.body.revision() => Winner::This,
            winner => winner,
        }
    }
}

fn ascii(revision: &[u8]) -> &str {
    std::str::from_utf8(revision).unwrap_or_else(|error| {
        Error::Internal(format!("a stored revision id can't be read: {error}")).report()
    })
}
