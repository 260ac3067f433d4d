//! In charge of a reader who wants each record once and has many changes of each to catch up with: a year's, say.
//! Then most changes are passed, and each takes a look at its row. The twin's key has all revisions of a record
//! together: its entries are read from end to end, and of a record that is a line (`straight.rs`) one row.

use pgrx::pg_sys;

use crate::body::Body;
use crate::history;
use crate::named::ROWS_KEPT_BYTES_MAX;
use crate::shape::Shape;
use crate::straight::Line;
use crate::unordered::Listed;
use crate::walk::{Sight, Stored, Walk};

/// Changes between two looks at whether it pays to go by records.
const CHANGES_BETWEEN: i64 = 1024;
/// What it costs, in changes that are passed (0.3 µs each, measured with a hundred revisions of 10,000 records): a page of
/// the key's entries, and a record's row by its key or by a look from a change.
const COST_OF_PAGE: i64 = 25;
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
        if is_shown || self.passed % CHANGES_BETWEEN != 0 || !self.is_slow(number) {
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
        let mut found = Found {
            range: since + 1..=self.until,
            body: Body::of(self.shape),
            records: Walk::of_records(self.shape, self.sight),
            listed: Listed::of(self.shape, self.sight),
            kept: Kept::at_most(self.max as usize),
        };
        let mut record = Record::default();
        let mut entries = Walk::of_all_entries(self.shape, self.sight);
        while let Some(entry) = entries.next_entry() {
            // SAFETY: the walk goes on only after.
            let (id, revision) = unsafe { entry.key() };
            if !record.has_begun || record.id != id {
                pgrx::check_for_interrupts!();
                found.end(&mut record);
                record.begin(id, revision);
                record.top = entries.row().map(|row| found.top(row));
            } else if record.is_line {
                record.go_on(revision);
                if record.top.is_none() {
                    record.top = entries.row().map(|row| found.top(row));
                }
            }
        }
        found.end(&mut record);
        entries.is_over().then(|| found.kept.in_order())
    }
}

/// The record whose entries are being read.
#[derive(Default)]
struct Record {
    has_begun: bool,
    id: Vec<u8>,
    line: Line,
    is_line: bool,
    /// None as long as no row of it is seen.
    top: Option<Top>,
}

enum Top {
    /// Neither shown nor in the way.
    Before,
    Shown(Change),
    /// It says nothing of what is below.
    Other,
}

impl Record {
    fn begin(&mut self, id: &[u8], top: &[u8]) {
        self.id.clear();
        self.id.extend_from_slice(id);
        self.line.begin(top);
        (self.has_begun, self.is_line, self.top) = (true, true, None);
    }

    /// A row may have had versions; but another revision than the top must not be taken for it.
    fn go_on(&mut self, revision: &[u8]) {
        let is_top_still = self.line.is_at(revision);
        self.is_line = self.line.takes(revision) && (is_top_still || self.top.is_some());
    }
}

/// What was found so far.
struct Found<'a> {
    range: std::ops::RangeInclusive<i64>,
    body: Body<'a>,
    records: Walk<'a>,
    listed: Listed<'a>,
    kept: Kept,
}

impl Found<'_> {
    fn top(&mut self, row: pg_sys::HeapTuple) -> Top {
        // SAFETY: a row of the twin, which stays until the walk goes on.
        unsafe { self.body.take(row) };
        match self.body.number() {
            _ if self.body.is_stub() => Top::Other,
            number if number > *self.range.end() => Top::Other,
            number if number < *self.range.start() || !self.kept.wants(number) => Top::Before,
            _ => Top::Shown(self.kept.change(&self.body, true)),
        }
    }

    /// Takes what is to be shown of a record whose entries have been read.
    fn end(&mut self, record: &mut Record) {
        if !record.has_begun {
            return;
        }
        let id = Stored::of(&record.id);
        // SAFETY: a text by its bytes.
        let mut is_line = || unsafe { record.line.is_whole() && !self.listed.has(id.datum()) };
        match record.top.take() {
            Some(Top::Before) if record.is_line && is_line() => {}
            Some(Top::Shown(change)) if record.is_line && is_line() => self.kept.push(change),
            _ => self.look(&id),
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
