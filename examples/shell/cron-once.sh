#!/usr/bin/env bash
# Runs a command on one machine of many: on the one that gets the lock. Needs bash 5, coreutils and redis-cli 7 or later.
#
#   cron-once.sh [-m seconds] [-l seconds] [-w seconds] <lock> <command> [argument ...]
#
#   -m  Nobody is granted the lock for this long after the grant, even if the command ends sooner (30; with -w: 0).
#       The clocks of machines differ: after a job of 1 s, a machine that is 2 s late would find the lock free and do the
#       job again. Choose it longer than the clocks differ, and shorter than the time to the next run.
#   -l  The lease (60, at least 6): for so long at most a dead machine keeps the others out. Renewed while the command runs.
#   -w  Wait in line for so long. Without it a busy lock means that another machine does the job.
#
# The server is that of REDIS_URL (redis://127.0.0.1:6379); a password goes into REDISCLI_AUTH. The command finds LOCK_FENCE
# in its environment: the number by which the resource can tell a stale holder.
#
# Exit status: the command's; 0 also if the lock was busy without -w;
#   64  wrong usage
#   69  the server gave no answer, or an error: the command did not run
#   75  the wait ran out: the command did not run
#   76  the lock was lost, and the command stopped if it was still running
set -euo pipefail

usage() {
    sed -n 's/^#   cron-once/usage: cron-once/p' "$0" >&2
    exit 64
}

lease_s=60 wait_s=0 keep_s=''
while getopts l:m:w: option; do
    case $option in
        l) lease_s=$OPTARG ;;
        m) keep_s=$OPTARG ;;
        w) wait_s=$OPTARG ;;
        *) usage ;;
    esac
done
shift $((OPTIND - 1))
[[ $# -ge 2 && "$lease_s $wait_s ${keep_s:-0}" =~ ^[1-9][0-9]*(' '(0|[1-9][0-9]*)){2}$ ]] || usage
((lease_s >= 6)) || usage
if [[ -z $keep_s ]]; then keep_s=$((wait_s > 0 ? 0 : 30)); fi
lock=$1
shift

# An owner of its own for each run. Host and process are for whoever looks at LOCK.INFO. With `*`, where the server makes
# the owner, nobody could release the hold after a lost answer: the job would wait for a lease.
owner=$HOSTNAME:$$:$(od -An -N8 -tx8 /dev/urandom | tr -d ' ')

say() { echo "cron-once: $lock: $1" >&2; }

# fail <status> <why>
fail() {
    say "$2"
    exit "$1"
}

# ask <seconds> <command> [argument ...]: what the server answers; null is an empty line, an error (-e) a failure.
# redis-cli has no read time-out that could cut a BLOCK short, so it would also wait for a silent server for ever.
ask() { timeout --foreground "$1" redis-cli -e -u "${REDIS_URL:-redis://127.0.0.1:6379}" "${@:2}"; }

now_ms() { echo $((${EPOCHREALTIME/[.,]/} / 1000)); }

child=''       # what we wait for: the request, then the command
renewal=''     # the loop that renews the lease
signal=''      # what ended us
lost=''        # the hold was lost
interrupted='' # a signal came while we waited

# Passes a signal on to the child and all that it started.
# shellcheck disable=SC2317,SC2329 # The traps call it.
pass_on() {
    signal=$1 interrupted=yes
    if [[ -n $child ]]; then kill -s "$1" -- "-$child" 2>/dev/null || kill -s "$1" "$child" 2>/dev/null || true; fi
}
trap 'pass_on HUP' HUP
trap 'pass_on INT' INT
trap 'pass_on TERM' TERM
trap 'lost=yes interrupted=yes' USR1

# The child's exit status. A signal ends `wait`, but not always the child, and the lock is kept for as long as it runs.
await_child() {
    local status
    while :; do
        interrupted='' status=0
        wait "$child" 2>/dev/null || status=$?
        if [[ -z $interrupted ]]; then return "$status"; fi
    done
}

# Withdraws the request, or ends the hold, on every way out that does not do so by itself.
# shellcheck disable=SC2317,SC2329 # The trap calls it.
finish() {
    stop_renewing
    ask 5 LOCK.RELEASE "$lock" "$owner" >/dev/null 2>&1 || true
}
trap finish EXIT

# Sets `fence`, to nothing if the lock was busy. Not in $(...), which would keep signals waiting as long as the lock does.
acquire() {
    local block=()
    if ((wait_s > 0)); then block=(BLOCK "$((wait_s * 1000))"); fi
    exec 3< <(ask "$((wait_s + 5))" LOCK.ACQUIRE "$lock" "$owner" EX "$lease_s" "${block[@]}")
    child=$!
    await_child || return
    read -r fence <&3
    exec 3<&-
}

# Renews the lease until it is killed. Stops the command when the hold is lost or cannot be known to last: no answer twice
# in a row, which is after 5/6 of the lease; or when this script was killed and nobody is left to release the lock.
renew() {
    local extended misses=0
    trap - EXIT HUP INT TERM USR1
    while sleep $((lease_s / 4)) && kill -0 $$ 2>/dev/null; do
        if extended=$(ask $((lease_s / 6)) LOCK.EXTEND "$lock" "$owner" EX "$lease_s"); then
            [[ $extended == 1 ]] || break
            misses=0
        else
            ((++misses < 2)) || break
        fi
    done
    kill -s USR1 $$ 2>/dev/null || true
    kill -s TERM -- "-$child" 2>/dev/null || true
    sleep 5
    kill -s KILL -- "-$child" 2>/dev/null || true
}

stop_renewing() {
    if [[ -z $renewal ]]; then return; fi
    kill -- "-$renewal" 2>/dev/null || true
    wait "$renewal" 2>/dev/null || true
    renewal=''
}

# Ends the hold. Until the minimum is over nobody is granted the lock. Prints 0 if the hold had ended before.
end_hold() {
    local cool=() left_ms=$((granted_ms + keep_s * 1000 - $(now_ms)))
    if ((left_ms > 0)); then cool=(COOL "$left_ms"); fi
    ask 5 LOCK.RELEASE "$lock" "$owner" "${cool[@]}"
}

set -m # Each job gets a process group, so that a command is stopped together with all that it started.

fence=''
if ! acquire; then
    if [[ -n $signal ]]; then exit $((128 + $(kill -l "$signal"))); fi
    fail 69 'the server gave no answer, or an error: the command did not run'
fi
if [[ -z $fence ]]; then
    trap - EXIT
    if ((wait_s == 0)); then exit 0; fi
    fail 75 "busy for $wait_s s: the command did not run"
fi
granted_ms=$(now_ms)

LOCK_FENCE=$fence "$@" &
child=$!
renew &
renewal=$!
status=0
await_child || status=$?
stop_renewing

if [[ -n $lost ]]; then
    kill -s KILL -- "-$child" 2>/dev/null || true # What the command left running.
else
    trap - EXIT
    ended=$(end_hold) || say 'the release was not answered; the lease ends the hold'
    if [[ ${ended:-} != 0 ]]; then exit "$status"; fi
fi
fail 76 'the lock was lost before the command had ended'
