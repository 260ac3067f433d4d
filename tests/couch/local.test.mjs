// Local documents: checkpoints, which are kept with the table and replicated nowhere.

import assert from "node:assert/strict";
import { test } from "node:test";
import { inMemory, pull, push, remote } from "./pouch.mjs";
import { Site } from "./site.mjs";

test("a local document is written, read, edited and deleted under revisions that count", async (t) => {
  const site = await Site.open(t);
  const made = await site.put("/cases/_local/a", { n: 1 });
  assert.deepEqual([made.status, made.json], [201, { ok: true, id: "_local/a", rev: "0-1" }]);
  assert.deepEqual((await site.get("/cases/_local/a")).json, { _id: "_local/a", _rev: "0-1", n: 1 });
  assert.equal((await site.put("/cases/_local/a", { _rev: "0-1", n: 2 })).json.rev, "0-2");
  assert.equal((await site.put("/cases/_local/a", { _rev: "0-1", n: 3 })).status, 409, "another has written it since");
  const gone = await site.delete("/cases/_local/a?rev=0-2");
  assert.deepEqual([gone.status, gone.json.ok], [200, true]);
  assert.deepEqual((await site.get("/cases/_local/a")).json, { error: "not_found", reason: "missing" });
  assert.equal((await site.put("/cases/_local/a", { n: 4 })).json.rev, "0-1");
});

test("numbers in it come back as they were sent", async (t) => {
  const site = await Site.open(t);
  const body = '{"a":1.0,"b":12345678901234567890,"c":1e400,"d":-0,"e":0.10,"f":[1.0,{"g":2.50}],"h":null}';
  assert.equal((await site.put("/cases/_local/numbers", body)).status, 201);
  const { text } = await site.get("/cases/_local/numbers");
  for (const member of body.slice(1, -1).split(/,(?=")/)) assert.ok(text.includes(member), `${member} in ${text}`);
});

test("ids with slashes and percents are ids like any other", async (t) => {
  const site = await Site.open(t);
  for (const id of ["a/b", "a%b", "a b", "a+b", "é", "mHKcx5H1bVpaPlpxLNsTEA=="]) {
    const path = `/cases/_local/${encodeURIComponent(id)}`;
    assert.equal((await site.put(path, { id })).json.id, `_local/${id}`);
    assert.equal((await site.get(path)).json._id, `_local/${id}`);
  }
  // Some clients encode the slash after _local too.
  assert.equal((await site.get("/cases/_local%2Fa%2Fb")).json.id, "a/b");
});

test("they are no records: not listed, not among changes, not counted", async (t) => {
  const site = await Site.open(t);
  await site.put("/cases/_local/a", { n: 1 });
  assert.equal((await site.get("/cases")).json.doc_count, 0);
  assert.deepEqual((await site.get("/cases/_all_docs")).json.rows, []);
  assert.deepEqual((await site.get("/cases/_changes")).json.results, []);
  assert.equal(await site.value("select count(*)::int from cases_history"), 0);
});

test("a client goes on from its checkpoint, and asks for nothing twice", async (t) => {
  const site = await Site.open(t);
  await site.sql("insert into cases (id) select 'a' || n from generate_series(1, 500) n");
  const phone = inMemory(t);
  assert.equal((await pull(phone, remote(site))).docs_read, 500);
  await site.sql("insert into cases (id) values ('b')");
  assert.equal((await pull(phone, remote(site))).docs_read, 1);
  await phone.put({ _id: "c" });
  assert.equal((await push(phone, remote(site))).docs_written, 1);
  await phone.put({ _id: "d" });
  const again = await push(phone, remote(site));
  assert.deepEqual([again.docs_read, again.docs_written], [1, 1]);
});

test("a table that was destroyed and made again is pushed whole: its checkpoints went with it", async (t) => {
  const site = await Site.open(t, { tables: "" });
  const phone = inMemory(t);
  await phone.put({ _id: "a" });
  await push(phone, remote(site, "notes"));
  await site.delete("/notes");
  assert.equal((await push(phone, remote(site, "notes"))).docs_written, 1);
  assert.equal(await site.value("select count(*)::int from notes"), 1);
});
