#!/usr/bin/env bash
# pg_upgrade, and DROP EXTENSION.
set -euo pipefail
. "$(dirname "$0")/common.sh"
cluster_scratch ops-old
old=$STACK
fill app
before=$(digest app)
last=$(sql app -c "select godwit.last_sequence()")
cluster_stop "$old"
new=$(cluster_folder "$LOCAL/scratch/ops-new")
rm -rf "${new:?}"/*
cluster_init "$new"
# pg_upgrade logs in without a password: both clusters are stopped but for its own use of them.
for folder in "$old" "$new"; do
    cp "$folder/data/pg_hba.conf" "$folder/hba"
    echo "local all all trust" > "$folder/data/pg_hba.conf"
    chown "$CLUSTER_USER" "$folder/data/pg_hba.conf"
done
as_cluster_user sh -c "cd '$new' && '$PG_BIN/pg_upgrade' -b '$PG_BIN' -B '$PG_BIN' -d '$old/data' -D '$new/data' -U postgres -s '$new'" \
    > "$new.log" 2>&1 || { cat "$new.log"; find "$new/data/pg_upgrade_output.d" -name '*.log' -exec tail -n 20 {} +; exit 1; }
for folder in "$old" "$new"; do
    cp "$folder/hba" "$folder/data/pg_hba.conf"
    chown "$CLUSTER_USER" "$folder/data/pg_hba.conf"
done
trap 'cluster_stop "$new"; cluster_stop "$old"' EXIT
cluster_start "$new" "$(free_port)" -c max_prepared_transactions=10
sed -i "s/.*/$(cat "$old/password")/" "$new/password"
export PGPASSWORD=$(cat "$old/password")
is "upgraded" "$before" "$(digest app)"
is "the sequence went along" "$last" "$(sql app -c "select godwit.last_sequence()")"
works app
echo "ok pg_upgrade"

is "without CASCADE it is refused" "1" "$(sql app -c "drop extension godwit" 2>&1 | grep -c 'other objects depend on it' || true)"
names=$(sql app -c "select md5(string_agg(_id || _rev::text || coalesce(_prev::text, ''), ',' order by _id, _rev)) from cases_history")
rows=$(sql app -c "select md5(string_agg((id, name, telephone, village)::text, ',' order by id)) from cases")
sql app -c "drop extension godwit cascade" 2> /dev/null
is "the rows stay" "$rows" "$(sql app -c "select md5(string_agg((id, name, telephone, village)::text, ',' order by id)) from cases")"
is "the history keeps its names" "$(sql app -c "select count(*) from cases_history where _rev ~ '^[0-9]+-'")" "$(sql app -c "select count(*) from cases_history")"
is "no trigger of ours is left" "0" "$(sql app -c "select count(*) from pg_trigger where tgname ~ 'godwit'")"
sql app -c "update cases set name = 'plain' where id = 3; delete from cases where id = 4"
sql app -c "alter table cases_history rename to old_history; create extension godwit; select godwit.track('cases')" > /dev/null
is "and it can begin again" "" "$(sql app -c "select * from godwit.verify('cases')")"
echo "ok DROP EXTENSION"
