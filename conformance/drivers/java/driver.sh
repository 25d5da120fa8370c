#!/usr/bin/env bash
# Runs the driver that build.sh compiled:  driver.sh lettuce | jedis | fake
set -euo pipefail
built=$(cd "$(dirname "$0")/../../.." && pwd)/target/clients/java/redis-lock-driver
exec java -XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Xshare:auto -cp "$built/classes:$(cat "$built/classpath")" \
    redislock.driver.Main "$@"
