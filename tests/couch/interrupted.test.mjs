// Replication that is broken off at any point and taken up again loses nothing and doubles nothing.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { test } from "node:test";
import { promisify } from "node:util";
import PouchDB from "pouchdb";
import { assertAlike, inMemory, onDisk, remote } from "./pouch.mjs";
import { Proxy } from "./proxy.mjs";
import { Random } from "./random.mjs";
import { Site } from "./site.mjs";

const DOCUMENTS = 3000;
const KILLS = 5;
// Beyond this it isn't bad luck.
const ATTEMPTS_MAX = 200;

const shell = promisify(execFile);
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/// PouchDB asks how many changes there are and leaves it to nobody when that question fails, which ends the process.
/// So that one is asked until it is answered; whatever carries documents breaks off as it would for anybody.
async function stubborn(url, options) {
  for (;;) {
    const asked = PouchDB.fetch(url, options);
    const isInfo = new URL(url).pathname.endsWith("/cases/");
    const answer = isInfo ? await asked.catch(() => undefined) : await asked;
    if (answer && !(isInfo && answer.status >= 500)) return answer;
    await pause(20);
  }
}

const known = (site) => remote(site, "cases", { skip_setup: true, fetch: stubborn });

/// Until it has gone through once; how often it broke off.
async function insist(replicate) {
  for (let broken = 0; broken < ATTEMPTS_MAX; broken++) {
    const done = await replicate().catch(() => undefined);
    if (done?.ok && done.errors.length === 0) return broken;
    await pause(20);
  }
  throw new Error(`it still doesn't go through after ${ATTEMPTS_MAX} attempts`);
}

/// Does something several times while something else goes on, and not once that is over.
async function during(work, times, interrupt) {
  let isOver = false;
  const working = work().finally(() => (isOver = true));
  let done = 0;
  while (!isOver && done < times) {
    await interrupt();
    done += 1;
  }
  const broken = await working;
  assert.ok(done > 0 && broken > 0, "it was no test: nothing broke off");
}

async function filled(db) {
  const docs = Array.from({ length: DOCUMENTS }, (_, n) => ({ _id: `d${n}`, name: `Amina ${n}`, household: n, note: "x".repeat(100) }));
  await db.bulkDocs(docs);
  // A second revision and an end for some, so that there are ancestors to be lost.
  const { rows } = await db.allDocs({ include_docs: true, limit: DOCUMENTS / 3 });
  await db.bulkDocs(rows.map(({ doc }, n) => ({ ...doc, name: "edited", _deleted: n % 10 === 0 })));
  return db;
}

async function assertWhole(site, client) {
  await assertAlike(remote(site), client, "the table and the client");
  const deleted = Math.ceil(DOCUMENTS / 30);
  assert.equal(await site.value("select count(*)::int from cases"), DOCUMENTS - deleted);
  assert.equal(await site.value("select count(*)::int from godwit.conflicts"), 0);
  const bodies = "select count(*)::int from cases_history where not _stub";
  assert.equal(await site.value(bodies), DOCUMENTS, "each leaf once");
  assert.deepEqual(await site.sql("select * from godwit.verify('cases')"), []);
}

test("a push goes on after kill -9 of the gateway", async (t) => {
  const random = Random.seeded(t);
  const site = await Site.open(t);
  const phone = await filled(inMemory(t));
  await during(
    () => insist(() => phone.replicate.to(known(site))),
    KILLS,
    async () => {
      await pause(50 + random.below(150));
      await site.killGateway();
    },
  );
  await assertWhole(site, phone);
});

test("a pull goes on after kill -9 of the gateway", async (t) => {
  const random = Random.seeded(t);
  const site = await Site.open(t);
  const phone = await filled(inMemory(t));
  await phone.replicate.to(remote(site));
  const laptop = await onDisk(t);
  await during(
    () => insist(() => laptop.replicate.from(known(site))),
    KILLS,
    async () => {
      await pause(50 + random.below(100));
      await site.killGateway();
    },
  );
  await assertWhole(site, laptop);
  await assertAlike(laptop, phone);
});

// With GODWIT_COUCH_SEED=252210413 every other run leaves a batch of records out on the laptop while PouchDB's checkpoint
// goes on; the table has all of them. Whose mistake it is isn't known yet (docs/couchdb.md), so it is told and not hidden.
test("a network that cuts connections in their middle slows replication down and does no more", { todo: "a pull may skip a batch" }, async (t) => {
  const random = Random.seeded(t);
  const site = await Site.open(t);
  const proxy = await Proxy.open(t, site.address, () => 2_000 + random.below(100_000));
  const there = known(proxy);
  const [phone, laptop] = [await filled(inMemory(t)), inMemory(t)];
  await insist(() => phone.replicate.to(there));
  await insist(() => laptop.replicate.from(there));
  assert.ok(proxy.cuts > 5, `it was no test: only ${proxy.cuts} connections were cut`);
  await assertWhole(site, phone);
  await assertAlike(laptop, phone);
});

test("replication both ways goes on after Postgres was restarted under it", async (t) => {
  const restart = process.env.GODWIT_RESTART_POSTGRES;
  if (!restart) {
    console.error("SKIPPED: the restart of Postgres isn't tested: GODWIT_RESTART_POSTGRES names no command");
    return t.skip("GODWIT_RESTART_POSTGRES is unset");
  }
  const site = await Site.open(t);
  const [phone, laptop] = [await filled(inMemory(t)), inMemory(t)];
  await during(
    () => insist(() => phone.replicate.to(known(site))),
    2,
    async () => {
      await pause(200);
      await shell("/bin/bash", ["-c", restart]);
    },
  );
  await during(
    () => insist(() => laptop.replicate.from(known(site))),
    1,
    async () => {
      await pause(200);
      await shell("/bin/bash", ["-c", restart]);
    },
  );
  await assertWhole(site, phone);
  await assertAlike(laptop, phone);
});

test("what the gateway has said it has is there after kill -9", async (t) => {
  const site = await Site.open(t);
  for (let number = 0; number < 5; number++) {
    const { status, json } = await site.put(`/cases/a${number}`, { name: "kept" });
    assert.equal(status, 201);
    await site.killGateway();
    assert.equal((await site.get(`/cases/a${number}`)).json._rev, json.rev);
  }
});
