#!/usr/bin/env bash
# Tests the recipes on the server of REDIS_URL. From the root of the repository:  tools/with-server.sh examples/node/test.sh
#
# They are copied to EXAMPLES_DIR (target/examples/node), so that npm installs nothing beside the sources.
set -euo pipefail

source=$(cd "$(dirname "$0")" && pwd)
copy=${EXAMPLES_DIR:-$source/../../target/examples/node}
mkdir -p "$copy"
find "$copy" -mindepth 1 -maxdepth 1 ! -name node_modules -exec rm -rf {} +
cp -R "$source/." "$copy"
cd "$copy"

# Installing once is enough for one lock file.
installed=node_modules/.installed
if ! cmp -s package-lock.json "$installed"; then
    npm ci --no-audit --no-fund
    cp package-lock.json "$installed"
fi

node --test --test-reporter=spec test/*.test.mjs
