//! In charge of what peers send: revisions of a few records, made offline along paths that share
//! their beginnings, so that batches meet, repeat and contradict each other.

use revision::{Attributes, Record, RevisionId, Value};
use std::collections::BTreeMap;

use crate::random::Random;
use crate::read::is_foreign;

/// Records that all peers edit; later ones take their place, so that there are always new ones.
const RECORDS: u64 = 24;
const DEPTH_MAX: u64 = 8;

/// Some revisions of one record with their ancestry, in any order. Each epoch has records of its own.
pub fn batch(random: &mut Random, epoch: u64) -> Vec<Record> {
    let number = random.below(RECORDS);
    let kind = if number.is_multiple_of(8) { "foreign" } else { "peer" };
    let id = format!("{kind}-{epoch}-{number}");
    let path = path(random, &id);
    let heads = random.between(1, path.len() as u64);
    let mut batch = Vec::new();
    for _ in 0..heads {
        let head = random.below(path.len() as u64) as usize;
        // At least the parent: without it nobody could check the hash.
        let known = random.between(2, 9) as usize;
        let line = path[..=head].iter().rev().take(known).map(|(revision, ..)| revision.clone());
        let (revision, deleted, attributes) = path[head].clone();
        batch.push(Record {
            id: id.clone(),
            table: None,
            revision: Some(revision),
            deleted,
            attributes,
            revisions: Some(line.collect()),
            conflicts: None,
        });
    }
    batch
}

/// A line of revisions from the first one on; the body of each is told by the steps that lead there.
fn path(random: &mut Random, id: &str) -> Vec<(RevisionId, bool, Attributes)> {
    let mut path: Vec<(RevisionId, bool, Attributes)> = Vec::new();
    let mut steps = String::new();
    for depth in 1..=random.between(1, DEPTH_MAX) {
        let step = random.weighted(&[6, 3, 1]);
        steps.push(char::from(b'a' + step as u8));
        let deleted = step == 2 && depth > 1;
        let attributes = if deleted { Attributes::new() } else { body(id, &steps) };
        let previous = path.last().map(|(revision, ..)| revision);
        let revision = if is_foreign(id) {
            match RevisionId::new(depth, &format!("x{steps}")) {
                Ok(revision) => revision,
                Err(_) => break,
            }
        } else {
            RevisionId::of(id, previous, deleted, &attributes)
        };
        path.push((revision, deleted, attributes));
    }
    path
}

fn body(id: &str, steps: &str) -> Attributes {
    let length = steps.len() as i64;
    let mut body = Attributes::new();
    let mut set = |name: &str, value| body.insert(name.to_owned(), value);
    set("id", Value::String(id.into()));
    set("name", Value::String(format!("Amina \u{1F9A2} {steps}")));
    set("household", Value::Int(length));
    set("weight", Value::Float(length as f64 / 3.0));
    set("cost", Value::Decimal(format!("{length}.50")));
    set("seen", Value::Timestamp(format!("2026-01-{:02}T10:00:00.000001Z", length + 1)));
    if steps.ends_with('b') {
        // No column has this name.
        set("remark", Value::String(steps.into()));
    }
    if length % 3 == 0 {
        let member = (steps.to_owned(), Value::Decimal("1.10".into()));
        set("doc", Value::Map(BTreeMap::from([member])));
        set("photo", Value::Bytes(steps.as_bytes().to_vec()));
    }
    body
}
