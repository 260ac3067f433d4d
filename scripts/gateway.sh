# Starting the gateway and waiting for it; to be sourced.

export GODWIT_BIN=${GODWIT_BIN:-$TARGET/release/godwit}

# gateway_start URL ADDRESS LOG: sets GATEWAY_PID and returns when it answers.
gateway_start() {
    local url=$1 address=$2 log=$3 try
    DATABASE_URL=$url GODWIT_LISTEN=$address "$GODWIT_BIN" serve 2> "$log" 9>&- &
    GATEWAY_PID=$!
    for try in $(seq 100); do
        if curl -fsS "http://$address/health" > /dev/null 2>&1; then
            return
        fi
        kill -0 "$GATEWAY_PID" 2> /dev/null || die "$(sed -n 's/^godwit: //p' "$log" | tail -n 1 | grep . || tail -n 1 "$log")"
        sleep 0.1
    done
    die "the gateway does not answer at $address: see $log"
}

gateway_stop() {
    [ -n "${GATEWAY_PID:-}" ] || return 0
    kill -TERM "$GATEWAY_PID" 2> /dev/null || true
    wait "$GATEWAY_PID" 2> /dev/null || true
    GATEWAY_PID=
}
