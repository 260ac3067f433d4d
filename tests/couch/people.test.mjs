// Who may do what: names and passwords, the session's cookie, grants and row-level security behind them.

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { test } from "node:test";
import { inMemory, pull, remote } from "./pouch.mjs";
import { Site } from "./site.mjs";

const basic = (name, password) => ({ authorization: `Basic ${Buffer.from(`${name}:${password}`).toString("base64")}` });

// Roles are the cluster's: each test has its own.
function people(role) {
  return `
    create role ${role};
    create table people (name text primary key, password text, role name);
    -- "secret", as pgcrypto's crypt() and htpasswd make it.
    insert into people values ('amina', '$2a$04$uoTI4gfpv3qX2ni6jUFNE.IgokEjI7wLZYcGj.YPqCIlZ.YwFwRHm', '${role}'),
                              ('bo', 'no hash', '${role}'), ('cy', null, '${role}');
    create table cases (id text primary key, name text, keeper text not null default 'amina');
    select godwit.track('cases');
    grant select, insert, update on cases to ${role};
    alter table cases enable row level security;
    create policy own on cases using (keeper = current_setting('request.jwt.claims', true)::jsonb ->> 'sub');
    insert into cases values ('1', 'hers', 'amina'), ('2', 'not hers', 'dora')`;
}

async function open(t, settings = {}) {
  const role = `worker_${randomUUID().replaceAll("-", "").slice(0, 12)}`;
  const site = await Site.open(t, {
    tables: people(role),
    settings: {
      GODWIT_USERS_TABLE: "people",
      GODWIT_SESSION_SECRET: "a secret of more than thirty-two bytes",
      // The tests' login is a superuser, who would not do in earnest.
      GODWIT_ALLOW_PRIVILEGED_LOGIN: "true",
      ...settings,
    },
  });
  t.after(async () => {
    await site.sql(`drop owned by ${role}; drop role ${role}`).catch(() => {});
  });
  return site;
}

test("Basic credentials lead to a role, and its policies decide what is seen and written", async (t) => {
  const site = await open(t);
  const hers = basic("amina", "secret");
  const seen = (await site.get("/cases/_all_docs", hers)).json;
  assert.deepEqual(seen.rows.map((row) => row.id), ["1"]);
  assert.equal((await site.get("/cases/2", hers)).status, 404, "what she may not see isn't there");
  const batch = { docs: [{ _id: "3", keeper: "amina" }, { _id: "4", keeper: "dora" }, { _id: "5", keeper: "amina" }] };
  const outcomes = (await site.post("/cases/_bulk_docs", batch, hers)).json;
  assert.deepEqual(outcomes.map((one) => one.error ?? "ok"), ["ok", "forbidden", "ok"]);
  assert.equal(await site.value("select _by from cases_history where _id = '3'"), "amina");
  const phone = inMemory(t);
  await pull(phone, remote(site, "cases", { auth: { username: "amina", password: "secret" } }));
  assert.deepEqual((await phone.allDocs()).rows.map((row) => row.id), ["1", "3", "5"]);
  const { rev } = (await site.get("/cases/_all_docs", hers)).json.rows[0].value;
  const refused = await site.delete(`/cases/1?rev=${rev}`, hers);
  assert.deepEqual([refused.status, refused.json.error], [403, "forbidden"], "nobody granted DELETE");
});

test("who can't say who they are is told so, and nothing else", async (t) => {
  const site = await open(t);
  for (const [name, password] of [["amina", "wrong"], ["nobody", "secret"], ["bo", "no hash"], ["cy", ""], ["amina", ""]]) {
    const { status, json } = await site.get("/cases", basic(name, password));
    assert.deepEqual([status, json.reason], [401, "Name or password is incorrect."], name);
  }
  assert.equal((await site.get("/cases")).status, 401);
  assert.deepEqual((await site.get("/_session")).json.userCtx, { name: null, roles: [] });
});

test("a session lasts while it is used, and not beyond the table's word", async (t) => {
  const site = await open(t, { GODWIT_SESSION_S: "4" });
  const login = await site.post("/_session", { name: "amina", password: "secret" });
  assert.equal(login.json.ok, true);
  const cookie = (response) => response.headers.get("set-cookie")?.split(";")[0];
  let held = cookie(login);
  assert.match(login.headers.get("set-cookie"), /HttpOnly; SameSite=Strict/);
  assert.equal((await site.get("/_session", { cookie: held })).json.userCtx.name, "amina");
  assert.equal((await site.get("/cases/1", { cookie: held })).status, 200);
  // Longer than any one cookie lasts.
  const end = Date.now() + 6000;
  while (Date.now() < end) {
    await new Promise((resolve) => setTimeout(resolve, 500));
    const answer = await site.get("/cases/1", { cookie: held });
    assert.equal(answer.status, 200);
    held = cookie(answer) ?? held;
  }
  const form = await fetch(`${site.url}/_session`, { method: "POST", body: new URLSearchParams({ name: "amina", password: "secret" }) });
  assert.equal(form.status, 200);
  // An old cookie is renewed by whatever asks, but not by who logs out, or in.
  await new Promise((resolve) => setTimeout(resolve, 2500));
  assert.match((await site.delete("/_session", { cookie: held })).headers.get("set-cookie"), /^AuthSession=;/);
  const again = await site.post("/_session", { name: "amina", password: "secret" }, { cookie: held });
  assert.equal(again.headers.getSetCookie().length, 1);
  held = cookie(again);
  await site.sql("update people set password = '$2a$04$uoTI4gfpv3qX2ni6jUFNE.IgokEjI7wLZYcGj.YPqCIlZ.YwFwRHx' where name = 'amina'");
  await new Promise((resolve) => setTimeout(resolve, 4100));
  assert.equal((await site.get("/cases/1", { cookie: held })).status, 401);
  const forged = held.replace(/\.[^.]*$/, ".c2lnbmF0dXJl");
  assert.equal((await site.get("/cases/1", { cookie: forged })).status, 401);
  assert.match((await site.delete("/_session")).headers.get("set-cookie"), /AuthSession=; .*Max-Age=0/);
});
