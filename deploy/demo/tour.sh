# shellcheck shell=bash
# What ctctl can do, one function a step; each holds the outcome against conntrack(8), against
# the kernel's own files, or against what the traffic has to have left. Sourced by
# deploy/demo/play.sh.

# ctctl as an operator has it: at the desk, with the targets of the environment.
ctctl() {
    if [[ $desk ]]; then
        at desk "$bin/ctctl" "$@"
    else
        "$bin/ctctl" "$@"
    fi
}
desk=yes

# One agent.
target() { echo "fw$1=$(management "$1"):7443"; }

# What conntrack(8) lists in firewall $1, both families, sorted, without what time changes.
witness() {
    local n=$1 family
    shift
    for family in ipv4 ipv6; do
        at "fw$n" conntrack -L -f "$family" -o extended,id "$@" 2>"$work/conntrack.log"
    done | timeless
}

# What ctctl lists of firewall $1 in the same format.
seen() {
    local n=$1
    shift
    ctctl -t "$(target "$n")" -o conntrack list "$@" | timeless
}

timeless() {
    sed -E -e 's/^([^ ]+ +[0-9]+ +[^ ]+ +[0-9]+) [0-9]+/\1 -/' -e 's/delta-time=[0-9]+/delta-time=-/' |
        sort
}

# How many flows conntrack(8) lists in firewall $1.
witness_count() { witness "$@" | wc -l; }

kernel_count() { at "fw$1" conntrack -C; }

# A number that ctctl prints for a node: the column of $work/out with this name.
cell() {
    awk -v node="$1" -v column="$2" '
        $1 == "NODE" { for (i = 1; i <= NF; i++) if ($i == column) at = i }
        at && $1 == node { print $at }' "$work/out"
}

# each_cell WHAT COLUMN FUNCTION...: the column is, for every firewall, what the function says.
each_cell() {
    local what=$1 column=$2 n expected found
    shift 2
    for n in "${FIREWALLS[@]}"; do
        expected=$("$@" "$n") found=$(cell "fw$n" "$column")
        [[ $expected == "$found" ]] || fail "$what: fw$n: expected $expected, ctctl says $found"
    done
    checked "$what"
}

# each_equal WHAT EXPECTED FUNCTION [ARGUMENT...]: the function, called with a firewall's
# number and the arguments, says this of every firewall.
each_equal() {
    local what=$1 expected=$2 function=$3 n found
    shift 3
    for n in "${FIREWALLS[@]}"; do
        found=$("$function" "$n" "$@")
        [[ $expected == "$found" ]] || fail "$what: fw$n: expected $expected, found $found"
    done
    checked "$what"
}

tour_info() {
    show 0 ctctl info
    has_lines "$work/out" '^NODE: +fw[123]$' 3 || fail "not every agent answered"
    has_lines "$work/out" "$(uname -r)" 3 || fail "not every agent says which kernel it runs on"
    checked "three agents answered"
    (
        prompt "unset CTCTL_TLS_CERT CTCTL_TLS_KEY   # in a subshell"
        unset CTCTL_TLS_CERT CTCTL_TLS_KEY
        show 2 ctctl count
    )
    has_lines "$work/out" 'fw[123]: the agent wants a client certificate' 3 ||
        fail "that a certificate is missing was not said of every agent"
    checked "without a certificate nobody gets an answer"
}

tour_settings() {
    # Counters and timestamps of flows, events of all of them, and time-outs that outlive the
    # tour.
    show 0 ctctl settings set nf_conntrack_acct=1 nf_conntrack_timestamp=1 nf_conntrack_events=1 \
        nf_conntrack_udp_timeout=600 nf_conntrack_icmp_timeout=600 nf_conntrack_icmpv6_timeout=600 \
        nf_conntrack_tcp_timeout_time_wait=600
    each_equal "sysctl finds them written in every firewall" "1 1 1 600 600 600 600" sysctls \
        acct timestamp events udp_timeout icmp_timeout icmpv6_timeout tcp_timeout_time_wait
    show 2 ctctl settings set nf_conntrack_udp_timeouts=600
    checked "an unknown one is refused"
}

sysctls() {
    local n=$1
    shift
    at "fw$n" cat "${@/#//proc/sys/net/netfilter/nf_conntrack_}" | xargs
}

