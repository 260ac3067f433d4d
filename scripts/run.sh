#!/usr/bin/env bash
# `make run`: everything from a fresh machine to a gateway that answers, and Ctrl-C stops what it started.
set -euo pipefail
here=$(dirname "$0")
. "$here/env.sh"
"$here/setup.sh"
find_postgres
"$here/install.sh"
. "$here/cluster.sh"
. "$here/gateway.sh"

address=${GODWIT_LISTEN:-127.0.0.1:8090}
port_is_free "${address##*:}" || die "port ${address##*:} is taken: stop what listens there, or set GODWIT_LISTEN=127.0.0.1:PORT."
export LOCAL_LOG=$LOCAL/run
mkdir -p "$LOCAL_LOG"

# A run that is killed leaves its server behind; one that still works holds this lock.
exec 9> "$LOCAL/run/lock"
flock -n 9 || die "another make run is at work in this checkout: stop it first."

folder=
stop() {
    trap - EXIT INT TERM
    [ -z "${GATEWAY_PID:-}$folder" ] || say "stopping"
    gateway_stop
    [ -z "$folder" ] || cluster_stop "$folder"
}
trap stop EXIT
trap 'exit 0' INT TERM

if [ -n "${DATABASE_URL:-}" ]; then
    url=$DATABASE_URL
    say "using the database that DATABASE_URL names"
    version=$(psql -X "$url" -Atc "show server_version_num" 2>&1) || die "DATABASE_URL can't be reached: $(head -n 1 <<< "$version")"
    [ "$version" -ge 150000 ] || die "the Postgres at DATABASE_URL is too old ($((version / 10000))): Godwit needs 15 to 17."
else
    folder=$(cluster_folder "$LOCAL/run/postgres")
    [ -f "$folder/data/PG_VERSION" ] || say "making a private Postgres cluster in $folder"
    cluster_init "$folder"
    cluster_stop "$folder"
    cluster_start "$folder" "${PGPORT:-54329}"
    [ "$(psql -X -Atc "select 1 from pg_database where datname = 'godwit_demo'" postgres)" = 1 ] || createdb godwit_demo
    url=$(cluster_url godwit_demo)
fi

psql -X -q "$url" -v ON_ERROR_STOP=1 -c "set client_min_messages = error" -c "create extension if not exists godwit" 2> "$LOCAL_LOG/psql.log" \
    || die "the extension can't be created: $(grep -m 1 ERROR "$LOCAL_LOG/psql.log") Install it on that server: make install there, with PG_CONFIG naming its pg_config."
if [ "$(psql -X "$url" -Atc "select to_regclass('airports') is null")" = t ]; then
    say "loading 28,298 airports and tracking them"
    psql -X -q "$url" -v ON_ERROR_STOP=1 -1 -f "$here/load.sql" < "$AIRPORTS" > /dev/null
elif [ "$(psql -X "$url" -Atc "select count(*) from godwit.tables() where table_oid = 'airports'::regclass")" = 0 ]; then
    say "a table airports is there and is not tracked: it is left alone"
fi

gateway_start "$url" "$address" "$LOCAL_LOG/gateway.log"
cat << TRY

Godwit serves at http://$address. Three commands to try in another terminal:

  curl http://$address/v1/tables/airports/records/EBBR

  curl -X PUT http://$address/v1/tables/airports/records/ZZZZ -H 'content-type: application/json' \\
    -d '{"attributes": {"name": {"string": "My field"}, "country": {"string": "BE"}}}'

  curl 'http://$address/v1/changes?since=28298&include=records'

and plain SQL on the same table: psql '$url'

Ctrl-C stops it.
TRY
wait "$GATEWAY_PID"
