// In charge of PouchDB clients, and of saying everything that two of them must have alike.

import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { randomUUID } from "node:crypto";
import { tmpdir } from "node:os";
import { join } from "node:path";
import PouchDB from "pouchdb";
import memory from "pouchdb-adapter-memory";

PouchDB.plugin(memory);

/// A client of its own that lives in memory and is gone with the test.
export function inMemory(t) {
  const db = new PouchDB(`memory-${randomUUID()}`, { adapter: "memory" });
  t.after(() => db.destroy());
  return db;
}

/// A client in a folder, by LevelDB, as apps in Node have it.
export async function onDisk(t) {
  const folder = await mkdtemp(join(tmpdir(), "godwit-couch-"));
  const db = new PouchDB(join(folder, "client"));
  t.after(async () => {
    await db.destroy();
    await rm(folder, { recursive: true });
  });
  return db;
}

/// The table itself, as a client of the protocol sees it. `table` is as it stands in a URL.
export function remote(site, table = "cases", options = {}) {
  return new PouchDB(`${site.url}/${table}`, { fetch: untilInfo, ...options });
}

/// PouchDB asks how many changes there are, and leaves it to nobody when that question fails, which ends the process. That may
/// be when a gateway is killed, and so at any test's end too. So that one is asked until it is answered; all else breaks off
/// as it would for anybody.
export async function untilInfo(url, options = {}) {
  const isInfo = (options.method ?? "GET") === "GET" && /^\/couch\/[^/]+\/$/.test(new URL(url).pathname);
  if (!isInfo) return PouchDB.fetch(url, options);
  for (;;) {
    const answer = await PouchDB.fetch(url, options).catch(() => undefined);
    if (answer && answer.status < 500) return answer;
    // It holds up no process whose tests are over.
    await new Promise((resolve) => setTimeout(resolve, 20).unref());
  }
}

/// Replicates, and nothing may have been refused on the way.
export async function pull(db, from) {
  return checked(await db.replicate.from(from));
}

export async function push(db, to) {
  return checked(await db.replicate.to(to));
}

export async function sync(db, other) {
  const { pull, push } = await db.sync(other);
  return { pull: checked(pull), push: checked(push) };
}

function checked(result) {
  if (!result.ok || result.doc_write_failures > 0 || result.errors.length > 0) {
    throw new Error(`it did not replicate: ${JSON.stringify(result)}`);
  }
  return result;
}

/// Every record with its winner, all leaves, conflicts and body, deleted ones too; in an order that is no peer's own.
export async function contents(db) {
  const records = new Map();
  for (const row of (await db.changes({ style: "all_docs" })).results) {
    records.set(row.id, { deleted: row.deleted ?? false, leaves: revisions(row) });
  }
  // Which of them wins is told apart: clients list leaves in an order of their own.
  for (const row of (await db.changes({ style: "main_only" })).results) {
    records.get(row.id).winner = row.changes[0].rev;
  }
  const { rows } = await db.allDocs({ include_docs: true, conflicts: true });
  for (const { id, doc } of rows) {
    const { _conflicts = [], ...body } = doc;
    Object.assign(records.get(id), { body: sorted(body), conflicts: _conflicts.sort() });
  }
  return Object.fromEntries([...records].sort(([one], [other]) => (one < other ? -1 : 1)));
}

/// That two peers have all alike; says the first record in which they differ, and not ten thousand.
export async function assertAlike(one, other, what = "") {
  const [here, there] = [await contents(one), await contents(other)];
  assert.deepEqual(Object.keys(here), Object.keys(there), `${what}: which records there are`);
  for (const id of Object.keys(here)) assert.deepEqual(here[id], there[id], `${what}: ${id}`);
  return here;
}

function revisions(row) {
  return row.changes.map((change) => change.rev).sort();
}

/// Members in one order, so that what a failing test prints can be compared by eye.
function sorted(object) {
  return Object.fromEntries(Object.entries(object).sort(([one], [other]) => (one < other ? -1 : 1)));
}
