#!/usr/bin/env bash
# Builds the extension and installs it into the server's own folders, and builds the gateway. What is
# installed already from the same sources stays.
set -euo pipefail
. "$(dirname "$0")/env.sh"
find_postgres || die "no Postgres server found: run make setup."

cd "$ROOT"
stamp=$TARGET/godwit-installed-$PG_MAJOR
library=$("$PG_CONFIG" --pkglibdir)/godwit.so
state() {
    find extension sql Cargo.toml Cargo.lock -type f -print0 | sort -z | xargs -0 sha256sum
    sha256sum "$library" 2> /dev/null || echo none
    sha256sum "$("$PG_CONFIG" --sharedir)/extension/godwit--"*.sql 2> /dev/null || echo none
}
if [ "$(cat "$stamp" 2> /dev/null)" != "$(state | sha256sum)" ]; then
    say "building the extension for Postgres $PG_MAJOR (two minutes from nothing, then seconds)"
    log=$LOCAL/install.log
    mkdir -p "$LOCAL"
    (cd extension && cargo pgrx install --release --pg-config "$PG_CONFIG" \
        --no-default-features --features "pg$PG_MAJOR" ${SUDO:+--sudo}) > "$log" 2>&1 \
        || { cat "$log" >&2; die "the extension could not be built or installed: see the lines above."; }
    state | sha256sum > "$stamp"
fi
say "building the gateway"
cargo build --release --quiet -p gateway || die "the gateway could not be built: see the lines above."
