"""Bytes on disk that a revision takes in the twin, indexes and all, against the row itself."""
from . import postgres, table
from .report import Against, Row, Section, at_most

NAME = "sizes"


def measure(options):
    rows = options.rows
    table.make("untracked", rows)
    table.make("tracked", rows)
    section = Section(NAME, "Size on disk", "bytes")
    plain = float(postgres.value("select pg_relation_size('untracked')")) / rows
    for what, statement, revisions in (("first revisions", "", rows),
                                       ("first and second revisions", "update tracked set score = score + 1;", 2 * rows)):
        postgres.psql(statement + "vacuum tracked;")
        twin, heap = (float(postgres.value(f"select {size}('tracked_history')")) / revisions
                      for size in ("pg_total_relation_size", "pg_relation_size"))
        section.rows.append(Row(f"a revision, {what} ({heap:.0f} without indexes)", "bytes", [twin],
                                [Against("the row itself", [plain], at_most(1.6))]))
        section.show_last()
    table.drop("untracked", "tracked")
    return [section]
