# A scratch cluster with a database and a gateway in front of it, gone at exit; to be sourced.
. "$ROOT/scripts/cluster.sh"
. "$ROOT/scripts/gateway.sh"

# stack_start NAME: exports GODWIT_URL and GODWIT_DATABASE_URL.
stack_start() {
    cluster_scratch "$1"
    createdb godwit_test
    psql -X -q -v ON_ERROR_STOP=1 godwit_test -c "create extension godwit"
    GODWIT_DATABASE_URL=$(cluster_url godwit_test)
    local address
    address=127.0.0.1:$(free_port)
    gateway_start "$GODWIT_DATABASE_URL" "$address" "$STACK/gateway.log"
    export GODWIT_DATABASE_URL GODWIT_URL=http://$address
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
    # Test data needs no disk; crash tests run with a cluster of their own.
    cluster_start "$STACK" "$(free_port)" -c fsync=off -c max_prepared_transactions=10 "$@"
}
