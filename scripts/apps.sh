#!/usr/bin/env bash
# `make apps`: existing apps' own tests on plain tables and on tracked ones, with the same outcome. With --all
# every test of theirs (a quarter of an hour), with a name only that app's.
set -euo pipefail
here=$(dirname "$0")
. "$here/env.sh"
find_postgres || die "no Postgres server found: run make setup."
. "$here/stack.sh"
python3 -c 'import ensurepip' 2> /dev/null || die "Python's venv is missing: run make setup."

# Servers of the apps' tests: Mailman's listen where its settings say.
for port in 9001 9024 9025; do
    port_is_free "$port" || die "port $port is taken, and Mailman's tests need it: stop what listens there."
done
cluster_scratch apps
PATH=$PG_BIN:$PATH python3 "$ROOT/tests/apps/run.py" "$LOCAL/apps" "$@"
