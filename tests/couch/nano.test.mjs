// nano, the Node client of CouchDB's own project: every call as an app makes it, and every error by its name.

import assert from "node:assert/strict";
import { test } from "node:test";
import Nano from "nano";
import { CASES, Site } from "./site.mjs";

// A path in the URL is the server's here, not a database's name.
const connect = (url) => Nano({ url, parseUrl: false });

async function failure(promise) {
  const found = await promise.then(
    (answer) => assert.fail(`it was not refused: ${JSON.stringify(answer)}`),
    (error) => error,
  );
  return [found.statusCode, found.error, found.reason];
}

async function open(t) {
  const site = await Site.open(t);
  const nano = connect(site.url);
  return { site, nano, db: nano.use("cases") };
}

test("databases are made, listed, described and destroyed", async (t) => {
  const site = await Site.open(t, { tables: "" });
  const nano = connect(site.url);
  assert.equal((await nano.info()).couchdb, "Welcome");
  assert.deepEqual(await nano.db.create("notes"), { ok: true });
  assert.deepEqual(await nano.db.list(), ["notes"]);
  const [status, name] = await failure(nano.db.create("notes"));
  assert.deepEqual([status, name], [412, "file_exists"]);
  await nano.use("notes").insert({ n: 1 }, "a");
  const info = await nano.db.get("notes");
  assert.equal(info.db_name, "notes");
  assert.equal(info.doc_count, 1);
  assert.equal(typeof info.sizes.file, "number");
  assert.deepEqual(await nano.db.destroy("notes"), { ok: true });
  assert.deepEqual(await nano.db.list(), []);
  assert.deepEqual(await failure(nano.db.destroy("notes")), [404, "not_found", "Database does not exist."]);
  assert.deepEqual(await failure(nano.use("notes").get("a")), [404, "not_found", "Database does not exist."]);
  assert.deepEqual(await failure(nano.use("notes").insert({ n: 1 })), [404, "not_found", "Database does not exist."]);
  assert.equal((await failure(nano.db.create("_notes")))[1], "illegal_database_name");
});

test("a database that is made again under the same name is empty", async (t) => {
  const site = await Site.open(t, { tables: "" });
  const nano = connect(site.url);
  await nano.db.create("notes");
  const { rev } = await nano.use("notes").insert({ n: 1 }, "a");
  await nano.db.destroy("notes");
  await nano.db.create("notes");
  assert.deepEqual(await failure(nano.use("notes").get("a")), [404, "not_found", "missing"]);
  assert.deepEqual(await failure(nano.use("notes").get("a", { rev })), [404, "not_found", "missing"]);
  assert.equal((await nano.db.get("notes")).doc_count, 0);
  assert.equal((await nano.use("notes").insert({ n: 1 }, "a")).ok, true);
});

test("a table with columns of its own can't be destroyed by a client", async (t) => {
  const { site, nano } = await open(t);
  await site.sql("insert into cases (id) values ('a')");
  assert.equal((await failure(nano.db.destroy("cases")))[0], 403);
  assert.equal(await site.value("select count(*)::int from cases"), 1);
});

test("documents are inserted, read, edited and destroyed", async (t) => {
  const { site, db } = await open(t);
  const made = await db.insert({ name: "Amina", household: 7 }, "case-17");
  assert.equal(made.ok, true);
  assert.match(made.rev, /^1-[0-9a-f]{32}$/);
  const read = await db.get("case-17");
  assert.deepEqual([read._id, read._rev, read.name, read.household], ["case-17", made.rev, "Amina", 7]);
  const edited = await db.insert({ ...read, household: 8 });
  assert.match(edited.rev, /^2-/);
  assert.equal(await site.value("select household::int from cases"), 8);
  const head = await db.head("case-17");
  assert.equal(head.etag, `"${edited.rev}"`);
  const gone = await db.destroy("case-17", edited.rev);
  assert.match(gone.rev, /^3-/);
  assert.deepEqual(await failure(db.get("case-17")), [404, "not_found", "deleted"]);
  assert.deepEqual(await failure(db.get("nobody")), [404, "not_found", "missing"]);
  assert.match((await db.insert({ name: "again" }, "case-17")).rev, /^4-/);
  assert.match((await db.insert({ name: "no id" })).id, /^[0-9a-f]{32}$/);
});

test("a member that is left out of an edit is gone, in its column too", async (t) => {
  const { site, db } = await open(t);
  const { rev } = await db.insert({ name: "Amina", household: 7, note: "x" }, "a");
  await db.insert({ _rev: rev, name: "Amina" }, "a");
  assert.deepEqual(await site.sql("select name, household from cases"), [{ name: "Amina", household: null }]);
  assert.equal((await db.get("a")).note, undefined);
});

