// Two clients and a clerk in SQL edit the same records apart, in every way that a seed finds, and come to agree.

import assert from "node:assert/strict";
import { test } from "node:test";
import { assertAlike, inMemory, pull, remote, sync } from "./pouch.mjs";
import { Random } from "./random.mjs";
import { Site } from "./site.mjs";

const RECORDS = 30;
const ROUNDS = 8;
const EDITS = 40;
// Each pass carries what the one before has brought; three peers that speak to one are quiet in two.
const PASSES_MAX = 5;

const NAMES = ["Amina", "Bakari", "Chipo", null, "", "Ünïcödé 🐦"];

/// What a client's document says: columns and members that have none, or an app that leaves some out.
function body(random) {
  const all = {
    name: random.one(NAMES),
    household: random.below(5),
    price: random.below(400) / 4,
    tags: random.one([[], ["a"], ["b", "a"]]),
    body: { n: random.below(3) },
    note: random.one(["no column", { deep: [random.below(3), null] }]),
    share: random.below(1000) / 7,
  };
  return Object.fromEntries(Object.entries(all).filter(() => random.chance(0.7)));
}

/// One edit on a client, as its app would make it: of what it has, or a new one, or one that was deleted.
async function editClient(db, random, id) {
  const found = await db.get(id).catch((error) => error);
  if (found.status === 404) {
    if (random.chance(0.6)) await db.put({ _id: id, ...body(random) });
  } else if (random.chance(0.25)) {
    await db.remove(found);
  } else {
    await db.put({ _id: id, _rev: found._rev, ...body(random) });
  }
}

/// An edit of a branch that did not win.
async function editLoser(db, random, id) {
  const { _conflicts } = await db.get(id, { conflicts: true }).catch(() => ({}));
  if (!_conflicts) return;
  const rev = random.one(_conflicts);
  if (random.chance(0.5)) await db.remove(id, rev);
  else await db.put({ _id: id, _rev: rev, ...body(random) });
}

async function editSql(site, random, id) {
  const values = [id, random.one(NAMES), random.below(5), random.below(400) / 4];
  if ((await site.sql("select from cases where id = $1", [id])).length === 0) {
    if (random.chance(0.6)) await site.sql("insert into cases (id, name, household, price) values ($1, $2, $3, $4)", values);
  } else if (random.chance(0.2)) {
    await site.sql("delete from cases where id = $1", [id]);
  } else if (random.chance(0.5)) {
    await site.sql("update cases set name = $2, household = $3, price = $4 where id = $1", values);
  } else {
    await site.sql("update cases set tags = tags || '{x}', body = jsonb_build_object('n', $2::int) where id = $1", [id, random.below(3)]);
  }
}

async function untilQuiet(peers, table) {
  for (let pass = 0; pass < PASSES_MAX; pass++) {
    let carried = 0;
    for (const peer of peers) {
      const { pull, push } = await sync(peer, table);
      carried += pull.docs_written + push.docs_written;
    }
    if (carried === 0) return;
  }
  throw new Error(`they still have something to say to each other after ${PASSES_MAX} passes`);
}

test("two clients and plain SQL that were apart have the same winners, conflicts and bodies", async (t) => {
  const random = Random.seeded(t);
  const site = await Site.open(t);
  const table = remote(site);
  const peers = [inMemory(t), inMemory(t)];
  const ids = Array.from({ length: RECORDS }, (_, number) => `case-${number}`);
  for (let round = 0; round < ROUNDS; round++) {
    for (let edit = 0; edit < EDITS; edit++) {
      for (const peer of peers) await editClient(peer, random, random.one(ids));
      if (random.chance(0.2)) await editLoser(random.one(peers), random, random.one(ids));
      await editSql(site, random, random.one(ids));
    }
    // Some come by between, and some stay away.
    if (random.chance(0.4)) await sync(random.one(peers), table);
  }
  await untilQuiet(peers, table);

  const all = await assertAlike(peers[0], peers[1], "the two clients");
  assert.ok(Object.values(all).some((record) => record.conflicts?.length > 0), "it was no test without conflicts");
  const fresh = inMemory(t);
  await pull(fresh, table);
  await assertAlike(fresh, peers[0], "a fresh client");
  await assertAlike(table, peers[0], "the table, read as a client does");

  for (const [id, record] of Object.entries(all)) {
    const winner = await site.value("select godwit.get('cases', $1, null, false, true)", [id]);
    assert.equal(winner.revision, record.winner, id);
    assert.equal(winner.deleted ?? false, record.deleted, id);
    assert.deepEqual((winner.conflicts ?? []).sort(), record.conflicts ?? [], id);
    const [row] = await site.sql("select _rev::text, name, household::int, price::float8, tags from cases where id = $1", [id]);
    assert.equal(row?._rev, record.deleted ? undefined : record.winner, id);
    if (row) {
      const { name = null, household = null, price = null, tags = null } = record.body;
      assert.deepEqual(row, { _rev: record.winner, name, household, price, tags }, id);
    }
  }
  assert.deepEqual(await site.sql("select * from godwit.verify('cases')"), []);
});

test("the same record made apart by two clients and SQL stands once in the table, with the others as conflicts", async (t) => {
  const site = await Site.open(t);
  const peers = [inMemory(t), inMemory(t)];
  await peers[0].put({ _id: "a", name: "one" });
  await peers[1].put({ _id: "a", name: "two" });
  await site.sql("insert into cases (id, name) values ('a', 'three')");
  await untilQuiet(peers, remote(site));
  const seen = await Promise.all(peers.map((peer) => peer.get("a", { conflicts: true })));
  assert.equal(seen[0]._conflicts.length, 2);
  assert.equal(seen[0]._rev, seen[1]._rev);
  assert.deepEqual(await site.sql("select name, _rev::text from cases"), [{ name: seen[0].name, _rev: seen[0]._rev }]);
  assert.equal(await site.value("select count(*)::int from godwit.conflicts"), 2);
});

test("the same edit made apart is no conflict", async (t) => {
  const site = await Site.open(t);
  await site.sql("insert into cases (id, name) values ('a', 'before')");
  const peers = [inMemory(t), inMemory(t)];
  for (const peer of peers) {
    await pull(peer, remote(site));
    await peer.put({ ...(await peer.get("a")), name: "after" });
  }
  await untilQuiet(peers, remote(site));
  assert.equal(await site.value("select count(*)::int from godwit.conflicts"), 0);
  assert.equal(await site.value("select name from cases"), "after");
});
