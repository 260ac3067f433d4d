//! Replicas that edit one record, exchange it and merge in any order: what must hold at each moment and
//! at the end, against a definition of its own (`Replica::counted`) that is slow and obvious.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use revision::merge::{MERGED, Node, Nodes, merge};
use revision::{Attributes, Policy, RevisionId, Value};
use std::collections::{BTreeMap, BTreeSet};

const ID: &str = "case-17";
const REPLICAS: usize = 4;
const BEGIN: i64 = 100;

#[derive(Debug, Clone)]
enum Step {
    /// A replica edits a revision that it has: mostly what it shows, else one from before, not having
    /// heard of later ones. `keeps` leaves what the edited revision says of its making in, as a client
    /// may that sends all it has read.
    Edit {
        at: usize,
        back: Option<usize>,
        change: Change,
        keeps: bool,
    },
    /// Somebody ends all branches but the winner, and says what is right.
    Resolve {
        at: usize,
        change: Change,
    },
    Pull {
        at: usize,
        from: usize,
    },
    /// Only one leaf, with all that it comes from by parents.
    PullLine {
        at: usize,
        from: usize,
        leaf: usize,
    },
    Merge {
        at: usize,
    },
    /// A body that is no leaf's is compacted away.
    Forget {
        at: usize,
        which: usize,
    },
}

#[derive(Debug, Clone)]
struct Change {
    add: i8,
    tag: Option<u8>,
    untag: Option<u8>,
    seen: Option<u8>,
    note: Option<u8>,
    plain: Option<u8>,
}

fn change(plain: bool) -> impl Strategy<Value = Change> {
    let said = |below: u8| proptest::option::weighted(0.3, 0..below);
    let plain = if plain { said(2).boxed() } else { Just(None).boxed() };
    (-9..9i8, said(6), said(6), said(3), said(3), plain).prop_map(
        |(add, tag, untag, seen, note, plain)| Change { add, tag, untag, seen, note, plain },
    )
}

/// What a history is made of beside edits, full exchanges and merges.
#[derive(Clone, Copy)]
struct World {
    lines: bool,
    forgets: bool,
    plain: bool,
}

const FULL: World = World { lines: false, forgets: false, plain: false };

fn steps(world: World) -> impl Strategy<Value = Vec<Step>> {
    let at = 0..REPLICAS;
    let back = proptest::option::weighted(0.3, any::<usize>());
    let step = prop_oneof![
        6 => (at.clone(), back, change(world.plain), any::<bool>())
            .prop_map(|(at, back, change, keeps)| Step::Edit { at, back, change, keeps }),
        1 => (at.clone(), change(world.plain)).prop_map(|(at, change)| Step::Resolve { at, change }),
        5 => (at.clone(), at.clone()).prop_map(|(at, from)| Step::Pull { at, from }),
        if world.lines { 4 } else { 0 } => (at.clone(), at.clone(), any::<usize>())
            .prop_map(|(at, from, leaf)| Step::PullLine { at, from, leaf }),
        4 => at.clone().prop_map(|at| Step::Merge { at }),
        if world.forgets { 3 } else { 0 } => (at, any::<usize>())
            .prop_map(|(at, which)| Step::Forget { at, which }),
    ];
    prop::collection::vec(step, 1..40)
}

/// `plain` has no rule.
fn policy() -> Policy {
    serde_json::from_str(
        r#"{"conflicts": "fields", "attributes": {"stock": "counter", "tags": "set", "seen": "max",
            "edit": "max", "note": {"function": "s.f"}}}"#,
    )
    .unwrap()
}

/// As unruly as a function can be: neither commutative nor associative nor idempotent.
fn unruly(_: &str, _: &str, was: Option<&Value>, ours: &Value, theirs: &Value) -> Option<Value> {
    let said = Attributes::from([
        ("was".to_owned(), was.cloned().unwrap_or(Value::Null)),
        ("ours".to_owned(), ours.clone()),
        ("theirs".to_owned(), theirs.clone()),
    ]);
    Some(Value::String(RevisionId::of("f", None, false, &said).token().to_owned()))
}

