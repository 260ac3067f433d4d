# In charge of which Postgres is built against and started: it sets PG_CONFIG, PG_BIN and PG_MAJOR.
# Sourced, after checkout.sh.
# shellcheck shell=bash

# Below 13 pgrx 0.18 has no bindings; above 18 it doesn't know the headers.
PG_OLDEST=13
PG_NEWEST=18

# 15 for "PostgreSQL 15.20 (Debian …)", 19 for "PostgreSQL 19beta1".
pg_config_major() { "$1" --version 2>/dev/null | sed -nE 's/^PostgreSQL ([0-9]+).*/\1/p'; }

# Server, client programs and headers are all there: pg_config alone may come with a client's package.
pg_config_is_whole() {
    [[ -n $(pg_config_major "$1") ]] || return 1
    [[ -f $("$1" --includedir-server)/postgres.h ]] || return 1
    [[ -x $("$1" --bindir)/initdb && -x $("$1" --bindir)/psql && -x $("$1" --bindir)/pgbench ]]
}

pg_major_is_known() { ((${1:-0} >= PG_OLDEST && $1 <= PG_NEWEST)); }

pg_config_candidates() {
    command -v pg_config || true
    # Newest first, where Debian, Ubuntu and the PGDG packages put them.
    find /usr/lib/postgresql/*/bin/pg_config 2>/dev/null | sort -rV || true
}

# Sets the three variables, or returns 1 when no whole and known Postgres is there.
postgres_find() {
    local candidate major
    if [[ -n ${PG_CONFIG:-} ]]; then
        [[ -x $PG_CONFIG ]] || PG_CONFIG="$(command -v "$PG_CONFIG")" || die "PG_CONFIG names no program"
        major="$(pg_config_major "$PG_CONFIG")"
        pg_major_is_known "$major" ||
            die "PG_CONFIG is Postgres ${major:-unknown}: Godwit needs $PG_OLDEST to $PG_NEWEST"
        pg_config_is_whole "$PG_CONFIG" ||
            die "PG_CONFIG=$PG_CONFIG has no server headers, initdb or pgbench: install them (postgresql-$major, postgresql-server-dev-$major)"
        postgres_use "$PG_CONFIG"
        return 0
    fi
    while read -r candidate; do
        if pg_major_is_known "$(pg_config_major "$candidate")" && pg_config_is_whole "$candidate"; then
            postgres_use "$candidate"
            return 0
        fi
    done < <(pg_config_candidates)
    return 1
}

postgres_use() {
    PG_CONFIG="$1"
    PG_BIN="$("$1" --bindir)"
    PG_MAJOR="$(pg_config_major "$1")"
    # What pgrx's build script asks for; with it `cargo pgrx init` isn't needed.
    export PGRX_PG_CONFIG_PATH="$PG_CONFIG"
    # Keeps cargo's and cargo-pgrx's artifacts the same ones.
    export CARGO_PGRX_DISABLE_GC_SECTIONS_WORKAROUND=1
}

postgres_need() {
    postgres_find || die "no Postgres $PG_OLDEST to $PG_NEWEST with server headers here: run make setup"
}

# psql as scripts want it: no startup file, quiet, stopping at the first error.
sql() {
    local url="$1"
    shift
    "$PG_BIN/psql" -X -q -v ON_ERROR_STOP=1 -d "$url" "$@"
}

# One value.
sql_value() { sql "$1" -A -t -c "$2"; }
