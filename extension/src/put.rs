//! In charge of `godwit.put`: a local edit of one record.

use pgrx::JsonB;
use pgrx::pg_sys;
use pgrx::prelude::*;
use revision::{Attributes, Record, RevisionId, Value};
use std::rc::Rc;

use crate::about;
use crate::argument::{self, Json};
use crate::conflicted;
use crate::conflicts;
use crate::error::{Error, OrReport};
use crate::expected;
use crate::history;
use crate::policy;
use crate::reconcile;
use crate::rights::{self, Right};
use crate::role;
use crate::shape::{Column, Shape};
use crate::spi;
use crate::twin::{self, Revision};

/// What happens when the edited revision is not a leaf any more.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum OnConflict {
    Fail,
    Branch,
}

impl OnConflict {
    pub fn of(name: &str) -> Result<OnConflict, Error> {
        match name {
            "fail" => Ok(OnConflict::Fail),
            "branch" => Ok(OnConflict::Branch),
            other => {
                Err(Error::BadArgument(format!("on_conflict is 'fail' or 'branch', not {other:?}")))
            }
        }
    }
}

/// What a put has come to.
pub struct Put {
    pub revision: RevisionId,
    pub deleted: bool,
    /// Not so where it was there already, or changed nothing.
    pub is_new: bool,
}

#[pg_extern(sql = false)]
fn _put(relation: pg_sys::Oid, record: Json, on_conflict: &str) -> JsonB {
    let _entered = role::enter();
    let shape = to_write(relation);
    let mode = OnConflict::of(on_conflict).or_report();
    let record = read_record(&shape, record.read().or_report()).or_report();
    let id = record.id.clone();
    let _settings = shape.settings();
    let Put { revision, deleted, .. } = checked(&shape, record, mode);
    let mut answer = serde_json::json!({
        "id": id, "table": shape.wire_name, "revision": revision.to_string(),
    });
    if deleted {
        answer["deleted"] = true.into();
    }
    JsonB(answer)
}

/// The shape of a table, held if the caller may write anything to it.
pub fn to_write(relation: pg_sys::Oid) -> Rc<Shape> {
    let shape = Shape::of(relation).or_report();
    if may_write(&shape) { shape.held().or_report() } else { shape }
}

/// Whether the caller may write anything to a table.
pub fn may_write(shape: &Shape) -> bool {
    let may = |right| rights::require(shape, &[right]).is_ok();
    [Right::Insert, Right::Update, Right::Delete].into_iter().any(may)
}

/// One put with the rights that it takes.
pub fn checked(shape: &Shape, record: Record, mode: OnConflict) -> Put {
    let right = match (record.deleted, &record.revision) {
        (true, _) => Right::Delete,
        (false, None) => Right::Insert,
        (false, Some(_)) => Right::Update,
    };
    rights::require(shape, &[right]).or_report();
    if policy::applies(shape) && policy::has_hidden_row(shape, &record.id) {
        policy::refused(shape, &record.id).report()
    }
    let id = record.id.clone();
    about::record(shape, &id, || role::as_owner(shape.owner, || put(shape, record.clone(), mode)))
}

/// A wire record for this table.
pub fn read_record(shape: &Shape, json: serde_json::Value) -> Result<Record, Error> {
    let which = match json.get("id").and_then(serde_json::Value::as_str) {
        Some(id) => format!("record {:?}", short(id)),
        None => "the record".to_owned(),
    };
    let record = serde_json::from_value(json)
        .map_err(|error| Error::BadRecord(format!("{which} can't be read: {error}")))?;
    checked_record(shape, record)
}

/// The same from text, without a tree of JSON in between.
pub fn parse_record(shape: &Shape, json: &str) -> Result<Record, Error> {
    match serde_json::from_str(json) {
        Ok(record) => checked_record(shape, record),
        // Where it stands in a text that nobody has sent so says nothing.
        Err(_) => read_record(shape, argument::parse(json)?),
    }
}

