// Photos and films: inline, by themselves, as parts; the same bytes come back, and are kept once.

import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { test } from "node:test";
import { gzipSync } from "node:zlib";
import { inMemory, pull, push, remote } from "./pouch.mjs";
import { Site } from "./site.mjs";

const md5 = (bytes) => `md5-${createHash("md5").update(bytes).digest("base64")}`;

async function bytesOf(response) {
  assert.ok(response.ok, `${response.status}`);
  return Buffer.from(await response.arrayBuffer());
}

test("a photo goes from client to client with its document, and an edit doesn't send it again", async (t) => {
  const site = await Site.open(t);
  const [phone, laptop] = [inMemory(t), inMemory(t)];
  const photo = randomBytes(2_000_001);
  const _attachments = {
    "ein Foto.jpg": { content_type: "image/jpeg", data: photo },
    "notes/ü.txt": { content_type: "text/plain", data: Buffer.from("all well") },
  };
  await phone.put({ _id: "1", name: "Amina", _attachments });
  await push(phone, remote(site));
  await pull(laptop, remote(site));
  assert.ok((await laptop.getAttachment("1", "ein Foto.jpg")).equals(photo));
  assert.equal(String(await laptop.getAttachment("1", "notes/ü.txt")), "all well");
  const kept = () => site.value("select count(*)::int from godwit.attachment_parts");
  const parts = await kept();
  assert.equal(parts, 4, "three parts of the photo, and the note");

  const edited = await laptop.get("1");
  await laptop.put({ ...edited, name: "Amina B." });
  await push(laptop, remote(site));
  await pull(phone, remote(site));
  assert.equal((await phone.get("1")).name, "Amina B.");
  assert.ok((await phone.getAttachment("1", "ein Foto.jpg")).equals(photo));
  assert.equal(await kept(), parts, "the same bytes are kept once");
  assert.equal(await site.value("select name from cases"), "Amina B.");
});

test("an edit in SQL leaves the photo where it is", async (t) => {
  const site = await Site.open(t);
  const photo = randomBytes(1000);
  await remote(site).put({ _id: "1", name: "Amina", _attachments: { p: { content_type: "image/png", data: photo } } });
  await site.sql("update cases set name = 'Amina B.'");
  const shown = await remote(site).get("1", { attachments: true, binary: true });
  assert.deepEqual([shown.name, shown._attachments.p.data.equals(photo)], ["Amina B.", true]);
});

test("attachments by themselves: put, read whole and in ranges, replaced, deleted, refused", async (t) => {
  const site = await Site.open(t);
  const film = randomBytes(5_000_000);
  const url = `${site.url}/cases/1/film.mp4`;
  const put = async (bytes, query = "") =>
    (await fetch(url + query, { method: "PUT", body: bytes, headers: { "content-type": "video/mp4" } })).json();
  const first = await put(film);
  assert.ok(first.ok, JSON.stringify(first));
  const whole = await fetch(url);
  assert.equal(whole.headers.get("content-type"), "video/mp4");
  assert.equal(whole.headers.get("etag"), `"${md5(film)}"`);
  assert.ok((await bytesOf(whole)).equals(film));
  for (const [asked, from, to] of [["0-9", 0, 10], ["786430-786440", 786430, 786441], ["4999990-", 4999990, 5000000], ["-5", 4999995, 5000000]]) {
    const part = await fetch(url, { headers: { range: `bytes=${asked}` } });
    assert.equal(part.status, 206);
    assert.equal(part.headers.get("content-range"), `bytes ${from}-${to - 1}/5000000`);
    assert.ok((await bytesOf(part)).equals(film.subarray(from, to)), asked);
  }
  assert.equal((await fetch(url, { headers: { range: "bytes=5000000-" } })).status, 416);
  assert.equal((await fetch(url, { headers: { "if-none-match": `"${md5(film)}"` } })).status, 304);
  assert.equal((await put(film)).error, "conflict", "a document that is there is edited by its revision");
  const second = await put(Buffer.from("short"), `?rev=${first.rev}`);
  assert.equal(String(await bytesOf(await fetch(url))), "short");
  assert.ok((await bytesOf(await fetch(`${url}?rev=${first.rev}`))).equals(film), "the old one is with its revision");
  const gone = await fetch(`${url}?rev=${second.rev}`, { method: "DELETE" });
  assert.equal(gone.status, 200);
  const missing = await site.get("/cases/1/film.mp4");
  assert.deepEqual([missing.status, missing.json.reason], [404, "Document is missing attachment"]);
  const stub = await site.put("/cases/2", { _attachments: { a: { stub: true } } });
  assert.deepEqual([stub.status, stub.json.error], [412, "missing_stub"]);
});

test("a reader that has some gets the others, and stubs for those", async (t) => {
  const site = await Site.open(t);
  const db = remote(site);
  const first = await db.putAttachment("1", "old", Buffer.from("old"), "text/plain");
  await db.putAttachment("1", "new", first.rev, Buffer.from("new"), "text/plain");
  const { json } = await site.get(`/cases/1?revs=true&attachments=true&atts_since=["${first.rev}"]`);
  assert.equal(json._attachments.old.stub, true);
  assert.equal(json._attachments.new.data, Buffer.from("new").toString("base64"));
  const bulk = await site.post("/cases/_bulk_get?attachments=true", { docs: [{ id: "1", atts_since: [first.rev] }, { id: "1" }] });
  const [some, all] = bulk.json.results.map((result) => result.docs[0].ok._attachments);
  assert.deepEqual([some.old.stub, some.new.data, all.old.data], [true, "bmV3", "b2xk"]);
});

