#!/usr/bin/env bash
# Builds the worker into a directory:  build.sh <dir>  makes <dir>/worker.jar and <dir>/lib.
set -euo pipefail

[[ $# -eq 1 ]] || { echo 'usage: build.sh <dir>' >&2; exit 2; }
mkdir -p "$1"
dir=$(cd "$1" && pwd)
cd "$(dirname "$0")"

# What was built from the same sources is left as it is, so only the first run needs the network.
sources=$(find pom.xml src -type f -print0 | sort -z | xargs -0 sha256sum)
if [[ $(cat "$dir/built" 2>/dev/null) != "$sources" ]]; then
    # A library or a class of older sources must not stay on the class path.
    rm -rf "$dir/built" "$dir/lib" "$dir/classes"
    mvn -B -ntp -q -DbuildDirectory="$dir" package >&2
    echo "$sources" > "$dir/built"
fi
