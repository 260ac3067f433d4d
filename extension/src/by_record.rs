//! In charge of a reader who wants each record once and has many changes of each to catch up with: a year's, say.
//! Then most changes are passed, and each takes a look at its row. The twin's key has all revisions of a record
//! together: its entries are read from end to end, and of a record that is a line (`straight.rs`) one row.

use pgrx::pg_sys;

use crate::body::Body;
use crate::history;
use crate::key_page::KeyEntry;
use crate::key_pages::KeyPages;
use crate::named::ROWS_KEPT_BYTES_MAX;
use crate::shape::Shape;
use crate::straight::generation;
use crate::unordered::Listed;
use crate::walk::{Sight, Stored, Walk};

/// Changes between two looks at whether it pays to go by records, and before the first.
const CHANGES_BETWEEN: i64 = 1024;
const CHANGES_BEFORE: i64 = 128;
/// What it costs, in changes that are passed (0.3 µs each, measured with a hundred revisions of 10,000 records): a page of
/// the key's entries, and a record's row by its key or by a look from a change.
const COST_OF_PAGE: i64 = 10;
const COST_OF_RECORD: i64 = 4;

/// How a reader of changes gets on.
pub struct Pace<'a> {
    shape: &'a Shape,
    sight: &'a Sight,
    since: i64,
    until: i64,
    max: i64,
    passed: i64,
    shown: i64,
    /// Pages of the key, and records.
    size: Option<(i64, i64)>,
}

impl<'a> Pace<'a> {
    pub fn of(shape: &'a Shape, sight: &'a Sight, since: i64, until: i64, max: i64) -> Pace<'a> {
        Pace { shape, sight, since, until, max, passed: 0, shown: 0, size: None }
    }

    /// Takes note of a change, and whether it was shown; the changes that are left, the last first, where they are
    /// better found by records.
    pub fn note(&mut self, number: i64, is_shown: bool) -> Option<Vec<Change>> {
        self.passed += 1;
        self.shown += i64::from(is_shown);
        let is_time = self.passed % CHANGES_BETWEEN == CHANGES_BEFORE;
        if is_shown || !is_time || !self.is_slow(number) {
            return None;
        }
        let changes = self.by_record(number);
        if changes.is_none() {
            self.size = Some((0, 0));
        }
        changes
    }

    /// Whether what is left of the page takes longer by changes, if it goes on as it went so far.
    fn is_slow(&mut self, number: i64) -> bool {
        // SAFETY: the table is there as long as the shape is held.
        let records = || unsafe { rows(self.shape.relation) };
        let size = || (history::pages(self.shape.twin_index()).into(), records());
        let (pages, records) = *self.size.get_or_insert_with(size);
        if records <= 0 {
            return false;
        }
        let wanted = self.max - self.shown;
        let mut left = part(self.until - number, self.passed, number - self.since);
        if self.shown > 0 {
            left = left.min(part(wanted, self.passed, self.shown));
        }
        let found = wanted.min(records).min(left);
        let by_change = left + found * COST_OF_RECORD + part(pages * COST_OF_PAGE, found, records);
        by_change > pages * COST_OF_PAGE + records * COST_OF_RECORD
    }

    /// The latest change of each record, if it is above a number: the first of them, the last first. None where the
    /// key has entries that can't be read where they stand.
    fn by_record(&self, since: i64) -> Option<Vec<Change>> {
        let key = Walk::of_records(self.shape, self.sight);
        let mut pages = KeyPages::of(&key, self.sight)?;
        let mut found = Found {
            range: since + 1..=self.until,
            body: Body::of(self.shape),
            tops: Walk::of_places(self.shape, self.sight),
            records: Walk::of_records(self.shape, self.sight),
            listed: Listed::of(self.shape, self.sight),
            kept: Kept::at_most(self.max as usize),
        };
        let mut record = Record::default();
        while pages.advance().ok()? {
            let (mut at, count) = (0, pages.count().ok()?);
            while at < count {
                at += record.pass(&pages, at);
                let entry = pages.entry(at).ok()?;
                at += 1;
                match entry {
                    None => {}
                    Some(entry) if record.has(entry.id) => record.go_on(&entry),
                    Some(entry) => {
                        found.end(&record);
                        record.begin(&entry);
                    }
                }
            }
        }
        found.end(&record);
        Some(found.kept.in_order())
    }
}

