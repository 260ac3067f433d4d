// What a table refuses stops nobody: the document is refused by name, the others of its batch go through.

import assert from "node:assert/strict";
import { test } from "node:test";
import { inMemory, remote } from "./pouch.mjs";
import { Site } from "./site.mjs";

const GUARDED = `
  create table wards (id text primary key);
  insert into wards values ('north');
  create table cases (id text primary key, name text not null, household int constraint household_is_small check (household < 20),
                      code text constraint code_is_unique unique, ward text constraint ward_exists references wards);
  select godwit.track('cases'); select godwit.track('wards')`;

const REFUSED = [
  ["a check", { name: "a", household: 99 }, "household_is_small", "23514"],
  ["a column that may not be null", {}, "name", "23502"],
  ["a unique column", { name: "a", code: "taken" }, "code_is_unique", "23505"],
  ["a foreign key", { name: "a", ward: "south" }, "ward_exists", "23503"],
  ["a type", { name: "a", household: "seven" }, "integer", "22P02"],
];

for (const [what, body, names, sqlstate] of REFUSED) {
  test(`a revision that ${what} refuses is forbidden by name and kept, and the others are accepted`, async (t) => {
    const site = await Site.open(t, { tables: GUARDED });
    await site.sql("insert into cases values ('before', 'b', 1, 'taken', 'north')");
    const docs = [
      { _id: "good", _rev: "1-a", name: "good" },
      { _id: "bad", _rev: "1-b", ...body },
      { _id: "better", _rev: "1-c", name: "better" },
    ];
    const { status, json } = await site.post("/cases/_bulk_docs", { new_edits: false, docs });
    assert.equal(status, 201);
    assert.equal(json.length, 1);
    assert.deepEqual([json[0].id, json[0].error], ["bad", "forbidden"]);
    assert.match(json[0].reason, new RegExp(names));
    assert.deepEqual((await site.sql("select id from cases order by 1")).map((row) => row.id), ["before", "better", "good"]);
    const kept = await site.sql("select record_id, revision::text, sqlstate from godwit.rejected");
    assert.deepEqual(kept, [{ record_id: "bad", revision: "1-b", sqlstate }]);
    assert.equal((await site.get("/cases/bad")).status, 404);
  });

  test(`an edit that ${what} refuses is forbidden by name, alone and among others`, async (t) => {
    const site = await Site.open(t, { tables: GUARDED });
    await site.sql("insert into cases values ('before', 'b', 1, 'taken', 'north')");
    const alone = await site.put("/cases/bad", body);
    assert.deepEqual([alone.status, alone.json.error], [403, "forbidden"]);
    assert.match(alone.json.reason, new RegExp(names));
    const { status, json } = await site.post("/cases/_bulk_docs", { docs: [{ _id: "good", name: "good" }, { _id: "bad", ...body }] });
    assert.equal(status, 201);
    assert.equal(json[0].ok, true);
    assert.deepEqual([json[1].id, json[1].error], ["bad", "forbidden"]);
    assert.deepEqual((await site.sql("select id from cases order by 1")).map((row) => row.id), ["before", "good"]);
  });
}

test("PouchDB is told of a document that is denied, and brings the others", async (t) => {
  const site = await Site.open(t, { tables: GUARDED });
  const phone = inMemory(t);
  await phone.bulkDocs([{ _id: "a", name: "a" }, { _id: "bad", name: "b", household: 99 }, { _id: "z", name: "z" }]);
  const denied = [];
  const result = await phone.replicate.to(remote(site)).on("denied", (why) => denied.push(why));
  assert.equal(result.ok, true);
  assert.equal(result.doc_write_failures, 1);
  assert.equal(denied.length, 1);
  assert.match(JSON.stringify(denied[0]), /household_is_small/);
  assert.deepEqual((await site.sql("select id from cases order by 1")).map((row) => row.id), ["a", "z"]);

  // Put right on the phone, it arrives.
  await phone.put({ ...(await phone.get("bad")), household: 9 });
  await phone.replicate.to(remote(site));
  assert.equal(await site.value("select household from cases where id = 'bad'"), 9);
});

test("a refused revision that the table's new rules allow comes out of what was kept", async (t) => {
  const site = await Site.open(t, { tables: GUARDED });
  const docs = [{ _id: "bad", _rev: "1-b", name: "a", household: 99 }];
  await site.post("/cases/_bulk_docs", { new_edits: false, docs });
  await site.sql("alter table cases drop constraint household_is_small");
  await site.sql("select godwit.retry_rejected('cases')");
  assert.equal((await site.get("/cases/bad")).json._rev, "1-b");
});

function nested(levels) {
  return levels === 0 ? 1 : [nested(levels - 1)];
}

// What Postgres, or this project, has no room for. CouchDB would keep most of it; a client that has such a document
// must not be held up by it for ever.
const IMPOSSIBLE = {
  "U+0000 in a value": { _id: "bad", name: "a\u0000b" },
  "U+0000 in a value that no column takes": { _id: "bad", name: "a", other: { list: ["a\u0000b"] } },
  "U+0000 in a name": { _id: "bad", name: "a", "a\u0000b": 1 },
  "U+0000 in the id": { _id: "a\u0000b", name: "a" },
  "an id of 1025 bytes": { _id: "x".repeat(1025), name: "a" },
  "100 levels": { _id: "bad", name: "a", deep: nested(100) },
  "a design document": { _id: "_design/app", views: { all: { map: "function (doc) { emit(doc._id); }" } } },
};

for (const [what, bad] of Object.entries(IMPOSSIBLE)) {
  test(`${what}: the document is refused for itself, and PouchDB brings the others`, async (t) => {
    const site = await Site.open(t, { tables: GUARDED });
    const phone = inMemory(t);
    await phone.bulkDocs([{ _id: "a", name: "a" }, bad, { _id: "z", name: "z" }]);
    const denied = [];
    const result = await phone.replicate.to(remote(site)).on("denied", (why) => denied.push(why));
    assert.equal(result.ok, true);
    assert.equal(denied.length, 1);
    assert.deepEqual((await site.sql("select id from cases order by 1")).map((row) => row.id), ["a", "z"]);
  });
}
