// What replication brings becomes the same tree in whatever order it comes: raw requests, as another server makes them.

import assert from "node:assert/strict";
import { test } from "node:test";
import { Random } from "./random.mjs";
import { CASES, Site } from "./site.mjs";

/// A revision as replication sends it, from its line, itself first: `d("a", 3, "c b a")` is 3-c, made from 2-b.
function d(_id, start, line, body = {}) {
  const ids = line.split(" ");
  return { _id, _rev: `${start}-${ids[0]}`, _revisions: { start, ids }, name: ids[0], ...body };
}

async function replicate(site, ...docs) {
  const { status, json } = await site.post("/cases/_bulk_docs", { new_edits: false, docs });
  assert.deepEqual([status, json], [201, []]);
}

/// The winner, and all leaves in the bytes' order, deleted ones with an x.
async function tree(site, id) {
  const { json } = await site.get(`/cases/${id}?open_revs=all`);
  const leaves = json.map(({ ok }) => ok._rev + (ok._deleted ? "x" : "")).sort();
  const row = (await site.get(`/cases/_changes?filter=_doc_ids&doc_ids=["${id}"]`)).json.results[0];
  return [row.changes[0].rev, ...leaves];
}

const open = (t) => Site.open(t, { tables: CASES });

test("several leaves of one record make the same tree in any order, together and one by one", async (t) => {
  const random = Random.seeded(t);
  const site = await open(t);
  const leaves = [
    [3, "c b a"],
    [3, "d b a"],
    [2, "x a"],
    [4, "z y x2 a", { _deleted: true }],
    [5, "e d2 d b a"],
  ];
  const expected = ["5-e", "2-x", "3-c", "4-zx", "5-e"];
  for (let number = 0; number < 20; number++) {
    const docs = random.shuffled(leaves).map(([start, line, body]) => d(`t${number}`, start, line, body));
    if (random.chance(0.5)) await replicate(site, ...docs);
    else for (const doc of docs) await replicate(site, doc);
    // And again: what is known changes nothing.
    await replicate(site, random.one(docs));
    assert.deepEqual(await tree(site, `t${number}`), expected, docs.map((doc) => doc._rev).join(" "));
  }
  assert.equal(await site.value("select string_agg(distinct _rev::text, ' ') from cases"), "5-e");
  const { json } = await site.get("/cases/t0?conflicts=true&deleted_conflicts=true&revs=true");
  assert.deepEqual(json._conflicts, ["3-c", "2-x"]);
  assert.deepEqual(json._deleted_conflicts, ["4-z"]);
  assert.deepEqual(json._revisions, { start: 5, ids: ["e", "d2", "d", "b", "a"] });
});

test("a branch that is deleted loses to a lower one that lives, and wins when all are deleted", async (t) => {
  const site = await open(t);
  await replicate(site, d("a", 1, "a"), d("a", 3, "c b a0", { _deleted: true }));
  assert.deepEqual(await tree(site, "a"), ["1-a", "1-a", "3-cx"]);
  assert.equal((await site.get("/cases/a")).json._rev, "1-a");
  await replicate(site, d("a", 2, "z a", { _deleted: true }));
  assert.deepEqual(await tree(site, "a"), ["3-c", "2-zx", "3-cx"]);
  assert.deepEqual((await site.get("/cases/a")).json, { error: "not_found", reason: "deleted" });
  assert.equal(await site.value("select count(*)::int from cases"), 0);
  await replicate(site, d("a", 4, "d c b a0"));
  assert.deepEqual(await tree(site, "a"), ["4-d", "2-zx", "4-d"]);
});

test("a line with a gap is a root of its own until the gap is filled", async (t) => {
  const site = await open(t);
  await replicate(site, d("a", 2, "b a"));
  await replicate(site, d("a", 5, "e d"));
  assert.deepEqual(await tree(site, "a"), ["5-e", "2-b", "5-e"]);
  assert.deepEqual((await site.get("/cases/a?conflicts=true&revs=true")).json._revisions, { start: 5, ids: ["e", "d"] });
  await replicate(site, d("a", 6, "f e d c b a"));
  assert.deepEqual(await tree(site, "a"), ["6-f", "6-f"]);
  assert.deepEqual((await site.get("/cases/a?revs=true")).json._revisions, { start: 6, ids: ["f", "e", "d", "c", "b", "a"] });
});

