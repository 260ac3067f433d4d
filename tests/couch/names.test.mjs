// Ids and member names with every character that somebody's URL, JSON or SQL has stumbled over.

import assert from "node:assert/strict";
import { test } from "node:test";
import { assertAlike, inMemory, pull, push, remote } from "./pouch.mjs";
import { CASES, Site } from "./site.mjs";

const AWKWARD = [
  "a/b", "/a", "a/", "//", "a b", " a", "a ", " ", "a%b", "a%2Fb", "%", "%25", "a+b", "+", "a#b", "#", "a?b", "?rev=1-a",
  "a&b=c", "a;b", "a:b", "a@b", "a,b", "a'b", "'", "''", 'a"b', '"', "a\\b", "\\", "\\\\", "a`b", "a|b", "a<b>", "[a]", "{}",
  "[]", "null", "true", "1", "0", "-0", "1e3", ".", "..", "../a", "a..b", "$1", "$$", "%s", "%(a)s", "~", "a\tb", "a\nb",
  "a\r\nb", "\u0001", "\u007f", "\u0085", "\u00a0", "\u200b", "\u2028", "\ufeff", "\ufffd", "\uffff", "é", "e\u0301", "ß", "İ",
  "日本語", "עברית", "👩‍👩‍👧", "𝒳", "\u{10ffff}", "a__proto__", "constructor", "toString", "hasOwnProperty",
  "case:_rev", "string", "id", "x".repeat(1000), "é".repeat(500), "/".repeat(300),
];
// Ids can't begin with an underscore in CouchDB, and can't be empty; members can.
const NAMES = [...AWKWARD, "", "constructor", "prototype", "name ", "Name", "a.b", "$ref", "@context", "column:other", "@", "kind"];

const DEEP_LEVELS = 30;

function nested(levels) {
  let value = "the bottom";
  for (let level = 0; level < levels; level++) value = level % 2 ? { down: value } : [value];
  return value;
}

test("records with awkward ids go through PouchDB both ways and stand in SQL", async (t) => {
  const site = await Site.open(t);
  const phone = inMemory(t);
  await phone.bulkDocs(AWKWARD.map((id, number) => ({ _id: id, name: id.slice(0, 50), household: number })));
  await push(phone, remote(site));
  const ids = (await site.sql("select id from cases")).map((row) => row.id);
  assert.deepEqual(ids.sort(), [...AWKWARD].sort());
  const laptop = inMemory(t);
  await pull(laptop, remote(site));
  await assertAlike(laptop, phone);
});

test("a record with an awkward id is read, edited, listed and deleted by its URL", async (t) => {
  const site = await Site.open(t);
  const db = remote(site);
  for (const id of AWKWARD.filter((id) => id !== "." && id !== "..")) {
    await db.put({ _id: id, name: "one" });
    const doc = await db.get(id, { revs: true, conflicts: true, attachments: true });
    assert.equal(doc._id, id);
    await db.put({ _id: id, _rev: doc._rev, name: "two" });
    assert.equal((await db.get(id, { open_revs: "all", revs: true }))[0].ok.name, "two", JSON.stringify(id));
    const { rows } = await db.allDocs({ startkey: id, endkey: id, include_docs: true });
    assert.deepEqual(rows.map((row) => row.doc.name), ["two"], JSON.stringify(id));
    assert.equal((await db.allDocs({ keys: [id] })).rows[0].id, id);
    assert.deepEqual((await db.changes({ doc_ids: [id] })).results.map((row) => row.id), [id]);
    await db.remove(id, rows[0].value.rev);
    assert.equal((await db.get(id).catch((error) => error)).status, 404, JSON.stringify(id));
  }
});

test("ids are in the order of their bytes", async (t) => {
  const site = await Site.open(t);
  await remote(site).bulkDocs(AWKWARD.map((_id) => ({ _id })));
  const bytewise = [...AWKWARD].sort((one, other) => Buffer.compare(Buffer.from(one), Buffer.from(other)));
  assert.deepEqual((await remote(site).allDocs()).rows.map((row) => row.id), bytewise);
});

test("members with awkward names and values come back as they were sent", async (t) => {
  // A table whose key is `_id`: where it is `id`, a member of that name is the key itself.
  const tables = "create table cases (_id text primary key, name text, tags text[], body jsonb); select godwit.track('cases')";
  const site = await Site.open(t, { tables });
  const members = Object.fromEntries(NAMES.map((name, number) => [name, number % 2 ? name : { [name]: [name, { [name]: number }] }]));
  const body = { ...members, id: "an id of its own", name: 'a "name"\\', body: { ...members }, tags: AWKWARD };
  const phone = inMemory(t);
  await phone.put({ _id: "a", ...body });
  await push(phone, remote(site));
  const { _id, _rev, ...read } = await remote(site).get("a");
  assert.deepEqual(Object.keys(read).sort(), Object.keys(body).sort());
  for (const name of Object.keys(body)) assert.deepEqual(read[name], body[name], name);
  assert.deepEqual(await site.value("select tags from cases"), AWKWARD);
  const laptop = inMemory(t);
  await pull(laptop, remote(site));
  await assertAlike(laptop, phone);
});

