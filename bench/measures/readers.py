"""A reader of 500 changes out of many, by record filter and by row-level security, against an indexed SELECT."""
import json

from . import postgres, table
from .report import FLAT, Against, Row, Section, at_most
from .rounds import Rounds

NAME = "readers"
READ = 500
# A reader that waits longer has gone.
LIMIT_S = 30
REGION = "region-7"
READER = {"role": "bench_reader", "bench.region": REGION}
FILTER = json.dumps([{"column": "region", "op": "eq", "value": REGION}])
SELECT = f"select * from watched_history where region = '{REGION}' order by _seq"
ASKED = "select * from godwit.{2}(since => {0}, tables => '{{watched}}', max => 1000, include => 'records'{1})"


def measure(options):
    section = Section(NAME, f"{READ} changes for one reader", "milliseconds until it has all of them, with bodies")
    first = {}
    for rows in options.watched:
        since = prepare(rows)
        ways = {}
        for suffix, function in ("", "changes"), (", as json", "changes_json"):
            ways["record filter" + suffix] = ASKED.format(since, f", filter => '{FILTER}'", function), None
            ways["row-level security" + suffix] = ASKED.format(since, "", function), READER
        given_up = [way for way, (query, settings) in ways.items() if not has_all(query, settings)]
        has_all(SELECT, None)
        rounds = Rounds(options.rounds, options.budget(NAME))
        for _ in rounds:
            rounds.add("select", postgres.milliseconds(SELECT + ";\n", 1))
            for way, (query, settings) in ways.items():
                if way not in given_up:
                    rounds.add(way, postgres.milliseconds(query + ";\n", 1, settings))
        for way in ways:
            name = f"by {way}, of {rows:,}"
            if way in given_up:
                name += f" (given up after {LIMIT_S} s)"
                rounds[way].extend([LIMIT_S * 1000.0] * len(rounds["select"]))
            against = [Against("indexed SELECT", rounds["select"], at_most(3))]
            if way in first:
                against.append(Against(f"{options.watched[0]:,} rows", same(first[way], rounds[way]), FLAT))
            first.setdefault(way, rounds[way])
            section.rows.append(Row(name, "ms", rounds[way], against, growth=(f"500 changes by {way}", rows)))
            section.show_last()
    table.drop("watched")
    return [section]


def has_all(query, settings):
    """Whether it ends in time; then it must find all."""
    counting = f"select count(*) from ({query}) q"
    there = postgres.or_given_up(lambda settings: postgres.value(counting, settings), LIMIT_S, settings)
    if there is not None and int(there) != READ:
        raise postgres.Broken(f"{there} rows instead of {READ}: {query}")
    return there is not None


def same(earlier, later):
    """Rounds of two sizes aren't taken in turns, and may differ in number: the earlier's median stands for each."""
    return [sorted(earlier)[len(earlier) // 2]] * len(later)


def prepare(rows):
    """The reader's records lie all over the table, and table and twin have the index that it asks for."""
    table.drop("watched")
    postgres.psql(f"""
        create table watched ({table.DEFINITION});
        {table.insert('watched', rows, regions=rows // READ)}
        create index on watched (region);
        select godwit.track('watched');
        create index on watched_history (region, _seq);
        do $$ begin create role bench_reader; exception when duplicate_object then null; end $$;
        grant select on watched to bench_reader;
        create policy own on watched using (region = current_setting('bench.region'));
        alter table watched enable row level security;""")
    table.vacuum("watched", "watched_history")
    return int(postgres.value("select min(_seq) - 1 from watched_history"))
