#!/usr/bin/env bash
# Plants the faults of fuzz/faults, one at a time and in a copy of the sources, and says how fast the fuzzer finds each:
#   tools/fuzz-faults.sh [seconds] [fault ...]     at most so long (60) for each; default: all faults
# A fault is named <target>-<what>.patch. Twice each: from the kept inputs, and from nothing.
# Fails if one is not found from the kept inputs.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD

seconds=60
if [[ ${1:-} =~ ^[0-9]+$ ]]; then
    seconds=$1
    shift
fi
if (($# == 0)); then
    set -- fuzz/faults/*.patch
fi

tree=$root/target/fuzz-faults/tree
artifacts=$(mktemp -d)
trap 'rm -rf "$artifacts"' EXIT

# A copy of the sources with the fault in it.
plant() {
    rm -rf "$tree"
    mkdir -p "$tree/fuzz"
    cp -a src "$tree/"
    cp -a fuzz/Cargo.* fuzz/build.rs fuzz/src fuzz/fuzz_targets "$tree/fuzz/"
    patch --quiet --directory="$tree" --strip=1 <"$1"
}

# hunt <target> [folder ...]: how long until it is found, and what is said then.
hunt() {
    local target=$1 start log=$artifacts/log
    shift
    start=$(date +%s%N)
    # A crash ends it with an error: that is what is waited for.
    if FUZZ_BUILT=$root/target/fuzz-faults tools/fuzz.sh try "$target" -max_total_time="$seconds" -seed=1 \
        -artifact_prefix="$artifacts/" "$@" >"$log" 2>&1; then
        printf -- '- |'
        return 1
    fi
    local ms=$((($(date +%s%N) - start) / 1000000))
    printf '%d.%d s |' $((ms / 1000)) $((ms % 1000 / 100))
    tail -n 400 "$log" >"$artifacts/found"
}

missed=0
printf '| fault | target | from the kept inputs | from nothing | found as |\n|---|---|---|---|---|\n'
for fault in "$@"; do
    target=$(basename "$fault")
    target=${target%%-*}
    plant "$fault"
    FUZZ_SOURCES=$tree FUZZ_BUILT=$root/target/fuzz-faults tools/fuzz.sh build "$target"
    printf '| %s | %s | ' "$(head -n 1 "$fault")" "$target"
    : >"$artifacts/found"
    hunt "$target" "fuzz/corpus/$target" || missed=$((missed + 1))
    cp "$artifacts/found" "$artifacts/said"
    printf ' '
    hunt "$target" || true
    # The message stands in the line behind "panicked at", else the sanitizer or libFuzzer says it.
    said=$(grep -a -m 1 -A 1 'panicked at' "$artifacts/said" | tail -n 1 | cut -c 1-90 | tr '|`' '/ ') || true
    [[ -n $said ]] || said=$(grep -a -m 1 -o 'ERROR: .*' "$artifacts/said" | cut -c 1-90) || said=''
    printf ' %s |\n' "$said"
done
((missed == 0)) || { echo "$missed not found" >&2; exit 1; }
