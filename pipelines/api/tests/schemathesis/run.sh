#!/bin/sh
# Requests that follow the OpenAPI description, and such that do not, against a running server: run.sh SERVE
# SERVE is the binary of pipelines/api/examples/serve.rs.
set -eu
serve=$(realpath "$1")
here=$(cd "$(dirname "$0")" && pwd)
cache="${XDG_CACHE_HOME:-$HOME/.cache}/headsup/schemathesis"
version=4.32.5
if ! "$cache/bin/python" -c "import importlib.metadata as m; assert m.version('schemathesis') == '$version'" 2>/dev/null; then
    echo "schemathesis: installing it for the API's test" >&2
    python3 -m venv "$cache" && "$cache/bin/pip" install --quiet "schemathesis==$version"
fi
work=$(mktemp -d)
"$serve" 127.0.0.1:0 >"$work/said" &
server=$!
trap 'kill $server; rm -r "$work"' EXIT
for _ in $(seq 50); do
    [ "$(wc -l <"$work/said")" -ge 2 ] && break
    sleep 0.2
done
url=$(sed -n 1p "$work/said")
token=$(sed -n 2p "$work/said")
cd "$work"
if ! "$cache/bin/schemathesis" --config-file "$here/schemathesis.toml" run "$url" -H "Authorization: Bearer $token" \
    >"$work/report" 2>&1; then
    cat "$work/report" >&2
    exit 1
fi
grep -E "^  [0-9]+ generated|Tested:" "$work/report"
