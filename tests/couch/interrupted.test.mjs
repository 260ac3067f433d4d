// Replication that is broken off at any point and taken up again loses nothing and doubles nothing.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { test } from "node:test";
import { promisify } from "node:util";
import { assertAlike, inMemory, onDisk, remote, untilInfo } from "./pouch.mjs";
import { Proxy } from "./proxy.mjs";
import { Random } from "./random.mjs";
import { Site, until } from "./site.mjs";

const DOCUMENTS = 3000;
const KILLS = 5;
// Beyond this it isn't bad luck.
const ATTEMPTS_MAX = 200;

const shell = promisify(execFile);
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

const known = (site) => remote(site, "cases", { skip_setup: true });

/// Until it has gone through once; how often it broke off. What broke off is cancelled before the next begins, for PouchDB 9
/// itself goes on with it when it was a page of changes that failed, and skips others (docs/couchdb.md).
async function insist(replicate, pauseMs = 20) {
  for (let broken = 0; broken < ATTEMPTS_MAX; broken++) {
    const replication = replicate();
    const done = await replication.catch(() => replication.cancel());
    if (done?.ok && done.errors.length === 0) return broken;
    await pause(pauseMs);
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

// Without the cancelling in `insist` GODWIT_COUCH_SEED=252210413 loses records on the laptop in every other run.
test("a network that cuts connections in their middle slows replication down and does no more", async (t) => {
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

/// The moment at which PouchDB 9 would skip records: the third page of changes fails while the documents of the first are on
/// their way and the second waits.
function cutAtThirdPage(site) {
  const seen = { pages: 0, cuts: 0 };
  const isCut = new Promise((resolve) => (seen.cut = resolve));
  const cutOnce = async (url, options) => {
    const question = new URL(url).pathname.split("/").at(-1);
    if (question === "_bulk_get") await isCut;
    if (question === "_changes" && ++seen.pages === 3) {
      seen.cuts += 1;
      seen.cut();
      throw new TypeError("the connection was cut");
    }
    return untilInfo(url, options);
  };
  return { seen, there: remote(site, "cases", { skip_setup: true, fetch: cutOnce }) };
}

const PAGE = { batch_size: 10 };
const fifty = "insert into cases (id) select 'd' || n from generate_series(1, 50) n";

test("a pull that is cancelled when a page of changes was cut skips nothing when it begins again", async (t) => {
  const site = await Site.open(t);
  await site.sql(fifty);
  const { seen, there } = cutAtThirdPage(site);
  const phone = inMemory(t);
  // As long as what isn't cancelled would need to get to its end.
  assert.equal(await insist(() => phone.replicate.from(there, PAGE), 1_000), 1);
  assert.equal(seen.cuts, 1);
  await assertAlike(remote(site), phone);
});

// Once this fails PouchDB is mended, and docs/couchdb.md need not warn of it.
test("PouchDB by itself skips a page then, as docs/couchdb.md says, and gets it without a checkpoint", async (t) => {
  const site = await Site.open(t);
  await site.sql(fifty);
  const { there } = cutAtThirdPage(site);
  const phone = inMemory(t);
  await assert.rejects(phone.replicate.from(there, PAGE), /the connection was cut/);
  await until("what has failed goes on without a page", async () => (await phone.info()).doc_count === 40);
  assert.equal((await phone.replicate.from(there, PAGE)).docs_read, 0, "its checkpoint is behind that page");
  await phone.replicate.from(there, { ...PAGE, checkpoint: false });
  await assertAlike(remote(site), phone);
});

test("a live client that begins again after an error, as docs/couchdb.md says, skips nothing", async (t) => {
  const site = await Site.open(t);
  await site.sql(fifty);
  const { seen, there } = cutAtThirdPage(site);
  const phone = inMemory(t);
  let syncing, again;
  const keepInStep = () => {
    syncing = phone.sync(there, { live: true, ...PAGE });
    syncing.on("error", () => (again = setTimeout(keepInStep, 100)));
  };
  keepInStep();
  try {
    await site.sql("insert into cases (id) values ('last')");
    await until("the last record", () => phone.get("last").catch(() => false));
    assert.equal(seen.cuts, 1);
    await assertAlike(remote(site), phone);
  } finally {
    syncing.cancel();
    clearTimeout(again);
  }
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
