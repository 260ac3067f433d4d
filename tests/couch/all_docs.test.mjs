// _all_docs: documents by their ids.

import assert from "node:assert/strict";
import { test } from "node:test";
import { Site } from "./site.mjs";

async function open(t) {
  const site = await Site.open(t);
  await site.sql("insert into cases (id, name) select c, upper(c) from unnest('{a,b,c,d,e,B}'::text[]) c");
  await site.sql("insert into cases (id) values ('gone'); delete from cases where id = 'gone'");
  return site;
}

async function all(site, parameters = {}) {
  const query = new URLSearchParams(Object.entries(parameters).map(([name, value]) => [name, JSON.stringify(value)]));
  const { status, json } = await site.get(`/cases/_all_docs?${query}`);
  assert.equal(status, 200, JSON.stringify(json));
  return json;
}

const ids = ({ rows }) => rows.map((row) => row.id ?? row.error);

test("all documents are there by the bytes of their ids, with their winners", async (t) => {
  const site = await open(t);
  const whole = await all(site);
  assert.deepEqual(ids(whole), ["B", "a", "b", "c", "d", "e"]);
  assert.deepEqual([whole.total_rows, whole.offset], [6, 0]);
  const { rev } = whole.rows[0].value;
  assert.deepEqual(whole.rows[0], { id: "B", key: "B", value: { rev } });
  assert.equal(rev, await site.value("select _rev::text from cases where id = 'B'"));
});

for (const [parameters, expected] of [
  [{ startkey: "b" }, ["b", "c", "d", "e"]],
  [{ start_key: "b", end_key: "d" }, ["b", "c", "d"]],
  [{ startkey: "b", endkey: "d", inclusive_end: false }, ["b", "c"]],
  [{ endkey: "b" }, ["B", "a", "b"]],
  [{ startkey: "bb", endkey: "cz" }, ["c"]],
  [{ startkey: "d", endkey: "b", descending: true }, ["d", "c", "b"]],
  [{ startkey: "d", endkey: "b", descending: true, inclusive_end: false }, ["d", "c"]],
  [{ descending: true, limit: 2 }, ["e", "d"]],
  [{ skip: 4 }, ["d", "e"]],
  [{ skip: 1, limit: 2, startkey: "a" }, ["b", "c"]],
  [{ limit: 0 }, []],
  [{ skip: 100 }, []],
  [{ key: "c" }, ["c"]],
  [{ key: "nobody" }, []],
  [{ keys: ["c", "nobody", "a", "c"] }, ["c", "not_found", "a", "c"]],
  [{ keys: ["c", "b", "a"], skip: 1, limit: 1 }, ["b"]],
  [{ keys: ["c", "b", "a"], descending: true }, ["a", "b", "c"]],
  [{ keys: [] }, []],
  [{ startkey: "d", endkey: "d", limit: 5 }, ["d"]],
  [{ startkey: "c", endkey: "c\ufff0" }, ["c"]],
  [{ startkey: null, endkey: {} }, ["B", "a", "b", "c", "d", "e"]],
]) {
  test(`_all_docs with ${JSON.stringify(parameters)}`, async (t) => {
    const site = await open(t);
    assert.deepEqual(ids(await all(site, parameters)), expected);
    const { json } = await site.post("/cases/_all_docs", parameters);
    assert.deepEqual(ids(json), expected, "by POST");
  });
}

test("documents come along, conflicts too, and of a deleted one that it was deleted", async (t) => {
  const site = await open(t);
  const docs = ["x", "y"].map((hash) => ({ _id: "f", _rev: `1-${hash}`, name: hash }));
  await site.post("/cases/_bulk_docs", { new_edits: false, docs });
  const found = await all(site, { keys: ["a", "f", "gone", "nobody"], include_docs: true, conflicts: true });
  assert.equal(found.rows[0].doc.name, "A");
  assert.deepEqual([found.rows[1].doc._rev, found.rows[1].doc._conflicts], ["1-y", ["1-x"]]);
  assert.equal(found.rows[2].value.deleted, true);
  assert.equal(found.rows[2].doc, null);
  assert.deepEqual(found.rows[3], { key: "nobody", error: "not_found" });
  assert.deepEqual((await all(site, { key: "f", include_docs: true, conflicts: true })).rows[0].doc._conflicts, ["1-x"]);
});

test("update_seq is where changes are to be read from afterwards", async (t) => {
  const site = await open(t);
  const { update_seq } = await all(site, { update_seq: true, limit: 1 });
  assert.deepEqual((await site.get(`/cases/_changes?since=${update_seq}`)).json.results, []);
  assert.equal((await all(site)).update_seq, undefined);
});

test("more documents than fit a page come all, once each, both ways", async (t) => {
  const site = await Site.open(t);
  await site.sql("insert into cases (id) select lpad(n::text, 5, '0') from generate_series(1, 3500) n");
  const up = ids(await all(site));
  assert.equal(up.length, 3500);
  assert.deepEqual(up, [...new Set(up)].sort());
  assert.deepEqual(ids(await all(site, { descending: true })), up.reverse());
  assert.deepEqual(ids(await all(site, { skip: 1500, limit: 1200 })), [...up].reverse().slice(1500, 2700));
});

test("what is no parameter of its kind is refused by name", async (t) => {
  const site = await open(t);
  for (const query of ["limit=x", "skip=-1", "include_docs=maybe", "descending=2"]) {
    const { status, json } = await site.get(`/cases/_all_docs?${query}`);
    assert.deepEqual([status, json.error], [400, "query_parse_error"], query);
  }
  assert.equal((await site.get("/cases/_all_docs?startkey=unquoted")).status, 400);
});
