//! In charge of generated trees for an outside oracle: one JSON object a line, with revisions as
//! they arrive and what this crate shows of them; tests/pouchdb/check.mjs asks PouchDB the same.
//!
//! Run as `cargo run -p revision --example trees`. The same trees come out on every run, so that a
//! tree on which the two differ can be found again by its number.

use revision::{GENERATION_MAX, RevisionId, Tree};
use serde_json::{Value as Json, json};
use std::io::{BufWriter, Error, Write, stdout};

/// A second of work for both sides, and each shape below comes up some hundred times.
const TREES: usize = 4000;

/// Whatever it is, it never changes: it names the trees.
const SEED: u64 = 0x676f_6477_6974;

/// Few, so that siblings and generations share tokens; of every sort of character that a token may
/// have, and some that begin another.
const TOKENS: [&str; 12] = ["a", "aa", "ab", "b", "f", "A", "0", "9", "10", "~", "!", "a-b"];

/// The generation below a tree's first: usual ones, and where the number gets another digit or
/// byte, and the last ones that JavaScript can hold.
const BELOW: [u64; 6] = [0, 0, 7, 96, 253, GENERATION_MAX - DEEPEST];

/// How many generations a tree may have: enough to pass from 9 to 10 with branches on both sides.
const DEEPEST: u64 = 8;

fn main() -> Result<(), Error> {
    let mut dice = Dice(SEED);
    let mut out = BufWriter::new(stdout().lock());
    for _ in 0..TREES {
        let revisions = revisions(&mut dice);
        let mut paths = paths(&mut dice, &revisions);
        dice.shuffle(&mut paths);
        writeln!(out, "{}", answer(&paths))?;
    }
    out.flush()
}

/// SplitMix64, of Steele, Lea and Flood, "Fast splittable pseudorandom number generators" (2014),
/// with the mixing constants of Stafford's variant 13.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`. Low ones come up a little more often, which is no matter here.
    fn below(&mut self, end: usize) -> usize {
        (self.roll() % end as u64) as usize
    }

    fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }

    fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }
}

struct Revision {
    id: RevisionId,
    /// Where in the list its parent is.
    parent: Option<usize>,
    deleted: bool,
}

/// All revisions of a record, as somebody who sees every peer would know them.
///
/// Each has one parent and one deleted flag, whoever tells of it. Where two peers name different
/// parents or flags for one id, which no peer that makes ids by hashing can, PouchDB keeps the
/// revision once below each parent and the flag that came first: then what it shows depends on the
/// order of arrival, and it can't be the judge of a rule that says it must not.
fn revisions(dice: &mut Dice) -> Vec<Revision> {
    let below = BELOW[dice.below(BELOW.len())];
    let count = 1 + dice.below(14);
    let mut all: Vec<Revision> = Vec::new();
    for _ in 0..count {
        let parent = (!all.is_empty() && !dice.one_in(8)).then(|| {
            // The one before as often as any other, or trees would be all breadth.
            if dice.one_in(2) { all.len() - 1 } else { dice.below(all.len()) }
        });
        let generation = match parent {
            Some(parent) => all[parent].id.generation() + 1,
            None => below + 1 + dice.below(DEEPEST as usize) as u64,
        };
        let token = TOKENS[dice.below(TOKENS.len())];
        let deleted = dice.one_in(3);
        let Ok(id) = RevisionId::new(generation, token) else { continue };
        if generation <= below + DEEPEST && all.iter().all(|other| other.id != id) {
            all.push(Revision { id, parent, deleted });
        }
    }
    all
}

/// A revision and its ancestors, itself first, and whether it is a tombstone.
type Path = (Vec<RevisionId>, bool);

/// What arrives. Not every revision comes with a body, so that some are stubs or unknown; nor with
/// all of its ancestry, so that there are roots which nothing joins, or which a later path does.
fn paths(dice: &mut Dice, all: &[Revision]) -> Vec<Path> {
    let mut paths = Vec::new();
    while paths.is_empty() {
        for (place, revision) in all.iter().enumerate() {
            if dice.one_in(4) {
                continue;
            }
            for _ in 0..=usize::from(dice.one_in(5)) {
                let line = std::iter::successors(Some(place), |place| all[*place].parent);
                let mut line: Vec<RevisionId> = line.map(|place| all[place].id.clone()).collect();
                if dice.one_in(3) {
                    line.truncate(1 + dice.below(line.len()));
                }
                paths.push((line, revision.deleted));
            }
        }
    }
    paths
}

fn answer(paths: &[Path]) -> Json {
    let mut tree = Tree::new();
    let mut shown: Vec<Json> = Vec::new();
    for (line, deleted) in paths {
        tree.insert(line, *deleted);
        let tokens: Vec<&str> = line.iter().map(RevisionId::token).collect();
        shown.push(json!({"pos": line[0].generation(), "ids": tokens, "deleted": deleted}));
    }
    json!({
        "paths": shown,
        "winner": tree.winner(),
        "conflicts": tree.conflicts(),
        "leaves": tree.leaves(),
    })
}
