#!/usr/bin/env bash
# The fuzz targets, see docs/testing.md: `make fuzz SECONDS=60`, or one of these by hand:
#   tools/fuzz.sh run <seconds> [target ...]    each target in turn, from its kept inputs
#   tools/fuzz.sh build [target ...]            only builds
#   tools/fuzz.sh try <target> [option ...]     one target as it was built, with options of libFuzzer
#   tools/fuzz.sh cover                         the lines of the module that the kept inputs reach
#   tools/fuzz.sh keep [target ...]             the fewest inputs that reach what was reached so far become the kept ones
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD

all=(arguments stored effects engine rules)
# The faults of tools/fuzz-faults.sh have a copy of the sources, and another place for what is built of it.
sources=${FUZZ_SOURCES:-$root}
built=${FUZZ_BUILT:-$root/target/fuzz}

# An allocation that is out of proportion, or an input that takes seconds, is a finding like a crash.
limits=(-rss_limit_mb=1024 -malloc_limit_mb=32 -timeout=20)

# The same flags as cargo-fuzz gives, so that nothing need be installed for them: edges, comparisons, address sanitizer.
flags() {
    printf '%s ' -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
        -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
        -Cllvm-args=-sanitizer-coverage-trace-compares -Cllvm-args=-simplifycfg-branch-fold-threshold=0 \
        -Zsanitizer=address
}

host=$(rustc -vV | sed -n 's/^host: //p')

# build [target ...]
build() {
    local target targets=()
    for target in "$@"; do targets+=(--bin "$target"); done
    # Sanitizers are not stable yet; the stable compiler has them all the same.
    RUSTC_BOOTSTRAP=1 RUSTFLAGS=$(flags) cargo build --release --locked --quiet --target "$host" \
        --target-dir "$built" --manifest-path "$sources/fuzz/Cargo.toml" "${targets[@]}"
}

# What an event costs grows with the story before it: the two that tell stories get shorter ones.
length() {
    case $1 in
        engine) echo 512 ;;
        rules) echo 256 ;;
        *) echo 2048 ;;
    esac
}

# fuzz <target> <libFuzzer option or folder ...>
fuzz() {
    local target=$1
    shift
    "$built/$host/release/$target" "${limits[@]}" -max_len="$(length "$target")" "$@"
}

run() {
    local seconds=$1 target found artifacts
    shift
    for target in "${@:-${all[@]}}"; do
        found=$built/corpus/$target artifacts=$built/artifacts/$target/
        mkdir -p "$found" "$artifacts"
        printf '=== %s for %s s\n' "$target" "$seconds"
        fuzz "$target" -max_total_time="$seconds" -print_final_stats=1 -artifact_prefix="$artifacts" \
            "$found" "fuzz/corpus/$target"
    done
}

# Edges alone count here, not how often each was passed: that keeps a hundred inputs a target, not thousands.
keep() {
    local target kept all_found
    for target in "${@:-${all[@]}}"; do
        # A copy: a fuzzer that still runs takes files away.
        all_found=$(mktemp -d) kept=$(mktemp -d)
        find "fuzz/corpus/$target" "$built/corpus/$target" -type f -exec cp -t "$all_found" {} + || true
        fuzz "$target" -use_counters=0 -set_cover_merge=1 "$kept" "$all_found"
        rm -rf "$all_found" "fuzz/corpus/$target"
        mv "$kept" "fuzz/corpus/$target"
        chmod 755 "fuzz/corpus/$target"
    done
}

# What the kept inputs of each target reach of the module: lines, by folder.
cover() {
    local place=$root/target/fuzz-cover target tools program
    tools=$(rustc --print sysroot)/lib/rustlib/$host/bin
    [[ -x $tools/llvm-cov ]] || { echo 'missing: rustup component add llvm-tools' >&2; exit 2; }
    RUSTFLAGS=-Cinstrument-coverage cargo build --release --locked --quiet --target "$host" --target-dir "$place" \
        --manifest-path fuzz/Cargo.toml
    printf '| target | src/wire | src/lock | src/engine |\n|---|---|---|---|\n'
    for target in "${all[@]}"; do
        program=$place/$host/release/$target
        LLVM_PROFILE_FILE=$place/$target.profraw "$program" "fuzz/corpus/$target"/* 2>"$place/$target.log"
        "$tools/llvm-profdata" merge -o "$place/$target.profdata" "$place/$target.profraw"
        # By file: $place/$target.txt. The tests' worlds do not count.
        "$tools/llvm-cov" report "$program" -instr-profile="$place/$target.profdata" \
            -show-region-summary=false -show-branch-summary=false \
            -ignore-filename-regex='registry|/rustc/|/tests/|/src/fuzz/|fuzz/src/[a-z]+\.rs|fuzz_targets' \
            >"$place/$target.txt"
        awk -v target="$target" '
            match($1, /(wire|lock|engine)\//) {
                folder = substr($1, RSTART, RLENGTH - 1)
                lines[folder] += $5; missed[folder] += $6
            }
            function share(folder) {
                return sprintf("%d of %d", lines[folder] - missed[folder], lines[folder])
            }
            END { printf "| `%s` | %s | %s | %s |\n", target, share("wire"), share("lock"), share("engine") }
        ' "$place/$target.txt"
    done
}

usage() {
    sed -n '3,7p' "$0" >&2
    exit 2
}

(($# > 0)) || usage
what=$1
shift
case $what in
    build) build "$@" ;;
    try) (($# > 0)) || usage; fuzz "$@" ;;
    run) [[ ${1:-} =~ ^[0-9]+$ ]] || usage; build "${@:2}"; run "$@" ;;
    keep) build "$@"; keep "$@" ;;
    cover) cover "$@" ;;
    *) usage ;;
esac
