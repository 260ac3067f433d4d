//! In charge of adding revisions to a history twin.

use pgrx::pg_sys;
use revision::{Attributes, RevisionId, Value};
use std::borrow::Cow;

use crate::error::Error;
use crate::extra::Extra;
use crate::row::{self, Cells};
use crate::shape::{Column, Shape};
use crate::spi::{self, Arg};

/// A revision as it is about to be kept.
pub struct Revision {
    pub id: String,
    pub revision: RevisionId,
    pub previous: Option<RevisionId>,
    pub deleted: bool,
    pub attributes: Attributes,
}

/// What happens to a revision that the twin has: a stub gets its body, a body stays as it is.
const ON_KNOWN: &str = "
    on conflict (_id, _rev) do update
       set (_prev, _deleted, _extra, _stub, _seq, _at, _by{columns}) = row(
           coalesce(excluded._prev, h._prev), excluded._deleted, excluded._extra, false,
           excluded._seq, excluded._at, excluded._by{excluded})
     where h._stub";

/// `insert into the_twin (…)`; sequence, time and author are the columns' own defaults.
pub fn insert_into(shape: &Shape) -> String {
    format!(
        "insert into {} as h (_id, _rev, _prev, _deleted, _extra{})",
        shape.twin,
        shape.body_columns("")
    )
}

/// The clause for revisions that are known, with this table's columns.
pub fn on_known(shape: &Shape) -> String {
    ON_KNOWN
        .replace("{columns}", &shape.body_columns(""))
        .replace("{excluded}", &shape.body_columns("excluded."))
}

/// Adds a revision, or fills the stub that stands for it; 0 if it is known already.
pub fn insert(shape: &Shape, new: &Revision) -> u64 {
    let mut extra = Extra::default();
    let mut args = vec![
        spi::text(&new.id),
        revision_arg(shape, Some(&new.revision)),
        revision_arg(shape, new.previous.as_ref()),
        spi::boolean(new.deleted),
        Arg(pg_sys::JSONBOID, None),
    ];
    let parts = if new.deleted { Vec::new() } else { key_parts(shape, &new.id) };
    for column in shape.attribute_columns() {
        args.push(body_arg(shape, column, new, &parts, &mut extra));
    }
    for (name, value) in &new.attributes {
        if shape.attribute(name).is_none() {
            extra.0.insert(name.clone(), Some(value.clone()));
        }
    }
    if let Some(kept) = extra.write() {
        args[4] = spi::json(&kept);
    }
    let places: Vec<String> = (1..=args.len()).map(|number| format!("${number}")).collect();
    let sql = format!("{} values ({}) {}", insert_into(shape), places.join(", "), on_known(shape));
    spi::run(&sql, &args)
}

/// One column's value; what it would store otherwise than it came is kept beside it.
fn body_arg(
    shape: &Shape,
    column: &Column,
    new: &Revision,
    parts: &[Cow<str>],
    extra: &mut Extra,
) -> Arg {
    let base = column.codec.base_type();
    let place = shape.key_columns().position(|key| key.name == column.name);
    let part = place.and_then(|place| parts.get(place));
    let Some(value) = new.attributes.get(&column.name) else {
        if new.deleted {
            return Arg(base, None);
        }
        extra.0.insert(column.name.clone(), None);
        // A key column that the revision doesn't name is what the record id says.
        let text = part.map(|part| Value::String(part.to_string()));
        return Arg(base, text.and_then(|text| column.codec.write(&text)));
    };
    let datum = column.codec.write(value);
    // SAFETY: `write` has just made a datum of this codec's type.
    let stored =
        unsafe { column.codec.read(datum.unwrap_or(pg_sys::Datum::from(0)), datum.is_none()) };
    if let Some(part) = part {
        check_key(&new.id, column, &stored, part);
    }
    if stored != *value || (new.deleted && *value == Value::Null) {
        extra.0.insert(column.name.clone(), Some(value.clone()));
    }
    Arg(base, datum)
}

/// The texts that a record id is made of, in the order of the key. An id that can't be taken
/// apart so is an error.
pub fn key_parts<'a>(shape: &Shape, id: &'a str) -> Vec<Cow<'a, str>> {
    let count = shape.key.len();
    if count == 1 {
        return vec![Cow::Borrowed(id)];
    }
    match serde_json::from_str::<Vec<String>>(id) {
        Ok(parts)
            if parts.len() == count
                && serde_json::to_string(&parts).is_ok_and(|canonical| canonical == id) =>
        {
            parts.into_iter().map(Cow::Owned).collect()
        }
        _ => {
            let reason =
                format!("must be the JSON array of the key's {count} texts, without spaces");
            Error::BadId { id: id.to_owned(), reason }.report()
        }
    }
}

/// Refuses an id that the table's key would give back otherwise: `007` for an integer.
pub fn check_id(shape: &Shape, id: &str) {
    for (column, part) in shape.key_columns().zip(key_parts(shape, id)) {
        let datum = column.codec.write(&Value::String(part.to_string()));
        // SAFETY: `write` has just made a datum of this codec's type.
        let read =
            unsafe { column.codec.read(datum.unwrap_or(pg_sys::Datum::from(0)), datum.is_none()) };
        let back = row::id_of(std::iter::once(&read));
        if back != *part {
            let reason = format!("the table's key {} would store it as {back:?}", column.name);
            Error::BadId { id: id.to_owned(), reason }.report()
        }
    }
}

/// Refuses a key attribute that says another key than the record id.
pub fn check_key(id: &str, column: &Column, value: &Value, part: &str) {
    if row::id_of(std::iter::once(value)) != part {
        let said = value.wire_text().unwrap_or_default();
        let (id, name) = (crate::put::short(id), &column.name);
        Error::BadRecord(format!("record {id:?}: key attribute {name} says {said:?}")).report()
    }
}

/// The attributes of a revision, from its row of the twin. A tombstone has those that are not
/// null; what it says of nulls is kept beside.
pub fn attributes(shape: &Shape, cells: &Cells) -> Result<Attributes, Error> {
    let deleted = cells.get::<bool>("_deleted").unwrap_or(false);
    let mut attributes: Attributes = shape
        .attribute_columns()
        .filter_map(|column| Some((column.name.clone(), cells.named(&column.name, &column.codec)?)))
        .filter(|(_, value)| !deleted || *value != Value::Null)
        .collect();
    if let Some(extra) = cells.get::<pgrx::JsonB>("_extra") {
        Extra::read(&extra.0)?.lay_over(&mut attributes);
    }
    Ok(attributes)
}

/// An argument of type godwit.revision.
pub fn revision_arg(shape: &Shape, revision: Option<&RevisionId>) -> Arg {
    use pgrx::prelude::*;
    Arg(shape.revision_type, revision.and_then(|revision| revision.to_sortable().into_datum()))
}
