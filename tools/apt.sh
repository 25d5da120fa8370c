# Sourced by the scripts that install Debian packages:  . tools/apt.sh <name of the script>

script_name=$1
# While this file exists Debian's packages start no service.
policy=/usr/sbin/policy-rc.d

say() { printf '%s: %s\n' "$script_name" "$*"; }

has() { command -v "$1" >/dev/null 2>&1; }

as_root() {
    if [[ $EUID -eq 0 ]]; then "$@"; else sudo "$@"; fi
}

may_become_root() {
    if [[ $EUID -eq 0 ]]; then return 0; fi
    if ! has sudo; then return 1; fi
    # Without a terminal sudo could only hang on its question.
    [[ -t 0 ]] || sudo -n true 2>/dev/null
}

# The developer asked for a server to try locks on, not for a service that takes its port at every boot.
hold_services_back() {
    if [[ -e $policy ]]; then return 0; fi
    trap 'as_root rm -f "$policy"' EXIT
    as_root tee "$policy" >/dev/null <<'POLICY'
#!/bin/sh
# Put here by redis-lock's tools for one run of apt-get. If you find it later, remove it.
exit 101
POLICY
    as_root chmod 755 "$policy"
}

# The service of a package that starts one; nothing for others.
service_of() {
    case $1 in
        redis-server) echo redis-server.service ;;
        etcd-server) echo etcd.service ;;
        postgresql) echo postgresql.service ;;
    esac
}

leave_services_off() {
    if [[ ! -d /run/systemd/system ]]; then return 0; fi
    local service
    for service in "$@"; do
        as_root systemctl disable --quiet "$service" || continue
        say "the system's own $service is installed but off; 'systemctl enable --now $service' turns it on"
    done
}

install_packages() {
    local package services=()
    say "installing: $*"
    as_root apt-get update -qq || say "apt-get update had errors; going on with the package lists that are there"
    for package in "$@"; do
        # shellcheck disable=SC2207
        services+=($(service_of "$package"))
    done
    if [[ ${#services[@]} -gt 0 ]]; then hold_services_back; fi
    as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -qq --no-install-recommends "$@" </dev/null
    if [[ ${#services[@]} -gt 0 ]]; then leave_services_off "${services[@]}"; fi
}
