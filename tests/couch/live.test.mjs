// A client that stays in step by itself, both ways.

import assert from "node:assert/strict";
import { test } from "node:test";
import { inMemory, remote } from "./pouch.mjs";
import { CASES, Site, until } from "./site.mjs";

// What a user calls at once is a second; the rest is for a machine that is busy.
const SECONDS_MS = 5_000;

test("edits go both ways within seconds while a client is in sync", async (t) => {
  const site = await Site.open(t);
  await site.sql("insert into cases (id, name) values ('here', 'before')");
  const phone = inMemory(t);
  const syncing = phone.sync(remote(site), { live: true, retry: true });
  t.after(() => syncing.cancel());
  const failures = [];
  for (const event of ["error", "denied"]) syncing.on(event, (why) => failures.push(why));
  await until("the first pull", () => phone.get("here").catch(() => false), SECONDS_MS);

  for (const round of [1, 2, 3]) {
    await site.sql("update cases set name = $1 where id = 'here'", [`sql ${round}`]);
    const isHere = async () => (await phone.get("here")).name === `sql ${round}`;
    await until("SQL's edit is on the phone", isHere, SECONDS_MS);

    await phone.put({ ...(await phone.get("here")), name: `phone ${round}`, household: round });
    const isThere = async () => (await site.value("select name from cases where id = 'here'")) === `phone ${round}`;
    await until("the phone's edit is in SQL", isThere, SECONDS_MS);
  }

  await site.sql("delete from cases where id = 'here'");
  await until("SQL's delete", () => phone.get("here").then(() => false, (error) => error.reason === "deleted"), SECONDS_MS);
  await phone.put({ _id: "new", name: "from the phone" });
  await until("a new one", async () => (await site.sql("select from cases where id = 'new'")).length === 1, SECONDS_MS);
  await phone.remove(await phone.get("new"));
  await until("its end", async () => (await site.sql("select from cases where id = 'new'")).length === 0, SECONDS_MS);
  assert.deepEqual(failures, []);
  assert.equal(await site.value("select count(*)::int from godwit.conflicts"), 0);
});

test("a live client of one table hears nothing of another's changes, and misses none of its own among them", async (t) => {
  const other = "create table other (id text primary key); select godwit.track('other')";
  const site = await Site.open(t, { tables: `${CASES}; ${other}` });
  const phone = inMemory(t);
  const pulling = phone.replicate.from(remote(site), { live: true, retry: true });
  t.after(() => pulling.cancel());
  for (let number = 0; number < 20; number++) {
    await site.sql("insert into other select $1 || '-' || n from generate_series(1, 100) n", [number]);
    await site.sql("insert into cases (id) values ($1)", [`case-${number}`]);
  }
  await until("all twenty", async () => (await phone.info()).doc_count === 20, SECONDS_MS);
});

test("a live client goes on by itself after the gateway was away", async (t) => {
  const site = await Site.open(t);
  const phone = inMemory(t);
  const syncing = phone.sync(remote(site), { live: true, retry: true, back_off_function: () => 100 });
  t.after(() => syncing.cancel());
  await site.sql("insert into cases (id) values ('before')");
  await until("it is in step", async () => (await phone.info()).doc_count === 1, SECONDS_MS);
  await site.killGateway();
  await site.sql("insert into cases (id) values ('after')");
  await phone.put({ _id: "from the phone" });
  await until("what SQL wrote", () => phone.get("after").catch(() => false), 2 * SECONDS_MS);
  const isThere = async () => (await site.sql("select from cases where id = 'from the phone'")).length === 1;
  await until("what the phone wrote", isThere, 2 * SECONDS_MS);
});
