//! In charge of adding revisions to a history twin.

use pgrx::pg_sys;
use pgrx::prelude::*;
use revision::{Attributes, RevisionId, Value};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use crate::append::{self, Fitting};
use crate::argument::Json;
use crate::error::{Error, OrReport};
use crate::extra::{Beside, Extra};
use crate::row::{self, Cells};
use crate::shape::{Column, Shape};
use crate::spi::{self, Arg};
use crate::unordered;

/// A revision as it is about to be kept.
pub struct Revision {
    pub id: String,
    pub revision: RevisionId,
    pub previous: Option<RevisionId>,
    pub deleted: bool,
    pub attributes: Attributes,
}

impl Revision {
    /// Whether the id is none of ours for this edit.
    fn is_foreign(&self) -> bool {
        let previous = self.previous.as_ref();
        previous.map_or(0, RevisionId::generation) + 1 != self.revision.generation()
            || self.revision.token().len() != 32
            || RevisionId::of(&self.id, previous, self.deleted, &self.attributes) != self.revision
    }
}

/// What happens to a revision that the twin has: a stub gets its body, a body stays as it is, and one
/// that was dropped (a stub with a number) stays dropped.
const ON_KNOWN: &str = "
    on conflict (_id, _rev) do update
       set (_prev, _deleted, _extra, _stub, _seq, _at, _by{columns}) = row(
           coalesce(excluded._prev, h._prev), excluded._deleted, excluded._extra, false,
           excluded._seq, excluded._at, excluded._by{excluded})
     where h._stub and h._seq is null";

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

/// The revision that this edit makes.
pub fn edited(
    id: &str,
    previous: Option<&RevisionId>,
    deleted: bool,
    attributes: &Attributes,
) -> RevisionId {
    require_room(id, previous);
    RevisionId::of(id, previous, deleted, attributes)
}

/// The revision that a row of the table makes.
pub fn edited_row(
    shape: &Shape,
    id: &str,
    previous: Option<&RevisionId>,
    row: &Cells,
) -> RevisionId {
    require_room(id, previous);
    let mut encoder = revision::Encoder::new(id, previous, false, shape.attributes.len());
    for column in shape.attribute_columns() {
        let at = column.number as usize - 1;
        encoder.attribute_by(&column.name, |out| row.hash_at(at, &column.codec, out));
    }
    encoder.finish()
}

fn require_room(id: &str, previous: Option<&RevisionId>) {
    if previous.is_some_and(|previous| previous.generation() == revision::GENERATION_MAX) {
        Error::LastGeneration { id: crate::put::short(id) }.report()
    }
}

/// SQL that says whether a row of the twin is a leaf: it has a body and no child. A child is looked up for each row, by
/// all that the key tells of it: OFFSET keeps the look-up out of the planner's joins, of which one that reads all of a
/// record's revisions for each of them seems no dearer where a record has a few.
pub fn is_leaf(shape: &Shape, row: &str) -> String {
    has_no_child(shape, row, "offset 0")
}

/// The same where all of the twin is asked: a join then takes half as long.
pub fn is_leaf_of_all(shape: &Shape, row: &str) -> String {
    has_no_child(shape, row, "")
}

fn has_no_child(shape: &Shape, row: &str, looked_up: &str) -> String {
    if shape.row_security {
        let relation = shape.relation.to_u32();
        return format!(
            "not {row}._stub and godwit._is_leaf({relation}::oid, {row}._id, {row}._rev)"
        );
    }
    format!(
        "not {row}._stub and not exists (select from {twin} c where {is_child} {looked_up})",
        twin = shape.twin,
        is_child = is_child("c", row),
    )
}

/// SQL that says whether one row of the twin was made on another. Children are of the next generation, where the twin's
/// own index finds them, however long the record's line is.
pub fn is_child(row: &str, parent: &str) -> String {
    format!(
        "{row}._id = {parent}._id and {row}._prev operator(godwit.=) {parent}._rev
           and {row}._rev operator(godwit.>) godwit._generation_floor({parent}._rev, 1)
           and {row}._rev operator(godwit.<) godwit._generation_floor({parent}._rev, 2)"
    )
}

/// Values by the places of the table's columns.
type Body = Vec<Option<pg_sys::Datum>>;

