//! In charge of conflicts that a table's policy merges by itself (`revision::merge` has the rules).
//!
//! It happens where the conflict comes about, in the same transaction, under the record's lock. What the
//! table's own rules refuse of a merge is taken back, and the conflict waits as it would without a
//! policy.

use pgrx::pg_sys;
use pgrx::prelude::*;
use revision::merge::{self, Addition, Node, Nodes};
use revision::{Conflicts, Policy, Rule, Value};

use crate::argument::Json;
use crate::catalog;
use crate::conflicted;
use crate::error::{Error, OrReport};
use crate::expected;
use crate::put;
use crate::read;
use crate::reconcile;
use crate::rejected::catalog_owner;
use crate::role;
use crate::row;
use crate::settings::Settings;
use crate::shape::Shape;
use crate::spi;
use crate::subtransaction;
use crate::twin::{self, Revision};

/// Most records that one call of `merge_conflicts` looks at.
const RECORDS_MAX: i32 = 100_000;

/// Merges these records' conflicts where the policy can; returns how many.
pub fn merge(shape: &Shape, ids: &[String]) -> i64 {
    if shape.policy.conflicts == Conflicts::Keep {
        return 0;
    }
    ids.iter().map(|id| i64::from(merge_one(shape, id))).sum()
}

fn merge_one(shape: &Shape, id: &str) -> bool {
    let outcome = subtransaction::attempt(|| role::as_owner(shape.owner, || try_merge(shape, id)));
    match outcome {
        Ok(merged) => merged,
        Err(failure) if failure.is_refusal() => false,
        // A rule's function is gone, or may not be called: somebody has to look.
        Err(failure) if ["42883", "42501"].contains(&failure.sqlstate.to_string().as_str()) => {
            false
        }
        Err(failure) => failure.rethrow(),
    }
}

fn try_merge(shape: &Shape, id: &str) -> bool {
    let nodes = nodes(shape, id);
    let call = |function: &str, name: &str, was: Option<&Value>, ours: &Value, theirs: &Value| {
        call(shape, function, name, [was.unwrap_or(&Value::Null), ours, theirs])
    };
    let Some(added) = merge::merge(id, &nodes, &shape.policy, &call) else { return false };
    let added: Vec<Revision> = added.into_iter().map(|addition| revision(id, addition)).collect();
    let added: Vec<&Revision> = added.iter().collect();
    let added = expected::while_capturing(shape.twin_relation, || twin::insert(shape, &added));
    reconcile::elect(shape, &[id.to_owned()], &added, None);
    true
}

fn revision(id: &str, addition: Addition) -> Revision {
    Revision {
        id: id.to_owned(),
        revision: addition.revision,
        previous: Some(addition.parent),
        deleted: addition.deleted,
        attributes: addition.attributes,
    }
}

/// All revisions of a record with their bodies.
fn nodes(shape: &Shape, id: &str) -> Nodes {
    let sql = format!(
        "select _godwit_row._rev, _godwit_row._prev, _godwit_row._deleted, _godwit_row._stub, _godwit_row
           from {} _godwit_row where _godwit_row._id = $1",
        shape.twin
    );
    let nodes = spi::rows(&sql, &[spi::text(id)], |row| {
        let stub: bool = row.need(4);
        let body = (!stub).then(|| read::of_datum(shape, row.need(5)).or_report().attributes);
        let parent = row.get::<Vec<u8>>(2).map(|bytes| row::read_revision(&bytes));
        let revision = row::read_revision(&row.need::<Vec<u8>>(1));
        (revision, Node { parent, deleted: row.need(3), body })
    });
    nodes.into_iter().collect()
}

/// A rule's own function, of the column's type, run as the caller.
fn call(shape: &Shape, function: &str, name: &str, values: [&Value; 3]) -> Option<Value> {
    let column = shape.attribute(name)?;
    let sql = format!("select {function}($1, $2, $3)::{}", column.type_name);
    let args = values.map(|value| spi::Arg(column.codec.type_oid, column.codec.write(value)));
    let _settings = shape.settings();
    put::as_caller(column, &sql, &args)
}

#[pg_extern(sql = false)]
fn _set_policy(relation: pg_sys::Oid, policy: Json) {
    let _settings = Settings::path(c"pg_catalog, pg_temp");
    catalog::require_owner(&[relation]).or_report();
    let shape = Shape::of(relation).or_report();
    let mut read: Policy =
        serde_json::from_value(policy.read().or_report()).unwrap_or_else(|error| {
            Error::BadArgument(format!("the policy can't be read: {error}")).report()
        });
    if read.conflicts == Conflicts::Keep && !read.attributes.is_empty() {
        let reason = "rules for attributes take {\"conflicts\": \"fields\"}";
        Error::BadArgument(reason.into()).report()
    }
    for (name, rule) in &mut read.attributes {
        check_rule(&shape, name, rule).or_report();
    }
    let sql = "update godwit.tracked set policy = $2 where relation = $1";
    let wire = serde_json::to_value(&read).unwrap_or_else(|error| {
        Error::Internal(format!("a policy can't be written: {error}")).report()
    });
    let args = [spi::oid(relation), spi::json(&wire)];
    role::as_owner(catalog_owner(), || spi::run(sql, &args));
    // SAFETY: sends a message to whoever has the table's shape.
    unsafe { pg_sys::CacheInvalidateRelcacheByRelid(relation) };
}

/// A rule is for a column that is there; a function is immutable, for two databases must come to the
/// same, and is kept by its full name.
fn check_rule(shape: &Shape, name: &str, rule: &mut Rule) -> Result<(), Error> {
    let Some(column) = shape.attribute(name) else {
        return Err(Error::BadArgument(format!("the table has no attribute {name:?}")));
    };
    let Rule::Function(function) = rule else { return Ok(()) };
    let sql = "select pg_catalog.format('%I.%I', n.nspname, p.proname), p.provolatile = 'i'
                 from pg_catalog.pg_proc p
                 join pg_catalog.pg_namespace n on n.oid = p.pronamespace
                where p.oid = pg_catalog.to_regprocedure($1) and p.prorettype = $2";
    let signature = format!("{function}({0}, {0}, {0})", column.type_name);
    let args = [spi::text(&signature), spi::oid(column.codec.type_oid)];
    let found = spi::rows(sql, &args, |row| (row.need::<String>(1), row.need::<bool>(2)));
    match found.into_iter().next() {
        Some((full, true)) => *function = full,
        Some((full, false)) => {
            let reason = format!("function {full} of attribute {name:?} is not immutable");
            return Err(Error::BadArgument(reason));
        }
        None => {
            let of = column.shown_type();
            let reason = format!(
                "attribute {name:?}: there is no function {function}({of}, {of}, {of}) that returns {of}; name its schema"
            );
            return Err(Error::BadArgument(reason));
        }
    }
    Ok(())
}

#[pg_extern(sql = false)]
fn _merge_conflicts(relation: pg_sys::Oid, max: i32) -> i64 {
    let _entered = role::enter();
    if !(1..=RECORDS_MAX).contains(&max) {
        Error::BadArgument(format!("max is 1 to {RECORDS_MAX}")).report()
    }
    let shape = Shape::of(relation).or_report();
    crate::put_revisions::require_rights(&shape).or_report();
    let shape = shape.held().or_report();
    let _settings = shape.settings();
    let ids = conflicted::some(&shape, max);
    role::as_owner(shape.owner, || reconcile::lock(&shape, &ids));
    merge(&shape, &ids)
}
