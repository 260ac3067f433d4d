# In charge of what every script stands on: where this checkout's things are, and how its scripts speak.
# Sourced, never run.
# shellcheck shell=bash

set -euo pipefail

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
# Clusters, logs and data stay in the checkout's own target folder even when cargo's is shared, so
# that two checkouts never meet.
STATE="$ROOT/target"
# cargo reads a relative CARGO_TARGET_DIR from where it is called; scripts call it from the root.
CARGO_TARGET="${CARGO_TARGET_DIR:-$ROOT/target}"
[[ $CARGO_TARGET = /* ]] || CARGO_TARGET="$ROOT/$CARGO_TARGET"

# Where cargo puts programs, and where setup puts a cargo-pgrx that mustn't replace another project's.
CARGO_BIN="${CARGO_INSTALL_ROOT:-${CARGO_HOME:-$HOME/.cargo}}/bin"
TOOLS="${XDG_CACHE_HOME:-$HOME/.cache}/godwit/tools"
PATH="$TOOLS/bin:$CARGO_BIN:$HOME/.cargo/bin:$PATH"

# The port is the private cluster's; every other setting of libpq's would lead psql elsewhere.
ASKED_PORT="${PGPORT:-}"
# English messages and points in numbers, in UTF-8.
export LC_ALL=C.UTF-8
unset PGPORT PGHOST PGHOSTADDR PGUSER PGDATABASE PGOPTIONS PGSERVICE PGCLIENTENCODING PGTZ PGDATESTYLE
[[ -n ${DATABASE_URL:-} ]] || unset PGPASSWORD PGPASSFILE PGSSLMODE

say() { printf '%s\n' "$*"; }
step() { printf '==> %s\n' "$*"; }

# One line that says what is wrong and what to do about it.
die() {
    printf 'godwit: %s\n' "$*" >&2
    exit 1
}

as_root() {
    if [[ $(id -u) = 0 ]]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        die "this needs root and there is no sudo: as root, run: $*"
    fi
}

port_is_taken() { (exec 3<>"/dev/tcp/${2:-127.0.0.1}/$1") 2>/dev/null; }

# 20000 to 29999 lies below the range that Linux gives to outgoing connections (32768 and up).
free_port() {
    local port tries
    for tries in {1..50}; do
        port=$((20000 + RANDOM % 10000))
        port_is_taken "$port" || { echo "$port"; return; }
    done
    die "no free port found in $tries tries between 20000 and 29999"
}
