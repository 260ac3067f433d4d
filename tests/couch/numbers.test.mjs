// Numbers that a double can't hold come through a client whose numbers are doubles.

import assert from "node:assert/strict";
import { test } from "node:test";
import { inMemory, pull, push, remote } from "./pouch.mjs";
import { Site } from "./site.mjs";

const LEDGER = `
  create table ledger (id text primary key, account bigint, cost numeric, price numeric(10,2), small int, ratio float8,
                       at timestamptz, day date, amounts numeric[], counts bigint[], doc jsonb, is_open bool);
  select godwit.track('ledger')`;

const ROW = `insert into ledger values ('a', 9223372036854775807, 12345678901234567890.123456789, 12.50, -3, 0.1,
  '2026-01-05 08:30:00.123456+00', '2026-01-05', '{1.10,99999999999999999999.5}', '{1,9007199254740993}', '{"n": 12.50}', true)`;

test("a row's numbers stay as they were when a client edits another member", async (t) => {
  const site = await Site.open(t, { tables: LEDGER });
  await site.sql(ROW);
  const columns = "account, cost, price, small, ratio, at, day, amounts, counts, is_open";
  const phone = inMemory(t);
  await pull(phone, remote(site, "ledger"));
  const doc = await phone.get("a");
  assert.equal(doc.account, "9223372036854775807");
  assert.equal(doc.price, 12.5);
  assert.equal(doc.small, -3);
  await phone.put({ ...doc, note: "edited" });
  await push(phone, remote(site, "ledger"));
  assert.equal(await site.value("select _rev::text from ledger"), (await phone.get("a"))._rev);
  assert.equal(await site.value("select price::text from ledger"), "12.50");
  // By value: a client whose numbers are doubles sends 1.10 back as 1.1 where no column's type says two places.
  const first = "select * from ledger_history where godwit.generation(_rev) = 1";
  const changed = `select (${columns})::text from (${first}) h except select (${columns})::text from ledger`;
  const isSame = `select (select row(${columns}) from ledger) = (select row(${columns}) from (${first}) h)`;
  assert.equal(await site.value(isSame), true, JSON.stringify(await site.sql(changed)));
});

test("a number that a client sends is kept as it was sent, and is what it is in its column", async (t) => {
  const site = await Site.open(t, { tables: LEDGER });
  const sent = '{"_id":"a","_rev":"1-a","account":9007199254740993,"cost":12.50,"price":12.50,"other":12345678901234567890,"exact":1.0,"list":[1e3,0.10]}';
  const done = await site.post("/ledger/_bulk_docs", `{"new_edits":false,"docs":[${sent}]}`);
  assert.deepEqual([done.status, done.json], [201, []]);
  assert.equal(await site.value("select (account, cost, price)::text from ledger"), "(9007199254740993,12.50,12.50)");
  const { text } = await site.get("/ledger/a");
  assert.match(text, /"account":"?9007199254740993"?/);
  assert.match(text, /"other":12345678901234567890[,}]/);
  assert.match(text, /"exact":1\.0[,}]/);
  assert.match(text, /"list":\[1(e3|E\+3|000|e\+3),0\.10\]/);
});

test("a client's edit of one column doesn't rewrite how the others were written", async (t) => {
  const site = await Site.open(t, { tables: LEDGER });
  await site.sql(ROW);
  const phone = inMemory(t);
  await pull(phone, remote(site, "ledger"));
  await phone.put({ ...(await phone.get("a")), price: 99.95, account: "9223372036854775806" });
  await push(phone, remote(site, "ledger"));
  assert.equal(await site.value("select (account, price, small)::text from ledger"), "(9223372036854775806,99.95,-3)");
  await site.sql("update ledger set small = 4");
  await pull(phone, remote(site, "ledger"));
  const doc = await phone.get("a");
  assert.deepEqual([doc.account, doc.price, doc.small], ["9223372036854775806", 99.95, 4]);
});

test("a number that its column can't hold is refused and kept, and isn't rounded", async (t) => {
  const site = await Site.open(t, { tables: LEDGER });
  const docs = [{ _id: "a", _rev: "1-a", small: 3_000_000_000 }, { _id: "b", _rev: "1-b", small: 7 }];
  const { status, json } = await site.post("/ledger/_bulk_docs", { new_edits: false, docs });
  assert.equal(status, 201);
  assert.deepEqual(json.map(({ id, error }) => ({ id, error })), [{ id: "a", error: "forbidden" }]);
  assert.deepEqual(await site.sql("select id, small from ledger"), [{ id: "b", small: 7 }]);
});
