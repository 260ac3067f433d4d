//! In charge of `godwit.put_revisions`: replication. Revisions arrive with their ancestry, in any
//! order, once or often, and the outcome is the same.
//!
//! A chunk is tried at once. Where something in it is refused, its halves are tried, and theirs, down
//! to the one that is at fault: the good ones are kept, the refused ones go to `godwit.rejected`
//! with the reason (`retry.rs` tries them again).

use pgrx::pg_sys;
use pgrx::prelude::*;
use revision::{Record, RevisionId};

use crate::argument::Json;
use crate::error::{Error, OrReport};
use crate::graft::{self, Arrival, Grafted};
use crate::left;
use crate::policy;
use crate::put;
use crate::rejected;
use crate::retry;
use crate::rights::{self, Right};
use crate::role;
use crate::shape::Shape;
use crate::subtransaction::{self, Failure};
use crate::twin::Revision;

/// Most revisions that are tried in one statement: their rows are made in memory.
const CHUNK_MAX: usize = 1000;

/// Generations that are left to everybody else's edits of a record: no one can use them up for all.
const GENERATION_TAKEN_MAX: u64 = revision::GENERATION_MAX - (1 << 32);

/// What became of one revision.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    Accepted,
    Known,
    /// Kept in `godwit.rejected`, or too malformed to be kept.
    Rejected(String),
    /// Row-level security refuses it, and its sender never saw the record; it isn't kept.
    Forbidden(String),
}

impl Outcome {
    pub fn status(&self) -> &'static str {
        match self {
            Outcome::Accepted => "accepted",
            Outcome::Known => "known",
            Outcome::Rejected(_) => "rejected",
            Outcome::Forbidden(_) => "forbidden",
        }
    }

    pub fn is_refusal(&self) -> bool {
        matches!(self, Outcome::Rejected(_) | Outcome::Forbidden(_))
    }

    pub fn reason(self) -> Option<String> {
        match self {
            Outcome::Rejected(reason) | Outcome::Forbidden(reason) => Some(reason),
            _ => None,
        }
    }
}

/// A revision as it came.
pub struct Sent {
    pub arrival: Arrival,
    pub record: Record,
}

impl Sent {
    pub fn read(shape: &Shape, item: serde_json::Value) -> Result<Sent, Error> {
        let record = put::read_record(shape, item)?;
        let Some(revision) = record.revision.clone() else {
            let id = put::short(&record.id);
            return Err(Error::BadRecord(format!("record {id:?} names no revision")));
        };
        if revision.generation() > GENERATION_TAKEN_MAX {
            let id = put::short(&record.id);
            return Err(Error::BadRecord(format!(
                "record {id:?}: {revision} leaves no room for edits; at most generation \
                 {GENERATION_TAKEN_MAX} is taken"
            )));
        }
        let line = record.revisions.clone().unwrap_or_else(|| vec![revision.clone()]);
        let revision = Revision {
            id: record.id.clone(),
            revision,
            previous: line.get(1).cloned(),
            deleted: record.deleted,
            attributes: record.attributes.clone(),
        };
        Ok(Sent { arrival: Arrival { revision, line }, record })
    }

    pub fn revision(&self) -> &RevisionId {
        &self.arrival.revision.revision
    }
}

type Answer = (i32, Option<String>, Option<String>, String, Option<String>);

#[pg_extern(sql = false)]
fn _put_revisions(
    relation: pg_sys::Oid,
    records: Json,
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
    let _entered = role::enter();
    let shape = Shape::of(relation).or_report();
    require_rights(&shape).or_report();
    let serde_json::Value::Array(items) = records.read().or_report() else {
        Error::BadArgument("the revisions are a JSON array of records".into()).report()
    };
    let _settings = shape.settings();
    let mut answers: Vec<Option<Answer>> = vec![None; items.len()];
    let mut batch: Vec<(usize, Sent)> = Vec::with_capacity(items.len());
    for (place, item) in items.into_iter().enumerate() {
        let said = |name: &str| item.get(name).and_then(|v| v.as_str()).map(put::short);
        let (id, revision) = (said("id"), said("revision"));
        match Sent::read(&shape, item) {
            Ok(sent) => batch.push((place, sent)),
            Err(error) => {
                let outcome = Outcome::Rejected(error.message());
                answers[place] = Some(answer(place, id, revision, outcome));
            }
        }
    }
    batch.sort_by_key(|(_, sent)| sent.revision().generation());
    let (places, sent): (Vec<usize>, Vec<Sent>) = batch.into_iter().unzip();
    let outcomes = retry::put_and_retry(&shape, &sent);
    for ((place, sent), outcome) in places.into_iter().zip(sent).zip(outcomes) {
        let revision = sent.revision().to_string();
        answers[place] = Some(answer(place, Some(sent.record.id), Some(revision), outcome));
    }
    TableIterator::new(answers.into_iter().flatten())
}

fn answer(place: usize, id: Option<String>, revision: Option<String>, outcome: Outcome) -> Answer {
    (place as i32 + 1, id, revision, outcome.status().into(), outcome.reason())
}

pub fn require_rights(shape: &Shape) -> Result<(), Error> {
    rights::require(shape, &[Right::Insert, Right::Update, Right::Delete])
}

/// Puts revisions whose parents come before their children.
pub fn put_all(shape: &Shape, sent: &[&Sent]) -> Vec<Outcome> {
    sent.chunks(CHUNK_MAX).flat_map(|chunk| put_chunk(shape, chunk)).collect()
}

/// Whether an error is the policies' refusal of a row.
fn is_forbidden(shape: &Shape, failure: &Failure) -> bool {
    failure.sqlstate.to_string() == "42501" && policy::applies(shape)
}

fn put_chunk(shape: &Shape, chunk: &[&Sent]) -> Vec<Outcome> {
    match attempt(shape, chunk) {
        Ok(outcomes) => outcomes,
        Err(failure) if !failure.is_refusal() && !is_forbidden(shape, &failure) => {
            failure.rethrow()
        }
        Err(failure)
            if chunk.len() == 1
                && is_forbidden(shape, &failure)
                && left::had(shape, &chunk[0].arrival) =>
        {
            rejected::keep(shape, &chunk[0].record, &failure);
            vec![Outcome::Rejected(failure.message)]
        }
        Err(failure) if chunk.len() == 1 && is_forbidden(shape, &failure) => {
            vec![Outcome::Forbidden(policy::refused(shape, &chunk[0].record.id).message())]
        }
        Err(failure) if chunk.len() == 1 => {
            rejected::keep(shape, &chunk[0].record, &failure);
            vec![Outcome::Rejected(failure.message)]
        }
        Err(_) => {
            let (first, second) = chunk.split_at(chunk.len() / 2);
            let mut outcomes = put_chunk(shape, first);
            outcomes.extend(put_chunk(shape, second));
            outcomes
        }
    }
}

fn attempt(shape: &Shape, chunk: &[&Sent]) -> Result<Vec<Outcome>, Failure> {
    let arrivals: Vec<&Arrival> = chunk.iter().map(|sent| &sent.arrival).collect();
    subtransaction::attempt(|| {
        if let Some(refused) = arrivals.iter().find(|new| !policy::may_write(shape, &new.revision))
        {
            policy::refused(shape, &refused.revision.id).report()
        }
        let grafted = role::as_owner(shape.owner, || graft::graft(shape, &arrivals));
        let outcome = |grafted| match grafted {
            Grafted::Accepted => Outcome::Accepted,
            Grafted::Known => Outcome::Known,
        };
        grafted.into_iter().map(outcome).collect()
    })
}
