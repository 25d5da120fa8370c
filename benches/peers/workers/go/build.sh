#!/usr/bin/env bash
# Builds the worker:  build.sh <directory>. Downloads go into Go's own cache, the program into the directory.
set -euo pipefail
mkdir -p "$1"
dir=$(cd "$1" && pwd)
cd "$(dirname "$0")"
go build -mod=readonly -o "$dir/worker" .
