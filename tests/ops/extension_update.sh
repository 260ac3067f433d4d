#!/usr/bin/env bash
# ALTER EXTENSION godwit UPDATE from 0.1.0, on a database that 0.1.0 made.
set -euo pipefail
. "$(dirname "$0")/common.sh"
cluster_scratch ops-update
python3 "$ROOT/scripts/upgrade_sql.py" --check
fixtures=$ROOT/tests/ops/fixtures
sharedir=$("$PG_CONFIG" --sharedir)/extension
$SUDO cp "$fixtures/godwit--0.1.0.sql" "$sharedir/"
trap '$SUDO rm -f "$sharedir/godwit--0.1.0.sql"; cluster_stop "$STACK"' EXIT

createdb old
sql old -c "create role reader" -c "create extension godwit version '0.1.0'"
grep -v "^CREATE SCHEMA godwit;" "$fixtures/database-0.1.0.sql" | psql -X -q -v ON_ERROR_STOP=1 old > /dev/null
is "it is the old one" "0.1.0" "$(sql old -c "select extversion from pg_extension where extname = 'godwit'")"
# What another system made, and has attributes by the names that it is marked with.
sql old > /dev/null <<'SQL'
set session_replication_role = replica;
insert into cases_history (_id, _rev, _deleted, _stub, _seq, _at, _by, _extra) values
    ('1', '1-theirs', true, false, 900001, now(), 'postgres', '{"_foreign": {"string": "one"}, "__foreign": {"string": "two"}}'),
    ('1', '1-others', true, false, 900002, now(), 'postgres', '{"_foreign": {"string": "one"}}');
SQL
sql old -c "alter extension godwit update"
is "attributes stay beside the mark" '{"_foreign": {"string": "one"}, "__foreign": true}
{"_foreign": {"string": "one"}, "__foreign": {"string": "two"}, "___foreign": true}' \
    "$(sql old -c "select _extra from cases_history where _rev::text in ('1-theirs', '1-others') order by _rev")"
sql old -c "set session_replication_role = replica" -c "delete from cases_history where _rev::text in ('1-theirs', '1-others')"
is "well" "" "$(sql old -c "select * from godwit.verify('cases') union all select * from godwit.verify('visits')")"
is "conflicts are listed" "2|hard" "$(sql old -c "select id, grade from godwit.conflicts")"
is "rows and history" "2|6" "$(sql old -c "select (select count(*) from cases), (select count(*) from cases_history where not _stub)")"
sql old -c "update cases set name = 'later' where id = 1; alter table cases rename phone to telephone; update cases set telephone = '1' where id = 2"
is "refused ones can be retried" "rejected" "$(sql old -c "select status from godwit.retry_rejected('cases')")"
is "well still" "" "$(sql old -c "select * from godwit.verify('cases')")"
is "row-level security came along" "0" "$(sql old -c "grant select on visits to reader" -c "set role reader" -c "select count(*) from visits_history")"

# The same records, of a key that only includes the second column: 0.1 named them alike.
createdb included
sql included -c "create extension godwit version '0.1.0'"
grep -v "^CREATE SCHEMA godwit;" "$fixtures/database-0.1.0.sql" | sed 's/PRIMARY KEY (clinic, day)/PRIMARY KEY (clinic) INCLUDE (day)/' |
    psql -X -q -v ON_ERROR_STOP=1 included > /dev/null
is "such a table has to be tracked anew" "ERROR:  records of public.visits are named by columns that the primary key only includes" \
    "$(sql included -c "alter extension godwit update" 2>&1 | grep ERROR)"
sql included -c "select godwit.untrack('visits', drop_history => true)" -c "alter extension godwit update" > /dev/null
is "its ids" '["north", "south"]' \
    "$(sql included -c "select godwit.track('visits')" -c "select jsonb_agg(distinct _id) from visits_history" | tail -1)"

# What was updated is what a fresh install makes.
createdb fresh
sql fresh -c "create extension godwit"
described() {
    sql "$1" <<'SQL'
select pg_get_functiondef(p.oid), coalesce(obj_description(p.oid), ''), p.proacl::text
  from pg_proc p where p.pronamespace = 'godwit'::regnamespace and p.prokind <> 'a' order by p.oid::regprocedure::text;
select c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, pg_get_expr(d.adbin, d.adrelid)
  from pg_class c join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
  left join pg_attrdef d on d.adrelid = c.oid and d.adnum = a.attnum
 where c.relnamespace = 'godwit'::regnamespace and c.relkind in ('r', 'v', 'S') order by 1, 2;
select relname, relkind, relacl, relrowsecurity from pg_class where relnamespace = 'godwit'::regnamespace order by 1;
select pg_get_viewdef('godwit.conflicts'::regclass);
select evtname, evtevent, evtfoid::regproc, evttags from pg_event_trigger order by 1;
select polname, polrelid::regclass, pg_get_expr(polqual, polrelid) from pg_policy where polrelid::regclass::text ~ 'godwit' order by polname, polrelid::regclass::text;
select conname, conrelid::regclass, pg_get_constraintdef(oid) from pg_constraint where connamespace = 'godwit'::regnamespace order by conrelid::regclass::text, 1;
select unnest(extconfig)::regclass::text from pg_extension where extname = 'godwit' order by 1;
select pg_describe_object(classid, objid, 0) from pg_depend
 where refclassid = 'pg_extension'::regclass and refobjid = (select oid from pg_extension where extname = 'godwit') and deptype = 'e' order by 1;
SQL
}
described old > "$STACK/old.txt"
described fresh > "$STACK/fresh.txt"
diff -u "$STACK/fresh.txt" "$STACK/old.txt" || { echo "FAILED the update makes something else than an install" >&2; exit 1; }
echo "ok ALTER EXTENSION godwit UPDATE from 0.1.0"
