#!/usr/bin/env bash
# Installs the worker into a directory:  build.sh <dir>  copies the sources there, and npm their libraries.
set -euo pipefail

[[ $# -eq 1 ]] || { echo 'usage: build.sh <dir>' >&2; exit 2; }
mkdir -p "$1"
dir=$(cd "$1" && pwd)
cd "$(dirname "$0")"

# Node looks for libraries beside the sources, and none may be installed there.
cp -- *.mjs package.json package-lock.json .npmrc "$dir"

# Installing once is enough for one lock file.
cd "$dir"
if ! cmp --silent package-lock.json node_modules/.installed; then
    npm ci --no-audit --no-fund >&2
    cp package-lock.json node_modules/.installed
fi
