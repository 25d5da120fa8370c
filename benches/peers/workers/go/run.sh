#!/usr/bin/env bash
# Becomes the worker:  run.sh <directory of build.sh> peers|<job>
set -euo pipefail
exec "$1/worker" "${@:2}"