test("roots that nothing connects stand beside each other", async (t) => {
  const site = await open(t);
  await replicate(site, d("a", 1, "a"), d("a", 1, "b"), d("a", 7, "g"), d("a", 3, "c x"));
  assert.deepEqual(await tree(site, "a"), ["7-g", "1-a", "1-b", "3-c", "7-g"]);
  assert.deepEqual((await site.get("/cases/a?conflicts=true")).json._conflicts, ["3-c", "1-b", "1-a"]);
});

test("the same hash at two generations is two revisions", async (t) => {
  const site = await open(t);
  await replicate(site, d("a", 3, "x x x"));
  await replicate(site, d("b", 2, "x x"), d("b", 2, "y x"));
  assert.deepEqual(await tree(site, "a"), ["3-x", "3-x"]);
  assert.deepEqual(await tree(site, "b"), ["2-y", "2-x", "2-y"]);
});

test("revisions that no CouchDB would make are kept by the letter", async (t) => {
  const site = await open(t);
  for (const [n, hash] of ["x", "ABCDEF", "Zz-9", "a.b_c~", "f".repeat(128), "0", "%2F"].entries()) {
    await replicate(site, d(`o${n}`, 1, hash), d(`o${n}`, 2, `${hash} ${hash}`));
    const { json } = await site.get(`/cases/o${n}?rev=${encodeURIComponent(`2-${hash}`)}`);
    assert.equal(json._rev, `2-${hash}`);
    const edited = await site.put(`/cases/o${n}`, { _rev: json._rev, name: "edited" });
    assert.equal(edited.status, 201);
  }
  // CouchDB takes none of such a batch; here they hold up nothing but themselves.
  const docs = [{ _id: "a", _rev: "nope" }, { _id: "b", _rev: "0-a" }, { _id: "c", _rev: "1-a" }];
  const refused = (await site.post("/cases/_bulk_docs", { new_edits: false, docs })).json;
  assert.deepEqual(refused.map(({ id, error }) => [id, error]), [["a", "forbidden"], ["b", "forbidden"]]);
  assert.equal((await site.get("/cases/c")).status, 200);
});

test("generations are compared as numbers, hashes as bytes", async (t) => {
  const site = await open(t);
  await replicate(site, d("a", 9, "f"), d("a", 10, "a"));
  assert.equal((await site.get("/cases/a")).json._rev, "10-a");
  await replicate(site, d("b", 1, "a"), d("b", 1, "Z"), d("b", 1, "b"));
  assert.deepEqual((await site.get("/cases/b?conflicts=true")).json._conflicts, ["1-a", "1-Z"]);
  assert.equal((await site.get("/cases/b")).json._rev, "1-b");
});

test("a record with 5,000 offline revisions comes at once, and is edited on from there", async (t) => {
  const site = await open(t);
  const hash = (n) => n.toString(16).padStart(32, "0");
  const line = (from, to) => Array.from({ length: from - to + 1 }, (_, n) => hash(from - n)).join(" ");
  await replicate(site, d("a", 1, hash(1)));
  await replicate(site, d("a", 5000, line(5000, 1)));
  assert.deepEqual(await tree(site, "a"), [`5000-${hash(5000)}`, `5000-${hash(5000)}`]);
  const { json } = await site.get("/cases/a?revs=true");
  assert.equal(json._revisions.start, 5000);
  assert.deepEqual(json._revisions.ids.slice(0, 1000), line(5000, 4001).split(" "));
  // CouchDB remembers a thousand, and so does a client: its line begins in the middle of what is here.
  await replicate(site, d("a", 5900, line(5900, 4901)));
  assert.deepEqual(await tree(site, "a"), [`5900-${hash(5900)}`, `5900-${hash(5900)}`]);
  const asked = await site.post("/cases/_revs_diff", { a: [`5900-${hash(5900)}`, `5000-${hash(5000)}`, `5901-${hash(5901)}`] });
  assert.deepEqual(asked.json.a.missing, [`5901-${hash(5901)}`]);
  const edited = await site.put("/cases/a", { _rev: `5900-${hash(5900)}`, name: "edited" });
  assert.match(edited.json.rev, /^5901-/);
});

