// _changes as a list: where it begins, what it shows, what it leaves out.

import assert from "node:assert/strict";
import { connect } from "node:net";
import { test } from "node:test";
import { setTimeout } from "node:timers/promises";
import { CASES, Site } from "./site.mjs";

/// Four records: a edited, b with a conflict, c deleted, d plain; in this order of their last change.
async function open(t) {
  const site = await Site.open(t, { tables: `${CASES}; create table other (id text primary key); select godwit.track('other')` });
  await site.sql("insert into cases (id, name, household) values ('a', 'old', 1)");
  await site.sql("insert into other values ('elsewhere')");
  await site.sql("update cases set name = 'Amina' where id = 'a'");
  const line = (hash) => ({ _id: "b", _rev: `2-${hash}`, _revisions: { start: 2, ids: [hash, "r"] }, name: hash, household: 5 });
  await site.post("/cases/_bulk_docs", { new_edits: false, docs: [line("x"), line("y")] });
  await site.sql("insert into cases (id) values ('c')");
  await site.sql("delete from cases where id = 'c'");
  await site.put("/cases/d", { name: "Dina", household: 9, note: { kind: "visit", n: [1, 2] } });
  return site;
}

async function changes(site, query = "", body) {
  const { status, json } = await (body ? site.post(`/cases/_changes?${query}`, body) : site.get(`/cases/_changes?${query}`));
  assert.equal(status, 200, JSON.stringify(json));
  return json;
}

const ids = ({ results }) => results.map((row) => row.id);

test("each record is there once, with its last change, in the order of the changes", async (t) => {
  const site = await open(t);
  const { results, last_seq, pending } = await changes(site);
  assert.deepEqual(results.map((row) => row.id), ["a", "b", "c", "d"]);
  assert.equal(pending, 0);
  // Sequences are the whole database's, so what was looked at may reach beyond the last row.
  assert.ok(last_seq >= results.at(-1).seq);
  const sequences = results.map((row) => Number(row.seq));
  assert.deepEqual(sequences, [...sequences].sort((one, other) => one - other));
  assert.match(results[0].changes[0].rev, /^2-/);
  assert.deepEqual(results.map((row) => row.deleted), [undefined, undefined, true, undefined]);
  assert.deepEqual(results[1].changes, [{ rev: "2-y" }], "the winner alone");
  assert.deepEqual((await changes(site, "style=all_docs")).results[1].changes.map(({ rev }) => rev).sort(), ["2-x", "2-y"]);
});

test("it goes on from any sequence, as a number, in quotes, and from now", async (t) => {
  const site = await open(t);
  const { results, last_seq } = await changes(site);
  for (const since of [results[1].seq, `"${results[1].seq}"`, encodeURIComponent(`"${results[1].seq}"`)]) {
    assert.deepEqual(ids(await changes(site, `since=${since}`)), ["c", "d"], String(since));
  }
  for (const since of ["now", '"now"', last_seq]) assert.deepEqual(await changes(site, `since=${since}`), { results: [], last_seq, pending: 0 });
  assert.deepEqual(ids(await changes(site, "since=0")), ["a", "b", "c", "d"]);
  assert.equal((await site.get("/cases/_changes?since=nonsense")).status, 400);
});

test("a limit ends it, says what is pending, and the next page begins there", async (t) => {
  const site = await open(t);
  const seen = [];
  let since = 0;
  for (;;) {
    const { results, last_seq, pending } = await changes(site, `limit=1&since=${since}`);
    if (results.length === 0) break;
    assert.equal(results.length, 1);
    if (results[0].id !== "d") assert.ok(pending > 0);
    seen.push(results[0].id);
    since = last_seq;
  }
  assert.deepEqual(seen, ["a", "b", "c", "d"]);
});

test("descending begins with the last", async (t) => {
  const site = await open(t);
  assert.deepEqual(ids(await changes(site, "descending=true")), ["d", "c", "b", "a"]);
  assert.deepEqual(ids(await changes(site, "descending=true&limit=2")), ["d", "c"]);
});

test("documents come along with their conflicts, deleted ones as such", async (t) => {
  const site = await open(t);
  const { results } = await changes(site, "include_docs=true&conflicts=true");
  assert.equal(results[0].doc.name, "Amina");
  assert.deepEqual(results[1].doc._conflicts, ["2-x"]);
  assert.deepEqual([results[2].doc._id, results[2].doc._deleted], ["c", true]);
  assert.deepEqual(results[3].doc.note, { kind: "visit", n: [1, 2] });
  assert.equal((await changes(site, "include_docs=true")).results[1].doc._conflicts, undefined);
});

