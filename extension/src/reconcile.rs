//! In charge of making a table show the winners: the one place where sync writes it.
//!
//! The rows of the records at hand are locked first, so that two sessions that add revisions of
//! one record elect one after the other; a record without a row has nothing to lock, and there the
//! table's own key decides who comes second, and that one elects again. Every look is at the
//! newest snapshot. The twin is read as its owner; the table is written as the caller.

use pgrx::pg_sys;
use pgrx::prelude::*;
use revision::{Attributes, RevisionId};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::backfill;
use crate::conflicted;
use crate::error::{Error, OrReport};
use crate::expected;
use crate::keyed;
use crate::merging;
use crate::role;
use crate::row::{self, Cells};
use crate::shape::{Column, Shape};
use crate::spi::{self, Arg};
use crate::subtransaction;
use crate::trigger;
use crate::twin::{self, Added, Revision};
use crate::unordered;
use crate::walk::{Sight, Walk};

trigger::entry!(godwit_reconcile, pg_finfo_godwit_reconcile, reconcile_added);

/// How often an election is repeated when the table has moved meanwhile. Each round needs another
/// session to have committed a change to the same record between two statements of ours.
const ROUNDS_MAX: usize = 8;

fn reconcile_added(trigger: *mut pg_sys::TriggerData) -> pg_sys::HeapTuple {
    // SAFETY: Postgres hands a trigger its relation.
    let relation = unsafe { (*(*trigger).tg_relation).rd_id };
    if expected::is_capturing(relation) {
        return trigger::nothing();
    }
    trigger::require(trigger, trigger::has_new_table(trigger));
    let _entered = role::enter();
    if let Some(shape) = Shape::of_twin(relation).or_report() {
        let sql = "select _id, _rev, _prev, _deleted from godwit_new";
        let added: Vec<Revision> = spi::rows_in_trigger(trigger, sql, &[], |row| Revision {
            id: row.need(1),
            revision: row::read_revision(&row.need::<Vec<u8>>(2)),
            previous: row.get::<Vec<u8>>(3).map(|bytes| row::read_revision(&bytes)),
            deleted: row.need(4),
            attributes: Attributes::new(),
        });
        let ids: BTreeSet<&str> = added.iter().map(|new| new.id.as_str()).collect();
        let ids: Vec<String> = ids.into_iter().map(str::to_owned).collect();
        let added: Vec<&Revision> = added.iter().collect();
        unordered::list(&shape, &ids);
        reconcile(&shape, &ids, &Added::in_twin(&added), None);
    }
    trigger::nothing()
}

/// A record whose row is not what its winner says.
struct Due {
    id: String,
    /// The winner, if it is to be shown.
    shows: Option<RevisionId>,
    /// What the table shows now.
    row: Option<RevisionId>,
}

/// What rows of the table show, by their record ids.
pub type Shown = Vec<(String, RevisionId)>;

/// Elects the winners of these records anew after revisions were added to the twin, brings the table
/// after them, and merges what the table's policy merges. `locked` is what `lock` found before, if it was asked.
pub fn reconcile(shape: &Shape, ids: &[String], added: &Added, locked: Option<Shown>) {
    let torn = elect(shape, ids, added, locked);
    merging::merge(shape, &torn);
}

/// The election alone; returns the records that have conflicts now.
pub fn elect(shape: &Shape, ids: &[String], added: &Added, locked: Option<Shown>) -> Vec<String> {
    let _settings = shape.settings();
    let look = || role::as_owner(shape.owner, || lock(shape, ids));
    let mut shown = locked.unwrap_or_else(look);
    let locked: BTreeSet<String> = shown.iter().map(|(id, _)| id.clone()).collect();
    let mut is_shown_anew = false;
    let mut has_inserted = false;
    let edits = expected::edits();
    for round in 0..=ROUNDS_MAX {
        let due = role::as_owner(shape.owner, || match round {
            0 => due_beside(shape, ids, &shown, added, &mut is_shown_anew),
            _ => due(shape, ids),
        });
        shown.extend(due.iter().filter_map(|due| Some((due.id.clone(), due.row.clone()?))));
        match due.first() {
            None => break,
            Some(left) if round == ROUNDS_MAX => {
                let (table, id) = (shape.wire_name.clone(), left.id.clone());
                Error::NotShown { table, id }.report()
            }
            Some(_) => {}
        }
        let all = role::as_owner(shape.owner, || write(shape, &due, added, &mut has_inserted));
        // Each row was locked when its winner was elected, or is new, and holds what was written to it.
        if all && due.iter().all(|due| due.row.is_none() || locked.contains(&due.id)) {
            break;
        }
        is_shown_anew |= due.iter().any(|due| due.row.is_none() || due.shows.is_none());
    }
    // Another session's row, which has come since the locks were taken, may show the winner already; and so may
    // what came of a delete. And what was written may have been edited by a trigger right away: then it is no leaf.
    if is_shown_anew || expected::edits() != edits {
        shown.extend(look());
    }
    conflicted::note(shape, ids, added.revisions, &shown)
}

