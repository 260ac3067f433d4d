# What the tests of dumps, standbys and upgrades share; to be sourced by each after `set -euo pipefail`.

. "$(dirname "${BASH_SOURCE[0]}")/../../scripts/env.sh"
find_postgres
. "$ROOT/scripts/stack.sh"

sql() { psql -X -qAt -v ON_ERROR_STOP=1 "$@"; }

# is WHAT EXPECTED FOUND
is() {
    if [ "$2" != "$3" ]; then
        printf 'FAILED %s: expected\n%s\nfound\n%s\n' "$1" "$2" "$3" >&2
        exit 1
    fi
}

# A database with something of everything: two keys, conflicts, tombstones, refused revisions, DDL.
fill() {
    createdb "$1"
    sql "$1" > /dev/null <<'SQL'
create extension godwit;
create table cases (id int primary key, name text not null, phone text, seen timestamptz);
create table visits (clinic text, day date, patients int default 0 check (patients >= 0), primary key (clinic, day));
select godwit.track('cases'), godwit.track('visits', '{"owner": "health"}');
create table readings (station text, id int, value int, primary key (station, id)) partition by list (station);
create table readings_north partition of readings for values in ('north');
create table readings_rest partition of readings default;
select godwit.track('readings');
insert into readings values ('north', 1, 10), ('south', 2, 20);
insert into readings_north values ('north', 3, 30);
update readings set station = 'east' where id = 1;
insert into cases select n, 'case ' || n, n::text, '2026-01-01' from generate_series(1, 50) n;
insert into visits values ('north', '2026-01-05', 12), ('south', '2026-01-05', 7);
update cases set name = 'edited' where id % 7 = 0;
delete from cases where id % 11 = 0;
alter table cases rename column phone to telephone;
alter table cases add column village text default 'Kita';
update cases set village = 'Segou' where id < 4;
select count(*) from godwit.put_revisions('cases', '[
    {"id": "1", "revision": "2-zz", "revisions": ["2-zz", "1-x"], "attributes": {"id": {"int": "1"}, "name": {"string": "branch"}}},
    {"id": "2", "revision": "9-zz", "attributes": {"id": {"int": "2"}, "name": {"null": true}}}]');
alter table cases enable row level security;
create role reader;
grant select on cases to reader;
create policy known on cases to reader using (id < 10);
SQL
}

# What a copy must have in common with the original.
digest() {
    sql "$1" -c "select md5(string_agg(c::text, ',' order by c.id)) from cases c" \
        -c "select md5(string_agg(h::text, ',' order by h._id, h._rev)) from cases_history h" \
        -c "select md5(string_agg(h::text, ',' order by h._id, h._rev)) from visits_history h" \
        -c "select md5(string_agg(r::text, ',' order by r.id)) from readings r" \
        -c "select md5(string_agg(h::text, ',' order by h._id, h._rev)) from readings_history h" \
        -c "select md5(string_agg(tgrelid::regclass || tgname || tgenabled::text, ',' order by tgrelid::regclass::text, tgname))
              from pg_trigger where not tgisinternal" \
        -c "select relation, twin, key, key_types, metadata from godwit.tracked order by relation::text" \
        -c "select relation, record_id, revision, sqlstate from godwit.rejected order by 2, 3" \
        -c "select id, winner, conflict, grade from godwit.conflicts order by 2, 3" \
        -c "select twin_column, attribute, since, until from godwit.era order by 3, 1" \
        -c "set role reader" -c "select count(*), count(distinct _id) from cases_history"
}

# A database that was restored works: it is well, numbers from above, and goes on by plain SQL and sync.
works() {
    is "$1 is well" "" "$(sql "$1" -c "select * from godwit.verify('cases') union all select * from godwit.verify('visits')")"
    local before
    before=$(sql "$1" -c "select max(_seq) from cases_history")
    sql "$1" -c "update cases set name = 'after' where id = 3; insert into visits values ('east', '2026-02-01', 1)" \
        -c "delete from cases where id = 5"
    is "$1 goes on" "3|t" "$(sql "$1" -c "select count(*), min(seq) > $before from godwit.changes(since => $before)")"
    before=$(sql "$1" -c "select godwit.last_sequence()")
    sql "$1" -c "insert into readings_north values ('north', 4, 40); update readings set value = 21 where id = 2" \
        -c "create table readings_west partition of readings for values in ('west')" \
        -c "insert into readings_west values ('west', 5, 50)"
    is "$1 goes on in partitions" "3" "$(sql "$1" -c "select count(*) from godwit.changes(since => $before)")"
    is "$1's partitions are well" "" "$(sql "$1" -c "select * from godwit.verify('readings')")"
    is "$1 resolves" "t" "$(sql "$1" -c "select godwit.resolve('cases', '1') is not null")"
    sql "$1" -c "alter table cases add column note text" -c "update cases set note = 'new' where id = 6"
    is "$1 is well still" "" "$(sql "$1" -c "select * from godwit.verify('cases') union all select * from godwit.verify('visits')")"
}

restore() {
    createdb "$1"
    pg_restore --exit-on-error --no-password -d "$1" "${@:2}" 2>&1
}
