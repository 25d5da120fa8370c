#!/usr/bin/env bash
# Tests cron-once.sh on the server of REDIS_URL. From the root of the repository:  tools/with-server.sh examples/shell/test.sh
# shellcheck disable=SC2016 # In single quotes is what the shell of the command expands.
set -euo pipefail

once=$(cd "$(dirname "$0")" && pwd)/cron-once.sh
dir=$(mktemp -d)
passed=0 failed=0

trap 'rm -rf "$dir"' EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

redis() { redis-cli -e -u "$REDIS_URL" "$@"; }
is_free() { [[ $(redis EXISTS "$1") == 0 ]]; }
waiters() { redis INFO redislock | sed -n 's/^redislock_waiters:\([0-9]*\).*/\1/p'; }
waiters_are() { [[ $(waiters) == "$1" ]]; }
is_held() { ! is_free "$1"; }
is_past() { ((SECONDS > $1)); } # Seconds since this script began.
is_gone() { ! kill -0 "$1" 2>/dev/null; }

# until_true <command> ...: asks again and again, for a minute.
until_true() {
    local deadline=$((SECONDS + 60))
    until "$@"; do
        if ((SECONDS > deadline)); then
            echo "never came true: $*" >&2
            return 1
        fi
        sleep 0.05
    done
}

# work <file>: a job that writes its process id there, and works until the file is gone, as it is after the tests, or for
# two minutes: so whoever waits for a job that was not stopped does not wait for ever.
work='echo $$ >"$0"; ticks=0; while [ -e "$0" ] && [ $((ticks += 1)) -lt 1200 ]; do sleep 0.1; done'
# The same by a child of it that ignores TERM.
stubborn="(trap '' TERM; bash -c '$work' \"\$0.child\") & $work"

# expect <status> <command> ...
expect() {
    local want=$1 status=0
    shift
    "$@" || status=$?
    if [[ $status != "$want" ]]; then
        echo "exit status $status, not $want: $*" >&2
        return 1
    fi
}

test_copies_at_once_run_the_job_once() {
    local copy copies=()
    for copy in 1 2 3 4 5 6 7 8; do
        "$once" nightly sh -c 'echo ran >>"$0"' "$dir/ran" >>"$dir/said" 2>&1 &
        copies[copy]=$!
    done
    for copy in "${copies[@]}"; do expect 0 wait "$copy"; done
    [[ $(cat "$dir/ran") == ran ]]
    [[ ! -s $dir/said ]] # Cron would mail it.
}

test_late_machine_does_not_run_the_job_again() {
    expect 0 "$once" -m 4 skewed sh -c 'echo ran >>"$0"' "$dir/skewed"
    expect 0 "$once" -m 4 skewed sh -c 'echo ran >>"$0"' "$dir/skewed"
    [[ $(cat "$dir/skewed") == ran ]]
    [[ $(redis LOCK.INFO skewed) == mode$'\n'cooling* ]] # Nobody holds it.
    until_true is_free skewed
    expect 0 "$once" -m 0 skewed sh -c 'echo again >>"$0"' "$dir/skewed"
    [[ $(cat "$dir/skewed") == $'ran\nagain' ]]
    is_free skewed
}

test_waiting_copies_exclude_each_other() {
    local copy copies=()
    echo 0 >"$dir/count"
    for copy in 1 2 3 4 5 6 7 8 9 10 11 12; do
        "$once" -w 120 counter sh -c 'n=$(cat "$0"); sleep 0.02; echo $((n + 1)) >"$0"' "$dir/count" &
        copies[copy]=$!
    done
    for copy in "${copies[@]}"; do expect 0 wait "$copy"; done
    [[ $(cat "$dir/count") == 12 ]]
    is_free counter
}

test_exit_status_and_output_are_the_commands() {
    local output
    output=$(expect 7 "$once" -m 0 status sh -c 'cat; exit 7' <<<input 2>&1)
    [[ $output == input ]]
    expect 127 "$once" -m 0 status no-such-command 2>/dev/null
    is_free status
}

test_command_is_given_the_fence() {
    local first second
    first=$("$once" -m 0 fence sh -c 'echo "$LOCK_FENCE"')
    second=$("$once" -m 0 fence sh -c 'echo "$LOCK_FENCE"')
    ((first > 0 && second > first))
}