test("_revs_diff names what is missing, and what it may have been made from", async (t) => {
  const site = await open(t);
  await replicate(site, d("a", 2, "b a"), d("a", 3, "c b2 a"), d("whole", 1, "a"));
  const ask = async (body) => (await site.post("/cases/_revs_diff", body)).json;
  assert.deepEqual(await ask({ a: ["2-b", "3-c"], whole: ["1-a"] }), {}, "what is all here isn't spoken of");
  assert.deepEqual(await ask({ new: ["1-x", "2-y"] }), { new: { missing: ["1-x", "2-y"] } });
  const { a } = await ask({ a: ["2-b", "4-d"] });
  assert.deepEqual(a.missing, ["4-d"]);
  assert.deepEqual(a.possible_ancestors.sort(), ["2-b", "3-c"]);
  assert.deepEqual((await ask({ a: ["3-x"] })).a.possible_ancestors, ["2-b"], "lower generations only");
  assert.equal((await ask({ a: ["1-x"] })).a.possible_ancestors, undefined);
  assert.deepEqual(await ask({}), {});
  assert.deepEqual(await ask({ a: [] }), {});
});

// CouchDB does not (couch_key_tree.erl, find_missing). Here a history that can be had is wanted.
test("_revs_diff asks for the body of an ancestor that is known by name only", async (t) => {
  const site = await open(t);
  await replicate(site, d("a", 2, "b a"));
  const ask = async () => (await site.post("/cases/_revs_diff", { a: ["1-a"] })).json;
  assert.deepEqual((await ask()).a.missing, ["1-a"]);
  await replicate(site, d("a", 1, "a"));
  assert.deepEqual(await ask(), {});
});

test("an old body is read by its revision; one that never came is missing", async (t) => {
  const site = await open(t);
  const first = (await site.put("/cases/a", { name: "one" })).json.rev;
  const second = (await site.put("/cases/a", { _rev: first, name: "two" })).json.rev;
  const third = (await site.delete(`/cases/a?rev=${second}`)).json.rev;
  assert.equal((await site.get(`/cases/a?rev=${first}`)).json.name, "one");
  assert.equal((await site.get(`/cases/a?rev=${second}`)).json.name, "two");
  const gone = (await site.get(`/cases/a?rev=${third}`)).json;
  assert.deepEqual([gone._rev, gone._deleted], [third, true]);
  assert.equal((await site.get(`/cases/a?rev=${first}&latest=true`)).json._rev, third);
  const infos = (await site.get(`/cases/a?rev=${third}&revs_info=true`)).json._revs_info;
  assert.deepEqual(infos.map(({ rev }) => rev), [third, second, first]);
  assert.deepEqual(infos.map(({ status }) => status), ["deleted", "available", "available"]);
  await replicate(site, d("b", 3, "c b a"));
  assert.deepEqual((await site.get("/cases/b?rev=2-b")).json, { error: "not_found", reason: "missing" });
  assert.equal((await site.get("/cases/b?revs_info=true")).json._revs_info[1].status, "missing");
});

test("open_revs gives what is asked for, in full and with lines", async (t) => {
  const site = await open(t);
  await replicate(site, d("a", 2, "b a"), d("a", 3, "c b a"), d("a", 2, "x a"), d("a", 3, "z y a", { _deleted: true }));
  const ask = async (query) => (await site.get(`/cases/a?${query}`)).json;
  const all = await ask("open_revs=all&revs=true");
  assert.deepEqual(all.map(({ ok }) => ok._rev).sort(), ["2-x", "3-c", "3-z"]);
  assert.deepEqual(all.find(({ ok }) => ok._rev === "3-c").ok._revisions, { start: 3, ids: ["c", "b", "a"] });
  assert.equal(all.find(({ ok }) => ok._rev === "3-z").ok._deleted, true);
  const some = await ask('open_revs=["2-b","9-q","3-c"]');
  assert.deepEqual(some.map((row) => row.ok?._rev ?? row), ["2-b", { missing: "9-q" }, "3-c"]);
  const latest = await ask('open_revs=["2-b"]&latest=true');
  assert.deepEqual(latest.map((row) => row.ok._rev), ["3-c"]);
  assert.equal((await site.get("/cases/nobody?open_revs=all")).status, 404);
});

