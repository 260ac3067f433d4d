#!/usr/bin/env bash
# A database that sorts as a language does: records are locked in the order of their ids' bytes all the same, so that two
# batches wait for one another in one order.
set -euo pipefail
. "$(dirname "$0")/common.sh"
cluster_scratch ops-collation

createdb --template=template0 --locale-provider=icu --icu-locale=en sorted
is "it sorts otherwise" t "$(sql sorted -c "select 'a' < 'B'")"
sql sorted > /dev/null <<'SQL'
create extension godwit;
create table t (id text primary key, v text);
select godwit.track('t');
insert into t values ('a', 'first'), ('B', 'first');
create function edits() returns jsonb language sql as $$
    select jsonb_agg(jsonb_build_object('id', id, 'revision', '2-x', 'revisions', jsonb_build_array('2-x', _rev),
                     'attributes', '{"v": {"string": "second"}}'::jsonb)) from t $$;
SQL
# B is held: who wants both waits for it, and has not locked a.
sql sorted -c "begin; select from t where id = 'B' for update; select pg_sleep(600)" > /dev/null 2>&1 & holder=$!
held() { sql sorted -c "select count(*) from pg_stat_activity where datname = 'sorted' and $1"; }
until [ "$(held "query ~ 'pg_sleep' and state = 'active' and wait_event = 'PgSleep'")" != 0 ]; do sleep 0.1; done
sql sorted -c "select status from godwit.put_revisions('t', edits())" > "$STACK/put.txt" & putter=$!
until [ "$(held "wait_event_type = 'Lock'")" != 0 ]; do sleep 0.1; done
is "the first in the order of bytes is waited for first" a "$(sql sorted -c "select id from t where id = 'a' for update nowait" 2>&1)"
sql sorted -c "select pg_terminate_backend(pid) from pg_stat_activity where datname = 'sorted' and wait_event = 'PgSleep'" > /dev/null
wait $holder || true
wait $putter
is "both are put" $'accepted\naccepted' "$(cat "$STACK/put.txt")"
is "all is well" "" "$(sql sorted -c "select * from godwit.verify('t')")"
echo "ok records are locked in one order under any collation"