test("multipart comes in, zipped parts too, and goes out as it was", async (t) => {
  const site = await Site.open(t);
  const [photo, text] = [randomBytes(900_000), Buffer.from("all well ".repeat(1000))];
  const zipped = gzipSync(text);
  const document = {
    _id: "1",
    _rev: "2-b",
    _revisions: { start: 2, ids: ["b", "a"] },
    name: "Amina",
    _attachments: {
      "z.txt": { follows: true, content_type: "text/plain", length: text.length, encoding: "gzip", encoded_length: zipped.length, revpos: 1 },
      "a.jpg": { follows: true, content_type: "image/jpeg", length: photo.length, revpos: 2 },
    },
  };
  const head = (...lines) => Buffer.from(`${lines.join("\r\n")}\r\n\r\n`);
  const body = Buffer.concat([
    head("--limit", "Content-Type: application/json"),
    Buffer.from(JSON.stringify(document)),
    // Neither says whose it is: they come in the document's order.
    head("\r\n--limit", "Content-Type: text/plain", "Content-Encoding: gzip"),
    zipped,
    head("\r\n--limit", "Content-Length: 900000"),
    photo,
    Buffer.from("\r\n--limit--"),
  ]);
  const put = await fetch(`${site.url}/cases/1?new_edits=false`, {
    method: "PUT",
    body,
    headers: { "content-type": 'multipart/related; boundary="limit"' },
  });
  assert.equal(put.status, 201, await put.text());
  const shown = await remote(site).get("1", { attachments: true, binary: true });
  assert.ok(shown._attachments["z.txt"].data.equals(text));
  assert.ok(shown._attachments["a.jpg"].data.equals(photo));

  const mixed = await fetch(`${site.url}/cases/1?revs=true&open_revs=["2-b","7-x"]`, { headers: { accept: "multipart/mixed" } });
  assert.match(mixed.headers.get("content-type"), /^multipart\/mixed; boundary="\w+"$/);
  const out = await bytesOf(mixed);
  assert.ok(out.includes(photo) && out.includes(text));
  assert.match(String(out), /Content-Type: multipart\/related; boundary="\w+"\r\n\r\n--\w+\r\nContent-Type: application\/json\r\n\r\n\{/);
  assert.match(String(out), /Content-Disposition: attachment; filename="a\.jpg"\r\nContent-Type: image\/jpeg\r\nContent-Length: 900000\r\n\r\n/);
  assert.match(String(out), /error="true"\r\n\r\n\{"missing":"7-x"\}/);
  const related = await fetch(`${site.url}/cases/1?attachments=true`, { headers: { accept: "multipart/related" } });
  assert.match(related.headers.get("content-type"), /^multipart\/related/);
  assert.ok((await bytesOf(related)).includes(photo));
  const broken = await fetch(`${site.url}/cases/2?new_edits=false`, {
    method: "PUT",
    body: body.subarray(0, body.length - 100),
    headers: { "content-type": "multipart/related; boundary=limit" },
  });
  assert.equal(broken.status, 400);
  assert.equal((await site.get("/cases/2")).status, 404);
});

test("a stub of what isn't here holds up nothing but its document", async (t) => {
  const site = await Site.open(t);
  const docs = [{ _id: "1", _rev: "1-a", _attachments: { p: { stub: true } } }, { _id: "2", _rev: "1-a" },
    { _id: "3", _rev: "1-a", _attachments: { p: { content_type: "a\u0000b", data: "" } } }];
  const refused = (await site.post("/cases/_bulk_docs", { new_edits: false, docs })).json;
  assert.deepEqual(refused.map(({ id, error }) => [id, error]).sort(), [["1", "forbidden"], ["3", "forbidden"]]);
  assert.equal((await site.get("/cases/2")).status, 200);
});

test("a body of parts that never come is given up, and takes no room", async (t) => {
  const site = await Site.open(t);
  // More than may stand before a part, and an end, so that nothing here depends on who gives up first.
  const noise = Buffer.alloc(12 * 1024 * 1024, "x");
  const answer = await fetch(`${site.url}/cases/1`, {
    method: "PUT",
    body: gzipSync(noise),
    headers: { "content-type": "multipart/related; boundary=limit", "content-encoding": "gzip" },
  });
  assert.equal(answer.status, 400);
  assert.match((await answer.json()).reason, /has no end/);
  assert.equal((await site.get("/cases/1")).status, 404);
});

test("what nobody may see nobody can attach to, and what is erased is gone", async (t) => {
  const site = await Site.open(t);
  await remote(site).putAttachment("1", "photo", Buffer.from("a face"), "image/jpeg");
  await site.sql("select godwit.erase('cases', '1')");
  assert.equal(await site.value("select count(*)::int from godwit.attachment_parts"), 0);
  assert.equal((await site.get("/cases/1/photo")).status, 404);
});
