#!/usr/bin/env bash
# Logical replication into tracked tables: a history of its own there, whether the publisher has one or not.
set -euo pipefail
. "$(dirname "$0")/common.sh"
cluster_scratch ops-logical -c wal_level=logical -c max_replication_slots=8 -c max_wal_senders=8

tables="create table t (id int primary key, v text);
        create table p (part text, id int, v text, primary key (part, id)) partition by list (part);
        create table p_a partition of p for values in ('a'); create table p_b partition of p for values in ('b');"
createdb plain
createdb tracked
createdb copy
sql plain -c "$tables"
for database in tracked copy; do
    sql "$database" -c "create extension godwit" -c "$tables" -c "select godwit.track('t'), godwit.track('p')" > /dev/null
done

# subscribe FROM TO: of one cluster, so the slot is made by hand.
subscribe() {
    sql "$1" -c "create publication $1 for table t, p with (publish_via_partition_root = true)"
    sql "$1" -c "select pg_create_logical_replication_slot('$1_$2', 'pgoutput')" > /dev/null
    sql "$2" -c "create subscription from_$1 connection 'host=127.0.0.1 port=$PGPORT user=postgres password=$PGPASSWORD dbname=$1'
                 publication $1 with (create_slot = false, slot_name = '$1_$2', copy_data = true)" 2> /dev/null
}
# same FROM TO TABLE…: waits until the rows are the same.
same() {
    local rows table
    for table in "${@:3}"; do
        rows+="select coalesce(md5(string_agg((id, v)::text, ',' order by id)), '') from $table;"
    done
    for _ in $(seq 300); do
        [ "$(sql "$1" -c "$rows")" = "$(sql "$2" -c "$rows")" ] && return
        sleep 0.1
    done
    echo "$2 does not come to what $1 has" >&2
    exit 1
}
# well DATABASE
well() { is "$1 is well" "" "$(sql "$1" -c "select * from godwit.verify('t') union all select * from godwit.verify('p')")"; }

sql plain -c "insert into t select n, 'before' from generate_series(1, 100) n; insert into p values ('a', 1, 'before'), ('b', 2, 'before')"
subscribe plain tracked
same plain tracked t p
sql plain -c "update t set v = 'after' where id % 3 = 0; delete from t where id % 5 = 0; insert into t values (200, 'new')" \
    -c "begin; update t set v = 'twice' where id = 200; update t set v = 'thrice' where id = 200; delete from t where id = 1; insert into t values (1, 'again'); commit" \
    -c "update p set v = 'after' where id = 1; update p set part = 'a' where id = 2; insert into p values ('b', 3, 'new'); delete from p where id = 1"
same plain tracked t p
well tracked
is "each change is a revision" "1|again|3;200|thrice|3;3|after|2" "$(sql tracked -c "
    select string_agg(concat_ws('|', _id, v, godwit.generation(t._rev)), ';' order by _id)
      from t join t_history using (id, v, _rev) where id in (1, 3, 200)")"
is "deleted ones end" "20" "$(sql tracked -c "select count(*) from t_history h where _deleted and not exists (select from t where id::text = h._id)")"
is "readers hear of all" "t" "$(sql tracked -c "
    select (select count(*) from godwit.changes(tables => '{t,p}', max => 100000)) =
           (select count(*) from t_history) + (select count(*) from p_history)")"
echo "ok from a plain publisher"

# A tracked publisher sends _rev too. The hash is of the record: the same edits are the same revisions.
subscribe tracked copy
same tracked copy t p
sql tracked -c "update t set v = 'downstream' where id < 10; delete from t where id = 50; insert into t values (300, 'x')" \
    -c "update t set v = 'y' where id = 300"
same tracked copy t p
well copy
is "the same edits are the same revisions" "" "$(sql tracked -c "select _id, _rev from t_history where _id = '300' order by 2" \
    | diff - <(sql copy -c "select _id, _rev from t_history where _id = '300' order by 2"))"
# What is edited here meanwhile is a line of its own, and replication's edit goes on from it.
sql copy -c "update t set v = 'mine' where id = 300"
sql tracked -c "update t set v = 'theirs' where id = 300"
same tracked copy t p
well copy
is "no edit is lost" "mine,theirs,x,y" "$(sql copy -c "select string_agg(v, ',' order by v) from t_history where _id = '300'")"
echo "ok from a tracked publisher"

# TRUNCATE is replicated as one.
sql plain -c "truncate p"
same plain tracked p
well tracked
is "truncated records end" "0" "$(sql tracked -c "select count(*) from godwit.records('p')")"
echo "ok TRUNCATE"
# What track() writes anew is no change of the table's.
createdb late
sql late -c "create extension godwit" -c "create table t (id int primary key, v text)" \
    -c "insert into t select g, repeat('x', 9000) from generate_series(1, 50) g" \
    -c "create publication late for table t" -c "select pg_create_logical_replication_slot('late', 'pgoutput')" \
    -c "select godwit.track('t')" -c "insert into t values (51, 'y')" > /dev/null
is "only what was written is decoded" "1" "$(sql late -c "
    select count(*) from pg_logical_slot_get_binary_changes('late', null, null, 'proto_version', '1', 'publication_names', 'late')
     where get_byte(data, 0) in (ascii('I'), ascii('U'), ascii('D'))")"
sql late -c "select pg_drop_replication_slot('late')" > /dev/null
echo "ok track() of a published table"

for database in tracked copy; do sql "$database" -c "alter subscription from_$([ "$database" = copy ] && echo tracked || echo plain) disable" > /dev/null; done
