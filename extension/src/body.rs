//! In charge of writing revisions from a twin's tuples: where the columns are and what their names look like is found
//! out once, and each row is written straight into a buffer, in whichever form.

use pgrx::pg_sys;
use revision::{REVISION_BYTES_MAX, RevisionId};

use crate::codec::Codec;
use crate::error::{Error, OrReport};
use crate::form::{self, Form, Json, Names, Writer};
use crate::jsonb::Jsonb;
use crate::row::{self, Cells};
use crate::shape::{Column, Shape};
use crate::twin;

/// What of a record's ancestry goes with it.
pub enum Ancestry<'a> {
    Nothing,
    /// Itself and its parent.
    Parent,
    /// Itself and all its ancestors, given here in their stored form.
    All(&'a [Vec<u8>]),
}

/// Where a twin has its own columns.
struct Places {
    id: usize,
    revision: usize,
    previous: usize,
    deleted: usize,
    number: usize,
    stub: usize,
    extra: usize,
}

impl Places {
    /// How many of a row's columns it takes to have all of these but `extra`.
    fn head_count(&self) -> i32 {
        let Places { id, revision, previous, deleted, number, stub, extra: _ } = *self;
        let last = [id, revision, previous, deleted, number, stub].into_iter().max();
        last.map_or(0, |last| last as i32 + 1)
    }
}

struct Attribute {
    place: usize,
    codec: Codec,
}

/// A record's members.
const MEMBERS: [&str; 6] = ["id", "table", "revision", "deleted", "attributes", "revisions"];
const ID: usize = 0;
const TABLE: usize = 1;
const REVISION: usize = 2;
const DELETED: usize = 3;
const ATTRIBUTES: usize = 4;
const REVISIONS: usize = 5;

/// One table's revisions, a row at a time.
pub struct Body<'a> {
    shape: &'a Shape,
    /// As it was taken.
    row: pg_sys::HeapTuple,
    cells: Cells,
    desc: pg_sys::TupleDesc,
    /// The twin's own columns, which stand first: most rows are only asked for these.
    head: pg_sys::TupleDesc,
    /// Whether the cells hold all of the row.
    is_whole: bool,
    places: Places,
    attributes: Vec<Attribute>,
    names: Names,
    members: Names,
    /// From this number on the columns hold what they are named for.
    settled: i64,
    /// What writing a row takes; nothing of it stays.
    scratch: pg_sys::MemoryContext,
    copy: Option<pg_sys::HeapTuple>,
}

