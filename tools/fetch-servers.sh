#!/usr/bin/env bash
# Unpacks newer Redis and Valkey servers into target/servers, for tests; installs nothing and needs no root.
#
# They come from Debian's newer suites by the mirror that this system's apt already uses (DEBIAN_MIRROR=<URI>
# names another), checked against Debian's keys. Each runs with its own C library, so the age of this system
# does not matter. What is there already is left as it is; remove target/servers to get newer versions.
#
# `fetch-servers.sh names` only prints the names that there are. `fetch-servers.sh source <name>` unpacks the source of a
# server, as its authors released it, into target/servers/<name>/source.
#
# Result: target/servers/<name>/bin/*-server and *-cli, and target/servers/list.tsv with one line a server:
# name, path of the server, version it reports.
set -euo pipefail
cd "$(dirname "$0")/.."

# name, package, suites to draw libraries from (the newest last)
catalogue='
redis-trixie              redis-tools   trixie
redis-sid                 redis-tools   sid
valkey-bookworm-backports valkey-tools  bookworm bookworm-backports
valkey-trixie             valkey-tools  trixie
valkey-sid                valkey-tools  sid
'

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

# Unpacks a package and the libraries it needs: unpack <package> <folder> <apt.conf>
unpack() {
    local package=$1 into=$2 conf=$3 deb
    local -a needed
    mkdir -p "$into/debs"
    mapfile -t needed < <(apt-get -c "$conf" -s --no-install-recommends install "$package" |
        awk -v package="$package" '$1 == "Inst" && ($2 ~ /^(lib|zlib)/ || $2 == package) { print $2 }')
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

# Starts the server for a moment: does it answer?
answers() {
    local folder=$1 kind=$2 answer='' _
    local socket=$sockets/s
    "$folder/bin/$kind-server" --port 0 --unixsocket "$socket" --save '' --dir "$sockets" >"$sockets/log" 2>&1 &
    server_pid=$!
    for _ in {1..100}; do
        answer=$("$folder/bin/$kind-cli" -s "$socket" PING 2>/dev/null) && [[ $answer == PONG ]] && break
        kill -0 "$server_pid" 2>/dev/null || break
        sleep 0.05
    done
    kill "$server_pid" 2>/dev/null || true
    wait "$server_pid" || true
    server_pid=
    [[ $answer == PONG ]] || { cat "$sockets/log" >&2 && return 1; }
}

# fetch_source <name>
fetch_source() {
    local name=$1 package suites conf
    local into=$servers/$name/source
    [[ ! -d $into ]] || return 0
    read -r package suites < <(awk -v name="$name" '$1 == name { $1 = ""; print }' <<<"$catalogue")
    # shellcheck disable=SC2086  # suites are words
    conf=$(private_apt $suites) || return 1
    (cd "$work" && apt-get -c "$conf" -qq source --download-only "${package%-tools}" &&
        dpkg-source --skip-patches -x ./*.dsc source) >"$work/source.log" 2>&1 || { tail -n 5 "$work/source.log" >&2 && return 1; }
    mkdir -p "$servers/$name"
    mv "$work/source" "$into"
}

# fetch <name> <package> <suite>...
fetch() {
    local name=$1 package=$2 conf
    local kind=${package%-tools} folder=$work/$name
    shift 2
    [[ -n $mirror && -n $keys ]] || return 1
    if ! conf=$(private_apt "$@"); then
        warn "$name: $* cannot be read from $mirror"
        grep -m 2 '^[EW]:' "$(dirname "$conf")/log" >&2
        return 1
    fi
    if ! unpack "$package" "$folder" "$conf"; then
        warn "$name: no $package for this system in $*, or its download failed"
        return 1
    fi
    # The server is redis-check-rdb under another name: it looks at what it is called.
    if ! { wrap "$folder" "$kind-server" "$kind-check-rdb" && wrap "$folder" "$kind-cli" "$kind-cli"; } ||
        ! answers "$folder" "$kind"; then
        warn "$name: was unpacked but does not run here"
        return 1
    fi
    rm -rf "${servers:?}/$name"
    mv "$folder" "$servers/$name"
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
    server=$servers/$name/bin/${package%-tools}-server
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
