#!/usr/bin/env bash
# What tests do to their servers' processes; run by tests/torture and tests/e2e.
#
#   test_server.sh kill FOLDER            kill -9 of the server and all its processes
#   test_server.sh kill-one FOLDER PID    kill -9 of one of them
#   test_server.sh start FOLDER PORT
#   test_server.sh clone FOLDER PORT TO_FOLDER TO_PORT    a streaming replica, made anew and started
#   test_server.sh promote FOLDER
set -euo pipefail
. "$(dirname "$0")/env.sh"
. "$ROOT/scripts/cluster.sh"

postmaster() { head -n 1 "$1/data/postmaster.pid"; }
children() { cat "/proc/$1/task/$1/children"; }
is_running() { [ -d "/proc/$1" ] && ! grep -qs '^State:.*zombie' "/proc/$1/status"; }

kill_server() {
    local process processes
    process=$(postmaster "$1")
    # Stopped first: else one that outlives another by a moment would tell clients what never was, such as
    # that a commit needn't wait for its replica any more.
    kill -STOP "$process"
    processes="$process $(children "$process")"
    # shellcheck disable=SC2086
    kill -STOP $processes 2> /dev/null || true
    # shellcheck disable=SC2086
    kill -KILL $processes 2> /dev/null || true
    for process in $processes; do
        while is_running "$process"; do
            sleep 0.01
        done
    done
    # Where nobody has reaped the dead yet, a new server would take the old one for alive.
    rm -f "$1/data/postmaster.pid"
}

start() {
    # shellcheck disable=SC2086
    cluster_start "$1" "$2" $SERVER_OPTIONS
}

clone() {
    local from=$1 from_port=$2 to=$3 to_port=$4
    rm -rf "${to:?}/data"
    cp -p "$from/password" "$to/password"
    PGPASSWORD=$(cat "$from/password") as_cluster_user "$PG_BIN/pg_basebackup" -h 127.0.0.1 -p "$from_port" -U postgres \
        -D "$to/data" -X stream -c fast -R -N > "$to/basebackup.log" 2>&1 || die "$(tail -n 3 "$to/basebackup.log")"
    start "$to" "$to_port"
}

verb=$1
shift
case $verb in
    kill) kill_server "$1" ;;
    kill-one)
        [[ " $(children "$(postmaster "$1")") " == *" $2 "* ]] || exit 0
        kill -KILL "$2" 2> /dev/null || true
        ;;
    start) start "$@" ;;
    clone) clone "$@" ;;
    promote) as_cluster_user "$PG_BIN/pg_ctl" -D "$1/data" -w -t 60 promote > /dev/null ;;
    *) die "no such verb: $verb" ;;
esac
