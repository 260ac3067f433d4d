//! In charge of the history of plain SQL: the AFTER triggers on a table, which add to its twin.
//!
//! A statement's rows are read from its transition tables and added to the twin all at once. Under logical
//! replication, where Postgres fires no statement triggers, a row trigger does the same by the row.
//!
//! A trigger of the app's may edit rows of a statement that has not reached us yet. The inner
//! statement then meets revisions that the twin doesn't have: it adds them first, so that a parent
//! always comes before its child, and the outer one finds them there.
//!
//! Of a partitioned table the root is tracked. A statement that names a partition fires that
//! partition's statement triggers only, so each has them; its rows are read by the root's shape.

use pgrx::pg_sys;
use pgrx::prelude::*;
use revision::{Attributes, RevisionId};
use std::collections::{BTreeSet, HashMap};

use crate::append::{self, Append, Head};
use crate::capture_by_sql as by_sql;
use crate::catalog;
use crate::conflicted;
use crate::error::{Error, OrReport};
use crate::expected;
use crate::history;
use crate::reconcile;
use crate::role;
use crate::row::{self, Cells};
use crate::settings::Settings;
use crate::shape::Shape;
use crate::spi;
use crate::transition::Rows;
use crate::trigger::{self, Event};
use crate::twin::{self, Added, Revision};
use crate::unordered;

/// Records that are ended by one statement of SQL.
const ENDED_MAX: usize = 1000;
/// Rows of changed keys that are held in memory at once.
const MADE_ANEW_MAX: usize = 1000;

trigger::entry!(godwit_capture, pg_finfo_godwit_capture, capture);

fn capture(trigger: *mut pg_sys::TriggerData) -> pg_sys::HeapTuple {
    // SAFETY: Postgres hands a trigger its relation.
    let relation = unsafe { (*(*trigger).tg_relation).rd_id };
    let event = trigger::event(trigger);
    let (old, new) = (trigger::has_old_table(trigger), trigger::has_new_table(trigger));
    let has_rows = trigger::is_for_each_row(trigger)
        || match event {
            Event::Insert => new,
            Event::Update => old && new,
            Event::Delete => old,
            Event::Truncate => true,
        };
    let rows = Shape::of_rows(relation).or_report();
    let is_partition = rows.relation != relation;
    let is_early = event == Event::Truncate && is_partition;
    trigger::require(trigger, has_rows && trigger::is_before(trigger) == is_early);
    let shape = if is_partition { Shape::of(rows.relation).or_report() } else { rows.clone() };
    let _settings = shape.settings();
    match event {
        Event::Truncate if is_partition => {
            role::as_owner(shape.owner, || by_sql::emptied(&shape, relation));
        }
        Event::Truncate => role::as_owner(shape.owner, || by_sql::truncated(&shape)),
        event if trigger::is_for_each_row(trigger) => {
            role::as_owner(shape.owner, || one_row(&rows, &shape, trigger, event));
        }
        Event::Insert => inserted(&rows, &shape, trigger),
        Event::Update => updated(&rows, &shape, trigger),
        Event::Delete => deleted(&rows, &shape, trigger),
    }
    trigger::nothing()
}

/// A row that a statement has written.
struct Written<'a> {
    rows: &'a Shape,
    revision: &'a [u8],
    cells: &'a Cells,
}

impl<'a> Written<'a> {
    fn of(rows: &'a Shape, cells: &'a Cells) -> Written<'a> {
        Written { rows, revision: revision_in(rows, cells), cells }
    }

    fn id(&self) -> String {
        self.rows.id(self.cells)
    }

    /// Whether reconciliation has taken it from the twin.
    fn is_kept(&self, shape: &Shape) -> bool {
        expected::is_writing(shape.relation)
            && expected::is(shape.relation, &self.id(), &row::read_revision(self.revision))
    }

    fn append(&self, append: &mut Append, previous: Option<pg_sys::Datum>) {
        append.add_row(self.rows, &self.id(), self.cells, previous);
    }
}

fn revision_in<'a>(rows: &Shape, cells: &'a Cells) -> &'a [u8] {
    cells.sortable_at(rows.revision_number).unwrap_or_else(|| {
        Error::Internal(format!("a row of {} has no revision", rows.table)).report()
    })
}

/// What is made for one row, which would else stay until the statement ends; of the only one it may.
struct OfRows(Option<pgrx::PgMemoryContexts>);

impl OfRows {
    fn of(count: i64) -> OfRows {
        OfRows((count > 1).then(|| pgrx::PgMemoryContexts::new("godwit row")))
    }

