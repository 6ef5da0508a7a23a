# shellcheck shell=bash
# What the demo stands on: its network namespaces, its addresses, its certificates. Sourced by
# deploy/demo/play.sh.

# Nothing here takes longer than this, in seconds.
readonly PATIENCE=60

# Calls a command until it succeeds; gives up after PATIENCE seconds.
until_true() {
    local what=$1 deadline=$((SECONDS + PATIENCE))
    shift
    until "$@"; do
        ((SECONDS < deadline)) || fail "gave up after $PATIENCE s: $what"
        sleep 0.02
    done
}

# Whether a file has at least so many lines like this.
has_lines() {
    local file=$1 pattern=$2 least=$3 count
    count=$(grep -cE -- "$pattern" "$file" 2>/dev/null) || true
    ((${count:-0} >= least))
}

# The namespace with this part in the play: fw1, client1, server1, desk, ...
ns() { printf '%s-%s\n' "$NAME" "$1"; }

# Runs a program inside: the pid stays the same, so that $! is the program's.
in_ns() {
    local part=$1
    shift
    exec ip netns exec "$NAME-$part" "$@"
}

# As in_ns, and comes back.
at() { (in_ns "$@"); }

set_sysctl() { at "$1" sh -c "echo $3 >/proc/sys/$2"; }

make_namespace() {
    # Before it is made, so that it is not forgotten whatever happens.
    echo "$NAME-$1" >>"$work/namespaces"
    ip netns add "$NAME-$1"
    ip -n "$NAME-$1" link set lo up
}

# join PART LINK ADDRESSES PART LINK ADDRESSES: a veth pair between two namespaces; the
# addresses are what `ip address add` takes, separated by commas.
join() {
    ip -n "$NAME-$1" link add "$2" type veth peer name "$5" netns "$NAME-$4"
    local part link addresses address
    while (($#)); do
        part=$1 link=$2
        IFS=, read -ra addresses <<<"$3"
        shift 3
        # Looking for duplicates would keep IPv6 addresses unusable for a second or two.
        set_sysctl "$part" "net/ipv6/conf/$link/accept_dad" 0
        for address in "${addresses[@]}"; do
            # shellcheck disable=SC2086 # an address with its peer is several words
            ip -n "$NAME-$part" address add $address dev "$link"
        done
        ip -n "$NAME-$part" link set "$link" up
    done
}

link_is_usable() {
    [[ $(ip -n "$NAME-$1" link show "$2") == *'state UP'* ]] &&
        [[ -z $(ip -n "$NAME-$1" -6 address show dev "$2" tentative) ]]
}

# A client, a firewall and a server in a row, and a link to the desk that ctctl runs at.
make_firewall() {
    local n=$1 part
    for part in "fw$n" "client$n" "server$n"; do
        make_namespace "$part"
    done
    set_sysctl "fw$n" net/ipv4/ip_forward 1
    set_sysctl "fw$n" net/ipv6/conf/all/forwarding 1
    join "client$n" uplink "$(client4 "$n")/24,$(client6 "$n")/64" \
        "fw$n" inside "$(inside4 "$n")/24,$(inside6 "$n")/64"
    join "server$n" uplink "$(server4 "$n")/28,$(server6 "$n")/64" \
        "fw$n" outside "$(outside4 "$n")/28,$(outside6 "$n")/64"
    join desk "fw$n" "198.51.100.254 peer $(management "$n")/32" \
        "fw$n" management "$(management "$n") peer 198.51.100.254/32"
    ip -n "$(ns "client$n")" route add default via "$(inside4 "$n")"
    ip -n "$(ns "client$n")" route add default via "$(inside6 "$n")"
    # The server knows nothing of the clients' networks: they come with the firewall's address.
    rules "$n" | at "fw$n" nft -f - || fail "nft does not take the rules of fw$n"
    until_true "the links of fw$n" link_is_usable "fw$n" inside
    until_true "the links of fw$n" link_is_usable "fw$n" outside
    until_true "the link of client$n" link_is_usable "client$n" uplink
    until_true "the link of server$n" link_is_usable "server$n" uplink
}

# Addresses of firewall $1; those outside are from the ranges for documentation.
client4() { echo "10.0.$1.2"; }
client6() { echo "fd00:$1::2"; }
inside4() { echo "10.0.$1.1"; }
inside6() { echo "fd00:$1::1"; }
outside4() { echo "203.0.113.$(($1 * 16 + 1))"; }
outside6() { echo "2001:db8:$1::1"; }
server4() { echo "203.0.113.$(($1 * 16 + 2))"; }
server6() { echo "2001:db8:$1::2"; }
management() { echo "198.51.100.$1"; }

rules() {
    cat <<EOF
table inet firewall {
    ct helper ftp { type "ftp" protocol tcp; }
    chain forwarded_ports {
        type nat hook prerouting priority dstnat;
        ip daddr { $(inside4 "$1"), $(outside4 "$1") } tcp dport 8080 dnat ip to $(server4 "$1"):80
        ip6 daddr { $(inside6 "$1"), $(outside6 "$1") } tcp dport 8080 dnat ip6 to [$(server6 "$1")]:80
    }
    chain masquerading {
        type nat hook postrouting priority srcnat;
        oifname "outside" masquerade
    }
    chain helpers {
        type filter hook prerouting priority filter;
        tcp dport 21 ct helper set "ftp"
    }
    chain forward {
        type filter hook forward priority filter; policy drop;
        ct state established,related accept
        iifname "inside" oifname "outside" accept
    }
    chain input {
        type filter hook input priority filter; policy drop;
        ct state established,related accept
        meta l4proto { icmp, ipv6-icmp } accept
        iifname "management" tcp dport 7443 accept
    }
}
# The calls of ctctl would stand in every list.
table inet management {
    chain in {
        type filter hook prerouting priority raw;
        iifname "management" notrack
    }
    chain out {
        type filter hook output priority raw;
        oifname "management" notrack
    }
}
EOF
}

# An authority, a certificate for each agent and one for ctctl.
make_certificates() {
    local n
    issue init --name "ctfleet demo CA"
    for n in "${FIREWALLS[@]}"; do
        issue agent "fw$n" "$(management "$n")"
    done
    issue client operator
}

# Issues for two days: longer than any demo lasts.
issue() {
    "$bin/ctctl" pki "$@" --dir "$work/tls" --days 2 >"$work/pki.log" 2>&1 ||
        fail "ctctl pki $1: $(<"$work/pki.log")"
}