test("an edit that was made of another revision is a conflict", async (t) => {
  const { db } = await open(t);
  const conflict = [409, "conflict", "Document update conflict."];
  const first = await db.insert({ n: 1 }, "a");
  const second = await db.insert({ n: 2, _rev: first.rev }, "a");
  assert.deepEqual(await failure(db.insert({ n: 3 }, "a")), conflict, "no revision");
  assert.deepEqual(await failure(db.insert({ n: 3, _rev: first.rev }, "a")), conflict, "an old one");
  assert.deepEqual(await failure(db.insert({ n: 3, _rev: "9-abc" }, "a")), conflict, "an unknown one");
  assert.deepEqual(await failure(db.insert({ n: 3, _rev: "1-abc" }, "new")), conflict, "one of no document");
  assert.deepEqual(await failure(db.destroy("a", first.rev)), conflict, "a delete of an old one");
  const gone = await db.destroy("a", second.rev);
  assert.deepEqual(await failure(db.insert({ n: 3, _rev: second.rev }, "a")), conflict, "one that was deleted since");
  assert.match((await db.insert({ n: 3, _rev: gone.rev }, "a")).rev, /^4-/, "the tombstone itself is edited");
});

// CouchDB compares revisions alone: who writes a document that is there without naming its revision has not read it.
test("a document that is there is not made once more, even with the same body", async (t) => {
  const { site, db } = await open(t);
  await db.insert({ name: "Amina" }, "a");
  assert.deepEqual(await failure(db.insert({ name: "Amina" }, "a")), [409, "conflict", "Document update conflict."]);
  const done = await site.post("/cases/_bulk_docs", { docs: [{ _id: "a", name: "Amina" }] });
  assert.equal(done.json[0].error, "conflict");
});

// chttpd_db.erl, db_doc_req DELETE: whether there is such a document is looked at before its revision is.
test("what can't be deleted says why", async (t) => {
  const { site, db } = await open(t);
  const { rev } = await db.insert({ n: 1 }, "a");
  const ask = async (path) => (({ status, json }) => [status, json.error, json.reason])(await site.delete(`/cases/${path}`));
  assert.deepEqual(await ask("a"), [409, "conflict", "Document update conflict."], "no revision");
  assert.deepEqual(await ask("nobody"), [404, "not_found", "missing"]);
  assert.deepEqual(await ask("nobody?rev=1-abc"), [404, "not_found", "missing"], "no document, whatever the revision");
  await db.destroy("a", rev);
  assert.deepEqual(await ask("a"), [404, "not_found", "deleted"], "it is deleted");
});

test("what is no document or revision is refused by name", async (t) => {
  const { site, db } = await open(t);
  const underscore = "Only reserved document ids may start with underscore.";
  assert.deepEqual(await failure(db.insert({ n: 1 }, "_nope")), [400, "illegal_docid", underscore]);
  assert.deepEqual((await failure(db.insert({ _id: "_nope", n: 1 }))).slice(0, 2), [400, "illegal_docid"]);
  assert.deepEqual((await failure(db.insert({ _id: 17, n: 1 }))).slice(0, 2), [400, "illegal_docid"]);
  const special = [400, "doc_validation", "Bad special document member: _nope"];
  assert.deepEqual(await failure(db.insert({ _nope: 1 }, "a")), special);
  assert.deepEqual((await failure(db.insert({ _rev: "nope" }, "a"))).slice(0, 2), [400, "bad_request"]);
  assert.deepEqual((await failure(db.get("a", { rev: "nope" }))).slice(0, 2), [400, "bad_request"]);
  for (const [body, reason] of [["[1]", /object/], ['"a"', /object/], ["{", /invalid UTF-8 JSON/], ['{"a":', /invalid UTF-8 JSON/]]) {
    const { status, json } = await site.put("/cases/a", body);
    assert.deepEqual([status, json.error], [400, "bad_request"], body);
    assert.match(json.reason, reason, body);
  }
  assert.equal(await site.value("select count(*)::int from cases_history"), 0);
});

test("documents are written and fetched in bulk, each with its own outcome", async (t) => {
  const { db } = await open(t);
  const { rev } = await db.insert({ name: "old" }, "b");
  const done = await db.bulk({ docs: [{ _id: "a", name: "a" }, { _id: "b", name: "b" }, { name: "c" }, { _id: "d", _rev: "1-x" }] });
  assert.deepEqual(done.map((row) => row.error), [undefined, "conflict", undefined, "conflict"]);
  assert.deepEqual([done[0].id, done[0].ok, done[1].id], ["a", true, "b"]);
  assert.match(done[2].id, /^[0-9a-f]{32}$/);
  const again = await db.bulk({ docs: [{ _id: "b", _rev: rev, _deleted: true }, { _id: "a", _rev: done[0].rev, name: "a2" }] });
  assert.deepEqual(again.map((row) => row.ok), [true, true]);
  const fetched = await db.fetch({ keys: ["a", "nobody", "b"] });
  assert.deepEqual(fetched.rows.map((row) => row.doc?.name), ["a2", undefined, undefined]);
  assert.deepEqual(fetched.rows[1], { key: "nobody", error: "not_found" });
  assert.deepEqual(fetched.rows[2].value, { rev: again[0].rev, deleted: true });
  assert.equal(fetched.rows[2].doc, null);
  const revs = await db.fetchRevs({ keys: ["a"] });
  assert.deepEqual(revs.rows, [{ id: "a", key: "a", value: { rev: again[1].rev } }]);
});

