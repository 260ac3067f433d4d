//! In charge of how changes leave the extension: as rows of `godwit.changes`, or as the JSON that the gateway sends on.
//! Both are written into Postgres's own store for a function's rows, without a tuple or a text in between.

use pgrx::pg_sys;
use pgrx::prelude::*;
use std::cell::Cell;
use std::io::Write as _;

use crate::form::Form;

/// One change as a reader is shown it.
#[derive(Clone, Copy)]
pub struct Shown<'a> {
    pub sequence: i64,
    pub table: &'a str,
    pub id: &'a str,
    pub revision: Option<&'a str>,
    pub deleted: bool,
    pub winner: Option<&'a str>,
    /// In the answer's form.
    pub record: Option<&'a [u8]>,
    /// In the answer's form.
    pub leaves: Option<&'a [u8]>,
    pub has_left: bool,
}

pub trait Answer {
    /// What its records are.
    const FORM: Form;
    /// The rows of this call go there.
    fn begin(store: Store) -> Self;
    fn change(&mut self, shown: &Shown);
    /// There are no more on this page; `next` is where to ask from then.
    fn end(self, next: i64);
}

/// What a page may take before it goes to a file, where `work_mem` is less: ten thousand records of some size.
const KILOBYTES_MIN: i32 = 32 * 1024;

/// The store that a call's rows are put into.
pub struct Store {
    rows: *mut pg_sys::Tuplestorestate,
    desc: pg_sys::TupleDesc,
}

impl Store {
    /// # Safety
    /// The call must be that of a function that returns a set.
    pub unsafe fn of(call: pg_sys::FunctionCallInfo) -> Store {
        // SAFETY: what Postgres hands a function; where it would not take a whole set that raises an error.
        unsafe {
            pg_sys::InitMaterializedSRF(call, 0);
            let result = (*call).resultinfo.cast::<pg_sys::ReturnSetInfo>();
            let modes = (*result).allowedModes as u32;
            let random = modes & pg_sys::SetFunctionReturnMode::SFRM_Materialize_Random != 0;
            let per_query = (*(*result).econtext).ecxt_per_query_memory;
            let outside = pg_sys::MemoryContextSwitchTo(per_query);
            let kilobytes = pg_sys::work_mem.max(KILOBYTES_MIN);
            let rows = pg_sys::tuplestore_begin_heap(random, false, kilobytes);
            pg_sys::MemoryContextSwitchTo(outside);
            pg_sys::tuplestore_end(std::mem::replace(&mut (*result).setResult, rows));
            Store { rows, desc: (*result).setDesc }
        }
    }

    fn put<const COLUMNS: usize>(&self, columns: [Option<pg_sys::Datum>; COLUMNS]) {
        let mut nulls = columns.map(|column| column.is_none());
        let mut values = columns.map(|column| column.unwrap_or(pg_sys::Datum::from(0)));
        // SAFETY: the SQL declares as many columns, of these types; what they point to is copied.
        unsafe {
            let (values, nulls) = (values.as_mut_ptr(), nulls.as_mut_ptr());
            pg_sys::tuplestore_putvalues(self.rows, self.desc, values, nulls);
        }
    }
}

/// Values of variable length, one after the other in one piece of memory.
#[derive(Default)]
struct Varlenas(Vec<u8>);

/// Where one begins.
#[derive(Clone, Copy)]
struct At(usize);

const HEAD: usize = size_of::<u32>();

impl Varlenas {
    fn open(&mut self) -> At {
        self.0.resize(self.0.len().next_multiple_of(HEAD), 0);
        let at = At(self.0.len());
        self.0.extend_from_slice(&[0; HEAD]);
        at
    }

    fn close(&mut self, at: At) -> At {
        // SAFETY: `open` has made room for the head.
        unsafe {
            let head = self.0.as_mut_ptr().add(at.0).cast();
            pgrx::set_varsize_4b(head, (self.0.len() - at.0) as i32);
        }
        at
    }

    fn add(&mut self, bytes: &[u8]) -> At {
        let at = self.open();
        self.0.extend_from_slice(bytes);
        self.close(at)
    }

    fn datum(&self, at: At) -> pg_sys::Datum {
        pg_sys::Datum::from(self.0[at.0..].as_ptr())
    }
}

/// What a page of some size takes, so that it needs not be moved while it grows. So much is kept from one call to the
/// next: the kernel clears what it hands out, which takes as long as writing it.
const TEXTS_BYTES: usize = 1024 * 1024;

