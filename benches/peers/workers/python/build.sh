#!/usr/bin/env bash
# Installs the worker's libraries into a directory:  build.sh <dir>  makes <dir>/venv.
set -euo pipefail

[[ $# -eq 1 ]] || { echo 'usage: build.sh <dir>' >&2; exit 2; }
mkdir -p "$1"
dir=$(cd "$1" && pwd)
here=$(cd "$(dirname "$0")" && pwd)

# What is installed already is left as it is, so only the first run needs the network.
if ! cmp --silent "$here/requirements.txt" "$dir/venv/installed"; then
    python3 -m venv --clear "$dir/venv"
    "$dir/venv/bin/pip" install --quiet --disable-pip-version-check --requirement "$here/requirements.txt" >&2
    cp "$here/requirements.txt" "$dir/venv/installed"
fi