#[derive(Debug, Clone, PartialEq)]
struct Replica {
    nodes: Nodes,
}

/// What people did, which no replica is asked about.
#[derive(Debug, Default)]
struct Deeds {
    /// By each edit how much it added.
    added: BTreeMap<RevisionId, i64>,
    tagged: BTreeSet<u8>,
    untagged: BTreeSet<u8>,
    resolved: bool,
}

impl Replica {
    fn new() -> Self {
        let attributes = Attributes::from([
            ("stock".to_owned(), Value::Int(BEGIN)),
            ("tags".to_owned(), Value::List(Vec::new())),
            ("seen".to_owned(), Value::Null),
            ("note".to_owned(), Value::Null),
            // So that no two edits are the same edit.
            ("edit".to_owned(), Value::Int(0)),
        ]);
        let revision = RevisionId::of(ID, None, false, &attributes);
        let node = Node { parent: None, deleted: false, body: Some(attributes) };
        Replica { nodes: Nodes::from([(revision, node)]) }
    }

    fn leaves(&self) -> Vec<RevisionId> {
        let parents: BTreeSet<&RevisionId> =
            self.nodes.values().filter_map(|node| node.parent.as_ref()).collect();
        self.nodes.keys().rev().filter(|revision| !parents.contains(revision)).cloned().collect()
    }

    fn living(&self) -> Vec<RevisionId> {
        let mut leaves = self.leaves();
        leaves.retain(|leaf| !self.nodes[leaf].deleted && self.nodes[leaf].body.is_some());
        leaves
    }

    fn add(&mut self, of: &RevisionId, deleted: bool, attributes: Attributes) -> RevisionId {
        let revision = RevisionId::of(ID, Some(of), deleted, &attributes);
        let node = Node { parent: Some(of.clone()), deleted, body: Some(attributes) };
        self.nodes.insert(revision.clone(), node);
        revision
    }

    fn edit(
        &mut self,
        of: &RevisionId,
        change: &Change,
        keeps: bool,
        edit: i64,
        deeds: &mut Deeds,
    ) {
        let mut attributes = self.nodes[of].body.clone().unwrap();
        if !keeps {
            attributes.remove(MERGED);
        }
        let stock = int(&attributes["stock"]) + i64::from(change.add);
        attributes.insert("stock".into(), Value::Int(stock));
        attributes.insert("edit".into(), Value::Int(edit));
        if let Some(Value::List(tags)) = attributes.get_mut("tags") {
            tags.extend(change.tag.map(tag));
            tags.retain(|other| change.untag.is_none_or(|untag| *other != tag(untag)));
        }
        for (name, said) in [("seen", change.seen), ("note", change.note), ("plain", change.plain)]
        {
            if let Some(said) = said {
                attributes.insert(name.into(), Value::String(format!("{said}")));
            }
        }
        deeds.tagged.extend(change.tag);
        deeds.untagged.extend(change.untag);
        let revision = self.add(of, false, attributes);
        deeds.added.insert(revision, change.add.into());
    }

    fn pull(&mut self, from: &Replica) {
        for (revision, node) in &from.nodes {
            self.take(revision, node);
        }
    }

    fn take(&mut self, revision: &RevisionId, node: &Node) {
        let known = self.nodes.entry(revision.clone()).or_insert_with(|| node.clone());
        if known.body.is_none() {
            *known = node.clone();
        }
    }

    fn merge(&mut self) -> bool {
        let Some(added) = merge(ID, &self.nodes, &policy(), &unruly) else { return false };
        let before = self.living().len();
        for addition in added {
            let made = self.add(&addition.parent, addition.deleted, addition.attributes);
            assert_eq!(made, addition.revision);
        }
        assert_eq!(self.living().len(), 1, "from {before}");
        true
    }

