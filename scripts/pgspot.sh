#!/usr/bin/env bash
# Looks for names in the extension's SQL that somebody else's schema could hijack, with pgspot from PyPI.
set -euo pipefail
. "$(dirname "$0")/env.sh"
VERSION=0.9.4
venv=$LOCAL/pgspot-$VERSION
cd "$ROOT"
if [ ! -x "$venv/bin/pgspot" ]; then
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check "pgspot==$VERSION"
fi
# In the order in which the extension's script has them.
mapfile -t files < <(sed -nE 's/.*extension_sql_file!\("\.\.\/(sql\/[a-z]+\.sql)".*/\1/p' extension/src/lib.rs)
cat "${files[@]}" > "$LOCAL/extension.sql"
# These write the app's table, whose triggers and defaults run under the caller's own path; a procedure
# that commits can't set one. Each name in them says its schema.
writers=(
    'godwit.create_table(name text,columns text,metadata jsonb)'
    'godwit.create_table(definition jsonb)'
    'godwit.put(relation regclass,record jsonb,on_conflict text)'
    'godwit.put_many(relation regclass,records jsonb,on_conflict text,ord integer,id text,revision text,status text,reason text,winner text)'
    'godwit.resolve(relation regclass,id text,keep text,attributes jsonb,leaves text[])'
    'godwit.erase(relation regclass,id text)'
    'godwit.merge_conflicts(relation regclass,max integer)'
    'godwit.retry_rejected(relation regclass,max integer,number bigint,id text,revision text,status text,reason text)'
    'godwit.track_online(relation regclass,metadata jsonb,batch integer)'
    'godwit.compact(relation regclass,keep interval,revisions integer,batch integer)'
)
"$venv/bin/pgspot" "${writers[@]/#/--proc-without-search-path=}" "$LOCAL/extension.sql" | tee "$LOCAL/pgspot.txt"
grep -q 'Errors: 0 Warnings: 0 Unknown: 0' "$LOCAL/pgspot.txt"
echo "pgspot: ${#files[@]} files, nothing found"
