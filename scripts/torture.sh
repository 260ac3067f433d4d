#!/usr/bin/env bash
# `make torture SECONDS=3600`: the change stream under writers of every kind, kill -9 and promotion.
#
#   torture.sh [SECONDS] [--broken | --slow] [--seed N] [--writers N] [--rows N]
#
# With --broken the extension is built without the stream's guard, into a Postgres of its own, and the
# test must fail: readers then skip changes. With --slow it is built so that a writer dawdles between
# reading the sequence and taking its lock, and the test must pass.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
. "$here/env.sh"
find_postgres || die "no Postgres server found: run make setup."
. "$here/stack.sh"

seconds=60
feature=
name=torture
options=()
if [[ ${1:-} =~ ^[0-9]+$ ]]; then
    seconds=$1
    shift
fi
while [ $# -gt 0 ]; do
    case $1 in
        --broken | --slow) feature=${1#--}-guard name=torture-${1#--} ;;
        --seed | --writers | --rows)
            options+=("$1" "${2:?$1 takes a number}")
            shift
            ;;
        *) die "torture.sh [SECONDS] [--broken | --slow] [--seed N] [--writers N] [--rows N]" ;;
    esac
    shift
done

cd "$ROOT"
[ -x "$TARGET/release/godwit" ] || die "the gateway is not built: run make install."
cargo build --release --quiet -p godwit-torture
[ -z "$feature" ] || cluster_with_feature "$name" "$feature"

export SERVER_OPTIONS="-c fsync=on -c max_prepared_transactions=64 -c max_connections=100 -c deadlock_timeout=100ms
    -c wal_keep_size=256MB -c wal_writer_delay=10s -c shared_buffers=64MB -c hot_standby=on"
# shellcheck disable=SC2086
cluster_scratch "$name" $SERVER_OPTIONS
REPLICA=$(cluster_folder "$LOCAL/scratch/$name-replica")
cluster_stop "$REPLICA"
rm -rf "${REPLICA:?}"/*
trap 'gateway_stop; cluster_stop "$STACK"; cluster_stop "$REPLICA"' EXIT
createdb godwit_test
psql -X -q -v ON_ERROR_STOP=1 godwit_test -c "create extension godwit"

replica_port=$(free_port)
GODWIT_TORTURE_URL_A=$(cluster_url godwit_test)
GODWIT_TORTURE_URL_B=${GODWIT_TORTURE_URL_A/:$PGPORT\//:$replica_port/}
GODWIT_DATABASE_URL="${GODWIT_TORTURE_URL_A/:$PGPORT\//:$PGPORT,127.0.0.1:$replica_port/}?target_session_attrs=read-write"
export GODWIT_DATABASE_URL GODWIT_TORTURE_URL_A GODWIT_TORTURE_URL_B
export GODWIT_TORTURE_FOLDER_A=$STACK GODWIT_TORTURE_PORT_A=$PGPORT
export GODWIT_TORTURE_FOLDER_B=$REPLICA GODWIT_TORTURE_PORT_B=$replica_port
export GODWIT_TORTURE_SERVER=$here/test_server.sh
address=127.0.0.1:$(free_port)
gateway_start "$GODWIT_DATABASE_URL" "$address" "$STACK/gateway.log"
export GODWIT_URL=http://$address

log=$STACK/torture.log
code=0
"$TARGET/release/godwit-torture" --seconds "$seconds" "${options[@]}" | tee "$log" || code=$?
if [ "$feature" != broken-guard ]; then
    exit "$code"
fi
[ "$code" = 1 ] && grep -q '^torture: .* [1-9][0-9]* skipped' "$log" \
    || die "without the guard the test did not fail by a skipped change: it proves nothing."
say "without the guard readers skip changes, as they must"