/// The record whose entries are being read, from the lowest revision up.
#[derive(Default)]
struct Record {
    has_begun: bool,
    id: Vec<u8>,
    /// The last entry's revision, and where its rows are: a row may have had versions.
    top: Vec<u8>,
    places: Vec<pg_sys::ItemPointerData>,
    /// The top's, of a line so far; none of anything else.
    generation: Option<u64>,
}

impl Record {
    fn has(&self, id: &[u8]) -> bool {
        self.has_begun && self.id == id
    }

    fn begin(&mut self, entry: &KeyEntry) {
        self.has_begun = true;
        self.id.clear();
        self.id.extend_from_slice(entry.id);
        self.generation = (generation(entry.revision) == 1).then_some(0);
        self.keep(entry);
    }

    /// Passes entries of the line that have another of it behind them; how many.
    fn pass(&mut self, pages: &KeyPages, at: usize) -> usize {
        let Some(top) = self.generation.filter(|_| self.has_begun) else { return 0 };
        let passed = pages.rising(at, &self.id, top + 1).saturating_sub(1);
        self.generation = Some(top + passed as u64);
        passed
    }

    fn go_on(&mut self, entry: &KeyEntry) {
        match self.generation {
            Some(top) if generation(entry.revision) == top + 1 => self.keep(entry),
            Some(_) if self.top == entry.revision => self.places.push(entry.place()),
            _ => self.generation = None,
        }
    }

    fn keep(&mut self, entry: &KeyEntry) {
        self.generation = self.generation.map(|top| top + 1);
        self.top.clear();
        self.top.extend_from_slice(entry.revision);
        self.places.clear();
        self.places.push(entry.place());
    }
}

/// What the top of a line says of its record.
enum Top {
    /// Neither shown nor in the way.
    Before,
    Shown(Change),
    /// Nothing.
    Other,
}

/// What was found so far.
struct Found<'a> {
    range: std::ops::RangeInclusive<i64>,
    body: Body<'a>,
    tops: Walk<'a>,
    records: Walk<'a>,
    listed: Listed<'a>,
    kept: Kept,
}

impl Found<'_> {
    /// Takes what is to be shown of a record whose entries have been read.
    fn end(&mut self, record: &Record) {
        if !record.has_begun {
            return;
        }
        let id = Stored::of(&record.id);
        // SAFETY: a text by its bytes.
        let is_line = record.generation.is_some() && unsafe { !self.listed.has(id.datum()) };
        match is_line.then(|| self.top(&record.places)) {
            Some(Top::Before) => {}
            Some(Top::Shown(change)) => self.kept.push(change),
            Some(Top::Other) | None => self.look(&id),
        }
    }

    fn top(&mut self, places: &[pg_sys::ItemPointerData]) -> Top {
        let tops = &mut self.tops;
        let Some(row) = places.iter().find_map(|place| tops.row_at(*place)) else {
            return Top::Other;
        };
        // SAFETY: a row of the twin, which stays until the walk goes on.
        unsafe { self.body.take(row) };
        match self.body.number() {
            _ if self.body.is_stub() => Top::Other,
            number if number > *self.range.end() => Top::Other,
            number if number < *self.range.start() || !self.kept.wants(number) => Top::Before,
            _ => Top::Shown(self.kept.change(&self.body, true)),
        }
    }

    /// Looks at all rows of a record.
    fn look(&mut self, id: &Stored) {
        let mut latest: Option<Change> = None;
        // SAFETY: a text by its bytes, which stays.
        unsafe { self.records.seek(id.datum()) };
        while let Some(row) = self.records.next() {
            pgrx::check_for_interrupts!();
            // SAFETY: a row of the twin, which stays until the walk goes on.
            unsafe { self.body.take(row) };
            let number = self.body.number();
            let is_later = latest.as_ref().is_none_or(|latest| latest.number < number);
            if is_later && !self.body.is_stub() && number <= *self.range.end() {
                latest = Some(self.kept.change(&self.body, false));
            }
        }
        if let Some(latest) = latest.filter(|latest| self.range.contains(&latest.number)) {
            self.kept.push(latest);
        }
    }
}

