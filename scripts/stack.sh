# A scratch cluster with a database and a gateway in front of it, gone at exit; to be sourced.
. "$ROOT/scripts/cluster.sh"
. "$ROOT/scripts/gateway.sh"

# Test data needs no disk; what is to outlive the machine is tested with options of its own.
SCRATCH_OPTIONS="-c fsync=off -c max_prepared_transactions=10"

# stack_start NAME: exports GODWIT_URL, GODWIT_DATABASE_URL and GODWIT_BINARY.
stack_start() {
    cluster_scratch "$1"
    createdb godwit_test
    psql -X -q -v ON_ERROR_STOP=1 godwit_test -c "create extension godwit"
    GODWIT_DATABASE_URL=$(cluster_url godwit_test)
    local address
    address=127.0.0.1:$(free_port)
    gateway_start "$GODWIT_DATABASE_URL" "$address" "$STACK/gateway.log"
    export GODWIT_DATABASE_URL GODWIT_URL=http://$address GODWIT_BINARY=$TARGET/release/godwit
}

# A second gateway, which asks for tokens; its login can do nothing but switch roles. Exports
# GODWIT_GUARDED_URL, GODWIT_GUARDED_DATABASE_URL and GODWIT_GUARDED_SECRET.
stack_start_guarded() {
    local address login
    psql -X -q -v ON_ERROR_STOP=1 godwit_test <<'SQL'
create role authenticator login noinherit password 'authenticator';
create role nobody;
create role reader;
create role writer;
create role admin;
create role elsewhere;
grant nobody, reader, writer, admin to authenticator;
grant create on schema public to admin;
SQL
    GODWIT_GUARDED_SECRET=$(od -An -tx1 -N32 /dev/urandom | tr -d ' \n')
    export GODWIT_GUARDED_SECRET
    login=${GODWIT_DATABASE_URL/postgres:$PGPASSWORD@/authenticator:authenticator@}
    address=127.0.0.1:$(free_port)
    local first=$GATEWAY_PID
    GODWIT_JWT_SECRET=$GODWIT_GUARDED_SECRET GODWIT_JWT_AUDIENCE=godwit GODWIT_ANONYMOUS_ROLE=nobody \
        gateway_start "$login" "$address" "$STACK/gateway-guarded.log"
    GUARDED_PID=$GATEWAY_PID
    GATEWAY_PID=$first
    trap 'kill -TERM "$GUARDED_PID" 2> /dev/null; gateway_stop; cluster_stop "$STACK"' EXIT
    export GODWIT_GUARDED_URL=http://$address GODWIT_GUARDED_DATABASE_URL=$login
}

# cluster_scratch NAME [options]: a cluster on a free port that is removed at exit.
cluster_scratch() {
    local name=$1
    shift
    STACK=$(cluster_folder "$LOCAL/scratch/$name")
    cluster_stop "$STACK"
    rm -rf "${STACK:?}"/*
    trap 'gateway_stop; cluster_stop "$STACK"' EXIT
    trap 'exit 130' INT TERM
    cluster_init "$STACK"
    # shellcheck disable=SC2086
    cluster_start "$STACK" "$(free_port)" $SCRATCH_OPTIONS "$@"
}

# cluster_with_feature NAME FEATURE: clusters from here on are of a copy of the server's programs with an extension in
# it that is built with the feature. Sets PG_BIN and PG_CONFIG.
cluster_with_feature() {
    local name=$1 feature=$2 copy library share
    say "building the extension with $feature"
    cargo build --release --quiet -p godwit --no-default-features --features "pg$PG_MAJOR,$feature" \
        || die "the extension could not be built: see the lines above."
    copy=$(cluster_folder "$LOCAL/scratch/$name-postgres")
    rm -rf "${copy:?}"/*
    library=$("$PG_CONFIG" --pkglibdir)
    share=$("$PG_CONFIG" --sharedir)
    # Under the same paths: the programs find each other and their files relative to themselves.
    tar -C / -c "${PG_BIN#/}" "${library#/}" "${share#/}" | tar -C "$copy" -x
    install -m 755 "$TARGET/release/libgodwit.so" "$copy$library/godwit.so"
    PG_BIN=$copy$PG_BIN
    PG_CONFIG=$PG_BIN/pg_config
}
