"""Takes the measures and writes what they gave: `make bench` (bench/run.sh) calls it in front of a fresh cluster."""
import argparse
import dataclasses
import datetime
import json
import os
import pathlib
import subprocess
import sys
import time

from . import (bulk, catch_up, changes, couch, listeners, long_record, plot, postgres, put_revisions, readers, report,
               single, sizes, track)

MEASURES = (single, bulk, put_revisions, track, changes, readers, catch_up, listeners, couch, sizes, long_record)
# Seconds after which a measure begins no further round (of single: for each of its rows), so that all of them stay
# under half an hour on two cores. The table says how many rounds there were.
BUDGET = {"single": 40, "bulk": 120, "put_revisions": 40, "track": 100, "changes": 60, "readers": 40, "catch_up": 40,
          "listeners": 40, "couch": 100, "long_record": 40}
# After this many seconds in all there is one round of everything, so that a slow machine has its half hour too.
LATE_S = 1500
FULL = {
    "rounds": 5, "seconds": 1, "clients": (1, 8, 32), "rows": 100_000, "growth": (1_000, 10_000, 1_000_000),
    "large": 1_000_000, "watched": (100_000, 1_000_000), "edits": 100, "listeners": (1, 1_000, 10_000),
    "seconds_of_writes": 3, "documents": 10_000, "longest": 100_000, "deletable": 300_000,
}
# To see that everything works: its numbers mean nothing.
QUICK = {
    "rounds": 1, "seconds": 1, "clients": (1, 8), "rows": 2_000, "growth": (1_000, 5_000),
    "large": 20_000, "watched": (5_000, 20_000), "edits": 5, "listeners": (1, 100),
    "seconds_of_writes": 1, "documents": 500, "longest": 2_000, "deletable": 50_000,
}


class Options(argparse.Namespace):
    def budget(self, name):
        return BUDGET[name] if time.monotonic() - self.begun < LATE_S else 0


def read_options():
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    names = [measure.NAME for measure in MEASURES]
    parser.add_argument("--only", action="append", choices=names, help="this measure; may be said again")
    parser.add_argument("--rounds", type=int, help="after one that warms up; 5 unless said")
    parser.add_argument("--quick", action="store_true", help="small sizes and one round, to see that all works")
    parser.add_argument("--ten-millions", action="store_true", help="readers in front of 10,000,000 rows too")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("target/bench"), help="a folder for the results")
    parser.add_argument("--name", default="results", help="of the files in it")
    options = parser.parse_args(namespace=Options())
    for name, setting in (QUICK if options.quick else FULL).items():
        if getattr(options, name, None) is None:
            setattr(options, name, setting)
    if options.ten_millions:
        options.watched = (*options.watched, 10_000_000)
    return options


def main():
    options = read_options()
    options.begun = time.monotonic()
    sections, broke = [], None
    for measure in MEASURES:
        if options.only and measure.NAME not in options.only:
            continue
        print(f"\n{measure.__doc__.splitlines()[0]}", flush=True)
        started = time.monotonic()
        try:
            sections += measure.measure(options)
        except postgres.Broken as broken:
            broke = f"bench: {measure.NAME} broke: {broken}"
            print(broke, file=sys.stderr, flush=True)
            break
        print(f"({measure.NAME}: {time.monotonic() - started:.0f} s)", flush=True)
    of_machine = machine(options, time.monotonic() - options.begun)
    if broke:
        of_machine["incomplete"] = broke.splitlines()[0]
    write(options, sections, of_machine)
    if broke:
        # Where it is seen, below all that was measured.
        sys.exit(broke)


def machine(options, seconds):
    def printed(*command):
        return subprocess.run(command, text=True, capture_output=True).stdout.strip()
    with open("/proc/cpuinfo") as lines:
        model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown")
    with open("/proc/meminfo") as lines:
        memory = int(next(lines).split()[1]) / 1e6
    name = os.environ.get("BENCH_MACHINE", "a machine without a name")
    return {
        "date": f"{datetime.date.today()}",
        "machine": f"{name}: {os.cpu_count()} cores of {model}, {memory:.0f} GB, Linux {os.uname().release},"
                   f" disk {printed('findmnt', '-no', 'SOURCE,FSTYPE', '-T', '.')}",
        "Postgres": postgres.value("show server_version") + ", as it comes but for "
                    "max_connections = 1200 and autovacuum = off",
        "Godwit": printed("git", "describe", "--always", "--dirty"),
        "rounds": f"{options.rounds} after one that warms up{', --quick: the numbers mean nothing' if options.quick else ''}",
        "load before": os.environ.get("BENCH_LOAD", "unknown"),
        "took": f"{seconds / 60:.0f} minutes",
    }


def write(options, sections, of_machine):
    options.out.mkdir(parents=True, exist_ok=True)

    def file(kind):
        return options.out / f"{options.name}.{kind}"

    text = report.markdown(sections, of_machine, f"{options.name}.svg")
    file("md").write_text(text)
    plot.draw(sections, file("svg"))
    whole = {"machine": of_machine, "sections": [dataclasses.asdict(section) for section in sections]}
    file("json").write_text(json.dumps(whole, ensure_ascii=False, indent=1) + "\n")
    print("\n" + text)
    met, all_of_them = report.count(sections)
    print(f"{met} of {all_of_them} aims met; written to {options.out}/{options.name}.md, .svg and .json")


if __name__ == "__main__":
    main()
