//! Replicas that edit one record, exchange it and merge in any order: what must hold at the end.

#![allow(clippy::unwrap_used)] // A test may.

use proptest::prelude::*;
use revision::merge::{Nodes, merge};
use revision::{Attributes, Policy, RevisionId, Value};

const ID: &str = "case-17";
const REPLICAS: usize = 3;

#[derive(Debug, Clone)]
enum Step {
    /// A replica edits what it shows: adds to the counter, adds a tag, takes one away, says a field.
    Edit {
        at: usize,
        add: i8,
        tag: Option<u8>,
        untag: Option<u8>,
        field: Option<u8>,
    },
    /// A replica edits a revision that it has shown before, not having heard of later ones.
    Late {
        at: usize,
        back: usize,
        add: i8,
    },
    /// One takes what another has.
    Pull {
        at: usize,
        from: usize,
    },
    Merge {
        at: usize,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let at = 0..REPLICAS;
    prop_oneof![
        4 => (at.clone(), -9..9i8, option(0..6u8), option(0..6u8), option(0..3u8))
            .prop_map(|(at, add, tag, untag, field)| Step::Edit { at, add, tag, untag, field }),
        2 => (at.clone(), 0..4usize, 1..9i8).prop_map(|(at, back, add)| Step::Late { at, back, add }),
        4 => (at.clone(), at.clone()).prop_map(|(at, from)| Step::Pull { at, from }),
        3 => at.prop_map(|at| Step::Merge { at }),
    ]
}

fn option<T: std::fmt::Debug + Clone>(
    of: impl Strategy<Value = T>,
) -> impl Strategy<Value = Option<T>> {
    proptest::option::weighted(0.3, of)
}

fn policy() -> Policy {
    serde_json::from_str(
        r#"{"conflicts": "fields", "attributes": {"stock": "counter", "tags": "set", "field": "max", "edit": "max"}}"#,
    )
    .unwrap()
}

fn none(_: &str, _: &str, _: Option<&Value>, _: &Value, _: &Value) -> Option<Value> {
    None
}

fn start() -> Nodes {
    let attributes = body(100, Vec::new(), "", 0);
    let revision = RevisionId::of(ID, None, false, &attributes);
    Nodes::from([(
        revision,
        revision::merge::Node { parent: None, deleted: false, body: Some(attributes) },
    )])
}

fn body(stock: i64, tags: Vec<Value>, field: &str, edit: i64) -> Attributes {
    Attributes::from([
        ("stock".to_owned(), Value::Int(stock)),
        ("tags".to_owned(), Value::List(tags)),
        ("field".to_owned(), Value::String(field.to_owned())),
        // So that no two edits are the same edit.
        ("edit".to_owned(), Value::Int(edit)),
    ])
}

fn living(nodes: &Nodes) -> Vec<&RevisionId> {
    nodes
        .iter()
        .rev()
        .filter(|(revision, node)| {
            !node.deleted && !nodes.values().any(|child| child.parent.as_ref() == Some(revision))
        })
        .map(|(revision, _)| revision)
        .collect()
}

fn edit(nodes: &mut Nodes, of: &RevisionId, change: impl FnOnce(&mut Attributes)) {
    let mut attributes = nodes[of].body.clone().unwrap();
    // An edit says nothing of how the edited revision was made.
    attributes.remove(revision::merge::MERGED);
    change(&mut attributes);
    let revision = RevisionId::of(ID, Some(of), false, &attributes);
    let node =
        revision::merge::Node { parent: Some(of.clone()), deleted: false, body: Some(attributes) };
    nodes.insert(revision, node);
}

fn merge_at(nodes: &mut Nodes) -> bool {
    let Some(added) = merge(ID, nodes, &policy(), &none) else { return false };
    for addition in added {
        let node = revision::merge::Node {
            parent: Some(addition.parent),
            deleted: addition.deleted,
            body: Some(addition.attributes),
        };
        nodes.insert(addition.revision, node);
    }
    true
}

fn int(value: Option<&Value>) -> i64 {
    match value {
        Some(Value::Int(number)) => *number,
        other => panic!("{other:?}"),
    }
}

/// Runs the steps; returns the replicas and the sum of what was counted.
fn run(steps: &[Step]) -> (Vec<Nodes>, i64) {
    let mut replicas = vec![start(); REPLICAS];
    let mut sum = 100;
    for (number, step) in steps.iter().enumerate() {
        let stamp = number as i64 + 1;
        match step {
            Step::Edit { at, add, tag, untag, field } => {
                let Some(shown) = living(&replicas[*at]).first().map(|r| (*r).clone()) else {
                    continue;
                };
                sum += i64::from(*add);
                edit(&mut replicas[*at], &shown, |attributes| {
                    let stock = int(attributes.get("stock")) + i64::from(*add);
                    attributes.insert("stock".into(), Value::Int(stock));
                    attributes.insert("edit".into(), Value::Int(stamp));
                    if let Some(Value::List(tags)) = attributes.get_mut("tags") {
                        tags.extend(tag.map(|tag| Value::String(format!("{tag}"))));
                        tags.retain(|t| untag.is_none_or(|u| *t != Value::String(format!("{u}"))));
                    }
                    if let Some(field) = field {
                        attributes.insert("field".into(), Value::String(format!("{field}")));
                    }
                });
            }
            Step::Late { at, back, add } => {
                let of: Vec<RevisionId> = replicas[*at]
                    .iter()
                    .rev()
                    .filter(|(_, node)| !node.deleted)
                    .map(|(revision, _)| revision.clone())
                    .collect();
                let of = of[back % of.len()].clone();
                sum += i64::from(*add);
                edit(&mut replicas[*at], &of, |attributes| {
                    let stock = int(attributes.get("stock")) + i64::from(*add);
                    attributes.insert("stock".into(), Value::Int(stock));
                    attributes.insert("edit".into(), Value::Int(stamp));
                });
            }
            Step::Pull { at, from } => {
                let theirs = replicas[*from].clone();
                replicas[*at].extend(theirs);
            }
            Step::Merge { at } => {
                merge_at(&mut replicas[*at]);
            }
        }
    }
    (replicas, sum)
}

/// Exchange and merge in this order until nothing is new.
fn settle(replicas: &mut [Nodes], order: &[usize]) -> usize {
    for round in 1..20 {
        let before = replicas.to_vec();
        for at in order {
            for from in order {
                let theirs = replicas[*from].clone();
                replicas[*at].extend(theirs);
            }
            merge_at(&mut replicas[*at]);
        }
        if before == replicas {
            return round;
        }
    }
    panic!("they never come to rest");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn all_arrive_at_one_leaf_that_counts_every_edit_once(steps in prop::collection::vec(step(), 1..30)) {
        let (mut replicas, sum) = run(&steps);
        let all: Nodes = replicas.iter().flat_map(|nodes| nodes.clone()).collect();
        let mut other = replicas.clone();
        let rounds = settle(&mut replicas, &[0, 1, 2]);
        prop_assert!(rounds <= 5, "{} rounds", rounds);
        settle(&mut other, &[2, 0, 1]);
        for nodes in replicas.iter().chain(&other) {
            let leaves = living(nodes);
            prop_assert_eq!(leaves.len(), 1);
            let shown = nodes[leaves[0]].body.as_ref().unwrap();
            prop_assert_eq!(int(shown.get("stock")), sum);
            // Nothing is lost by it.
            prop_assert!(all.iter().all(|(revision, node)| nodes.get(revision) == Some(node)));
        }
        prop_assert_eq!(&replicas[0], &replicas[1]);
        prop_assert_eq!(&replicas[0], &replicas[2]);
    }

    #[test]
    fn two_that_merge_the_same_apart_make_the_same(steps in prop::collection::vec(step(), 1..20)) {
        let (replicas, _) = run(&steps);
        let all: Nodes = replicas.iter().flat_map(|nodes| nodes.clone()).collect();
        let (mut one, mut two) = (all.clone(), all);
        prop_assert_eq!(merge_at(&mut one), merge_at(&mut two));
        prop_assert_eq!(&one, &two);
        // And what is merged is merged: there is nothing more to do.
        prop_assert!(!merge_at(&mut one) || living(&one).len() > 1);
    }

    #[test]
    fn by_default_nothing_is_merged(steps in prop::collection::vec(step(), 1..20)) {
        let (replicas, _) = run(&steps);
        for nodes in &replicas {
            prop_assert_eq!(merge(ID, nodes, &Policy::default(), &none), None);
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
    let node = |parent: Option<&RevisionId>, value: &Value| revision::merge::Node {
        parent: parent.cloned(),
        deleted: false,
        body: Some(of(value)),
    };
    let nodes = Nodes::from([
        (root.clone(), node(None, &was)),
        (RevisionId::parse("2-b").unwrap(), node(Some(&root), &ours)),
        (RevisionId::parse("2-a").unwrap(), node(Some(&root), &theirs)),
    ]);
    merge(ID, &nodes, &policy, &none).map(|added| added[0].attributes["x"].clone())
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
