#!/usr/bin/env bash
# Tests the upgrade from an older module, and the way back:
#   tools/upgrade.sh [commit]     default: the last commit whose stored form is version 1
set -euo pipefail
cd "$(dirname "$0")/.."

commit=${1:-206d4e3}
tree=$PWD/target/upgrade/tree
built=$PWD/target/upgrade/built

if ! git cat-file -e "$commit^{commit}" 2>/dev/null; then
    echo "upgrade: there is no commit $commit in this clone. Fetch the whole history: git fetch --unshallow" >&2
    exit 1
fi
rm -rf "$tree"
mkdir -p "$tree"
git archive "$commit" | tar -x -C "$tree"
CARGO_TARGET_DIR=$built cargo build --quiet --release --locked --manifest-path "$tree/Cargo.toml"
export REDIS_LOCK_OLD_MODULE=$built/release/libredis_lock.so
cargo test --locked --test persistence upgrade:: -- --include-ignored
