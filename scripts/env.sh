# What every script here agrees on; to be sourced. Sets ROOT, TARGET, PG_CONFIG, PG_MAJOR, SUDO.

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# Build artifacts may be shared between checkouts; clusters, data and logs are this checkout's own.
TARGET=${CARGO_TARGET_DIR:-$ROOT/target}
LOCAL=$ROOT/target
CARGO_PGRX_VERSION=0.18.1
AIRPORTS=$LOCAL/dataset/airports.csv
SUDO=
[ "$(id -u)" = 0 ] || SUDO=sudo

say() { printf '%s\n' "$*" >&2; }
die() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

# The server to build for: PG_CONFIG if it is set, else the newest one installed that will do.
find_postgres() {
    local candidate
    if [ -z "${PG_CONFIG:-}" ]; then
        for candidate in /usr/lib/postgresql/*/bin/initdb; do
            [ -x "$candidate" ] || continue
            case $candidate in
                */1[567]/bin/initdb) PG_CONFIG=${candidate%initdb}pg_config ;;
                *) [ -n "${PG_CONFIG:-}" ] || PG_CONFIG=${candidate%initdb}pg_config ;;
            esac
        done
        if [ -z "${PG_CONFIG:-}" ] && command -v pg_config > /dev/null && command -v initdb > /dev/null; then
            PG_CONFIG=$(command -v pg_config)
        fi
    fi
    [ -n "${PG_CONFIG:-}" ] || return 1
    PG_BIN=$(dirname "$PG_CONFIG")
    if [ -x "$PG_CONFIG" ]; then
        PG_BIN=$("$PG_CONFIG" --bindir)
    fi
    PG_MAJOR=$("$PG_BIN/postgres" --version 2> /dev/null | sed -E 's/[^0-9]*([0-9]+).*/\1/') || return 1
    [ -n "$PG_MAJOR" ] || return 1
    [ "$PG_MAJOR" -ge 15 ] || die "Postgres $PG_MAJOR is too old: Godwit needs 15 to 17. Install one and set PG_CONFIG to its pg_config."
    [ "$PG_MAJOR" -le 17 ] || die "Postgres $PG_MAJOR is newer than this Godwit knows: it needs 15 to 17. Install one and set PG_CONFIG to its pg_config."
    export PG_CONFIG PG_BIN PG_MAJOR
    # pgrx is told where Postgres is in this way; `cargo pgrx init` is not needed.
    export PGRX_PG_CONFIG_PATH=$PG_CONFIG
    export CARGO_PGRX_DISABLE_GC_SECTIONS_WORKAROUND=1
}
