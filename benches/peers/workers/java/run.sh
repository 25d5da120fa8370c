#!/usr/bin/env bash
# Runs the worker that build.sh made:  run.sh <dir> <job in JSON | peers>
set -euo pipefail

[[ $# -ge 2 ]] || { echo 'usage: run.sh <dir> <job in JSON | peers>' >&2; exit 2; }
dir=$1
shift
exec java -jar "$dir/worker.jar" "$@"
