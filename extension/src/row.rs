//! In charge of rows as Postgres holds them: reading columns, forming changed tuples.

use pgrx::pg_sys;
use pgrx::prelude::*;
use revision::{Attributes, RevisionId, RevisionIdError, Value, ValueHash};
use std::borrow::Borrow;
use std::ffi::CStr;

use crate::batch::Batch;
use crate::codec::Codec;
use crate::error::Error;
use crate::shape::{Column, Shape};
use crate::unguarded;

unsafe extern "C-unwind" {
    /// Declared in utils/datum.h, which pgrx doesn't read.
    fn datumIsEqual(one: pg_sys::Datum, other: pg_sys::Datum, by_value: bool, length: i32) -> bool;
}

/// A tuple taken apart.
pub struct Cells {
    values: Vec<pg_sys::Datum>,
    nulls: Vec<bool>,
    pub desc: pg_sys::TupleDesc,
}

/// The attribute of a descriptor at a position counted from 0.
///
/// # Safety
/// The descriptor must be valid and have more than `at` attributes.
pub unsafe fn attribute<'a>(
    desc: pg_sys::TupleDesc,
    at: usize,
) -> &'a pg_sys::FormData_pg_attribute {
    // SAFETY: the caller vouches for descriptor and position.
    #[cfg(not(feature = "pg18"))]
    return unsafe { (*desc).attrs.as_slice((*desc).natts as usize).get_unchecked(at) };
    // SAFETY: as above.
    #[cfg(feature = "pg18")]
    return unsafe { &*pg_sys::TupleDescAttr(desc, at as i32) };
}

impl Cells {
    /// # Safety
    /// The tuple must be of the descriptor.
    pub unsafe fn of(tuple: pg_sys::HeapTuple, desc: pg_sys::TupleDesc) -> Cells {
        // SAFETY: the vectors have room for every attribute.
        unsafe {
            let count = (*desc).natts as usize;
            let mut values = vec![pg_sys::Datum::from(0); count];
            let mut nulls = vec![true; count];
            unguarded::heap_deform_tuple(tuple, desc, values.as_mut_ptr(), nulls.as_mut_ptr());
            Cells { values, nulls, desc }
        }
    }

    /// # Safety
    /// The slot must hold a row, and its descriptor stay valid.
    pub unsafe fn of_slot(slot: *mut pg_sys::TupleTableSlot) -> Cells {
        // SAFETY: the caller vouches for the slot.
        unsafe {
            let mut cells = Cells::for_rows((*slot).tts_tupleDescriptor);
            cells.take_slot(slot);
            cells
        }
    }

    /// The datum of a table's own column; null is `None`.
    pub fn datum_at(&self, number: i16) -> Option<pg_sys::Datum> {
        let at = number as usize - 1;
        (!self.nulls[at]).then_some(self.values[at])
    }

    /// The value of a table's own column, in a row of that table.
    pub fn value(&self, column: &Column) -> Value {
        let at = column.number as usize - 1;
        // SAFETY: the shape was read for this table, and is forgotten when it changes.
        unsafe { column.codec.read(self.values[at], self.nulls[at]) }
    }

    /// Hashes the value at a position counted from 0, whose type is the codec's.
    pub fn hash_at(&self, at: usize, codec: &Codec, out: &mut ValueHash) {
        // SAFETY: the caller has the codec from this row's descriptor.
        unsafe { codec.hash(self.values[at], self.nulls[at], out) }
    }

    /// Whether another row of the table has the same bytes in a column. Where it hasn't, the values may
    /// still be the same: one may be compressed.
    pub fn is_image_of(&self, other: &Cells, column: &Column) -> bool {
        let at = column.number as usize - 1;
        if self.nulls[at] || other.nulls[at] {
            return self.nulls[at] == other.nulls[at];
        }
        // SAFETY: both rows are of the descriptor, which tells how long the column's values are.
        unsafe {
            let attribute = attribute(self.desc, at);
            let (by_value, length) = (attribute.attbyval, attribute.attlen);
            datumIsEqual(self.values[at], other.values[at], by_value, length.into())
        }
    }

    /// The row with another value in one column.
    ///
    /// # Safety
    /// The datum must be of the column's type.
    pub unsafe fn formed_with(mut self, number: i16, datum: pg_sys::Datum) -> pg_sys::HeapTuple {
        self.values[number as usize - 1] = datum;
        self.nulls[number as usize - 1] = false;
        // SAFETY: there is a value for every attribute.
        unsafe {
            pg_sys::heap_form_tuple(self.desc, self.values.as_mut_ptr(), self.nulls.as_mut_ptr())
        }
    }

