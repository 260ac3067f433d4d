// _changes that waits: long polls, continuous feeds and event streams.

import assert from "node:assert/strict";
import { test } from "node:test";
import { Site, until } from "./site.mjs";

/// A feed's lines as they come.
async function listen(t, site, query, headers = {}) {
  const control = new AbortController();
  t.after(() => control.abort());
  const response = await fetch(`${site.url}/cases/_changes?${query}`, { headers, signal: control.signal });
  assert.equal(response.status, 200);
  const feed = { text: "", isOver: false, type: response.headers.get("content-type"), stop: () => control.abort() };
  const reading = async () => {
    const decoder = new TextDecoder();
    for await (const bytes of response.body) feed.text += decoder.decode(bytes, { stream: true });
    feed.isOver = true;
  };
  reading().catch(() => {});
  return feed;
}

const jsonLines = (feed) => feed.text.split("\n").filter((line) => line !== "").map((line) => JSON.parse(line));
const insert = (site, id) => site.sql("insert into cases (id) values ($1)", [id]);
const took = async (work) => {
  const begun = Date.now();
  return [await work(), Date.now() - begun];
};

test("a long poll returns at once where there is something, and soon after there is", async (t) => {
  const site = await Site.open(t);
  await insert(site, "a");
  const poll = (since) => site.get(`/cases/_changes?feed=longpoll&since=${since}&timeout=20000`);
  const [first, ms] = await took(() => poll(0));
  assert.deepEqual(first.json.results.map((row) => row.id), ["a"]);
  assert.ok(ms < 2000, `${ms} ms`);
  const [second, later] = await took(async () => {
    const waiting = poll(first.json.last_seq);
    setTimeout(() => insert(site, "b"), 500);
    return waiting;
  });
  assert.deepEqual(second.json.results.map((row) => row.id), ["b"]);
  assert.ok(later >= 400 && later < 5000, `${later} ms`);
  assert.ok(second.json.last_seq > first.json.last_seq);
});

test("a long poll of nothing ends in time and is empty", async (t) => {
  const site = await Site.open(t);
  await insert(site, "a");
  const [{ status, json }, ms] = await took(() => site.get("/cases/_changes?feed=longpoll&since=now&timeout=700"));
  assert.deepEqual([status, json.results], [200, []]);
  assert.ok(ms >= 600 && ms < 4000, `${ms} ms`);
  await insert(site, "b");
  const next = await site.get(`/cases/_changes?feed=longpoll&since=${json.last_seq}&timeout=5000`);
  assert.deepEqual(next.json.results.map((row) => row.id), ["b"]);
});

test("a long poll is not woken by another table, nor by what its filter leaves out", async (t) => {
  const site = await Site.open(t);
  await site.sql("create table other (id text primary key); select godwit.track('other')");
  const body = { selector: { name: "wanted" } };
  // Not since=now: on a busy machine that may be read after what it waits for.
  const { last_seq } = (await site.get("/cases/_changes")).json;
  const waiting = site.post(`/cases/_changes?feed=longpoll&since=${last_seq}&timeout=10000&filter=_selector`, body);
  await until("it listens", () => new Promise((resolve) => setTimeout(() => resolve(true), 300)));
  await site.sql("insert into other values ('a')");
  await insert(site, "unwanted");
  await site.sql("insert into cases (id, name) values ('w', 'wanted')");
  assert.deepEqual((await waiting).json.results.map((row) => row.id), ["w"]);
});

test("a long poll with a heartbeat is kept alive beyond its timeout", async (t) => {
  const site = await Site.open(t);
  const feed = await listen(t, site, "feed=longpoll&since=now&heartbeat=200&timeout=500");
  await until("three heartbeats", () => (feed.text.match(/\n/g) ?? []).length >= 4);
  await insert(site, "a");
  await until("it is over", () => feed.isOver);
  assert.deepEqual(JSON.parse(feed.text).results.map((row) => row.id), ["a"]);
});

test("a continuous feed says each change on a line, and heartbeats between", async (t) => {
  const site = await Site.open(t);
  await insert(site, "a");
  const feed = await listen(t, site, "feed=continuous&since=0&heartbeat=200&include_docs=true");
  await until("what is there", () => jsonLines(feed).length === 1);
  await until("heartbeats", () => feed.text.endsWith("\n\n\n"));
  await insert(site, "b");
  await until("what comes", () => jsonLines(feed).length === 2);
  await site.sql("delete from cases where id = 'a'");
  await until("what goes", () => jsonLines(feed).length === 3);
  const lines = jsonLines(feed);
  assert.deepEqual(lines.map((line) => [line.id, line.deleted]), [["a", undefined], ["b", undefined], ["a", true]]);
  assert.equal(lines[1].doc._id, "b");
  assert.equal(feed.isOver, false);
});

test("a continuous feed without a heartbeat ends with its last sequence, in time or at its limit", async (t) => {
  const site = await Site.open(t);
  await insert(site, "a");
  await insert(site, "b");
  const timed = await listen(t, site, "feed=continuous&since=0&timeout=500");
  await until("it is over", () => timed.isOver);
  assert.deepEqual(jsonLines(timed).map((line) => line.id ?? "end"), ["a", "b", "end"]);
  assert.equal(jsonLines(timed)[2].last_seq, jsonLines(timed)[1].seq);
  const limited = await listen(t, site, "feed=continuous&since=0&limit=1&heartbeat=1000");
  await until("it is over", () => limited.isOver);
  assert.deepEqual(jsonLines(limited).map((line) => line.id ?? "end"), ["a", "end"]);
});

test("an event stream has a change as data under its sequence, and goes on from Last-Event-ID", async (t) => {
  const site = await Site.open(t);
  await insert(site, "a");
  const feed = await listen(t, site, "feed=eventsource&since=0&heartbeat=200");
  assert.match(feed.type, /^text\/event-stream/);
  const events = (text) => text.split("\n\n").filter((event) => event.includes("id:"));
  // Whichever comes first.
  await until("a heartbeat and a change", () => feed.text.includes("event: heartbeat") && events(feed.text).length > 0);
  const [first] = events(feed.text);
  const data = JSON.parse(first.match(/^data: ?(.*)$/m)[1]);
  assert.equal(data.id, "a");
  assert.equal(first.match(/^id: ?(.*)$/m)[1], String(data.seq));
  feed.stop();
  await insert(site, "b");
  const again = await listen(t, site, "feed=eventsource&since=0&heartbeat=200", { "last-event-id": String(data.seq) });
  await until("the next", () => events(again.text).length > 0);
  assert.match(events(again.text)[0], /"id":"b"/);
});

test("feeds go on over changes that are made while they listen, and skip none", async (t) => {
  const site = await Site.open(t);
  const feed = await listen(t, site, "feed=continuous&since=0&heartbeat=1000");
  const writers = [0, 1, 2, 3].map(async (writer) => {
    for (let number = 0; number < 50; number++) await insert(site, `${writer}-${number}`);
  });
  await Promise.all(writers);
  await until("all 200", () => jsonLines(feed).length >= 200);
  assert.equal(new Set(jsonLines(feed).map((line) => line.id)).size, 200);
});