    /// # Safety
    /// What was made for the row before is used no more.
    unsafe fn next<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let Some(memory) = &mut self.0 else {
            return work();
        };
        // SAFETY: the caller vouches for that.
        unsafe {
            memory.reset();
            memory.switch_to(|_| work())
        }
    }
}

fn inserted(rows: &Shape, shape: &Shape, trigger: *mut pg_sys::TriggerData) {
    let Some(twin) = append::fitting(shape) else {
        let overtaken = role::as_owner(shape.owner, || by_sql::inserted(shape, trigger));
        return elect(shape, &overtaken);
    };
    let mut new = Rows::new_of(trigger);
    let mut memory = OfRows::of(new.count());
    let mut met = Vec::new();
    let added = twin.append(|append| {
        while let Some(cells) = new.next() {
            let written = Written::of(rows, cells);
            if written.is_kept(shape) {
                continue;
            }
            if RevisionId::is_first_sortable(written.revision) {
                written.append(append, None);
                continue;
            }
            // SAFETY: what is handed out is used before the next row's turn.
            let again = unsafe { memory.next(|| inserted_again(shape, &written)) };
            match again {
                Ok(previous) => written.append(append, previous),
                Err(known) => met.push(known),
            }
        }
    });
    new.end();
    expected::kept(shape.relation, added.rows);
    met.extend(shown_of(added));
    elect(shape, &met);
}

/// The rows of which the twin had the revisions already.
fn shown_of(added: append::Added) -> impl Iterator<Item = RowShown> {
    added.known.into_iter().map(|known| (known.id, known.revision, known.attributes))
}

/// A record and the revision that its row shows, with what that says.
pub type RowShown = (String, RevisionId, Attributes);

/// An insert has no row to wait at: another session may have brought the same revision meanwhile, and what ends it. An
/// update may make one that has come without its line, and has been ended elsewhere. Then the row, which came later, is
/// an edit of what has ended. One that has been edited again shows what may not be kept yet, and is let be.
fn elect(shape: &Shape, met: &[RowShown]) {
    if met.is_empty() {
        return;
    }
    let known: HashMap<(&str, &RevisionId), &Attributes> =
        met.iter().map(|(id, revision, says)| ((id.as_str(), revision), says)).collect();
    // A statement whose triggers delete may have made two rows of one record.
    let ids: BTreeSet<&str> = met.iter().map(|(id, ..)| id.as_str()).collect();
    let ids: Vec<String> = ids.into_iter().map(str::to_owned).collect();
    let (rows, edits) = role::as_owner(shape.owner, || {
        let mut rows = reconcile::lock(shape, &ids);
        rows.retain(|(id, revision)| known.contains_key(&(id.as_str(), revision)));
        let edit = |(id, revision): &(String, RevisionId)| {
            anew(shape, id, revision, known[&(id.as_str(), revision)])
        };
        let edits: Vec<Revision> = rows.iter().filter_map(edit).collect();
        (rows, edits)
    });
    if rows.is_empty() {
        return;
    }
    let edits: Vec<&Revision> = edits.iter().collect();
    role::as_owner(shape.owner, || {
        expected::while_capturing(shape.twin_relation, || twin::insert(shape, &edits));
    });
    // What was edited may be a leaf still, if the edit's line came cut short. Those that are none are struck below.
    let edited: Vec<String> = edits.iter().map(|edit| edit.id.clone()).collect();
    conflicted::list(shape, &edited);
    let ids: Vec<String> = rows.iter().map(|(id, _)| id.clone()).collect();
    reconcile::reconcile(shape, &ids, &Added::in_twin(&edits), Some(rows));
}

/// The edit that a row is of a record in which its revision has ended. Other leaves stay conflicts.
fn anew(
    shape: &Shape,
    id: &str,
    revision: &RevisionId,
    attributes: &Attributes,
) -> Option<Revision> {
    let leaves = history::leaves(shape, id);
    let is_leaf = leaves.iter().any(|(leaf, _)| leaf == revision);
    let (ended, _) = leaves.first().filter(|(_, deleted)| *deleted && !is_leaf)?;
    let mut attributes = attributes.clone();
    history::extra(shape, id, revision).or_report().lay_over(&mut attributes);
    Some(Revision {
        id: id.to_owned(),
        revision: twin::edited(id, Some(ended), false, &attributes),
        previous: Some(ended.clone()),
        deleted: false,
        attributes,
    })
}

