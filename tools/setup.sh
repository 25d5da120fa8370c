#!/usr/bin/env bash
# Installs what a build and a server need, and does nothing when it is all there.
#
#   tools/setup.sh          a C compiler, libclang and a Redis server
#   tools/setup.sh build    a C compiler and libclang
#
# With apt, as root or through sudo, it installs; elsewhere it says what to install and stops.
# REDIS_SERVER=<program>: use that server; none is installed then.
set -euo pipefail

# shellcheck source=tools/apt.sh
. "$(dirname "$0")/apt.sh" setup

die() {
    printf 'setup: %s\n' "$@" >&2
    exit 1
}

case ${1:-} in
    build) needs_server=false ;;
    '') needs_server=true ;;
    *) die "usage: tools/setup.sh [build]" ;;
esac

has_c_compiler() {
    has cc && echo '#include <stdio.h>' | cc -E - >/dev/null 2>&1
}

# bindgen, which reads redismodule.h at build time, needs the library and clang's own headers.
has_libclang() {
    if [[ -n ${LIBCLANG_PATH:-} ]]; then return 0; fi
    { compgen -G '/usr/lib/llvm-*/lib/libclang*.so*' || compgen -G '/usr/lib*/libclang*.so*' ||
        compgen -G '/usr/lib/*-linux-gnu/libclang*.so*'; } >/dev/null &&
        { compgen -G '/usr/lib/llvm-*/lib/clang/*/include/stddef.h' ||
            compgen -G '/usr/lib*/clang/*/include/stddef.h'; } >/dev/null
}

missing_packages() {
    has_c_compiler || echo gcc libc6-dev
    has_libclang || echo libclang-dev
    if [[ $needs_server == true && -z ${REDIS_SERVER:-} ]]; then
        has redis-server && has redis-cli || echo redis-server
    fi
}

has cargo || die "cargo is missing: install Rust by rustup (Cargo.toml names the oldest version that will do)."
if [[ $needs_server == true && -n ${REDIS_SERVER:-} ]]; then
    has "$REDIS_SERVER" || die "REDIS_SERVER=$REDIS_SERVER is not a program."
fi

read -ra packages <<<"$(missing_packages | tr '\n' ' ')"
if [[ ${#packages[@]} -gt 0 ]]; then
    if ! has apt-get; then
        die "missing, by the names of Debian's packages: ${packages[*]}" \
            "there is no apt-get here: install what your system calls them, then try again."
    fi
    if ! may_become_root; then
        die "missing: ${packages[*]}" \
            "install them as root, then try again:  apt-get install ${packages[*]}"
    fi
    install_packages "${packages[@]}"
    read -ra packages <<<"$(missing_packages | tr '\n' ' ')"
    [[ ${#packages[@]} -eq 0 ]] || die "still missing after the installation: ${packages[*]}"
fi

if [[ $needs_server == false ]]; then
    say "ready to build ($(cargo --version | cut -d' ' -f1,2))"
    exit
fi

server_version=$("${REDIS_SERVER:-redis-server}" --version | sed -n 's/.* v=\([^ ]*\).*/\1/p')
if [[ ${server_version%%.*} -lt 7 ]]; then
    die "${REDIS_SERVER:-redis-server} is version ${server_version:-unknown}; redis-lock needs Redis 7.0 or Valkey 8 or later." \
        "REDIS_SERVER=<path> chooses another one."
fi
say "ready (server $server_version, $(cargo --version | cut -d' ' -f1,2))"
