#!/usr/bin/env bash
# Runs every test on this system's Redis server: the unit tests, the black-box tests and the tests of the client library.
# Prints each program as it starts and its result, at the end a list of what failed and what was skipped, and one line of
# totals.
#
#   ONLY='unit keys client/client'   only these programs
#   REDIS_SERVER=<program>           on another server
#   REDIS_LOCK_MODULE=<path>         another module than target/checked/libredis_lock.so, which checks its invariants
#
# The whole output is in target/test/output.log. Fails if anything failed.
set -euo pipefail
cd "$(dirname "$0")/.."

# shellcheck source=tools/test-report.sh
. tools/test-report.sh
results=$PWD/target/test
module=${REDIS_LOCK_MODULE:-target/checked/libredis_lock.so}
# Tests wait for servers most of their time.
export RUST_TEST_THREADS=${RUST_TEST_THREADS:-$((2 * $(nproc)))}
# The unit tests walk through all short sequences of events, which takes minutes without optimisation; debug assertions would
# make these walks one event shorter. A release build of the unit tests would take several times as long.
unit_profile=(
    --config 'profile.dev.package.redis-lock.opt-level=1'
    --config 'profile.dev.package.redis-lock.debug-assertions=false'
)

say() { printf 'make test: %s\n' "$*"; }
die() {
    say "$@" >&2
    exit 1
}

# All programs, in the order in which they run. Those that end in `-unit` are the unit tests of a package.
build() {
    programs_of --lib "${unit_profile[@]}" | sed 's/^redis_lock\t/unit\t/' || return
    programs_of --test '*' | sort || return
    programs_of -p redis-lock-client | sed -e 's/^redis_lock_client\t/unit\t/' -e 's|^|client/|' | sort || return
    # The examples in its documentation: only cargo can run these.
    printf 'client/documentation\t%s\t\n' "$PWD"
    programs_of --lib -p redis-lock-soak -p redis-lock-test-support |
        sed -e 's/^redis_lock_soak\t/soak-unit\t/' -e 's/^redis_lock_test_support\t/support-unit\t/' | sort
}

# choose <programs>...: leaves those of ONLY in `programs`.
choose() {
    local row name known=' '
    for row in "$@"; do
        name=${row%%$'\t'*}
        known+="$name "
        [[ -n ${ONLY:-} && " $ONLY " != *" $name "* ]] || programs+=("$row")
    done
    for name in ${ONLY:-}; do
        [[ $known == *" $name "* ]] || die "ONLY: there is no '$name'; there are:$known"
    done
}

if [[ -z ${REDIS_LOCK_MODULE:-} ]]; then
    say 'building the module with checks of its invariants'
    cargo build --profile checked --locked --lib
fi
[[ -f $module ]] || die "there is no module at $module"
rm -rf "$results"
mkdir -p "$results"
tools/fetch-servers.sh || say 'newer servers could not be fetched, so the module is not loaded on them'

say 'building the tests'
built=$(build) || die 'the tests do not build: the errors are above'
# The tests of calls from other modules load this one.
cargo build --release --locked --lib -p redis-lock-calling-module
mapfile -t built <<<"$built"
programs=()
choose "${built[@]}"
# A build that runs meanwhile must not change the module under test.
cp "$module" "$results/libredis_lock.so"
export REDIS_LOCK_MODULE=$results/libredis_lock.so

number=0 passed=0 failed=0 skipped=0 begun=$SECONDS
for row in "${programs[@]}"; do
    IFS=$'\t' read -r name directory program <<<"$row"
    number=$((number + 1))
    printf '[%2d/%d] %s\n' "$number" "${#programs[@]}" "$name" | tee -a "$results/output.log"
    if [[ -n $program ]]; then
        command=(env -C "$directory" "$program")
    else
        command=(cargo test --locked --doc -p redis-lock-client)
    fi
    run_program "$name" '' "$results/output.log" "${command[@]}"
done
rm -f "$results"/running.*

rows "$results/failed" 'Failed:'
rows "$results/skipped" 'Skipped:'
printf '\n'
say "$passed passed, $failed failed, $skipped skipped, in ${#programs[@]} programs and $((SECONDS - begun)) s"
[[ $failed -eq 0 ]]
