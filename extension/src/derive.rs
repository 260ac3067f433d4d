//! In charge of the small functions that the extension's own SQL calls for a row: its record id, its
//! tombstone, its parent, what it carries on.

use pgrx::AnyElement;
use pgrx::pg_sys;
use pgrx::prelude::*;
use revision::{Attributes, RevisionId, Value};

use crate::argument::{Json, need};
use crate::capture;
use crate::codec::Codec;
use crate::error::{Error, OrReport};
use crate::extra::Extra;
use crate::history;
use crate::row;
use crate::settings::Settings;
use crate::shape::Shape;
use crate::twin;

/// The record id of a key: `row(a)` gives its text, `row(a, b)` the JSON array of texts.
#[pg_extern(sql = false)]
fn _record_id(key: AnyElement) -> String {
    let _settings = Settings::fixed();
    row::id_of(members(&key).into_iter().map(|(_, value)| value))
}

/// A row of the type of `of` from its living columns' values, which may be of the types that its domains are made over.
/// Their constraints are for who writes to a table.
#[pg_extern(sql = false)]
fn _as_row(
    _of: Option<AnyElement>,
    values: Option<AnyElement>,
    call: pg_sys::FunctionCallInfo,
) -> Option<AnyElement> {
    let values = need(values, "body");
    // SAFETY: Postgres hands every function its call information; a record's datum is a tuple that names its own type.
    unsafe {
        let row_type = pg_sys::get_fn_expr_rettype((*call).flinfo);
        let header = pg_sys::pg_detoast_datum(values.datum().cast_mut_ptr());
        let (cells, given) = row::record_cells(header.cast());
        let desc = pg_sys::lookup_rowtype_tupdesc_copy(row_type, -1);
        let living = |desc: pg_sys::TupleDesc| {
            let places = (0..(*desc).natts as usize)
                .filter(move |at| !row::attribute(desc, *at).attisdropped);
            places.map(move |at| (at, pg_sys::getBaseType(row::attribute(desc, at).atttypid)))
        };
        let types = |desc| living(desc).map(|(_, base)| base);
        if !types(given).eq(types(desc)) {
            Error::BadArgument("the values are not of the row's types".into()).report()
        }
        let places: Vec<usize> = living(desc).map(|(at, _)| at).collect();
        let datums: Vec<Option<pg_sys::Datum>> =
            living(given).map(|(at, _)| cells.datum_at(at as i16 + 1)).collect();
        let formed = row::form(desc, &places, &datums);
        pg_sys::FreeTupleDesc(given);
        pg_sys::FreeTupleDesc(desc);
        AnyElement::from_polymorphic_datum(formed, false, row_type)
    }
}

/// The revision that deletes a record after `previous`.
#[pg_extern(sql = false, immutable, strict)]
fn _tombstone(id: &str, previous: &[u8]) -> Vec<u8> {
    let previous = row::read_revision(previous);
    twin::edited(id, Some(&previous), true, &Attributes::new()).to_sortable()
}

/// The parent of a row's revision; see `history::parent`. What the history has already, because
/// sync brought it, needs none: it isn't added again.
#[pg_extern(sql = false)]
fn _parent(relation: pg_sys::Oid, row: AnyElement) -> Option<Vec<u8>> {
    let shape = Shape::of(relation).or_report();
    let _settings = shape.settings();
    let (id, revision, attributes) = of_table(&shape, &row);
    if history::has_body(&shape, &id, &revision) {
        return None;
    }
    let found = history::parent(&shape, &id, &revision, &attributes).or_report();
    found.map(|(parent, _)| parent.to_sortable())
}

/// What of a revision's `_extra` an UPDATE leaves standing.
#[pg_extern(sql = false)]
fn _carried(
    relation: pg_sys::Oid,
    extra: Json,
    before: AnyElement,
    after: AnyElement,
) -> Option<AnyElement> {
    let shape = Shape::of(relation).or_report();
    let _settings = shape.settings();
    let (_, _, before) = of_table(&shape, &before);
    let (_, _, after) = of_table(&shape, &after);
    let kept = extra.read().and_then(|extra| Extra::read(&extra)).map_err(Error::of_argument);
    let kept = kept.or_report();
    let carried = kept.carried(&shape, |name| before.get(name) != after.get(name)).write()?;
    // SAFETY: it has just been written as a jsonb.
    unsafe { AnyElement::from_polymorphic_datum(carried, false, pg_sys::JSONBOID) }
}

fn of_table(shape: &Shape, row: &AnyElement) -> (String, RevisionId, Attributes) {
    let header = row::whole_row(row, shape.relation).or_report();
    // SAFETY: it is a row of the table.
    unsafe { capture::row_of_table(shape, header) }
}

fn members(record: &AnyElement) -> Vec<(String, Value)> {
    // SAFETY: a composite argument's datum is a tuple that names its own type.
    unsafe {
        let class = pg_sys::get_typtype(record.oid()) as u8;
        if class != pg_sys::TYPTYPE_COMPOSITE && record.oid() != pg_sys::RECORDOID {
            let codec = Codec::of(record.oid(), -1);
            return vec![(String::new(), codec.read(record.datum(), false))];
        }
        row::read_record(pg_sys::pg_detoast_datum(record.datum().cast_mut_ptr()).cast())
    }
}
