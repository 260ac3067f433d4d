// A client that was away for a long time comes back.

import assert from "node:assert/strict";
import { test } from "node:test";
import { assertAlike, onDisk, pull, remote, sync } from "./pouch.mjs";
import { Site } from "./site.mjs";

const CHANGES = 20_000;

test("a client that was away for 20,000 changes pulls them, and its own edits from then are not lost", async (t) => {
  const site = await Site.open(t);
  await site.sql("insert into cases (id, name) select 'c' || n, 'before' from generate_series(1, 5000) n");
  const phone = await onDisk(t);
  await pull(phone, remote(site));
  await phone.put({ ...(await phone.get("c17")), name: "while away", note: "mine" });
  await phone.put({ _id: "new", name: "made while away" });

  // 5000 records are edited twice, 2500 of them deleted, 2500 come back, and 5000 are new.
  await site.sql("update cases set household = 1");
  await site.sql("update cases set household = 2");
  await site.sql("delete from cases where substr(id, 2)::int <= 2500");
  await site.sql("insert into cases (id, name) select 'c' || n, 'again' from generate_series(1, 2500) n");
  await site.sql("insert into cases (id, name) select 'd' || n, 'after' from generate_series(1, 5000) n");
  assert.equal(await site.value("select count(*)::int from cases_history where _seq > 5000"), CHANGES);

  await sync(phone, remote(site));
  const records = await assertAlike(phone, remote(site));
  assert.equal(Object.keys(records).length, 10_001);
  // The deleted record came back in SQL, and the phone's edit of what it was before stands beside that.
  assert.deepEqual(records.c17.conflicts.length, 1);
  assert.equal(await site.value("select name from cases where id = 'new'"), "made while away");
});
