# shellcheck shell=bash
# How the demo speaks: headlines, commands with their output, and what was found to be true.
# Sourced by deploy/demo/play.sh.

bold='' dim='' green='' red='' plain=''
if [[ -t 1 && ${TERM:-dumb} != dumb && -z ${NO_COLOR-} ]]; then
    bold=$'\e[1m' dim=$'\e[2m' green=$'\e[32m' red=$'\e[31m' plain=$'\e[0m'
fi
# Lines of output that are shown, and their longest.
readonly LINES_SHOWN=13
WIDTH=$(tput cols 2>/dev/null || echo 180)
[[ -t 1 ]] || WIDTH=180

step_number=0
checks=0

headline() {
    step_number=$((step_number + 1))
    printf '\n%s%d. %s%s\n' "$bold" "$step_number" "$1" "$plain"
}

say() { printf '   %s\n' "$*"; }

checked() {
    checks=$((checks + 1))
    printf '   %s✓%s %s\n' "$green" "$plain" "$*"
}

# Says what went wrong and ends the demo.
fail() {
    printf '   %s✗ %s%s\n' "$red" "$*" "$plain" >&2
    local log
    for log in "$work"/*.log; do
        # Nothing but the good news tells nothing.
        ! grep -qvE '^(ready|alive|transferred)$' "$log" 2>/dev/null || {
            printf '   %s ends so:\n' "${log##*/}"
            tail -n 3 "$log" | sed 's/^/      /'
        } >&2
    done
    exit 1
}

# Something failed that no check was about. Subshells leave it to the shell that started them.
unforeseen() {
    # Nobody reads any more.
    (($1 != 141)) || exit 141
    ((BASH_SUBSHELL)) || fail "this failed: $2"
}

# A command line as a user would type it.
command_line() {
    local word line=''
    for word; do
        if [[ $word == *[!A-Za-z0-9_./:=,@%+-]* || -z $word ]]; then
            word="'${word//\'/\'\\\'\'}'"
        fi
        line+=" $word"
    done
    printf '%s\n' "${line# }"
}

prompt() { printf '   %s$ %s%s\n' "$bold" "$1" "$plain"; }

# excerpt FILE [LINES]: prints a file, cut to what a person reads; its end stays in sight.
excerpt() {
    awk -v most="${2:-$LINES_SHOWN}" -v width="$((WIDTH - 3))" -v dim="$dim" -v plain="$plain" '
        { line[NR] = length($0) > width ? substr($0, 1, width - 3) "..." : $0 }
        END {
            head = NR > most ? most - 4 : NR
            for (i = 1; i <= head; i++) print "   " dim line[i] plain
            if (head == NR) exit
            print "   " dim "[" NR - most " more lines]" plain
            for (i = NR - 3; i <= NR; i++) print "   " dim line[i] plain
        }' "$1"
}

# show EXIT_CODE COMMAND...: shows a command and its output, and holds it against the exit
# code. What it printed is in $work/out.
show() {
    local expected=$1 code=0
    shift
    prompt "$(command_line "$@")"
    "$@" >"$work/out" 2>&1 </dev/null || code=$?
    excerpt "$work/out"
    ((code == expected)) || fail "exit code $code instead of $expected"
}

# expect_equal WHAT EXPECTED FOUND
expect_equal() {
    [[ $2 == "$3" ]] || fail "$1: expected $2, found $3"
    checked "$1"
}
