#!/usr/bin/env bash
# `make test`: every suite, one line each. With names as arguments only those suites.
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
. "$here/env.sh"
"$here/setup.sh" test || exit 1
find_postgres || exit 1
cd "$ROOT"
logs=$LOCAL/test-logs
mkdir -p "$logs"
lines=()
passed=0
failed=0

is_wanted() { [ "${#wanted[@]}" = 0 ] || [[ " ${wanted[*]} " == *" $1 "* ]]; }

# suite NAME COMMAND…: the last line of the log that counts something stands beside the outcome.
suite() {
    local name=$1 start=$SECONDS
    shift
    is_wanted "$name" || return 0
    # In a shell of its own: what a suite starts ends with it.
    ("$@") > "$logs/$name.log" 2>&1 < /dev/null
    report "$name" "$start" $?
}

# A suite that mostly waits for one process runs beside the others: beside NAME COMMAND…, and joined NAME.
declare -A beside_pid beside_start
beside() {
    local name=$1
    shift
    is_wanted "$name" || return 0
    beside_start[$name]=$SECONDS
    ("$@") > "$logs/$name.log" 2>&1 < /dev/null &
    beside_pid[$name]=$!
}
joined() {
    [ -n "${beside_pid[$1]:-}" ] || return 0
    wait "${beside_pid[$1]}"
    report "$1" "${beside_start[$1]}" $?
}

# report NAME START CODE
report() {
    local name=$1 start=$2 outcome details
    if [ "$3" = 0 ]; then
        outcome=ok
        passed=$((passed + 1))
        # The clusters of a suite that fails stay for who looks into it.
        rm -rf "$LOCAL/scratch/$name" "$LOCAL/scratch/$name"-*
    else
        outcome=FAIL
        failed=$((failed + 1))
        tail -n 60 "$logs/$name.log"
    fi
    details=$(python3 "$here/count.py" "$name" "$logs/$name.log")
    lines+=("$(printf '%-4s  %-10s %4d s  %s' "$outcome" "$name" $((SECONDS - start)) "$details")")
    printf '%s\n' "${lines[-1]}"
}

wanted=("$@")
run_regress() {
    . "$here/stack.sh"
    cluster_scratch regress || return 1
    mkdir -p "$LOCAL/regress"
    local tests
    tests=$(cd tests/regress/sql && ls ./*.sql | sed 's|^\./||; s|\.sql$||' | sort)
    # shellcheck disable=SC2086
    PGOPTIONS= "$(dirname "$("$PG_CONFIG" --pgxs)")/../test/regress/pg_regress" --inputdir=tests/regress \
        --outputdir="$LOCAL/regress" --bindir="$PG_BIN" --host=127.0.0.1 --port="$PGPORT" --user=postgres \
        --load-extension=godwit --dbname=regress $tests
    local code=$?
    [ $code = 0 ] || cat "$LOCAL/regress/regression.diffs"
    return $code
}
run_isolation() {
    . "$here/stack.sh"
    cluster_scratch isolation || return 1
    mkdir -p "$LOCAL/isolation"
    local specs
    specs=$(cd tests/isolation/specs && ls ./*.spec | sed 's|^\./||; s|\.spec$||' | sort)
    # shellcheck disable=SC2086
    # A step that waits for what can't come any more fails within this many seconds.
    PGISOLATIONTIMEOUT=60 "$(dirname "$("$PG_CONFIG" --pgxs)")/../test/isolation/pg_isolation_regress" --inputdir=tests/isolation \
        --outputdir="$LOCAL/isolation" --bindir="$PG_BIN" --host=127.0.0.1 --port="$PGPORT" --user=postgres \
        --load-extension=godwit --dbname=isolation $specs
    local code=$?
    [ $code = 0 ] || cat "$LOCAL/isolation/regression.diffs"
    return $code
}
run_pouchdb() {
    (cd tests/pouchdb && npm ci --silent --no-audit --no-fund) || return 1
    cargo run --quiet --release -p revision --example trees > "$LOCAL/trees.jsonl" || return 1
    node tests/pouchdb/check.mjs "$LOCAL/trees.jsonl"
}
run_ops() {
    local test
    for test in tests/ops/{dump,standby,logical,upgrade,extension_update,reindex,collation}.sh; do
        "$test" || return 1
    done
}
run_e2e() {
    . "$here/stack.sh"
    stack_start e2e || return 1
    stack_start_guarded || return 1
    export GODWIT_SERVER=$here/test_server.sh GODWIT_CLUSTER=$STACK SERVER_OPTIONS=$SCRATCH_OPTIONS
    cargo test -p godwit-e2e ${E2E:-}
}
# Writers dawdle where the stream's guard is thinnest: a mistake that takes a loaded machine and luck shows at once.
run_dawdle() {
    . "$here/stack.sh"
    cluster_with_feature dawdle slow-guard || return 1
    stack_start dawdle || return 1
    cargo test -p godwit-e2e --test changes readers_among
}
# PouchDB, RxDB, nano and a browser, each with databases and gateways of its own.
run_couch() {
    . "$here/stack.sh"
    (cd tests/couch && npm ci --silent --no-audit --no-fund) || return 1
    stack_start couch || return 1
    export GODWIT_CLUSTER=$STACK SERVER_OPTIONS=$SCRATCH_OPTIONS
    export GODWIT_RESTART_POSTGRES="'$here/test_server.sh' kill '$STACK' && '$here/test_server.sh' start '$STACK' $PGPORT"
    (cd tests/couch && node --test --test-concurrency=1 --test-reporter=spec ${COUCH:-})
}
run_docs() {
    . "$here/stack.sh"
    cluster_scratch docs || return 1
    python3 "$here/doc_test.py" README.md docs/sql.md
}
run_demo() {
    . "$here/stack.sh"
    stack_start demo || return 1
    cargo run --quiet -p godwit-e2e --bin demo
}
# run_fuzz [seconds] [seed]
run_fuzz() {
    . "$here/stack.sh"
    cluster_scratch fuzz || return 1
    createdb fuzz
    GODWIT_DATABASE_URL=$(cluster_url fuzz) GODWIT_SERVER_LOG=$STACK/log \
        cargo run --quiet -p godwit-fuzz -- "$@"
}

suite fmt cargo fmt --all --check
suite clippy cargo clippy --workspace --all-targets -- -D warnings
suite versions "$here/versions.sh"
suite unit cargo test
suite vectors python3 tests/vectors/check.py
suite pouchdb run_pouchdb
suite pgspot "$here/pgspot.sh"
suite install "$here/install.sh"
beside apps "$here/apps.sh"
suite regress run_regress
suite isolation run_isolation
suite ops run_ops
suite fuzz run_fuzz "${FUZZ_SECONDS:-60}" "${FUZZ_SEED:-}"
suite parsers "$here/parsers.sh" "${PARSERS_SECONDS:-60}"
suite e2e run_e2e
suite dawdle run_dawdle
suite schema env SECONDS_MAX="${SCHEMA_SECONDS:-45}" tests/schema/run.sh
suite couch run_couch
suite demo run_demo
suite docs run_docs
suite torture "$here/torture.sh" 60
joined apps

echo
printf '%s\n' "${lines[@]}"
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