/// What an insert over a tombstone goes on from; what it has made where the twin has that already.
fn inserted_again(shape: &Shape, written: &Written) -> Result<Option<pg_sys::Datum>, RowShown> {
    let revision = row::read_revision(written.revision);
    let id = written.id();
    let attributes = written.rows.row_attributes(written.cells);
    if history::has_body(shape, &id, &revision) {
        return Err((id, revision, attributes));
    }
    let parent = history::parent(shape, &id, &revision, &attributes).or_report();
    Ok(parent.map(|(parent, _)| row::revision_datum(&parent)))
}

fn updated(rows: &Shape, shape: &Shape, trigger: *mut pg_sys::TriggerData) {
    let (mut old, mut new) = (Rows::old_of(trigger), Rows::new_of(trigger));
    let edits = edits(rows, shape, &mut old, &mut new);
    if edits != Some(expected::pending(shape.relation)) {
        role::as_owner(shape.owner, || catch_up(shape, trigger));
    }
    // What is kept beside columns is found by joins.
    let is_carried = expected::has_carried(shape.relation);
    let twin = append::fitting(shape).filter(|_| !is_carried);
    // Where a key may be there twice for a while, none finds a row's old one.
    let has_pairs = edits.is_some() && (twin.is_some() || shape.keys.takes_on_conflict);
    let overtaken = match twin {
        _ if !has_pairs => {
            let met = role::as_owner(shape.owner, || made_anew(rows, shape, &mut old, &mut new));
            role::as_owner(shape.owner, || by_sql::end_moved(shape, trigger));
            met
        }
        Some(twin) => {
            let added = twin.append(|append| {
                while let (Some(before), Some(after)) = (old.next(), new.next()) {
                    let written = Written::of(rows, after);
                    if revision_in(rows, before) != written.revision && !written.is_kept(shape) {
                        written.append(append, before.datum_at(rows.revision_number));
                    }
                }
            });
            expected::kept(shape.relation, added.rows);
            shown_of(added).collect()
        }
        None => role::as_owner(shape.owner, || by_sql::updated(shape, trigger)),
    };
    elect(shape, &overtaken);
    let moves = expected::moved(shape.relation);
    if !moves.is_empty() && moves.len() as i64 > changed_keys(rows, &mut old, &mut new) {
        role::as_owner(shape.owner, || unseen(shape, &moves));
    }
    old.end();
    new.end();
}

/// How many rows have become other records', as far as the transition tables tell.
fn changed_keys(rows: &Shape, old: &mut Rows, new: &mut Rows) -> i64 {
    old.rewind();
    new.rewind();
    let mut changed = 0;
    while let (Some(before), Some(after)) = (old.next(), new.next()) {
        changed += i64::from(!rows.is_same_record(before, after));
    }
    changed
}

/// What MERGE has moved from one partition to another stands in none of its transition tables (seen with Postgres
/// 15; of an UPDATE it does): the table says what has become of it.
fn unseen(shape: &Shape, moves: &[expected::Move]) {
    let to: Vec<String> = moves.iter().map(|of| of.to.clone()).collect();
    keep_shown(shape, &to);
    let from: Vec<String> = moves.iter().map(|of| of.from.clone()).collect();
    by_sql::end(shape, &by_sql::without_rows(shape, &from));
}

/// The rows of an UPDATE that has made other records of some, or of which some have gone elsewhere: none tells its
/// parent by where it stands. Returns what another session may have made something of meanwhile.
fn made_anew(rows: &Shape, shape: &Shape, old: &mut Rows, new: &mut Rows) -> Vec<RowShown> {
    let has_pairs = old.count() == new.count();
    let mut met = Vec::new();
    let mut made: Vec<RowShown> = Vec::new();
    while let Some(after) = new.next() {
        let written = Written::of(rows, after);
        let before = old.next().filter(|_| has_pairs);
        let before = before.and_then(|before| before.sortable_at(rows.revision_number));
        if before == Some(written.revision) || written.is_kept(shape) {
            continue;
        }
        let revision = row::read_revision(written.revision);
        let shown = (written.id(), revision, rows.row_attributes(after));
        match history::has_body(shape, &shown.0, &shown.1) {
            true => met.push(shown),
            false => made.push(shown),
        }
        if made.len() == MADE_ANEW_MAX {
            met.extend(keep_all(shape, std::mem::take(&mut made)));
        }
    }
    met.extend(keep_all(shape, made));
    met
}

/// How many rows a statement has given new revisions, if each old row stands where its new one does: so
/// Postgres writes them, but a row may go to a partition whose trigger drops it. The readers are rewound.
fn edits(rows: &Shape, shape: &Shape, old: &mut Rows, new: &mut Rows) -> Option<i64> {
    let edits = edits_in_pairs(rows, shape, old, new);
    old.rewind();
    new.rewind();
    edits
}