test_wait_runs_out() {
    redis LOCK.ACQUIRE busy somebody EX 600 >/dev/null
    expect 75 "$once" -w 1 busy touch "$dir/wrong" 2>/dev/null
    [[ ! -e $dir/wrong ]]
    waiters_are 0
    redis LOCK.RELEASE busy somebody >/dev/null
}

test_nothing_runs_when_the_server_cannot_be_asked() {
    # Nobody listens on port 1.
    REDIS_URL=redis://127.0.0.1:1 expect 69 "$once" down touch "$dir/wrong" 2>/dev/null
    redis SET string value >/dev/null
    expect 69 "$once" string touch "$dir/wrong" 2>/dev/null
    # A server that is silent for longer than it is waited for.
    redis CLIENT PAUSE 12000 ALL >/dev/null
    expect 69 "$once" silent touch "$dir/wrong" 2>/dev/null
    redis PING >/dev/null
    is_free silent
    [[ ! -e $dir/wrong ]]
}

test_wrong_usage_is_told() {
    expect 64 "$once" 2>/dev/null
    expect 64 "$once" lock 2>/dev/null
    expect 64 "$once" -l 5 lock true 2>/dev/null
    expect 64 "$once" -w soon lock true 2>/dev/null
}

test_lease_is_renewed_while_the_command_runs() {
    "$once" -l 6 -m 0 long sh -c "$work" "$dir/long" &
    until_true is_held long
    until_true is_past "$((SECONDS + 13))" # Two leases.
    [[ $(redis LOCK.ACQUIRE long somebody) == '' ]]
    rm "$dir/long"
    expect 0 wait "$!"
    is_free long
}

test_lost_hold_stops_the_command_and_its_children() {
    "$once" -l 6 lost bash -c "$stubborn" "$dir/lost" 2>/dev/null &
    until_true test -s "$dir/lost" -a -s "$dir/lost.child"
    redis DEL lost >/dev/null
    redis LOCK.ACQUIRE lost somebody EX 600 >/dev/null
    expect 76 wait "$!"
    is_gone "$(cat "$dir/lost")"
    until_true is_gone "$(cat "$dir/lost.child")"
    [[ $(redis LOCK.RELEASE lost somebody) == 1 ]]
}

test_hold_lost_unnoticed_is_told_in_the_end() {
    expect 76 "$once" -m 0 unnoticed redis-cli -u "$REDIS_URL" DEL unnoticed >/dev/null 2>&1
    expect 76 "$once" -m 9 unnoticed redis-cli -u "$REDIS_URL" DEL unnoticed >/dev/null 2>&1
}

test_signal_stops_the_command_and_frees_the_lock() {
    "$once" -m 0 signalled sh -c "$work" "$dir/signalled" &
    until_true test -s "$dir/signalled"
    kill "$!"
    expect 143 wait "$!"
    is_gone "$(cat "$dir/signalled")"
    is_free signalled
}

test_signal_ends_a_wait() {
    redis LOCK.ACQUIRE occupied somebody EX 600 >/dev/null
    "$once" -w 100 occupied touch "$dir/wrong" &
    until_true waiters_are 1
    kill "$!"
    expect 143 wait "$!"
    until_true waiters_are 0
    redis LOCK.RELEASE occupied somebody >/dev/null
    [[ ! -e $dir/wrong ]]
}

test_lease_frees_the_lock_of_a_killed_holder() {
    "$once" -l 6 killed sh -c "$work" "$dir/killed" 2>/dev/null &
    until_true test -s "$dir/killed"
    kill -KILL "$!"
    wait "$!" 2>/dev/null || true
    expect 0 "$once" -w 60 killed true
    is_gone "$(cat "$dir/killed")" # Nobody was left to renew its lease, so it was stopped.
}

for test in $(compgen -A function test_); do
    # Not as a condition: there a failing line would not end it.
    set +e
    (
        set -e
        trap 'jobs -p | xargs -r kill 2>/dev/null' EXIT
        "$test"
    )
    status=$?
    set -e
    name=${test#test_}
    if ((status == 0)); then
        passed=$((passed + 1))
        echo "ok: ${name//_/ }"
    else
        failed=$((failed + 1))
        echo "FAILED: ${name//_/ }"
    fi
done
echo "$passed passed, $failed failed"
[[ $failed -eq 0 ]]