    /// What a revision's counter must say: where it began, and what each edit added that it comes from.
    fn counted(&self, revision: &RevisionId, everybody: &Nodes, deeds: &Deeds) -> i64 {
        let mut found = BTreeSet::from([revision.clone()]);
        let mut due = vec![revision.clone()];
        while let Some(revision) = due.pop() {
            let node = &everybody[&revision];
            let merged = match node.body.as_ref().unwrap().get(MERGED) {
                Some(Value::List(items)) => items.clone(),
                _ => Vec::new(),
            };
            let merged = merged.iter().map(|item| match item {
                Value::String(text) => RevisionId::parse(text).unwrap(),
                other => panic!("{other:?}"),
            });
            due.extend(
                node.parent.clone().into_iter().chain(merged).filter(|of| found.insert(of.clone())),
            );
        }
        BEGIN + found.iter().filter_map(|revision| deeds.added.get(revision)).sum::<i64>()
    }
}

fn tag(number: u8) -> Value {
    Value::String(format!("{number}"))
}

fn int(value: &Value) -> i64 {
    match value {
        Value::Int(number) => *number,
        other => panic!("{other:?}"),
    }
}

/// Runs the steps. `everybody` is all that was ever made, with its body.
fn run(steps: &[Step]) -> (Vec<Replica>, Nodes, Deeds) {
    let mut replicas = vec![Replica::new(); REPLICAS];
    let mut everybody = replicas[0].nodes.clone();
    let mut deeds = Deeds::default();
    for (number, step) in steps.iter().enumerate() {
        let edit = number as i64 + 1;
        match step {
            Step::Edit { at, back, change, keeps } => {
                let replica = &mut replicas[*at];
                let whole = |node: &Node| !node.deleted && node.body.is_some();
                let old: Vec<RevisionId> = replica
                    .nodes
                    .iter()
                    .filter(|(_, node)| whole(node))
                    .map(|(revision, _)| revision.clone())
                    .collect();
                let shown = replica.living().into_iter().next();
                let of = back.map(|back| old[back % old.len()].clone()).or(shown);
                // Where only the ends of branches have come the record is gone for a while.
                if let Some(of) = of {
                    replica.edit(&of, change, *keeps, edit, &mut deeds);
                }
            }
            Step::Resolve { at, change } => {
                let living = replicas[*at].living();
                if living.len() > 1 {
                    deeds.resolved = true;
                    for ended in &living[1..] {
                        replicas[*at].add(ended, true, Attributes::new());
                    }
                    replicas[*at].edit(&living[0], change, false, edit, &mut deeds);
                }
            }
            Step::Pull { at, from } => {
                let theirs = replicas[*from].clone();
                replicas[*at].pull(&theirs);
            }
            Step::PullLine { at, from, leaf } => {
                let theirs = replicas[*from].clone();
                let leaves = theirs.leaves();
                let mut line = Some(leaves[leaf % leaves.len()].clone());
                while let Some(revision) = line {
                    replicas[*at].take(&revision, &theirs.nodes[&revision]);
                    line = theirs.nodes[&revision].parent.clone();
                }
            }
            Step::Merge { at } => {
                replicas[*at].merge();
            }
            Step::Forget { at, which } => {
                let leaves = replicas[*at].leaves();
                let inner = replicas[*at]
                    .nodes
                    .iter_mut()
                    .filter(|(revision, _)| !leaves.contains(revision));
                let mut inner: Vec<&mut Node> = inner.map(|(_, node)| node).collect();
                if !inner.is_empty() {
                    let which = which % inner.len();
                    inner[which].body = None;
                }
            }
        }
        for replica in &replicas {
            for (revision, node) in replica.nodes.iter().filter(|(_, node)| node.body.is_some()) {
                everybody.entry(revision.clone()).or_insert_with(|| node.clone());
            }
        }
    }
    (replicas, everybody, deeds)
}

/// The ways in which replicas exchange what they have, each round the same.
#[derive(Debug, Clone, Copy)]
enum Gossip {
    /// Each takes what the next one has, one after the other.
    Ring,
    /// Each takes what the next one had when the round began.
    RingAtOnce,
    /// All with all, backwards.
    All,
}

