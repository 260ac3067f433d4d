//! In charge of what must hold for every input: canonical bytes, wire form, order, trees and graft,
//! each against a definition of its own that is slow and obvious.

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use proptest::sample::select;
use revision::canonical::{self, Decoded};
use revision::{
    Attributes, GENERATION_MAX, Insertion, REVISION_BYTES_MAX, Record, RevisionId, RevisionIdError,
    Tree, Value,
};
use std::collections::{BTreeMap, BTreeSet};

/// Enough to find every fault that was planted on trial, in some seconds of a debug build.
const CASES: u32 = 512;

fn config() -> ProptestConfig {
    // What fails shrinks to something small, which belongs into a test or a vector, not into a file
    // of seeds.
    ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(CASES) }
}

// Values. Small alphabets, so that neighbours often look alike.

fn text() -> impl Strategy<Value = String> {
    // Beside each other: what is composed and decomposed, what UTF-16 sorts otherwise, what looks
    // like a length or a kind, and anything else that Postgres stores.
    let alike = select(vec!['a', 'b', '1', '-', '\u{1}', '\u{5}', '"', '\\', 'é', '\u{301}']);
    let far = select(vec!['\u{ffee}', '\u{1f426}', '\u{10ffff}', '\u{d7ff}', '\u{e000}']);
    let any = any::<char>().prop_filter("Postgres stores no U+0000", |char| *char != '\0');
    vec(prop_oneof![4 => alike, 1 => far, 1 => any], 0..5).prop_map(String::from_iter)
}

fn float() -> impl Strategy<Value = f64> {
    let awkward = [0.0, -0.0, 1.0, 0.1, 1e21, 1e-7, 5e-324, f64::NAN, f64::INFINITY, -f64::MAX];
    prop_oneof![select(awkward.to_vec()), any::<u64>().prop_map(f64::from_bits)]
}

fn decimal() -> impl Strategy<Value = String> {
    let number = (any::<bool>(), any::<u32>(), 0_usize..12).prop_map(|(minus, digits, scale)| {
        let text = format!("{digits:0>width$}", width = scale + 1);
        let (whole, fraction) = text.split_at(text.len() - scale);
        let sign = if minus && digits > 0 { "-" } else { "" };
        format!("{sign}{whole}{}{fraction}", if scale > 0 { "." } else { "" })
    });
    prop_oneof![
        9 => number,
        1 => select(vec!["NaN", "Infinity", "-Infinity", "0", "0.00"]).prop_map(String::from),
    ]
}

fn date() -> impl Strategy<Value = String> {
    let day = (-4800_i32..20_000, 1..=12, 1..=28).prop_map(|(year, month, day)| {
        let year = match year {
            1..=9999 => format!("{year:04}"),
            ..=-1 => format!("-{:04}", -year),
            _ => format!("+{year:04}"),
        };
        format!("{year}-{month:02}-{day:02}")
    });
    prop_oneof![9 => day, 1 => select(vec!["infinity", "-infinity"]).prop_map(String::from)]
}

fn timestamp() -> impl Strategy<Value = String> {
    let time = (0..24, 0..60, 0..60, 0..1_000_000, select(vec!["Z", ""]));
    (date(), time).prop_map(|(date, (hour, minute, second, micros, zone))| match &*date {
        "infinity" | "-infinity" => date,
        _ => format!("{date}T{hour:02}:{minute:02}:{second:02}.{micros:06}{zone}"),
    })
}

fn value() -> impl Strategy<Value = Value> {
    let ints = prop_oneof![any::<i64>(), select(vec![0, 1, -1, i64::MIN, i64::MAX])];
    let scalar = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        ints.prop_map(Value::Int),
        float().prop_map(Value::Float),
        decimal().prop_map(Value::Decimal),
        text().prop_map(Value::String),
        vec(any::<u8>(), 0..5).prop_map(Value::Bytes),
        date().prop_map(Value::Date),
        timestamp().prop_map(Value::Timestamp),
    ];
    scalar.prop_recursive(4, 16, 3, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::List),
            btree_map(text(), inner, 0..4).prop_map(Value::Map),
        ]
    })
}

