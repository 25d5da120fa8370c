#!/usr/bin/env bash
# Runs the tests of the client packages (clients/<language>) and of the examples (examples/<language>) against real servers
# with redis-lock, and tries cluster clients of other languages on a cluster (tests/cluster_clients). Ends with a line for
# each. The tests of the Rust client are part of `make test`.
#
# ONLY='go python'          only these
# REDIS_SERVER=<program>    with another server
set -euo pipefail
cd "$(dirname "$0")/.."

# What a language needs on this machine.
declare -A needs=(
    [go]='go gcc' [python]='python3' [node]='node npm' [java]='java mvn' [shell]='redis-cli'
    [cluster]='python3 node npm redis-cli'
)

# The Go tests start servers of their own; the others find one in their environment.
run_go() {
    clients/go/test.sh &&
        (cd examples/go && test -z "$(gofmt -l . | tee /dev/stderr)" && go vet ./... && go test -race -timeout 5m -parallel 8 ./...)
}
run_python() { clients/python/test.sh --quick && tools/with-server.sh examples/python/test.sh; }
run_node() { tools/with-server.sh examples/node/test.sh && (cd clients/node && npm run --silent lint && npm test); }
run_java() { clients/java/test.sh quick && clients/java/test.sh docs && tools/with-server.sh examples/java/test.sh; }
run_shell() { tools/with-server.sh examples/shell/test.sh; }
run_cluster() { tests/cluster_clients/run.sh; }

missing() {
    local program
    for program in ${needs[$1]}; do
        command -v "$program" >/dev/null || echo "$program"
    done
}

results=() status=0
for language in ${ONLY:-go python node java shell cluster}; do
    [[ -n ${needs[$language]:-} ]] || { echo "clients: there is no '$language'" >&2 && exit 2; }
    printf '\n=== %s\n' "$language"
    since=$SECONDS
    lacks=$(missing "$language")
    if [[ -n $lacks ]]; then
        result="failed: these programs are missing: ${lacks//$'\n'/ }"
    elif "run_$language"; then
        result="passed in $((SECONDS - since)) s"
    else
        result='failed'
    fi
    [[ $result == passed* ]] || status=1
    results+=("$(printf '%-8s %s' "$language" "$result")")
done
printf '\nclients and examples:\n'
printf '  %s\n' "${results[@]}"
exit "$status"
