"""Single-row INSERT, UPDATE and DELETE by 1, 8 and 32 clients, with durable commits and without."""
import itertools

from . import postgres, table
from .report import Against, Row, Section, at_least
from .rounds import Rounds

NAME = "single"
KINDS = ("untracked", "tracked", "row_trigger", "jsonb_trigger")
OPERATIONS = ("INSERT", "UPDATE", "DELETE")
COMMITS = (("durable", "on", 0.75), ("synchronous_commit off", "off", 0.5))
UPDATED_ROWS = 10_000
# What one run may delete in a second, until one has deleted more.
DELETED_PER_SECOND = 40_000


def measure(options):
    section = Section(NAME, "Writes of one row", "transactions a second by pgbench, prepared statements")
    for operation, (name, commit, aim) in itertools.product(OPERATIONS, COMMITS):
        for kind in KINDS:
            fill(options, operation, kind)
        for clients in options.clients:
            title = f"{operation}, {clients} client{'s' * (clients > 1)}, {name}"
            section.rows.append(cell(options, operation, commit, title, clients, aim))
            section.show_last()
        if commit == "off":
            title = f"{operation}, each in a connection of its own"
            section.rows.append(cell(options, operation, commit, title, 1))
            section.show_last()
    table.drop(*KINDS)
    return [section]


def fill(options, operation, kind):
    rows = options.deletable if operation == "DELETE" else UPDATED_ROWS
    table.make(kind, rows)
    first = 1 if operation == "DELETE" else rows + 1
    postgres.psql(f"drop sequence if exists {kind}_ids; create sequence {kind}_ids start {first};")


def script(operation, kind):
    return {
        "INSERT": f"insert into {kind} ({table.NAMES}) select {table.row('n')} from nextval('{kind}_ids') n;\n",
        "UPDATE": f"\\set n random(1, {UPDATED_ROWS})\nupdate {kind} set score = score + 1 where id = :n;\n",
        "DELETE": f"delete from {kind} where id = (select nextval('{kind}_ids'));\n",
    }[operation]


def taken_ids(kind):
    return int(postgres.value(f"select last_value from {kind}_ids"))


def cell(options, operation, commit, title, clients, aim=None):
    """Without an aim each write is the first of a connection."""
    rounds = Rounds(options.rounds, options.budget(NAME))
    need = DELETED_PER_SECOND * options.seconds
    for _ in rounds:
        for kind in KINDS:
            before = taken_ids(kind)
            if operation == "DELETE" and options.deletable - before < need:
                fill(options, operation, kind)
                before = 0
            rate = postgres.throughput(
                script(operation, kind), clients, options.seconds, {"synchronous_commit": commit}, aim is None)
            rounds.add(kind, rate)
            after = taken_ids(kind)
            need = max(need, 2 * (after - before))
            if operation == "DELETE" and after > options.deletable:
                raise postgres.Broken(f"a run deleted more than there was: {after} of {options.deletable} rows of {kind}")
    ahead = at_least(1) if aim else None
    return Row(title, "/s", rounds["tracked"], [
        Against("untracked", rounds["untracked"], at_least(aim) if aim else None),
        Against("plpgsql row trigger", rounds["row_trigger"], ahead),
        Against("jsonb trigger", rounds["jsonb_trigger"], ahead),
    ])
