//! In charge of `godwit.put_revisions`: replication. Revisions arrive with their ancestry, in any
//! order, once or often, and the outcome is the same.
//!
//! The whole batch is tried at once. Where something in it is refused, each revision is tried by
//! itself, parents first: the good ones are kept, the refused ones go to `godwit.rejected` with the
//! reason.

use pgrx::JsonB;
use pgrx::pg_sys;
use pgrx::prelude::*;
use revision::{Attributes, Record, RevisionId};
use std::collections::{BTreeMap, BTreeSet};

use crate::error::{Error, OrReport};
use crate::expected;
use crate::history;
use crate::put;
use crate::reconcile;
use crate::rejected;
use crate::rights::{self, Right};
use crate::role;
use crate::row;
use crate::shape::Shape;
use crate::spi;
use crate::subtransaction::{self, Failure};
use crate::twin::{self, Revision};

/// What became of one revision.
#[derive(Clone)]
enum Outcome {
    Accepted,
    Known,
    Rejected(String),
}

type Answer = (i32, Option<String>, Option<String>, String, Option<String>);

#[pg_extern(sql = false)]
fn _put_revisions(
    relation: pg_sys::Oid,
    records: JsonB,
) -> TableIterator<
    'static,
    (
        name!(ord, i32),
        name!(id, Option<String>),
        name!(revision, Option<String>),
        name!(status, String),
        name!(reason, Option<String>),
    ),
> {
    let shape = Shape::of(relation).or_report();
    rights::require(&shape, &[Right::Insert, Right::Update, Right::Delete]).or_report();
    rights::refuse_row_security(&shape).or_report();
    let serde_json::Value::Array(items) = records.0 else {
        Error::BadArgument("the revisions are a JSON array of records".into()).report()
    };
    let _settings = shape.settings();
    let mut answers: Vec<Option<Answer>> = vec![None; items.len()];
    let mut batch = Vec::new();
    for (place, item) in items.into_iter().enumerate() {
        let number = place as i32 + 1;
        let said = |name: &str| item.get(name).and_then(|v| v.as_str()).map(put::short);
        let (id, revision) = (said("id"), said("revision"));
        match read(&shape, item) {
            Ok((revision, ancestors, record)) => {
                batch.push(Arrival { place, revision, ancestors, record });
            }
            Err(error) => {
                let reason = Some(error.message());
                answers[place] = Some((number, id, revision, "rejected".into(), reason));
            }
        }
    }
    // Parents first, so that their numbers in the change stream are lower.
    batch.sort_by_key(|arrival| (arrival.revision.revision.generation(), arrival.place));
    for (arrival, outcome) in batch.iter().zip(put_batch(&shape, &batch)) {
        let (status, reason) = match outcome {
            Outcome::Accepted => ("accepted", None),
            Outcome::Known => ("known", None),
            Outcome::Rejected(reason) => ("rejected", Some(reason)),
        };
        answers[arrival.place] = Some((
            arrival.place as i32 + 1,
            Some(arrival.revision.id.clone()),
            Some(arrival.revision.revision.to_string()),
            status.into(),
            reason,
        ));
    }
    TableIterator::new(answers.into_iter().flatten())
}

/// One revision of a batch.
struct Arrival {
    place: usize,
    revision: Revision,
    /// Itself first.
    ancestors: Vec<RevisionId>,
    record: Record,
}

fn read(
    shape: &Shape,
    item: serde_json::Value,
) -> Result<(Revision, Vec<RevisionId>, Record), Error> {
    let record = put::read_record(shape, item)?;
    let Some(revision) = record.revision.clone() else {
        return Err(Error::BadRecord(format!(
            "record {:?} names no revision",
            put::short(&record.id)
        )));
    };
    let ancestors = record.revisions.clone().unwrap_or_else(|| vec![revision.clone()]);
    let new = Revision {
        id: record.id.clone(),
        revision,
        previous: ancestors.get(1).cloned(),
        deleted: record.deleted,
        attributes: record.attributes.clone(),
    };
    Ok((new, ancestors, record))
}

fn put_batch(shape: &Shape, batch: &[Arrival]) -> Vec<Outcome> {
    if batch.is_empty() {
        return Vec::new();
    }
    let all: Vec<&Arrival> = batch.iter().collect();
    match attempt(shape, &all) {
        Ok(outcomes) => outcomes,
        Err(failure) if !failure.is_refusal() => failure.rethrow(),
        Err(_) => batch.iter().map(|arrival| put_one(shape, arrival)).collect(),
    }
}