fn edits_in_pairs(rows: &Shape, shape: &Shape, old: &mut Rows, new: &mut Rows) -> Option<i64> {
    if !rows.is_complete || old.count() != new.count() {
        return None;
    }
    let mut edits = 0;
    while let (Some(before), Some(after)) = (old.next(), new.next()) {
        let is_edit = revision_in(rows, before) != revision_in(rows, after);
        if is_edit && !rows.is_same_record(before, after) {
            return None;
        }
        if is_edit && !Written::of(rows, after).is_kept(shape) {
            edits += 1;
        }
    }
    Some(edits)
}

fn deleted(rows: &Shape, shape: &Shape, trigger: *mut pg_sys::TriggerData) {
    if expected::pending(shape.relation) != 0 {
        role::as_owner(shape.owner, || catch_up(shape, trigger));
    }
    // Conflicts that sync brings are listed when it has written, and of a row that goes just now it knows nothing.
    let is_plain = || {
        rows.is_complete
            && !expected::is_writing(shape.relation)
            && !expected::has_written_meanwhile(shape.relation)
            && !conflicted::has_any(shape)
    };
    let Some(twin) = append::fitting(shape).filter(|_| is_plain()) else {
        return role::as_owner(shape.owner, || by_sql::deleted(shape, trigger));
    };
    // Where the row's revision is the highest of a record without conflicts it is the only leaf. What
    // sync deletes has a tombstone already.
    let mut others = Vec::new();
    let end = |ids: &mut Vec<String>| {
        role::as_owner(shape.owner, || by_sql::end(shape, ids));
        ids.clear();
    };
    let mut old = Rows::old_of(trigger);
    let mut memory = OfRows::of(old.count());
    twin.append(|append| {
        while let Some(cells) = old.next() {
            // SAFETY: what is handed out is used before the next row's turn.
            let (id, tombstone) = unsafe { memory.next(|| tombstone(rows, shape, cells)) };
            let Some(tombstone) = tombstone else {
                others.push(id);
                if others.len() == ENDED_MAX {
                    end(&mut others);
                }
                continue;
            };
            let head = Head {
                id: &id,
                revision: tombstone,
                previous: cells.datum_at(rows.revision_number),
                deleted: true,
                extra: None,
            };
            append.add(head, |_| None);
        }
    });
    old.end();
    if !others.is_empty() {
        end(&mut others);
    }
}

/// A row's record, with the tombstone that ends it where the row shows its highest revision.
fn tombstone(rows: &Shape, shape: &Shape, cells: &Cells) -> (String, Option<pg_sys::Datum>) {
    let (id, stored) = (rows.id(cells), revision_in(rows, cells));
    let revision = row::read_revision(stored);
    let is_highest = history::is_highest(shape, &id, stored)
        || history::highest(shape, &id) == Some((revision.clone(), false));
    if !is_highest {
        return (id, None);
    }
    let tombstone = twin::edited(&id, Some(&revision), true, &Attributes::new());
    (id, Some(row::revision_datum(&tombstone)))
}

/// Ends the records whose rows went with a partition.
#[pg_extern(sql = false)]
fn _end_missing(relation: pg_sys::Oid) {
    let _settings = Settings::fixed();
    catalog::require_owner(&[relation]).or_report();
    let shape = Shape::of(relation).or_report();
    role::as_owner_restricted(shape.owner, || {
        let rows = format!("select from {} t where {} = h._id", shape.table, shape.id_of_row("t"));
        let sql = by_sql::end_leaves(&shape, &format!("and not exists ({rows})"));
        by_sql::add(&shape, || spi::run(&sql, &[]));
    });
}

/// Adds the old rows' revisions that an outer statement has made and not kept yet.
fn catch_up(shape: &Shape, trigger: *mut pg_sys::TriggerData) {
    let sql = format!(
        "select {row} from godwit_old o where o._rev is not null and not exists (
                select from {twin} h where h._id = {id} and h._rev = o._rev and not h._stub)",
        row = shape.whole_row("o"),
        twin = shape.twin,
        id = shape.id_of_row("o"),
    );
    let missing = spi::rows_in_trigger(trigger, &sql, &[], |row| shown_in(shape, row));
    for (id, revision, attributes) in missing {
        keep(shape, &id, &revision, attributes);
    }
}

/// What the whole row of the table says that a query's row has for its first column.
pub fn shown_in(shape: &Shape, row: &spi::Row) -> RowShown {
    // SAFETY: the caller asks for such a query. Inside a row a composite may have a short header, which detoasting makes
    // whole again.
    unsafe {
        let header = pg_sys::pg_detoast_datum(row.need::<pg_sys::Datum>(1).cast_mut_ptr());
        row_of_table(shape, header.cast())
    }
}