tour_count() {
    show 0 ctctl count
    each_cell "that is what the traffic has to leave" COUNT flows_of
    each_cell "and what conntrack -C says in every firewall" COUNT kernel_count
    show 0 ctctl count 'udp and dport 53 or icmp'
    each_equal "four UDP exchanges and a ping over IPv4 in each" 5 count_of
}

count_of() { cell "fw$1" COUNT; }

tour_list() {
    show 0 ctctl list
    expect_equal "a row for every flow of the three firewalls" \
        "$(($(flows_of 1) + $(flows_of 2) + $(flows_of 3)))" "$(grep -c '^fw' "$work/out")"
    show 0 ctctl list 'src 10.0.0.0/8 and dport 80 and not state TIME_WAIT'
    expect_equal "the filter language: the open IPv4 connections" \
        "$(($(connections 1) + $(connections 2) + $(connections 3)))" "$(grep -c '^fw' "$work/out")"
    show 0 ctctl list -p tcp --state TIME_WAIT
    expect_equal "the flags of conntrack(8): the closed connections" 6 "$(grep -c '^fw' "$work/out")"
    show 0 ctctl list 'dnat and (packets > 2 or has helper)'
    expect_equal "translated destinations: the forwarded port" 6 "$(grep -c '^fw' "$work/out")"
    show 2 ctctl list 'dport 80 and stat ESTABLISHED'
    checked "a mistake in a filter is shown where it is"
}

tour_formats() {
    local n
    show 0 ctctl -t "$(target 1)" list 'tcp and dport 80' -o conntrack
    for n in "${FIREWALLS[@]}"; do
        witness "$n" >"$work/witness"
        seen "$n" >"$work/seen"
        diff "$work/witness" "$work/seen" >"$work/out" || {
            excerpt "$work/out"
            fail "conntrack -L in fw$n lists something else"
        }
    done
    checked "conntrack -L -o extended,id lists the very same lines in every firewall"
    show 0 ctctl list icmp -o jsonl
    expect_equal "JSON, an object a line" "fw1 ping, fw2 ping, fw3 ping" "$(pings)"
    show 0 ctctl list 'dport 8080' -o save
    expect_equal "lines that ctctl create --file and conntrack -R take back" 6 \
        "$(grep -c '^-A' "$work/out")"
}

pings() {
    python3 -c '
import json, sys
flows = map(json.loads, sys.stdin)
print(", ".join(sorted(f["node"] + " ping" for f in flows if f["orig"]["type"] == 8)))' <"$work/out"
}

tour_watch() {
    local n events=$work/events watch
    prompt "ctctl watch --snapshot 'dport 8080' &"
    # Shown below; the exec keeps the pid that of ctctl.
    in_ns desk "$bin/ctctl" watch --snapshot 'dport 8080' >"$events" 2>&1 </dev/null &
    watch=$!
    # What is there is listed first: then it is live.
    for n in "${FIREWALLS[@]}"; do
        until_true "the snapshot of fw$n" has_lines "$events" "^fw$n " 2
    done
    for n in "${FIREWALLS[@]}"; do
        at "client$n" python3 "$TRAFFIC" visit "$(inside4 "$n")" 8080
        until_true "fw$n to see the connection end" has_lines "$events" "^fw$n .*TIME_WAIT" 1
    done
    ctctl delete 'dport 8080 and state TIME_WAIT' --yes >"$work/out" 2>&1 || fail "$(<"$work/out")"
    for n in "${FIREWALLS[@]}"; do
        until_true "the end of the connection in fw$n" has_lines "$events" "^fw$n .*(DESTROY|destroy)" 1
        has_lines "$events" "^fw$n .*(NEW|new)" 1 || fail "no new connection was seen in fw$n"
    done
    kill -INT "$watch"
    wait "$watch" || fail "ctctl watch ended with exit code $?"
    excerpt "$events" 26
    ! has_lines "$events" GAP 1 || fail "events were lost"
    checked "what was there, then every connection as it came, changed and went, of all three"
    checked "Ctrl-C ended the watch cleanly"
}