test("documents are listed by ranges", async (t) => {
  const { db } = await open(t);
  await db.bulk({ docs: ["a", "b", "c", "d"].map((_id) => ({ _id, name: _id })) });
  const ids = async (options) => (await db.list(options)).rows.map((row) => row.id);
  const whole = await db.list({ include_docs: true });
  assert.deepEqual([whole.total_rows, whole.offset], [4, 0]);
  assert.deepEqual(whole.rows.map((row) => row.doc.name), ["a", "b", "c", "d"]);
  assert.deepEqual(await ids({ startkey: "b", endkey: "c" }), ["b", "c"]);
  assert.deepEqual(await ids({ start_key: "b", limit: 2, skip: 1 }), ["c", "d"]);
  assert.deepEqual(await ids({ descending: true, startkey: "c" }), ["c", "b", "a"]);
});

test("changes are read, and the last sequence goes on from there", async (t) => {
  const { db } = await open(t);
  await db.bulk({ docs: [{ _id: "a" }, { _id: "b" }] });
  const first = await db.changes();
  assert.deepEqual(first.results.map((row) => row.id), ["a", "b"]);
  await db.insert({}, "c");
  const second = await db.changes({ since: first.last_seq, include_docs: true });
  assert.deepEqual(second.results.map((row) => row.doc._id), ["c"]);
  const reader = await new Promise((resolve, reject) => {
    const seen = [];
    db.changesReader
      // It ends with the first long poll that brings nothing.
      .get({ since: "0", batchSize: 2, timeout: 500 })
      .on("change", (change) => seen.push(change.id))
      .on("error", reject)
      .on("end", () => resolve(seen));
  });
  assert.deepEqual(reader, ["a", "b", "c"]);
  const spooled = await new Promise((resolve, reject) => {
    const seen = [];
    db.changesReader
      .spool({ since: "0", includeDocs: true })
      .on("batch", (batch) => seen.push(...batch.map((change) => change.doc._id)))
      .on("error", reject)
      .on("end", () => resolve(seen));
  });
  assert.deepEqual(spooled, ["a", "b", "c"]);
});

test("a document of a document table is copied", async (t) => {
  const site = await Site.open(t, { tables: "" });
  const notes = connect(site.url).use("notes");
  await connect(site.url).db.create("notes");
  const { rev } = await notes.insert({ n: 1 }, "a");
  assert.equal((await site.ask("COPY", "/notes/a", undefined, { destination: "b" })).status, 201);
  const over = { destination: `b?rev=${(await notes.get("b"))._rev}` };
  await notes.insert({ _rev: rev, n: 2 }, "a");
  assert.equal((await site.ask("COPY", "/notes/a", undefined, over)).status, 201);
  assert.equal((await notes.get("b")).n, 2);
  await notes.insert({ ...(await notes.get("a")), n: 3 });
  assert.equal((await site.ask("COPY", "/notes/a", undefined, over)).status, 409, "another revision is there by now");
});

test("a row of a table whose key is a column of its own is copied", async (t) => {
  const { site, db } = await open(t);
  await db.insert({ name: "Amina", note: "x" }, "a");
  const done = await site.ask("COPY", "/cases/a", undefined, { destination: "b/c" });
  assert.deepEqual([done.status, done.json?.id], [201, "b/c"], done.text);
  const copy = await db.get("b/c");
  assert.deepEqual([copy.name, copy.note], ["Amina", "x"]);
  await db.insert({ ...(await db.get("a")), name: "edited" });
  assert.equal((await site.ask("COPY", "/cases/a", undefined, { destination: "b%2Fc" })).status, 409);
});

test("with GODWIT_COUCH_ROOT the same is served where CouchDB is", async (t) => {
  const site = await Site.open(t, { tables: CASES, settings: { GODWIT_COUCH_ROOT: "true" } });
  const nano = connect(`http://${site.address}`);
  assert.equal((await nano.info()).couchdb, "Welcome");
  assert.deepEqual(await nano.db.list(), ["cases"]);
  await nano.use("cases").insert({ name: "Amina" }, "a");
  assert.equal((await connect(site.url).use("cases").get("a")).name, "Amina");
});