// A JavaScript client would lose it on its own side already, so it goes as text.
test("a member named __proto__ is one like any other", async (t) => {
  const site = await Site.open(t);
  const text = '{"_id":"a","__proto__":1}';
  assert.equal((await site.post("/cases", text)).json.error, "doc_validation", "an underscore is CouchDB's own");
  const inner = '{"x":{"__proto__":{"y":1},"constructor":{"prototype":[]}},"proto":{"__proto__":null}}';
  assert.equal((await site.put("/cases/a", inner)).status, 201);
  const { text: read } = await site.get("/cases/a");
  assert.match(read, /"x":\{"__proto__":\{"y":1\},"constructor":\{"prototype":\[\]\}\}/);
  assert.match(read, /"proto":\{"__proto__":null\}/);
});

// "column:" stands before columns whose names begin with an underscore, which no member of CouchDB's may; before no others.
test("a member named column:name is not the column name", async (t) => {
  const site = await Site.open(t);
  await site.put("/cases/a", { name: "one", "column:name": "two" });
  await site.put("/cases/b", { "column:name": "two" });
  const read = async (id) => (({ name, "column:name": other }) => [name, other])((await site.get(`/cases/${id}`)).json);
  assert.deepEqual(await read("a"), ["one", "two"]);
  assert.deepEqual(await read("b"), [null, "two"]);
  assert.deepEqual(await site.sql("select id, name from cases order by 1"), [{ id: "a", name: "one" }, { id: "b", name: null }]);
});

test("a column whose name begins with an underscore is read and written as column:_name", async (t) => {
  const site = await Site.open(t, { tables: "create table cases (id text primary key, _note text); select godwit.track('cases')" });
  await site.sql("insert into cases values ('a', 'from SQL')");
  const phone = inMemory(t);
  await pull(phone, remote(site));
  const doc = await phone.get("a");
  assert.equal(doc["column:_note"], "from SQL");
  await phone.put({ ...doc, "column:_note": "from the phone" });
  await push(phone, remote(site));
  assert.equal(await site.value("select _note from cases"), "from the phone");
});

// serde_json hands numbers and raw values on inside itself under these names; they are a client's to use all the same.
for (const name of ["$serde_json::private::Number", "$serde_json::private::RawValue"]) {
  test(`a member named ${name} is one like any other, at any depth and in a column`, async (t) => {
    const site = await Site.open(t);
    for (const [id, value] of Object.entries({ text: "12", number: 12, map: { a: 1 }, none: null })) {
      const body = { [name]: value, other: { [name]: value }, list: [{ [name]: value }], body: { [name]: value } };
      const { status, text } = await site.put(`/cases/${id}`, body);
      assert.equal(status, 201, text);
      const { json } = await site.get(`/cases/${id}`);
      for (const member of Object.keys(body)) assert.deepEqual(json[member], body[member], `${id} ${member}`);
    }
  });
}

test("a member with such a name that SQL has written doesn't stop clients from reading", async (t) => {
  const site = await Site.open(t);
  await site.sql(`insert into cases (id, body) values
    ('a', '{"$serde_json::private::Number": "x"}'), ('b', '{"$serde_json::private::RawValue": "x"}'), ('c', '{"n": 1}')`);
  const phone = inMemory(t);
  await pull(phone, remote(site));
  assert.deepEqual((await phone.get("a")).body, { "$serde_json::private::Number": "x" });
  assert.deepEqual((await phone.get("b")).body, { "$serde_json::private::RawValue": "x" });
  assert.deepEqual((await phone.get("c")).body, { n: 1 });
});

test("values that are deep, wide, long and empty come back as they were sent", async (t) => {
  const site = await Site.open(t);
  const body = {
    deep: nested(DEEP_LEVELS),
    wide: Array.from({ length: 20_000 }, (_, number) => number),
    rows: Array.from({ length: 2000 }, (_, number) => ({ n: number, s: `${number}`, l: [] })),
    long: "ab\u{1f426}".repeat(100_000),
    empty: [{}, [], "", null, false, 0, -0.5, 1e-300, 1.7976931348623157e308, 5e-324],
    body: { deep: nested(DEEP_LEVELS) },
  };
  const phone = inMemory(t);
  await phone.put({ _id: "a", ...body });
  await push(phone, remote(site));
  const { _id, _rev, ...read } = await remote(site).get("a");
  for (const name of Object.keys(body)) assert.deepEqual(read[name], body[name], name);
  const laptop = inMemory(t);
  await pull(laptop, remote(site));
  await assertAlike(laptop, phone);
});

test("tables with awkward names are databases too", async (t) => {
  const names = ["with space", "a+b", "Ünï", "UPPER", 'q"uote', "a%b", "a/b"];
  const tables = names.map((name) => {
    const quoted = `"${name.replaceAll('"', '""')}"`;
    return `create table ${quoted} (id text primary key); select godwit.track('${quoted}')`;
  });
  const site = await Site.open(t, { tables: [CASES, ...tables].join(";") });
  const { json } = await site.get("/_all_dbs");
  assert.deepEqual(json.sort(), [...names, "cases"].sort());
  for (const name of names) {
    const phone = inMemory(t);
    await phone.put({ _id: "a/b", n: 1 });
    await push(phone, remote(site, encodeURIComponent(name)));
    await assertAlike(remote(site, encodeURIComponent(name)), phone, name);
  }
});