fn revision_id() -> impl Strategy<Value = RevisionId> {
    let edges = [1, 2, 9, 10, 255, 256, 65_535, 65_536, GENERATION_MAX - 1];
    let generation = prop_oneof![select(edges.to_vec()), 1..GENERATION_MAX];
    let odd = vec(select(vec!['a', 'b', '-', '~', '!', 'A', '0']), 1..4);
    let long = vec(select(vec!['f', '0']), 127..=128);
    let token = prop_oneof![8 => odd, 1 => long].prop_map(String::from_iter);
    (generation, token).prop_map(|(generation, token)| {
        RevisionId::new(generation, &token).expect("a generation and a token in their bounds")
    })
}

/// All that a revision's hash is made of.
fn input() -> impl Strategy<Value = Decoded> {
    let attributes = btree_map(text(), value(), 0..4);
    (text(), prop::option::of(revision_id()), any::<bool>(), attributes).prop_map(
        |(id, previous, deleted, attributes)| Decoded { id, previous, deleted, attributes },
    )
}

fn bytes(input: &Decoded) -> Vec<u8> {
    canonical::encode(&input.id, input.previous.as_ref(), input.deleted, &input.attributes)
}

// Near pairs: inputs that a careless form would give the same bytes.

/// The text without its first character, and that character.
fn behead(text: &str) -> Option<(char, String)> {
    let mut chars = text.chars();
    Some((chars.next()?, chars.collect()))
}

fn near_values(value: &Value) -> Vec<Value> {
    let strings = |text: &str| {
        // The same text as each kind that is written as text.
        let texts = [Value::String, Value::Decimal, Value::Date, Value::Timestamp];
        let mut near: Vec<Value> = texts.iter().map(|kind| kind(text.to_owned())).collect();
        near.push(Value::Bytes(text.as_bytes().to_vec()));
        near
    };
    let mut near = vec![Value::Null, Value::List(vec![value.clone()])];
    near.push(Value::Map(BTreeMap::from([(String::new(), value.clone())])));
    near.extend(strings(&value.wire_text().unwrap_or_default()));
    match value {
        Value::Bool(truth) => near.extend([Value::Int((*truth).into()), Value::Bool(!truth)]),
        Value::Int(int) => near.extend([
            Value::Float(*int as f64),
            Value::Float(f64::from_bits(*int as u64)),
            Value::Int(int.wrapping_neg()),
            Value::Int(int ^ (1 << 40)),
        ]),
        Value::Float(float) => near.extend([Value::Float(-float), Value::Int(*float as i64)]),
        Value::Decimal(text) if text.contains('.') => near.push(Value::Decimal(format!("{text}0"))),
        Value::Timestamp(text) => near.push(Value::Timestamp(match text.strip_suffix('Z') {
            Some(local) => local.to_owned(),
            None => format!("{text}Z"),
        })),
        Value::List(items) => {
            near.extend(items.first().cloned());
            near.extend((0..items.len()).map(|cut| {
                let (one, two) = items.split_at(cut);
                Value::List(vec![Value::List(one.to_vec()), Value::List(two.to_vec())])
            }));
            for (place, item) in items.iter().enumerate() {
                near.extend(near_values(item).into_iter().map(|other| {
                    let mut items = items.clone();
                    items[place] = other;
                    Value::List(items)
                }));
            }
            near.push(Value::List(items.iter().rev().cloned().collect()));
            // Two texts that only their lengths part: the byte between them may be either's.
            let texts: Vec<String> = items.iter().filter_map(Value::wire_text).collect();
            if let [one, two, ..] = texts.as_slice() {
                let both = |one, two| Value::List(vec![Value::String(one), Value::String(two)]);
                near.push(both(format!("{one}\u{5}{two}"), String::new()));
                near.push(both(one.clone(), format!("{two}\u{5}")));
            }
        }
        Value::Map(members) => {
            near.extend(near_members(members).into_iter().map(Value::Map));
            let pairs = members.iter();
            near.push(Value::List(
                pairs
                    .flat_map(|(name, value)| [Value::String(name.clone()), value.clone()])
                    .collect(),
            ));
        }
        _ => {}
    }
    near
}

fn near_members(members: &Attributes) -> Vec<Attributes> {
    let mut near = Vec::new();
    for (name, value) in members {
        let mut put = |name: String, value: Value| {
            let mut members: Attributes = members.clone();
            members.insert(name, value);
            near.push(members);
        };
        near_values(value).into_iter().for_each(|other| put(name.clone(), other));
        put(format!("{name}\u{301}"), value.clone());
        let mut without = members.clone();
        without.remove(name);
        let moved = match value {
            // The first character of the value goes to the end of the name.
            Value::String(text) => behead(text).map(|(first, rest)| (first, Value::String(rest))),
            // So does the tag, and false is what is left.
            Value::Bool(false) => Some(('\u{1}', Value::Null)),
            _ => None,
        };
        near.extend(moved.map(|(first, rest)| {
            let mut members = without.clone();
            members.insert(format!("{name}{first}"), rest);
            members
        }));
        near.push(without);
    }
    near
}

