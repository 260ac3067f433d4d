"""A reader that comes back after a year: 100 revisions of each of 10,000 records, of which it wants the last."""
import json
import time

from . import postgres, table
from .gateway import Gateway
from .report import Against, Row, Section, at_most
from .rounds import Rounds

NAME = "catch_up"
RECORDS = 10_000


def measure(options):
    table.drop("busy")
    edit = "update busy set score = score + 1;"
    postgres.psql(f"create table busy ({table.DEFINITION}); select godwit.track('busy');"
                  + table.insert("busy", RECORDS)
                  # The table is vacuumed now and then, as it would be in a year.
                  + "".join(edit + ("vacuum busy;" if number % 10 == 0 else "") for number in range(1, options.edits)))
    table.vacuum("busy", "busy_history")
    changes = int(postgres.value("select count(*) from busy_history"))
    since = int(postgres.value("select min(_seq) - 1 from busy_history"))
    asked, as_json = (f"select * from godwit.{function}(since => {since}, tables => '{{busy}}', max => {RECORDS},"
                      " style => 'leaves', include => 'records')" for function in ("changes", "changes_json"))
    rounds = Rounds(options.rounds, options.budget(NAME))
    with Gateway() as gateway, gateway.connection() as connection:
        for _ in rounds:
            table_read = postgres.drain(["select * from busy"])
            caught_up = postgres.drain([asked])
            caught_up_json = postgres.drain([as_json])
            begun = time.monotonic()
            answer = connection.get(f"/v1/changes?tables=busy&since={since}&limit={RECORDS}&style=leaves&include=records")
            over_http = time.monotonic() - begun
            came = len(json.loads(answer)["changes"])
            if not table_read.rows == caught_up.rows == caught_up_json.rows == came == RECORDS:
                raise postgres.Broken(f"{table_read.rows}, {caught_up.rows}, {caught_up_json.rows}, {came} records instead of {RECORDS}")
            rounds.add("table", table_read.seconds * 1000)
            rounds.add("sql", caught_up.seconds * 1000)
            rounds.add("json", caught_up_json.seconds * 1000)
            rounds.add("http", over_http * 1000)
    table.drop("busy")
    section = Section(NAME, f"Catching up: {changes:,} changes of {RECORDS:,} records", "milliseconds until each record's leaves are read")
    for name, key, aim in (("in SQL", "sql", at_most(4)), ("in SQL as json", "json", at_most(4)), ("over HTTP", "http", None)):
        section.rows.append(Row(f"style=leaves, with bodies, {name}", "ms", rounds[key],
                                [Against(f"COPY of the table's {RECORDS:,} rows", rounds["table"], aim)]))
        section.show_last()
    return [section]
