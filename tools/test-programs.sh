#!/usr/bin/env bash
# Builds the black-box tests (tests/*.rs) and prints the path of each program.
#
#   tools/test-programs.sh            all of them
#   tools/test-programs.sh soak acl   these files of tests only
set -euo pipefail
cd "$(dirname "$0")/.."

which=()
for name in "${@:-*}"; do which+=(--test "$name"); done
cargo test --locked --no-run "${which[@]}" --message-format json-render-diagnostics |
    sed -n 's/.*"executable":"\([^"]*\)".*/\1/p' | sort
