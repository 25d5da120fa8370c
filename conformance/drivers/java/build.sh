#!/usr/bin/env bash
# Compiles the client and its driver, and notes the classpath of the driver.
set -euo pipefail
cd "$(dirname "$0")/../../../clients/java"
exec mvn -q -B -ntp -P conformance -pl :redis-lock-driver -am process-classes "$@"