/// Revisions that were added, each with its body in the table's own values, by the places of the table's columns,
/// where the twin is known to have just that.
pub struct Added<'a> {
    pub revisions: &'a [&'a Revision],
    /// Whether another session has brought the body of any of them at the same moment.
    pub is_met: bool,
    /// Of which of them that is known.
    pub met: Vec<&'a Revision>,
    /// Whether a row that another session has just inserted is to be stepped back from.
    pub may_meet_rows: bool,
    /// Records of which the twin had no revision, not even a stub, before these.
    new: BTreeSet<&'a str>,
    bodies: Vec<Option<Body>>,
}

impl<'a> Added<'a> {
    /// Revisions of which the twin alone says what they say.
    pub fn in_twin(revisions: &'a [&'a Revision]) -> Added<'a> {
        let bodies = revisions.iter().map(|_| None).collect();
        let (met, new) = (Vec::new(), BTreeSet::new());
        Added { revisions, is_met: false, met, may_meet_rows: true, new, bodies }
    }

    /// Whether the twin had nothing of a record before these.
    pub fn is_of_new(&self, id: &str) -> bool {
        self.new.contains(id)
    }

    /// The winners of records that were new, where it is their highest revision. Whoever has added others since shows
    /// one of them, or nothing but tombstones.
    pub fn winners_of_new(&self) -> HashMap<&'a str, &'a RevisionId> {
        let mut highest: HashMap<&str, &Revision> = HashMap::new();
        for &new in self.revisions.iter().filter(|new| self.is_of_new(&new.id)) {
            let at = highest.entry(new.id.as_str()).or_insert(new);
            if new.revision > at.revision {
                *at = new;
            }
        }
        let living = highest.into_iter().filter(|(_, new)| !new.deleted);
        living.map(|(id, new)| (id, &new.revision)).collect()
    }

    /// Forgets the bodies of records that another session has brought revisions of.
    fn forget(&mut self, known: &[Revision]) {
        let ids: HashSet<&str> = known.iter().map(|known| known.id.as_str()).collect();
        for (new, body) in self.revisions.iter().zip(&mut self.bodies) {
            if ids.contains(new.id.as_str()) {
                *body = None;
            }
        }
    }

    /// These revisions as rows of the table, in one array, if they are all among the added.
    pub fn rows_of(&self, shape: &Shape, wanted: &BTreeMap<String, RevisionId>) -> Option<Arg> {
        let is_wanted = |new: &Revision| wanted.get(&new.id) == Some(&new.revision);
        let added = self.revisions.iter().zip(&self.bodies);
        let mut found: Vec<(&Revision, &Body)> = added
            .filter_map(|(new, body)| Some((*new, body.as_ref().filter(|_| is_wanted(new))?)))
            .collect();
        // As the wanted stand, each once, whatever order they were added in and however often.
        found.sort_by(|(one, _), (other, _)| one.id.cmp(&other.id));
        found.dedup_by(|(one, _), (other, _)| one.id == other.id);
        if found.len() < wanted.len() {
            return None;
        }
        // SAFETY: the relation is open while its descriptor is used; each datum was made for its column.
        Some(unsafe {
            array_of(shape.relation, |desc| {
                let places = table_places(shape);
                let row = |(new, body): &(&Revision, &Body)| {
                    row::form(desc, &places, &table_datums(shape, new, body))
                };
                found.iter().map(row).collect()
            })
        })
    }
}

/// Whether a body says of every column what the table is to show: not so where one was renamed, or where what the
/// revision doesn't name is for the column's default or its domain to say. Where nothing is kept beside it names all.
fn is_whole(shape: &Shape, new: &Revision, has_extra: bool) -> bool {
    let is_said = |column: &Column| {
        let is_plain = || column.codec.base_type() == column.codec.type_oid;
        new.attributes.contains_key(&column.name) || (column.default.is_none() && is_plain())
    };
    let is_all_said = || !has_extra || shape.attribute_columns().all(is_said);
    !new.deleted && shape.eras.is_empty() && is_all_said()
}

/// Where a row of the table has the values that `table_datums` gives.
fn table_places(shape: &Shape) -> Vec<usize> {
    let numbers = shape.columns.iter().map(|column| column.number);
    numbers.chain([shape.revision_number]).map(|number| number as usize - 1).collect()
}

fn table_datums(shape: &Shape, new: &Revision, body: &Body) -> Body {
    let mut datums = Vec::with_capacity(body.len() + 1);
    datums.extend_from_slice(body);
    if let Some(at) = shape.columns.iter().position(|column| column.name == "_id") {
        datums[at] = shape.columns[at].codec.write(&Value::String(new.id.clone()));
    }
    datums.push(Some(row::revision_datum(&new.revision)));
    datums
}

