// RxDB's own CouchDB replication: a collection stays in step with a table, both ways.

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { test } from "node:test";
import { createRxDatabase } from "rxdb";
import { replicateCouchDB } from "rxdb/plugins/replication-couchdb";
import { getRxStorageMemory } from "rxdb/plugins/storage-memory";
import { CASES, Site, until } from "./site.mjs";

const SCHEMA = {
  version: 0,
  primaryKey: "id",
  type: "object",
  properties: {
    id: { type: "string", maxLength: 100 },
    name: { type: ["string", "null"] },
    household: { type: ["number", "null"] },
    note: { type: "string" },
  },
  required: ["id"],
};

// A record of this collection's kind, as an app whose key is no member of the document has it.
const TABLE = "create table cases (_id text primary key, name text, household int); select godwit.track('cases')";

async function collection(t, site, options = {}) {
  const database = await createRxDatabase({ name: randomUUID(), storage: getRxStorageMemory(), multiInstance: false });
  const { cases } = await database.addCollections({ cases: { schema: SCHEMA } });
  const replication = replicateCouchDB({
    replicationIdentifier: randomUUID(),
    collection: cases,
    url: `${site.url}/cases/`,
    live: true,
    retryTime: 200,
    pull: { batchSize: 50, heartbeat: 1000 },
    push: { batchSize: 50 },
    ...options,
  });
  const failures = [];
  replication.error$.subscribe((error) => failures.push(error));
  t.after(async () => {
    await replication.cancel();
    await database.close();
  });
  return { cases, replication, failures };
}

function settled(failures) {
  return failures.map((error) => JSON.stringify(error.parameters ?? error.message).slice(0, 1000));
}

test("a collection and a table are in sync, live, both ways", async (t) => {
  const site = await Site.open(t, { tables: TABLE });
  await site.sql("insert into cases select 'c' || n, 'from SQL', n from generate_series(1, 120) n");
  const { cases, replication, failures } = await collection(t, site);
  await replication.awaitInitialReplication();
  assert.equal((await cases.find().exec()).length, 120);
  assert.equal((await cases.findOne("c7").exec()).household, 7);

  await cases.bulkInsert(Array.from({ length: 70 }, (_, n) => ({ id: `d${n}`, name: "from RxDB", note: "no column" })));
  await replication.awaitInSync();
  assert.equal(await site.value("select count(*)::int from cases where name = 'from RxDB'"), 70);

  await site.sql("update cases set name = 'edited in SQL' where _id = 'c7'");
  await until("SQL's edit is here", async () => (await cases.findOne("c7").exec()).name === "edited in SQL");
  await (await cases.findOne("c7").exec()).incrementalPatch({ household: 99 });
  await until("its edit is in SQL", async () => (await site.value("select household from cases where _id = 'c7'")) === 99);
  assert.equal(await site.value("select name from cases where _id = 'c7'"), "edited in SQL");

  await site.sql("delete from cases where _id = 'c8'");
  await until("SQL's delete is here", async () => (await cases.findOne("c8").exec()) === null);
  await (await cases.findOne("c9").exec()).remove();
  await until("its delete is in SQL", async () => (await site.sql("select from cases where _id = 'c9'")).length === 0);
  assert.deepEqual(settled(failures), []);
  assert.equal(await site.value("select count(*)::int from godwit.conflicts"), 0);
});

test("two collections that edited the same document agree, and the table with them", async (t) => {
  const site = await Site.open(t, { tables: TABLE });
  await site.sql("insert into cases values ('a', 'before', 1)");
  const peers = [await collection(t, site), await collection(t, site)];
  for (const { replication } of peers) await replication.awaitInitialReplication();
  await Promise.all(peers.map(async ({ cases }, n) => (await cases.findOne("a").exec()).incrementalPatch({ name: `peer ${n}` })));
  for (const { replication } of peers) await replication.awaitInSync();
  const names = async () => {
    const docs = await Promise.all(peers.map(({ cases }) => cases.findOne("a").exec()));
    return [await site.value("select name from cases"), ...docs.map((doc) => doc.name)];
  };
  await until("all three say the same", async () => new Set(await names()).size === 1);
  assert.match((await names())[0], /^peer [01]$/);
  for (const { failures } of peers) assert.deepEqual(settled(failures), []);
});

test("a collection whose key is the table's own column is in sync too", async (t) => {
  const site = await Site.open(t, { tables: CASES });
  await site.sql("insert into cases (id, name, household) values ('a', 'from SQL', 7)");
  const { cases, replication, failures } = await collection(t, site);
  await replication.awaitInitialReplication();
  assert.equal((await cases.findOne("a").exec()).name, "from SQL");
  await (await cases.findOne("a").exec()).incrementalPatch({ name: "from RxDB" });
  await cases.insert({ id: "b", name: "new" });
  await replication.awaitInSync();
  assert.deepEqual(await site.sql("select id, name from cases order by 1"), [{ id: "a", name: "from RxDB" }, { id: "b", name: "new" }]);
  assert.deepEqual(settled(failures), []);
});

test("a collection catches up after the gateway was away", async (t) => {
  const site = await Site.open(t, { tables: TABLE });
  const { cases, replication } = await collection(t, site);
  await replication.awaitInitialReplication();
  // Until its first live change RxDB's own place is "now", wherever that is when it asks again.
  const first = async () => {
    await site.sql("insert into cases values (gen_random_uuid()::text, 'first', 1)");
    return (await cases.find().exec()).length > 0;
  };
  await until("it listens", first);
  await site.killGateway();
  await site.sql("insert into cases values ('a', 'from SQL', 1)");
  await cases.insert({ id: "b", name: "from RxDB" });
  await until("SQL's is here", async () => (await cases.findOne("a").exec()) !== null);
  await until("its own is there", async () => (await site.sql("select from cases where _id = 'b'")).length === 1);
});
