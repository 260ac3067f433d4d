//! In charge of `godwit.put_revisions`: replication. Revisions arrive with their ancestry, in any
//! order, once or often, and the outcome is the same.
//!
//! A chunk is tried at once. Where something in it is refused, its halves are tried, and theirs, down
//! to the one that is at fault: the good ones are kept, the refused ones go to `godwit.rejected`
//! with the reason (`retry.rs` tries them again).

use pgrx::AnyElement;
use pgrx::pg_sys;
use pgrx::prelude::*;
use revision::{Record, RevisionId};
use serde_json::value::RawValue;

use crate::argument::Json;
use crate::error::{Error, OrReport};
use crate::graft::{self, Arrival, Grafted, Meeting};
use crate::left;
use crate::policy;
use crate::put;
use crate::reconcile;
use crate::rejected;
use crate::retry;
use crate::rights::{self, Right};
use crate::role;
use crate::sent_jsonb;
use crate::settings::Settings;
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
    /// Whether it came with its ancestry, and what it said beside.
    has_line: bool,
    table: Option<String>,
    conflicts: Option<Vec<RevisionId>>,
}

impl Sent {
    pub fn read(record: Record) -> Result<Sent, Error> {
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
        let has_line = record.revisions.is_some();
        let line = record.revisions.unwrap_or_else(|| vec![revision.clone()]);
        let revision = Revision {
            id: record.id,
            revision,
            previous: line.get(1).cloned(),
            deleted: record.deleted,
            attributes: record.attributes,
        };
        let (table, conflicts) = (record.table, record.conflicts);
        Ok(Sent { arrival: Arrival { revision, line }, has_line, table, conflicts })
    }

    /// The wire record as it came.
    pub fn record(&self) -> Record {
        let Revision { id, revision, deleted, attributes, .. } = &self.arrival.revision;
        Record {
            id: id.clone(),
            table: self.table.clone(),
            revision: Some(revision.clone()),
            deleted: *deleted,
            attributes: attributes.clone(),
            revisions: self.has_line.then(|| self.arrival.line.clone()),
            conflicts: self.conflicts.clone(),
        }
    }

    pub fn id(&self) -> &str {
        &self.arrival.revision.id
    }

    pub fn revision(&self) -> &RevisionId {
        &self.arrival.revision.revision
    }
}

type Answer = (i32, Option<String>, Option<String>, String, Option<String>);

/// What can't be taken for a revision, as far as it says which one it is.
struct Unreadable {
    id: Option<String>,
    revision: Option<String>,
    error: Error,
}

/// The public function itself: one of SQL before it would be parsed and planned at each call.
#[pg_extern(sql = false)]
fn put_revisions(
    relation: pg_sys::Oid,
    records: AnyElement,
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
    TableIterator::new(answers(relation, |shape| of_jsonb(shape, records.datum())))
}

#[pg_extern(sql = false)]
fn _put_revisions_text(
    relation: pg_sys::Oid,
    records: &str,
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
    TableIterator::new(answers(relation, |shape| of_text(shape, records)))
}

/// What was refused alone, as a JSON array; null where all was taken. Rows would cost whoever asks more than most of them
/// say: that all went well.
#[pg_extern(sql = false)]
fn _take_revisions(relation: pg_sys::Oid, records: &str) -> Option<String> {
    #[derive(serde::Serialize)]
    struct Refused {
        ord: i32,
        status: String,
        reason: String,
    }
    let answers = answers(relation, |shape| of_text(shape, records)).into_iter();
    let refused: Vec<Refused> = answers
        .filter_map(|(ord, _, _, status, reason)| Some(Refused { ord, status, reason: reason? }))
        .collect();
    (!refused.is_empty()).then(|| {
        serde_json::to_string(&refused).unwrap_or_else(|error| {
            Error::Internal(format!("an answer can't be written: {error}")).report()
        })
    })
}

fn of_jsonb(shape: &Shape, datum: pg_sys::Datum) -> Vec<Result<Sent, Unreadable>> {
    // SAFETY: the SQL declares the argument as jsonb.
    let found = unsafe { sent_jsonb::records(datum) };
    all_of(shape, found).unwrap_or_else(|| {
        // SAFETY: as above.
        let json = unsafe { Json::from_datum(datum, false) };
        one_by_one(shape, &json.map(Json::into_text).unwrap_or_default())
    })
}

fn of_text(shape: &Shape, records: &str) -> Vec<Result<Sent, Unreadable>> {
    let found = serde_json::from_str(records).ok();
    all_of(shape, found).unwrap_or_else(|| one_by_one(shape, records))
}

