#!/bin/sh
# Run by ClickHouse's image when its data folder is new: a user for Grafana that can only read.
set -eu
clickhouse-client --user "$CLICKHOUSE_USER" --password "$(cat "$CLICKHOUSE_PASSWORD_FILE")" --multiquery --query "
    CREATE USER IF NOT EXISTS grafana IDENTIFIED BY '$(cat /run/secrets/clickhouse_grafana)' SETTINGS readonly = 2;
    GRANT SELECT ON headsup.* TO grafana;"
