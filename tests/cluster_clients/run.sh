#!/usr/bin/env bash
# Tries cluster clients of other languages on a cluster of its own:  tests/cluster_clients/run.sh
#
# redis-py, node-redis and ioredis each use all LOCK.* commands on 30 keys. No node may have sent those of the first two
# elsewhere; ioredis follows redirects. It installs them into target/cluster-clients. REDIS_SERVER=<program> takes another server, REDIS_LOCK_MODULE=<file>
# another module than target/release/libredis_lock.so.
set -euo pipefail

source=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$source/../.." && pwd)
module=${REDIS_LOCK_MODULE:-$root/target/release/libredis_lock.so}
copy=$root/target/cluster-clients
if [[ ! -f $module ]]; then
    echo "run.sh: there is no $module: 'make build' makes it" >&2
    exit 1
fi

dir=$(mktemp -d)
servers=()
ports=()
finish() {
    if [[ ${#servers[@]} -gt 0 ]]; then
        kill "${servers[@]}" 2>/dev/null || true
        wait "${servers[@]}" 2>/dev/null || true
    fi
    rm -rf "$dir"
}
trap finish EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

# What is installed already is left as it is, so only the first run needs the network.
install() {
    mkdir -p "$copy"
    cp "$source"/{*.py,*.mjs,package.json,package-lock.json,.npmrc,requirements.txt} "$copy"
    cd "$copy"
    if ! cmp --silent requirements.txt venv/installed; then
        python3 -m venv --clear venv
        venv/bin/pip install --quiet --disable-pip-version-check --requirement requirements.txt
        cp requirements.txt venv/installed
    fi
    if ! cmp --silent package-lock.json node_modules/.installed; then
        npm ci --no-audit --no-fund
        cp package-lock.json node_modules/.installed
    fi
}

# Starts a node on this port. Somebody else may listen there, or on the port of its bus.
start() {
    local port=$1 home=$dir/$1 tries server
    mkdir "$home"
    "${REDIS_SERVER:-redis-server}" --port "$port" --bind 127.0.0.1 --dir "$home" --save '' --daemonize no \
        --cluster-enabled yes --loadmodule "$module" >"$home/log" 2>&1 </dev/null &
    server=$!
    servers+=("$server")
    for ((tries = 0; tries < 600; tries++)); do
        if grep -q 'eady to accept connections' "$home/log" 2>/dev/null; then
            ports+=("$port")
            return 0
        fi
        if ! kill -0 "$server" 2>/dev/null; then return 1; fi
        sleep 0.05
    done
    return 1
}

until_ok() {
    local port tries
    for ((tries = 0; tries < 600; tries++)); do
        local agreed=0
        for port in "${ports[@]}"; do
            if redis-cli -p "$port" cluster info | grep -q 'cluster_state:ok'; then agreed=$((agreed + 1)); fi
        done
        if [[ $agreed -eq 3 ]]; then return 0; fi
        sleep 0.05
    done
    echo 'run.sh: the cluster does not work' >&2
    return 1
}

redirects() {
    local port
    for port in "${ports[@]}"; do
        redis-cli -p "$port" info errorstats
    done | awk -F '[=\r]' '/^errorstat_(MOVED|ASK)/ { sum += $2 } END { print sum + 0 }'
}

# try <name> <redirects allowed> <command ...>: runs a client; fails if nodes sent it elsewhere more often.
try() {
    local name=$1 allowed=$2 before count
    shift 2
    before=$(redirects)
    timeout 120 "$@"
    count=$(($(redirects) - before))
    echo "$name: $count redirects"
    if ((count > allowed)); then
        echo "run.sh: $name does not find the node of a key" >&2
        return 1
    fi
}

install
for _ in {1..10}; do
    if [[ ${#ports[@]} -lt 3 ]]; then start $((12000 + RANDOM % 10000)) || true; fi
done
nodes=("${ports[@]/#/127.0.0.1:}")
redis-cli --cluster create "${nodes[@]}" --cluster-yes >"$dir/create" || { cat "$dir/create" >&2; exit 1; }
until_ok
export CLUSTER_PORTS=${ports[*]} PYTHONDONTWRITEBYTECODE=1
try redis-py 0 venv/bin/python redis_py.py
try node-redis 0 node node_redis.mjs
# One at most for each of its commands.
try ioredis 150 node ioredis.mjs