/// The records of a batch, if there is nothing wrong with any of them.
fn all_of(shape: &Shape, found: Option<Vec<Record>>) -> Option<Vec<Result<Sent, Unreadable>>> {
    let take = |record| put::checked_record(shape, record).and_then(Sent::read).ok().map(Ok);
    found?.into_iter().map(take).collect()
}

/// Each is read by itself: one that can't be says nothing of the others.
fn one_by_one(shape: &Shape, records: &str) -> Vec<Result<Sent, Unreadable>> {
    let Ok(items) = serde_json::from_str::<Vec<&RawValue>>(records) else {
        Error::BadArgument("the revisions are a JSON array of records".into()).report()
    };
    let read = |item: &RawValue| {
        put::parse_record(shape, item.get()).and_then(Sent::read).map_err(|error| {
            let said = |name: &str| put::member(item.get(), name);
            Unreadable { id: said("id"), revision: said("revision"), error }
        })
    };
    items.into_iter().map(read).collect()
}

fn answers(
    relation: pg_sys::Oid,
    read: impl FnOnce(&Shape) -> Vec<Result<Sent, Unreadable>>,
) -> Vec<Answer> {
    let _entered = role::enter();
    let shape = Shape::of(relation).or_report();
    require_rights(&shape).or_report();
    let shape = shape.held().or_report();
    let _settings = shape.settings();
    let items = read(&shape);
    let mut answers: Vec<Option<Answer>> = vec![None; items.len()];
    let mut batch: Vec<(usize, Sent)> = Vec::with_capacity(items.len());
    for (place, item) in items.into_iter().enumerate() {
        match item {
            Ok(sent) => batch.push((place, sent)),
            Err(Unreadable { id, revision, error }) => {
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
        let id = sent.arrival.revision.id;
        answers[place] = Some(answer(place, Some(id), Some(revision), outcome));
    }
    answers.into_iter().flatten().collect()
}

fn answer(place: usize, id: Option<String>, revision: Option<String>, outcome: Outcome) -> Answer {
    (place as i32 + 1, id, revision, outcome.status().into(), outcome.reason())
}

pub fn require_rights(shape: &Shape) -> Result<(), Error> {
    rights::require(shape, &[Right::Insert, Right::Update, Right::Delete])
}

/// Whether a batch may wait for other sessions. One that goes on in the order of ids may, for so does everybody.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Waits {
    InTurn,
    Hardly,
}

/// Puts revisions whose parents come before their children.
pub fn put_all(shape: &Shape, sent: &[&Sent]) -> Vec<Outcome> {
    let put = |sent: &[&Sent]| -> Vec<Outcome> {
        sent.chunks(CHUNK_MAX).flat_map(|chunk| put_chunk(shape, chunk)).collect()
    };
    if sent.len() > CHUNK_MAX { in_one_order(shape, sent, put) } else { put(sent) }
}

/// The same for who holds records already, in the order in which they were sent: what a trigger makes one depend on
/// comes before it. That is no order of ids, and who has one of these may wait for what this call has; so what can't be
/// had at once is left to a later call.
pub fn put_at_once(shape: &Shape, sent: &[&Sent]) -> Vec<Outcome> {
    let put = |chunk| {
        let tried = try_chunk(shape, chunk, Waits::Hardly, Meeting::SteppingBack);
        tried.unwrap_or_else(|| put_halves(shape, chunk, Waits::Hardly))
    };
    sent.chunks(CHUNK_MAX).flat_map(put).collect()
}

/// Whether an error is the policies' refusal of a row.
fn is_forbidden(shape: &Shape, failure: &Failure) -> bool {
    failure.is_denied() && policy::applies(shape)
}

fn put_chunk(shape: &Shape, chunk: &[&Sent]) -> Vec<Outcome> {
    let halves = |sorted: &[&Sent]| put_halves(shape, sorted, Waits::InTurn);
    // An INSERT without ON CONFLICT that finds the second of two keys taken waits with the first in its hands: whoever
    // holds the second may be about to ask for that one.
    let meeting = if shape.keys.has_one { Meeting::Nobody } else { Meeting::SteppingBack };
    try_chunk(shape, chunk, Waits::InTurn, meeting)
        .unwrap_or_else(|| in_one_order(shape, chunk, halves))
}

/// What a part has brought it holds on to while the next may wait for another session. So all go on by the ids, as what
/// is brought at once does. But a table that refers to itself takes its rows in the order in which they were sent.
fn in_one_order(
    shape: &Shape,
    sent: &[&Sent],
    put: impl FnOnce(&[&Sent]) -> Vec<Outcome>,
) -> Vec<Outcome> {
    if retry::refers_to_itself(shape) {
        return put(sent);
    }
    let key = |place: usize| (sent[place].id(), sent[place].revision());
    let mut order: Vec<usize> = (0..sent.len()).collect();
    order.sort_by(|a, b| key(*a).cmp(&key(*b)));
    let sorted: Vec<&Sent> = order.iter().map(|place| sent[*place]).collect();
    let mut outcomes: Vec<_> = order.into_iter().zip(put(&sorted)).collect();
    outcomes.sort_by_key(|(place, _)| *place);
    outcomes.into_iter().map(|(_, outcome)| outcome).collect()
}

fn put_halves(shape: &Shape, chunk: &[&Sent], waits: Waits) -> Vec<Outcome> {
    let (first, second) = chunk.split_at(chunk.len() / 2);
    let put = |half| {
        let tried = try_chunk(shape, half, waits, Meeting::SteppingBack);
        tried.unwrap_or_else(|| put_halves(shape, half, waits))
    };
    [put(first), put(second)].concat()
}

/// None where one of several is refused, or held by another session that isn't waited for.
fn try_chunk(
    shape: &Shape,
    chunk: &[&Sent],
    waits: Waits,
    meeting: Meeting,
) -> Option<Vec<Outcome>> {
    let outcome = match attempt(shape, chunk, waits, meeting) {
        // It may be another session's row, or a rule of the table's.
        Err(failure) if meeting == Meeting::Nobody && failure.is_taken() => {
            return try_chunk(shape, chunk, waits, Meeting::SteppingBack);
        }
        Err(failure) if failure.is_overtaken => attempt(shape, chunk, waits, Meeting::InOrder),
        outcome => outcome,
    };
    let failure = match outcome {
        Ok(outcomes) => return Some(outcomes),
        Err(failure) => failure,
    };
    let is_held = waits == Waits::Hardly && failure.is_held();
    if !is_held && !failure.is_refusal() && !is_forbidden(shape, &failure) {
        failure.rethrow()
    }
    match chunk {
        [one] if is_held => Some(vec![left_for_later(shape, one, failure)]),
        [one] => Some(vec![refused(shape, one, failure, waits)]),
        _ => None,
    }
}

fn refused(shape: &Shape, sent: &Sent, failure: Failure, waits: Waits) -> Outcome {
    if is_forbidden(shape, &failure) && !left::had(shape, &sent.arrival) {
        return Outcome::Forbidden(policy::refused(shape, sent.id()).message());
    }
    keep(shape, sent, &failure, waits);
    if waits == Waits::InTurn {
        hold(shape, sent.id());
    }
    Outcome::Rejected(failure.message)
}

/// What another session holds is tried again with the next batch (`retry.rs`).
fn left_for_later(shape: &Shape, sent: &Sent, mut failure: Failure) -> Outcome {
    let id = put::short(sent.id());
    failure.message = format!("another session writes record {id:?}: your next batch tries again");
    keep(shape, sent, &failure, Waits::Hardly);
    Outcome::Rejected(failure.message)
}

/// Who is met at the same entry keeps it, too.
fn keep(shape: &Shape, sent: &Sent, failure: &Failure, waits: Waits) {
    let keep = || rejected::keep(shape, &sent.record(), failure);
    if waits == Waits::InTurn {
        return keep();
    }
    let kept = subtransaction::attempt(|| {
        let _settings = Settings::hardly_waiting();
        keep()
    });
    match kept {
        Err(failure) if !failure.is_held() => failure.rethrow(),
        Ok(()) | Err(_) => {}
    }
}

/// Keeps the row of a refused record locked, which the attempt has let go. The second try comes when later records are
/// held: then it meets nobody here. An id that can't be a key has no row.
fn hold(shape: &Shape, id: &str) {
    let lock = || role::as_owner(shape.owner, || reconcile::lock(shape, &[id.to_owned()]));
    match subtransaction::attempt(lock) {
        Err(failure) if !failure.is_refusal() => failure.rethrow(),
        Ok(_) | Err(_) => {}
    }
}

fn attempt(
    shape: &Shape,
    chunk: &[&Sent],
    waits: Waits,
    meeting: Meeting,
) -> Result<Vec<Outcome>, Failure> {
    let arrivals: Vec<&Arrival> = chunk.iter().map(|sent| &sent.arrival).collect();
    subtransaction::attempt(|| {
        let _settings = (waits == Waits::Hardly).then(Settings::hardly_waiting);
        let refused = || arrivals.iter().find(|new| !policy::may_write(shape, &new.revision));
        if let Some(refused) = policy::applies(shape).then(refused).flatten() {
            policy::refused(shape, &refused.revision.id).report()
        }
        let grafted = role::as_owner(shape.owner, || graft::graft(shape, &arrivals, meeting));
        let outcome = |grafted| match grafted {
            Grafted::Accepted => Outcome::Accepted,
            Grafted::Known => Outcome::Known,
        };
        grafted.into_iter().map(outcome).collect()
    })
}
