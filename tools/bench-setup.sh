#!/usr/bin/env bash
# Installs what `make bench` compares redis-lock with: etcd, PostgreSQL, and the workers in benches/peers/workers. What is
# there already is not touched. Ends with 1 if something cannot be had; the benchmark leaves it out and says so.
set -euo pipefail
cd "$(dirname "$0")/.."

# shellcheck source=tools/apt.sh
. tools/apt.sh bench-setup

has_postgres() { has initdb || compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null; }

missing_packages() {
    has etcd || echo etcd-server
    has_postgres || echo postgresql
}

lacks=()
read -ra packages <<<"$(missing_packages | tr '\n' ' ')"
if [[ ${#packages[@]} -gt 0 ]]; then
    if has apt-get && may_become_root; then
        # Each for itself: one that this system does not have is no reason to do without the other.
        for package in "${packages[@]}"; do install_packages "$package" || true; done
        read -ra packages <<<"$(missing_packages | tr '\n' ' ')"
    fi
    lacks+=("${packages[@]}")
fi

for worker in benches/peers/workers/*/build.sh; do
    language=$(basename "$(dirname "$worker")")
    "$worker" "target/peers/$language" >&2 || lacks+=("the worker for $language")
done

if [[ ${#lacks[@]} -gt 0 ]]; then
    say "missing:$(printf ' %s,' "${lacks[@]}" | sed 's/,$//')"
    exit 1
fi
say 'ready'
