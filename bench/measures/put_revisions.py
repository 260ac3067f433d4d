"""Revisions from a peer in batches of 1, 100 and 10,000: new, known already, conflicting; in SQL and over HTTP."""
import json
import time

from . import postgres, table
from .gateway import Gateway
from .report import Against, Row, Section, at_least
from .rounds import Rounds

NAME = "put_revisions"
STATES = ("new", "known", "conflicting")
# Batches a round: long enough to time, short enough for five rounds of three states.
BATCHES = {1: 500, 100: 100, 10_000: 2}
HTTP_BATCHES = {100: 50, 10_000: 2}


def measure(options):
    prepare(max(size * count for size, count in BATCHES.items()))
    section = Section(NAME, "Revisions from a peer", "revisions a second, by one client")
    for size, count in BATCHES.items():
        section.rows += in_sql(options, size, count, section)
    with Gateway() as gateway:
        for size, count in HTTP_BATCHES.items():
            section.rows.append(over_http(options, size, count, gateway))
            section.show_last()
    postgres.psql("drop table source, source_history, rival, rival_history, sent, sent_rows;")
    table.drop("untracked", "tracked")
    return [section]


def prepare(rows):
    """What a peer sends is the wire records of such rows; a rival's are other first revisions of the same records."""
    table.drop("source", "rival")
    for name, person in (("source", "person number "), ("rival", "another person ")):
        postgres.psql(f"create table {name} ({table.DEFINITION}); select godwit.track('{name}');"
                      + table.insert(name, rows, name=person))


def prepare_batches(size, count):
    wire = "jsonb_agg(godwit.get('{0}', {0}.id::text) - 'table' order by {0}.id)"
    postgres.psql(f"""
        drop table if exists sent, sent_rows;
        create table sent as select ((source.id - 1) / {size})::int as batch, {wire.format('source')} as new,
            {wire.format('rival')} as conflicting
          from source join rival using (id) where source.id <= {size * count} group by 1;
        alter table sent add primary key (batch);
        create table sent_rows as select ((id - 1) / {size})::int as batch, s.new, r.conflicting
          from (select id, s as new from source s) s join (select id, r as conflicting from rival r) r using (id)
         where id <= {size * count};
        create index on sent_rows (batch);
        vacuum analyze sent; vacuum analyze sent_rows;""")


def script(kind, state):
    column = "conflicting" if state == "conflicting" else "new"
    if kind == "tracked":
        return (f"select count(*) from nextval('batches') k(n) join sent s on s.batch = k.n,"
                f" lateral godwit.put_revisions('tracked', s.{column});\n")
    names = [name for name, _ in table.COLUMNS]
    taken = "update set " + ", ".join(f"{name} = excluded.{name}" for name in names[1:])
    return (f"insert into untracked ({table.NAMES}) select {', '.join(f'(s.{column}).{name}' for name in names)}"
            f" from sent_rows s where s.batch = (select nextval('batches'))"
            f" on conflict (id) do {taken if state == 'conflicting' else 'nothing'};\n")


def in_sql(options, size, count, section):
    prepare_batches(size, count)
    rounds = Rounds(options.rounds, options.budget(NAME))
    for _ in rounds:
        for kind in ("untracked", "tracked"):
            table.make(kind)
        for state in STATES:
            for kind in ("untracked", "tracked"):
                postgres.psql("drop sequence if exists batches; create sequence batches minvalue 0;")
                rate = postgres.calls_per_second(script(kind, state), count) * size
                rounds.add((state, kind), rate)
        expect("untracked", size * count)
        expect("tracked", size * count)
        expect("tracked_history", 2 * size * count)
    rows = []
    for state in STATES:
        # One by one each waits for the disk, as the INSERT does: what is asked a second is asked of batches.
        aim = at_least(40_000, "/s") if state == "new" and size > 1 else None
        rows.append(Row(f"put_revisions by {size:,}, {state}", "/s", rounds[state, "tracked"],
                        [Against("INSERT … ON CONFLICT", rounds[state, "untracked"])], aim))
        Section("", "", "", [rows[-1]]).show_last()
    return rows


def expect(relation, rows):
    there = int(postgres.value(f"select count(*) from {relation}"))
    if there != rows:
        raise postgres.Broken(f"{relation} has {there} rows instead of {rows}")


def over_http(options, size, count, gateway):
    prepare_batches(size, count)
    text = postgres.value("select json_build_object('revisions', new)::text from sent order by batch")
    bodies = [line.encode() for line in text.splitlines()]
    rounds = Rounds(options.rounds, options.budget(NAME))
    for _ in rounds:
        table.make("tracked")
        with gateway.connection() as connection:
            begun = time.monotonic()
            answers = [connection.post("/v1/tables/tracked/revisions", body) for body in bodies]
            taken = time.monotonic() - begun
        statuses = [result["status"] for answer in answers for result in json.loads(answer)["results"]]
        if statuses != ["accepted"] * (size * count):
            raise postgres.Broken(f"not all revisions were accepted: {set(statuses)}")
        rounds.add("http", size * count / taken)
    return Row(f"put_revisions by {size:,}, new, over HTTP", "/s", rounds["http"], aim=at_least(10_000, "/s"))