test("_bulk_get gives revisions, what became of them, leaves, and errors one by one", async (t) => {
  const site = await open(t);
  await replicate(site, d("a", 2, "b a"), d("a", 3, "c b a"), d("a", 2, "x a"), d("gone", 2, "b a", { _deleted: true }));
  const ask = async (query, docs) => (await site.post(`/cases/_bulk_get?${query}`, { docs })).json.results;
  const [one, other, missing, nobody, gone] = await ask("revs=true", [
    { id: "a", rev: "3-c" },
    { id: "a", rev: "2-b" },
    { id: "a", rev: "9-q" },
    { id: "nobody", rev: "1-a" },
    { id: "gone", rev: "2-b" },
  ]);
  assert.deepEqual(one.docs[0].ok._revisions, { start: 3, ids: ["c", "b", "a"] });
  assert.equal(other.docs[0].ok._rev, "2-b");
  assert.deepEqual(missing.docs[0].error, { id: "a", rev: "9-q", error: "not_found", reason: "missing" });
  assert.equal(nobody.docs[0].error.error, "not_found");
  assert.equal(gone.docs[0].ok._deleted, true);
  const [latest, leaf, both] = await ask("latest=true", [
    { id: "a", rev: "2-b" },
    { id: "a", rev: "2-x" },
    { id: "a", rev: "1-a" },
  ]);
  assert.deepEqual(latest.docs.map(({ ok }) => ok._rev), ["3-c"]);
  assert.deepEqual(leaf.docs.map(({ ok }) => ok._rev), ["2-x"]);
  assert.equal(both.docs[0].error?.error ?? "found", "found", "an ancestor whose body never came still has leaves");
  assert.deepEqual(both.docs.map(({ ok }) => ok._rev).sort(), ["2-x", "3-c"]);
});

// chttpd_db.erl, bulk_get_open_doc_revs1: without a rev it opens `all`; a rev in no form is that document's error.
test("_bulk_get without a revision gives all leaves", async (t) => {
  const site = await open(t);
  await replicate(site, d("a", 3, "c b a"), d("a", 2, "x a"));
  const { json } = await site.post("/cases/_bulk_get", { docs: [{ id: "a" }] });
  assert.deepEqual(json.results[0].docs.map(({ ok }) => ok._rev).sort(), ["2-x", "3-c"]);
});

test("_bulk_get says of one document what is wrong with its revision, and gives the others", async (t) => {
  const site = await open(t);
  await replicate(site, d("a", 1, "a"));
  const { status, json } = await site.post("/cases/_bulk_get", { docs: [{ id: "b", rev: "nope" }, { id: "a", rev: "1-a" }] });
  assert.equal(status, 200);
  assert.equal(json.results[0].docs[0].error.error, "bad_request");
  assert.equal(json.results[1].docs[0].ok._rev, "1-a");
});

test("what is replicated by PUT with new_edits=false is a revision as it stands", async (t) => {
  const site = await open(t);
  const { status, json } = await site.put("/cases/a?new_edits=false", d("a", 2, "b a"));
  assert.deepEqual([status, json], [201, { ok: true, id: "a", rev: "2-b" }]);
  await site.put("/cases/a?new_edits=false", d("a", 2, "c a"));
  assert.deepEqual(await tree(site, "a"), ["2-c", "2-b", "2-c"]);
});

test("a revision that comes again with another body is refused, and what is here stays", async (t) => {
  const site = await open(t);
  await replicate(site, d("a", 1, "a"));
  const { json } = await site.post("/cases/_bulk_docs", { new_edits: false, docs: [d("a", 1, "a", { name: "other" })] });
  assert.equal(json.length, 1);
  assert.equal((await site.get("/cases/a")).json.name, "a");
});
