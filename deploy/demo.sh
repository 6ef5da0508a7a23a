#!/usr/bin/env bash
# Shows ctctl at work on three firewalls: builds the release binaries, makes the firewalls in
# network namespaces of its own, sends real traffic through them, and holds what ctctl says
# and does against conntrack(8). Leaves nothing behind, also when it is interrupted; exits
# non-zero when a step fails.
#
# As root: ./deploy/demo.sh [--help]. DEMO_PROFILE=debug takes a debug build.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export PATH=$PATH:/usr/sbin:/sbin:$HOME/.cargo/bin

# What is started has so long to end, in seconds.
readonly PATIENCE=20

if (($#)); then
    sed -n '2,/^[^#]/s/^# \?//p' deploy/demo.sh
    [[ $* == --help || $* == -h ]] && exit 0
    exit 2
fi
if ((EUID)); then
    echo "The demo makes network namespaces, which takes root. Run: sudo $0" >&2
    exit 1
fi

# The play is a session of its own: whatever happens to it or to this script, all of it can be
# ended at once, and nothing but this script cleans up.
play='' work=''

clean_up() {
    local status=$? name
    trap '' INT TERM HUP PIPE
    set +e
    if [[ $play ]]; then
        end_play
        wait "$play" 2>/dev/null
    fi
    if [[ $work ]]; then
        while read -r name; do
            [[ ! -e /run/netns/$name ]] || ip netns del "$name" || status=1
        done 2>/dev/null <"$work/namespaces"
        rm -rf -- "$work"
    fi
    exit "$status"
}

end_play() {
    local signal deadline
    for signal in TERM KILL; do
        deadline=$((SECONDS + PATIENCE))
        # To the whole session, or to its first process as long as that has not made one.
        kill -"$signal" -- "-$play" 2>/dev/null || kill -"$signal" "$play" 2>/dev/null
        # One that is stopped would hear it only later.
        kill -CONT -- "-$play" 2>/dev/null
        while play_runs && ((SECONDS < deadline)); do
            sleep 0.02
        done
    done
}

# Whether a process of the session still runs. Those that wait for process 1 to take note of
# their end do not count: it may be in no hurry.
play_runs() {
    local file stat state group
    for file in /proc/[0-9]*/stat; do
        { read -r stat <"$file"; } 2>/dev/null || continue
        read -r state _ group _ <<<"${stat##*) }"
        [[ $group != "$play" && $file != "/proc/$play/stat" ]] || [[ $state == Z ]] || return 0
    done
    return 1
}

trap clean_up EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 141' PIPE
trap 'exit 143' TERM

work=$(mktemp -d /tmp/ctfleet-demo.XXXXXX)
# Namespaces are named so that several demos can run side by side.
setsid bash deploy/demo/play.sh "$work" "ctdemo-$$" </dev/null &
play=$!
wait "$play"
