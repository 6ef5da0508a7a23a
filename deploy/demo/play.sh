#!/usr/bin/env bash
# The play that deploy/demo.sh puts on. $1: a directory that is this run's own; $2: how the
# names of its network namespaces begin.
set -Eeuo pipefail

readonly work=$1 NAME=$2

# shellcheck source=deploy/demo/show.sh
source deploy/demo/show.sh
# shellcheck source=deploy/demo/stage.sh
source deploy/demo/stage.sh
# shellcheck source=deploy/demo/prepare.sh
source deploy/demo/prepare.sh
# shellcheck source=deploy/demo/tour.sh
source deploy/demo/tour.sh

trap 'unforeseen $? "$BASH_COMMAND"' ERR

headline "What this needs"
install_packages
headline "Build"
build_binaries

started=$SECONDS

headline "Three firewalls, each with a client and a server behind it"
make_stage
headline "An agent on every firewall"
start_agents
headline "Who answers"
tour_info
headline "Settings of all firewalls at once"
tour_settings
headline "Real traffic: TCP, UDP and ICMP, IPv4 and IPv6"
send_traffic
headline "Count"
tour_count
headline "List"
tour_list
headline "The same table in other formats"
tour_formats
headline "Watch while traffic runs"
tour_watch
headline "Update: mark flows"
tour_update
headline "Delete what a filter selects"
tour_delete
headline "Create"
tour_create
headline "Expectations: FTP announces connections"
tour_expectations
headline "Statistics"
tour_statistics
headline "Save, flush, restore: connections live on"
tour_flush
headline "Unix sockets, and other network namespaces"
tour_sockets
headline "When a firewall is down"
tour_failure

printf '\n%sAll %d steps done, %d outcomes checked, %d s.%s\n' \
    "$bold" "$step_number" "$checks" "$((SECONDS - started))" "$plain"
