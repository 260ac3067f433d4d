"""track() of a table that is there, against a copy of it, without its key and with it."""
from . import postgres, table
from .report import Against, Row, Section, at_most
from .rounds import Rounds

NAME = "track"


def measure(options):
    rows = options.large
    table.make("untracked", rows)
    rounds = Rounds(options.rounds, options.budget(NAME))
    for _ in rounds:
        table.drop("copied", "tracked")
        copy = postgres.seconds("checkpoint; create table copied as select * from untracked;")
        key = postgres.seconds("alter table copied add primary key (id);")
        postgres.psql(f"drop table copied; create table tracked ({table.DEFINITION});"
                      "insert into tracked select * from untracked; vacuum analyze tracked;")
        rounds.add("track", postgres.seconds("checkpoint; select godwit.track('tracked');"))
        rounds.add("copy", copy)
        rounds.add("with key", copy + key)
    table.drop("untracked", "tracked")
    section = Section(NAME, "Tracking a table that is there", "seconds")
    section.rows.append(Row(f"track() of {rows:,} rows", "s", rounds["track"], [
        Against("CREATE TABLE AS", rounds["copy"], at_most(5)),
        Against("CREATE TABLE AS and its key", rounds["with key"]),
    ]))
    section.show_last()
    return [section]
