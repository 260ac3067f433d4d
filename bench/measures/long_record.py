"""One more edit of a record that has 10, 1,000 or 100,000 revisions, by UPDATE and by put, against its first edit.

Without durable commits: the disk's time would hide what grows.
"""
from . import postgres, table
from .report import FLAT, Against, Row, Section
from .rounds import Rounds

NAME = "long_record"
COMMIT = {"synchronous_commit": "off"}
# Edits a round. Records are so many that a record's length doesn't change by them, but for the one that is longest.
EDITS = 300
# A commit now and then, so that versions of the row that nobody sees any more are gone before the next edit looks.
LENGTHEN = """do $$ begin for n in 1 .. {0} loop
    update edited set score = n where id = {1}; if n % 50 = 0 then commit; end if; end loop; end $$;"""


def measure(options):
    rounds = Rounds(options.rounds, options.budget(NAME))
    lengths = prepare(options)
    for number in rounds:
        for length, (first, count) in lengths.items():
            # Each round begins where the one before has ended; a first edit needs a record that has had none.
            turn = first + (number * 2 * EDITS if length == 1 else 0)
            for way in ("UPDATE", "put"):
                postgres.psql("drop sequence if exists turns; create sequence turns minvalue 0;")
                rate = postgres.calls_per_second(script(way, turn, count), EDITS, COMMIT)
                rounds.add((way, length), 1000 / rate)
                turn += EDITS if length == 1 else 0
    table.drop("edited")
    section = Section(NAME, "An edit more of a record with many revisions", "milliseconds, synchronous_commit off")
    for way in ("UPDATE", "put"):
        for length in list(lengths)[1:]:
            section.rows.append(Row(f"{way} of a record with {length:,} revisions", "ms", rounds[way, length],
                                    [Against("the first edit", rounds[way, 1], FLAT)], growth=(f"{way} by revisions of its record", length)))
            section.show_last()
    return [section]


def script(way, first, count):
    turn = f"{first} + (select nextval('turns')) % {count}"
    if way == "UPDATE":
        return f"update edited set score = random() where id = {turn};\n"
    return ("select godwit.put('edited', jsonb_build_object('id', id::text, 'revision', _rev::text, 'attributes',"
            " jsonb_build_object('score', jsonb_build_object('float', (random() * 1e9)::int::text))))"
            f" from edited where id = {turn};\n")


def prepare(options):
    """Which records have how many revisions: length -> (first id, how many)."""
    fresh = 2 * EDITS * (options.rounds + 1)
    short, middling = max(EDITS, 500), 50
    longest = options.longest
    lengths = {1: (1, fresh), 10: (fresh + 1, short), 1_000: (fresh + short + 1, middling),
               longest: (fresh + short + middling + 1, 1)}
    table.drop("edited")
    rows = sum(count for _, count in lengths.values())
    postgres.psql(f"create table edited ({table.DEFINITION}); select godwit.track('edited');" + table.insert("edited", rows))
    for length in (10, 1_000):
        first, count = lengths[length]
        edit = f"update edited set score = score + 1 where id between {first} and {first + count - 1};"
        postgres.psql("".join(edit + ("vacuum edited;" if n % 100 == 0 else "") for n in range(1, length)), COMMIT)
    postgres.psql(LENGTHEN.format(longest - 1, lengths[longest][0]), COMMIT)
    there = postgres.value(f"select count(*) from edited_history where _id = '{lengths[longest][0]}'")
    if int(there) != longest:
        raise postgres.Broken(f"the longest record has {there} revisions instead of {longest}")
    table.vacuum("edited", "edited_history")
    return lengths
