# shellcheck shell=bash
# From a fresh machine to firewalls with agents and traffic. Sourced by deploy/demo/play.sh.

# Programs and the Debian packages that have them.
readonly PROGRAMS=(
    conntrack:conntrack nft:nftables ip:iproute2 ping:iputils-ping python3:python3
    cc:gcc cc:libc6-dev
)
readonly FIREWALLS=(1 2 3)
readonly TRAFFIC=deploy/demo/traffic.py

missing_packages() {
    local entry
    for entry in "${PROGRAMS[@]}"; do
        command -v "${entry%%:*}" >/dev/null || echo "${entry#*:}"
    done
}

install_packages() {
    local missing
    mapfile -t missing < <(missing_packages)
    if ((${#missing[@]} == 0)); then
        checked "conntrack(8), nft, ip, ping, python3 and a C compiler are there"
        return
    fi
    command -v apt-get >/dev/null ||
        fail "no apt-get here; install what has these Debian packages: ${missing[*]}"
    prompt "apt-get install -y ${missing[*]}"
    export DEBIAN_FRONTEND=noninteractive
    {
        apt-get -q update
        apt-get -q install -y --no-install-recommends "${missing[@]}"
    } >"$work/apt.log" 2>&1 </dev/null || fail "apt-get could not install them"
    mapfile -t missing < <(missing_packages)
    ((${#missing[@]} == 0)) || fail "still missing after the installation: ${missing[*]}"
    checked "installed"
}

# Sets bin, where the programs are.
build_binaries() {
    local profile=${DEMO_PROFILE:-release} flags=() as=()
    case $profile in
        release) flags=(--release) ;;
        debug) ;;
        *) fail "DEMO_PROFILE is release or debug, not $profile" ;;
    esac
    if [[ -n ${SUDO_USER-} && $SUDO_USER != root ]]; then
        # The toolchain and the checkout are the user's; a login shell finds rustup's cargo.
        as=(setpriv --reuid="$SUDO_USER" --regid="$(id -g "$SUDO_USER")" --init-groups
            env "HOME=$(getent passwd "$SUDO_USER" | cut -d: -f6)" "USER=$SUDO_USER"
            bash -lc 'exec "$@"' login)
    fi
    "${as[@]}" cargo --version >"$work/cargo.log" 2>&1 ||
        fail "there is no cargo here; install Rust from https://rustup.rs"
    prompt "$(command_line cargo build --locked "${flags[@]}" --bins)"
    "${as[@]}" cargo build --locked "${flags[@]}" --bins </dev/null || fail "the build failed"
    "${as[@]}" cargo metadata --locked --format-version 1 --no-deps >"$work/metadata.json" </dev/null ||
        fail "cargo does not say where it builds"
    bin=$(python3 -c 'import json, sys; print(json.load(sys.stdin)["target_directory"])' \
        <"$work/metadata.json")/$profile
    checked "$("$bin/ctagent" --version) and $("$bin/ctctl" --version) are in $bin"
}

make_stage() {
    local n
    make_namespace desk
    for n in "${FIREWALLS[@]}"; do
        make_firewall "$n"
    done
    make_certificates
    cat <<EOF
   client1 ── fw1 ── server1      clients: 10.0.N.2, fd00:N::2
   client2 ── fw2 ── server2      servers: 203.0.113.x, 2001:db8:N::2
   client3 ── fw3 ── server3      fwN masquerades, and forwards its port 8080 to the server
                └─ desk: ctctl runs here, and reaches the agents at 198.51.100.N
EOF
    for n in "${FIREWALLS[@]}"; do
        [[ $(at "fw$n" nft list ruleset) == *dnat*masquerade* ]] ||
            fail "fw$n does not translate addresses"
    done
    checked "10 network namespaces, veth pairs, nftables rules, certificates for mutual TLS"
}

# The process of each name that was started.
declare -A pid_of

# Starts a program in a namespace; what it says goes to $work/$1.log.
start() {
    local name=$1
    shift
    in_ns "$@" >"$work/$name.log" 2>&1 </dev/null &
    pid_of[$name]=$!
}

start_agents() {
    local n args targets=()
    for n in "${FIREWALLS[@]}"; do
        args=(--listen "$(management "$n"):7443" --listen "unix:$work/fw$n.sock"
            --tls-cert "$work/tls/fw$n.crt" --tls-key "$work/tls/fw$n.key"
            --tls-ca "$work/tls/ca.crt" --allow admin=cn:operator --other-namespaces)
        ((n > 1)) || prompt "$(command_line ctagent "${args[@]}")"
        start "ctagent$n" "fw$n" "$bin/ctagent" "${args[@]}"
        targets+=("fw$n=$(management "$n"):7443")
    done
    export CTCTL_TLS_CA=$work/tls/ca.crt
    export CTCTL_TLS_CERT=$work/tls/operator.crt CTCTL_TLS_KEY=$work/tls/operator.key
    CTCTL_TARGETS=$(IFS=, && echo "${targets[*]}")
    export CTCTL_TARGETS
    for n in "${FIREWALLS[@]}"; do
        until_true "ctagent on fw$n" is_ready "ctagent$n" 'agent: ready'
    done
    checked "an agent listens on each, over TCP with mutual TLS and on a unix socket"
    say "ctctl learns of them from its environment:"
    prompt "export CTCTL_TARGETS=$CTCTL_TARGETS"
    prompt "export CTCTL_TLS_CA=$CTCTL_TLS_CA CTCTL_TLS_CERT=... CTCTL_TLS_KEY=..."
}

# Whether a program has said a word, unless it has ended.
is_ready() {
    kill -0 "${pid_of[$1]}" 2>/dev/null || fail "$1 ended too early"
    has_lines "$work/$1.log" "$2" "${3:-1}"
}

# Kept TCP connections of the client of firewall $1 to its server, in each family.
connections() { echo "$(($1 + 1))"; }

# Flows that the traffic leaves in firewall $1, in both families: the connections; one to the
# forwarded port, one that ended, two exchanges over UDP, one datagram without an answer, FTP,
# a ping.
flows_of() { echo "$((2 * ($(connections "$1") + 7)))"; }

send_traffic() {
    local n family
    for n in "${FIREWALLS[@]}"; do
        start "server$n" "server$n" python3 "$TRAFFIC" server "$(server4 "$n")" "$(server6 "$n")"
    done
    for n in "${FIREWALLS[@]}"; do
        until_true "server$n" is_ready "server$n" ready
        start "client$n" "client$n" python3 "$TRAFFIC" client "$(server4 "$n")" "$(server6 "$n")" \
            "$(inside4 "$n")" "$(inside6 "$n")" "$(connections "$n")"
    done
    for n in "${FIREWALLS[@]}"; do
        until_true "client$n" is_ready "client$n" ready
        for family in 4 6; do
            at "client$n" ping -q -c 1 -w "$PATIENCE" "$("server$family" "$n")" >"$work/ping.log" 2>&1 ||
                fail "client$n cannot ping server$n over IPv$family"
        done
        until_true "the closed connections of fw$n" ended_connections "$n"
    done
    checked "sockets are open from every client through its firewall to its server"
    checked "the servers answer TCP, UDP, FTP and pings in both families"
}

ended_connections() { [[ $(witness_count "$1" -p tcp --state TIME_WAIT) == 2 ]]; }
