#!/usr/bin/env python3
"""Measures plain SQL on a tracked table against the same on an untracked one.

Both tables have ten columns and rows of about 300 bytes. Each measure is taken A B A B … in one
run, after one round of each that isn't counted; what is printed are medians, with the least and
the greatest. A ratio is the untracked table's time over the tracked one's: 1.0 would be no cost.

    bench.py [--rounds 5] [--rows 100000] [--seconds 4]

Connects as libpq's environment says (PGHOST, PGPORT, PGUSER, PGDATABASE).
"""
import argparse
import os
import re
import statistics
import subprocess
import tempfile

COLUMNS = """id bigint primary key, name text, region text, born date, seen timestamptz,
             weight numeric, score double precision, active boolean, note text, tags text[]"""
ROW = """{id}, 'person number ' || {id}, 'region-' || {id} % 50, date '1980-01-01' + ({id} % 9000)::int,
         timestamptz '2026-01-01 00:00Z' + {id} * interval '1 second', ({id} % 10000) / 100.0,
         {id} / 7.0, {id} % 3 = 0, repeat('note ' || {id} % 1000 || ' ', 12),
         array['tag' || {id} % 7, 'tag' || {id} % 11]"""


def psql(sql):
    run = subprocess.run(
        ["psql", "-X", "-q", "-v", "ON_ERROR_STOP=1"],
        input="\\timing on\n" + sql, text=True, capture_output=True)
    if run.returncode:
        raise SystemExit(f"bench: psql failed: {run.stderr.strip()}")
    return [float(ms) for ms in re.findall(r"^Time: ([\d.]+) ms", run.stdout, re.M)]


def timed(sql):
    """Milliseconds of the last statement."""
    return psql(sql)[-1]


def pgbench(script, clients, seconds):
    """Mean milliseconds of one transaction, as one of the clients sees it."""
    with tempfile.NamedTemporaryFile("w", suffix=".sql") as file:
        file.write(script)
        file.flush()
        run = subprocess.run(
            ["pgbench", "-n", "-f", file.name, "-c", str(clients), "-j", "1", "-T", str(seconds),
             "-M", "prepared"], text=True, capture_output=True)
    if run.returncode:
        raise SystemExit(f"bench: pgbench failed: {run.stderr.strip()}")
    return clients * 1000 / float(re.search(r"tps = ([\d.]+)", run.stdout)[1])


def empty(table):
    """The table and its twin as they were made, so that no round pays for an earlier one's rows."""
    psql(f"drop table if exists {table}; drop table if exists {table}_history;"
         f"create table {table} ({COLUMNS}); vacuum;"
         "drop sequence if exists ids; create sequence ids cache 100;")
    if table == "tracked":
        psql("select godwit.track('tracked');")


def rows(table, first, count):
    row = ROW.format(id="g")
    return f"insert into {table} select {row} from generate_series({first}, {first + count - 1}) g;"


def bulk_insert(table, options):
    empty(table)
    return timed("checkpoint;" + rows(table, 1, options.rows))


def bulk_update(table, options):
    empty(table)
    psql(rows(table, 1, options.rows) + f"vacuum analyze {table}; checkpoint;")
    return timed(f"update {table} set score = score + 1, seen = seen + interval '1 day';")


def bulk_delete(table, options):
    empty(table)
    psql(rows(table, 1, options.rows) + f"vacuum analyze {table}; checkpoint;")
    return timed(f"delete from {table};")


def copy(table, options):
    empty(table)
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "rows")
        row = " ".join(ROW.format(id="g").split())
        psql(f"\\copy (select {row} from generate_series(1, {options.rows}) g) to '{path}'\n")
        # COPY without a list of columns would ask the file for `_rev` too.
        names = ", ".join(column.split()[0] for column in COLUMNS.split(","))
        return timed(f"checkpoint;\n\\copy {table} ({names}) from '{path}'\n")


def single_insert(clients, commit):
    def measure(table, options):
        empty(table)
        row = ROW.format(id="n")
        script = (f"set synchronous_commit = {commit};\n" if commit == "off" else "") + \
            f"insert into {table} select {row} from nextval('ids') n;\n"
        return pgbench(script, clients, options.seconds)
    return measure


def single_update(clients, commit):
    def measure(table, options):
        empty(table)
        psql(rows(table, 1, 10_000) + f"vacuum analyze {table};")
        script = (f"set synchronous_commit = {commit};\n" if commit == "off" else "") + \
            f"\\set n random(1, 10000)\nupdate {table} set score = score + 1 where id = :n;\n"
        return pgbench(script, clients, options.seconds)
    return measure


