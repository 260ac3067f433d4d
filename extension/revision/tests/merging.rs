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
/// another, and what was made on the way a third at most. In 100,000 histories no more than 9 rounds were
/// seen; merges of merges would go on for ever.
const ROUNDS_MAX: usize = 3 * (REPLICAS - 1) + 1;

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

fn list(items: &[&str]) -> Value {
    Value::List(items.iter().map(|item| Value::String((*item).to_owned())).collect())
}

fn decimal(text: &str) -> Value {
    Value::Decimal(text.to_owned())
}

#[test]
fn what_the_rules_make() {
    let counted = |was, ours, theirs| both("counter", was, ours, theirs);
    let (int, date) = (Value::Int, |text: &str| Value::Date(text.to_owned()));
    assert_eq!(counted(int(5), int(7), int(4)), Some(int(6)));
    assert_eq!(counted(int(5), int(6), int(6)), Some(int(7)));
    assert_eq!(counted(int(0), int(i64::MAX), int(1)), None);
    assert_eq!(counted(Value::Float(0.0), Value::Float(1.0), Value::Float(2.0)), None);
    assert_eq!(counted(Value::Null, int(1), int(2)), None);
    assert_eq!(counted(decimal("1.5"), decimal("2.25"), decimal("1.0")), Some(decimal("1.75")));
    assert_eq!(counted(decimal("1"), decimal("0.50"), decimal("0.50")), Some(decimal("0.00")));
    assert_eq!(counted(int(1), int(2), decimal("1.5")), Some(decimal("2.5")));
    assert_eq!(counted(decimal("1"), decimal("NaN"), decimal("2")), None);
    let most = "9".repeat(131_072);
    assert_eq!(counted(decimal("0"), decimal(&most), decimal("1")), None);
    let less = format!("{}8", "9".repeat(131_071));
    assert_eq!(counted(decimal("0"), decimal(&less), decimal("1")), Some(decimal(&most)));

    let set = |was: &[&str], ours: &[&str], theirs: &[&str]| {
        both("set", list(was), list(ours), list(theirs))
    };
    assert_eq!(
        set(&["a", "b", "c"], &["c", "b", "x"], &["a", "b", "c", "d"]),
        Some(list(&["b", "c", "d", "x"]))
    );
    // Canonical bytes begin with the length.
    assert_eq!(set(&[], &["aa"], &["b"]), Some(list(&["b", "aa"])));
    assert_eq!(set(&["a", "a"], &["a", "a", "b"], &["a"]), Some(list(&["a", "b"])));
    assert_eq!(both("set", Value::Null, list(&["a"]), list(&["b"])), Some(list(&["a", "b"])));
    assert_eq!(both("set", list(&["a"]), Value::Null, list(&["a", "b"])), Some(list(&["b"])));
    assert_eq!(both("set", list(&[]), list(&["a"]), int(1)), None);

    // Ascending; each pair is told apart both ways, whoever wins.
    let sorted = [
        vec![int(-2), int(1), decimal("1.5"), int(9), decimal("10.0"), decimal("10.00"), int(11)],
        vec![decimal("-Infinity"), decimal("-1"), decimal("Infinity"), decimal("NaN")],
        vec![
            Value::Float(-0.0),
            Value::Float(0.0),
            Value::Float(f64::INFINITY),
            Value::Float(-f64::NAN),
        ],
        vec![
            date("-infinity"),
            date("-0044-03-15"),
            date("-0043-01-01"),
            date("0999-12-31"),
            date("2026-01-01"),
            date("2026-01-02"),
            date("+10000-01-01"),
            date("infinity"),
        ],
        vec![Value::String("Z".into()), Value::String("a".into()), Value::String("aa".into())],
        vec![Value::Bytes(vec![0, 255]), Value::Bytes(vec![1])],
        vec![Value::Bool(false), Value::Bool(true)],
    ];
    for values in sorted {
        for (place, low) in values.iter().enumerate() {
            for high in &values[place + 1..] {
                for (ours, theirs) in [(low, high), (high, low)] {
                    let of = |rule| both(rule, Value::Null, ours.clone(), theirs.clone());
                    assert_eq!(of("max").as_ref(), Some(high));
                    assert_eq!(of("min").as_ref(), Some(low));
                }
            }
        }
    }
    assert_eq!(both("max", int(1), Value::Null, int(0)), Some(int(0)));
    assert_eq!(both("min", int(1), Value::Null, int(0)), Some(int(0)));
    assert_eq!(both("max", int(1), int(2), Value::String("3".into())), None);
    assert_eq!(both("max", list(&[]), list(&["a"]), list(&["b"])), None);
}

// Histories told one by one.

fn stock(stock: i64) -> Attributes {
    Attributes::from([("stock".to_owned(), Value::Int(stock))])
}

fn merged_from(stock: i64, others: &[&RevisionId]) -> Attributes {
    let others = others.iter().map(|other| Value::String(other.to_string())).collect();
    let mut attributes = self::stock(stock);
    attributes.insert(MERGED.to_owned(), Value::List(others));
    attributes
}

/// A replica with a root, two edits of it, and those merged; the edits' counters say 101 and 110.
fn merged_once() -> (Replica, [RevisionId; 4]) {
    let mut replica = Replica { nodes: Nodes::new() };
    let root = RevisionId::of(ID, None, false, &stock(BEGIN));
    let node = Node { parent: None, deleted: false, body: Some(stock(BEGIN)) };
    replica.nodes.insert(root.clone(), node);
    let one = replica.add(&root, false, stock(BEGIN + 1));
    let two = replica.add(&root, false, stock(BEGIN + 10));
    assert!(replica.merge());
    let merged = replica.living()[0].clone();
    let (winner, other) = if one > two { (one, two) } else { (two, one) };
    (replica, [root, winner, other, merged])
}

