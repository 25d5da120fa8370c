#!/usr/bin/env bash
# Runs a command beside a Redis of its own with redis-lock loaded:  tools/with-server.sh <command> [argument ...]
#
# The command finds REDIS_HOST, REDIS_PORT and REDIS_URL in its environment. The server listens on loopback only, stores
# nothing, and ends with the command, whose exit code is this script's.
# REDIS_SERVER=<program> takes another server, REDIS_LOCK_MODULE=<file> another module than target/release/libredis_lock.so.
set -euo pipefail

if [[ $# -eq 0 ]]; then
    echo "usage: with-server.sh <command> [argument ...]" >&2
    exit 2
fi

module=${REDIS_LOCK_MODULE:-$(cd "$(dirname "$0")/.." && pwd)/target/release/libredis_lock.so}
if [[ ! -f $module ]]; then
    echo "with-server: there is no $module: 'make build' makes it" >&2
    exit 1
fi

dir=$(mktemp -d)
: >"$dir/log"
server=
finish() {
    if [[ -n $server ]]; then
        kill "$server" 2>/dev/null || true
        wait "$server" 2>/dev/null || true
    fi
    rm -rf "$dir"
}
trap finish EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

# Somebody else may listen on a port: then the server ends at once, and the next port is tried.
start() {
    local port=$1 tries
    "${REDIS_SERVER:-redis-server}" --port "$port" --bind 127.0.0.1 --dir "$dir" --save '' --daemonize no \
        --loadmodule "$module" >"$dir/log" 2>&1 </dev/null &
    server=$!
    for ((tries = 0; tries < 200; tries++)); do
        if grep -q 'eady to accept connections' "$dir/log"; then return 0; fi
        if ! kill -0 "$server" 2>/dev/null; then break; fi
        sleep 0.05
    done
    kill "$server" 2>/dev/null || true
    wait "$server" 2>/dev/null || true
    server=
    return 1
}

for _ in 1 2 3 4 5; do
    port=$((20000 + RANDOM % 12000))
    if start "$port"; then break; fi
done
if [[ -z $server ]]; then
    echo "with-server: the server did not start; its log:" >&2
    cat "$dir/log" >&2
    exit 1
fi

code=0
REDIS_HOST=127.0.0.1 REDIS_PORT=$port REDIS_URL=redis://127.0.0.1:$port "$@" || code=$?
exit "$code"
