// PouchDB's push and pull of some documents, and what processor time they took of the server's processes.
//
//   bench.mjs URL DOCUMENTS PROCESS…
import { readFileSync, readdirSync } from "node:fs";
import PouchDB from "pouchdb";
import memory from "pouchdb-adapter-memory";

PouchDB.plugin(memory);
const [url, documents, ...processes] = process.argv.slice(2);
const count = Number(documents);
// Linux counts these in hundredths of a second, whatever its own clock does.
const TICKS = 100;

// utime, stime, cutime and cstime of /proc/PID/stat (proc(5)); the name before them may hold anything but a bracket.
const stat = (pid) => {
  const fields = readFileSync(`/proc/${pid}/stat`, "utf8").replace(/^.*\) /s, "").split(" ");
  return { parent: fields[1], ticks: fields.slice(11, 15).reduce((sum, ticks) => sum + Number(ticks), 0) };
};

// Of these processes and their children, those that have ended included.
function cpuSeconds() {
  let ticks = 0;
  for (const pid of readdirSync("/proc").filter((name) => /^\d+$/.test(name))) {
    try {
      const of = stat(pid);
      if (processes.includes(pid) || processes.includes(of.parent)) ticks += of.ticks;
    } catch (error) {
      // It ended while we looked: its parent has its time.
      if (!["ENOENT", "ESRCH"].includes(error.code) || processes.includes(pid)) throw error;
    }
  }
  return ticks / TICKS;
}

async function timed(work) {
  const cpu = cpuSeconds();
  const start = process.hrtime.bigint();
  const result = await work();
  if (result.docs_written !== count) throw new Error(`${result.docs_written} documents instead of ${count}`);
  return { seconds: Number(process.hrtime.bigint() - start) / 1e9, cpu_seconds: cpuSeconds() - cpu };
}

const remote = new PouchDB(`${url}/bench${Date.now()}`);
await remote.info();
const [from, to] = ["from", "to"].map((name) => new PouchDB(name, { adapter: "memory" }));
await from.bulkDocs(
  Array.from({ length: count }, (_, n) => ({
    _id: `case-${String(n).padStart(7, "0")}`, name: `Amina ${n}`, household: n % 900, region: ["north", "south"][n % 2],
    notes: `visited on day ${n % 365}, ${"all well; ".repeat(4)}`,
  })),
);
const push = await timed(() => from.replicate.to(remote));
const pull = await timed(() => to.replicate.from(remote));
await remote.destroy();
console.log(JSON.stringify({ push, pull }));
