#!/usr/bin/env bash
# Runs the black-box tests (tests/*.rs) with one and the same module on one server after the other, and ends with a
# table: server by server what passed, failed and was skipped, and below it which tests those were, and why.
#
# The servers: redis-system (the redis-server of this system), those of REDIS_LOCK_MORE_SERVERS, and the newer ones that
# tools/fetch-servers.sh gets. One that is not to be had is named as missing; that is a failure if SERVERS names it.
#
# SERVERS='redis-system valkey-sid'  only these, in this order
# ALSO_WITHIN_S=600                  after those of SERVERS the other newer ones too, as far as so many seconds go
# REDIS_LOCK_MORE_SERVERS='redis-7.2=<path> redis-7.4=<path>'
# REDIS_LOCK_MODULE=<path>           another module than target/release/libredis_lock.so
#
# Result: target/test-matrix/<server>.log with all the tests printed, and summary.txt. Fails when anything failed.
set -euo pipefail
cd "$(dirname "$0")/.."

# A file of tests that takes longer hangs.
file_limit_s=600
# Tests wait for servers most of their time.
export RUST_TEST_THREADS=${RUST_TEST_THREADS:-$((2 * $(nproc)))}

results=$PWD/target/test-matrix
module=${REDIS_LOCK_MODULE:-target/release/libredis_lock.so}

declare -A path version     # of each server that is there; the version with the name: 'Redis 7.0.15'
declare -A row              # what the table says of a server
declare -A must             # missing here is a failure
order=()                    # the servers that were asked for
tests=()                    # the programs that cargo built out of tests/*.rs
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
    built=$(tools/test-programs.sh) || die 'cargo did not build all the tests'
    mapfile -t tests <<<"$built"
    rm -rf "$results"
    mkdir -p "$results"
    # What somebody builds meanwhile must not get mixed in.
    cp "$module" "$results/libredis_lock.so"
}

# What the test program said itself: a failed test may show the output of another one behind 'failures:'.
outcomes() { sed -n -e '/^failures:$/q' -e '/^test .* \.\.\. /p' "$1"; }
result() { awk '/^test result: / { last = $0 } END { print last }' "$1"; }

# The number of <what> in 'test result: ok. 15 passed; 0 failed; ...', or 0 if the file has none.
counted() { result "$2" | awk -v what="$1;" '{ for (i = 2; i <= NF; i++) if ($i == what) n = $(i - 1) } END { print n + 0 }'; }

# run_file <server> <program>: one file of tests, whose results it prints and notes.
run_file() {
    local server=$1 program=$2 status=0 name left_out
    local out=$results/running.out said=$results/running.said skips=$results/running.skips
    name=$(basename "${program%-*}")
    : >"$said"
    printf '     Running tests/%s.rs (%s, %s)\n' "$name" "$server" "${version[$server]}" | tee -a "$results/$server.log"
    REDIS_SERVER=${path[$server]} REDIS_LOCK_MODULE=$results/libredis_lock.so REDIS_LOCK_SKIPS=$said \
        timeout --foreground --kill-after=10 "$file_limit_s" "$program" >"$out" 2>&1 || status=$?
    cat "$out" >>"$results/$server.log"
    outcomes "$out" | sed -n 's/^test \(.*\) \.\.\. ignored\(.*\)/skipped: \1: marked as ignored\2/p' >>"$said"
    sort -u -k 2,2 "$said" >"$skips"
    left_out=$(wc -l <"$skips")
    cat "$skips"
    sed "s/^skipped: \([^ ]*\): \(.*\)/$name::\1\t$server\t\2/" "$skips" >>"$results/skipped"
    passed=$((passed + $(counted passed "$out") + $(counted ignored "$out") - left_out))
    failed=$((failed + $(counted failed "$out")))
    skipped=$((skipped + left_out))
    if [[ $status -ne 0 || -z $(result "$out") ]]; then
        outcomes "$out" | sed -n "s/^test \(.*\) \.\.\. FAILED$/$name::\1\t$server\t/p" >>"$results/failed"
        if [[ $(result "$out") == 'test result: FAILED'* ]]; then
            sed -n '/^failures:$/,$p' "$out"
            return
        fi
        # It crashed, or did not come to an end.
        tail -n 60 "$out"
        failed=$((failed + 1))
        printf '%s\t%s\t%s\n' "tests/$name.rs" "$server" "broke off with status $status" >>"$results/failed"
    fi
    result "$out"
}

run_server() {
    local server=$1 begun=$SECONDS program
    local passed=0 failed=0 skipped=0
    for program in "${tests[@]}"; do
        run_file "$server" "$program"
    done
    local took=$((SECONDS - begun))
    ((took <= longest_s)) || longest_s=$took
    ((failed == 0)) || broken=1
    row[$server]=$(printf '%-14s %7s %7s %8s %5ss' "${version[$server]}" "$passed" "$failed" "$skipped" "$took")
}

# rows <file> <heading>: the tests that a file lists.
rows() {
    [[ -s $1 ]] || return 0
    printf '\n%s\n' "$2"
    awk -F '\t' '{ printf "  %s on %s%s\n", $1, $2, $3 == "" ? "" : ": " $3 }' "$1"
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
