#!/usr/bin/env bash
# Runs the black-box tests on a server under a memory checker, and ends with what it found.
#
#   tools/memcheck.sh valgrind   on the system's redis-server, under valgrind
#   tools/memcheck.sh asan       on a newer Redis, built with the module for the address sanitizer
#
# TESTS='blocking sessions'      only these programs
#
# A finding is any error that the checker reports, or a leak of memory that the module allocated. Servers that a test kills
# are not checked for leaks; all others shut down in order and are.
# Result: target/memcheck/<tool>/: <program>.log, and the reports of the checker in reports/. Fails if a test failed or
# there is a finding.
set -euo pipefail
cd "$(dirname "$0")/.."

tool=${1:-}
results=$PWD/target/memcheck/$tool
# A program that takes longer is taken to hang.
program_limit_s=7200
# Everything takes ten times as long.
export REDIS_LOCK_PATIENCE=20 REDIS_LOCK_END_IN_ORDER=1
export RUST_TEST_THREADS=${RUST_TEST_THREADS:-$((2 * $(nproc)))}

say() { printf 'memcheck: %s\n' "$*"; }
die() {
    say "$@" >&2
    exit 2
}

# Programs, and modules of programs, that cannot run under a checker, and why.
declare -A left_out=(
    [overload::footprint]='measures the memory of the server, which a checker changes'
    [test_support]='tests the test support, without the module'
    [documentation]='starts no server'
    [failpoints]='runs a module that is wrong on purpose'
)
# Under valgrind servers are twenty times slower and take one another for dead.
if [[ $tool == valgrind ]]; then
    for name in failover::sentinel failover::partition cluster::failover cluster::partition cluster::resharding; do
        left_out[$name]='servers that watch one another by the clock'
    done
else
    left_out[administration::every_server]='servers that are not built with the sanitizer'
fi

# The module as released, and the system's server.
prepare_valgrind() {
    command -v valgrind >/dev/null || die "valgrind is missing: 'apt-get install valgrind' as root"
    export REDIS_LOCK_MODULE=$PWD/target/release/libredis_lock.so
    [[ -f $REDIS_LOCK_MODULE ]] || die "there is no module: 'make build' makes it"
    cat >"$results/server" <<END
#!/bin/sh
exec valgrind --quiet --log-file='$results/reports/%p' --num-callers=40 --suppressions='$PWD/tools/valgrind.supp' \\
    --leak-check=full --show-leak-kinds=definite --errors-for-leak-kinds=definite '$(command -v redis-server)' "\$@"
END
    chmod +x "$results/server"
    export REDIS_SERVER=$results/server
}

# Both from their sources: what a server without the sanitizer does to the module's memory would not be seen.
prepare_asan() {
    local source=$PWD/target/servers/redis-sid/source server=$PWD/target/memcheck/redis-asan
    tools/fetch-servers.sh source redis-sid
    if [[ ! -x $server/src/redis-server ]]; then
        rm -rf "$server"
        cp -r "$source" "$server"
        say 'building the server for the address sanitizer'
        make -C "$server/src" -j"$(nproc)" SANITIZER=address MALLOC=libc redis-server >"$results/build.log" 2>&1 ||
            die "the server was not built: see $results/build.log"
    fi
    # The option is not for the stable compiler, which has it nevertheless.
    RUSTC_BOOTSTRAP=1 RUSTFLAGS='-Zsanitizer=address' cargo build --release --locked --lib \
        --target x86_64-unknown-linux-gnu --target-dir target/memcheck/module
    export REDIS_LOCK_MODULE=$PWD/target/memcheck/module/x86_64-unknown-linux-gnu/release/libredis_lock.so
    export REDIS_SERVER=$server/src/redis-server
    # Tests that set the wall clock preload a library, which comes before the sanitizer then. Where Redis tries whether there
    # is room for what a damaged payload says, there is none.
    export ASAN_OPTIONS=log_path=$results/reports/asan:detect_leaks=1:abort_on_error=0:verify_asan_link_order=0:allocator_may_return_null=1
}

# All of them; of leaks, those of the module's. That it could not look for leaks is no finding, and is counted; nor is that
# Redis was refused the room that a damaged payload asks for.
findings_asan() {
    grep -v 'WARNING: AddressSanitizer failed to allocate' "$1" | awk -v RS= '
        /LeakSanitizer has encountered a fatal error/ { next }
        /ERROR: LeakSanitizer/ || /^(Direct|Indirect) leak/ { if (/redis_lock/) print $0 "\n"; next }
        /^SUMMARY/ || !/[^ \n]/ { next }
        { print $0 "\n" }' || true
}

# Errors, and leaks of the module's, out of one report: valgrind parts records by a line that is empty but for the pid.
findings_valgrind() {
    sed 's/^==[0-9]*== \{0,1\}//' "$1" | awk -v RS= '
        / definitely lost in loss record/ { if (/redis_lock/) print $0 "\n"; next }
        /[^ \n]/ { print $0 "\n" }'
}

case $tool in
valgrind | asan) ;;
*) die 'usage: memcheck.sh valgrind | asan' ;;
esac
rm -rf "$results"
mkdir -p "$results/reports"
built=$(tools/test-programs.sh) || die 'cargo did not build all the tests'
mapfile -t programs <<<"$built"
# A build that runs meanwhile must not change the programs under test.
mkdir "$results/tests"
cp "${programs[@]}" "$results/tests"
"prepare_$tool"

failed=() passed=0
for program in "$results"/tests/*; do
    name=$(basename "${program%-*}")
    if [[ -n ${TESTS:-} && " $TESTS " != *" $name "* ]]; then continue; fi
    if [[ -n ${left_out[$name]:-} ]]; then
        say "$name: left out: ${left_out[$name]}"
        continue
    fi
    skips=()
    for module in "${!left_out[@]}"; do
        [[ $module == "$name::"* ]] || continue
        say "$module: left out: ${left_out[$module]}"
        skips+=(--skip "${module#*::}::")
    done
    log=$results/$name.log
    timeout --kill-after=10 "$program_limit_s" "$program" "${skips[@]}" >"$log" 2>&1 || true
    last=$(grep '^test result: ' "$log" | tail -n 1)
    say "$name: ${last:-broke off}"
    [[ $last == 'test result: ok.'* ]] || failed+=("$name")
    passed=$((passed + $(sed -n 's/.* \([0-9]*\) passed;.*/\1/p' <<<"$last" | grep . || echo 0)))
done

found=0
for report in "$results"/reports/*; do
    [[ -s $report ]] || continue
    text=$("findings_$tool" "$report")
    if [[ -n $text ]]; then
        found=$((found + 1))
        printf '\n%s\n%s\n' "--- $(basename "$report")" "$text"
    fi
done
# The sanitizer writes reports of findings only.
servers=
[[ $tool == asan ]] || servers=" on $(find "$results/reports" -type f | wc -l) servers"
unsearched=$(grep -l 'LeakSanitizer has encountered a fatal error' "$results"/reports/* 2>/dev/null | wc -l) || true
[[ $unsearched -eq 0 ]] || say "on $unsearched servers the search for leaks broke off"
say "$passed tests passed$servers under $tool; servers with findings: $found; programs that failed: ${failed[*]:-none}"
[[ $found -eq 0 && ${#failed[@]} -eq 0 ]]
