#!/usr/bin/env bash
# Builds the black-box test programs (tests/<subject>/ and tests/*.rs) and prints the path of each.
#
#   tools/test-programs.sh              all programs
#   tools/test-programs.sh soak keys    only these
#   tools/test-programs.sh --names      the names of all programs; builds nothing
set -euo pipefail
cd "$(dirname "$0")/.."

# shellcheck source=tools/test-report.sh
. tools/test-report.sh

if [[ ${1:-} == --names ]]; then
    printf '%s\n' tests/*.rs tests/*/main.rs | sed -e 's|^tests/||' -e 's|\.rs$||' -e 's|/main$||' | sort
    exit
fi
which=()
for name in "${@:-*}"; do which+=(--test "$name"); done
programs_of "${which[@]}" | cut -f 3 | sort
