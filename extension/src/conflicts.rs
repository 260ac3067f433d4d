//! In charge of what the view `godwit.conflicts` says of one record: its losing leaves beside the
//! winner, with their common ancestor. It reads with the caller's rights.

use pgrx::pg_sys;
use pgrx::prelude::*;
use revision::{Attributes, RevisionId};
use std::collections::BTreeSet;

use crate::body::Body;
use crate::error::OrReport;
use crate::lineage;
use crate::read;
use crate::row;
use crate::settings::Settings;
use crate::shape::Shape;
use crate::spi;
use crate::twin;
use crate::walk::{Sight, Walk};

struct Leaf {
    revision: RevisionId,
    attributes: Attributes,
    at: Option<TimestampWithTimeZone>,
    by: Option<String>,
}

#[pg_extern(sql = false)]
fn _conflict(
    relation: pg_sys::Oid,
    id: &str,
) -> TableIterator<
    'static,
    (
        name!(winner, String),
        name!(conflict, String),
        name!(ancestor, Option<String>),
        name!(grade, String),
        name!(attributes, Vec<String>),
        name!(at, Option<TimestampWithTimeZone>),
        name!(by, Option<String>),
    ),
> {
    let shape = Shape::of(relation).or_report();
    let _settings = Settings::path(c"pg_catalog, godwit, pg_temp");
    let mut leaves = living(&shape, id).into_iter();
    let Some(winner) = leaves.next() else {
        return TableIterator::new(Vec::new());
    };
    let line: BTreeSet<RevisionId> =
        read::ancestry(&shape, id, &winner.revision).into_iter().collect();
    let lines: Vec<_> = leaves
        .map(|leaf| {
            let ancestor = read::ancestry(&shape, id, &leaf.revision)
                .into_iter()
                .find(|ancestor| line.contains(ancestor));
            let base = ancestor.as_ref().and_then(|ancestor| body(&shape, id, ancestor));
            let clashes = revision::clashes(base.as_ref(), &winner.attributes, &leaf.attributes);
            let grade = if base.is_some() && clashes.is_empty() { "soft" } else { "hard" };
            (
                winner.revision.to_string(),
                leaf.revision.to_string(),
                ancestor.map(|ancestor| ancestor.to_string()),
                grade.to_owned(),
                clashes.into_iter().map(str::to_owned).collect(),
                leaf.at,
                leaf.by,
            )
        })
        .collect();
    TableIterator::new(lines)
}

/// The leaves that live, highest first, with their bodies.
fn living(shape: &Shape, id: &str) -> Vec<Leaf> {
    let sql = format!(
        "select _godwit_row, _godwit_row._at, _godwit_row._by from {} _godwit_row
          where _godwit_row._id = $1 and not _godwit_row._deleted and {}
          order by _godwit_row._rev desc",
        shape.twin,
        twin::is_leaf(shape, "_godwit_row"),
    );
    spi::rows(&sql, &[spi::text(id)], |row| {
        let record = read::of_datum(shape, row.need(1)).or_report();
        let revision = record.revision.unwrap_or_else(|| RevisionId::floor(0));
        Leaf { revision, attributes: record.attributes, at: row.get(2), by: row.get(3) }
    })
}

/// The body of an ancestor, where it is here.
fn body(shape: &Shape, id: &str, revision: &RevisionId) -> Option<Attributes> {
    let sql = format!(
        "select _godwit_row from {} _godwit_row
          where _godwit_row._id = $1 and _godwit_row._rev = $2 and not _godwit_row._stub",
        shape.twin
    );
    let args = [spi::text(id), twin::revision_arg(shape, Some(revision))];
    spi::rows(&sql, &args, |row| read::of_datum(shape, row.need(1)).or_report().attributes)
        .into_iter()
        .next()
}

/// The leaves of a record that live, highest first; whoever asks.
pub fn living_revisions(shape: &Shape, id: &str) -> Vec<RevisionId> {
    let sight = Sight::now();
    let mut records = Walk::of_records(shape, &sight);
    records.seek_id(id);
    let living = lineage::living(&mut records, &mut Body::of(shape), usize::MAX);
    living.iter().map(|stored| row::read_revision(stored.bytes())).collect()
}
