#!/usr/bin/env bash
# In charge of the two Postgres test drivers: `regress.sh regress` runs tests/regress through pg_regress,
# `regress.sh isolation` runs tests/isolation through pg_isolation_regress. Names after that choose files.
#
# Each file has a database of its own with the extension in it, so that one file's sequence numbers
# and tables never show in another's expected output.
source "$(dirname "${BASH_SOURCE[0]}")/checkout.sh"
source "$ROOT/scripts/postgres.sh"
source "$ROOT/scripts/cluster.sh"
postgres_need

kind="${1:?regress or isolation}"
shift
drivers="$(dirname "$("$PG_CONFIG" --pgxs)")/../test"
case $kind in
regress) driver="$drivers/regress/pg_regress" inputs="$ROOT/tests/regress/sql" suffix=sql ;;
isolation) driver="$drivers/isolation/pg_isolation_regress" inputs="$ROOT/tests/isolation/specs" suffix=spec ;;
*) die "it is regress or isolation, not $kind" ;;
esac
[[ -x $driver ]] || die "there is no $(basename "$driver"): install postgresql-server-dev-$PG_MAJOR"

if (($# > 0)); then
    names=("$@")
else
    mapfile -t names < <(find "$inputs" -name "*.$suffix" -exec basename -s ".$suffix" {} + | LC_ALL=C sort)
fi
((${#names[@]} > 0)) || { say "0 passed, 1 failed"; die "there are no files in $inputs"; }

output="$STATE/$kind"
rm -rf "$output"
mkdir -p "$output"
# English messages and one time zone come from pg_regress itself.
scratch_cluster "$kind" fsync=off

passed=0 failed=0
for name in "${names[@]}"; do
    started=$EPOCHREALTIME
    if "$driver" --inputdir="$ROOT/tests/$kind" --outputdir="$output" --bindir="$PG_BIN" \
        --host="$CLUSTER_SOCKET" --port="$CLUSTER_PORT" --user=postgres \
        --dbname="${kind}_$name" --load-extension=godwit "$name" >"$output/$name.log" 2>&1; then
        verdict="ok  " passed=$((passed + 1))
    else
        verdict=FAIL failed=$((failed + 1))
    fi
    printf '%s %-32s %5d ms\n' "$verdict" "$name" $(((${EPOCHREALTIME/./} - ${started/./}) / 1000))
    [[ $verdict = FAIL ]] || continue
    if [[ -s $output/regression.diffs ]]; then
        cat "$output/regression.diffs"
    else
        tail -n 20 "$output/$name.log"
    fi
    rm -f "$output/regression.diffs"
done
say "$passed passed, $failed failed"
((failed == 0))