/// Locks the rows that these records have in the table, in the order of their ids; returns what
/// the rows show. By bytes, whatever the database's collation says, as everything else of a batch goes.
pub fn lock(shape: &Shape, ids: &[String]) -> Shown {
    if !shape.is_complete {
        let rows = format!("exists (select from {} where {})", keys(shape), same_key(shape));
        backfill::touch(shape, &rows, &key_args(shape, ids));
    }
    let ids = keyed::with_rows(shape, ids);
    if ids.is_empty() {
        return Vec::new();
    }
    let sql = format!(
        "select k.id, t._rev from {keys} join {table} t on {same} order by k.id collate \"C\" for update of t",
        keys = keys(shape),
        table = shape.table,
        same = same_key(shape),
    );
    spi::rows(&sql, &key_args(shape, &ids), |row| {
        (row.need(1), row::read_revision(&row.need::<Vec<u8>>(2)))
    })
}

/// The first look, where the rows are those that were locked before: only the twin is asked, and where the batch is all
/// that it had, not even that. A row that has come since is met by the INSERT, which steps back, and the next look is at
/// both. Where no INSERT may come of it, `may_have_come` is set if there was no row.
fn due_beside(
    shape: &Shape,
    ids: &[String],
    shown: &Shown,
    added: &Added,
    may_have_come: &mut bool,
) -> Vec<Due> {
    let rows: HashMap<&str, &RevisionId> =
        shown.iter().map(|(id, revision)| (id.as_str(), revision)).collect();
    let mut known = added.winners_of_new();
    let (new, others): (Vec<&String>, Vec<&String>) =
        ids.iter().partition(|id| known.contains_key(id.as_str()));
    let (mut tops, passed) = tops(shape, &others);
    tops.extend(new.into_iter().map(|id| (id.clone(), known.remove(id.as_str()).cloned())));
    *may_have_come |= passed.iter().any(|id| !rows.contains_key(id.as_str()));
    let mut found = if passed.is_empty() { Vec::new() } else { due(shape, &passed) };
    for (id, top) in tops {
        let row = rows.get(id.as_str()).copied();
        if row != top.as_ref() {
            found.push(Due { id, shows: top, row: row.cloned() });
        }
    }
    found.sort_by(|a, b| a.id.cmp(&b.id));
    found
}

/// The records' highest revisions where they are the winners, as most often; and the records whose highest is a
/// tombstone or a stub.
fn tops(shape: &Shape, ids: &[&String]) -> (Vec<(String, Option<RevisionId>)>, Vec<String>) {
    if ids.is_empty() {
        return (Vec::new(), Vec::new());
    }
    let sight = Sight::now();
    let mut walk = Walk::of_records(shape, &sight);
    // SAFETY: the descriptor stays while the walk lasts.
    let mut cells = unsafe { Cells::for_rows(walk.desc()) };
    let (mut tops, mut passed) = (Vec::with_capacity(ids.len()), Vec::new());
    for &id in ids {
        // SAFETY: a text, which stays; the row is taken apart before the walk goes on.
        unsafe {
            walk.seek(id.as_str().into_datum().unwrap_or(pg_sys::Datum::from(0)));
            match walk.next() {
                None => {
                    tops.push((id.clone(), None));
                    continue;
                }
                Some(row) => cells.take(row),
            }
        }
        let is = |name: &str| cells.get::<bool>(name).unwrap_or(false);
        match is("_deleted") || is("_stub") {
            true => passed.push(id.clone()),
            false => tops.push((id.clone(), cells.revision("_rev"))),
        }
    }
    (tops, passed)
}

