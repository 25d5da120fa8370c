#!/usr/bin/env bash
# The gate that every change must pass: lints, all tests, the client packages and examples, the quick part of the
# conformance suite, and the black-box tests on newer servers. Stops at the first stage that fails.
#
# LIMIT_S=1500    the test matrix leaves out the servers that need not be tested once this many seconds have passed
#
# The clients and examples need Go, Python, Node, Java and redis-cli; .ci/run installs what is missing.
set -euo pipefail
cd "$(dirname "$0")/.."

limit_s=${LIMIT_S:-1500}

running='the start' since=0
trap '[[ $? -eq 0 ]] || printf "=== %s failed after %s s\n" "$running" "$((SECONDS - since))"' EXIT

stage() {
    running=$1 since=$SECONDS
    shift
    printf '\n=== %s\n' "$running"
    "$@"
    printf '=== %s: %s s\n' "$running" "$((SECONDS - since))"
}

# newest <redis or valkey> <version>: the newest fetched server of that kind, if it has this version or a later one.
newest() {
    { echo "$2" && awk -F '\t' -v kind="$1" '$1 ~ "^" kind "-" { print $3, $1 }' target/servers/list.tsv; } |
        sort -V | awk 'END { print $2 }'
}

servers() {
    make servers
    redis=$(newest redis 8.6) valkey=$(newest valkey 9)
    if [[ -n $redis && -n $valkey ]]; then return 0; fi
    echo "the gate needs a Redis 8.6 or later (found: ${redis:-none}) and a Valkey 9 or later (found: ${valkey:-none})" >&2
    return 1
}

# `make test` runs the same tests on the system's server. A Redis 8.6 or later and a Valkey 9 must be tested; the others
# follow if there is time.
matrix() { make test-matrix SERVERS="$redis $valkey" ALSO_WITHIN_S=$((limit_s - SECONDS)); }

stage 'make servers' servers
stage 'make check' make check
stage 'make test' make test
stage 'make clients' make clients
# make nightly runs it for every client.
stage 'make conformance' make conformance QUICK=1 CLIENT='rust python'
stage 'make test-matrix' matrix
printf '\n=== the gate is passed, in %s s\n' "$SECONDS"
