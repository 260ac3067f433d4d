//! In charge of `godwit.put_many`: local edits in bulk, each for itself, one outcome each.

use pgrx::pg_sys;
use pgrx::prelude::*;

use crate::argument::Json;
use crate::error::{Error, OrReport};
use crate::put::{self, OnConflict, Put};
use crate::rights::{self, Right};
use crate::role;
use crate::shape::Shape;
use crate::subtransaction::{self, Failure};

type Answer = (i32, Option<String>, Option<String>, String, Option<String>, Option<String>);

#[pg_extern(sql = false)]
fn _put_many(
    relation: pg_sys::Oid,
    records: Json,
    on_conflict: &str,
) -> TableIterator<
    'static,
    (
        name!(ord, i32),
        name!(id, Option<String>),
        name!(revision, Option<String>),
        name!(status, String),
        name!(reason, Option<String>),
        name!(winner, Option<String>),
    ),
> {
    let _entered = role::enter();
    let shape = put::to_write(relation);
    let mode = OnConflict::of(on_conflict).or_report();
    // Who may write nothing at all is told at once; else each record is told what it lacks.
    if !put::may_write(&shape) {
        rights::require(&shape, &[Right::Insert]).or_report();
    }
    let serde_json::Value::Array(items) = records.read().or_report() else {
        Error::BadArgument("the records are a JSON array".into()).report()
    };
    let _settings = shape.settings();
    let answers: Vec<Answer> = items
        .into_iter()
        .enumerate()
        .map(|(place, item)| {
            pgrx::check_for_interrupts!();
            put_one(&shape, place as i32 + 1, item, mode)
        })
        .collect();
    TableIterator::new(answers)
}

fn put_one(shape: &Shape, ord: i32, item: serde_json::Value, mode: OnConflict) -> Answer {
    let id = item.get("id").and_then(|id| id.as_str()).map(put::short);
    let record = match put::read_record(shape, item) {
        Ok(record) => record,
        Err(error) => return (ord, id, None, "rejected".into(), Some(error.message()), None),
    };
    let id = Some(record.id.clone());
    match subtransaction::attempt(|| put::checked(shape, record, mode)) {
        Ok(Put { revision, is_new, .. }) => {
            let status = if is_new { "accepted" } else { "known" };
            (ord, id, Some(revision.to_string()), status.into(), None, None)
        }
        Err(failure) => {
            let (status, winner) = refusal(&failure);
            let Some(status) = status else { failure.rethrow() };
            (ord, id, None, status.into(), Some(failure.message), winner)
        }
    }
}

/// What an error says about one record; `None` where it is about more than that.
fn refusal(failure: &Failure) -> (Option<&'static str>, Option<String>) {
    let winner = failure.detail.as_deref().and_then(|detail| detail.strip_prefix("winner: "));
    match failure.sqlstate.to_string().as_str() {
        "40001" if winner.is_some() => (Some("conflict"), winner.map(str::to_owned)),
        "42501" => (Some("forbidden"), None),
        // There is no such record, or its body is gone.
        "P0002" | "02000" => (Some("rejected"), None),
        _ if failure.is_refusal() => (Some("rejected"), None),
        _ => (None, None),
    }
}
