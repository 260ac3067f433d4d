//! In charge of revisions that are asked for by name, and of winners, for who may read all of a twin: straight from
//! its index. `read.rs` asks Postgres in SQL for everybody else.

use pgrx::prelude::*;
use revision::RevisionId;

use crate::body::{Ancestry, Body};
use crate::form::Form;
use crate::history;
use crate::lineage::{self, Winner};
use crate::policy;
use crate::shape::Shape;
use crate::walk::{self, Gate, Sight, Stored, Walk};

/// A record that is here in full, as JSON, and whether it is a leaf.
pub type Found = (Vec<u8>, bool);

pub fn may_be_read_here(shape: &Shape) -> bool {
    walk::gate(shape) == Gate::Open && !policy::applies(shape)
}

/// One for each that was asked for, in that order; without a revision the winner.
pub fn read(
    shape: &Shape,
    asked: &[(&str, Option<&RevisionId>)],
    with_ancestry: bool,
) -> Vec<Option<Found>> {
    let sight = Sight::now();
    let mut reader = Reader {
        shape,
        records: Walk::of_records(shape, &sight),
        higher: Walk::of_higher(shape, &sight),
        revisions: Walk::of_revisions(shape, &sight),
        body: Body::of(shape),
        other: Body::of(shape),
        with_ancestry,
    };
    let find = |(id, revision): &(&str, Option<&RevisionId>)| {
        pgrx::check_for_interrupts!();
        match revision {
            Some(revision) => reader.named(id, revision),
            None => reader.winner(id),
        }
    };
    asked.iter().map(find).collect()
}

struct Reader<'a> {
    shape: &'a Shape,
    records: Walk<'a>,
    higher: Walk<'a>,
    revisions: Walk<'a>,
    body: Body<'a>,
    other: Body<'a>,
    with_ancestry: bool,
}

impl Reader<'_> {
    fn named(&mut self, id: &str, revision: &RevisionId) -> Option<Found> {
        if !self.take(id, &Stored::of(&revision.to_sortable())) {
            return None;
        }
        // SAFETY: both are of the row that was taken.
        let higher = unsafe { self.higher.find(self.body.id_datum(), self.body.revision_datum()) };
        // A child is of the next generation: the highest revision has none.
        let is_leaf = higher.is_none() || history::is_leaf(self.shape, id, revision);
        Some((self.written(), is_leaf))
    }

    fn winner(&mut self, id: &str) -> Option<Found> {
        // SAFETY: a text, which stays.
        unsafe { self.records.seek(id.into_datum()?) };
        match lineage::among_all(&mut self.records, &mut self.other) {
            Winner::Other(stored, _) if self.take(id, &stored) => Some((self.written(), true)),
            _ => None,
        }
    }

    /// Takes a revision's row, if it is here in full.
    fn take(&mut self, id: &str, revision: &Stored) -> bool {
        let Some(id) = id.into_datum() else { return false };
        // SAFETY: a text and a revision in its stored form; the row is copied, for the walk goes on to its ancestors.
        unsafe {
            let Some(tuple) = self.revisions.find(id, revision.datum()) else { return false };
            self.body.take_copy(tuple);
        }
        !self.body.is_stub()
    }

    fn written(&mut self) -> Vec<u8> {
        let mut out = Vec::new();
        if self.with_ancestry {
            let line = lineage::line(&self.body, &mut self.revisions, &mut self.other);
            self.body.append(Ancestry::All(&line), Form::Json, &mut out);
        } else {
            self.body.append(Ancestry::Nothing, Form::Json, &mut out);
        }
        out
    }
}