/// Exchanges and merges until nothing is new; each replica merges at once what it has taken.
fn settle(replicas: &mut [Replica], gossip: Gossip) -> usize {
    for round in 1..=40 {
        let before = replicas.to_vec();
        for at in 0..REPLICAS {
            let next = (at + 1) % REPLICAS;
            match gossip {
                Gossip::Ring => {
                    let theirs = replicas[next].clone();
                    replicas[at].pull(&theirs);
                }
                Gossip::RingAtOnce => replicas[at].pull(&before[next]),
                Gossip::All => {
                    for from in (0..REPLICAS).rev() {
                        let theirs = replicas[from].clone();
                        replicas[at].pull(&theirs);
                    }
                }
            }
            replicas[at].merge();
        }
        if before == replicas {
            return round;
        }
    }
    panic!("they never come to rest");
}

/// What everybody did needs one time round to reach all, the highest of what they then made of it
/// another, and a last round sees that nothing is new.
const ROUNDS_MAX: usize = 2 * (REPLICAS - 1) + 2;

fn gossip() -> impl Strategy<Value = Gossip> {
    prop_oneof![Just(Gossip::Ring), Just(Gossip::RingAtOnce), Just(Gossip::All)]
}

fn config() -> ProptestConfig {
    ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(512) }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn all_arrive_at_one_leaf_that_counts_every_edit_once(steps in steps(FULL), gossip in gossip()) {
        let (mut replicas, everybody, deeds) = run(&steps);
        let rounds = settle(&mut replicas, gossip);
        prop_assert!(rounds <= ROUNDS_MAX, "{} rounds", rounds);
        for replica in &replicas {
            prop_assert_eq!(&replica.nodes, &replicas[0].nodes);
            let living = replica.living();
            prop_assert_eq!(living.len(), 1);
            let shown = replica.nodes[&living[0]].body.as_ref().unwrap();
            if !deeds.resolved {
                prop_assert_eq!(int(&shown["stock"]), BEGIN + deeds.added.values().sum::<i64>());
                let Value::List(tags) = &shown["tags"] else { panic!("no list") };
                for added in deeds.tagged.difference(&deeds.untagged) {
                    prop_assert!(tags.contains(&tag(*added)));
                }
            }
            // Nothing is lost by it.
            prop_assert!(everybody.iter().all(|(revision, node)| replica.nodes.get(revision) == Some(node)));
        }
    }

    /// At every moment, however little of what is there has come here.
    #[test]
    fn every_leaf_counts_what_it_comes_from(steps in steps(World { lines: true, plain: true, ..FULL })) {
        let (replicas, everybody, deeds) = run(&steps);
        for replica in &replicas {
            for leaf in replica.living() {
                let shown = int(&replica.nodes[&leaf].body.as_ref().unwrap()["stock"]);
                prop_assert_eq!(shown, replica.counted(&leaf, &everybody, &deeds), "{}", leaf);
            }
        }
    }

    /// Also where bodies are missing, as long as leaves come with the rest: what can't be known waits.
    #[test]
    fn nothing_is_counted_wrong_where_bodies_are_missing(steps in steps(World { forgets: true, plain: true, ..FULL })) {
        let (replicas, everybody, deeds) = run(&steps);
        for replica in &replicas {
            for leaf in replica.living() {
                let shown = int(&replica.nodes[&leaf].body.as_ref().unwrap()["stock"]);
                prop_assert_eq!(shown, replica.counted(&leaf, &everybody, &deeds), "{}", leaf);
            }
        }
    }

    /// With what no rule covers, conflicts may wait; but everybody comes to the same ones, and to rest.
    #[test]
    fn all_come_to_rest(steps in steps(World { lines: true, plain: true, ..FULL }), gossip in gossip()) {
        let (mut replicas, _, _) = run(&steps);
        let rounds = settle(&mut replicas, gossip);
        prop_assert!(rounds <= ROUNDS_MAX, "{} rounds", rounds);
        for replica in &mut replicas {
            prop_assert!(!replica.merge());
        }
        prop_assert!(replicas.iter().all(|replica| *replica == replicas[0]));
    }

    #[test]
    fn two_that_merge_the_same_apart_make_the_same(
        (steps, order) in (steps(World { plain: true, ..FULL }), Just((0..REPLICAS).collect::<Vec<_>>()).prop_shuffle()),
    ) {
        let (replicas, _, _) = run(&steps);
        let (mut one, mut two) = (Replica::new(), Replica::new());
        (0..REPLICAS).for_each(|from| one.pull(&replicas[from]));
        order.iter().for_each(|from| two.pull(&replicas[*from]));
        prop_assert_eq!(one.merge(), two.merge());
        prop_assert_eq!(&one, &two);
        // And what is merged is merged.
        prop_assert!(!one.merge());
    }

    #[test]
    fn by_default_nothing_is_merged(steps in steps(FULL)) {
        let (replicas, _, _) = run(&steps);
        for replica in &replicas {
            prop_assert_eq!(merge(ID, &replica.nodes, &Policy::default(), &unruly), None);
        }
    }
}

