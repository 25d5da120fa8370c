#!/usr/bin/env bash
# Tests the Java examples against the server at REDIS_URL, from anywhere:
#     tools/with-server.sh examples/java/test.sh [argument for mvn ...]
# What is built goes to EXAMPLES_DIR, else to target/examples/java of the repository.
set -euo pipefail
cd "$(dirname "$0")/../../clients/java"

if [[ -z ${REDIS_URL:-} ]]; then
    echo 'test.sh: REDIS_URL is not set. From the root of the repository: tools/with-server.sh examples/java/test.sh' >&2
    exit 1
fi

# Of Maven only warnings and errors are shown, of its test runner also what it counted.
log=org.slf4j.simpleLogger
exec mvn -B -ntp -P examples test -pl :redis-lock-examples -am -Dtest='example.*Test' \
    -Dsurefire.failIfNoSpecifiedTests=false -Dbuild.root="${EXAMPLES_DIR:-$(cd ../.. && pwd)/target/examples/java}" \
    -D$log.defaultLogLevel=warn -D$log.log.org.apache.maven.plugin.surefire=info "$@"
