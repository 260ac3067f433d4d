// A browser on another website than the gateway's, which keeps what it has in IndexedDB while it is away.

import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { existsSync } from "node:fs";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import puppeteer from "puppeteer-core";
import { remote } from "./pouch.mjs";
import { Site, until } from "./site.mjs";

const PHOTO_BYTES = 200_000;
const FILES = {
  "/": ["text/html", "browser.html"],
  "/pouchdb.min.js": ["text/javascript", "node_modules/pouchdb/dist/pouchdb.min.js"],
};

function chromium() {
  const path = process.env.CHROMIUM || "/usr/bin/chromium";
  if (existsSync(path)) return path;
  throw new Error(`there is no chromium at ${path}: install Debian's package chromium, or set CHROMIUM to a Chromium or Chrome`);
}

/// Serves the app, and says its origin.
async function website(t) {
  const server = createServer(async (request, response) => {
    const [type, path] = FILES[request.url] ?? [];
    if (!path) return response.writeHead(404).end();
    response.writeHead(200, { "content-type": type }).end(await readFile(new URL(path, import.meta.url)));
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.after(() => {
    server.close();
    server.closeAllConnections();
  });
  return `http://127.0.0.1:${server.address().port}`;
}

/// A phone: what its browser keeps stays when the browser is closed, until the test ends.
async function phone(t, origin) {
  const executablePath = chromium();
  const home = await mkdtemp(join(tmpdir(), "godwit-browser-"));
  let browser;
  t.after(async () => {
    await browser?.close();
    // The last of its processes may still write.
    await rm(home, { recursive: true, force: true, maxRetries: 10 });
  });
  return {
    async open() {
      browser = await puppeteer.launch({
        executablePath,
        userDataDir: join(home, "profile"),
        // Chromium keeps its hands off the home and the temporary files of who runs the test.
        env: { ...process.env, HOME: home, TMPDIR: home, XDG_CONFIG_HOME: home, XDG_CACHE_HOME: home },
        // Its sandbox refuses to be root's, as the suite often is in a container.
        args: process.getuid() === 0 ? ["--no-sandbox"] : [],
      });
      const [page] = await browser.pages();
      await page.goto(origin);
      return page;
    },
    close: () => browser.close(),
  };
}

const documents = async (page) => Object.fromEntries((await page.evaluate(() => documents())).map((doc) => [doc._id, doc]));
const names = async (site) =>
  Object.fromEntries((await site.sql("select id, name from cases")).map(({ id, name }) => [id, name]));

async function isCutOff(page, url) {
  return page.evaluate((url) => fetch(url).then(() => false, () => true), url);
}

test("a browser that was offline, and closed meanwhile, loses nothing and misses nothing", async (t) => {
  const origin = await website(t);
  const settings = { GODWIT_COUCH_ROOT: undefined, GODWIT_CORS_ORIGINS: origin };
  const site = await Site.open(t, { settings });
  const table = `${site.url}/cases`;
  const device = await phone(t, origin);
  await site.sql(`insert into cases (id, name, household) select id, 'before', 7
                  from unnest('{both,mine,theirs,i-delete,they-delete}'::text[]) id`);

  let page = await device.open();
  assert.equal(await page.evaluate(() => local.adapter), "idb", "it is IndexedDB that is tested");
  await page.evaluate((table) => startSync(table), table);
  await until("SQL's rows are in the page", async () => Object.keys(await documents(page)).length === 5);
  await page.evaluate(() => edit("mine", { name: "while online" }));
  await until("the page's edit is in SQL", async () => (await names(site)).mine === "while online");

  await page.setOfflineMode(true);
  assert.ok(await isCutOff(page, table), "the page is offline");
  const photo = randomBytes(PHOTO_BYTES);
  await page.evaluate(() => edit("both", { name: "by the page" }));
  await page.evaluate(() => edit("mine", { name: "by the page", household: 8, note: "has no column" }));
  await page.evaluate((photo) => putPhoto("pictured", { name: "by the page" }, photo), photo.toString("base64"));
  await page.evaluate(async () => local.remove(await local.get("i-delete")));
  await site.sql("update cases set name = 'by SQL' where id in ('both', 'theirs')");
  await site.sql("insert into cases (id, name) values ('new', 'by SQL')");
  await site.sql("delete from cases where id = 'they-delete'");
  // Another phone's, so that a photo comes to the page too.
  const other = randomBytes(PHOTO_BYTES);
  const _attachments = { "photo.jpg": { content_type: "image/jpeg", data: other } };
  await remote(site).put({ _id: "pictured-too", name: "by another", _attachments });

  assert.deepEqual(await page.evaluate(() => failures), []);
  await device.close();
  page = await device.open();
  // Before it syncs: all of it must be the browser's own.
  await page.setOfflineMode(true);
  await page.evaluate((table) => startSync(table), table);
  const kept = await documents(page);
  assert.deepEqual(Object.keys(kept).sort(), ["both", "mine", "pictured", "theirs", "they-delete"]);
  assert.deepEqual([kept.both.name, kept.mine.name, kept.theirs.name], ["by the page", "by the page", "before"]);
  assert.equal(await page.evaluate(() => getPhoto("pictured")), photo.toString("base64"));
  assert.ok(await isCutOff(page, table), "the page is still offline");
  const { both, mine, pictured, "i-delete": deleted } = await names(site);
  assert.deepEqual([both, mine, pictured, deleted], ["by SQL", "while online", undefined, "before"], "SQL knows nothing of it");

  await page.setOfflineMode(false);
  await until("what the page did is in SQL", async () => {
    const now = await names(site);
    return now.mine === "by the page" && now.pictured && !now["i-delete"];
  });
  await until("what SQL did is in the page", async () => {
    const now = await documents(page);
    return now.theirs.name === "by SQL" && now.new && now["pictured-too"] && !now["they-delete"] && now.both._conflicts;
  });
  await until("the conflict is in SQL", async () => (await site.sql("select from godwit.conflicts")).length > 0);

  const here = await documents(page);
  const winner = here.both;
  assert.deepEqual(await names(site), {
    both: winner.name,
    mine: "by the page",
    new: "by SQL",
    pictured: "by the page",
    "pictured-too": "by another",
    theirs: "by SQL",
  });
  assert.equal(await site.value("select household::int from cases where id = 'mine'"), 8);
  const there = await remote(site).allDocs({ include_docs: true, conflicts: true });
  assert.deepEqual(here, Object.fromEntries(there.rows.map(({ id, doc }) => [id, doc])), "the page and the table say the same");

  const conflicts = await site.sql("select id, winner::text, conflict::text from godwit.conflicts");
  assert.deepEqual(conflicts, [{ id: "both", winner: winner._rev, conflict: winner._conflicts[0] }]);
  assert.equal(winner._conflicts.length, 1);
  const loser = await page.evaluate((rev) => local.get("both", { rev }), winner._conflicts[0]);
  assert.deepEqual([winner.name, loser.name].sort(), ["by SQL", "by the page"], "neither edit is lost");

  const answer = await fetch(`${table}/pictured/photo.jpg`);
  assert.equal(answer.headers.get("content-type"), "image/jpeg");
  assert.ok(Buffer.from(await answer.arrayBuffer()).equals(photo), "the photo's bytes come back");
  assert.equal(await page.evaluate(() => getPhoto("pictured-too")), other.toString("base64"), "the other's are in the page");

  // It is in step again, and not only once.
  await site.sql("update cases set name = 'once more' where id = 'theirs'");
  await until("SQL's next edit", async () => (await documents(page)).theirs.name === "once more");
  await page.evaluate(() => edit("mine", { name: "once more" }));
  await until("the page's next edit", async () => (await names(site)).mine === "once more");
  assert.deepEqual(await page.evaluate(() => failures), []);
});