fn near_inputs(input: &Decoded) -> Vec<Decoded> {
    let with = |attributes| Decoded { attributes, ..input.clone() };
    let mut near: Vec<Decoded> = near_members(&input.attributes).into_iter().map(with).collect();
    near.push(Decoded { deleted: !input.deleted, ..input.clone() });
    let previous = match &input.previous {
        None => RevisionId::parse("1-a").ok(),
        Some(previous) => {
            // The previous revision's text as the end of the record id, and as an attribute.
            let text = previous.to_string();
            let id = format!("{}{text}", input.id);
            near.push(Decoded { id, previous: None, ..input.clone() });
            let mut attributes = input.attributes.clone();
            attributes.insert("_prev".into(), Value::String(text));
            near.push(Decoded { previous: None, attributes, ..input.clone() });
            let longer = format!("{previous}a");
            near.extend(
                RevisionId::parse(&longer)
                    .ok()
                    .map(|longer| Decoded { previous: Some(longer), ..input.clone() }),
            );
            None
        }
    };
    near.push(Decoded { previous, ..input.clone() });
    near.push(Decoded { id: format!("{}a", input.id), ..input.clone() });
    if let Some((name, value)) = input.attributes.first_key_value()
        && let Some((first, rest)) = behead(name)
    {
        let mut attributes = input.attributes.clone();
        attributes.remove(name);
        attributes.insert(rest, value.clone());
        near.push(Decoded { id: format!("{}{first}", input.id), attributes, ..input.clone() });
    }
    near
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn canonical_bytes_read_back(input in input()) {
        prop_assert_eq!(canonical::decode(&bytes(&input)), Ok(input));
    }

    /// What other bytes say, if anything, is never written in another way.
    #[test]
    fn canonical_bytes_have_one_form(input in input(), byte in any::<u8>(), bit in 0..8_u32) {
        let (bytes_of_input, flip) = (bytes(&input), 1_u8 << bit);
        for place in 0..bytes_of_input.len() {
            let (before, after) = bytes_of_input.split_at(place);
            let (at, rest) = (after[0], &after[1..]);
            let changes: [&[u8]; 4] = [&[], &[byte, at], &[at ^ flip], &[byte]];
            for other in changes.map(|change| [before, change, rest].concat()) {
                if let Ok(said) = canonical::decode(&other) {
                    prop_assert_eq!(bytes(&said), other);
                }
            }
        }
    }

    #[test]
    fn no_two_inputs_share_bytes(input in input()) {
        let mut seen = BTreeMap::from([(bytes(&input), input.clone())]);
        for near in near_inputs(&input) {
            let known = seen.entry(bytes(&near)).or_insert_with(|| near.clone());
            prop_assert_eq!(&*known, &near);
        }
        // Nor has one input two forms.
        let inputs: Vec<&Decoded> = seen.values().collect();
        prop_assert!(inputs.iter().all(|one| inputs.iter().filter(|two| one == *two).count() == 1));
    }

    #[test]
    fn values_travel(value in value()) {
        prop_assert_eq!(value.validate(), Ok(()));
        prop_assert_eq!(Value::from_wire(&value.to_wire()), Ok(value.clone()));
        let text = serde_json::to_string(&value).unwrap();
        prop_assert_eq!(text.parse::<serde_json::Value>().unwrap(), value.to_wire());
        prop_assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value);
    }

    #[test]
    fn records_travel(
        input in input(),
        table in prop::option::of(text()),
        revisions in prop::option::of(vec(revision_id(), 0..3)),
        conflicts in prop::option::of(vec(revision_id(), 0..3)),
    ) {
        let Decoded { id, previous: revision, deleted, attributes } = input;
        let record = Record { id, table, revision, deleted, attributes, revisions, conflicts };
        let text = serde_json::to_string(&record).unwrap();
        prop_assert_eq!(serde_json::from_str::<Record>(&text).unwrap(), record);
    }

    #[test]
    fn sortable_bytes_sort_as_revisions_do(ids in vec(revision_id(), 2..6)) {
        for one in &ids {
            let sortable = one.to_sortable();
            prop_assert_eq!(RevisionId::from_sortable(&sortable), Ok(one.clone()));
            prop_assert_eq!(RevisionId::is_first_sortable(&sortable), one.generation() == 1);
            let first = RevisionId::sortable_first(one.generation());
            prop_assert!(first.is_none_or(|first| sortable[0] == first));
            prop_assert_eq!(first.is_some(), one.generation() < 225);
            let mut text = [0; REVISION_BYTES_MAX];
            let text = RevisionId::sortable_text(&sortable, &mut text).unwrap();
            prop_assert_eq!(text, one.to_string().into_bytes());
            prop_assert_eq!(RevisionId::parse(&one.to_string()), Ok(one.clone()));
            for two in &ids {
                let key = |id: &RevisionId| (id.generation(), id.token().as_bytes().to_vec());
                prop_assert_eq!(one.cmp(two), key(one).cmp(&key(two)));
                prop_assert_eq!(one.to_sortable().cmp(&two.to_sortable()), one.cmp(two));
                prop_assert_eq!(one == two, one.cmp(two).is_eq());
            }
        }
    }

    /// It isn't taken for another revision.
    #[test]
    fn what_was_stored_before_there_was_a_release_is_refused(id in revision_id()) {
        let number = id.generation().to_be_bytes();
        let skipped = id.generation().leading_zeros() as usize / 8;
        let stored = [&[8 - skipped as u8], &number[skipped..], id.token().as_bytes()].concat();
        prop_assert_eq!(RevisionId::from_sortable(&stored), Err(RevisionIdError::Unreleased));
    }

    #[test]
    fn sortable_bytes_have_one_form(
        id in revision_id(),
        zeros in 0..3_u8,
        place in any::<prop::sample::Index>(),
        byte in prop::option::of(any::<u8>()),
    ) {
        let mut bytes = id.to_sortable();
        bytes[0] += zeros;
        (0..zeros).for_each(|_| bytes.insert(1, 0));
        let place = place.index(bytes.len());
        bytes[place] = byte.unwrap_or(bytes[place]);
        if let Ok(id) = RevisionId::from_sortable(&bytes) {
            prop_assert_eq!(id.to_sortable(), bytes);
        }
    }
}

