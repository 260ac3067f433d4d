#!/usr/bin/env bash
# pg_dump and pg_restore: whole, as text, by sections, data apart, one table.
set -euo pipefail
. "$(dirname "$0")/common.sh"
cluster_scratch ops-dump
export dump=$STACK/dump
fill origin
# What clients of CouchDB's protocol keep: a restored database is the same to them.
sql origin -c "select godwit.put_local('cases', 'checkpoint', null, '{\"last\": 1.0}')" \
    -c "select godwit.keep_attachment_parts('cases', array['a photo'::bytea])" > /dev/null
kept() {
    sql "$1" -c "select godwit.database_uuid()" -c "select relation, owner, id, revision, body from godwit.local_documents" \
        -c "select relation, digest, data from godwit.attachment_parts"
}
before=$(digest origin)
clients=$(kept origin)

pg_dump -Fc origin > "$dump"
restore whole "$dump"
is "whole" "$before" "$(digest whole)"
is "whole, for clients" "$clients" "$(kept whole)"
works whole
echo "ok a whole dump gives back a working database"

createdb as_text
pg_dump origin | psql -X -q -v ON_ERROR_STOP=1 as_text > /dev/null
is "text" "$before" "$(digest as_text)"
works as_text
echo "ok a dump as text, in one transaction or not"

restore sections --section=pre-data "$dump"
pg_restore --exit-on-error -d sections --section=data "$dump"
pg_restore --exit-on-error -d sections --section=post-data "$dump"
is "sections" "$before" "$(digest sections)"
works sections
echo "ok by sections"

restore parallel -j 2 "$dump"
is "parallel" "$before" "$(digest parallel)"
works parallel
echo "ok with two jobs"

# The schema holds the triggers: while data goes in they must be silent.
restore apart --schema-only "$dump"
pg_restore --exit-on-error -d apart --data-only --disable-triggers "$dump"
is "apart" "$before" "$(digest apart)"
is "apart, for clients" "$clients" "$(kept apart)"
works apart
echo "ok schema and data apart"

# One table with its twin goes where the extension is; track takes both as they are.
pg_dump -Fc -t visits -t visits_history origin > "$dump.one"
createdb one
sql one -c "create extension godwit" -c "create table t (id int primary key)" -c "select godwit.track('t')" -c "insert into t select generate_series(1, 5000)" > /dev/null
pg_restore --exit-on-error -d one "$dump.one"
is "one is adopted" "visits_history" "$(sql one -c "select godwit.track('visits')")"
is "one is well" "" "$(sql one -c "select * from godwit.verify('visits')")"
history=$(sql origin -c "select md5(string_agg((_id, _rev, _prev, patients)::text, ',' order by h._id, h._rev)) from visits_history h")
is "one has its history" "$history" \
    "$(sql one -c "select md5(string_agg((_id, _rev, _prev, patients)::text, ',' order by h._id, h._rev)) from visits_history h")"
is "readers hear of all of it" "2" "$(sql one -c "select count(*) from godwit.changes(since => 5000)")"
sql one -c "update visits set patients = 3 where clinic = 'north'"
is "one goes on" "t" "$(sql one -c "select count(*) = 3 from godwit.changes(since => 5000)")"
is "one is well still" "" "$(sql one -c "select * from godwit.verify('visits')")"
# What ALTER TABLE did is in the catalog, which this dump leaves out: that is said, not guessed.
pg_dump -Fc -t cases -t cases_history origin > "$dump.altered"
pg_restore --exit-on-error -d one "$dump.altered"
is "an altered one is refused" "1" "$(sql one -c "select godwit.track('cases')" 2>&1 | grep -c "can't be taken over" || true)"
echo "ok a single table and its twin"

# Two restored copies of one database give the same change different numbers above all that was.
is "each copy numbers for itself" "t" "$(sql whole -c "select count(distinct system_identifier || ' ' || timeline || ' ' || database) = 2 from godwit.incarnation")"
# Without the dump registration the promise breaks: that is what the registration is for.
sql origin -c "update pg_extension set extconfig = '{}', extcondition = '{}' where extname = 'godwit'"
pg_dump -Fc origin > "$dump.broken"
restore broken "$dump.broken" > /dev/null
is "without the catalog the stream shows nothing of what there is" "0" \
    "$(sql broken -c "select count(*) from godwit.changes()")"
is "and would number from the beginning" "0" "$(sql broken -c "select godwit.last_sequence()")"
echo "ok without the catalog's dump registration the promise breaks"