/// A member of a record that can't be read, as far as it is a string.
pub fn member(json: &str, name: &str) -> Option<String> {
    argument::parse(json).ok()?.get(name)?.as_str().map(short)
}

/// A record for this table, checked as far as the record itself tells.
pub fn checked_record(shape: &Shape, record: Record) -> Result<Record, Error> {
    record
        .check()
        .map_err(|error| Error::BadRecord(format!("record {:?}: {error}", short(&record.id))))?;
    match &record.table {
        Some(table) if *table != shape.wire_name => Err(Error::BadRecord(format!(
            "record {:?} is of table {table:?}, not of {:?}",
            short(&record.id),
            shape.wire_name
        ))),
        _ => Ok(record),
    }
}

/// As much of an id as an error message should carry.
pub fn short(id: &str) -> String {
    id.chars().take(80).collect()
}

fn put(shape: &Shape, record: Record, mode: OnConflict) -> Put {
    let id = record.id.clone();
    twin::check_id(shape, &id);
    let ids = [id.clone()];
    let locked = reconcile::lock(shape, &ids);
    let before = Standing::of(shape, &id, &locked);
    if let Some(known) = sent_before(shape, &record, &before) {
        return Put { revision: known, deleted: false, is_new: false };
    }
    let previous = previous(&record, &before, mode).or_report();
    // What the put leaves out is taken from there.
    if let Some(edited) = &previous
        && !role::as_caller(|| policy::may_edit(shape, &id, edited))
    {
        policy::refused(shape, &id).report()
    }
    let attributes = whole(shape, &record, previous.as_ref());
    let new = Revision {
        revision: twin::edited(&id, previous.as_ref(), record.deleted, &attributes),
        id,
        previous,
        deleted: record.deleted,
        attributes,
    };
    if let Some(same) = changes_nothing(shape, &new) {
        return Put { revision: same, deleted: record.deleted, is_new: false };
    }
    if let Some(edited) = &new.previous
        && !before.shows(edited)
        && !history::is_leaf(shape, &new.id, edited)
    {
        let winner = before.winner.as_ref().map(|(revision, _)| revision.clone());
        refuse_edited(shape, &new.id, edited, winner, mode).or_report();
    }
    if !role::as_caller(|| policy::may_write(shape, &new)) {
        policy::refused(shape, &new.id).report()
    }
    let added = [&new];
    let added = expected::while_capturing(shape.twin_relation, || twin::insert(shape, &added));
    reconcile::reconcile(shape, &ids, &added, Some(locked));
    if mode == OnConflict::Fail {
        refuse_newcomers(shape, &new, &before, record.revision);
    }
    Put { revision: new.revision, deleted: new.deleted, is_new: true }
}

/// Where a record stands: its winner, with whether it deletes, and whether the table has a row of it, which is locked then.
struct Standing {
    winner: Option<(RevisionId, bool)>,
    has_row: bool,
    /// Without a row, in a record with conflicts: its living leaves.
    living: Vec<RevisionId>,
}

impl Standing {
    /// `locked` is what the table shows of the record. Its other leaves are not looked for: there may be thousands.
    fn of(shape: &Shape, id: &str, locked: &reconcile::Shown) -> Standing {
        let winner = match locked.first() {
            Some((_, shown)) => Some((shown.clone(), false)),
            None => history::highest(shape, id),
        };
        let has_row = !locked.is_empty();
        let living = match has_row || !conflicted::is_listed(shape, id) {
            true => Vec::new(),
            false => conflicts::living_revisions(shape, id),
        };
        Standing { winner, has_row, living }
    }

    /// Whether the table shows this revision, which is a leaf then.
    fn shows(&self, revision: &RevisionId) -> bool {
        self.has_row && self.is_winner(revision)
    }

    fn is_winner(&self, revision: &RevisionId) -> bool {
        self.winner.as_ref().is_some_and(|(winner, _)| winner == revision)
    }
}

