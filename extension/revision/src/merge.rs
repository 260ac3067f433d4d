//! In charge of merging branches by themselves, where a policy says so: a pure function of a record's
//! revisions, so that two databases that merge the same conflict apart make the same revision.
//!
//! The winner is merged with each other living leaf, highest first, attribute by attribute from what
//! both have in common. The outcome is a child of the winner that names the other leaves (`@merged`),
//! and a tombstone on each of them:
//!
//! ```text
//! 1-A -> 2-C -> 3-M*     M says what C and B say, and @merged: 2-B
//!    \-> 2-B -> 3-T†
//! ```
//!
//! By that name 2-B is an ancestor of the merge, as good as its parent: who edits 2-B later, not having
//! heard of it, is merged from 2-B on, and what 2-B said is not counted twice. And merges of different
//! leaves are different revisions, even where they say the same.
//! Where two revisions have several lowest common ancestors, because two databases merged different
//! leaves, these are merged themselves to be what both began from, as git's recursive strategy does.

use bigdecimal::BigDecimal;
use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

use crate::id::{GENERATION_MAX, RevisionId};
use crate::policy::{Conflicts, Policy, Rule};
use crate::value::{Attributes, Value};

/// A merged revision's attribute that lists the other leaves that went into it.
pub const MERGED: &str = "@merged";

/// Leaves of one record that are merged by themselves at most; a record with more waits for somebody.
pub const LEAVES_MAX: usize = 64;

/// One revision of the record.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    pub parent: Option<RevisionId>,
    pub deleted: bool,
    /// None for a stub.
    pub body: Option<Attributes>,
}

pub type Nodes = BTreeMap<RevisionId, Node>;

/// What a merge adds: the merged revision first, then the tombstones.
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
    let living = living(nodes);
    if policy.conflicts == Conflicts::Keep || !(2..=LEAVES_MAX).contains(&living.len()) {
        return None;
    }
    let winner = living[0];
    if winner.generation() == GENERATION_MAX {
        return None;
    }
    let mut attributes = Lines { nodes }.merged(&living, policy, call)?;
    let others = living[1..].iter().map(|leaf| Value::String(leaf.to_string()));
    attributes.insert(MERGED.to_owned(), Value::List(others.collect()));
    let merged = Addition {
        revision: RevisionId::of(id, Some(winner), false, &attributes),
        parent: winner.clone(),
        deleted: false,
        attributes,
    };
    let ends = living[1..].iter().map(|leaf| Addition {
        revision: RevisionId::of(id, Some(leaf), true, &Attributes::new()),
        parent: (*leaf).clone(),
        deleted: true,
        attributes: Attributes::new(),
    });
    Some(std::iter::once(merged).chain(ends).collect())
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

/// Who comes from whom: by parents, and by merges.
struct Lines<'a> {
    nodes: &'a Nodes,
}

impl Lines<'_> {
    /// A revision and all that it comes from.
    fn ancestors(&self, of: &RevisionId) -> BTreeSet<RevisionId> {
        let mut found = BTreeSet::from([of.clone()]);
        let mut next = vec![of.clone()];
        while let Some(revision) = next.pop() {
            for ancestor in self.made_from(&revision) {
                // Generations only grow along a line, so no claim can close a circle.
                if ancestor.generation() < revision.generation() && found.insert(ancestor.clone()) {
                    next.push(ancestor);
                }
            }
        }
        found
    }

    fn made_from(&self, revision: &RevisionId) -> Vec<RevisionId> {
        let Some(node) = self.nodes.get(revision) else { return Vec::new() };
        let mark = node.body.as_ref().and_then(|body| body.get(MERGED));
        let merged = match mark {
            Some(Value::List(items)) => items.as_slice(),
            _ => &[],
        };
        let merged = merged.iter().filter_map(|item| match item {
            Value::String(text) => RevisionId::parse(text).ok(),
            _ => None,
        });
        node.parent.clone().into_iter().chain(merged).collect()
    }

    /// A revision's body, without what it says of its own making.
    fn body(&self, revision: &RevisionId) -> Option<Attributes> {
        let mut body = self.nodes.get(revision)?.body.clone()?;
        body.remove(MERGED);
        Some(body)
    }

    /// What revisions, highest first, say together.
    fn merged(
        &self,
        revisions: &[&RevisionId],
        policy: &Policy,
        call: &Call,
    ) -> Option<Attributes> {
        let (first, rest) = revisions.split_first()?;
        let mut ours = self.body(first)?;
        let mut come_from = self.ancestors(first);
        for other in rest {
            let theirs = self.body(other)?;
            let of_other = self.ancestors(other);
            let common: BTreeSet<&RevisionId> = come_from.intersection(&of_other).collect();
            let base = self.merged(&self.lowest(&common), policy, call)?;
            ours = three_way(policy, &base, &ours, &theirs, call)?;
            come_from.extend(of_other);
        }
        Some(ours)
    }

    /// Those that no other of them comes from, highest first.
    fn lowest<'r>(&self, common: &BTreeSet<&'r RevisionId>) -> Vec<&'r RevisionId> {
        let mut lowest: Vec<&RevisionId> = Vec::new();
        let mut covered: BTreeSet<RevisionId> = BTreeSet::new();
        for revision in common.iter().rev() {
            if !covered.contains(*revision) {
                lowest.push(revision);
                covered.extend(self.ancestors(revision));
            }
        }
        lowest
    }
}