def put_revisions(size):
    """Batches of new records by put_revisions, against an INSERT of as many rows a statement."""
    def measure(table, options):
        empty(table)
        batches = max(1, min(4000, 40_000 // size))
        row = ROW.format(id="g")
        # What a peer sends is made beforehand: the wire records of such rows.
        psql(f"""drop table if exists sent; drop table if exists source; drop table if exists source_history;
            create table source ({COLUMNS}); select godwit.track('source');
            insert into source select {row} from generate_series(1, {batches * size}) g;
            create table sent (n int primary key, records jsonb);
            insert into sent select (id - 1) / {size}, jsonb_agg(godwit.get('source', id::text) - 'table')
              from source group by 1;
            vacuum analyze sent; alter sequence ids cache 1;
            alter sequence ids minvalue 0 restart 0; checkpoint;""")
        if table == "tracked":
            script = """select count(*) from nextval('ids') k(n) join sent s on s.n = k.n,
                lateral godwit.put_revisions('tracked', s.records);"""
        else:
            row = ROW.format(id="g")
            script = f"""insert into plain select {row}
                from nextval('ids') n, generate_series(n * {size} + 1, n * {size} + {size}) g;"""
        with tempfile.NamedTemporaryFile("w", suffix=".sql") as file:
            file.write(script.replace("\n", " "))
            file.flush()
            run = subprocess.run(["pgbench", "-n", "-f", file.name, "-t", str(batches), "-M", "prepared"],
                                 text=True, capture_output=True)
        if run.returncode:
            raise SystemExit(f"bench: pgbench failed: {run.stderr.strip()}")
        # Milliseconds for a thousand revisions.
        return 1000 / size * 1000 / float(re.search(r"tps = ([\d.]+)", run.stdout)[1])
    return measure


def track(table, options):
    """track() of a table that is there, against making a copy of it with its key."""
    psql(f"""drop table if exists {table}; drop table if exists {table}_history; drop table if exists copy;
             create table {table} ({COLUMNS});""" + rows(table, 1, options.tracked_rows)
         + f"vacuum analyze {table}; checkpoint;")
    if table == "tracked":
        return timed("select godwit.track('tracked');")
    return sum(psql("create table copy as select * from plain; alter table copy add primary key (id);"))


def sizes(options):
    psql("drop table if exists tracked; drop table if exists tracked_history;"
         f"create table tracked ({COLUMNS});" + rows("tracked", 1, options.rows)
         + "vacuum full tracked; select godwit.track('tracked'); vacuum full tracked, tracked_history;")
    run = subprocess.run(["psql", "-X", "-qAt", "-c", """
        select pg_relation_size('tracked'), pg_total_relation_size('tracked_history'), pg_relation_size('tracked_history')
        """], text=True, capture_output=True, check=True)
    row, whole, heap = (int(size) / options.rows for size in run.stdout.strip().split("|"))
    return f"The twin takes {whole:.0f} bytes a revision with its indexes, {heap:.0f} without, for rows of {row:.0f} bytes."


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--only", default="", help="measures whose name has this")
    parser.add_argument("--seconds", type=int, default=4)
    parser.add_argument("--tracked-rows", type=int, default=1_000_000)
    options = parser.parse_args()
    thousands = f"{options.rows:,}"
    measures = [
        (f"INSERT … SELECT of {thousands} rows", bulk_insert),
        (f"COPY of {thousands} rows", copy),
        (f"UPDATE of {thousands} rows", bulk_update),
        (f"DELETE of {thousands} rows", bulk_delete),
        ("INSERT of one row, 1 client", single_insert(1, "on")),
        ("INSERT of one row, 8 clients", single_insert(8, "on")),
        ("INSERT of one row, 1 client, synchronous_commit off", single_insert(1, "off")),
        ("UPDATE of one row, 1 client", single_update(1, "on")),
        ("UPDATE of one row, 1 client, synchronous_commit off", single_update(1, "off")),
        ("put_revisions by 1, a thousand of them", put_revisions(1)),
        ("put_revisions by 100, a thousand of them", put_revisions(100)),
        ("put_revisions by 10,000, a thousand of them", put_revisions(10_000)),
        (f"track() of {options.tracked_rows:,} rows, against a copy with its key", track),
    ]
    print(f"| what | untracked, ms | tracked, ms | ratio ({options.rounds} rounds, median) | of a round |")
    print("| --- | --- | --- | --- | --- |")
    for name, measure in measures:
        if options.only not in name:
            continue
        times = {"plain": [], "tracked": []}
        for number in range(options.rounds + 1):
            for table, taken in times.items():
                spent = measure(table, options)
                if number:
                    taken.append(spent)
        ratios = [plain / tracked for plain, tracked in zip(times["plain"], times["tracked"])]
        cells = [f"{statistics.median(taken):.2f} ({min(taken):.2f} to {max(taken):.2f})"
                 for taken in times.values()]
        print(f"| {name} | {cells[0]} | {cells[1]} | {statistics.median(ratios):.2f} "
              f"| {min(ratios):.2f} to {max(ratios):.2f} |", flush=True)
    print("\n" + sizes(options))


if __name__ == "__main__":
    main()
