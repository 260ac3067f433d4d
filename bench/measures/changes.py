"""The change stream read from end to end, in SQL and over HTTP, with bodies and without, against COPY of the same."""
from . import postgres, table
from .gateway import Gateway
from .report import Against, Row, Section, at_least
from .rounds import Rounds

NAME = "changes"
PAGE = 10_000
COPIED = {
    "none": "select _seq, _id, _rev, _deleted from large_history order by _seq",
    "records": "select * from large_history order by _seq",
}


def measure(options):
    rows = options.large
    table.drop("large")
    postgres.psql(f"create table large ({table.DEFINITION});" + table.insert("large", rows)
                  + "select godwit.track('large');")
    table.vacuum("large", "large_history")
    since, last = map(int, postgres.value("select min(_seq) - 1, max(_seq) from large_history").split("|"))
    if last - since != rows:
        raise postgres.Broken(f"{rows} rows have {last - since} sequences: pages can't be told beforehand")
    section = Section(NAME, f"{rows:,} changes read", "changes a second, by one reader")
    with Gateway() as gateway:
        for include, name in (("none", "names only"), ("records", "with bodies")):
            rounds = Rounds(options.rounds, options.budget(NAME))
            for _ in rounds:
                copied = postgres.drain([COPIED[include]])
                in_sql = postgres.drain(pages("changes", since, last, include))
                as_json = postgres.drain(pages("changes_json", since, last, include))
                if not copied.rows == in_sql.rows == as_json.rows == rows:
                    raise postgres.Broken(f"COPY read {copied.rows}, changes {in_sql.rows} and {as_json.rows} of {rows} rows")
                over_http = gateway.drain(f"/v1/changes?feed=ndjson&tables=large&since={since}&limit={PAGE}&include={include}", rows)
                rounds.add("copy", rows / copied.seconds)
                rounds.add("sql", rows / in_sql.seconds)
                rounds.add("json", rows / as_json.seconds)
                rounds.add("http", rows / over_http)
            ways = [("in SQL", "sql", 0.5), ("over HTTP", "http", 0.4)]
            if include == "records":
                ways.insert(1, ("in SQL as json", "json", 0.5))
            for way, key, aim in ways:
                section.rows.append(Row(f"changes {way}, {name}", "/s", rounds[key],
                                        [Against("COPY of the same rows", rounds["copy"], at_least(aim))]))
                section.show_last()
    table.drop("large")
    return [section]


def pages(function, since, last, include):
    """As a reader that goes on from `next` would ask: here the numbers have no gaps."""
    for begin in range(since, last, PAGE):
        yield (f"select * from godwit.{function}(since => {begin}, tables => '{{large}}',"
               f" max => {min(PAGE, last - begin)}, include => '{include}')")
