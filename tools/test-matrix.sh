#!/usr/bin/env bash
# Runs the black-box tests with the same module on one server after the other. At the end it prints a table of what
# passed, failed and was skipped on each server, and lists the failed and the skipped tests with the reasons.
#
# The servers are redis-system (the redis-server of this system), those of REDIS_LOCK_MORE_SERVERS, and the newer ones that
# tools/fetch-servers.sh gets. The table lists a server that cannot be had as missing; if SERVERS names it, the run fails.
#
# SERVERS='redis-system valkey-sid'  only these servers, in this order
# TESTS='blocking keys'              only these programs
# ALSO_WITHIN_S=600                  after SERVERS, also the other newer servers until this many seconds have passed
# REDIS_LOCK_MORE_SERVERS='redis-7.2=<path> redis-7.4=<path>'
# REDIS_LOCK_MODULE=<path>           another module than target/release/libredis_lock.so
#
# The whole output is in target/test-matrix/<server>.log, the table in summary.txt. Fails if anything failed.
set -euo pipefail
cd "$(dirname "$0")/.."

# Tests wait for servers most of their time.
export RUST_TEST_THREADS=${RUST_TEST_THREADS:-$((2 * $(nproc)))}

# shellcheck source=tools/test-report.sh
. tools/test-report.sh
results=$PWD/target/test-matrix
module=${REDIS_LOCK_MODULE:-target/release/libredis_lock.so}

declare -A path version     # of each server that is there; the version with the name: 'Redis 7.0.15'
declare -A row              # what the table says of a server
declare -A must             # missing here is a failure
order=()                    # the servers that were asked for
tests=()                    # the test programs that cargo built
broken=0 longest_s=0

say() { printf 'test-matrix: %s\n' "$*"; }
die() {
    say "$@" >&2
    exit 1
}

# there <name> <program>: notes a server that can be started.
there() {
    local says
    says=$("$2" --version 2>/dev/null | sed -n 's/^\([A-Za-z]*\) server v=\([^ ]*\).*/\1 \2/p') || return 1
    [[ -n $says ]] || return 1
    path[$1]=$2 version[$1]=$says
}

# Which servers there are and which of them are to be tested.
choose() {
    local name pair file _
    local -a newer named known=(redis-system)
    read -ra named <<<"${SERVERS:-}"
    mapfile -t newer < <(tools/fetch-servers.sh names)

    ! file=$(command -v redis-server) || there redis-system "$file" || true
    for pair in ${REDIS_LOCK_MORE_SERVERS:-}; do
        [[ $pair =~ ^[A-Za-z0-9._-]+=. ]] || die "REDIS_LOCK_MORE_SERVERS: '$pair' is not <name>=<path>"
        there "${pair%%=*}" "${pair#*=}" || die "REDIS_LOCK_MORE_SERVERS: ${pair#*=} is no server that runs here"
        known+=("${pair%%=*}")
    done
    known+=("${newer[@]}")
    for name in "${named[@]}"; do
        [[ " ${known[*]} " == *" $name "* ]] || die "SERVERS: there is no '$name'; there are: ${known[*]}"
        must[$name]=1
    done
    if [[ ${#named[@]} -eq 0 || -n ${ALSO_WITHIN_S:-} || " ${named[*]} " != ' redis-system ' ]]; then
        tools/fetch-servers.sh || true
        while IFS=$'\t' read -r name file _; do
            there "$name" "$file" || say "$name: $file does not run" >&2
        done < <(cat target/servers/list.tsv 2>/dev/null)
    fi

    if [[ ${#named[@]} -eq 0 ]]; then
        must[redis-system]=1
        named=("${known[@]}")
    elif [[ -n ${ALSO_WITHIN_S:-} ]]; then
        named+=("${newer[@]}")
    fi
    mapfile -t order < <(printf '%s\n' "${named[@]}" | awk '!seen[$0]++')
}

build() {
    [[ -f $module ]] || die "there is no module at $module: try 'make test-matrix', which builds it"
    local built
    local -a only
    read -ra only <<<"${TESTS:-}"
    built=$(tools/test-programs.sh "${only[@]}") || die 'cargo did not build all the tests'
    mapfile -t tests <<<"$built"
    rm -rf "$results"
    mkdir -p "$results"
    # A build that runs meanwhile must not change the module under test.
    cp "$module" "$results/libredis_lock.so"
}

run_server() {
    local server=$1 begun=$SECONDS program name
    local passed=0 failed=0 skipped=0
    export REDIS_SERVER=${path[$server]} REDIS_LOCK_MODULE=$results/libredis_lock.so
    for program in "${tests[@]}"; do
        name=$(basename "${program%-*}")
        printf '     Running %s (%s, %s)\n' "$name" "$server" "${version[$server]}" | tee -a "$results/$server.log"
        run_program "$name" "$server" "$results/$server.log" "$program"
    done
    local took=$((SECONDS - begun))
    ((took <= longest_s)) || longest_s=$took
    ((failed == 0)) || broken=1
    row[$server]=$(printf '%-14s %7s %7s %8s %5ss' "${version[$server]}" "$passed" "$failed" "$skipped" "$took")
}

summary() {
    local server
    printf '\n%-26s %-14s %7s %7s %8s %6s\n' server version passed failed skipped time
    for server in "${order[@]}"; do
        printf '%-26s %s\n' "$server" "${row[$server]}"
    done
    rows "$results/failed" 'Failed:'
    rows "$results/skipped" 'Skipped:'
}

choose
build
for server in "${order[@]}"; do
    if [[ -z ${path[$server]:-} ]]; then
        row[$server]=missing
        if [[ -n ${must[$server]:-} ]]; then
            broken=1
            printf 'all\t%s\tit is missing\n' "$server" >>"$results/failed"
        fi
    elif [[ -n ${ALSO_WITHIN_S:-} && -z ${must[$server]:-} && $((SECONDS + longest_s)) -gt $ALSO_WITHIN_S ]]; then
        row[$server]="${version[$server]}: left out, the time is up"
    else
        printf '\n=== %s: %s\n' "$server" "${version[$server]}"
        run_server "$server"
    fi
done
rm -f "$results"/running.*
summary | tee "$results/summary.txt"
exit "$broken"
