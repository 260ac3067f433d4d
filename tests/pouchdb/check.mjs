// In charge of asking PouchDB's own merge and winner what this project's trees show:
// `cargo run -p revision --example trees > F && node tests/pouchdb/check.mjs F`, after `npm ci` here.

import { readFileSync } from "node:fs";
import merging from "pouchdb-merge";

const { merge, winningRev, collectConflicts, collectLeaves } = merging;

// Fewer trees than this are no proof; the example writes 4000.
const TREES_MIN = 3000;
// PouchDB's own default. No generated path comes near it, so nothing is stemmed: cutting ancestry off
// is something that PouchDB does with a tree, not something that two peers must agree on.
const REVS_LIMIT = 1000;

// A path as PouchDB's replicator makes it: the oldest revision outermost; only the newest has a body.
function branch({ pos, ids, deleted }) {
  const [head, ...ancestors] = ids;
  const leaf = [head, deleted ? { status: "available", deleted: true } : { status: "available" }, []];
  const nest = (child, token) => [token, { status: "missing" }, [child]];
  return { pos: pos - ancestors.length, ids: ancestors.reduce(nest, leaf) };
}

// Highest first, each once. PouchDB orders leaves by generation alone. It also lists a leaf twice when a
// path has joined two roots: it keeps the joined part both below its parent and as a tree of its own.
function highestFirst(revisions) {
  const parts = (revision) => {
    const dash = revision.indexOf("-");
    return [Number(revision.slice(0, dash)), revision.slice(dash + 1)];
  };
  return [...new Set(revisions)].sort((a, b) => {
    const [aNumber, aToken] = parts(a);
    const [bNumber, bToken] = parts(b);
    return bNumber - aNumber || (aToken < bToken ? 1 : -1);
  });
}

function ask(paths) {
  // PouchDB changes what it is given, so each question has its own copy.
  const rev_tree = paths.reduce((tree, path) => merge(tree, branch(path), REVS_LIMIT).tree, []);
  const leaves = collectLeaves(rev_tree).map((leaf) => leaf.rev);
  return {
    winner: winningRev({ rev_tree }),
    conflicts: highestFirst(collectConflicts({ rev_tree })),
    leaves: highestFirst(leaves),
  };
}

// The same for every run: xorshift32 with the shifts 13, 17 and 5 of Marsaglia, "Xorshift RNGs" (2003).
let state = 0x676f6477;
function below(end) {
  state ^= state << 13;
  state ^= state >>> 17;
  state ^= state << 5;
  return (state >>> 0) % end;
}

function shuffled(items) {
  const out = [...items];
  for (let last = out.length - 1; last > 0; last--) {
    const other = below(last + 1);
    [out[last], out[other]] = [out[other], out[last]];
  }
  return out;
}

const [, , file] = process.argv;
const lines = readFileSync(file, "utf8").split("\n").filter(Boolean);
for (const [number, line] of lines.entries()) {
  const { paths, winner, conflicts, leaves } = JSON.parse(line);
  const expected = JSON.stringify({ winner, conflicts, leaves });
  for (const [order, arrived] of [["as given", paths], ["shuffled", shuffled(paths)]]) {
    const got = JSON.stringify(ask(arrived));
    if (got !== expected) {
      console.error(`pouchdb: tree ${number + 1}, paths ${order}, disagrees`);
      console.error(`  paths    ${JSON.stringify(arrived)}\n  PouchDB  ${got}\n  expected ${expected}`);
      process.exit(1);
    }
  }
}
if (lines.length < TREES_MIN) {
  console.error(`pouchdb: ${lines.length} trees are too few; at least ${TREES_MIN} are compared`);
  process.exit(1);
}
console.log(`pouchdb: ${lines.length} trees agree`);
