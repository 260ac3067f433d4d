// 10,000 documents from a client into a table, and out of it into another.

import assert from "node:assert/strict";
import { test } from "node:test";
import { assertAlike, inMemory, onDisk, pull, push, remote } from "./pouch.mjs";
import { Site } from "./site.mjs";

const DOCUMENTS = 10_000;

function document(number) {
  const id = `case-${String(number).padStart(5, "0")}`;
  const columns = { name: `Amina ${number}`, household: number % 12, price: number / 4, tags: ["new", `t${number % 7}`] };
  const others = { visits: [{ at: "north", n: number }], note: null, is_open: number % 2 === 0, share: number / 3 };
  return { _id: id, ...columns, seen: "2026-01-05T08:30:00Z", body: { n: number }, photo: "aGVsbG8=", ...others };
}

test("10,000 documents are pushed, stand in the table's columns, and are pulled with the same revisions", async (t) => {
  const site = await Site.open(t);
  const phone = inMemory(t);
  await phone.bulkDocs(Array.from({ length: DOCUMENTS }, (_, number) => document(number)));
  const pushed = await push(phone, remote(site));
  assert.equal(pushed.docs_written, DOCUMENTS);

  const row = (await site.sql("select *, seen at time zone 'UTC' as at, price::text as cost from cases where id = 'case-00007'"))[0];
  assert.equal(row.name, "Amina 7");
  assert.equal(row.household, "7");
  assert.equal(row.cost, "1.75");
  assert.equal(row.at.getMinutes(), 30);
  assert.deepEqual(row.tags, ["new", "t0"]);
  assert.deepEqual(row.body, { n: 7 });
  assert.equal(row._rev, (await phone.get("case-00007"))._rev);
  assert.equal(await site.value("select count(*)::int from cases"), DOCUMENTS);
  assert.equal(await site.value("select count(*)::int from cases_history"), DOCUMENTS, "one revision each");

  const laptop = await onDisk(t);
  const pulled = await pull(laptop, remote(site));
  assert.equal(pulled.docs_written, DOCUMENTS);
  await assertAlike(laptop, phone);
  assert.equal((await remote(site).info()).doc_count, DOCUMENTS);
  assert.equal((await push(laptop, remote(site))).docs_written, 0, "what was pulled isn't sent back");
});

test("rows that SQL has made reach a client, and a client's edit leaves their columns as they were", async (t) => {
  const site = await Site.open(t);
  await site.sql(`insert into cases select 'r' || n, 'name ' || n, n, n / 4.0, '2026-01-05 08:30:00+00', '{a,b}',
                         jsonb_build_object('n', n), 'photo'::bytea from generate_series(1, 2000) n`);
  const phone = inMemory(t);
  await pull(phone, remote(site));
  const doc = await phone.get("r17");
  assert.deepEqual([doc.name, doc.household, doc.price, doc.tags], ["name 17", 17, 4.25, ["a", "b"]]);
  assert.equal(Buffer.from(doc.photo, "base64").toString(), "photo");
  assert.deepEqual(doc.body, { n: 17 });
  assert.equal(Date.parse(doc.seen), Date.parse("2026-01-05T08:30:00Z"));

  await phone.put({ ...doc, note: "no column has this name" });
  await push(phone, remote(site));
  const columns = "name, household, price, seen, tags, body, photo";
  const same = `select count(*)::int from (select ${columns} from cases where id = 'r17'
                  intersect select ${columns} from cases_history where _id = 'r17' and godwit.generation(_rev) = 1) r`;
  assert.equal(await site.value(same), 1);
  assert.equal((await site.value("select godwit.get('cases', 'r17')")).attributes.note.string, "no column has this name");
});

test("a document table that a client makes itself is one too", async (t) => {
  const site = await Site.open(t, { tables: "" });
  const phone = inMemory(t);
  await phone.bulkDocs([{ _id: "a", n: 1 }, { _id: "b", deep: { list: [1, [2, { c: null }]] } }]);
  await push(phone, remote(site, "notes"));
  assert.deepEqual(await site.sql("select _id from notes order by 1"), [{ _id: "a" }, { _id: "b" }]);
  await assertAlike(remote(site, "notes"), phone);
});