/// A new record that is sent again, the first answer having been lost, is that record and no conflict.
fn sent_before(shape: &Shape, record: &Record, standing: &Standing) -> Option<RevisionId> {
    if record.revision.is_some() || record.deleted {
        return None;
    }
    let (winner, is_deleted) = standing.winner.as_ref()?;
    if *is_deleted {
        return None;
    }
    let attributes = whole(shape, record, None);
    let first = RevisionId::of(&record.id, None, false, &attributes);
    let stands = body(shape, &record.id, winner).as_ref() == Some(&attributes);
    match stands {
        true => Some(winner.clone()),
        false => history::has_body(shape, &record.id, &first).then_some(first),
    }
}

/// The revision that this put is made from.
fn previous(
    record: &Record,
    standing: &Standing,
    mode: OnConflict,
) -> Result<Option<RevisionId>, Error> {
    if let Some(edited) = &record.revision {
        return Ok(Some(edited.clone()));
    }
    match &standing.winner {
        None if record.deleted => Err(Error::NoRecord { id: record.id.clone() }),
        None => Ok(None),
        Some((_, true)) if record.deleted => Err(Error::NoRecord { id: record.id.clone() }),
        Some((tombstone, true)) => Ok(Some(tombstone.clone())),
        Some(_) if mode == OnConflict::Branch => Ok(None),
        Some((winner, false)) => {
            Err(Error::Conflict { id: record.id.clone(), edited: None, winner: winner.clone() })
        }
    }
}

/// The edited revision is not a leaf: it has been edited already, or was never seen here.
fn refuse_edited(
    shape: &Shape,
    id: &str,
    edited: &RevisionId,
    winner: Option<RevisionId>,
    mode: OnConflict,
) -> Result<(), Error> {
    let id = id.to_owned();
    let known = history::with_revision(shape, &id, edited, |_| ()).is_some();
    match winner {
        Some(winner) if known && mode == OnConflict::Fail => {
            Err(Error::Conflict { id, edited: Some(edited.clone()), winner })
        }
        Some(_) if known => Ok(()),
        _ => Err(Error::UnknownRevision { id, revision: edited.clone() }),
    }
}

/// The revision that is there already: the same put sent twice, or an edit that changes nothing.
fn changes_nothing(shape: &Shape, new: &Revision) -> Option<RevisionId> {
    if history::has_body(shape, &new.id, &new.revision) {
        return Some(new.revision.clone());
    }
    let previous = new.previous.as_ref()?;
    let same = !new.deleted && body(shape, &new.id, previous).as_ref() == Some(&new.attributes);
    same.then(|| previous.clone())
}

/// The attributes of a revision that is here, in full, and doesn't delete.
pub fn body(shape: &Shape, id: &str, revision: &RevisionId) -> Option<Attributes> {
    let read = |cells: &crate::row::Cells| {
        let is = |name: &str| cells.get::<bool>(name).unwrap_or(false);
        (!is("_stub") && !is("_deleted")).then(|| twin::attributes(shape, cells).or_report())
    };
    history::with_revision(shape, id, revision, read).flatten()
}

/// Two puts of a new record at the same time have no row to wait at; the second to write the table
/// finds the first one's leaf there now, and is told so as if it had come later.
fn refuse_newcomers(shape: &Shape, new: &Revision, before: &Standing, edited: Option<RevisionId>) {
    if before.has_row || !conflicted::is_listed(shape, &new.id) {
        return;
    }
    let is_newcomer = |leaf: &RevisionId| {
        *leaf != new.revision && !before.is_winner(leaf) && !before.living.contains(leaf)
    };
    let newcomer = conflicts::living_revisions(shape, &new.id).into_iter().find(is_newcomer);
    if let Some(winner) = newcomer {
        Error::Conflict { id: new.id.clone(), edited, winner }.report()
    }
}