thread_local! {
    static TEXTS: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// The rows of `godwit.changes`, and with `AS_JSON` of `godwit.changes_json`. `next` stands in each, so they are kept
/// until it is known.
pub struct Rows<const AS_JSON: bool> {
    store: Store,
    texts: Varlenas,
    table: Option<(String, At)>,
    rows: Vec<Row>,
}

struct Row {
    sequence: i64,
    table: At,
    id: At,
    revision: Option<At>,
    deleted: bool,
    winner: Option<At>,
    record: Option<At>,
    leaves: Option<At>,
    has_left: bool,
}

impl<const AS_JSON: bool> Answer for Rows<AS_JSON> {
    const FORM: Form = if AS_JSON { Form::Json } else { Form::Jsonb };

    fn begin(store: Store) -> Self {
        let mut texts = TEXTS.take();
        texts.clear();
        texts.reserve(TEXTS_BYTES);
        Rows { store, texts: Varlenas(texts), table: None, rows: Vec::new() }
    }

    fn change(&mut self, shown: &Shown) {
        let table = match &self.table {
            Some((name, at)) if name == shown.table => *at,
            _ => self.texts.add(shown.table.as_bytes()),
        };
        if self.table.as_ref().is_none_or(|(name, _)| name != shown.table) {
            self.table = Some((shown.table.to_owned(), table));
        }
        let id = self.texts.add(shown.id.as_bytes());
        let revision = shown.revision.map(|text| self.texts.add(text.as_bytes()));
        let winner = match shown.winner {
            same if same == shown.revision => revision,
            other => other.map(|text| self.texts.add(text.as_bytes())),
        };
        let record = shown.record.map(|record| self.texts.add(record));
        let leaves = shown.leaves.map(|leaves| self.texts.add(leaves));
        let Shown { sequence, deleted, has_left, .. } = *shown;
        let row = Row { sequence, table, id, revision, deleted, winner, record, leaves, has_left };
        self.rows.push(row);
    }

    fn end(mut self, next: i64) {
        let text = |at: Option<At>| at.map(|at| self.texts.datum(at));
        for row in &self.rows {
            self.store.put([
                row.sequence.into_datum(),
                text(Some(row.table)),
                text(Some(row.id)),
                text(row.revision),
                row.deleted.into_datum(),
                text(row.winner),
                text(row.record),
                next.into_datum(),
                text(row.leaves),
                row.has_left.into_datum(),
            ]);
        }
        self.texts.0.truncate(TEXTS_BYTES);
        self.texts.0.shrink_to(TEXTS_BYTES);
        TEXTS.set(self.texts.0);
    }
}

/// A change's JSON beside its number, and at the end where to ask from next, beside a null.
pub struct Wire {
    store: Store,
    json: Varlenas,
}

impl Answer for Wire {
    const FORM: Form = Form::Json;

    fn begin(store: Store) -> Self {
        Wire { store, json: Varlenas::default() }
    }

    fn change(&mut self, shown: &Shown) {
        self.json.0.clear();
        let at = self.json.open();
        write_change(shown, &mut self.json.0);
        self.json.close(at);
        self.store.put([shown.sequence.into_datum(), Some(self.json.datum(at))]);
    }

    fn end(self, next: i64) {
        self.store.put([next.into_datum(), None]);
    }
}

/// A change as docs/http.md has it.
fn write_change(shown: &Shown, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"sequence\":");
    // A vector takes all that is written.
    let _ = write!(out, "{}", shown.sequence);
    out.extend_from_slice(b",\"table\":");
    revision::write_text(shown.table, out);
    out.extend_from_slice(b",\"id\":");
    revision::write_text(shown.id, out);
    let text = |name: &str, value: Option<&str>, out: &mut Vec<u8>| {
        if let Some(value) = value {
            out.extend_from_slice(name.as_bytes());
            revision::write_text(value, out);
        }
    };
    let json = |name: &str, value: Option<&[u8]>, out: &mut Vec<u8>| {
        if let Some(value) = value {
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(value);
        }
    };
    text(",\"revision\":", shown.revision, out);
    if shown.deleted {
        out.extend_from_slice(b",\"deleted\":true");
    }
    if shown.has_left {
        out.extend_from_slice(b",\"left\":true");
    }
    text(",\"winner\":", shown.winner, out);
    json(",\"record\":", shown.record, out);
    json(",\"leaves\":", shown.leaves, out);
    out.push(b'}');
}
