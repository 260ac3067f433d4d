// In charge of the baseline: express-pouchdb over LevelDB in a folder of its own, in a process of its own as the
// gateway is.
import { createRequire } from "node:module";
import express from "express";
import PouchDB from "pouchdb";

const require = createRequire(import.meta.url);
const app = express();
const Kept = PouchDB.defaults({ prefix: `${process.argv[2]}/` });
app.use("/", require("express-pouchdb")(Kept, { mode: "minimumForPouchDB", configPath: `${process.argv[2]}/config.json` }));
const server = app.listen(0, "127.0.0.1", () => console.log(`listening on ${server.address().port}`));
