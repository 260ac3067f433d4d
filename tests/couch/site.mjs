// In charge of what a test stands on: a database of its own, a gateway on it, SQL beside it, all gone with the test.

import { spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { createInterface } from "node:readline";
import pg from "pg";

// A table as an app would have it: most kinds of columns, and none that a client has to send.
export const CASES = `
  create table cases (id text primary key, name text, household bigint, price numeric(10,2), seen timestamptz,
                      tags text[], body jsonb, photo bytea);
  select godwit.track('cases')`;

const PATIENCE_MS = 30_000;

function named(variable) {
  const value = process.env[variable];
  if (!value) throw new Error(`set ${variable}: see scripts/test.sh`);
  return value;
}

/// Runs one statement, or several, outside of the databases that tests make.
async function outside(sql) {
  const client = new pg.Client({ connectionString: named("GODWIT_DATABASE_URL") });
  await client.connect();
  try {
    await client.query(sql);
  } finally {
    await client.end();
  }
}

/// A gateway, and the address that its log names.
async function serve(databaseUrl, address, settings) {
  const environment = { ...process.env, DATABASE_URL: databaseUrl, GODWIT_LISTEN: address };
  const child = spawn(named("GODWIT_BINARY"), ["serve"], {
    env: { ...environment, GODWIT_LOG_FORMAT: "json", GODWIT_LOG: "info", ...settings },
    stdio: ["ignore", "ignore", "pipe"],
  });
  const seen = [];
  const listening = new Promise((resolve, reject) => {
    const fail = (why) => reject(new Error(`the gateway did not start: ${why}\n${seen.join("\n")}`));
    const timer = setTimeout(() => fail("nothing for 30 s"), PATIENCE_MS);
    child.on("error", fail);
    child.on("exit", (code) => fail(`it ended with ${code}`));
    // Read to the end of its life: a full pipe would hold the gateway up.
    createInterface({ input: child.stderr }).on("line", (line) => {
      if (process.env.GODWIT_COUCH_SHOW_LOG) console.error(line);
      if (seen.length < 50) seen.push(line);
      const found = said(line);
      if (!found) return;
      clearTimeout(timer);
      resolve(found);
    });
  });
  return { child, address: await listening };
}

function said(line) {
  try {
    return JSON.parse(line).fields?.address;
  } catch {
    return undefined;
  }
}

async function kill(child) {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const gone = new Promise((resolve) => child.once("exit", resolve));
  child.kill("SIGKILL");
  await gone;
}

export class Site {
  /// `tables` is SQL that makes them; `settings` are environment variables of the gateway.
  static async open(t, { tables = CASES, settings = {} } = {}) {
    const site = new Site();
    site.database = `couch_${randomUUID().replaceAll("-", "").slice(0, 12)}`;
    site.settings = settings;
    const url = new URL(named("GODWIT_DATABASE_URL"));
    await outside(`create database ${site.database}`);
    url.pathname = `/${site.database}`;
    site.databaseUrl = url.href;
    site.pool = new pg.Pool({ connectionString: url.href, max: 4 });
    // Postgres may be restarted under idle connections; the next query has a new one.
    site.pool.on("error", () => {});
    t.after(() => site.close());
    await site.pool.query(`create extension godwit; ${tables}`);
    ({ child: site.child, address: site.address } = await serve(site.databaseUrl, "127.0.0.1:0", settings));
    return site;
  }

  /// Where clients of CouchDB find its databases.
  get url() {
    return `http://${this.address}/couch`;
  }

  async sql(text, values) {
    return (await this.pool.query(text, values)).rows;
  }

  /// The one value of the one row.
  async value(text, values) {
    return Object.values((await this.sql(text, values))[0])[0];
  }

  /// kill -9, and another in its place.
  async killGateway() {
    await kill(this.child);
    ({ child: this.child } = await serve(this.databaseUrl, this.address, this.settings));
  }

  /// One request; the answer's status, headers and JSON, and its text as it came.
  async ask(method, path, body, headers = {}) {
    const said = body === undefined || typeof body === "string" ? body : JSON.stringify(body);
    const response = await fetch(this.url + path, {
      method,
      body: said,
      headers: said === undefined ? headers : { "content-type": "application/json", ...headers },
    });
    const text = await response.text();
    return { status: response.status, headers: response.headers, text, json: parsed(text) };
  }

  get(path, headers) {
    return this.ask("GET", path, undefined, headers);
  }

  post(path, body, headers) {
    return this.ask("POST", path, body, headers);
  }

  put(path, body, headers) {
    return this.ask("PUT", path, body, headers);
  }

  delete(path, headers) {
    return this.ask("DELETE", path, undefined, headers);
  }

  async close() {
    if (this.child) await kill(this.child);
    await this.pool.end();
    await outside(`drop database if exists ${this.database} with (force)`);
  }
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/// Asks until it is so.
export async function until(what, isSo, patienceMs = PATIENCE_MS) {
  const end = Date.now() + patienceMs;
  for (;;) {
    const found = await isSo();
    if (found) return found;
    if (Date.now() > end) throw new Error(`after ${patienceMs} ms it is still not so: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
