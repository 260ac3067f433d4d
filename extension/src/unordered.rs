//! In charge of `godwit.unordered`: the records whose revisions may not have come one on top of the other. Who isn't
//! listed has, of each revision above the first, the parent, and no body that came after what was made on it.
//!
//! Then the twin's key tells a line: A, B, C, one of each generation from the first on, can only be C on B on A, and C
//! came last (`straight.rs`). Where something stands beside the line, because it branched or because an insert met a
//! delete on its way, there are two of a generation, and nothing need be listed for it. What the key doesn't tell is
//! listed here by who adds it: C without a parent, where its ancestry was cut short; B after C, where it was known by
//! name. The list may be too long and is never too short.

use pgrx::pg_sys;
use pgrx::prelude::*;
use revision::RevisionId;

use crate::history;
use crate::own;
use crate::rejected::catalog_owner;
use crate::role;
use crate::shape::Shape;
use crate::spi;
use crate::twin;
use crate::walk::{Sight, Walk, equal};

/// Lists these records.
pub fn list(shape: &Shape, ids: &[String]) {
    if ids.is_empty() {
        return;
    }
    // Nobody strikes one, so what is seen stays; what is on its way may never come, and isn't waited for.
    let sql = "insert into godwit.unordered (relation, record_id)
               select distinct $1, id from unnest($2) id where not exists (
                    select from godwit.unordered u where u.relation = $1 and u.record_id = id offset 0)";
    let args = [spi::oid(shape.relation), spi::texts(ids.iter().map(String::as_str))];
    role::as_owner(catalog_owner(), || spi::run(sql, &args));
}

/// Lists the records of those of these revisions, just written or met, that came after what was made on them. A child
/// that is a stub stands for that.
pub fn note<'a>(shape: &Shape, revisions: impl Iterator<Item = (&'a str, &'a RevisionId)>) {
    let (ids, revisions): (Vec<&str>, Vec<String>) =
        revisions.map(|(id, revision)| (id, revision.to_string())).unzip();
    let sql = format!(
        "select distinct h._id from unnest($1, $2) k(id, revision)
           join {twin} h on h._id = k.id and h._rev = k.revision::godwit.revision
          where exists (select from {twin} c
                 where {is_child} and (c._stub or c._seq < h._seq) offset 0)",
        twin = shape.twin,
        is_child = twin::is_child("c", "h"),
    );
    let args = [spi::texts(ids), spi::texts(revisions.iter().map(String::as_str))];
    let late: Vec<String> =
        role::as_owner(shape.owner, || spi::rows(&sql, &args, |row| row.need(1)));
    list(shape, &late);
}

/// Lists every record of a table whose revisions are no line, whatever the key tells of it.
pub fn list_all(shape: &Shape) {
    let sql = format!(
        "select distinct l._id from (
                select h._id, h._rev, h._prev, h._seq, h._stub, lag(h._rev) over below as lower,
                       max(h._seq) filter (where not h._stub)
                           over (below rows between unbounded preceding and 1 preceding) as before
                  from {twin} h window below as (partition by h._id order by h._rev)) l
          where case when l.lower is null then godwit.generation(l._rev) > 1
                     else l._prev is distinct from l.lower end
             or not l._stub and l._seq < l.before",
        twin = shape.twin,
    );
    let ids: Vec<String> = role::as_owner(shape.owner, || spi::rows(&sql, &[], |row| row.need(1)));
    list(shape, &ids);
}

/// Whether any record of a table is listed.
pub fn has_any(shape: &Shape) -> bool {
    let (list, index) = relations();
    if history::is_empty(index) {
        return false;
    }
    let keys =
        [equal(1, pg_sys::F_OIDEQ, shape.relation.into_datum()), pg_sys::ScanKeyData::default()];
    let sight = Sight::now();
    Walk::of_table(list, &sight, index, keys, 1, FORWARD).next().is_some()
}

/// Whether a record is listed, for who asks about one.
pub fn has(shape: &Shape, id: &str) -> bool {
    let sight = Sight::now();
    // SAFETY: a text.
    unsafe { Listed::of(shape, &sight).has(id.into_datum().unwrap_or(pg_sys::Datum::from(0))) }
}

/// The list and its index, which is looked up when its table is locked, to the end of the transaction.
fn relations() -> (pg_sys::Oid, pg_sys::Oid) {
    let list = own::relation(c"unordered");
    // SAFETY: a lock by OID, which the transaction's end releases.
    unsafe { pg_sys::LockRelationOid(list, pg_sys::AccessShareLock as pg_sys::LOCKMODE) };
    (list, own::relation(c"unordered_by_record"))
}

const FORWARD: pg_sys::ScanDirection::Type = pg_sys::ScanDirection::ForwardScanDirection;

/// The list as others are seen at the same time.
pub struct Listed<'a> {
    /// None where nothing was ever listed.
    entries: Option<Walk<'a>>,
    relation: pg_sys::Datum,
}

impl<'a> Listed<'a> {
    pub fn of(shape: &Shape, sight: &'a Sight) -> Listed<'a> {
        let (list, index) = relations();
        let keys = [
            equal(1, pg_sys::F_OIDEQ, shape.relation.into_datum()),
            equal(2, pg_sys::F_TEXTEQ, "".into_datum()),
        ];
        let walk = || Walk::of_table(list, sight, index, keys, 2, FORWARD);
        Listed { entries: (!history::is_empty(index)).then(walk), relation: shape.relation.into() }
    }

    /// Whether a record is listed.
    ///
    /// # Safety
    /// The datum must be a text.
    pub unsafe fn has(&mut self, id: pg_sys::Datum) -> bool {
        // SAFETY: the keys are an OID and a text.
        self.entries
            .as_mut()
            .is_some_and(|entries| unsafe { entries.find(self.relation, id).is_some() })
    }
}
