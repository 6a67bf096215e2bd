#!/usr/bin/env python3
"""The service level of the simulated call centre, by day, from the raw file.

    call_centre.py FILE.csv.gz OUT.csv    compute
    call_centre.py --sql                  print the query for `headsup sql`
    call_centre.py --compare OURS ORACLE  compare two such CSVs; exit code 1 if
                                          they differ

`met` counts the file's own answers, `meets_standard`; ours must come to the same
number from the waits: 60 s or less. Columns, one row a day, and one for all (`*`):
day, calls, met, wait_ms, handle_ms.
"""
import sys

from compare import compare

KEYS = ["day"]
EXACT = ["calls", "met", "wait_ms", "handle_ms"]

HEADSUP_SQL = """
SELECT coalesce(CAST(CAST(queued_at AS DATE) AS VARCHAR), '*') AS day, count(*) AS calls,
       count(*) FILTER (WHERE wait_ms <= 60000) AS met, sum(wait_ms) AS wait_ms, sum(handle_ms) AS handle_ms
FROM contacts WHERE shop = 'call-centre'
GROUP BY GROUPING SETS ((CAST(queued_at AS DATE)), ())
ORDER BY 1
""".strip()


def compute(file, out):
    import pandas

    calls = pandas.read_csv(file)
    calls["met"] = calls["meets_standard"].astype(int)
    calls["wait_ms"] = calls["wait_length"] * 1000
    calls["handle_ms"] = calls["service_length"] * 1000
    calls["calls"] = 1
    days = calls.groupby("date")[EXACT].sum()
    days.loc["*"] = days.sum()
    days.sort_index().to_csv(out, index_label="day")


if __name__ == "__main__":
    arguments = sys.argv[1:]
    if arguments == ["--sql"]:
        print(HEADSUP_SQL)
    elif len(arguments) == 3 and arguments[0] == "--compare":
        sys.exit(compare(arguments[1], arguments[2], KEYS, EXACT, []))
    elif len(arguments) == 2 and not arguments[0].startswith("-"):
        compute(*arguments)
    else:
        sys.exit(__doc__)