/// The highest revision has no child, so most often it is the winner, and no other is looked at.
fn due(shape: &Shape, ids: &[String]) -> Vec<Due> {
    let sql = format!(
        "select k.id, w.winner, t._rev
           from {keys}
           left join lateral (
                select h._rev, h._deleted or h._stub as passed from {twin} h
                 where h._id = k.id order by h._rev desc limit 1) top on true
           left join lateral (
                select h._rev from {twin} h
                 where top.passed and h._id = k.id and not h._deleted and {is_leaf}
                 order by h._rev desc limit 1) other on true
           cross join lateral (
                select case when top.passed then other._rev else top._rev end as winner) w
           left join {table} t on {same}
          where t._rev is distinct from w.winner
          order by k.id collate \"C\"",
        keys = keys(shape),
        twin = shape.twin,
        is_leaf = twin::is_leaf(shape, "h"),
        table = shape.table,
        same = same_key(shape),
    );
    spi::rows(&sql, &key_args(shape, ids), |row| Due {
        id: row.need(1),
        shows: row.get::<Vec<u8>>(2).map(|bytes| row::read_revision(&bytes)),
        row: row.get::<Vec<u8>>(3).map(|bytes| row::read_revision(&bytes)),
    })
}

/// Whether each of them has come to be as its winner says.
fn write(shape: &Shape, due: &[Due], added: &Added, has_inserted: &mut bool) -> bool {
    let (mut all, has_triggers) = writes_as_told(shape);
    let gone: Vec<String> =
        due.iter().filter(|due| due.shows.is_none()).map(|due| due.id.clone()).collect();
    if !gone.is_empty() {
        let sql = format!(
            "delete from {table} t using {keys} where {same}",
            table = shape.table,
            keys = typed_keys(shape),
            same = same_key(shape),
        );
        let args = key_args(shape, &gone);
        all &= role::as_caller(|| spi::run(&sql, &args)) == gone.len() as u64;
        // What comes of a delete (ON DELETE SET NULL to a row of the same table, say) may have edited rows
        // that are due: what they show now has had no part in this election.
        if has_triggers && gone.len() < due.len() {
            return false;
        }
    }
    let update = |rows| spi::run(&update_sql(shape), &[rows]);
    all &= show(shape, due.iter().filter(|due| due.row.is_some()), added, update);
    let new: Vec<&Due> = due.iter().filter(|due| due.row.is_none()).collect();
    let is_first = !std::mem::replace(has_inserted, *has_inserted || !new.is_empty());
    let steps_back = is_first && added.may_meet_rows;
    all & show(shape, new.into_iter(), added, |rows| insert(shape, rows, steps_back))
}

/// The first try steps back from a row that another session has just inserted; the next election
/// sees it. Later tries let a unique constraint speak for itself.
fn insert(shape: &Shape, rows: Arg, steps_back: bool) -> u64 {
    let run = |again| spi::run(&insert_sql(shape, again), &[rows]);
    if !steps_back || shape.keys.takes_on_conflict {
        return run(if steps_back { "on conflict do nothing" } else { "" });
    }
    match subtransaction::attempt(|| run("")) {
        Ok(written) => written,
        Err(failure) if failure.is_taken() => 0,
        Err(failure) => failure.rethrow(),
    }
}

/// Whether what is written to the table is what it has then: no rule and no trigger of the app's is in between;
/// and whether it has any triggers of others.
fn writes_as_told(shape: &Shape) -> (bool, bool) {
    let lock = pg_sys::AccessShareLock as pg_sys::LOCKMODE;
    // SAFETY: the relation is open while it is looked at. A partition has triggers of its own.
    unsafe {
        let table = pg_sys::table_open(shape.relation, lock);
        let is_table = (*(*table).rd_rel).relkind as u8 == pg_sys::RELKIND_RELATION;
        let told = is_table && (*table).rd_rules.is_null() && !trigger::has_others_before(table);
        let has_triggers = trigger::has_others(table);
        pg_sys::table_close(table, pg_sys::NoLock as pg_sys::LOCKMODE);
        (told, has_triggers)
    }
}

/// Has the winners of some records written to the table, whose rows they are; whether it took all of them.
fn show<'a>(
    shape: &Shape,
    due: impl Iterator<Item = &'a Due>,
    added: &Added,
    write: impl FnOnce(Arg) -> u64,
) -> bool {
    let winners: BTreeMap<String, RevisionId> =
        due.filter_map(|due| Some((due.id.clone(), due.shows.clone()?))).collect();
    if winners.is_empty() {
        return true;
    }
    let rows = added.rows_of(shape, &winners).unwrap_or_else(|| rows_of(shape, &winners));
    let count = winners.len() as u64;
    let write = || role::as_caller(|| write(rows));
    expected::while_writing(shape.relation, winners, write) == count
}

