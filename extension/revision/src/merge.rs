//! In charge of merging branches by themselves, where a policy says so: a pure function of a record's
//! revisions, so that two databases that merge the same conflict apart make the same revision.
//!
//! The outcome is a child of the winner that lists the other living leaves (`@merged`), and a tombstone
//! on each of them that names the merge:
//!
//! ```text
//! 1-A -> 2-C -> 3-M*     M says what C and B say, and @merged: [2-B]
//!    \-> 2-B -> 3-T†     T says @merged: 3-M
//! ```
//!
//! By that list 2-B is an ancestor of the merge, as good as its parent: who edits 2-B later, not having
//! heard of it, is merged from 2-B on, and what 2-B said is not counted twice. The tombstone says the
//! same where 3-M is known by name only. And merges of different leaves are different revisions, even
//! where they say the same, or of two that each count one more one would be lost.
//!
//! What is merged is not the leaves but the edits behind them: a merge that nobody has edited stands for
//! what it was made from. So merges of merges say what one merge of all would have said, and a leaf that
//! has all edits in it is not merged again: the others are ended beside it, and nothing is made.
//! Otherwise databases that replicate in a ring would merge each other's merges for ever.
//!
//! Edits are merged one after the other, highest first, each from what it has in common with those
//! before. Where there are several lowest common ancestors, because databases merged different leaves,
//! these are merged themselves to be what both began from, as git's recursive strategy does.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use crate::id::{GENERATION_MAX, RevisionId};
use crate::lines::{Lines, TooMuch};
use crate::policy::{Conflicts, Policy};
use crate::rule::three_way;
use crate::value::{Attributes, Value};

/// The attribute by which a merged revision lists the other leaves that went into it, and by which the
/// tombstone on each of these names the merged revision.
pub const MERGED: &str = "@merged";

/// Leaves of one record that are merged by themselves at most; a record with more waits for somebody.
pub const LEAVES_MAX: usize = 64;

/// How often what was begun from may have to be merged in its turn. Bounds the stack; databases get
/// that deep that go on editing and merging across one another this often without ever agreeing.
const DEPTH_MAX: usize = 256;

/// One revision of the record.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    pub parent: Option<RevisionId>,
    pub deleted: bool,
    /// None for a stub.
    pub body: Option<Attributes>,
}

pub type Nodes = BTreeMap<RevisionId, Node>;

/// What a merge adds: the merged revision first, unless there is one already, then the tombstones.
#[derive(Debug, Clone, PartialEq)]
pub struct Addition {
    pub revision: RevisionId,
    pub parent: RevisionId,
    pub deleted: bool,
    pub attributes: Attributes,
}

/// Runs a rule's own function over (ancestor, ours, theirs); none where it can't say.
pub type Call<'a> = dyn Fn(&str, &str, Option<&Value>, &Value, &Value) -> Option<Value> + 'a;

/// What merging this record's living leaves adds; none where there is nothing to merge, or no rule
/// for what they disagree about.
pub fn merge(id: &str, nodes: &Nodes, policy: &Policy, call: &Call) -> Option<Vec<Addition>> {
    if policy.conflicts == Conflicts::Keep {
        return None;
    }
    let living = living(nodes);
    let bounded = (2..=LEAVES_MAX).contains(&living.len());
    if !bounded || living[0].generation() == GENERATION_MAX {
        return None;
    }
    let merging = Merging::of(nodes, &living, policy, call)?;
    let leaves: Vec<usize> = living.iter().filter_map(|leaf| merging.lines.place(leaf)).collect();
    let edits = merging.edits(&leaves, 0).ok()?;
    for (leaf, place) in living.iter().zip(&leaves) {
        if merging.edits(&[*place], 0).ok()? == edits {
            let others = living.iter().filter(|other| *other != leaf);
            let end = |other: &&RevisionId| end(id, other, merging.lines.merged_into(other));
            return Some(others.map(end).collect());
        }
    }
    let mut attributes = merging.said(&edits, 0).ok()??;
    let others = living[1..].iter().map(|leaf| Value::String(leaf.to_string()));
    attributes.insert(MERGED.to_owned(), Value::List(others.collect()));
    let revision = RevisionId::of(id, Some(living[0]), false, &attributes);
    let ends: Vec<Addition> =
        living[1..].iter().map(|leaf| end(id, leaf, Some(&revision))).collect();
    let merged = Addition { revision, parent: living[0].clone(), deleted: false, attributes };
    Some(std::iter::once(merged).chain(ends).collect())
}