impl<'a> Body<'a> {
    pub fn of(shape: &'a Shape) -> Body<'a> {
        // SAFETY: the copy of the descriptor is freed when this is dropped.
        unsafe {
            let row_type = pg_sys::get_rel_type_id(shape.twin_relation);
            let desc = pg_sys::lookup_rowtype_tupdesc_copy(row_type, -1);
            let place = |name: &str| {
                row::position(desc, name).unwrap_or_else(|| {
                    Error::Internal(format!("{} has no column {name}", shape.twin)).report()
                })
            };
            let places = Places {
                id: place("_id"),
                revision: place("_rev"),
                previous: place("_prev"),
                deleted: place("_deleted"),
                number: place("_seq"),
                stub: place("_stub"),
                extra: place("_extra"),
            };
            let head = pg_sys::CreateTupleDescCopy(desc);
            (*head).natts = places.head_count();
            let columns: Vec<(usize, &Column)> = shape
                .attribute_columns()
                .filter_map(|column| Some((row::position(desc, &column.name)?, column)))
                .collect();
            let names = Names::of(columns.iter().map(|(_, column)| column.name.as_str()));
            let attributes = columns.iter().map(|(place, column)| {
                let found = row::attribute(desc, *place);
                // As `Cells::named` reads it.
                let codec = match column.codec.base_type() == found.atttypid {
                    true => column.codec.clone(),
                    false => Codec::of(found.atttypid, found.atttypmod),
                };
                Attribute { place: *place, codec }
            });
            let attributes = attributes.collect();
            let settled = shape.eras.settled();
            let scratch = pg_sys::AllocSetContextCreateExtended(
                pg_sys::CurrentMemoryContext,
                c"godwit record".as_ptr(),
                pg_sys::ALLOCSET_DEFAULT_MINSIZE as usize,
                pg_sys::ALLOCSET_DEFAULT_INITSIZE as usize,
                pg_sys::ALLOCSET_DEFAULT_MAXSIZE as usize,
            );
            let (row, cells) = (std::ptr::null_mut(), Cells::for_rows(desc));
            Body {
                shape,
                row,
                cells,
                desc,
                head,
                is_whole: false,
                places,
                attributes,
                names,
                members: Names::of(MEMBERS),
                settled,
                scratch,
                copy: None,
            }
        }
    }

    /// Takes a row of the twin.
    ///
    /// # Safety
    /// The tuple must be one of the twin's, and stay until the next is taken.
    pub unsafe fn take(&mut self, tuple: pg_sys::HeapTuple) {
        self.row = tuple;
        self.is_whole = false;
        // SAFETY: the caller vouches for the tuple, and the cells have room for more.
        unsafe { self.cells.take_first(tuple, self.head) };
    }

    /// Takes a copy of a row, which stays until the next is taken so.
    ///
    /// # Safety
    /// The tuple must be one of the twin's.
    pub unsafe fn take_copy(&mut self, tuple: pg_sys::HeapTuple) {
        // SAFETY: the caller vouches for the tuple.
        unsafe { self.keep(pg_sys::heap_copytuple(tuple)) };
    }

    /// Takes a copy that is this one's from now on.
    ///
    /// # Safety
    /// The tuple must be a copy of one of the twin's.
    pub unsafe fn keep(&mut self, copy: pg_sys::HeapTuple) {
        // SAFETY: the earlier copy is this one's alone.
        unsafe {
            if let Some(earlier) = self.copy.replace(copy) {
                pg_sys::heap_freetuple(earlier);
            }
            self.take(copy);
        }
    }

    /// A copy of the row that was taken from a table.
    pub fn copied(&self) -> pg_sys::HeapTuple {
        // SAFETY: the row is still there.
        unsafe { pg_sys::heap_copytuple(self.row) }
    }

    /// The row that was taken from a table, as a composite.
    pub fn datum(&self) -> pg_sys::Datum {
        self.datum_of(self.row)
    }

    /// A row of the twin as a composite.
    pub fn datum_of(&self, tuple: pg_sys::HeapTuple) -> pg_sys::Datum {
        // SAFETY: the tuple is of the descriptor.
        unsafe { pg_sys::heap_copy_tuple_as_datum(tuple, self.desc) }
    }

    /// Takes a whole row that a statement has selected.
    ///
    /// # Safety
    /// The datum must be a composite of the twin's row type, and stay until the next is taken.
    pub unsafe fn take_datum(&mut self, datum: pg_sys::Datum) {
        // SAFETY: the caller vouches for the datum; where it had to be detoasted the copy stays in the memory at hand.
        unsafe {
            let header = pg_sys::pg_detoast_datum(datum.cast_mut_ptr());
            let header: pg_sys::HeapTupleHeader = header.cast();
            let mut tuple = pg_sys::HeapTupleData {
                t_len: ((*header).t_choice.t_datum.datum_len_ as u32) >> 2,
                t_self: Default::default(),
                t_tableOid: pg_sys::InvalidOid,
                t_data: header,
            };
            self.cells.take(&mut tuple);
            self.is_whole = true;
        }
    }

    pub fn id(&self) -> &str {
        let datum = self.cells.at(self.places.id).unwrap_or_else(|| self.is_none("_id"));
        // SAFETY: the column is of type text.
        unsafe { row::text(datum) }
    }

    pub fn id_datum(&self) -> pg_sys::Datum {
        self.cells.at(self.places.id).unwrap_or_else(|| self.is_none("_id"))
    }

    pub fn revision_datum(&self) -> pg_sys::Datum {
        self.cells.at(self.places.revision).unwrap_or_else(|| self.is_none("_rev"))
    }

    /// The revision in its stored form.
    pub fn revision(&self) -> &[u8] {
        self.stored(self.places.revision).unwrap_or_else(|| self.is_none("_rev"))
    }

    pub fn previous(&self) -> Option<&[u8]> {
        self.stored(self.places.previous)
    }

    pub fn is_deleted(&self) -> bool {
        self.cells.at(self.places.deleted).is_some_and(|datum| datum.value() as u8 != 0)
    }

    pub fn is_stub(&self) -> bool {
        self.cells.at(self.places.stub).is_some_and(|datum| datum.value() as u8 != 0)
    }

    pub fn number(&self) -> i64 {
        self.cells.at(self.places.number).map_or(i64::MAX, |datum| datum.value() as i64)
    }

    fn stored(&self, place: usize) -> Option<&[u8]> {
        // SAFETY: a revision is stored as a varlena.
        self.cells.at(place).map(|datum| unsafe { row::plain_bytes(datum) })
    }

    fn is_none(&self, name: &str) -> ! {
        Error::BadArgument(format!("this is not a row of {}: {name} is null", self.shape.twin))
            .report()
    }

    /// Appends the record that was taken.
    pub fn append(&mut self, line: Ancestry, form: Form, out: &mut Vec<u8>) {
        match form {
            Form::Json => self.write(line, &mut Json(out)),
            Form::Jsonb => self.write(line, &mut Jsonb::on(out)),
        }
    }

    /// Writes the record that was taken.
    pub fn write(&mut self, line: Ancestry, out: &mut impl Writer) {
        if !self.is_whole {
            // SAFETY: the row is still there.
            unsafe { self.cells.take(self.row) };
            self.is_whole = true;
        }
        if self.is_stub() {
            let (id, revision) = (self.id().to_owned(), row::read_revision(self.revision()));
            Error::Stub { id, revision }.report()
        }
        let _settings = self.shape.settings();
        // SAFETY: an error leaves both contexts to Postgres.
        let outside = unsafe { pg_sys::MemoryContextSwitchTo(self.scratch) };
        self.write_members(line, out);
        // SAFETY: nothing that was made in between is kept.
        unsafe {
            pg_sys::MemoryContextSwitchTo(outside);
            pg_sys::MemoryContextReset(self.scratch);
        }
    }

    /// Writes what a leaf is without its body.
    pub fn write_name(&self, stored: &[u8], is_deleted: bool, out: &mut impl Writer) {
        let is_there = |member| member == REVISION || member == DELETED && is_deleted;
        out.object(&self.members, is_there, |out, member| match member {
            REVISION => write_revision(stored, out),
            _ => out.truth(),
        });
    }

    fn write_members(&self, line: Ancestry, out: &mut impl Writer) {
        let is_there = |member| match member {
            DELETED => self.is_deleted(),
            REVISIONS => !matches!(line, Ancestry::Nothing),
            _ => true,
        };
        let mut text = [0; REVISION_BYTES_MAX];
        let itself = text_of(self.revision(), &mut text);
        out.object(&self.members, is_there, |out, member| match member {
            ID => out.text(self.id()),
            TABLE => out.text(&self.shape.wire_name),
            REVISION => write_revision_text(itself, out),
            DELETED => out.truth(),
            ATTRIBUTES => self.write_attributes(out),
            _ => self.write_line(&line, itself, out),
        });
    }

    /// Its ancestry, of which the revision itself is read already.
    fn write_line(&self, line: &Ancestry, itself: &[u8], out: &mut impl Writer) {
        let (count, parent) = match line {
            Ancestry::Nothing => return,
            Ancestry::Parent => (1 + usize::from(self.previous().is_some()), self.previous()),
            Ancestry::All(line) => (line.len(), None),
        };
        out.list(count, |out, at| match (at, line) {
            (0, _) => write_revision_text(itself, out),
            (_, Ancestry::All(line)) => write_revision(&line[at], out),
            _ => write_revision(parent.unwrap_or_default(), out),
        });
    }

    fn write_attributes(&self, out: &mut impl Writer) {
        // What the columns alone don't say is put together one attribute after the other.
        if self.cells.at(self.places.extra).is_some() || self.number() < self.settled {
            let attributes = twin::attributes(self.shape, &self.cells).or_report();
            return form::write_attributes(&attributes, out);
        }
        let deleted = self.is_deleted();
        let datum = |at: usize| self.cells.at(self.attributes[at].place);
        let is_there = |at| !deleted || datum(at).is_some();
        out.object(&self.names, is_there, |out, at| {
            let datum = datum(at);
            let (value, null) = (datum.unwrap_or(pg_sys::Datum::from(0)), datum.is_none());
            // SAFETY: the codec is that of the column in the descriptor.
            unsafe { self.attributes[at].codec.write_wire(value, null, out) };
        });
    }
}

impl Drop for Body<'_> {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // SAFETY: `of` made them.
            unsafe {
                pg_sys::FreeTupleDesc(self.desc);
                pg_sys::FreeTupleDesc(self.head);
                pg_sys::MemoryContextDelete(self.scratch);
            }
        }
    }
}

/// Appends a revision id from its stored form.
pub fn push_revision(stored: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(text_of(stored, &mut [0; REVISION_BYTES_MAX]));
}

fn text_of<'a>(stored: &[u8], text: &'a mut [u8; REVISION_BYTES_MAX]) -> &'a [u8] {
    RevisionId::sortable_text(stored, text).unwrap_or_else(|error| row::unreadable(&error))
}

/// Writes a revision id from its stored form.
fn write_revision(stored: &[u8], out: &mut impl Writer) {
    let mut text = [0; REVISION_BYTES_MAX];
    write_revision_text(text_of(stored, &mut text), out);
}

fn write_revision_text(text: &[u8], out: &mut impl Writer) {
    // A token is of printable ASCII without quotes; but it may hold backslashes, which JSON escapes.
    if text.contains(&b'\\') {
        return out.text(&String::from_utf8_lossy(text));
    }
    out.plain(|out| out.extend_from_slice(text));
}
