#!/usr/bin/env bash
# Type-checks the extension for the other versions of Postgres, without their headers: by the bindings that pgrx-pg-sys brings
# along for docs.rs, which its build script leaves where they are when DOCS_RS is set. They are put where it would have made them.
set -euo pipefail
. "$(dirname "$0")/env.sh"
cd "$ROOT/extension"
export DOCS_RS=1 CARGO_TARGET_DIR=$TARGET/versions
bindings=$(dirname "$(cargo metadata --format-version 1 --locked | python3 -c '
import json, sys
print(next(p["manifest_path"] for p in json.load(sys.stdin)["packages"] if p["name"] == "pgrx-pg-sys"))')")/src/include

check() { cargo check --locked --quiet --lib --no-default-features --features "pg$1" "${@:2}"; }

versions=(16 17 18)
for version in "${versions[@]}"; do
    # This runs the build script, and then fails for want of the bindings.
    out=$(check "$version" --message-format json 2> /dev/null | python3 -c '
import json, sys
for line in sys.stdin:
    said = json.loads(line)
    if said["reason"] == "build-script-executed" and "pgrx-pg-sys" in said["package_id"]:
        print(said["out_dir"])' || true)
    [ -d "$out" ] || { check "$version"; die "the build script of pgrx-pg-sys didn't say where its bindings go"; }
    cp "$bindings/pg$version.rs" "$bindings/pg${version}_oids.rs" "$out/"
    check "$version"
done
echo "versions: type-checked for Postgres ${versions[*]}"