fn shown(replica: &Replica) -> i64 {
    int(&replica.nodes[&replica.living()[0]].body.as_ref().unwrap()["stock"])
}

#[test]
fn a_merge_lists_the_others_and_their_ends_name_it() {
    let (replica, [_, winner, other, merged]) = merged_once();
    assert_eq!(replica.nodes[&merged].parent.as_ref(), Some(&winner));
    assert_eq!(replica.nodes[&merged].body, Some(merged_from(BEGIN + 11, &[&other])));
    let end = replica.leaves().into_iter().find(|leaf| replica.nodes[leaf].deleted).unwrap();
    assert_eq!(replica.nodes[&end].parent.as_ref(), Some(&other));
    let names = Value::String(merged.to_string());
    assert_eq!(replica.nodes[&end].body, Some(Attributes::from([(MERGED.to_owned(), names)])));
}

/// A peer that fetches only leaves' bodies knows the merge by name, once it was edited.
#[test]
fn a_late_edit_is_counted_once_where_the_merge_is_a_name() {
    let (mut replica, [_, _, other, merged]) = merged_once();
    replica.add(&merged, false, stock(BEGIN + 11 + 100));
    replica.nodes.get_mut(&merged).unwrap().body = None;
    let was = int(&replica.nodes[&other].body.as_ref().unwrap()["stock"]);
    replica.add(&other, false, stock(was + 1000));
    assert!(replica.merge());
    assert_eq!(shown(&replica), BEGIN + 11 + 100 + 1000);
}

#[test]
fn a_merge_of_what_has_not_come_waits() {
    let (whole, [root, winner, other, merged]) = merged_once();
    let mut part = Replica { nodes: Nodes::new() };
    for revision in [&root, &winner, &merged] {
        part.take(revision, &whole.nodes[revision]);
    }
    let was = int(&whole.nodes[&other].body.as_ref().unwrap()["stock"]);
    let late = RevisionId::of(ID, Some(&other), false, &stock(was + 1000));
    let body = Some(stock(was + 1000));
    part.take(&late, &Node { parent: Some(other.clone()), deleted: false, body });
    assert!(!part.merge());
    part.pull(&whole);
    assert!(part.merge());
    assert_eq!(shown(&part), BEGIN + 11 + 1000);
}

/// The merge came, the end of what went into it didn't yet: there is nothing to make but the same end.
#[test]
fn what_is_merged_already_is_ended() {
    let (whole, [root, winner, other, merged]) = merged_once();
    let mut part = Replica { nodes: Nodes::new() };
    for revision in [&root, &winner, &other, &merged] {
        part.take(revision, &whole.nodes[revision]);
    }
    assert!(part.merge());
    assert_eq!(part, whole);
}

/// Somebody edited a merge and sent all that it had read, with the list: that is an edit.
#[test]
fn an_edit_that_keeps_the_list_is_an_edit() {
    let (mut replica, [root, _, other, merged]) = merged_once();
    replica.add(&merged, false, merged_from(BEGIN + 11 + 100, &[&other]));
    replica.add(&root, false, stock(BEGIN + 1000));
    assert!(replica.merge());
    assert_eq!(shown(&replica), BEGIN + 11 + 100 + 1000);
}

#[test]
fn who_uses_the_name_otherwise_is_not_merged() {
    let (mut replica, [root, ..]) = merged_once();
    let mut attributes = stock(BEGIN + 1000);
    attributes.insert(MERGED.to_owned(), Value::String("theirs".into()));
    replica.add(&root, false, attributes);
    assert!(!replica.merge());
}

/// Several lines side by side, each generation made from all of the one before.
fn crossing(lines: usize, levels: usize) -> Replica {
    let mut replica = Replica { nodes: Nodes::new() };
    let body = stock(BEGIN);
    let root = RevisionId::of(ID, None, false, &body);
    replica.nodes.insert(root.clone(), Node { parent: None, deleted: false, body: Some(body) });
    let mut level: Vec<RevisionId> =
        (0..lines as i64).map(|line| replica.add(&root, false, stock(BEGIN + line + 1))).collect();
    for number in 0..levels {
        let next = |line: usize| {
            let others: Vec<&RevisionId> = level.iter().filter(|of| **of != level[line]).collect();
            replica.add(&level[line], false, merged_from((number * lines + line) as i64, &others))
        };
        level = (0..lines).map(next).collect();
    }
    replica
}

#[test]
fn a_history_made_to_be_slow_is_not_merged() {
    assert_eq!(
        merge(ID, &crossing(3, 20).nodes, &policy(), &unruly).map(|added| added.len()),
        Some(3)
    );
    assert_eq!(merge(ID, &crossing(3, 1000).nodes, &policy(), &unruly), None);
    assert_eq!(merge(ID, &crossing(64, 60).nodes, &policy(), &unruly), None);
    assert_eq!(merge(ID, &crossing(65, 0).nodes, &policy(), &unruly), None);
}

#[test]
fn a_long_line_and_a_late_edit_are_merged() {
    let (mut replica, [_, _, other, merged]) = merged_once();
    let mut line = merged;
    for edit in 1..=20_000 {
        line = replica.add(&line, false, stock(BEGIN + 11 + edit));
    }
    let was = int(&replica.nodes[&other].body.as_ref().unwrap()["stock"]);
    replica.add(&other, false, stock(was + 1000));
    assert!(replica.merge());
    assert_eq!(shown(&replica), BEGIN + 11 + 20_000 + 1000);
}
