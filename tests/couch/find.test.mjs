// Selectors: by columns and by members that have none, the same answer with an index and without.

import assert from "node:assert/strict";
import { test } from "node:test";
import nano from "nano";
import { Site } from "./site.mjs";

const ROWS = `insert into cases (id, name, household, price, tags, body)
  select 'c' || to_char(n, 'FM0000'), 'name ' || n % 50, n % 100, n / 4.0, array['t' || n % 3], jsonb_build_object('n', n)
    from generate_series(1, 2000) n`;

async function open(t, options) {
  const site = await Site.open(t, options);
  await site.sql(ROWS);
  const find = async (selector, more = {}) => {
    const { status, json } = await site.post("/cases/_find", { selector, limit: 5000, fields: ["_id"], ...more });
    assert.equal(status, 200, JSON.stringify(json));
    return json.docs.map((doc) => doc._id);
  };
  return { site, find };
}

test("a selector finds what it says, whatever it compares", async (t) => {
  const { site, find } = await open(t);
  const count = async (selector) => (await find(selector)).length;
  assert.equal(await count({ household: 7 }), 20);
  assert.equal(await count({ household: "7" }), 0, "a string is no number");
  assert.equal(await count({ household: { $gte: 90 }, name: "name 40" }), 20);
  assert.equal(await count({ name: { $in: ["name 1", "name 2"] } }), 80);
  assert.equal(await count({ household: { $gt: 97.5 } }), 40);
  assert.equal(await count({ price: { $lt: 1 } }), 3);
  assert.equal(await count({ tags: { $elemMatch: { $eq: "t1" } } }), 667);
  assert.equal(await count({ "body.n": { $gt: 1990 } }), 10);
  assert.equal(await count({ _id: { $gt: "c1990" } }), 10);
  assert.equal(await count({ _id: { $gte: "c1990" }, $or: [{ household: 95 }, { household: 96 }] }), 2);
  assert.equal(await count({ seen: null }), 2000);
  assert.equal(await count({ household: 4_000_000_000_000 }), 0);
  assert.equal(await count({ price: { $lt: 100_000_000_000 } }), 2000, "more than the column's type holds");
  await site.sql("update cases set household = null where id = 'c0001'");
  assert.equal(await count({ household: { $lt: 200 } }), await count({ $and: [{ $or: [{ household: { $lt: 200 } }] }] }));
  await site.sql("update cases set household = 1 where id = 'c0001'");
  await site.put("/cases/own", { name: "own", other: { deep: ["x"] } });
  assert.deepEqual(await find({ "other.deep": { $all: ["x"] } }), ["own"]);
  // What a client has sent stands over what the column made of it.
  await site.post("/cases/_bulk_docs", { new_edits: false, docs: [{ _id: "text", _rev: "1-a", household: "7" }] });
  assert.deepEqual(await find({ household: "7" }), ["text"]);
  assert.equal(await count({ household: 7 }), 20);
});

test("pages of an answer never overlap and leave nothing out, sorted or not", async (t) => {
  const { site } = await open(t);
  for (const sort of [undefined, [{ household: "desc" }]]) {
    const ids = [];
    let bookmark;
    for (;;) {
      const asked = { selector: { household: { $lt: 10 } }, limit: 33, sort, bookmark };
      const { json } = await site.post("/cases/_find", asked);
      if (json.docs.length === 0) break;
      ids.push(...json.docs.map((doc) => doc._id));
      ({ bookmark } = json);
    }
    assert.equal(ids.length, 200);
    assert.equal(new Set(ids).size, 200);
  }
  const sorted = await site.post("/cases/_find", { selector: { household: { $gt: 95 } }, sort: [{ price: "desc" }], limit: 2, skip: 1 });
  assert.deepEqual(sorted.json.docs.map((doc) => doc._id), ["c1998", "c1997"]);
});

test("indexes are Postgres's own, and are used", async (t) => {
  const { site } = await open(t, { settings: { GODWIT_COUCH_ROOT: "true" } });
  const cases = nano(`http://${site.address}`).use("cases");
  assert.equal((await cases.createIndex({ index: { fields: ["household"] }, name: "by-household" })).result, "created");
  assert.equal((await cases.createIndex({ index: { fields: ["household"] }, name: "by-household" })).result, "exists");
  const { docs } = await cases.find({ selector: { household: 7 }, limit: 3 });
  assert.equal(docs.length, 3);
  const listed = (await site.get("/cases/_index")).json.indexes.map((index) => index.name);
  assert.deepEqual(listed, ["_all_docs", "by-household", "cases_pkey"]);
  const explained = (await site.post("/cases/_explain", { selector: { household: 7 } })).json;
  assert.deepEqual(explained.postgres.where, [{ column: "household", op: "eq", value: "7" }]);
  assert.equal(await site.value("select count(*)::int from pg_indexes where tablename = 'cases'"), 2);
  assert.equal((await site.delete("/cases/_index/_design/by-household/json/by-household")).status, 200);
  assert.equal((await site.delete("/cases/_index/_design/cases_pkey/json/cases_pkey")).status, 404, "an app's own stays");
  const none = await site.post("/cases/_index", { index: { fields: ["nothing"] } });
  assert.deepEqual([none.status, none.json.error], [400, "bad_request"]);
});

test("what is no selector is refused by name", async (t) => {
  const { site } = await open(t);
  for (const [asked, name] of [
    [{ selector: { a: { $nope: 1 } } }, "invalid_operator"],
    [{ selector: { a: { $regex: "(" } } }, "invalid_operator"],
    [{ selector: [] }, "bad_request"],
    [{}, "bad_request"],
    [{ selector: {}, sort: [1] }, "invalid_sort_json"],
    [{ selector: {}, bookmark: "x" }, "invalid_bookmark"],
  ]) {
    const { status, json } = await site.post("/cases/_find", asked);
    assert.deepEqual([status, json.error], [400, name], JSON.stringify(asked));
  }
  for (const path of ["_design/x", "_design/x/_view/y", "_temp_view"]) {
    const { status, json } = await site.get(`/cases/${path}`);
    assert.deepEqual([status, json.error], [501, "not_implemented"], path);
  }
});