tour_update() {
    local filter='dport 80 and state ESTABLISHED'
    show 0 ctctl update "$filter" --set-mark 0x2a --dry-run
    each_equal "a rehearsal changes nothing" 0 witness_count -m 42
    show 0 ctctl update "$filter" --set-mark 0x2a --yes
    each_cell "conntrack -L -m 42 lists as many as were updated" UPDATED marked
    show 0 ctctl list 'mark 0x2a and ipv6'
}

marked() { witness_count "$1" -m 42; }

tour_delete() {
    local n before
    before=$(for n in "${FIREWALLS[@]}"; do kernel_count "$n"; done | xargs)
    show 0 ctctl delete -p udp --status UNREPLIED --dry-run
    show 2 ctctl delete -p udp --status UNREPLIED
    expect_equal "neither the rehearsal nor the refused one deleted anything" "$before" \
        "$(for n in "${FIREWALLS[@]}"; do kernel_count "$n"; done | xargs)"
    show 0 ctctl delete -p udp --status UNREPLIED --yes
    each_equal "two deleted in each" 2 deleted_of
    each_equal "conntrack -L -u UNREPLIED lists none any more" 0 witness_count -u UNREPLIED
    expect_equal "and all others are still there" "$before" \
        "$(for n in "${FIREWALLS[@]}"; do echo $(($(kernel_count "$n") + 2)); done | xargs)"
}

deleted_of() { cell "fw$1" DELETED; }

tour_create() {
    local flow=(-p tcp -s 10.9.9.9 -d 198.18.0.1 --sport 40000 --dport 443)
    show 0 ctctl create "${flow[@]}" --src-nat 203.0.113.200 --state ESTABLISHED \
        --status ASSURED,SEEN_REPLY --mark 7 --set-timeout 600
    each_equal "conntrack -G finds it in every firewall" \
        "ESTABLISHED src=10.9.9.9 dst=198.18.0.1 sport=40000 dport=443 src=198.18.0.1 dst=203.0.113.200 sport=443 dport=40000 [ASSURED] mark=7" \
        created_flow
    show 2 ctctl create "${flow[@]}" --state ESTABLISHED --set-timeout 600
    has_lines "$work/out" 'fw[123]: .*exists' 3 || fail "that it exists was not the reason"
    checked "what exists is not created twice"
    show 0 ctctl get "${flow[@]}"
}

created_flow() {
    at "fw$1" conntrack -G -p tcp -s 10.9.9.9 -d 198.18.0.1 --sport 40000 --dport 443 2>/dev/null |
        sed -E -e 's/ (packets|bytes)=[0-9]+//g' -e 's/.*(ESTABLISHED .*mark=[0-9]+) .*/\1/'
}

tour_expectations() {
    local n master
    show 0 ctctl expect list
    each_equal "conntrack -L expect has as many: one of PORT, one of EPRT" 2 expectation_count
    expect_equal "six in all" 6 "$(grep -c '^fw' "$work/out")"
    # An FTP server connects to where the client waits: what was expected has come.
    for n in "${FIREWALLS[@]}"; do
        kill -USR2 "${pid_of[client$n]}"
    done
    for n in "${FIREWALLS[@]}"; do
        until_true "the FTP transfers of client$n" is_ready "client$n" transferred
    done
    show 0 ctctl list 'status EXPECTED'
    expect_equal "the transfers are flows with a master, let in and translated by expectation" 6 \
        "$(grep -c '^fw' "$work/out")"
    each_equal "and no longer expected" 0 expectation_count
    # By hand, for the IPv4 control connection of fw1.
    master=$(ctctl -t "$(target 1)" -o jsonl list 'dport 21 and ipv4' |
        python3 -c 'import json, sys; print(json.load(sys.stdin)["orig"]["sport"])')
    show 0 ctctl -t "$(target 1)" expect create -p tcp -s "$(client4 1)" -d "$(server4 1)" \
        --sport "$master" --dport 21 --tuple-src "$(client4 1)" --tuple-dst "$(server4 1)" \
        --tuple-port-src 0 --mask-port-src 0 --tuple-port-dst 4242 --set-timeout 300
    expect_equal "conntrack -L expect lists it" 1 "$(at fw1 conntrack -L expect 2>/dev/null | grep -c 'dport=4242')"
    show 0 ctctl expect delete 'dport 4242' --yes
    expect_equal "and no longer" 0 "$(expectation_count 1)"
}

