#!/usr/bin/env bash
# Runs the worker that build.sh installed:  run.sh <dir> <job in JSON | peers>
set -euo pipefail

[[ $# -ge 2 ]] || { echo 'usage: run.sh <dir> <job in JSON | peers>' >&2; exit 2; }
dir=$1
shift
exec node "$dir/worker.mjs" "$@"
