#!/usr/bin/env bash
# `make demo`: two clients that were offline and a clerk with plain SQL, in a stack of its own.
set -euo pipefail
here=$(dirname "$0")
. "$here/env.sh"
"$here/setup.sh"
find_postgres
"$here/install.sh"
. "$here/stack.sh"
stack_start demo
cd "$ROOT"
cargo run --quiet -p godwit-e2e --bin demo
