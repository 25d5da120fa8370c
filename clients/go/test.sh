#!/usr/bin/env bash
# Formatting, go vet, staticcheck (if it is installed), and the tests of the Go client and its adapters.
#
#   LONG=1                         the heavy tests too
#   GO_REDIS=v9.23.0               with this version of go-redis instead of the oldest one that is supported
#   REDIS_SERVER, REDIS_LOCK_MODULE   another server program, another module
set -euo pipefail
cd "$(dirname "$0")"
for module in . rueidis otel ../../conformance/drivers/go; do
    (
        cd "$module"
        test -z "$(gofmt -l . | tee /dev/stderr)"
        flags=()
        if [[ -n ${GO_REDIS:-} ]]; then
            cp go.mod newest.mod && cp go.sum newest.sum
            trap 'rm -f newest.mod newest.sum' EXIT
            flags=(-modfile=newest.mod)
            go get "${flags[@]}" "github.com/redis/go-redis/v9@$GO_REDIS"
        fi
        go vet "${flags[@]}" ./...
        go vet "${flags[@]}" -tags lock_faults ./...
        [[ -n ${GO_REDIS:-} ]] || ! command -v staticcheck >/dev/null || staticcheck ./...
        go test "${flags[@]}" -race -timeout 10m ./...
    )
done