expectation_count() {
    local family
    for family in ipv4 ipv6; do
        at "fw$1" conntrack -L expect -f "$family" 2>/dev/null
    done | wc -l
}

tour_statistics() {
    show 0 ctctl stats
    each_cell "as many entries as conntrack -C says" ENTRIES kernel_count
    show 0 ctctl expect stats
    each_cell "as many expectations came as /proc/net/stat/nf_conntrack says" CREATE kernel_expectations
}

# The column is a number in hexadecimal for each CPU.
kernel_expectations() {
    at "fw$1" cat /proc/net/stat/nf_conntrack | {
        local header line sum=0 i
        read -ra header
        while read -ra line; do
            for i in "${!header[@]}"; do
                [[ ${header[i]} != expect_create ]] || sum=$((sum + 16#${line[i]}))
            done
        done
        echo "$sum"
    }
}

tour_flush() {
    local n
    for n in "${FIREWALLS[@]}"; do
        witness "$n" | as_written >"$work/before$n"
    done
    prompt "ctctl list -o save >saved"
    ctctl list -o save >"$work/saved" || fail "it failed"
    # The firewalls track the connections of ctctl, too, from now on.
    for n in "${FIREWALLS[@]}"; do
        at "fw$n" nft delete table inet management
    done
    show 0 ctctl flush --yes
    each_equal "flushed, but for the connection that the order came through" 1 spared_of
    each_equal "conntrack -L finds no other flow" 0 flows_besides_management
    prompt "ctctl create --file saved"
    ctctl create --file "$work/saved" >"$work/out" 2>&1 || fail "$(<"$work/out")"
    excerpt "$work/out"
    for n in "${FIREWALLS[@]}"; do
        witness "$n" | without_management | as_written >"$work/after"
        diff "$work/before$n" "$work/after" >"$work/out" || {
            excerpt "$work/out"
            fail "fw$n is not what it was"
        }
    done
    checked "every table is what it was, conntrack -L says: marks, states, translation, helpers"
    for n in "${FIREWALLS[@]}"; do
        kill -USR1 "${pid_of[client$n]}"
    done
    for n in "${FIREWALLS[@]}"; do
        until_true "the connections of client$n" is_ready "client$n" alive
    done
    checked "and every connection of the clients still works"
    show 0 ctctl flush --family ipv6 --yes
    each_equal "conntrack -L -f ipv6 lists none any more" 0 ipv6_flows
}

spared_of() { cell "fw$1" SPARED; }
ipv6_flows() { at "fw$1" conntrack -L -f ipv6 2>/dev/null | wc -l; }
without_management() { grep -v 'dport=7443' || true; }
flows_besides_management() { witness "$1" | without_management | wc -l; }

# What the kernel gives every new entry, whoever makes it: counters, a start, an id.
as_written() { sed -E 's/ (packets|bytes|delta-time|use|id)=[0-9-]+//g' | sort; }

tour_sockets() {
    local sockets=() n
    for n in "${FIREWALLS[@]}"; do
        sockets+=(-t "fw$n=unix:$work/fw$n.sock")
    done
    # A path works from everywhere on the host, the desk's namespace or not.
    desk=''
    show 0 ctctl "${sockets[@]}" count
    each_cell "the unix sockets answer the same" COUNT kernel_count
    # The agent of fw1 looks into the namespace of fw3.
    show 0 ctctl -t "fw1=unix:$work/fw1.sock" -N "$(ns fw3)" count
    expect_equal "an agent also works in other namespaces by their names" "$(kernel_count 3)" \
        "$(awk 'NR == 2 { print $1 }' "$work/out")"
    desk=yes
}

tour_failure() {
    prompt "kill -TERM ${pid_of[ctagent3]}   # the agent of fw3"
    kill -TERM "${pid_of[ctagent3]}"
    wait "${pid_of[ctagent3]}" || fail "the agent ended with exit code $?"
    checked "it ended cleanly"
    show 1 ctctl count 'tcp and ipv4'
    expect_equal "the others answer; exit code 1 says that one failed" "fw1 fw2" \
        "$(grep -oE '^fw[12] ' "$work/out" | xargs)"
    has_lines "$work/out" 'ctctl: fw3: ' 1 || fail "nothing was said of fw3"
}
