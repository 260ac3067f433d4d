#!/usr/bin/env bash
# schemathesis against the OpenAPI document: no 5xx, and no status that it doesn't name. SECONDS_MAX bounds it.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
. "$here/../../scripts/env.sh"
find_postgres || die "no Postgres server found: run make setup."
. "$here/../../scripts/stack.sh"
venv=$LOCAL/schema/venv
[ -x "$venv/bin/st" ] || { python3 -m venv "$venv" && "$venv/bin/pip" --quiet install schemathesis==4.32.5; }
stack_start schema
psql -X -q -v ON_ERROR_STOP=1 godwit_test <<'SQL'
create table visits (id text primary key, seen date, n int check (n > 0), note jsonb);
select from godwit.track('visits');
insert into visits values ('a', '2026-01-05', 1, '{}'), ('b', null, 2, '[1]');
SQL
log=$LOCAL/schema/log
cd "$LOCAL/schema"
# Tokens are tried in tests/e2e: made up ones would be refused before anything is looked at.
status=0
GODWIT_TABLE=visits SCHEMATHESIS_HOOKS=$here/hooks.py "$venv/bin/st" --no-color run "$GODWIT_URL/openapi.json" \
    --phases examples,coverage,fuzzing --max-time "${SECONDS_MAX:-60}" --continue-on-failure \
    --checks not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance \
    --generation-with-security-parameters false --request-timeout 10 --workers 2 --seed "${SEED:-1}" > "$log" 2>&1 || status=$?
tail -n 25 "$log"
echo "schema: $(sed -n 's/^ *\([0-9]* generated,.*\)/\1/p' "$log")"
exit "$status"
