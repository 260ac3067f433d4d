#!/usr/bin/env bash
# REINDEX CONCURRENTLY of a twin under load: writers and readers who knew its indexes from before find the new ones.
set -euo pipefail
. "$(dirname "$0")/common.sh"
cluster_scratch ops-reindex -c max_connections=100
seconds=8

createdb busy
# The trigger keeps each writer a while between its look at the table and its write to the twin.
sql busy > /dev/null <<'SQL'
create extension godwit;
create table t (id int primary key, n int);
select godwit.track('t');
create function dawdle() returns trigger language plpgsql as $$ begin perform pg_sleep(random() * 0.03); return new; end $$;
create trigger dawdle before insert or update on t for each row execute function dawdle();
SQL
cat > "$STACK/write.sql" <<'SQL'
\set id random(1, 100000000)
insert into t values (:id, 1) on conflict do nothing;
SQL
cat > "$STACK/read.sql" <<'SQL'
select count(*) from (select * from godwit.changes((select greatest(max(_seq) - 50, 0) from t_history), max => 100, include => 'records')) c;
select godwit.get('t', (select coalesce(max(id), 0)::text from t));
SQL
pgbench -n -c 40 -T "$seconds" -f "$STACK/write.sql" busy > "$STACK/writers.log" 2>&1 & writers=$!
pgbench -n -c 4 -T "$seconds" -f "$STACK/read.sql" busy > "$STACK/readers.log" 2>&1 & readers=$!
reindexed=0
while kill -0 $writers 2> /dev/null; do
    sql busy -c "reindex table concurrently t_history"
    reindexed=$((reindexed + 1))
done
# Both end with an error where any statement has failed.
for of in writers readers; do
    wait "${!of}" || { echo "FAILED $of:" >&2; grep -m 3 ERROR "$STACK/$of.log" >&2; exit 1; }
done
is "it was reindexed meanwhile" t "$(sql busy -c "select $reindexed > 5")"
is "all is well" "" "$(sql busy -c "select * from godwit.verify('t')")"
is "each row has its revision" t "$(sql busy -c "select count(*) > 0 and count(*) = (select count(*) from t) from t_history")"
echo "ok $reindexed times beside writers and readers"
