//! In charge of `godwit.resolve`: one leaf of a record is kept, or edited, and the other branches end,
//! in one transaction. Who did it stands in the revisions' `_by`.

use pgrx::JsonB;
use pgrx::pg_sys;
use pgrx::prelude::*;
use revision::{Attributes, Record, RevisionId};
use std::collections::BTreeSet;

use crate::about;
use crate::argument::Json;
use crate::conflicts;
use crate::error::{Error, OrReport};
use crate::expected;
use crate::history;
use crate::policy;
use crate::put;
use crate::reconcile;
use crate::rights::{self, Right};
use crate::role;
use crate::shape::Shape;
use crate::twin::{self, Revision};

#[pg_extern(sql = false)]
fn _resolve(
    relation: Option<pg_sys::Oid>,
    id: Option<&str>,
    keep: Option<&str>,
    attributes: Option<Json>,
    leaves: Option<Vec<Option<String>>>,
) -> JsonB {
    let _entered = role::enter();
    let (Some(relation), Some(id)) = (relation, id) else {
        Error::BadArgument("resolve takes a table and a record id".into()).report()
    };
    let shape = Shape::of(relation).or_report();
    rights::require(&shape, &[Right::Update, Right::Delete]).or_report();
    let shape = shape.held().or_report();
    if policy::applies(&shape) && policy::has_hidden_row(&shape, id) {
        policy::refused(&shape, id).report()
    }
    let keep = keep.map(|text| revision_of(id, text).or_report());
    let leaves = leaves.map(|leaves| {
        let named = leaves.into_iter().flatten();
        named.map(|leaf| revision_of(id, &leaf).or_report()).collect::<BTreeSet<_>>()
    });
    let record = attributes.map(|attributes| {
        let wire = serde_json::json!({"id": id, "attributes": attributes.read().or_report()});
        put::read_record(&shape, wire).or_report().attributes
    });
    let _settings = shape.settings();
    let revision = about::record(&shape, id, || {
        role::as_owner(shape.owner, || resolve(&shape, id, keep, record, leaves))
    })
    .or_report();
    JsonB(serde_json::json!({
        "id": id, "table": shape.wire_name, "revision": revision.to_string(),
    }))
}

/// A revision that a caller names, of this record.
pub fn revision_of(id: &str, text: &str) -> Result<RevisionId, Error> {
    RevisionId::parse(text)
        .map_err(|error| Error::BadRecord(format!("record {:?}: {error}", put::short(id))))
}

fn resolve(
    shape: &Shape,
    id: &str,
    keep: Option<RevisionId>,
    edit: Option<Attributes>,
    seen: Option<BTreeSet<RevisionId>>,
) -> Result<RevisionId, Error> {
    let ids = [id.to_owned()];
    let locked = reconcile::lock(shape, &ids);
    let living = conflicts::living_revisions(shape, id);
    let Some(winner) = living.first().cloned() else {
        return Err(Error::NoRecord { id: put::short(id) });
    };
    let kept = keep.unwrap_or_else(|| winner.clone());
    if !role::as_caller(|| policy::may_edit(shape, id, &kept)) {
        return Err(policy::refused(shape, id));
    }
    if !living.contains(&kept) {
        let (id, edited) = (id.to_owned(), kept);
        return Err(match history::with_revision(shape, &id, &edited, |_| ()) {
            Some(()) => Error::Conflict { id, edited: Some(edited), winner },
            None => Error::UnknownRevision { id, revision: edited },
        });
    }
    if seen.is_some_and(|seen| !living.iter().eq(seen.iter().rev())) {
        return Err(Error::OtherLeaves { id: id.to_owned(), winner });
    }
    let mut added: Vec<Revision> = living
        .iter()
        .filter(|leaf| **leaf != kept)
        .map(|leaf| child(id, leaf, true, Attributes::new()))
        .collect();
    let mut outcome = kept.clone();
    if let Some(attributes) = edit {
        let record = Record {
            id: id.to_owned(),
            table: None,
            revision: Some(kept.clone()),
            deleted: false,
            attributes,
            revisions: None,
            conflicts: None,
        };
        let whole = put::whole(shape, &record, Some(&kept));
        if put::body(shape, id, &kept) != Some(whole.clone()) {
            let edited = child(id, &kept, false, whole);
            outcome = edited.revision.clone();
            added.push(edited);
        }
    }
    if let Some(refused) =
        role::as_caller(|| added.iter().find(|new| !policy::may_write(shape, new)))
    {
        return Err(policy::refused(shape, &refused.id));
    }
    let added: Vec<&Revision> = added.iter().collect();
    if !added.is_empty() {
        let added = expected::while_capturing(shape.twin_relation, || twin::insert(shape, &added));
        reconcile::reconcile(shape, &ids, &added, Some(locked));
    }
    Ok(outcome)
}

fn child(id: &str, of: &RevisionId, deleted: bool, attributes: Attributes) -> Revision {
    Revision {
        id: id.to_owned(),
        revision: twin::edited(id, Some(of), deleted, &attributes),
        previous: Some(of.clone()),
        deleted,
        attributes,
    }
}