/// The table's rows as the twin has these revisions, as one array of the table's row type: the caller
/// may have no right to read the twin itself.
fn rows_of(shape: &Shape, winners: &BTreeMap<String, RevisionId>) -> Arg {
    let members: Vec<String> = shape
        .in_order()
        .map(|column| match column {
            None => "h._rev".to_owned(),
            Some(column) if column.name == "_id" => "h._id".to_owned(),
            Some(column) if column.generated => "null".to_owned(),
            Some(column) => shape.eras.value(column),
        })
        .collect();
    let sql = format!(
        "select pg_catalog.array_agg(row({members})::{table})
           from unnest($1, $2) k(id, revision)
           join {twin} h on h._id = k.id and h._rev = k.revision::godwit.revision",
        members = members.join(", "),
        table = shape.table,
        twin = shape.twin,
    );
    let revisions: Vec<String> = winners.values().map(RevisionId::to_string).collect();
    let args = [
        spi::texts(winners.keys().map(String::as_str)),
        spi::texts(revisions.iter().map(String::as_str)),
    ];
    let found = spi::rows(&sql, &args, |row| row.carry_out(1));
    found.into_iter().next().unwrap_or_else(|| {
        Error::Internal(format!("the winners of {} have no rows", shape.table)).report()
    })
}

fn update_sql(shape: &Shape) -> String {
    let set: Vec<String> = shape
        .attribute_columns()
        .filter(|column| !column.identity_always && column.equals.is_empty())
        .map(|column| format!("{0} = s.{0}, ", column.quoted))
        .collect();
    format!(
        "update {table} t set {set} _rev = s._rev from pg_catalog.unnest($1) s where {same}",
        table = shape.table,
        set = set.concat(),
        same = shape.same_key("t", "s"),
    )
}

fn insert_sql(shape: &Shape, again: &str) -> String {
    let names: Vec<&str> = shape
        .columns
        .iter()
        .filter(|column| !column.generated)
        .map(|column| column.quoted.as_str())
        .collect();
    format!(
        "insert into {table} ({names}, _rev) overriding system value
         select s.{values}, s._rev from pg_catalog.unnest($1) s {again}",
        table = shape.table,
        names = names.join(", "),
        values = names.join(", s."),
    )
}

/// `rows from (unnest(…) …) k(id, p1, p2 …)`: record ids with the texts that their keys are made of.
pub fn keys(shape: &Shape) -> String {
    let count = shape.key.len() + 1;
    let args: Vec<String> =
        (1..=count).map(|number| format!("pg_catalog.unnest(${number})")).collect();
    let parts: Vec<String> = (1..count).map(|number| format!(", p{number}")).collect();
    format!("rows from ({}) k(id{})", args.join(", "), parts.concat())
}

/// Keys whose parts are of the columns' types, for who asks as the caller. A text that is made one may be none, and say
/// so: under policies Postgres doesn't look into an index with it, but goes through all rows that they show.
pub fn typed_keys(shape: &Shape) -> String {
    let typed = |(place, column): (usize, &Column)| {
        format!(", k.p{0}::{1} as p{0}", place + 1, column.type_name)
    };
    let parts: String = shape.key_columns().enumerate().map(typed).collect();
    // Else the planner would take the nested query apart, and the cast be where it was.
    format!("(select k.id{parts} from {} offset 0) k", keys(shape))
}

pub fn key_args(shape: &Shape, ids: &[String]) -> Vec<Arg> {
    let text = |(column, part): (&Column, Cow<str>)| column.codec.key_text(&part).into_owned();
    let texts = |id| shape.key_columns().zip(twin::key_parts(shape, id)).map(text).collect();
    let parts: Vec<Vec<String>> = ids.iter().map(|id| texts(id)).collect();
    let mut args = vec![spi::texts(ids.iter().map(String::as_str))];
    for place in 0..shape.key.len() {
        args.push(spi::texts(parts.iter().map(|parts| parts[place].as_str())));
    }
    args
}

/// Whether table row `t` is the one that the key texts of `k` name. A row whose key is equal and has another text
/// is another record's; the table's key keeps the two apart.
pub fn same_key(shape: &Shape) -> String {
    let mut parts: Vec<String> = shape
        .key_columns()
        .enumerate()
        .map(|(place, Column { quoted, equals, type_name, .. })| {
            format!("t.{quoted} {equals} k.p{}::{type_name}", place + 1)
        })
        .collect();
    let by_text = |column: &Column| column.codec.is_equal_by_text() && !column.is_loose;
    if !shape.key_columns().all(by_text) {
        parts.push(format!(
            "({}) collate pg_catalog.\"C\" operator(pg_catalog.=) k.id",
            shape.id_of_row("t")
        ));
    }
    parts.join(" and ")
}