/// Attribute by attribute: who alone has changed it has it; a rule decides where both have.
fn three_way(
    policy: &Policy,
    base: &Attributes,
    ours: &Attributes,
    theirs: &Attributes,
    call: &Call,
) -> Option<Attributes> {
    let names: BTreeSet<&String> = base.keys().chain(ours.keys()).chain(theirs.keys()).collect();
    let mut merged = Attributes::new();
    for name in names {
        let (was, our, their) = (base.get(name), ours.get(name), theirs.get(name));
        let rule = policy.attributes.get(name);
        // Two that each count one more come to the same value, and mean two more.
        let same = our == their && rule != Some(&Rule::Counter);
        let value = if their == was || same {
            our.cloned()
        } else if our == was {
            their.cloned()
        } else {
            Some(rule?.decide(name, was, our?, their?, call)?)
        };
        if let Some(value) = value {
            merged.insert(name.clone(), value);
        }
    }
    Some(merged)
}

impl Rule {
    fn decide(
        &self,
        name: &str,
        was: Option<&Value>,
        ours: &Value,
        theirs: &Value,
        call: &Call,
    ) -> Option<Value> {
        match self {
            Rule::Counter => count(was?, ours, theirs),
            Rule::Set => set(was, ours, theirs),
            Rule::Max => {
                higher(ours, theirs).map(|ours_is| (if ours_is { ours } else { theirs }).clone())
            }
            Rule::Min => {
                lower(ours, theirs).map(|ours_is| (if ours_is { ours } else { theirs }).clone())
            }
            Rule::Function(function) => call(function, name, was, ours, theirs),
        }
    }
}

/// What was, and both differences. Floats are not counted: their sum depends on its order.
fn count(was: &Value, ours: &Value, theirs: &Value) -> Option<Value> {
    match (was, ours, theirs) {
        (Value::Int(was), Value::Int(ours), Value::Int(theirs)) => {
            let sum = i128::from(*ours) + i128::from(*theirs) - i128::from(*was);
            i64::try_from(sum).ok().map(Value::Int)
        }
        (Value::Decimal(was), Value::Decimal(ours), Value::Decimal(theirs)) => {
            let read = |text: &str| BigDecimal::from_str(text).ok();
            let sum = read(ours)? + read(theirs)? - read(was)?;
            Some(Value::Decimal(sum.to_plain_string()))
        }
        _ => None,
    }
}

/// What is in both, and what either has added since: first in the order that it was, then what was
/// added, by its JSON text.
fn set(was: Option<&Value>, ours: &Value, theirs: &Value) -> Option<Value> {
    let members = |value: &Value| match value {
        Value::List(items) => {
            let keyed = items.iter().map(|item| (item.to_wire().to_string(), item.clone()));
            Some(keyed.collect::<Vec<_>>())
        }
        Value::Null => Some(Vec::new()),
        _ => None,
    };
    let was = was.map_or(Some(Vec::new()), members)?;
    let (ours, theirs) = (members(ours)?, members(theirs)?);
    let has = |list: &[(String, Value)], key: &str| list.iter().any(|(other, _)| other == key);
    let mut taken = BTreeSet::new();
    let mut merged = Vec::new();
    for (key, item) in &was {
        if has(&ours, key) && has(&theirs, key) && taken.insert(key.clone()) {
            merged.push(item.clone());
        }
    }
    let added: BTreeMap<String, Value> =
        ours.into_iter().chain(theirs).filter(|(key, _)| !has(&was, key)).collect();
    merged.extend(added.into_values());
    Some(Value::List(merged))
}

/// Whether ours is the higher; null is below everything. None where the two can't be compared.
fn higher(ours: &Value, theirs: &Value) -> Option<bool> {
    match (ours, theirs) {
        (Value::Null, _) => Some(false),
        (_, Value::Null) => Some(true),
        _ => compare(ours, theirs).map(std::cmp::Ordering::is_ge),
    }
}

/// Whether ours is the lower; null loses here too.
fn lower(ours: &Value, theirs: &Value) -> Option<bool> {
    match (ours, theirs) {
        (Value::Null, _) => Some(false),
        (_, Value::Null) => Some(true),
        _ => compare(ours, theirs).map(std::cmp::Ordering::is_le),
    }
}

fn compare(ours: &Value, theirs: &Value) -> Option<std::cmp::Ordering> {
    let text = |value: &Value| value.wire_text().unwrap_or_default();
    let by_number = match (ours, theirs) {
        (Value::Int(a), Value::Int(b)) => a.cmp(b),
        (Value::Decimal(a), Value::Decimal(b)) => {
            BigDecimal::from_str(a).ok()?.cmp(&BigDecimal::from_str(b).ok()?)
        }
        (Value::Float(a), Value::Float(b)) => a.total_cmp(b),
        (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
        (Value::String(a), Value::String(b)) => a.as_bytes().cmp(b.as_bytes()),
        (Value::Date(a), Value::Date(b)) | (Value::Timestamp(a), Value::Timestamp(b))
            if a.len() == b.len() =>
        {
            a.as_bytes().cmp(b.as_bytes())
        }
        _ => return None,
    };
    // 1.0 and 1.00 are equal as numbers and not the same value.
    Some(by_number.then_with(|| text(ours).cmp(&text(theirs))))
}
