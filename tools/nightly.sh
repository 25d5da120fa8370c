#!/usr/bin/env bash
# What takes too long for every change. Each part can be run by itself:  tools/nightly.sh [part ...]
#
#   rules      every sequence of events that befalls a lock, an event longer than in `make test`
#   suite      the black-box tests again and again, without the soak and the failpoints
#   soak       both drivers of random clients and failures, with many seeds, on each server
#   machines   failovers, cuts of the network (also those of 90 s), slots that move, quorums: again and again, on each server
#   conformance  every scenario of the clients, on each server, and their planted faults
#
# TIMES=20                           how often the part `suite` runs them, AT_ONCE=1 of the runs side by side
# ROUNDS=3                           how often the part `machines` goes through its tests on each server
# SEEDS=20 SEED=1 SOAK_SECONDS=20    how many seeds the part `soak` tries on each server, from which on, and for how long each
# SERVERS='redis-system valkey-sid'  on these
#
# Result: target/nightly/<part>/ with all the output, and target/nightly/summary.txt. Fails when anything failed.
set -euo pipefail
cd "$(dirname "$0")/.."

results=$PWD/target/nightly
mkdir -p "$results"
summary=$results/summary.txt
status=0

say() { printf '%s\n' "$*" | tee -a "$summary"; }

# program <server>: its path.
program() {
    if [[ $1 == redis-system ]]; then command -v redis-server; else
        awk -F '\t' -v name="$1" '$1 == name { print $2 }' target/servers/list.tsv; fi
}

version() { "$1" --version | sed -n 's/^\([A-Za-z]*\) server v=\([^ ]*\).*/\1 \2/p'; }

# What a log of tests says: how many passed and failed, which, and what they counted.
tell() {
    local log=$1 passed failed
    passed=$(grep -c '^test .* \.\.\. ok$' "$log") || true
    failed=$(grep -c '^test .* \.\.\. FAILED$' "$log") || true
    say "  $2: $passed passed, $failed failed"
    sed -n 's/^test \(.*\) \.\.\. FAILED$/    failed: \1/p' "$log" | tee -a "$summary"
    sed -n 's/^counted: /    /p' "$log" | sort | uniq -c | sed 's/^ *1 //' | tee -a "$summary"
}

rules() {
    local log=$results/rules.log
    cargo test --release --locked --lib exhaustive -- --include-ignored --nocapture >"$log" 2>&1 || status=1
    tell "$log" 'walks'
}

# suite_run <n>: one run, into suite/<n>.log, and its line.
suite_run() {
    local log=$results/suite/$1.log since=$SECONDS program
    for program in "${programs[@]}"; do "$program" || true; done >"$log" 2>&1
    tell "$log" "run $1, $((SECONDS - since)) s"
    # A program that failed or broke off does not say this.
    [[ $(grep -c '^test result: ok' "$log") -eq ${#programs[@]} ]]
}

suite() {
    local run built running=0
    local -a tests programs
    mapfile -t tests < <(tools/test-programs.sh --names | grep -vxE 'soak|failpoints')
    mkdir -p "$results/suite"
    if ! built=$(tools/test-programs.sh "${tests[@]}"); then
        say '  cargo did not build all the tests'
        status=1
        return
    fi
    mapfile -t programs <<<"$built"
    for run in $(seq "${TIMES:-20}"); do
        suite_run "$run" &
        running=$((running + 1))
        if [[ $running -eq ${AT_ONCE:-1} ]]; then
            wait -n || status=1
            running=$((running - 1))
        fi
    done
    while [[ $running -gt 0 ]]; do
        wait -n || status=1
        running=$((running - 1))
    done
}

soak() {
    local server path log
    mkdir -p "$results/soak"
    for server in ${SERVERS:-redis-system redis-sid valkey-sid}; do
        path=$(program "$server")
        [[ -n $path ]] || { say "  $server is missing" && status=1 && continue; }
        log=$results/soak/$server.log
        REDIS_SERVER=$path SOAK_SEED=${SEED:-1} SOAK_SEEDS=${SEEDS:-20} SOAK_SECONDS=${SOAK_SECONDS:-20} \
            cargo test --locked --test soak -- --nocapture >"$log" 2>&1 || status=1
        tell "$log" "$(version "$path"), ${SEEDS:-20} seeds"
    done
}

machines() {
    local server path round log
    local -a tests=(--test failover --test cluster)
    mkdir -p "$results/machines"
    for server in ${SERVERS:-redis-system redis-sid valkey-sid}; do
        path=$(program "$server")
        [[ -n $path ]] || { say "  $server is missing" && status=1 && continue; }
        for round in $(seq "${ROUNDS:-3}"); do
            log=$results/machines/$server-$round.log
            REDIS_SERVER=$path cargo test --locked --no-fail-fast "${tests[@]}" -- --include-ignored --nocapture \
                >"$log" 2>&1 || status=1
            REDIS_SERVER=$path cargo test --locked --no-fail-fast -p redis-lock-client -- --nocapture >>"$log" 2>&1 || status=1
            # Stalls with thousands of holds, which have the machine to themselves.
            REDIS_SERVER=$path cargo test --locked -p redis-lock-client -- --ignored --test-threads 1 --nocapture \
                >>"$log" 2>&1 || status=1
            tell "$log" "$(version "$path"), round $round"
        done
    done
}

conformance() {
    local server path log=$results/conformance.log
    local -a paths=()
    for server in ${SERVERS:-redis-system valkey-sid}; do
        path=$(program "$server")
        [[ -n $path ]] || { say "  $server is missing" && status=1 && continue; }
        paths+=("$path")
    done
    [[ ${#paths[@]} -gt 0 ]] || return 0
    SERVER="${paths[*]}" TABLE=$results/conformance.md tools/conformance.sh >"$log" 2>&1 || status=1
    sed -n 's/^FAILED */    failed: /p; s/^conformance: /  /p' "$log" | tee -a "$summary"
    FAULTS=1 SERVER="${paths[0]}" tools/conformance.sh >"$results/conformance-faults.log" 2>&1 || status=1
    tail -n 1 "$results/conformance-faults.log" | sed 's/^conformance: /  /' | tee -a "$summary"
}

: >"$summary"
[[ $# -gt 0 ]] || set -- rules suite soak machines conformance
for part in "$@"; do
    since=$SECONDS
    say "$part"
    "$part"
    say "  took $(((SECONDS - since) / 60)) min"
done
exit "$status"