/// The tombstone on a leaf that went into a merge.
fn end(id: &str, leaf: &RevisionId, into: Option<&RevisionId>) -> Addition {
    let mark = |into: &RevisionId| (MERGED.to_owned(), Value::String(into.to_string()));
    let attributes: Attributes = into.map(mark).into_iter().collect();
    let revision = RevisionId::of(id, Some(leaf), true, &attributes);
    Addition { revision, parent: leaf.clone(), deleted: true, attributes }
}

/// Leaves with a body that don't delete, highest first.
fn living(nodes: &Nodes) -> Vec<&RevisionId> {
    let parents: BTreeSet<&RevisionId> =
        nodes.values().filter_map(|node| node.parent.as_ref()).collect();
    let is_living = |(revision, node): &(&RevisionId, &Node)| {
        !node.deleted && node.body.is_some() && !parents.contains(*revision)
    };
    nodes.iter().rev().filter(is_living).map(|(revision, _)| revision).collect()
}

struct Merging<'a> {
    lines: Lines<'a>,
    policy: &'a Policy,
    call: &'a Call<'a>,
    /// What is found out once: of revisions what they say together, of one whether it is a merge.
    said: RefCell<BTreeMap<Vec<usize>, Option<Attributes>>>,
    merges: RefCell<BTreeMap<usize, bool>>,
}

impl<'a> Merging<'a> {
    fn of(
        nodes: &'a Nodes,
        living: &[&RevisionId],
        policy: &'a Policy,
        call: &'a Call<'a>,
    ) -> Option<Self> {
        let lines = Lines::of(nodes, living)?;
        Some(Merging { lines, policy, call, said: Default::default(), merges: Default::default() })
    }

    /// The edits that these revisions stand for, highest first: merges are taken apart, and what another
    /// comes from is left out.
    fn edits(&self, revisions: &[usize], depth: usize) -> Result<Vec<usize>, TooMuch> {
        let mut found = vec![false; self.lines.len()];
        let mut due: BTreeSet<usize> = revisions.iter().copied().collect();
        while let Some(revision) = due.pop_last() {
            if self.is_merge(revision, depth)? {
                due.extend(self.lines.made_from(revision));
            } else {
                found[revision] = true;
            }
        }
        self.lines.lowest(&found)
    }

    /// Whether a revision says just what those say that it names. Who edits a merge and leaves the list
    /// in, or merges by another policy, has made an edit.
    fn is_merge(&self, revision: usize, depth: usize) -> Result<bool, TooMuch> {
        let made_from = self.lines.made_from(revision);
        let (Some(body), 2..) = (self.lines.body(revision), made_from.len()) else {
            return Ok(false);
        };
        if let Some(known) = self.merges.borrow().get(&revision) {
            return Ok(*known);
        }
        let is_merge = self.said(made_from, deeper(depth)?)? == Some(body);
        self.merges.borrow_mut().insert(revision, is_merge);
        Ok(is_merge)
    }

    /// What revisions say together; none where no rule says so.
    fn said(&self, revisions: &[usize], depth: usize) -> Result<Option<Attributes>, TooMuch> {
        if let [one] = revisions {
            return Ok(self.lines.body(*one));
        }
        let edits = self.edits(revisions, depth)?;
        if let Some(known) = self.said.borrow().get(&edits) {
            return Ok(known.clone());
        }
        let said = self.merged(&edits, deeper(depth)?)?;
        self.said.borrow_mut().insert(edits, said.clone());
        Ok(said)
    }

    fn merged(&self, edits: &[usize], depth: usize) -> Result<Option<Attributes>, TooMuch> {
        let Some((first, rest)) = edits.split_first() else { return Ok(None) };
        let mut ours = self.lines.body(*first);
        let mut come_from = self.lines.ancestors(&[*first])?;
        for other in rest {
            let of_other = self.lines.ancestors(&[*other])?;
            let common: Vec<bool> =
                come_from.iter().zip(&of_other).map(|(ours, theirs)| *ours && *theirs).collect();
            let base = self.said(&self.lines.lowest(&common)?, depth)?;
            let (Some(our), Some(theirs), Some(base)) = (ours, self.lines.body(*other), base)
            else {
                return Ok(None);
            };
            ours = three_way(self.policy, &base, &our, &theirs, self.call);
            come_from.iter_mut().zip(of_other).for_each(|(ours, theirs)| *ours |= theirs);
        }
        Ok(ours)
    }
}

fn deeper(depth: usize) -> Result<usize, TooMuch> {
    if depth < DEPTH_MAX { Ok(depth + 1) } else { Err(TooMuch) }
}