// Trees. What arrives is a revision with some of its ancestry, or by name only.

#[derive(Debug, Clone)]
struct Arrival {
    /// Itself first.
    path: Vec<RevisionId>,
    deleted: bool,
    /// A name without a body, as a history twin keeps it after it was compacted.
    stub: bool,
}

const TOKENS: [&str; 3] = ["a", "b", "ba"];
const DEEPEST: usize = 5;

/// The id at a place in a small world of generations and tokens.
fn id_at(below: u64, generation: usize, token: usize) -> RevisionId {
    RevisionId::new(below + generation as u64, TOKENS[token]).expect("a generation in its bounds")
}

/// For each place in that world which token its parent has, or none; the index is
/// `generation * TOKENS.len() + token`.
type Parents = Vec<Option<usize>>;

fn arrivals() -> impl Strategy<Value = (u64, Vec<Arrival>)> {
    // Where a generation gets another digit, another byte, and where numbers end.
    let below = select(vec![0, 7, 253, GENERATION_MAX - DEEPEST as u64]);
    let parent = prop_oneof![5 => (0..TOKENS.len()).prop_map(Some), 1 => Just(None)];
    let parents = || vec(parent.clone(), (DEEPEST + 1) * TOKENS.len());
    let arrival = (
        1..=DEEPEST,
        0..TOKENS.len(),
        1..=DEEPEST,
        prop::bool::weighted(0.3),
        prop::bool::weighted(0.2),
        // Peers that hash can't come to name two parents for one revision; others may.
        prop::bool::weighted(0.1),
    );
    (below, parents(), parents(), vec(arrival, 0..12)).prop_map(|(below, usual, other, all)| {
        let arrive = |(generation, token, length, deleted, stub, odd)| {
            let parents: &Parents = if odd { &other } else { &usual };
            let above = |&(generation, token): &(usize, usize)| {
                let parent = parents[generation * TOKENS.len() + token]?;
                (generation > 1).then(|| (generation - 1, parent))
            };
            let line = std::iter::successors(Some((generation, token)), above).take(length);
            let path = line.map(|(generation, token)| id_at(below, generation, token)).collect();
            Arrival { path, deleted, stub }
        };
        (below, all.into_iter().map(arrive).collect())
    })
}

