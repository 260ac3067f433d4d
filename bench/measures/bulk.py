"""Bulk INSERT, COPY, UPDATE and DELETE, and how they grow with the rows of the statement."""
import os
import tempfile

from . import postgres, table
from .report import Against, Row, Section, at_least
from .rounds import Rounds

NAME = "bulk"
KINDS = ("untracked", "tracked", "statement_trigger")
STATEMENTS = ("INSERT", "UPDATE", "DELETE", "COPY")
# Of DELETE nothing is asked: a tombstone is a whole revision, where an untracked row only gets a mark.
AIMED = ("INSERT", "UPDATE", "COPY")


def measure(options):
    section = Section(NAME, "Writes of many rows", "rows a second of one statement")
    growth = Section("bulk-growth", "How they grow", "rows a second; the greatest size by one round")
    for size in sorted({*options.growth, options.rows}):
        is_greatest = size > options.rows
        rounds = Rounds(0 if is_greatest else options.rounds, options.budget("bulk"))
        # COPY takes INSERT's way; at the greatest size it would cost a minute.
        statements = [name for name in STATEMENTS if not (is_greatest and name == "COPY")]
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "rows")
            postgres.psql(f"\\copy (select {table.row('g')} from generate_series(1, {size}) g) to '{path}'\n")
            for _ in rounds:
                for kind in KINDS:
                    table.make(kind)
                for statement in statements:
                    for kind in KINDS:
                        rounds.add((statement, kind), size / timed(statement, kind, size, path))
        table.drop(*KINDS)
        home = section if size == options.rows else growth
        for statement in statements:
            values = {kind: rounds[statement, kind] for kind in KINDS}
            has_aim = home is section and statement in AIMED
            home.rows.append(Row(f"{statement} of {size:,} rows", "/s", values["tracked"], [
                Against("untracked", values["untracked"], at_least(0.45) if has_aim else None),
                Against("statement trigger", values["statement_trigger"], at_least(1) if has_aim else None),
            ], growth=(statement, size)))
            home.show_last()
    return [section, growth]


def timed(statement, kind, size, path):
    """Seconds. UPDATE finds what INSERT has left, DELETE what UPDATE has left; COPY begins anew."""
    if statement == "COPY":
        table.make(kind)
        return postgres.seconds(f"checkpoint;\n\\copy {kind} ({table.NAMES}) from '{path}'\n")
    table.settle(kind)
    return postgres.seconds("checkpoint;\n" + {
        "INSERT": table.insert(kind, size),
        "UPDATE": f"update {kind} set score = score + 1, seen = seen + interval '1 day';",
        "DELETE": f"delete from {kind};",
    }[statement])