test("_doc_ids shows those alone, by GET and by POST", async (t) => {
  const site = await open(t);
  const wanted = { doc_ids: ["d", "a", "nobody"] };
  assert.deepEqual(ids(await changes(site, "filter=_doc_ids", wanted)), ["a", "d"]);
  assert.deepEqual(ids(await changes(site, `filter=_doc_ids&doc_ids=${JSON.stringify(wanted.doc_ids)}`)), ["a", "d"]);
  assert.deepEqual(ids(await changes(site, "filter=_doc_ids", { doc_ids: [] })), []);
  assert.deepEqual(ids(await changes(site, "filter=_doc_ids&limit=1&descending=true", wanted)), ["d"]);
  assert.equal((await changes(site, "filter=_doc_ids&include_docs=true", { doc_ids: ["d"] })).results[0].doc.name, "Dina");
});

test("_selector shows what matches, by POST and by GET", async (t) => {
  const site = await open(t);
  for (const [selector, expected] of [
    [{ name: "Dina" }, ["d"]],
    [{ household: { $gt: 4 } }, ["b", "d"]],
    [{ "note.kind": "visit" }, ["d"]],
    [{ _id: { $gt: "a", $lt: "d" } }, ["b", "c"]],
    [{ _deleted: true }, ["c"]],
    [{ $or: [{ _id: "a" }, { name: "y" }] }, ["a", "b"]],
    [{}, ["a", "b", "c", "d"]],
  ]) {
    assert.deepEqual(ids(await changes(site, "filter=_selector", { selector })), expected, JSON.stringify(selector));
    const query = `filter=_selector&selector=${encodeURIComponent(JSON.stringify(selector))}`;
    assert.deepEqual(ids(await changes(site, query)), expected, JSON.stringify(selector));
  }
  const { results, last_seq } = await changes(site, "filter=_selector&limit=1", { selector: { household: { $gt: 4 } } });
  assert.deepEqual(results.map((row) => row.doc), [undefined]);
  assert.deepEqual(ids(await changes(site, `filter=_selector&since=${last_seq}`, { selector: { household: { $gt: 4 } } })), ["d"]);
  const { status, json } = await site.post("/cases/_changes?filter=_selector", { selector: { a: { $nope: 1 } } });
  assert.deepEqual([status, typeof json.reason], [400, "string"]);
});

test("a filter that isn't here is refused and doesn't show all", async (t) => {
  const site = await open(t);
  assert.ok((await site.get("/cases/_changes?filter=app/mine")).status >= 400);
  assert.deepEqual((await changes(site, "filter=_design")).results, []);
});

test("the last change of a record moves it to the end", async (t) => {
  const site = await open(t);
  const { last_seq } = await changes(site);
  await site.sql("update cases set name = 'again' where id = 'a'");
  assert.deepEqual(ids(await changes(site, `since=${last_seq}`)), ["a"]);
  assert.deepEqual(ids(await changes(site)), ["b", "c", "d", "a"]);
});

// What a client's first pull looks like right after a table was filled: autovacuum has not counted anything yet. With
// statistics the same takes a fifth of a second; this is twenty times that, for a slow machine.
test("10,000 records that Postgres has no statistics of yet are listed in seconds", async (t) => {
  const site = await Site.open(t);
  await site.sql("insert into cases (id, name) select 'c' || n, 'before' from generate_series(1, 10000) n");
  await site.sql("update cases set household = 1");
  const begun = Date.now();
  assert.equal((await changes(site)).results.length, 10_000);
  const ms = Date.now() - begun;
  assert.ok(ms < 4000, `${ms} ms`);
});

// What one client was told isn't what there is when the next one asks.
test("a list has what was committed before it, beside one that nobody reads to its end", async (t) => {
  const site = await Site.open(t);
  await site.sql("insert into cases (id, name) select 'c' || n, repeat('long ' || n, 500) from generate_series(1, 2500) n");
  const { hostname, port, pathname } = new URL(site.url);
  const stalled = connect(port, hostname).pause();
  t.after(() => stalled.destroy());
  stalled.write(`GET ${pathname}/cases/_changes?include_docs=true HTTP/1.1\r\nHost: ${hostname}\r\n\r\n`);
  await setTimeout(1000);
  const lists = await Promise.all(Array.from({ length: 12 }, () => changes(site)));
  assert.deepEqual(lists.map(({ results }) => results.length), lists.map(() => 2500));
  await site.sql("insert into cases (id) values ('new')");
  assert.equal(ids(await changes(site)).at(-1), "new");
});
