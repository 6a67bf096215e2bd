#!/bin/sh
# Simulated and real data against independent engines: run.sh HEADSUP-BINARY
# HEADSUP_TEST_DATA names the folder with bank_calls/, online_retail/ and
# call_centre_simulated/; without it there is nothing to compare with.
set -eu
headsup=$1
here=$(cd "$(dirname "$0")" && pwd)
data=${HEADSUP_TEST_DATA:-}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cache="${XDG_CACHE_HOME:-$HOME/.cache}/headsup/oracle"
if ! "$cache/bin/python" -c 'import duckdb, polars, onnxruntime' 2>/dev/null; then
    echo "oracle: installing duckdb, pandas, polars and onnxruntime for the comparison" >&2
    python3 -m venv "$cache" && "$cache/bin/pip" install --quiet -r "$here/requirements.txt"
fi
python="$cache/bin/python"

# The twelve KPIs of simulated days, by hour.
"$python" "$here/twelve.py" --kpis "$work/twelve"
"$headsup" simulate --customers 8000 --days 5 --out "$work/days.jsonl" >/dev/null
"$headsup" run --data "$work/days" --input "$work/days.jsonl" --until-end --kpis "$work/twelve"
"$headsup" sql --data "$work/days" --kpis "$work/twelve" --format csv "$("$python" "$here/twelve.py" --sql)" >"$work/twelve.csv"
"$python" "$here/twelve.py" "$work/days" "$work/twelve.csv"

# Features of simulated customers, every second day; with 40 days they have had time to come again.
"$headsup" simulate --customers 2000 --days 40 --out "$work/weeks.jsonl" >/dev/null
"$headsup" run --data "$work/weeks" --input "$work/weeks.jsonl" --until-end --kpis "$work/twelve"
"$headsup" features --data "$work/weeks" --every 2d --out "$work/weeks.parquet"
"$python" "$here/features.py" "$work/weeks" "$work/weeks.parquet"

if [ -z "$data" ]; then
    echo "oracle: HEADSUP_TEST_DATA is not set; real data is not compared" >&2
    exit 0
fi
none="$work/no-kpis"
mkdir "$none"
cp "$here/kpi.sql" "$none/daily.sql"

# import NAME KIND FILE...: into a log of its own, through the pipeline, and out by SQL.
compare() {
    name=$1 kind=$2 oracle=$3; shift 3
    "$headsup" import --data "$work/$name" "$kind" "$@" >"$work/$name.summary"
    "$headsup" run --data "$work/$name" --until-end --kpis "$none"
    "$headsup" sql --data "$work/$name" --kpis "$none" --format csv "$("$python" "$here/$oracle" --sql)" >"$work/$name.ours.csv"
    "$python" "$here/$oracle" "$@" "$work/$name.oracle.csv"
    "$python" "$here/$oracle" --compare "$work/$name.ours.csv" "$work/$name.oracle.csv"
    "$headsup" kpi recompute --data "$work/$name" --kpis "$none"
}
compare january bank-calls bank_calls.py "$data/bank_calls/01_January.tsv.gz"
compare march bank-calls bank_calls.py "$data/bank_calls/03_March.tsv.gz"
compare retail online-retail online_retail.py "$data/online_retail/online_retail_II.parquet"
compare centre call-centre call_centre.py "$data/call_centre_simulated/calls.csv.gz"
"$headsup" features --data "$work/retail" --every 7d --out "$work/retail.parquet"
"$python" "$here/features.py" "$work/retail" "$work/retail.parquet" "$work/weeks"

# A model of real orders, and a Python of its own that gets the same figures from the same files.
"$headsup" train order_return --data "$work/retail" --where "customer_id NOT LIKE 'unknown-%'" \
    --from 2010-06-01 --to 2011-11-27 --test-from 2011-09-18 2>"$work/train.err" || { cat "$work/train.err" >&2; exit 1; }
"$python" "$here/../../examples/model.py" "$work/retail/order_return.rows.parquet" "$work"/retail/models/order_return/*/
"$headsup" audit order_return --data "$work/retail" --where "customer_id NOT LIKE 'unknown-%'" \
    --from 2010-06-01 --to 2011-11-27 --test-from 2011-09-18 2>/dev/null
