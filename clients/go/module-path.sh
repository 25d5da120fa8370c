#!/usr/bin/env bash
# Changes the path of the Go modules of this repository:  clients/go/module-path.sh <new path>
#
# The path of the client's module is that of the line `module` in clients/go/go.mod. The other modules follow it.
set -euo pipefail
cd "$(dirname "$0")/../.."
[[ $# == 1 && $1 != */ ]] || { echo "usage: $0 <path of the repository, such as github.com/owner/redis-lock>" >&2; exit 2; }
old=$(sed -n 's#^module \(.*\)/clients/go$#\1#p' clients/go/go.mod)
[[ -n $old ]] || { echo "clients/go/go.mod has no module path that ends with /clients/go" >&2; exit 1; }
grep -rlF --include='*.go' --include=go.mod --include='*.md' "$old/" \
    clients/go examples/go conformance/drivers/go benches/peers/workers/go docs/clients | while read -r file; do
    sed -i "s#${old//./\\.}/#$1/#g" "$file"
done
gofmt -w clients/go examples/go conformance/drivers/go benches/peers/workers/go
echo "$old is $1 now"