/// The first changes of what was found.
struct Kept {
    changes: Vec<Change>,
    max: usize,
    /// None from here on are among the first.
    bound: i64,
    bytes: u32,
}

impl Kept {
    fn at_most(max: usize) -> Kept {
        Kept { changes: Vec::new(), max, bound: i64::MAX, bytes: 0 }
    }

    fn wants(&self, number: i64) -> bool {
        number < self.bound
    }

    fn change(&self, body: &Body, is_only_leaf: bool) -> Change {
        Change {
            number: body.number(),
            id: Stored::of(body.id().as_bytes()),
            revision: Stored::of(body.revision()),
            row: (self.bytes < ROWS_KEPT_BYTES_MAX).then(|| Row(body.copied())),
            is_only_leaf,
        }
    }

    fn push(&mut self, change: Change) {
        self.bytes = self.bytes.saturating_add(change.bytes());
        self.changes.push(change);
        if self.changes.len() >= 2 * self.max {
            self.sort();
            self.changes.drain(..self.changes.len() - self.max);
            self.bound = self.changes.first().map_or(i64::MAX, |last| last.number);
            self.bytes = self.changes.iter().map(Change::bytes).fold(0, u32::saturating_add);
        }
    }

    fn sort(&mut self) {
        self.changes.sort_unstable_by_key(|change| std::cmp::Reverse(change.number));
    }

    fn in_order(mut self) -> Vec<Change> {
        self.sort();
        self.changes
    }
}

/// A record's latest change.
pub struct Change {
    pub number: i64,
    pub revision: Stored,
    /// A text, by its bytes.
    pub id: Stored,
    /// Its row, as long as they take little.
    pub row: Option<Row>,
    /// Whether it is known to be the record's only leaf.
    pub is_only_leaf: bool,
}

impl Change {
    fn bytes(&self) -> u32 {
        // SAFETY: the row is there.
        self.row.as_ref().map_or(0, |row| unsafe { (*row.0).t_len })
    }
}

/// A copy of a row.
pub struct Row(pg_sys::HeapTuple);

impl Row {
    /// For who frees it.
    pub fn into_tuple(self) -> pg_sys::HeapTuple {
        std::mem::ManuallyDrop::new(self).0
    }
}

impl Drop for Row {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // SAFETY: a copy that nobody else has.
            unsafe { pg_sys::heap_freetuple(self.0) };
        }
    }
}

/// So much of a whole as one count is of another.
fn part(whole: i64, count: i64, of: i64) -> i64 {
    (whole as f64 * count as f64 / of.max(1) as f64) as i64
}

/// How many rows a table had when Postgres last counted; less than none where it hasn't.
///
/// # Safety
/// The table must be there.
unsafe fn rows(table: pg_sys::Oid) -> i64 {
    // SAFETY: the caller vouches for it; it is open while it is looked at.
    unsafe {
        let table = pg_sys::table_open(table, pg_sys::AccessShareLock as pg_sys::LOCKMODE);
        let rows = (*(*table).rd_rel).reltuples;
        pg_sys::table_close(table, pg_sys::NoLock as pg_sys::LOCKMODE);
        rows as i64
    }
}
