#!/usr/bin/env bash
# Tests the examples on the server of REDIS_URL. From the root of the repository:  tools/with-server.sh examples/node/test.sh
#
# They are copied to EXAMPLES_DIR (target/examples/node) and use the package as it would be published, so that npm installs
# nothing beside their sources.
set -euo pipefail

source=$(cd "$(dirname "$0")" && pwd)
package=$source/../../clients/node
copy=${EXAMPLES_DIR:-$source/../../target/examples/node}
mkdir -p "$copy"
copy=$(cd "$copy" && pwd)

# Installing once is enough for one lock file.
install() {
    if cmp -s package-lock.json node_modules/.installed; then return; fi
    npm ci --no-audit --no-fund
    cp package-lock.json node_modules/.installed
}

(cd "$package" && install && npm run --silent build)
packed=$(cd "$package" && npm pack --silent --ignore-scripts --pack-destination "$copy" | tail -n 1)
mv "$copy/$packed" "$copy/../redis-lock-client.tgz"

find "$copy" -mindepth 1 -maxdepth 1 ! -name node_modules -exec rm -rf {} +
cp -R "$source/." "$copy"
cd "$copy"
install

# What npm does with a tarball that has no dependencies.
rm -rf node_modules/redis-lock-client
mkdir -p node_modules/redis-lock-client
tar -xzf ../redis-lock-client.tgz -C node_modules/redis-lock-client --strip-components 1

node --test --test-reporter=spec test/*.test.mjs
