//! In charge of which revision comes from which where branches are merged: by parents, and by merges.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};

use crate::id::RevisionId;
use crate::merge::{LEAVES_MAX, MERGED, Node, Nodes};
use crate::value::{Attributes, Value};

/// Revisions that one merge looks at, counted each time. A record of 100,000 revisions since its
/// branches parted takes some hundred thousand; what takes more is made to take more.
const STEPS_MAX: usize = 20_000_000;

/// A merge would take more steps than any honest history does.
#[derive(Debug)]
pub(crate) struct TooMuch;

/// The revisions above the one at which all the branches' lines meet, and that one, ascending; a
/// revision is its place among them. What is made from what is always in that order, too.
pub(crate) struct Lines<'a> {
    nodes: Vec<Option<&'a Node>>,
    made_from: Vec<Vec<usize>>,
    places: BTreeMap<RevisionId, usize>,
    steps_left: Cell<usize>,
}

impl<'a> Lines<'a> {
    /// None where a revision is named whose own ancestors nobody has told: it may come from anything.
    pub fn of(nodes: &'a Nodes, leaves: &[&RevisionId]) -> Option<Self> {
        let ends = ends(nodes);
        let mut due: BTreeSet<RevisionId> = leaves.iter().map(|leaf| (*leaf).clone()).collect();
        let mut found = Vec::new();
        while let Some(revision) = due.pop_last() {
            // Where nothing else is due all lines meet, and nothing below can matter.
            let made_from =
                if due.is_empty() { Vec::new() } else { made_from(nodes, &ends, &revision) };
            if !due.is_empty() && made_from.is_empty() && revision.generation() > 1 {
                return None;
            }
            due.extend(made_from.iter().cloned());
            found.push((revision, made_from));
        }
        found.reverse();
        let places: BTreeMap<RevisionId, usize> = found
            .iter()
            .enumerate()
            .map(|(place, (revision, _))| (revision.clone(), place))
            .collect();
        let place = |revision: &RevisionId| places.get(revision).copied();
        Some(Lines {
            nodes: found.iter().map(|(revision, _)| nodes.get(revision)).collect(),
            made_from: found.iter().map(|(_, of)| of.iter().filter_map(place).collect()).collect(),
            places,
            steps_left: Cell::new(STEPS_MAX),
        })
    }

    pub fn place(&self, revision: &RevisionId) -> Option<usize> {
        self.places.get(revision).copied()
    }

    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    pub fn made_from(&self, revision: usize) -> &[usize] {
        &self.made_from[revision]
    }

    /// A revision's body, without what it says of its own making. Who edits a tombstone begins from
    /// nothing.
    pub fn body(&self, revision: usize) -> Option<Attributes> {
        let node = self.nodes[revision]?;
        let body = node.body.as_ref()?;
        if node.deleted {
            return Some(Attributes::new());
        }
        mark(body)?;
        let mut body = body.clone();
        body.remove(MERGED);
        Some(body)
    }

    /// The highest revision that lists this one as merged.
    pub fn merged_into(&self, revision: &RevisionId) -> Option<&RevisionId> {
        let lists = |node: &Node| {
            let body = node.body.as_ref()?;
            Some(mark(body)?.contains(revision))
        };
        let listing = |place: usize| self.nodes[place].and_then(lists).unwrap_or(false);
        self.places.iter().rev().find(|(_, place)| listing(**place)).map(|(revision, _)| revision)
    }

    /// Flags of these and all that they come from.
    pub fn ancestors(&self, of: &[usize]) -> Result<Vec<bool>, TooMuch> {
        self.spend()?;
        let mut flags = vec![false; self.nodes.len()];
        of.iter().for_each(|revision| flags[*revision] = true);
        for revision in (0..flags.len()).rev() {
            if flags[revision] {
                self.made_from[revision].iter().for_each(|source| flags[*source] = true);
            }
        }
        Ok(flags)
    }

    /// Those of the flagged from which no other of them comes, highest first.
    pub fn lowest(&self, of: &[bool]) -> Result<Vec<usize>, TooMuch> {
        self.spend()?;
        let mut covered = vec![false; of.len()];
        let mut lowest = Vec::new();
        for revision in (0..of.len()).rev() {
            if of[revision] && !covered[revision] {
                lowest.push(revision);
            }
            if of[revision] || covered[revision] {
                self.made_from[revision].iter().for_each(|source| covered[*source] = true);
            }
        }
        Ok(lowest)
    }

    fn spend(&self) -> Result<(), TooMuch> {
        let left = self.steps_left.get().checked_sub(self.nodes.len() + 1).ok_or(TooMuch)?;
        self.steps_left.set(left);
        Ok(())
    }
}

/// What a revision was made from: its parent, and what its merge or the ends of others name. Revisions
/// that nobody has sent are named too; they have no body.
fn made_from(
    nodes: &Nodes,
    ends: &BTreeMap<RevisionId, Vec<&RevisionId>>,
    revision: &RevisionId,
) -> Vec<RevisionId> {
    let Some(node) = nodes.get(revision) else { return Vec::new() };
    let merged = match &node.body {
        Some(_) if node.deleted => Vec::new(),
        Some(body) => mark(body).unwrap_or_default(),
        None => ends.get(revision).into_iter().flatten().map(|ended| (*ended).clone()).collect(),
    };
    let sources: BTreeSet<RevisionId> = node.parent.iter().cloned().chain(merged).collect();
    // Generations only grow along a line, so no claim can close a circle.
    sources.into_iter().filter(|source| source.generation() < revision.generation()).collect()
}

/// What the tombstones say about merges: into which revision went which.
fn ends(nodes: &Nodes) -> BTreeMap<RevisionId, Vec<&RevisionId>> {
    let mut ends: BTreeMap<RevisionId, Vec<&RevisionId>> = BTreeMap::new();
    for node in nodes.values().filter(|node| node.deleted) {
        let mark = node.body.as_ref().and_then(|body| body.get(MERGED));
        if let (Some(Value::String(into)), Some(ended)) = (mark, &node.parent)
            && let Ok(into) = RevisionId::parse(into)
        {
            ends.entry(into).or_default().push(ended);
        }
    }
    ends
}

/// The leaves that a merged revision lists; none where the attribute is something else's.
fn mark(body: &Attributes) -> Option<Vec<RevisionId>> {
    let items = match body.get(MERGED) {
        None => return Some(Vec::new()),
        Some(Value::List(items)) if items.len() < LEAVES_MAX => items,
        Some(_) => return None,
    };
    let read = |item: &Value| match item {
        Value::String(text) => RevisionId::parse(text).ok(),
        _ => None,
    };
    items.iter().map(read).collect()
}
