"""In charge of the table that is measured: ten columns, about 300 bytes a row, in five kinds.

- untracked: as it stands;
- tracked: by Godwit;
- row_trigger, statement_trigger, jsonb_trigger: with a history that a user would write instead (baselines.sql).
"""
import pathlib

from . import postgres

COLUMNS = (
    ("id", "bigint primary key"), ("name", "text"), ("region", "text"), ("born", "date"), ("seen", "timestamptz"),
    ("weight", "numeric"), ("score", "double precision"), ("active", "boolean"), ("note", "text"), ("tags", "text[]"),
)
DEFINITION = ", ".join(f"{name} {kind}" for name, kind in COLUMNS)
# COPY without a list of columns would ask for `_rev` too.
NAMES = ", ".join(name for name, _ in COLUMNS)
BASELINES = pathlib.Path(__file__).with_name("baselines.sql")
KINDS = ("untracked", "tracked", "row_trigger", "statement_trigger", "jsonb_trigger")


def row(identifier, name="person number ", regions="50"):
    """A row's values as SQL, from an expression for its id."""
    n = identifier
    return (
        f"{n}, '{name}' || {n}, 'region-' || {n} % {regions}, date '1980-01-01' + ({n} % 9000)::int,"
        f" timestamptz '2026-01-01 00:00Z' + {n} * interval '1 second', ({n} % 10000) / 100.0,"
        f" {n} / 7.0, {n} % 3 = 0, repeat('note ' || {n} % 1000 || ' ', 12),"
        f" array['tag' || {n} % 7, 'tag' || {n} % 11]"
    )


def insert(table, count, first=1, **of_row):
    return f"insert into {table} ({NAMES}) select {row('g', **of_row)} from generate_series({first}, {first + count - 1}) g;\n"


def drop(*tables):
    postgres.psql("".join(f"drop table if exists {table}, {table}_history;\n" for table in tables))


def make(kind, rows=0):
    """A fresh table of this kind, named after it, its history as if it had been there from the first row."""
    drop(kind)
    postgres.psql(f"create table {kind} ({DEFINITION});\n" + insert(kind, rows))
    if kind == "tracked":
        postgres.psql("select godwit.track('tracked');")
    elif kind != "untracked":
        postgres.psql(BASELINES.read_text() + f"call bench.{kind}('{kind}');")
    settle(kind)


def history(kind):
    return {"untracked": None, "jsonb_trigger": "bench.record_version"}.get(kind, f"{kind}_history")


def settle(kind):
    vacuum(*filter(None, [kind, history(kind)]))


def vacuum(*tables):
    """What autovacuum would do some time soon; it is off, since it would meet some rounds and not others."""
    postgres.psql("".join(f"vacuum analyze {table};\n" for table in tables))