fn put_one(shape: &Shape, arrival: &Arrival) -> Outcome {
    match attempt(shape, &[arrival]) {
        Ok(outcomes) => outcomes[0].clone(),
        Err(failure) if failure.is_refusal() => {
            rejected::keep(shape, &arrival.record, &failure);
            Outcome::Rejected(failure.message)
        }
        Err(failure) => failure.rethrow(),
    }
}

fn attempt(shape: &Shape, batch: &[&Arrival]) -> Result<Vec<Outcome>, Failure> {
    subtransaction::attempt(|| role::as_owner(shape.owner, || graft(shape, batch)))
}

/// What the twin has of the records at hand.
struct Known {
    /// By record id and revision: whether it has a body, and a parent.
    revisions: BTreeMap<(String, RevisionId), (bool, bool)>,
}

fn graft(shape: &Shape, batch: &[&Arrival]) -> Vec<Outcome> {
    let ids: BTreeSet<&str> = batch.iter().map(|arrival| arrival.revision.id.as_str()).collect();
    for id in &ids {
        twin::check_id(shape, id);
    }
    let ids: Vec<String> = ids.into_iter().map(str::to_owned).collect();
    reconcile::lock(shape, &ids);
    let mut known = known(shape, &ids);
    let outcomes = batch.iter().map(|arrival| add(shape, &mut known, arrival)).collect();
    reconcile::reconcile(shape, &ids);
    outcomes
}

fn known(shape: &Shape, ids: &[String]) -> Known {
    let sql = format!(
        "select _id, _rev, not _stub, _prev is not null from {} where _id = any ($1)",
        shape.twin
    );
    let rows = spi::rows(&sql, &[spi::texts(ids.iter().map(String::as_str))], |row| {
        let revision = row::read_revision(&row.need::<Vec<u8>>(2));
        ((row.need(1), revision), (row.need(3), row.need(4)))
    });
    Known { revisions: rows.into_iter().collect() }
}

fn add(shape: &Shape, known: &mut Known, arrival: &Arrival) -> Outcome {
    let new = &arrival.revision;
    let key = (new.id.clone(), new.revision.clone());
    let outcome = match known.revisions.get(&key) {
        Some((true, _)) => {
            if !has_body(shape, new) {
                let (id, revision) = key;
                Error::OtherBody { id, revision }.report()
            }
            Outcome::Known
        }
        _ => {
            expected::while_capturing(shape.twin_relation, || twin::insert(shape, new));
            known.revisions.insert(key, (true, new.previous.is_some()));
            Outcome::Accepted
        }
    };
    for (place, ancestor) in arrival.ancestors.iter().enumerate() {
        let parent = arrival.ancestors.get(place + 1);
        let key = (new.id.clone(), ancestor.clone());
        match known.revisions.get(&key) {
            Some((_, true)) => {}
            Some((_, false)) if parent.is_none() => {}
            Some((body, false)) => {
                let body = *body;
                name(shape, &new.id, ancestor, parent);
                known.revisions.insert(key, (body, true));
            }
            None => {
                name(shape, &new.id, ancestor, parent);
                known.revisions.insert(key, (false, parent.is_some()));
            }
        }
    }
    outcome
}

/// Keeps a stub, or tells a revision its parent.
fn name(shape: &Shape, id: &str, revision: &RevisionId, parent: Option<&RevisionId>) {
    let sql = format!(
        "insert into {} as h (_id, _rev, _prev, _stub, _seq) values ($1, $2, $3, true, null)
             on conflict (_id, _rev) do update set _prev = excluded._prev
          where h._prev is null and excluded._prev is not null",
        shape.twin
    );
    let args = [
        spi::text(id),
        twin::revision_arg(shape, Some(revision)),
        twin::revision_arg(shape, parent),
    ];
    expected::while_capturing(shape.twin_relation, || spi::run(&sql, &args));
}

/// Whether the twin has this revision with the same body.
fn has_body(shape: &Shape, new: &Revision) -> bool {
    let same = |cells: &row::Cells| {
        let kept: Attributes = twin::attributes(shape, cells).or_report();
        cells.get::<bool>("_deleted").unwrap_or(false) == new.deleted && kept == new.attributes
    };
    history::with_revision(shape, &new.id, &new.revision, same).unwrap_or(false)
}
