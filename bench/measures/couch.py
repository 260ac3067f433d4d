"""PouchDB's push and pull, against express-pouchdb: the server's processor time, and documents a second."""
import json
import os
import pathlib
import subprocess
import tempfile

from . import postgres
from .gateway import Gateway
from .report import Against, Row, Section, at_most
from .rounds import Rounds

NAME = "couch"
FOLDER = pathlib.Path(__file__).parent.parent / "couch"
AIM = at_most(1 / 3)


def measure(options):
    with Gateway() as gateway, tempfile.TemporaryDirectory() as folder, Express(folder) as express:
        contenders = {
            # The gateway and every process of its Postgres.
            "godwit": (f"http://{gateway.address}/couch", [gateway.pid, int(os.environ["BENCH_POSTMASTER"])]),
            "express": (express.url, [express.process.pid]),
        }
        rounds = Rounds(options.rounds, options.budget(NAME))
        for number in rounds:
            documents = options.documents // (1 if number else 10)
            for name, (url, processes) in contenders.items():
                printed = postgres.run(["node", str(FOLDER / "bench.mjs"), url, str(documents), *map(str, processes)])
                for way, of_way in json.loads(printed).items():
                    rounds.add((name, way, "cpu"), of_way["cpu_seconds"])
                    rounds.add((name, way, "rate"), documents / of_way["seconds"])
    time = Section(NAME, f"PouchDB with {options.documents:,} documents", "seconds of processor time in the server, its database included")
    rate = Section("couch-rate", "The same by the clock", "documents a second, PouchDB's own time included")
    for way in ("push", "pull"):
        time.rows.append(Row(way, "s", rounds["godwit", way, "cpu"],
                             [Against("express-pouchdb", rounds["express", way, "cpu"], AIM)]))
        time.show_last()
        rate.rows.append(Row(way, "/s", rounds["godwit", way, "rate"],
                             [Against("express-pouchdb", rounds["express", way, "rate"])]))
        rate.show_last()
    return [time, rate]


class Express:
    """express-pouchdb over LevelDB, in a process of its own as the gateway is."""

    def __init__(self, folder):
        self.folder = folder

    def __enter__(self):
        self.process = subprocess.Popen(["node", str(FOLDER / "server.mjs"), self.folder], stdout=subprocess.PIPE, text=True)
        line = self.process.stdout.readline()
        if not line.startswith("listening on "):
            self.__exit__()
            raise postgres.Broken(f"express-pouchdb did not start: {line!r}, and the lines above")
        self.url = f"http://127.0.0.1:{int(line.rsplit(' ', 1)[1])}"
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
