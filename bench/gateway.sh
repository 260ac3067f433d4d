#!/usr/bin/env bash
# `make bench-gateway`: listeners, latency and throughput of the gateway, beside Postgres's own, in one run.
# Options go to the program (--idle, --listeners, --writes, --seconds, --rows).
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
. "$here/../scripts/env.sh"
"$here/../scripts/setup.sh"
find_postgres
"$here/../scripts/install.sh"
. "$here/../scripts/stack.sh"
cargo build --release --quiet -p godwit-bench
ulimit -n 65536 2> /dev/null || ulimit -n "$(ulimit -Hn)"
cluster_scratch bench -c fsync=on -c max_connections=1200
createdb bench
psql -X -q bench -c "create extension godwit"
GODWIT_DATABASE_URL=$(cluster_url bench)
GODWIT_ADDRESS=127.0.0.1:$(free_port)
export GODWIT_DATABASE_URL GODWIT_ADDRESS
export GODWIT_LONGPOLLS_MAX=20000 GODWIT_LONGPOLLS_PER_CLIENT_MAX=20000 GODWIT_CONNECTIONS_MAX=20000 GODWIT_CONNECTIONS_PER_CLIENT_MAX=20000
export GODWIT_LOG=warn
gateway_start "$GODWIT_DATABASE_URL" "$GODWIT_ADDRESS" "$STACK/gateway.log"
GODWIT_PID=$GATEWAY_PID "$TARGET/release/godwit-bench" "$@"
