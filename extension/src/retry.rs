//! In charge of trying refused revisions again: after the batch that may have brought what they
//! lacked, and when asked.
//!
//! A child that came before its parent is found by its foreign key: whatever this batch added to the
//! parent's table, the refused revisions that name it are tried. So nothing is tried in vain however
//! many wait.

use pgrx::pg_sys;
use pgrx::prelude::*;
use revision::Value;
use std::rc::Rc;

use crate::argument::without_nulls;
use crate::error::{Error, OrReport};
use crate::put;
use crate::put_revisions::{self, Outcome, Sent};
use crate::rejected::{self, Entry};
use crate::role;
use crate::settings::Settings;
use crate::shape::Shape;
use crate::spi;
use crate::subtransaction;

/// Most refused revisions that one call tries again.
const RETRIES_MAX: i32 = 100_000;
/// Left revisions that a batch tries: each may take some 20 ms while another session holds it.
const LEFT_MAX: i32 = 5;

/// How revisions are put: `put_revisions::put_all` or `put_at_once`.
type Put = fn(&Shape, &[&Sent]) -> Vec<Outcome>;

/// Puts a batch and what it may have been waiting for, or what may have been waiting for it.
pub fn put_and_retry(shape: &Rc<Shape>, sent: &[Sent]) -> Vec<Outcome> {
    let outcomes = put_by(put_revisions::put_all, shape, sent);
    if outcomes.iter().any(|outcome| !outcome.is_refusal()) {
        try_left(shape);
    }
    outcomes
}

/// Puts revisions, what was refused again after what came with it, and then what waited for that.
fn put_by(put: Put, shape: &Rc<Shape>, sent: &[Sent]) -> Vec<Outcome> {
    let all: Vec<&Sent> = sent.iter().collect();
    let mut outcomes = put(shape, &all);
    loop {
        let (places, refused): (Vec<usize>, Vec<&Sent>) =
            sent.iter().enumerate().filter(|(place, _)| outcomes[*place].is_refusal()).unzip();
        // What was refused comes last now: if nothing else was accepted, nothing has changed.
        if refused.is_empty() || refused.len() == sent.len() {
            break;
        }
        let again = put_revisions::put_at_once(shape, &refused);
        let progress = again.iter().any(|outcome| !outcome.is_refusal());
        for (place, outcome) in places.into_iter().zip(again) {
            outcomes[place] = outcome;
        }
        if !progress {
            break;
        }
    }
    settle(shape, sent, &outcomes);
    outcomes
}

/// What the history has waits no longer, and neither does what waited for it.
fn settle(shape: &Rc<Shape>, sent: &[Sent], outcomes: &[Outcome]) {
    if !rejected::any() {
        return;
    }
    let with = |wanted: fn(&Outcome) -> bool| -> Vec<&Sent> {
        let pairs = sent.iter().zip(outcomes);
        pairs.filter(|(_, outcome)| wanted(outcome)).map(|(sent, _)| sent).collect()
    };
    let settled = with(|outcome| !outcome.is_refusal());
    if settled.is_empty() {
        return;
    }
    rejected::forget(shape, &settled);
    let accepted = with(|outcome| *outcome == Outcome::Accepted);
    for key in foreign_keys_to(shape) {
        let Ok(child) = Shape::of(key.child) else { continue };
        // Who may not write the child's table leaves them to somebody who may; and nobody's write runs the
        // triggers of another owner's table that it doesn't name.
        if child.owner != shape.owner || put_revisions::require_rights(&child).is_err() {
            continue;
        }
        let Ok(child) = child.held() else { continue };
        let entries = rejected::waiting_for(&child, &key.columns, &parents(shape, &key, &accepted));
        try_again(&child, entries, put_revisions::put_at_once);
    }
}

/// Tries some of what earlier calls of the same author have left because another session held it. What others have sent
/// waits for them: they have other rights. A right or a function that is missing is no fault of this batch, nor does it
/// say anything new of what was left: that stays as it is.
fn try_left(shape: &Rc<Shape>) {
    if !rejected::any() {
        return;
    }
    for entry in rejected::left(shape, LEFT_MAX) {
        let again = || try_again(shape, vec![entry], put_revisions::put_at_once);
        match subtransaction::attempt(again) {
            Err(failure) if !failure.is_of_names() && !failure.is_denied() => failure.rethrow(),
            Ok(_) | Err(_) => {}
        }
    }
}

