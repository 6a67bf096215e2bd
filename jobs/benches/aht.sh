#!/bin/sh
# CPU seconds (user + system) of whole processes over one file of conversation events:
#   aht.sh HEADSUP EVENTS.jsonl [RUNS] [PEER...]
# PEER is a command that answers the same question from the same file; it runs in turn
# with headsup, so that both see the same machine.
set -eu
headsup=$1 events=$2 runs=${3:-5}
shift 2; [ $# -eq 0 ] || shift
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
timed() { name=$1; shift; /usr/bin/time -a -o "$work/$name" -f '%U %S %e %M' "$@" >/dev/null 2>&1; }
for run in $(seq "$runs"); do
    timed headsup "$headsup" run --data "$work/data" --input "$events" --until-end --no-facts --kpis "$here/kpis"
    [ $# -eq 0 ] || timed peer "$@"
done
lines=$(wc -l <"$events")
for name in headsup peer; do
    [ -f "$work/$name" ] || continue
    awk -v n="$lines" -v name="$name" '{ print $1 + $2, $3, $4 }' "$work/$name" | sort -n |
        awk -v n="$lines" -v name="$name" '{ c[NR] = $1; w[NR] = $2; m[NR] = $3 } END { k = int((NR + 1) / 2);
            printf "%s: median of %d: %.2f CPU s, %.3f M events per CPU s, %.2f s wall, %d MiB\n", name, NR, c[k], n / c[k] / 1e6, w[k], m[k] / 1024 }'
done
