"""From a write to its listeners, its commit included, at 200 writes a second, against LISTEN/NOTIFY; and the memory of idle ones.

bench/listeners/ (Rust) holds the connections: a client in Python would be what is measured.
"""
import json
import os

from . import postgres
from .gateway import Gateway
from .report import Against, Row, Section, at_most
from .rounds import Rounds

NAME = "listeners"
WRITES = 200
# Each is a backend in Postgres: it can't hold ten thousand.
NOTIFIED_MAX = 1_000


def measure(options):
    postgres.psql("""drop table if exists lively, lively_history, silent;
        create table lively (id bigint primary key, note text); select godwit.track('lively');
        create table silent (id bigint primary key, note text);""")
    sections = [latencies(options), memory(options)]
    postgres.psql("drop table lively, lively_history, silent;")
    return sections


def latencies(options):
    section = Section(NAME, "From a write to its listeners", f"milliseconds from when it is sent, its commit included, at {WRITES} writes a second")
    for listeners in options.listeners:
        postgres.psql("truncate silent; truncate lively; checkpoint;")
        notified = listeners if listeners <= NOTIFIED_MAX else 0
        with Gateway() as gateway:
            printed = program("latency", "--address", gateway.address, "--listeners", listeners, "--notified", notified,
                              "--writes", WRITES, "--seconds", options.seconds_of_writes, "--rounds", options.rounds)
        lines = [json.loads(line) for line in printed.splitlines()]
        values = {(kind, at): [line[at] for line in lines if line["kind"] == kind]
                  for kind in ("feed", "notify") for at in ("p50_ms", "p99_ms")}
        name = f"{listeners:,} listener{'s' * (listeners > 1)}"
        for at, aim, bound in (("p50_ms", at_most(3), None),
                               ("p99_ms", None, at_most(100, " ms") if listeners >= 10_000 else None)):
            against = [Against("LISTEN/NOTIFY", values["notify", at], aim)] if notified else []
            section.rows.append(Row(f"{name}, {at[:3]}", "ms", values["feed", at], against, bound))
            section.show_last()
    return section


def memory(options):
    listeners = max(options.listeners)
    rounds = Rounds(options.rounds, options.budget(NAME))
    for _ in rounds:
        with Gateway() as gateway:
            printed = program("idle", "--address", gateway.address, "--pid", gateway.pid, "--listeners", listeners)
        rounds.add("bytes", json.loads(printed)["bytes_each"] / 1000)
    section = Section("idle", "An idle listener", "resident memory of the gateway for each open feed")
    section.rows.append(Row(f"an idle listener, one of {listeners:,}", "kB", rounds["bytes"], aim=at_most(20, " kB")))
    section.show_last()
    return section


def program(*arguments):
    return postgres.run([os.environ["BENCH_LISTENERS"], *map(str, arguments)])