/// Whether rows of a table may have to wait for others of it.
pub fn refers_to_itself(shape: &Shape) -> bool {
    foreign_keys_to(shape).iter().any(|key| key.child == shape.relation)
}

struct ForeignKey {
    child: pg_sys::Oid,
    /// The child's columns, and the parent's that they refer to.
    columns: Vec<String>,
    referred: Vec<String>,
}

fn foreign_keys_to(shape: &Shape) -> Vec<ForeignKey> {
    let sql = "
        select c.conrelid,
               array(select a.attname::text from unnest(c.conkey) with ordinality k(number, place)
                       join pg_catalog.pg_attribute a on a.attrelid = c.conrelid and a.attnum = k.number
                      order by k.place),
               array(select a.attname::text from unnest(c.confkey) with ordinality k(number, place)
                       join pg_catalog.pg_attribute a on a.attrelid = c.confrelid and a.attnum = k.number
                      order by k.place)
          from pg_catalog.pg_constraint c
          join godwit.tracked t on t.relation = c.conrelid
         where c.contype = 'f' and c.confrelid = $1";
    let _settings = Settings::path(c"pg_catalog, godwit, pg_temp");
    spi::rows(sql, &[spi::oid(shape.relation)], |row| ForeignKey {
        child: row.need(1),
        columns: row.need(2),
        referred: row.need(3),
    })
}

/// What the accepted records have in the columns that a foreign key refers to, one JSON array each.
fn parents(shape: &Shape, key: &ForeignKey, accepted: &[&Sent]) -> Vec<serde_json::Value> {
    let value = |sent: &Sent, name: &String| match sent.arrival.revision.attributes.get(name) {
        Some(value) => value.to_wire(),
        None if shape.has_id_column() => Value::String(sent.id().to_owned()).to_wire(),
        None => serde_json::Value::Null,
    };
    accepted
        .iter()
        .filter(|sent| !sent.arrival.revision.deleted)
        .map(|sent| key.referred.iter().map(|name| value(sent, name)).collect())
        .collect()
}

/// Tries kept revisions of one table; what is accepted may have been waited for in turn.
fn try_again(shape: &Rc<Shape>, entries: Vec<Entry>, put: Put) -> Vec<(Entry, Outcome)> {
    let mut known = Vec::new();
    let mut readable = Vec::new();
    for entry in entries {
        match put::read_record(shape, entry.record.clone()).and_then(Sent::read) {
            Ok(sent) => readable.push((entry, sent)),
            Err(error) => known.push((entry, Outcome::Rejected(error.message()))),
        }
    }
    readable.sort_by_key(|(_, sent)| sent.revision().generation());
    let (entries, sent): (Vec<Entry>, Vec<Sent>) = readable.into_iter().unzip();
    let _settings = shape.settings();
    let outcomes = put_by(put, shape, &sent);
    known.extend(entries.into_iter().zip(outcomes));
    known
}

#[pg_extern(sql = false)]
fn _retry_rejected(
    relation: pg_sys::Oid,
    max: i32,
) -> TableIterator<
    'static,
    (
        name!(number, i64),
        name!(id, String),
        name!(revision, Option<String>),
        name!(status, String),
        name!(reason, Option<String>),
    ),
> {
    let _entered = role::enter();
    if !(1..=RETRIES_MAX).contains(&max) {
        Error::BadArgument(format!("max is 1 to {RETRIES_MAX}")).report()
    }
    let shape = Shape::of(relation).or_report();
    put_revisions::require_rights(&shape).or_report();
    let shape = shape.held().or_report();
    let entries = role::as_owner(rejected::catalog_owner(), || rejected::oldest(&shape, max));
    let tried = try_again(&shape, entries, put_revisions::put_all);
    TableIterator::new(tried.into_iter().map(|(entry, outcome)| {
        (entry.number, entry.id, entry.revision, outcome.status().into(), outcome.reason())
    }))
}

/// Gives up refused revisions for good; the table's owner may.
#[pg_extern(sql = false)]
fn _discard_rejected(relation: pg_sys::Oid, numbers: Vec<Option<i64>>) -> i64 {
    let _settings = Settings::path(c"pg_catalog, pg_temp");
    let shape = Shape::of(relation).or_report();
    crate::catalog::require_owner(&[relation]).or_report();
    rejected::discard(&shape, &without_nulls(numbers)) as i64
}
