#!/usr/bin/env bash
# The suite `parsers`: each target of tests/parsers in turn, two at a time, from its seeds and what earlier runs found.
#
#   parsers.sh [SECONDS]    in all; 60 unless said
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
. "$here/env.sh"
find_postgres || die "no Postgres server found: run make setup."
seconds=${1:-60}
cd "$ROOT"
# Only our own crates are built another time: those from the registry are shared with every other build.
RUSTC_WORKSPACE_WRAPPER=$here/cover.sh CXX=clang++ cargo build --release --quiet -p godwit-parsers
# Kept apart: a later build without the wrapper would stand in its place.
work=$LOCAL/parsers
mkdir -p "$work/tmp"
# What a target writes goes with the run.
export TMPDIR=$work/tmp
trap 'rm -rf "$work/tmp"' EXIT
cp "$TARGET/release/godwit-parsers" "$work/godwit-parsers"
mapfile -t targets < <("$work/godwit-parsers" 2> /dev/null)
[ "${#targets[@]}" -gt 1 ] || die "the targets can't be listed."
each=$((seconds * 2 / ${#targets[@]}))
[ "$each" -ge 1 ] || each=1

run() {
    local target=$1
    mkdir -p "$work/$target"
    rm -f "$work/$target"-*
    GODWIT_PARSER=$target "$work/godwit-parsers" -max_total_time="$each" -max_len=65536 -len_control=20 -timeout=10 \
        -rss_limit_mb=1024 -artifact_prefix="$work/$target-" "$work/$target" "tests/parsers/seeds/$target" \
        > "$work/$target.log" 2>&1
}
findings=()
for ((n = 0; n < ${#targets[@]}; n += 2)); do
    pair=("${targets[@]:n:2}")
    pids=()
    for target in "${pair[@]}"; do
        run "$target" &
        pids+=($!)
    done
    for place in "${!pair[@]}"; do
        wait "${pids[$place]}" || findings+=("${pair[$place]}")
    done
done
inputs=0
for target in "${targets[@]}"; do
    done=$(sed -nE 's/^Done ([0-9]+) runs.*/\1/p' "$work/$target.log")
    blind=$(grep -c 'no interesting inputs were found' "$work/$target.log" || true)
    [ "$blind" = 0 ] || { say "$target ran without coverage"; findings+=("$target"); }
    inputs=$((inputs + ${done:-0}))
done
for target in "${findings[@]}"; do
    tail -n 30 "$work/$target.log"
    for input in "$work/$target"-*; do
        [ ! -e "$input" ] || say "again: GODWIT_PARSER=$target $work/godwit-parsers $input"
    done
done
echo "parsers: ${#targets[@]} targets, $inputs inputs, ${#findings[@]} findings"
[ "${#findings[@]}" = 0 ]