    /// The value of the column of this name, read as `codec` says.
    pub fn named(&self, name: &str, codec: &Codec) -> Option<Value> {
        let at = self.position(name)?;
        // SAFETY: the descriptor tells the type, which for a twin is the codec's base type.
        unsafe {
            let found = attribute(self.desc, at);
            let same = pg_sys::getBaseType(codec.type_oid) == found.atttypid;
            let codec = if same { codec } else { &Codec::of(found.atttypid, found.atttypmod) };
            Some(codec.read(self.values[at], self.nulls[at]))
        }
    }

    /// The value of the column of this name, whatever its type is.
    pub fn of_type(&self, name: &str) -> Option<Value> {
        let at = self.position(name)?;
        // SAFETY: the descriptor tells the type.
        unsafe {
            let found = attribute(self.desc, at);
            let codec = Codec::of(found.atttypid, found.atttypmod);
            Some(codec.read(self.values[at], self.nulls[at]))
        }
    }

    /// The datum of a column; null and no such column are `None`.
    pub fn datum(&self, name: &str) -> Option<pg_sys::Datum> {
        let at = self.position(name)?;
        (!self.nulls[at]).then_some(self.values[at])
    }

    /// A column of a type that Rust has, by its name.
    pub fn get<T: FromDatum>(&self, name: &str) -> Option<T> {
        let at = self.position(name)?;
        // SAFETY: only asked for Godwit's own columns, whose types are fixed.
        unsafe { T::from_datum(self.values[at], self.nulls[at]) }
    }

    /// A column of type godwit.revision.
    pub fn revision(&self, name: &str) -> Option<RevisionId> {
        self.get::<Vec<u8>>(name).map(|bytes| read_revision(&bytes))
    }

    pub fn revision_at(&self, number: i16) -> Option<RevisionId> {
        self.sortable_at(number).map(read_revision)
    }

    /// The stored form of the revision in a column.
    pub fn sortable_at(&self, number: i16) -> Option<&[u8]> {
        // SAFETY: only asked for `_rev`, whose stored form is a varlena, too short to be kept elsewhere.
        self.datum_at(number).map(|datum| unsafe { plain_bytes(datum) })
    }

    fn position(&self, name: &str) -> Option<usize> {
        // SAFETY: the cells were read by this descriptor.
        unsafe { position(self.desc, name) }
    }
}

/// Where a descriptor has the living column of this name, counted from 0.
///
/// # Safety
/// The descriptor must be valid.
pub unsafe fn position(desc: pg_sys::TupleDesc, name: &str) -> Option<usize> {
    // SAFETY: positions stay below the descriptor's count.
    unsafe {
        (0..(*desc).natts as usize).find(|at| {
            let attribute = attribute(desc, *at);
            !attribute.attisdropped
                && CStr::from_ptr(attribute.attname.data.as_ptr()).to_bytes() == name.as_bytes()
        })
    }
}

/// The bytes of a varlena, fetched and unpacked where that is needed.
///
/// # Safety
/// The datum must be a varlena, and stay; what had to be fetched lives in the memory context at hand.
pub unsafe fn plain_bytes<'a>(datum: pg_sys::Datum) -> &'a [u8] {
    let mut bytes: *mut pg_sys::varlena = datum.cast_mut_ptr();
    // SAFETY: the caller vouches for the datum.
    unsafe {
        if pgrx::varatt_is_4b_c(bytes) || pgrx::varatt_is_1b_e(bytes) {
            bytes = pg_sys::pg_detoast_datum(bytes);
        }
        pgrx::varlena_to_byte_slice(bytes)
    }
}

/// A text. To have Postgres look whether it must be fetched costs more than reading it.
///
/// # Safety
/// As of `plain_bytes`; and it must be a text.
pub unsafe fn text<'a>(datum: pg_sys::Datum) -> &'a str {
    // SAFETY: the caller vouches for the datum. The database is in UTF8, or there would be no extension in it, and a
    // text was checked for that on its way in.
    unsafe { std::str::from_utf8_unchecked(plain_bytes(datum)) }
}

/// A revision id in the form in which it is stored.
pub fn revision_datum(revision: &RevisionId) -> pg_sys::Datum {
    revision.to_sortable().into_datum().unwrap_or(pg_sys::Datum::from(0))
}

/// A revision id from the form in which it is stored.
pub fn read_revision(bytes: &[u8]) -> RevisionId {
    RevisionId::from_sortable(bytes).unwrap_or_else(|error| unreadable(&error))
}

pub fn unreadable(error: &RevisionIdError) -> ! {
    Error::Internal(format!("a stored revision id can't be read: {error}")).report()
}

