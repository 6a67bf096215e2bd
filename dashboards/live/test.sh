#!/bin/sh
# The page in Chromium, against a run of BINARY, which is built with --features headsup/train: test.sh BINARY
set -eu
binary=$(realpath "$1")
here=$(cd "$(dirname "$0")" && pwd)
. "$here/../../deploy/setup.sh"
need npm npm
need chromium chromium
need_models
cd "$here"
npm ci --silent --no-audit --no-fund
npx tsc --noEmit
# The files in dist are what the source makes.
built=$(mktemp -d)
trap 'rm -r "$built"' EXIT
npx vite build --logLevel warn --emptyOutDir --outDir "$built"
if ! diff -r dist "$built" >/dev/null; then
    say "dashboards/live/dist is not what the source makes: run \`npm ci && npm run build\` there and commit it"; exit 1
fi
node test/page.mjs "$binary"
node test/load.mjs
