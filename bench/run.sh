#!/usr/bin/env bash
# `make bench`: what Godwit costs and gives, against what a user would pick instead, in one run. A cluster of its own
# with Postgres's default durability. Options: run.sh --help, or bench/README.md.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
. "$here/../scripts/env.sh"
BENCH_LOAD="$(cut -d " " -f 1 /proc/loadavg)"
"$here/../scripts/setup.sh" test
find_postgres
"$here/../scripts/install.sh"
cargo build --release --quiet -p godwit-bench || die "bench/listeners could not be built: see the lines above."
(cd "$here/couch" && npm ci --silent --no-audit --no-fund) || die "npm could not install express-pouchdb: see the lines above."
venv=$LOCAL/bench-venv
if ! cmp -s "$here/requirements.txt" "$venv/requirements.txt"; then
    rm -rf "$venv"
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check -r "$here/requirements.txt"
    cp "$here/requirements.txt" "$venv/"
fi

. "$here/../scripts/stack.sh"
# Ten thousand listeners, at both ends.
ulimit -n 65536 2> /dev/null || ulimit -n "$(ulimit -Hn)"
# Autovacuum would meet some rounds and not others: each measure vacuums where it would have come.
SCRATCH_OPTIONS="-c max_connections=1200 -c autovacuum=off"
cluster_scratch bench
createdb bench
psql -X -q bench -c "create extension godwit"
BENCH_DATABASE_URL=$(cluster_url bench)
BENCH_POSTMASTER=$(head -n 1 "$STACK/data/postmaster.pid")
export BENCH_LOAD BENCH_DATABASE_URL BENCH_POSTMASTER DATABASE_URL=$BENCH_DATABASE_URL GODWIT_BIN
export PGDATABASE=bench BENCH_LISTENERS=$TARGET/release/godwit-bench
cd "$ROOT"
PYTHONPATH=$here PYTHONDONTWRITEBYTECODE=1 "$venv/bin/python" -m measures "$@"
