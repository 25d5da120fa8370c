#!/usr/bin/env bash
# Runs the worker:  run.sh <dir of build.sh> <job in JSON | peers>
set -euo pipefail

[[ $# -ge 2 ]] || { echo 'usage: run.sh <dir> <job in JSON | peers>' >&2; exit 2; }
dir=$1
shift
export PYTHONDONTWRITEBYTECODE=1
exec "$dir/venv/bin/python" "$(dirname "$0")/worker.py" "$@"