/// Adds revisions in this order, or fills the stubs that stand for them; what is known already stays as
/// it is. No revision may come twice.
pub fn insert<'a>(shape: &Shape, new: &'a [&'a Revision]) -> Added<'a> {
    match append::fitting(shape) {
        Some(twin) => insert_into_twin(shape, twin, new, |_| false),
        None => insert_in_order(shape, new),
    }
}

/// The same for a batch of which some may be on their way from another session. `is_there` says which the twin has as
/// stubs, `records` of which records it has nothing. Where others are met it fails with `Error::Overtaken`, and has to be taken back: two batches that wait for
/// one another's rows would wait for ever. `insert_in_order` is what comes then.
pub fn insert_unless_overtaken<'a>(
    shape: &Shape,
    new: &'a [&'a Revision],
    is_there: impl Fn(&Revision) -> bool,
    records: BTreeSet<&'a str>,
) -> Added<'a> {
    match append::fitting(shape) {
        Some(twin) => {
            let added = insert_into_twin(shape, twin.stepping_back(), new, is_there);
            Added { new: records, ..added }
        }
        None => insert_in_order(shape, new),
    }
}

/// The same one after the other, so that whoever brings a part of them is waited for at the first.
pub fn insert_in_order<'a>(shape: &Shape, new: &'a [&'a Revision]) -> Added<'a> {
    let sql = format!("{} returning _id, _rev", insert_sql(shape));
    let kept: BTreeSet<(String, RevisionId)> = spi::rows(&sql, &[rows(shape, new)], |row| {
        (row.need(1), row::read_revision(&row.need::<Vec<u8>>(2)))
    })
    .into_iter()
    .collect();
    unordered::note(shape, names(new));
    let is_kept = |new: &&Revision| kept.contains(&(new.id.clone(), new.revision.clone()));
    let met: Vec<&Revision> = new.iter().copied().filter(|new| !is_kept(new)).collect();
    Added { is_met: !met.is_empty(), met, ..Added::in_twin(new) }
}

fn insert_into_twin<'a>(
    shape: &Shape,
    twin: Fitting,
    new: &'a [&'a Revision],
    is_there: impl Fn(&Revision) -> bool,
) -> Added<'a> {
    let stubs: Vec<&Revision> = new.iter().copied().filter(|new| is_there(new)).collect();
    let mut filled = 0;
    if !stubs.is_empty() {
        filled = insert_by_sql(shape, &stubs);
        unordered::note(shape, names(&stubs));
    }
    let mut bodies_kept = Vec::with_capacity(new.len());
    let append::Added { rows, known } = twin.append(|append| {
        for new in new {
            if is_there(new) {
                bodies_kept.push(None);
                continue;
            }
            let (body, extra) = bodies(shape, new);
            let head = append::Head {
                id: &new.id,
                revision: row::revision_datum(&new.revision),
                previous: new.previous.as_ref().map(row::revision_datum),
                deleted: new.deleted,
                extra,
            };
            append.add(head, |column| body[column]);
            bodies_kept.push(is_whole(shape, new, extra.is_some()).then_some(body));
        }
    });
    let is_met = filled + rows < new.len() as u64;
    let mut added = Added { is_met, bodies: bodies_kept, ..Added::in_twin(new) };
    added.forget(&known);
    added
}

/// What these revisions are known by.
pub fn names<'a>(of: &'a [&Revision]) -> impl Iterator<Item = (&'a str, &'a RevisionId)> {
    of.iter().map(|new| (new.id.as_str(), &new.revision))
}

/// The same in one statement.
pub fn insert_by_sql(shape: &Shape, new: &[&Revision]) -> u64 {
    spi::run(&insert_sql(shape), &[rows(shape, new)])
}

fn insert_sql(shape: &Shape) -> String {
    // A function's rows come in its own order, and so do their numbers in the change stream.
    format!(
        "{} select n._id, n._rev, n._prev, n._deleted, n._extra{} from pg_catalog.unnest($1) n {}",
        insert_into(shape),
        shape.body_columns("n."),
        on_known(shape),
    )
}

/// A revision as a row of the twin.
pub fn row(shape: &Shape, new: &Revision) -> Arg {
    // Policies are asked under the caller's own.
    let _settings = shape.settings();
    // SAFETY: as in `rows`.
    unsafe {
        let lock = pg_sys::AccessShareLock as pg_sys::LOCKMODE;
        let twin = pg_sys::table_open(shape.twin_relation, lock);
        let desc = (*twin).rd_att;
        let datum = row::form(desc, &places(shape, desc), &datums(shape, new));
        pg_sys::table_close(twin, pg_sys::NoLock as pg_sys::LOCKMODE);
        Arg(pg_sys::get_rel_type_id(shape.twin_relation), Some(datum))
    }
}

