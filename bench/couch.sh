#!/usr/bin/env bash
# `make bench-couch`: documents a second that PouchDB pushes and pulls, beside express-pouchdb in the same run. A
# cluster of its own with Postgres's default durability.
#
#   couch.sh [DOCUMENTS] [ROUNDS]
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
. "$here/../scripts/env.sh"
"$here/../scripts/setup.sh" test
find_postgres
"$here/../scripts/install.sh"
(cd "$here/couch" && npm ci --silent --no-audit --no-fund)
. "$here/../scripts/stack.sh"
SCRATCH_OPTIONS="-c fsync=on"
stack_start bench-couch
folder=$(mktemp -d)
node "$here/couch/server.mjs" "$folder" > "$folder/log" 2>&1 &
server=$!
trap 'kill "$server" 2> /dev/null; rm -rf "$folder"; gateway_stop; cluster_stop "$STACK"' EXIT
for _ in $(seq 100); do
    grep -q listening "$folder/log" && break
    sleep 0.1
done
port=$(sed -nE 's/.*listening on ([0-9]+).*/\1/p' "$folder/log" | head -n 1)
[ -n "$port" ] || die "express-pouchdb did not start: $(cat "$folder/log")"
node "$here/couch/bench.mjs" "$GODWIT_URL/couch" "http://127.0.0.1:$port" "$@"
