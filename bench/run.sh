#!/usr/bin/env bash
# `make bench`: what tracking a table costs, as ratios to the same table untracked, in one run.
# A cluster of its own with Postgres's default durability.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
. "$here/../scripts/env.sh"
"$here/../scripts/setup.sh"
find_postgres
"$here/../scripts/install.sh"
. "$here/../scripts/stack.sh"
cluster_scratch bench -c fsync=on
createdb bench
psql -X -q bench -c "create extension godwit"
PGDATABASE=bench python3 "$here/bench.py" "$@"