/// Id, revision and attributes of a whole row of the table.
///
/// # Safety
/// The header must be that of a composite datum of the table's row type.
pub unsafe fn row_of_table(shape: &Shape, header: pg_sys::HeapTupleHeader) -> RowShown {
    // SAFETY: the caller vouches for the header.
    unsafe {
        let (cells, desc) = row::record_cells(header);
        let found = of_cells(shape, &cells);
        pg_sys::FreeTupleDesc(desc);
        found
    }
}

fn of_cells(shape: &Shape, cells: &Cells) -> RowShown {
    let revision = cells.revision_at(shape.revision_number).unwrap_or_else(|| {
        crate::error::Error::Internal(format!("a row of {} has no revision", shape.table)).report()
    });
    (shape.id(cells), revision, shape.row_attributes(cells))
}

/// Adds what the rows of these records show, where the twin doesn't have it.
pub fn keep_shown(shape: &Shape, ids: &[String]) {
    for (id, revision, attributes) in by_sql::shown(shape, ids) {
        if !history::has_body(shape, &id, &revision) {
            keep(shape, &id, &revision, attributes);
        }
    }
}

/// Adds one revision that a row of the table shows; returns whether others may have made something of it.
pub fn keep(shape: &Shape, id: &str, revision: &RevisionId, attributes: Attributes) -> bool {
    !keep_all(shape, vec![(id.to_owned(), revision.clone(), attributes)]).is_empty()
}

/// Adds revisions that rows of the table show; returns those of which others may have made something. One may come twice:
/// a key that is deferrable may be there twice for a while.
fn keep_all(shape: &Shape, shown: Vec<RowShown>) -> Vec<RowShown> {
    let mut named: BTreeSet<(&str, &RevisionId)> = BTreeSet::new();
    let new: Vec<Revision> = shown
        .iter()
        .filter(|of| named.insert((of.0.as_str(), &of.1)))
        .map(|of| made_of(shape, of))
        .collect();
    let new: Vec<&Revision> = new.iter().collect();
    let is_met =
        expected::while_capturing(shape.twin_relation, || twin::insert(shape, &new).is_met);
    expected::kept(shape.relation, shown.len() as u64);
    // What others know of an edit before it is made here is a name, with children that came first.
    let is_met = |(id, ..): &RowShown| is_met || unordered::has(shape, id);
    shown.into_iter().filter(is_met).collect()
}

/// The revision that a row shows, with its parent and what it carries on from there.
fn made_of(shape: &Shape, (id, revision, attributes): &RowShown) -> Revision {
    let found = history::parent(shape, id, revision, attributes).or_report();
    let (previous, extra) = found.map_or((None, Default::default()), |(p, e)| (Some(p), e));
    let mut attributes = attributes.clone();
    extra.lay_over(&mut attributes);
    Revision { id: id.clone(), revision: revision.clone(), previous, deleted: false, attributes }
}

/// A row at a time, where a session replays another server's changes.
fn one_row(rows: &Shape, shape: &Shape, trigger: *mut pg_sys::TriggerData, event: Event) {
    // SAFETY: a row trigger's tuples are rows of its relation.
    let (old, new) = unsafe {
        let desc = (*(*trigger).tg_relation).rd_att;
        let first = Cells::of((*trigger).tg_trigtuple, desc);
        let second = (event == Event::Update).then(|| Cells::of((*trigger).tg_newtuple, desc));
        match event {
            Event::Insert => (None, Some(first)),
            _ => (Some(first), second),
        }
    };
    let has_revision = |cells: &&Cells| cells.revision_at(rows.revision_number).is_some();
    let before = old.as_ref().filter(has_revision).map(|cells| of_cells(rows, cells));
    if let Some(cells) = &new {
        let (id, revision, attributes) = of_cells(rows, cells);
        let is_met = history::has_body(shape, &id, &revision)
            || keep(shape, &id, &revision, attributes.clone());
        let is_edit = before.as_ref().is_none_or(|(_, old, _)| *old != revision);
        if is_met && is_edit && !expected::is(shape.relation, &id, &revision) {
            // A row trigger's own row is seen only then; where nothing was added nobody has done it yet.
            // SAFETY: between two commands of the trigger's.
            unsafe { pg_sys::CommandCounterIncrement() };
            elect(shape, &[(id.clone(), revision, attributes)]);
        }
        if before.as_ref().is_none_or(|(old_id, ..)| *old_id == id) {
            return;
        }
    }
    if let Some((id, ..)) = before {
        by_sql::end(shape, &[id]);
    }
}