/// Names and values of a composite datum's living attributes, in order.
///
/// # Safety
/// The header must be that of a detoasted composite datum.
pub unsafe fn read_record(header: pg_sys::HeapTupleHeader) -> Vec<(String, Value)> {
    // SAFETY: the header names its own type, and the descriptor is released after use.
    unsafe {
        let (cells, desc) = record_cells(header);
        let members = (0..(*desc).natts as usize)
            .filter(|at| !attribute(desc, *at).attisdropped)
            .map(|at| {
                let attribute = attribute(desc, at);
                let name = CStr::from_ptr(attribute.attname.data.as_ptr());
                let codec = Codec::of(attribute.atttypid, attribute.atttypmod);
                let value = codec.read(cells.values[at], cells.nulls[at]);
                (name.to_string_lossy().into_owned(), value)
            })
            .collect();
        pg_sys::FreeTupleDesc(desc);
        members
    }
}

/// Takes a composite datum apart; the descriptor is the caller's to free.
///
/// # Safety
/// As for `read_record`.
pub unsafe fn record_cells(header: pg_sys::HeapTupleHeader) -> (Cells, pg_sys::TupleDesc) {
    // SAFETY: the caller vouches for the header.
    unsafe {
        let ((type_oid, type_mod), mut tuple) = tuple_of(header);
        let desc = pg_sys::lookup_rowtype_tupdesc_copy(type_oid, type_mod);
        (Cells::of(&mut tuple, desc), desc)
    }
}

/// The type and modifier that a composite datum names, and its tuple.
///
/// # Safety
/// As for `read_record`.
pub unsafe fn tuple_of(
    header: pg_sys::HeapTupleHeader,
) -> ((pg_sys::Oid, i32), pg_sys::HeapTupleData) {
    // SAFETY: a composite datum's header holds its type, typmod and length.
    let fields = unsafe { (*header).t_choice.t_datum };
    let tuple = pg_sys::HeapTupleData {
        t_len: (fields.datum_len_ as u32) >> 2,
        t_self: Default::default(),
        t_tableOid: pg_sys::InvalidOid,
        t_data: header,
    };
    ((fields.datum_typeid, fields.datum_typmod), tuple)
}

/// The header of a composite argument that is a row of this relation. Anybody can call the
/// functions that take one: what is something else must not be read as if it were one.
pub fn whole_row(
    argument: &pgrx::AnyElement,
    relation: pg_sys::Oid,
) -> Result<pg_sys::HeapTupleHeader, Error> {
    // SAFETY: the datum is read as a tuple only after its type has been looked at.
    unsafe {
        let wanted = pg_sys::get_rel_type_id(relation);
        if wanted == pg_sys::InvalidOid || argument.oid() != wanted {
            return Err(Error::BadArgument("this function takes a whole row of its table".into()));
        }
        Ok(pg_sys::pg_detoast_datum(argument.datum().cast_mut_ptr()).cast())
    }
}

/// The record id of a row: its key's text, or the JSON array of texts.
pub fn id_of(parts: impl Iterator<Item = impl Borrow<Value>>) -> String {
    let text = |part: &Value| part.wire_text().unwrap_or_else(|| part.to_wire().to_string());
    let mut parts = parts.peekable();
    match (parts.next(), parts.peek()) {
        (Some(only), None) => text(only.borrow()),
        (first, _) => {
            let texts: Vec<String> =
                first.into_iter().chain(parts).map(|part| text(part.borrow())).collect();
            serde_json::Value::from(texts).to_string()
        }
    }
}

impl Shape {
    /// The record id of a row of the table.
    pub fn id(&self, cells: &Cells) -> String {
        id_of(self.key_columns().map(|column| cells.value(column)))
    }

    /// Whether two rows of the table are of one record; mostly their keys' bytes say so.
    pub fn is_same_record(&self, one: &Cells, other: &Cells) -> bool {
        let same_key = self.key_columns().all(|column| one.is_image_of(other, column));
        same_key || self.id(one) == self.id(other)
    }

    /// The attributes of a row of the table.
    pub fn row_attributes(&self, cells: &Cells) -> Attributes {
        self.attribute_columns().map(|column| (column.name.clone(), cells.value(column))).collect()
    }
}

