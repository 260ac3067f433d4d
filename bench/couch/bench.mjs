// Documents a second that PouchDB pushes and pulls, against the gateway and against express-pouchdb in the same run.
//
//   bench.mjs GATEWAY_URL BASELINE_URL [DOCUMENTS] [ROUNDS]
import PouchDB from "pouchdb";
import memory from "pouchdb-adapter-memory";

PouchDB.plugin(memory);
const [gateway, baseline, documents = "10000", rounds = "3"] = process.argv.slice(2);
const count = Number(documents);
const names = { gateway, baseline };
const rates = { gateway: { push: [], pull: [] }, baseline: { push: [], pull: [] } };
let number = 0;
const fresh = () => new PouchDB(`bench-${process.pid}-${(number += 1)}`, { adapter: "memory" });

async function timed(work) {
  const start = process.hrtime.bigint();
  const result = await work();
  if (result.docs_written !== count) throw new Error(`${result.docs_written} documents instead of ${count}`);
  return count / (Number(process.hrtime.bigint() - start) / 1e9);
}

for (let round = 0; round < Number(rounds); round += 1) {
  // Each goes first as often as the other.
  const order = round % 2 ? ["baseline", "gateway"] : ["gateway", "baseline"];
  for (const which of order) {
    const remote = new PouchDB(`${names[which]}/bench${Date.now()}`);
    await remote.info();
    const from = fresh();
    const docs = Array.from({ length: count }, (_, n) => ({
      _id: `case-${String(n).padStart(7, "0")}`, name: `Amina ${n}`, household: n % 900, region: ["north", "south"][n % 2],
      notes: `visited on day ${n % 365}, ${"all well; ".repeat(4)}`,
    }));
    await from.bulkDocs(docs);
    rates[which].push.push(await timed(() => from.replicate.to(remote)));
    const to = fresh();
    rates[which].pull.push(await timed(() => to.replicate.from(remote)));
    await from.destroy();
    await to.destroy();
    await remote.destroy();
  }
}

const middle = (list) => [...list].sort((one, other) => one - other)[Math.floor(list.length / 2)];
console.log(`${count} documents of some 150 bytes, ${rounds} rounds, the middle one; documents/s`);
for (const way of ["push", "pull"]) {
  const [ours, theirs] = ["gateway", "baseline"].map((which) => middle(rates[which][way]));
  const all = (which) => rates[which][way].map((rate) => Math.round(rate)).join(" ");
  console.log(
    `${way}  gateway ${Math.round(ours)} (${all("gateway")})  express-pouchdb ${Math.round(theirs)} (${all("baseline")})` +
      `  ratio ${(ours / theirs).toFixed(2)}`,
  );
}
