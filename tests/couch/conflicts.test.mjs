// A conflict that ends in one place ends in all.

import assert from "node:assert/strict";
import { test } from "node:test";
import { assertAlike, inMemory, pull, remote, sync } from "./pouch.mjs";
import { Site } from "./site.mjs";

const CONFLICTS = "select id, winner::text, conflict::text from godwit.conflicts";

/// A record that SQL and a client have edited apart.
async function inConflict(t) {
  const site = await Site.open(t);
  await site.sql("insert into cases (id, name, household) values ('a', 'Amina', 7)");
  const phone = inMemory(t);
  await pull(phone, remote(site));
  await site.sql("update cases set name = 'by SQL'");
  await phone.put({ ...(await phone.get("a")), name: "by the phone", note: "mine" });
  await sync(phone, remote(site));
  const doc = await phone.get("a", { conflicts: true });
  assert.equal(doc._conflicts.length, 1);
  assert.deepEqual(await site.sql(CONFLICTS), [{ id: "a", winner: doc._rev, conflict: doc._conflicts[0] }]);
  return { site, phone, doc };
}

test("a client that removes the losing leaf ends the conflict in SQL", async (t) => {
  const { site, phone, doc } = await inConflict(t);
  await phone.remove("a", doc._conflicts[0]);
  await sync(phone, remote(site));
  assert.deepEqual(await site.sql(CONFLICTS), []);
  assert.equal(await site.value("select _rev::text from cases"), doc._rev, "the winner stays as it was");
  assert.equal((await phone.get("a", { conflicts: true }))._conflicts, undefined);
});

test("a client that writes a merged document and removes the loser leaves that in the row", async (t) => {
  const { site, phone, doc } = await inConflict(t);
  const loser = await phone.get("a", { rev: doc._conflicts[0] });
  const { _conflicts, ...winner } = doc;
  await phone.bulkDocs([{ ...loser, ...winner, name: "both" }, { ...loser, _deleted: true }]);
  await sync(phone, remote(site));
  assert.deepEqual(await site.sql(CONFLICTS), []);
  assert.deepEqual(await site.sql("select name, household from cases"), [{ name: "both", household: "7" }]);
});

test("a client that removes the winner has the other leaf win in SQL", async (t) => {
  const { site, phone, doc } = await inConflict(t);
  const loser = await phone.get("a", { rev: doc._conflicts[0] });
  await phone.remove("a", doc._rev);
  await sync(phone, remote(site));
  assert.deepEqual(await site.sql("select name, _rev::text from cases"), [{ name: loser.name, _rev: loser._rev }]);
  assert.deepEqual(await site.sql(CONFLICTS), []);
});

for (const keeps of ["winner", "loser"]) {
  test(`a conflict that SQL resolves to the ${keeps} is gone on the client`, async (t) => {
    const { site, phone, doc } = await inConflict(t);
    const kept = keeps === "winner" ? doc : await phone.get("a", { rev: doc._conflicts[0] });
    await site.sql("select godwit.resolve('cases', 'a', keep => $1)", [kept._rev]);
    await sync(phone, remote(site));
    const after = await phone.get("a", { conflicts: true });
    assert.equal(after._conflicts, undefined);
    assert.equal(after.name, kept.name);
    assert.deepEqual(await site.sql(CONFLICTS), []);
    await assertAlike(phone, remote(site));
  });
}

test("a conflict that SQL merges is gone on the client, which reads the merged record", async (t) => {
  const { site, phone } = await inConflict(t);
  await site.sql(`select godwit.resolve('cases', 'a', attributes => '{"name": {"string": "both"}}')`);
  await sync(phone, remote(site));
  const after = await phone.get("a", { conflicts: true });
  assert.equal(after._conflicts, undefined);
  assert.equal(after.name, "both");
});

test("what a policy merges reaches the client as one document", async (t) => {
  const site = await Site.open(t);
  await site.sql(`select godwit.set_policy('cases', '{"conflicts": "fields"}')`);
  await site.sql("insert into cases (id, name, household) values ('a', 'Amina', 7)");
  const phone = inMemory(t);
  await pull(phone, remote(site));
  await site.sql("update cases set household = 8");
  await phone.put({ ...(await phone.get("a")), name: "by the phone" });
  await sync(phone, remote(site));
  await sync(phone, remote(site));
  const after = await phone.get("a", { conflicts: true });
  assert.deepEqual([after.name, after.household, after._conflicts], ["by the phone", 8, undefined]);
  assert.deepEqual(Object.keys(after).filter((name) => !["_id", "_rev"].includes(name) && /^[_@]/.test(name)), []);
});

test("a plain DELETE in SQL ends every leaf on the client", async (t) => {
  const { site, phone } = await inConflict(t);
  await site.sql("delete from cases");
  await sync(phone, remote(site));
  assert.equal((await phone.get("a").catch((error) => error)).reason, "deleted");
  await assertAlike(phone, remote(site));
});
