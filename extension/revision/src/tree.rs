//! In charge of one record's revisions: a tree, its leaves, its winner, and grafting one on another.
//!
//! Revisions are drawn as their generation and a letter; an arrow points from parent to child.
//!
//! Linear history. A record was made and edited twice; the leaf is the winner:
//!
//! ```text
//! 1-A -> 2-B -> 3-C*
//! ```
//!
//! A branch. Two peers edited 1-A without knowing of each other. Both leaves are kept; the higher
//! one is the winner (`*`), the other a conflict. Every peer that has the two picks the same:
//!
//! ```text
//! 1-A -> 2-B
//!    \-> 2-C*
//! ```
//!
//! A delete. The tombstone (`†`) ends its branch and never wins over a leaf that lives, however
//! high it stands; where all leaves are tombstones the record is gone:
//!
//! ```text
//! 1-A -> 2-B*
//!    \-> 2-C -> 3-D†
//! ```
//!
//! A truncation. A peer sent 3-C with its ancestry but without the ancestors' bodies: 2-B and 1-A are
//! stubs (in brackets). When a body comes, it fills the stub, and nothing else changes. A peer that
//! had compacted its own history may send less ancestry; then the oldest it names is a root here
//! until another peer says more, and a record can have several roots meanwhile:
//!
//! ```text
//! (1-A) -> (2-B) -> 3-C        8-H -> 9-I*
//! ```
//!
//! A tree is the union of what was inserted, and each part of a node only ever grows: no parent, then
//! the highest that was claimed; no body, then a body; lives, then deleted. So grafting is
//! commutative, associative and idempotent, and what is shown depends on the set alone.

use std::collections::{BTreeMap, BTreeSet};

use crate::id::RevisionId;

/// One record's revisions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tree {
    nodes: BTreeMap<RevisionId, Node>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Node {
    /// Always one generation below, so that no claim can close a circle.
    parent: Option<RevisionId>,
    deleted: bool,
    stub: bool,
}

/// What inserting a path did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Insertion {
    /// It continues a leaf.
    NewLeaf,
    /// It stands beside a revision that has a child already.
    NewBranch,
    /// Nothing of its ancestry was known.
    NewRoot,
    /// It was known by name, and has its body now.
    Filled,
    Known,
}

impl Tree {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// Whether a revision is known, if only by name.
    pub fn contains(&self, revision: &RevisionId) -> bool {
        self.nodes.contains_key(revision)
    }

    pub fn is_deleted(&self, revision: &RevisionId) -> bool {
        self.nodes.get(revision).is_some_and(|node| node.deleted)
    }

    pub fn is_stub(&self, revision: &RevisionId) -> bool {
        self.nodes.get(revision).is_some_and(|node| node.stub)
    }

    pub fn parent(&self, revision: &RevisionId) -> Option<&RevisionId> {
        self.nodes.get(revision)?.parent.as_ref()
    }

    /// Inserts a revision with its ancestry, itself first. Only the first has a body; an ancestor that
    /// is not known yet becomes a stub.
    pub fn insert(&mut self, path: &[RevisionId], deleted: bool) -> Insertion {
        let Some(head) = path.first() else { return Insertion::Known };
        let outcome = match self.nodes.get(head) {
            Some(node) if node.stub => Insertion::Filled,
            Some(_) => Insertion::Known,
            None => match path[1..].iter().find(|ancestor| self.contains(ancestor)) {
                None => Insertion::NewRoot,
                Some(ancestor) if self.has_child(ancestor) => Insertion::NewBranch,
                Some(_) => Insertion::NewLeaf,
            },
        };
        for (place, revision) in path.iter().enumerate() {
            let stub = place > 0;
            self.add_node(revision, path.get(place + 1), deleted && !stub, stub);
        }
        outcome
    }

    /// Adds one revision, in any order. A body stands over a stub, a known parent over none; should
    /// two sources name different parents, the higher one stands, so that order doesn't matter. A
    /// parent that is not one generation below is no parent: the revision stands as a root.
    pub fn add_node(
        &mut self,
        revision: &RevisionId,
        parent: Option<&RevisionId>,
        deleted: bool,
        stub: bool,
    ) {
        let fresh = Node { parent: None, deleted: false, stub: true };
        let node = self.nodes.entry(revision.clone()).or_insert(fresh);
        let parent = parent.filter(|parent| parent.generation() + 1 == revision.generation());
        if parent > node.parent.as_ref() {
            node.parent = parent.cloned();
        }
        node.deleted |= deleted;
        node.stub &= stub;
    }

    /// Adds all that another tree of the same record knows.
    pub fn graft(&mut self, other: &Tree) {
        for (revision, node) in &other.nodes {
            self.add_node(revision, node.parent.as_ref(), node.deleted, node.stub);
        }
    }

    /// Revisions without a child, highest first. O(n log n).
    pub fn leaves(&self) -> Vec<&RevisionId> {
        let parents: BTreeSet<&RevisionId> =
            self.nodes.values().filter_map(|node| node.parent.as_ref()).collect();
        self.nodes.keys().rev().filter(|revision| !parents.contains(revision)).collect()
    }

    /// The highest leaf that is not a tombstone, else the highest tombstone.
    pub fn winner(&self) -> Option<&RevisionId> {
        let leaves = self.leaves();
        let living = leaves.iter().find(|leaf| !self.is_deleted(leaf));
        living.or(leaves.first()).copied()
    }

    /// The leaves, highest first, that are neither the winner nor tombstones.
    pub fn conflicts(&self) -> Vec<&RevisionId> {
        let living = self.leaves().into_iter().filter(|leaf| !self.is_deleted(leaf));
        living.skip(1).collect()
    }

    /// A revision and its ancestors, itself first, as far as they are known.
    pub fn ancestors(&self, revision: &RevisionId) -> Vec<&RevisionId> {
        let first = self.nodes.get_key_value(revision);
        std::iter::successors(first, |(_, node)| {
            node.parent.as_ref().and_then(|parent| self.nodes.get_key_value(parent))
        })
        .map(|(revision, _)| revision)
        .collect()
    }

    /// Of these revisions those whose body is not here.
    pub fn missing(&self, revisions: &[RevisionId]) -> Vec<RevisionId> {
        let lacks = |revision: &&RevisionId| self.nodes.get(revision).is_none_or(|node| node.stub);
        revisions.iter().filter(lacks).cloned().collect()
    }

    /// A child is of the next generation, so only that one is looked through.
    fn has_child(&self, revision: &RevisionId) -> bool {
        let next = revision.generation() + 1;
        let generation = RevisionId::floor(next)..RevisionId::floor(next + 1);
        self.nodes.range(generation).any(|(_, node)| node.parent.as_ref() == Some(revision))
    }
}