fn arrive(tree: &mut Tree, arrival: &Arrival) -> Option<Insertion> {
    let Arrival { path, deleted, stub } = arrival;
    if *stub {
        tree.add_node(&path[0], path.get(1), *deleted, true);
        return None;
    }
    Some(tree.insert(path, *deleted))
}

fn tree_of<'a>(arrivals: impl IntoIterator<Item = &'a Arrival>) -> Tree {
    let mut tree = Tree::new();
    arrivals.into_iter().for_each(|arrival| _ = arrive(&mut tree, arrival));
    tree
}

fn grafted(one: &Tree, two: &Tree) -> Tree {
    let mut tree = one.clone();
    tree.graft(two);
    tree
}

/// What is known of a record, from the sentences of docs/canonical.md, section 7, one by one: every
/// answer looks through all that ever arrived.
struct World<'a>(&'a [Arrival]);

impl World<'_> {
    /// Each time that a revision was named: with which parent, whether as a tombstone, whether
    /// with a body.
    fn named(&self) -> impl Iterator<Item = (&RevisionId, Option<&RevisionId>, bool, bool)> {
        self.0.iter().flat_map(|Arrival { path, deleted, stub }| {
            let reach = if *stub { 1 } else { path.len() };
            (0..reach).map(move |place| {
                let head = place == 0;
                (&path[place], path.get(place + 1), head && *deleted, head && !*stub)
            })
        })
    }

    fn known(&self) -> BTreeSet<&RevisionId> {
        self.named().map(|(revision, ..)| revision).collect()
    }

    fn parent(&self, id: &RevisionId) -> Option<&RevisionId> {
        let claims = self.named().filter(|(revision, ..)| *revision == id);
        claims.filter_map(|(_, parent, ..)| parent).max_by_key(|id| (id.generation(), id.token()))
    }

    fn is_deleted(&self, id: &RevisionId) -> bool {
        self.named().any(|(revision, _, deleted, _)| revision == id && deleted)
    }

    fn has_body(&self, id: &RevisionId) -> bool {
        self.named().any(|(revision, .., body)| revision == id && body)
    }

    fn has_child(&self, id: &RevisionId) -> bool {
        self.known().iter().any(|revision| self.parent(revision) == Some(id))
    }

    /// Highest first.
    fn leaves(&self) -> Vec<&RevisionId> {
        let mut leaves: Vec<_> =
            self.known().into_iter().filter(|revision| !self.has_child(revision)).collect();
        leaves.sort_by_key(|id| std::cmp::Reverse((id.generation(), id.token())));
        leaves
    }

    fn winner(&self) -> Option<&RevisionId> {
        let (gone, living): (Vec<_>, Vec<_>) =
            self.leaves().into_iter().partition(|leaf| self.is_deleted(leaf));
        living.into_iter().chain(gone).next()
    }
}

