#!/usr/bin/env bash
# In charge of building: the extension, laid out under target/package as Postgres wants it, and the gateway.
source "$(dirname "${BASH_SOURCE[0]}")/checkout.sh"
source "$ROOT/scripts/postgres.sh"
postgres_need
cd "$ROOT"

PACKAGE="$STATE/package/pg$PG_MAJOR"

# What the extension is made of. cargo would notice by itself that nothing changed, but cargo-pgrx
# takes seconds even then.
sources_sum() {
    {
        find extension sql -type f ! -path '*/target/*' -print0
        printf '%s\0' Cargo.toml Cargo.lock
    } | sort -z | xargs -0 sha256sum
    "$PG_CONFIG" --version
    rustc --version
}

sum="$(sources_sum | sha256sum)"
if [[ $(cat "$PACKAGE.stamp" 2>/dev/null) != "$sum" ]]; then
    step "building the extension for Postgres $PG_MAJOR (the first time takes minutes)"
    rm -rf "$PACKAGE" "$PACKAGE.stamp"
    mkdir -p "$PACKAGE"
    (cd extension && cargo pgrx package --pg-config "$PG_CONFIG" --out-dir "$PACKAGE" >"$PACKAGE.log") ||
        die "the extension didn't build: what cargo says is above and in $PACKAGE.log"
    printf '%s\n' "$sum" >"$PACKAGE.stamp"
fi
step "building the gateway"
cargo build --quiet --release -p gateway || die "the gateway didn't build: what cargo says is above"
