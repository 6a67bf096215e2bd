#!/bin/sh
# dashboards/grafana/test.sh HEADSUP: the dashboards are as make.py writes them and of Grafana's types (schema.py), and
# every query of theirs answers (check.py). HEADSUP is a binary with ClickHouse and training that `cargo test` has been built beside.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
. "$root/deploy/setup.sh"
need_prometheus
need_clickhouse
need_models
need python3 python3
headsup=$1
made=$(mktemp -d)
trap 'rm -r "$made"' EXIT
cp "$root/dashboards/grafana/make.py" "$made"
python3 "$made/make.py"
for file in "$root"/dashboards/grafana/*.json; do
    diff -u "$made/${file##*/}" "$file" || { say "dashboards/grafana/make.py writes another ${file##*/}"; exit 1; }
done
# Grafana's own types.
cache="${XDG_CACHE_HOME:-$HOME/.cache}/headsup/grafana"
if [ ! -f "$cache/done" ]; then
    need npm npm
    say "fetching Grafana's types and the TypeScript compiler: 26 MB, once"
    mkdir -p "$cache"
    npm install --silent --no-audit --no-fund --ignore-scripts --prefix "$cache" @grafana/schema@13.2.2 typescript@5.9.3
    : >"$cache/done"
fi
python3 "$root/dashboards/grafana/schema.py" >"$made/dashboards.ts"
ln -s "$cache/node_modules" "$made/node_modules"
(cd "$made" && node_modules/.bin/tsc --noEmit --strict --skipLibCheck --module nodenext --moduleResolution nodenext --target es2022 dashboards.ts)
if [ ! -x /usr/bin/prometheus ]; then
    say "Prometheus is not installed: the dashboards' queries are left out"; exit 0
fi
# A test binary serves ClickHouse's engine (jobs/tests/cli/clickhouse.rs).
engine=
if [ -f "${HEADSUP_TEST_CHDB:-}" ]; then
    engine=$(ls -t "$(dirname "$headsup")"/deps/cli-* | grep '/cli-[0-9a-f]*$' | head -n 1)
    [ -n "$engine" ] || { say "there is no cli test beside $headsup; cargo test builds it"; exit 1; }
fi
python3 "$root/dashboards/grafana/check.py" "$headsup" ${engine:+"$engine"}
