#!/usr/bin/env bash
# A streaming standby: the stream is read there, never ahead of the primary; promoted, it numbers from above.
set -euo pipefail
. "$(dirname "$0")/common.sh"
cluster_scratch ops-primary -c wal_level=replica -c max_wal_senders=4 -c hot_standby=on -c fsync=on
primary=$STACK
primary_port=$PGPORT
createdb app
sql app -c "create extension godwit; create table t (id int primary key, v text); select godwit.track('t')" > /dev/null
sql app -c "insert into t select n, 'a' from generate_series(1, 100) n"
echo "host replication postgres 127.0.0.1/32 scram-sha-256" >> "$primary/data/pg_hba.conf"
sql app -c "select pg_reload_conf()" > /dev/null

standby=$(cluster_folder "$LOCAL/scratch/ops-standby")
rm -rf "${standby:?}"/*
as_cluster_user env PGPASSWORD="$PGPASSWORD" "$PG_BIN/pg_basebackup" -h 127.0.0.1 -p "$primary_port" -U postgres -D "$standby/data" -R -X stream -c fast
cp "$primary/password" "$standby/password"
chown "$CLUSTER_USER" "$standby/password"
trap 'cluster_stop "$standby"; cluster_stop "$primary"' EXIT
cluster_start "$standby" "$(free_port)" -c max_prepared_transactions=10
standby_port=$PGPORT
on_primary() { PGPORT=$primary_port sql app "$@"; }
on_standby() { PGPORT=$standby_port sql app "$@"; }
caught_up() {
    local at
    at=$(on_primary -c "select pg_current_wal_lsn()")
    for _ in $(seq 100); do
        [ "$(on_standby -c "select pg_last_wal_replay_lsn() >= '$at'::pg_lsn")" = t ] && return
        sleep 0.1
    done
    echo "the standby does not catch up" >&2
    exit 1
}

on_primary -c "select godwit.last_sequence()" > /dev/null
caught_up
is "the standby shows what the primary showed" "100|100" "$(on_standby -c "select count(*), max(next) from godwit.changes()")"
is "it is what its primary is" "$(on_primary -c "select godwit.current_incarnation()")" "$(on_standby -c "select godwit.current_incarnation()")"
is "records too" "100" "$(on_standby -c "select count(record) from godwit.changes(include => 'records')")"
echo "ok changes on a standby"

# A transaction that is still writing holds the standby's readers back as it does the primary's.
on_primary -c "begin" -c "insert into t values (200, 'late')" -c "prepare transaction 'late'"
on_primary -c "insert into t values (201, 'early')"
sleep 1.1
is "the primary waits for the prepared one" "0" "$(on_primary -c "select count(*) from godwit.changes(since => 100)")"
caught_up
is "and so does the standby" "0" "$(on_standby -c "select count(*) from godwit.changes(since => 100)")"
is "who holds it is told" "100|100|late|postgres|prepared|t" \
    "$(on_primary -c "select horizon, holds_at, prepared, role, state, seconds >= 1 from godwit.stream_status()")"
on_primary -c "commit prepared 'late'"
sleep 1.1
is "both come, in order" "200 201" "$(on_primary -c "select string_agg(id, ' ' order by seq) from godwit.changes(since => 100)")"
caught_up
is "on the standby as well" "200 201" "$(on_standby -c "select string_agg(id, ' ' order by seq) from godwit.changes(since => 100)")"
is "nobody holds it" "102|102|" "$(on_primary -c "select last_sequence, horizon, holds_at from godwit.stream_status()")"
echo "ok a standby never goes ahead of a transaction that is still writing"

# Writes need no reader on the primary to be seen on the standby, only a later write.
on_primary -c "insert into t values (300, 'x')"
sleep 1.1
on_primary -c "insert into t values (301, 'x')"
caught_up
is "the first of two writes is seen" "300" "$(on_standby -c "select string_agg(id, ' ' order by seq) from godwit.changes(since => 102)")"
echo "ok writers publish the horizon too"

# Promotion: the standby becomes the primary, with a tail that it never got.
cluster_stop "$standby"
on_primary -c "insert into t select n, 'lost' from generate_series(400, 420) n"
next=$(on_primary -c "select max(next) from godwit.changes(since => 0, max => 100000)")
was=$(on_primary -c "select godwit.current_incarnation()")
seen=$(on_primary -c "select jsonb_agg(record) from godwit.changes(since => 0, max => 100000, include => 'records')")
"$PG_BIN/pg_ctl" --version > /dev/null
as_cluster_user "$PG_BIN/pg_ctl" -D "$primary/data" -m immediate -w stop > /dev/null
as_cluster_user "$PG_BIN/pg_ctl" -D "$standby/data" -l "$standby/log" -w -o \
    "-c listen_addresses=127.0.0.1 -c port=$standby_port -c unix_socket_directories='' -c max_prepared_transactions=10" start > /dev/null
as_cluster_user "$PG_BIN/pg_ctl" -D "$standby/data" -w promote > /dev/null
on_standby -c "insert into t values (500, 'after')"
is "a reader that has seen the lost tail misses nothing" "500" \
    "$(on_standby -c "select string_agg(id, ' ' order by seq) from godwit.changes(since => $next)")"
is "a reader is told that this is another incarnation" "f" "$(on_standby -c "select godwit.current_incarnation() = '$was'")"
is "and what is missing here of what it has" "21" \
    "$(on_standby -c "select count(*) from jsonb_object_keys(godwit.revs_diff('t', (
        select jsonb_object_agg(r ->> 'id', jsonb_build_array(r ->> 'revision')) from jsonb_array_elements('$seen') r)))")"
is "so it offers it back" "accepted 21, known 104" \
    "$(on_standby -c "select string_agg(status || ' ' || n, ', ' order by status) from (
        select status, count(*) n from godwit.put_revisions('t', '$seen') group by 1) s")"
is "the incarnations tell" "2" "$(on_standby -c "select count(*) from godwit.incarnation")"
is "all is well" "" "$(on_standby -c "select * from godwit.verify('t')")"
echo "ok promotion"
