#!/bin/sh
# Makes the secrets that compose.yaml mounts, where they are missing. Containers read them as users of
# their own, so the folder keeps others out.
set -eu
cd "$(dirname "$0")"
mkdir -p secrets && chmod 700 secrets
for name in clickhouse_headsup clickhouse_grafana grafana_admin; do
    [ -f "secrets/$name" ] || head -c 24 /dev/urandom | base64 | tr '+/' '-_' | tr -d '\n' >"secrets/$name"
    chmod 644 "secrets/$name"
done
