#!/usr/bin/env bash
# Runs the conformance scenarios of the clients:  tools/conformance.sh [option of the runner ...]
#
#   CLIENT='rust python-asyncio'   only these clients or groups of conformance/clients.toml
#   SERVER='redis-server <path>'   on these servers, one after the other
#   ONLY=<text>                    only scenarios whose name or file contains this text
#   QUICK=1                        only the quick part
#   FAULTS=1                       with each planted fault: fails if the suite does not notice it
#   JOBS=4                         so many scenarios at the same time
#   TABLE=docs/conformance.md      writes the table of scenarios by clients and servers
#
# The module is the one that REDIS_LOCK_MODULE names, or target/release/libredis_lock.so, which the runner builds.
set -euo pipefail
cd "$(dirname "$0")/.."
# conformance/clients.toml names drivers that are built there.
export CARGO_TARGET_DIR=$PWD/target

options=()
for name in ${CLIENT:-}; do options+=(--client "$name"); done
for path in ${SERVER:-}; do options+=(--server "$path"); done
[[ -z ${ONLY:-} ]] || options+=(--only "$ONLY")
[[ -z ${QUICK:-} ]] || options+=(--quick)
[[ -z ${FAULTS:-} ]] || options+=(--faults)
[[ -z ${JOBS:-} ]] || options+=(--jobs "$JOBS")
[[ -z ${TABLE:-} ]] || options+=(--table "$TABLE")

exec cargo run --quiet --locked -p redis-lock-conformance -- "${options[@]}" "$@"