/// A composite datum of a descriptor's named type, of the columns at these positions; the rest is
/// null.
///
/// # Safety
/// The descriptor must be valid, and each datum of its column's type.
pub unsafe fn form(
    desc: pg_sys::TupleDesc,
    places: &[usize],
    datums: &[Option<pg_sys::Datum>],
) -> pg_sys::Datum {
    // SAFETY: the vectors have room for every attribute; the caller vouches for the types.
    unsafe {
        let count = (*desc).natts as usize;
        let mut values = vec![pg_sys::Datum::from(0); count];
        let mut nulls = vec![true; count];
        for (at, datum) in places.iter().zip(datums) {
            values[*at] = datum.unwrap_or(pg_sys::Datum::from(0));
            nulls[*at] = datum.is_none();
        }
        let tuple = pg_sys::heap_form_tuple(desc, values.as_mut_ptr(), nulls.as_mut_ptr());
        let datum = pg_sys::heap_copy_tuple_as_datum(tuple, desc);
        pg_sys::heap_freetuple(tuple);
        datum
    }
}

/// The tuple with some columns changed; `None` is null.
///
/// # Safety
/// The tuple must be of the descriptor, and each datum of its column's type.
pub unsafe fn with_columns(
    tuple: pg_sys::HeapTuple,
    desc: pg_sys::TupleDesc,
    changes: &[(i16, Option<pg_sys::Datum>)],
) -> pg_sys::HeapTuple {
    let mut numbers: Vec<i32> = changes.iter().map(|(number, _)| i32::from(*number)).collect();
    let mut values: Vec<pg_sys::Datum> =
        changes.iter().map(|(_, datum)| datum.unwrap_or(pg_sys::Datum::from(0))).collect();
    let mut nulls: Vec<bool> = changes.iter().map(|(_, datum)| datum.is_none()).collect();
    // SAFETY: the three vectors have one entry for each change.
    unsafe {
        pg_sys::heap_modify_tuple_by_cols(
            tuple,
            desc,
            numbers.len() as i32,
            numbers.as_mut_ptr(),
            values.as_mut_ptr(),
            nulls.as_mut_ptr(),
        )
    }
}

/// Cells that are read again for each row of many.
impl Cells {
    /// # Safety
    /// The descriptor must stay valid.
    pub unsafe fn for_rows(desc: pg_sys::TupleDesc) -> Cells {
        // SAFETY: the caller vouches for the descriptor.
        let count = unsafe { (*desc).natts } as usize;
        Cells { values: vec![pg_sys::Datum::from(0); count], nulls: vec![true; count], desc }
    }

    /// Takes another tuple apart.
    ///
    /// # Safety
    /// The tuple must be of the descriptor.
    pub unsafe fn take(&mut self, tuple: pg_sys::HeapTuple) {
        let (values, nulls) = (self.values.as_mut_ptr(), self.nulls.as_mut_ptr());
        // SAFETY: the vectors have room for every attribute.
        unsafe { unguarded::heap_deform_tuple(tuple, self.desc, values, nulls) };
    }

    /// Takes the row in a slot.
    ///
    /// # Safety
    /// The slot must hold a row of the descriptor.
    pub unsafe fn take_slot(&mut self, slot: *mut pg_sys::TupleTableSlot) {
        let count = self.values.len();
        // SAFETY: after this the slot has a value for every attribute of its descriptor.
        unsafe {
            if ((*slot).tts_nvalid as usize) < count {
                pg_sys::slot_getsomeattrs_int(slot, count as i32);
            }
            self.values.copy_from_slice(std::slice::from_raw_parts((*slot).tts_values, count));
            self.nulls.copy_from_slice(std::slice::from_raw_parts((*slot).tts_isnull, count));
        }
    }

    /// Another value in the column at a position counted from 0.
    pub fn put(&mut self, place: usize, datum: Option<pg_sys::Datum>) {
        self.values[place] = datum.unwrap_or(pg_sys::Datum::from(0));
        self.nulls[place] = datum.is_none();
    }

    /// Adds them to the rows that are to be written.
    ///
    /// # Safety
    /// They must be of the columns of the batch's table.
    pub unsafe fn add_to(&mut self, batch: &mut Batch) {
        // SAFETY: the caller vouches for the columns.
        unsafe { batch.take(&mut self.values, &mut self.nulls) };
    }

    /// Takes the first columns of another tuple, as many as a shorter copy of the descriptor has; the others stay.
    ///
    /// # Safety
    /// The tuple must be of the descriptor.
    pub unsafe fn take_first(&mut self, tuple: pg_sys::HeapTuple, head: pg_sys::TupleDesc) {
        let (values, nulls) = (self.values.as_mut_ptr(), self.nulls.as_mut_ptr());
        // SAFETY: the vectors have room for every attribute.
        unsafe { unguarded::heap_deform_tuple(tuple, head, values, nulls) };
    }

    /// The column at a position counted from 0; null is `None`.
    pub fn at(&self, place: usize) -> Option<pg_sys::Datum> {
        (!self.nulls[place]).then_some(self.values[place])
    }
}