/// Revisions as an array of the twin's own row type.
fn rows(shape: &Shape, new: &[&Revision]) -> Arg {
    // SAFETY: the descriptor is the twin's, and each datum of its column's type.
    unsafe {
        array_of(shape.twin_relation, |desc| {
            let places = places(shape, desc);
            new.iter().map(|new| row::form(desc, &places, &datums(shape, new))).collect()
        })
    }
}

/// An array of a relation's own row type, of what `rows` makes by its descriptor.
///
/// # Safety
/// They must be rows of the descriptor.
unsafe fn array_of(
    relation: pg_sys::Oid,
    rows: impl FnOnce(pg_sys::TupleDesc) -> Vec<pg_sys::Datum>,
) -> Arg {
    // SAFETY: the relation is open while its descriptor is used, and the array copies the rows.
    unsafe {
        let lock = pg_sys::AccessShareLock as pg_sys::LOCKMODE;
        let open = pg_sys::table_open(relation, lock);
        let mut elements = rows((*open).rd_att);
        let row_type = pg_sys::get_rel_type_id(relation);
        let array = pg_sys::construct_array(
            elements.as_mut_ptr(),
            elements.len() as i32,
            row_type,
            -1,
            false,
            pg_sys::TYPALIGN_DOUBLE as std::ffi::c_char,
        );
        pg_sys::table_close(open, pg_sys::NoLock as pg_sys::LOCKMODE);
        Arg(pg_sys::get_array_type(row_type), Some(pg_sys::Datum::from(array)))
    }
}

/// Where the twin has the columns that `datums` gives, in its order.
///
/// # Safety
/// The descriptor must be valid.
unsafe fn places(shape: &Shape, desc: pg_sys::TupleDesc) -> Vec<usize> {
    let own = ["_id", "_rev", "_prev", "_deleted"].into_iter();
    let attributes = shape.attribute_columns().map(|column| column.name.as_str());
    own.chain(attributes)
        .chain(["_extra"])
        .map(|name| {
            // SAFETY: the caller vouches for the descriptor.
            unsafe { row::position(desc, name) }.unwrap_or_else(|| {
                Error::Internal(format!("{} has no column {name}", shape.twin)).report()
            })
        })
        .collect()
}

fn datums(shape: &Shape, new: &Revision) -> Vec<Option<pg_sys::Datum>> {
    let (body, extra) = bodies(shape, new);
    let mut datums = vec![
        new.id.as_str().into_datum(),
        Some(row::revision_datum(&new.revision)),
        new.previous.as_ref().map(row::revision_datum),
        new.deleted.into_datum(),
    ];
    datums.extend(shape.attributes.iter().map(|at| body[*at]));
    datums.push(extra);
    datums
}

/// A revision's body, by the places of the table's columns, and what is kept beside it.
fn bodies(shape: &Shape, new: &Revision) -> (Body, Option<pg_sys::Datum>) {
    let mut extra = Beside::default();
    let mut datums = vec![None; shape.columns.len()];
    let parts = if new.deleted { Vec::new() } else { key_parts(shape, &new.id) };
    // Columns and attributes stand by their names: what is passed over has no column.
    let mut said = new.attributes.iter().peekable();
    for at in &shape.attributes {
        let column = &shape.columns[*at];
        while let Some(other) = said.next_if(|(name, _)| **name < column.name) {
            extra.attributes.push((other.0, Some(other.1)));
        }
        let value = said.next_if(|(name, _)| **name == column.name).map(|(_, value)| value);
        datums[*at] = body(shape, column, new, value, &parts, &mut extra);
    }
    extra.attributes.extend(said.map(|(name, value)| (name.as_str(), Some(value))));
    extra.foreign = new.is_foreign();
    (datums, extra.write())
}

/// The revision that a row of the twin is.
pub fn revision_of(shape: &Shape, cells: &Cells) -> Result<Revision, Error> {
    let (Some(id), Some(revision)) = (cells.get("_id"), cells.revision("_rev")) else {
        return Err(Error::Internal(format!("a row of {} has no revision", shape.twin)));
    };
    Ok(Revision {
        id,
        revision,
        previous: cells.revision("_prev"),
        deleted: cells.get("_deleted").unwrap_or(false),
        attributes: attributes(shape, cells)?,
    })
}

