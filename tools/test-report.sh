# shellcheck shell=bash
# Sourced by the scripts that build or run test programs: builds them, runs one program and notes what it reported. A script
# that runs programs sets `results`, an existing directory, and collects rows in two of its files:
#
#   failed, skipped    <program>::<test> <tab> <where it ran> <tab> <reason>

# programs_of <cargo arguments>...: builds test programs and prints the name, directory and path of each. Examples are built
# too, but are no tests. Cargo runs a test in the directory of its package.
programs_of() {
    cargo test --locked --no-run "$@" --message-format json-render-diagnostics | grep -v '"kind":\["example"\]' |
        sed -n 's|.*"manifest_path":"\([^"]*\)/Cargo.toml","target":{[^}]*"name":"\([^"]*\)".*"executable":"\([^"]*\)".*|\2\t\1\t\3|p'
}

# A program that takes longer is taken to hang.
program_limit_s=${program_limit_s:-600}

# outcomes <output>: the lines in which the program reports its tests. A failed test may print the output of another
# program behind 'failures:'.
outcomes() { sed -n -e '/^failures:$/q' -e '/^test .* \.\.\. /p' "$1"; }

# result <output>: the last line 'test result: ok. 15 passed; 0 failed; ...'.
result() { awk '/^test result: / { last = $0 } END { print last }' "$1"; }

# counted <what> <output>: the number of <what> in that line, or 0 if there is none.
counted() { result "$2" | awk -v what="$1;" '{ for (i = 2; i <= NF; i++) if ($i == what) n = $(i - 1) } END { print n + 0 }'; }

# run_program <name> <where> <log> <command>...: runs a test program, prints which tests it skipped, which failed, and its result,
# appends its output to <log>, and adds to the variables `passed`, `failed` and `skipped` of the caller.
run_program() {
    local name=$1 where=$2 log=$3 status=0 left_out
    local out=$results/running.out said=$results/running.said skips=$results/running.skips
    shift 3
    : >"$said"
    REDIS_LOCK_SKIPS=$said timeout --foreground --kill-after=10 "$program_limit_s" "$@" >"$out" 2>&1 || status=$?
    cat "$out" >>"$log"
    outcomes "$out" | sed -n 's/^test \(.*\) \.\.\. ignored\(.*\)/skipped: \1: marked as ignored\2/p' >>"$said"
    sort -u -k 2,2 "$said" >"$skips"
    left_out=$(wc -l <"$skips")
    cat "$skips"
    sed "s#^skipped: \([^ ]*\): \(.*\)#$name::\1\t$where\t\2#" "$skips" >>"$results/skipped"
    passed=$((passed + $(counted passed "$out") + $(counted ignored "$out") - left_out))
    failed=$((failed + $(counted failed "$out")))
    skipped=$((skipped + left_out))
    if [[ $status -ne 0 || -z $(result "$out") ]]; then
        outcomes "$out" | sed -n "s#^test \(.*\) \.\.\. FAILED\$#$name::\1\t$where\t#p" >>"$results/failed"
        if [[ $(result "$out") == 'test result: FAILED'* ]]; then
            sed -n '/^failures:$/,$p' "$out"
            return
        fi
        # It crashed or hung.
        tail -n 60 "$out"
        failed=$((failed + 1))
        printf '%s\t%s\t%s\n' "$name" "$where" "broke off with status $status" >>"$results/failed"
    fi
    result "$out"
}

# rows <file> <heading>: lists the tests in a file of rows.
rows() {
    [[ -s $1 ]] || return 0
    printf '\n%s\n' "$2"
    awk -F '\t' '{ printf "  %s%s%s\n", $1, $2 == "" ? "" : " on " $2, $3 == "" ? "" : ": " $3 }' "$1"
}
