#!/usr/bin/env bash
# Installs what a fresh Debian or Ubuntu lacks, and only that: a Postgres server with its headers,
# clang, cargo-pgrx, the dataset. With `test` also what the tests need.
set -euo pipefail
. "$(dirname "$0")/env.sh"

missing=()
want() { dpkg-query -W -f '${Status}' "$1" 2> /dev/null | grep -q 'ok installed' || missing+=("$1"); }

command -v cargo > /dev/null || die "cargo is missing: install Rust from https://rustup.rs, then run this again."

if command -v dpkg-query > /dev/null; then
    if ! find_postgres; then
        PG_MAJOR=$(apt-cache depends postgresql 2> /dev/null | sed -nE 's/.*Depends: postgresql-([0-9]+)$/\1/p' | head -n 1)
        [ -n "$PG_MAJOR" ] || { $SUDO apt-get update -qq && PG_MAJOR=$(apt-cache depends postgresql | sed -nE 's/.*Depends: postgresql-([0-9]+)$/\1/p' | head -n 1); }
        [ -n "$PG_MAJOR" ] || die "apt knows no package postgresql: check /etc/apt/sources.list, or install Postgres 15, 16 or 17 and set PG_CONFIG."
        want "postgresql-$PG_MAJOR"
    fi
    [ -f "/usr/include/postgresql/$PG_MAJOR/server/postgres.h" ] || [ -f "$("${PG_CONFIG:-false}" --includedir-server 2> /dev/null)/postgres.h" ] || want "postgresql-server-dev-$PG_MAJOR"
    want gcc; want make; want pkg-config; want clang; want libclang-dev; want curl; want ca-certificates
    python3 -m pip --version > /dev/null 2>&1 || want python3-pip
    [ "${1:-}" != test ] || { command -v npm > /dev/null || want npm; }
    [ "${1:-}" != test ] || [ -x "${CHROMIUM:-/usr/bin/chromium}" ] || want chromium
    [ "${1:-}" != test ] || python3 -c 'import ensurepip' 2> /dev/null || want python3-venv
    if [ "${#missing[@]}" -gt 0 ]; then
        if [ -n "$SUDO" ] && ! command -v sudo > /dev/null; then
            die "these packages are missing and there is no sudo: run as root: apt-get install ${missing[*]}"
        fi
        say "installing Debian packages: ${missing[*]}"
        # A server package makes and starts a cluster of its own, unless it is told not to.
        if ! [ -e /etc/postgresql-common/createcluster.conf ]; then
            $SUDO mkdir -p /etc/postgresql-common
            echo 'create_main_cluster = false' | $SUDO tee /etc/postgresql-common/createcluster.conf > /dev/null
        fi
        $SUDO apt-get update -qq
        $SUDO env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" > "${TMPDIR:-/tmp}/godwit-apt.log" 2>&1 \
            || die "apt-get could not install ${missing[*]}: see ${TMPDIR:-/tmp}/godwit-apt.log"
        unset PG_CONFIG
    fi
fi
find_postgres || die "no Postgres server found: install Postgres 15, 16 or 17 and set PG_CONFIG to its pg_config."
[ -f "$("$PG_CONFIG" --includedir-server)/postgres.h" ] || die "the headers of Postgres $PG_MAJOR are missing: install its development package."

if [ "$(cargo pgrx --version 2> /dev/null | awk '{print $2}')" != "$CARGO_PGRX_VERSION" ]; then
    say "installing cargo-pgrx $CARGO_PGRX_VERSION (about four minutes on two cores)"
    CARGO_PROFILE_RELEASE_LTO=false cargo install cargo-pgrx --version "$CARGO_PGRX_VERSION" --locked --quiet \
        || die "cargo could not install cargo-pgrx $CARGO_PGRX_VERSION: see the lines above."
fi

if ! [ -s "$AIRPORTS" ]; then
    say "fetching the dataset: airportsdata 20260905 from PyPI"
    wheel=$(mktemp -d)
    trap 'rm -rf "$wheel"' EXIT
    cat > "$wheel/requirements.txt" << 'REQUIREMENTS'
airportsdata==20260905 --hash=sha256:d7eaa9a57d373b0adaaae0d52da2af0bb0edf73f7baa170f7c415d3342bf4868
REQUIREMENTS
    python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: --python-version 3.11 \
        --require-hashes -r "$wheel/requirements.txt" -d "$wheel" \
        || die "pip could not fetch airportsdata 20260905 from PyPI: check the network, or put its airports.csv at $AIRPORTS."
    mkdir -p "$(dirname "$AIRPORTS")"
    python3 -m zipfile -e "$wheel"/airportsdata-*.whl "$wheel/unpacked"
    mv "$wheel/unpacked/airportsdata/airports.csv" "$AIRPORTS"
fi