/// The attributes as the table will have them: each in its column's own form, and those that the
/// put doesn't name from the edited revision, or from the column's default in a new record.
pub fn whole(shape: &Shape, record: &Record, previous: Option<&RevisionId>) -> Attributes {
    // Policies are asked under the caller's own.
    let _settings = shape.settings();
    let mut attributes = in_present_names(shape, record);
    let edited = record.revision.as_ref().and(previous).and_then(|revision| {
        history::with_revision(shape, &record.id, revision, |cells| {
            let said = twin::attributes(shape, cells).or_report().into_iter();
            let by_column = |(name, value): (String, Value)| {
                (shape.column_for(&name).map_or(name, |column| column.name.clone()), value)
            };
            said.map(by_column).collect::<Attributes>()
        })
    });
    let parts = twin::key_parts(shape, &record.id);
    for column in shape.attribute_columns() {
        let key = shape.key_columns().position(|key| key.name == column.name);
        let value = match (attributes.get(&column.name), key) {
            (Some(value), _) => as_stored(column, value),
            (None, _) if record.deleted => continue,
            (None, Some(place)) => as_stored(column, &column.codec.key_value(&parts[place])),
            (None, None) => match &edited {
                Some(edited) => match edited.get(&column.name) {
                    Some(value) => value.clone(),
                    None => shown(shape, &record.id, previous, column)
                        .unwrap_or_else(|| default(column)),
                },
                None => default(column),
            },
        };
        if let Some(place) = key {
            twin::check_key(&record.id, column, &value, &parts[place]);
        }
        attributes.insert(column.name.clone(), value);
    }
    attributes
}

/// The record's attributes; what it says under a name that a column had once is said of the column.
fn in_present_names(shape: &Shape, record: &Record) -> Attributes {
    let mut attributes = record.attributes.clone();
    for (name, value) in &record.attributes {
        let column = shape.column_for(name).filter(|column| column.name != *name);
        if let Some(column) = column
            && !record.attributes.contains_key(&column.name)
        {
            attributes.remove(name);
            attributes.insert(column.name.clone(), value.clone());
        }
    }
    attributes
}

/// What the table's row shows of a column of which the edited revision says nothing, because it is
/// older than the column, say.
fn shown(shape: &Shape, id: &str, edited: Option<&RevisionId>, column: &Column) -> Option<Value> {
    let ids = [id.to_owned()];
    let mut args = reconcile::key_args(shape, &ids);
    args.push(twin::revision_arg(shape, edited));
    let sql = format!(
        "select t.{} from {} join {} t on {} where t._rev = ${}",
        column.quoted,
        reconcile::keys(shape),
        shape.table,
        reconcile::same_key(shape),
        args.len()
    );
    spi::rows(&sql, &args, |row| row.value(1, &column.codec)).into_iter().next()
}

/// The value as the column gives it back.
fn as_stored(column: &Column, value: &Value) -> Value {
    let datum = column.codec.write(value);
    // SAFETY: `write` has just made a datum of this codec's type.
    unsafe { column.codec.read(datum.unwrap_or(pg_sys::Datum::from(0)), datum.is_none()) }
}

fn default(column: &Column) -> Value {
    let Some(expression) = &column.default else { return Value::Null };
    if column.generated {
        return Value::Null;
    }
    let sql = format!("select ({expression})::{}", column.type_name);
    as_caller(column, &sql, &[]).unwrap_or(Value::Null)
}

/// A value of a column's that a statement gives under the caller's own settings, read under those of here.
pub fn as_caller(column: &Column, sql: &str, args: &[spi::Arg]) -> Option<Value> {
    let found = role::as_caller(|| spi::rows(sql, args, |row| row.carry_out(1)));
    let spi::Arg(_, datum) = found.into_iter().next()?;
    // SAFETY: the statement casts it to the column's type.
    Some(unsafe { column.codec.read(datum.unwrap_or(pg_sys::Datum::from(0)), datum.is_none()) })
}