/// One column's value; what it would store otherwise than it came is kept beside it.
fn body<'a>(
    shape: &Shape,
    column: &'a Column,
    new: &Revision,
    value: Option<&'a Value>,
    parts: &[Cow<str>],
    extra: &mut Beside<'a>,
) -> Option<pg_sys::Datum> {
    let place = shape.key_columns().position(|key| key.name == column.name);
    let part = place.and_then(|place| parts.get(place));
    let Some(value) = value else {
        if new.deleted {
            return None;
        }
        extra.attributes.push((&column.name, None));
        // Who has not heard that the column was renamed edits it under the name it had.
        let mut former = shape.eras.former_names(&column.name);
        if let Some(value) = former.find_map(|name| new.attributes.get(name)) {
            return column.codec.write(value);
        }
        // A key column that the revision doesn't name is what the record id says.
        return part.and_then(|part| column.codec.write(&column.codec.key_value(part)));
    };
    if let Some(datum) = column.codec.plain(value) {
        if let Some(part) = part {
            check_key(&new.id, column, value, part);
        }
        return Some(datum);
    }
    let datum = column.codec.write(value);
    // SAFETY: `write` has just made a datum of this codec's type.
    let stored =
        unsafe { column.codec.read(datum.unwrap_or(pg_sys::Datum::from(0)), datum.is_none()) };
    if let Some(part) = part {
        check_key(&new.id, column, &stored, part);
    }
    if stored != *value || (new.deleted && *value == Value::Null) {
        extra.attributes.push((&column.name, Some(value)));
    }
    datum
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
        let value = column.codec.key_value(&part);
        let back = match column.codec.plain(&value) {
            Some(_) => row::id_of(std::iter::once(&value)),
            None => {
                let datum = column.codec.write(&value);
                let (there, is_null) = (datum.unwrap_or(pg_sys::Datum::from(0)), datum.is_none());
                // SAFETY: `write` has just made a datum of this codec's type.
                row::id_of(std::iter::once(unsafe { column.codec.read(there, is_null) }))
            }
        };
        if back != *part {
            let reason = format!("the table's key {} would store it as {back:?}", column.name);
            Error::BadId { id: id.to_owned(), reason }.report()
        }
    }
}

/// Refuses a key attribute that says another key than the record id.
pub fn check_key(id: &str, column: &Column, value: &Value, part: &str) {
    let said = row::id_of(std::iter::once(value));
    if said != part {
        let (id, name) = (crate::put::short(id), &column.name);
        Error::BadRecord(format!("record {id:?}: key attribute {name} says {said:?}")).report()
    }
}

/// The attributes of a revision, from its row of the twin. A tombstone has those that are not
/// null; what it says of nulls is kept beside.
pub fn attributes(shape: &Shape, cells: &Cells) -> Result<Attributes, Error> {
    let deleted = cells.get::<bool>("_deleted").unwrap_or(false);
    let number = cells.get::<i64>("_seq").unwrap_or(i64::MAX);
    let now = shape
        .attribute_columns()
        .filter(|column| !shape.eras.predates(&column.name, number))
        .filter_map(|column| {
            Some((column.name.clone(), cells.named(&column.name, &column.codec)?))
        });
    let then = shape
        .eras
        .former(number)
        .filter_map(|era| Some((era.attribute.clone(), cells.of_type(&era.column)?)));
    let mut attributes: Attributes =
        now.chain(then).filter(|(_, value)| !deleted || *value != Value::Null).collect();
    if let Some(extra) = cells.get::<Json>("_extra") {
        Extra::read(&extra.read()?)?.lay_over(&mut attributes);
    }
    Ok(attributes)
}

/// Whether the twin's column of this name has what a revision says of that attribute.
pub fn says(shape: &Shape, cells: &Cells, name: &str) -> bool {
    let number = cells.get::<i64>("_seq").unwrap_or(i64::MAX);
    let extra = cells.get::<Json>("_extra").map(|json| json.read().or_report());
    let absent = extra.and_then(|json| json.get(name)?.as_object().map(serde_json::Map::is_empty));
    !shape.eras.predates(name, number) && absent != Some(true)
}

/// An argument of type godwit.revision.
pub fn revision_arg(shape: &Shape, revision: Option<&RevisionId>) -> Arg {
    Arg(shape.revision_type, revision.and_then(|revision| revision.to_sortable().into_datum()))
}
