#!/usr/bin/env bash
# Tests the Java client against servers that the tests start themselves:
#     clients/java/test.sh          with the oldest versions of Jedis, Lettuce and Spring that it supports, and the newest
#     clients/java/test.sh quick    with the oldest only, for CI
#     clients/java/test.sh docs     checks the Javadoc
#     clients/java/test.sh package  makes the jars
# Further arguments go to Maven.
#
# REDIS_LOCK_MODULE=<file> names another module than target/release/libredis_lock.so, REDIS_SERVER=<program> another
# server than redis-server. What is built goes to target/clients/java.
set -euo pipefail
cd "$(dirname "$0")"
export REDIS_LOCK_MODULE=${REDIS_LOCK_MODULE:-$(cd ../.. && pwd)/target/release/libredis_lock.so}
what=${1:-all}
[[ $# -eq 0 ]] || shift

# Of Maven only warnings and errors are shown, of its test runner also what it counted.
log=org.slf4j.simpleLogger
maven() {
    mvn -B -ntp -D$log.defaultLogLevel=warn -D$log.log.org.apache.maven.plugin.surefire=info "$@"
}

need_module() {
    if [[ ! -f $REDIS_LOCK_MODULE ]]; then
        echo "test.sh: there is no $REDIS_LOCK_MODULE: 'make build' makes it" >&2
        exit 1
    fi
}

case $what in
quick)
    need_module
    maven test "$@"
    ;;
all)
    need_module
    maven test "$@"
    # What was compiled with the oldest versions must run with others, as it does in applications.
    maven test -Dmaven.main.skip=true -Djedis.version=6.2.0 -Dlettuce.version=6.8.1.RELEASE \
        -pl core,testing,lettuce,jedis,tests "$@"
    maven test -Dmaven.main.skip=true -Djedis.version=8.0.2 -Dlettuce.version=7.7.0.RELEASE \
        -Dspring-integration.version=7.0.5 -Dspring-boot.version=4.0.7 "$@"
    ;;
docs)
    maven -DskipTests compile javadoc:javadoc -pl core,testing,lettuce,jedis,micrometer,spring/integration,spring/boot "$@"
    ;;
package)
    maven -DskipTests package source:jar-no-fork "$@"
    ;;
*)
    echo "usage: test.sh [quick | all | docs | package] [argument for mvn ...]" >&2
    exit 2
    ;;
esac
