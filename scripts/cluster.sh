# Private Postgres clusters; to be sourced after env.sh and find_postgres.
#
# A cluster lives in a folder of its own: data/, log, password. The server refuses to run as root, so
# there it is the user postgres, who must be able to reach the folder.

CLUSTER_USER=$(id -un)
[ "$(id -u)" != 0 ] || CLUSTER_USER=postgres

as_cluster_user() {
    if [ "$(id -u)" = 0 ]; then
        # With RUST_BACKTRACE set, backtraces would stand in the error texts that clients see.
        runuser -u "$CLUSTER_USER" -- env -u RUST_BACKTRACE "$@"
    else
        env -u RUST_BACKTRACE "$@"
    fi
}

# A folder for a cluster: the wanted one, or one that the server's user can reach.
cluster_folder() {
    local wanted=$1
    mkdir -p "$wanted"
    chown "$CLUSTER_USER" "$wanted" 2> /dev/null || true
    if as_cluster_user test -w "$wanted" 2> /dev/null; then
        echo "$wanted"
        return
    fi
    local other
    other=/var/tmp/godwit-$(printf %s "$wanted" | sha256sum | cut -c 1-12)
    mkdir -p "$other"
    chown "$CLUSTER_USER" "$other"
    say "the user $CLUSTER_USER can't reach $wanted: the cluster is kept in $other"
    echo "$other"
}

port_is_free() { ! (exec 3<> "/dev/tcp/127.0.0.1/$1") 2> /dev/null; }

free_port() {
    python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

cluster_init() {
    local folder=$1
    [ -f "$folder/data/PG_VERSION" ] && return
    as_cluster_user sh -c "umask 077; head -c 24 /dev/urandom | od -An -tx1 | tr -d ' \n' > '$folder/password'"
    as_cluster_user "$PG_BIN/initdb" -D "$folder/data" -U postgres -E UTF8 --locale=C.UTF-8 \
        -A scram-sha-256 --pwfile="$folder/password" > "$folder/initdb.log" 2>&1 \
        || die "initdb failed: $(tail -n 1 "$folder/initdb.log")"
}

# cluster_start FOLDER PORT [server options]
cluster_start() {
    local folder=$1 port=$2
    shift 2
    port_is_free "$port" || die "port $port is taken: stop what listens there, or set PGPORT to another."
    # Left behind by a server that was killed; pg_ctl sees for itself whether one still runs.
    as_cluster_user mkdir -p "$folder/socket"
    as_cluster_user "$PG_BIN/pg_ctl" -D "$folder/data" -l "$folder/log" -w -t 60 -o \
        "-c listen_addresses=127.0.0.1 -c port=$port -c unix_socket_directories='' $*" start > "$folder/pg_ctl.log" 2>&1 9>&- \
        || die "Postgres did not start: $(tail -n 1 "$folder/log")"
    export PGHOST=127.0.0.1 PGPORT=$port PGUSER=postgres PGPASSWORD
    PGPASSWORD=$(cat "$folder/password")
}

cluster_stop() {
    local folder=$1
    [ -f "$folder/data/postmaster.pid" ] || return 0
    as_cluster_user "$PG_BIN/pg_ctl" -D "$folder/data" -m fast -w stop > /dev/null 2>&1 || true
}

cluster_url() { echo "postgres://postgres:$PGPASSWORD@127.0.0.1:$PGPORT/$1"; }
