//! In charge of a record's revisions as its rows in the twin say: its leaves, its winner (DESIGN.md section 3), its
//! ancestry. The rows come from the highest revision down.

use std::collections::HashSet;
use std::ops::ControlFlow;

use crate::body::Body;
use crate::policy;
use crate::shape::Shape;
use crate::walk::{Stored, Walk};

#[derive(Clone)]
pub enum Winner {
    /// The change at hand.
    This,
    /// Another revision, and whether it has a body to show.
    Other(Stored, bool),
    None,
}

/// The winner among all of a record's revisions: the highest living leaf, else the highest leaf.
pub fn among_all(records: &mut Walk, revision: &mut Body) -> Winner {
    let (mut highest, mut living) = (Winner::None, None);
    down(records, revision, |revision, is_leaf| {
        if !is_leaf {
            return ControlFlow::Continue(());
        }
        let leaf = Winner::Other(Stored::of(revision.revision()), !revision.is_deleted());
        if !revision.is_deleted() {
            living = Some(leaf);
            return ControlFlow::Break(());
        }
        if matches!(highest, Winner::None) {
            highest = leaf;
        }
        ControlFlow::Continue(())
    });
    living.unwrap_or(highest)
}

/// The same among those that the caller is shown of a record that it sees: the highest, unless that has no body.
pub fn among_seen(shape: &Shape, records: &mut Walk, revision: &mut Body) -> Winner {
    let (mut is_top, mut highest) = (true, Winner::None);
    let mut living = None;
    leaves(records, revision, |revision, is_leaf| {
        let has_body = !revision.is_deleted() && !revision.is_stub();
        // Of what is no leaf only the highest counts.
        if living.is_some() || !(is_top || is_leaf) {
            return;
        }
        let is_shown = !has_body || policy::shown_of(shape, &[revision.datum()]) == [true];
        if is_shown && has_body && (is_top || is_leaf) {
            living = Some(Winner::Other(Stored::of(revision.revision()), true));
        } else if is_shown && is_leaf && matches!(highest, Winner::None) {
            highest = Winner::Other(Stored::of(revision.revision()), false);
        }
        is_top &= !is_shown;
    });
    living.unwrap_or(highest)
}

/// A leaf in its stored form, and whether it deletes.
pub type Leaf = (Stored, bool);

/// A record's leaves, the highest first.
pub fn leaves(
    records: &mut Walk,
    revision: &mut Body,
    mut each: impl FnMut(&Body, bool),
) -> Vec<Leaf> {
    let mut leaves = Vec::new();
    down(records, revision, |revision, is_leaf| {
        each(revision, is_leaf);
        if is_leaf {
            leaves.push((Stored::of(revision.revision()), revision.is_deleted()));
        }
        ControlFlow::Continue(())
    });
    leaves
}

/// The highest living leaves of a record, at most so many; no more of its revisions are read than it takes.
pub fn living(records: &mut Walk, revision: &mut Body, max: usize) -> Vec<Stored> {
    let mut living = Vec::new();
    down(records, revision, |revision, is_leaf| {
        if is_leaf && !revision.is_deleted() {
            living.push(Stored::of(revision.revision()));
        }
        match living.len() < max {
            true => ControlFlow::Continue(()),
            false => ControlFlow::Break(()),
        }
    });
    living
}

/// Hands out a record's revisions, each with whether it is a leaf: children come before their parents. To look for each
/// one's children instead takes time by the square where many have them, for the key tells their generation only.
fn down(
    records: &mut Walk,
    revision: &mut Body,
    mut each: impl FnMut(&Body, bool) -> ControlFlow<()>,
) {
    let mut parents = Parents::default();
    while let Some(tuple) = records.next() {
        pgrx::check_for_interrupts!();
        // SAFETY: a tuple of the twin, which stays until the walk goes on.
        unsafe { revision.take(tuple) };
        let is_leaf = !parents.meet(revision.revision()) && !revision.is_stub();
        if each(revision, is_leaf).is_break() {
            return;
        }
        parents.name(revision.previous());
    }
}

/// Parents that were named and have not come yet. In a line the next revision is the last one's.
#[derive(Default)]
struct Parents {
    /// Empty where it has come.
    last: Vec<u8>,
    others: HashSet<Vec<u8>>,
}

impl Parents {
    fn name(&mut self, parent: Option<&[u8]>) {
        let Some(parent) = parent else { return };
        if !self.last.is_empty() && self.last != parent {
            self.others.insert(std::mem::take(&mut self.last));
        }
        self.last.clear();
        self.last.extend_from_slice(parent);
    }

    /// Whether a revision that comes was named.
    fn meet(&mut self, revision: &[u8]) -> bool {
        if self.last == revision {
            self.last.clear();
            return true;
        }
        !self.others.is_empty() && self.others.remove(revision)
    }
}

/// A revision and its ancestors, as far as they are known by name.
pub fn line(revision: &Body, revisions: &mut Walk, ancestor: &mut Body) -> Vec<Vec<u8>> {
    let mut line = vec![revision.revision().to_vec()];
    let mut next = revision.previous().map(Stored::of);
    while let Some(stored) = next {
        line.push(stored.bytes().to_vec());
        // SAFETY: the id stays as long as the change is at hand, the tuple until the walk goes on.
        next = unsafe {
            revisions.find(revision.id_datum(), stored.datum()).and_then(|tuple| {
                ancestor.take(tuple);
                ancestor.previous().map(Stored::of)
            })
        };
    }
    line
}