proptest! {
    #![proptest_config(config())]

    /// Whatever part of the arrivals each of three peers has, in whatever order they came, and
    /// whoever takes over from whom: in the end all have the same.
    #[test]
    fn graft_is_commutative_associative_and_idempotent(
        (arrivals, shuffled) in arrivals().prop_flat_map(|(_, all)| {
            (Just(all.clone()), Just(all).prop_shuffle())
        }),
        // Which of the three peers have it, as bits; at least one does.
        holders in vec(1..8_u8, 12),
    ) {
        let part = |bit: u8| {
            let held = shuffled.iter().zip(&holders).filter(|(_, holders)| *holders & bit > 0);
            tree_of(held.map(|(arrival, _)| arrival))
        };
        let (a, b, c) = (part(1), part(2), part(4));
        let all = tree_of(&arrivals);
        prop_assert_eq!(grafted(&a, &b), grafted(&b, &a));
        prop_assert_eq!(grafted(&grafted(&a, &b), &c), grafted(&a, &grafted(&b, &c)));
        prop_assert_eq!(&grafted(&grafted(&c, &a), &b), &all);
        prop_assert_eq!(&grafted(&all, &all), &all);
        prop_assert_eq!(&grafted(&all, &a), &all);
        prop_assert_eq!(&grafted(&a, &Tree::new()), &a);
        prop_assert_eq!(&grafted(&Tree::new(), &a), &a);
    }

    #[test]
    fn graft_loses_nothing((_, arrivals) in arrivals(), cut in any::<prop::sample::Index>()) {
        let (ours, theirs) = arrivals.split_at(cut.index(arrivals.len() + 1));
        let tree = grafted(&tree_of(ours), &tree_of(theirs));
        let (ours, theirs, world) = (World(ours), World(theirs), World(&arrivals));
        prop_assert_eq!(tree.len(), world.known().len());
        prop_assert_eq!(tree.is_empty(), arrivals.is_empty());
        for revision in ours.known().union(&theirs.known()) {
            prop_assert!(tree.contains(revision));
            let body = ours.has_body(revision) || theirs.has_body(revision);
            prop_assert_eq!(tree.is_stub(revision), !body, "stub {}", revision);
            let deleted = ours.is_deleted(revision) || theirs.is_deleted(revision);
            prop_assert_eq!(tree.is_deleted(revision), deleted, "deleted {}", revision);
            prop_assert_eq!(tree.parent(revision), world.parent(revision), "parent {}", revision);
        }
    }

    #[test]
    fn the_winner_depends_on_the_set_alone(
        shuffled in arrivals().prop_flat_map(|(_, all)| {
            // Any order, and some of them twice.
            let twice: Vec<Arrival> = all.iter().chain(all.iter().take(3)).cloned().collect();
            (Just(all), Just(twice).prop_shuffle())
        }),
    ) {
        let (arrivals, shuffled) = shuffled;
        let (tree, world) = (tree_of(&shuffled), World(&arrivals));
        prop_assert_eq!(tree.winner(), world.winner());
        prop_assert_eq!(tree.leaves(), world.leaves());
        let conflicts: Vec<&RevisionId> = world
            .leaves()
            .into_iter()
            .filter(|leaf| !world.is_deleted(leaf) && Some(*leaf) != world.winner())
            .collect();
        prop_assert_eq!(tree.conflicts(), conflicts);
        for leaf in world.leaves() {
            let above = |revision: &&RevisionId| {
                world.parent(revision).and_then(|parent| world.known().get(parent).copied())
            };
            let line: Vec<&RevisionId> = std::iter::successors(Some(leaf), above).collect();
            prop_assert_eq!(tree.ancestors(leaf), line);
        }
    }

    #[test]
    fn missing_is_what_has_no_body_here((below, arrivals) in arrivals()) {
        let (tree, world) = (tree_of(&arrivals), World(&arrivals));
        // Everything that could have arrived, some of it twice, in an order that is not its own.
        let places = (0..=DEEPEST).rev().chain(2..4);
        let asked: Vec<RevisionId> = places
            .flat_map(|generation| (0..TOKENS.len()).map(move |token| (generation, token)))
            .filter(|(generation, _)| below + *generation as u64 > 0)
            .map(|(generation, token)| id_at(below, generation, token))
            .collect();
        let missing: Vec<RevisionId> =
            asked.iter().filter(|revision| !world.has_body(revision)).cloned().collect();
        prop_assert_eq!(tree.missing(&asked), missing);
        prop_assert_eq!(tree.missing(&[]), Vec::new());
    }

    #[test]
    fn an_insertion_says_what_it_did((_, arrivals) in arrivals()) {
        let mut tree = Tree::new();
        for (count, arrival) in arrivals.iter().enumerate() {
            let before = World(&arrivals[..count]);
            let (head, above) = arrival.path.split_first().expect("no path is empty");
            let joined = above.iter().find(|ancestor| before.known().contains(ancestor));
            let expected = match (before.known().contains(head), joined) {
                (true, _) if before.has_body(head) => Insertion::Known,
                (true, _) => Insertion::Filled,
                (false, None) => Insertion::NewRoot,
                (false, Some(ancestor)) if before.has_child(ancestor) => Insertion::NewBranch,
                (false, Some(_)) => Insertion::NewLeaf,
            };
            if let Some(did) = arrive(&mut tree, arrival) {
                prop_assert_eq!(did, expected, "{:?} after {:?}", arrival, &arrivals[..count]);
            }
        }
    }

    /// A parent that is not one generation below could close a circle; it is no parent.
    #[test]
    fn a_parent_is_one_generation_below(one in revision_id(), two in revision_id()) {
        let mut tree = Tree::new();
        tree.add_node(&one, Some(&two), false, false);
        tree.add_node(&two, Some(&one), false, false);
        let above = |child: &RevisionId, parent: &RevisionId| {
            child.generation() == parent.generation() + 1
        };
        prop_assert_eq!(tree.parent(&one), Some(&two).filter(|two| above(&one, two)));
        prop_assert_eq!(tree.parent(&two), Some(&one).filter(|one| above(&two, one)));
    }
}