#[test]
fn a_policy_reads_as_it_is_written() {
    let text = r#"{"conflicts":"fields","attributes":{"a":"counter","b":{"function":"s.f"}}}"#;
    let policy: Policy = serde_json::from_str(text).unwrap();
    assert_eq!(serde_json::to_string(&policy).unwrap(), text);
    assert!(serde_json::from_str::<Policy>(r#"{"conflicts": "maybe"}"#).is_err());
    assert!(serde_json::from_str::<Policy>(r#"{"policy": "fields"}"#).is_err());
    assert!(serde_json::from_str::<Policy>(r#"{"attributes": {"a": "sum"}}"#).is_err());
}

/// Two branches of one ancestor and what they come to.
fn both(rule: &str, was: Value, ours: Value, theirs: Value) -> Option<Value> {
    let policy: Policy = serde_json::from_str(&format!(
        r#"{{"conflicts": "fields", "attributes": {{"x": "{rule}"}}}}"#
    ))
    .unwrap();
    let of = |value: &Value| Attributes::from([("x".to_owned(), value.clone())]);
    let root = RevisionId::parse("1-a").unwrap();
    let node = |parent: Option<&RevisionId>, value: &Value| Node {
        parent: parent.cloned(),
        deleted: false,
        body: Some(of(value)),
    };
    let nodes = Nodes::from([
        (root.clone(), node(None, &was)),
        (RevisionId::parse("2-b").unwrap(), node(Some(&root), &ours)),
        (RevisionId::parse("2-a").unwrap(), node(Some(&root), &theirs)),
    ]);
    merge(ID, &nodes, &policy, &unruly).map(|added| added[0].attributes["x"].clone())
}

#[test]
fn what_the_rules_make() {
    let list = |items: &[&str]| {
        Value::List(items.iter().map(|i| Value::String((*i).to_owned())).collect())
    };
    let decimal = |text: &str| Value::Decimal(text.to_owned());
    assert_eq!(both("counter", Value::Int(5), Value::Int(7), Value::Int(4)), Some(Value::Int(6)));
    assert_eq!(
        both("counter", decimal("1.5"), decimal("2.25"), decimal("1.0")),
        Some(decimal("1.75"))
    );
    assert_eq!(both("counter", Value::Int(0), Value::Int(i64::MAX), Value::Int(1)), None);
    assert_eq!(both("counter", Value::Float(0.0), Value::Float(1.0), Value::Float(2.0)), None);
    assert_eq!(both("counter", decimal("1"), decimal("NaN"), decimal("2")), None);
    assert_eq!(
        both("set", list(&["a", "b", "c"]), list(&["c", "b", "x"]), list(&["a", "b", "c", "d"])),
        Some(list(&["b", "c", "d", "x"]))
    );
    assert_eq!(both("max", Value::Int(1), Value::Int(10), Value::Int(9)), Some(Value::Int(10)));
    assert_eq!(both("max", decimal("1"), decimal("9.5"), decimal("10.0")), Some(decimal("10.0")));
    assert_eq!(both("min", Value::Int(1), Value::Int(10), Value::Int(9)), Some(Value::Int(9)));
    assert_eq!(both("max", Value::Int(1), Value::Null, Value::Int(0)), Some(Value::Int(0)));
    assert_eq!(both("max", Value::Int(1), Value::Int(2), Value::String("3".into())), None);
}
