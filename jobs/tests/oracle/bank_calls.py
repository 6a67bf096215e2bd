#!/usr/bin/env python3
"""The bank's calls by day and type, computed by DuckDB from the raw file.

    bank_calls.py FILE.tsv.gz... OUT.csv    compute
    bank_calls.py --sql                     print the query for `headsup sql`
    bank_calls.py --compare OURS ORACLE     compare two such CSVs; exit code 1
                                            if they differ

Independent: it reads the published file itself and shares no code with the
importer. What both share are the rules, as the importer's documentation
(jobs/sources/src/bank_calls.rs) gives them:

  - PHANTOM rows are ignored.
  - A time belongs to the row's date, and to the next day if it is before 6:00
    and vru_entry is at 20:00 or later. 0:00:00 twice (queue, service) means
    that it did not happen.
  - AGENT is handled. Accepted: ser_start, and without service times the moment
    of leaving the queue, else the menu. Ended: ser_exit, likewise.
  - A handled call that queued waited from q_start to accepted, or 0 if that is
    negative. One that did not queue has no wait, and counts in no wait column.
  - HANG that queued is abandoned, and ended at q_exit. HANG that did not queue
    ended in the menu, at vru_exit (`menu_only`).
  - The day is that of the end, in UTC. Times in the file are Asia/Jerusalem.

Columns, one row for each day and type, each day, each type, and all (`*`):
day, type, handled, abandoned, menu_only, handle_ms, waited, wait_ms, then the
quantiles P50, P90, P95 of handle and of wait by nearest rank, the ceil(q*n)-th
smallest. All are integers; a quantile of nothing is empty.
"""
import sys

from compare import compare

KEYS = ["day", "type"]
EXACT = ["handled", "abandoned", "menu_only", "handle_ms", "waited", "wait_ms"]
QUANTILES = [f"{what}_p{q}_ms" for what in ("handle", "wait") for q in (50, 90, 95)]

# The same columns from the facts. `quantile` is within 1.1 % of the exact one.
HEADSUP_SQL = """
SELECT coalesce(CAST(CAST(ended_at AS DATE) AS VARCHAR), '*') AS day, coalesce(skill, '*') AS type,
       count(*) FILTER (WHERE NOT abandoned AND NOT bot_only) AS handled,
       count(*) FILTER (WHERE abandoned) AS abandoned,
       count(*) FILTER (WHERE bot_only) AS menu_only,
       coalesce(sum(handle_ms), 0) AS handle_ms,
       count(wait_ms) FILTER (WHERE NOT abandoned) AS waited,
       coalesce(sum(wait_ms) FILTER (WHERE NOT abandoned), 0) AS wait_ms,
       quantile(handle_ms, 0.5) AS handle_p50_ms, quantile(handle_ms, 0.9) AS handle_p90_ms,
       quantile(handle_ms, 0.95) AS handle_p95_ms,
       quantile(wait_ms, 0.5) FILTER (WHERE NOT abandoned) AS wait_p50_ms,
       quantile(wait_ms, 0.9) FILTER (WHERE NOT abandoned) AS wait_p90_ms,
       quantile(wait_ms, 0.95) FILTER (WHERE NOT abandoned) AS wait_p95_ms
FROM contacts WHERE shop = 'bank'
GROUP BY GROUPING SETS ((CAST(ended_at AS DATE), skill), (CAST(ended_at AS DATE)), (skill), ())
ORDER BY 1, 2
""".strip()


def compute(files, out):
    import duckdb

    db = duckdb.connect()
    db.execute("CREATE MACRO hms(x) AS split_part(x, ':', 1)::INT * 3600 + split_part(x, ':', 2)::INT * 60 + split_part(x, ':', 3)::INT")
    # Seconds since the local midnight of the row's date, 86,400 and more for the next day.
    db.execute("CREATE MACRO at_s(entry, x) AS hms(x) + CASE WHEN hms(entry) >= 20 * 3600 AND hms(x) < 6 * 3600 THEN 86400 ELSE 0 END")
    db.execute(
        """
        CREATE TABLE calls AS
        SELECT type, outcome, strptime('19' || date, '%Y%m%d') AS midnight,
               at_s(vru_entry, vru_exit) AS menu_left,
               NOT (q_start = '0:00:00' AND q_exit = '0:00:00') AS queued,
               at_s(vru_entry, q_start) AS queue_joined, at_s(vru_entry, q_exit) AS queue_left,
               NOT (ser_start = '0:00:00' AND ser_exit = '0:00:00') AS served,
               at_s(vru_entry, ser_start) AS service_from, at_s(vru_entry, ser_exit) AS service_to
        FROM read_csv(?, delim = '\t', header = true, all_varchar = true, quote = '', escape = '')
        WHERE outcome <> 'PHANTOM'
        """,
        [files],
    )
    db.execute(
        """
        CREATE TABLE contacts AS
        WITH moments AS (
            SELECT *, CASE WHEN queued THEN queue_left ELSE menu_left END AS left_for_service FROM calls
        ), ends AS (
            SELECT *, CASE WHEN served THEN service_from ELSE left_for_service END AS accepted,
                   CASE WHEN outcome = 'HANG' AND queued THEN queue_left
                        WHEN outcome = 'HANG' THEN menu_left
                        WHEN served THEN service_to
                        ELSE left_for_service END AS ended
            FROM moments
        )
        SELECT type,
               strftime(timezone('UTC', timezone('Asia/Jerusalem', midnight + to_seconds(ended))), '%Y-%m-%d') AS day,
               outcome = 'AGENT' AS handled,
               outcome = 'HANG' AND queued AS abandoned,
               outcome = 'HANG' AND NOT queued AS menu_only,
               CASE WHEN outcome = 'AGENT' THEN (ended - accepted) * 1000 END AS handle_ms,
               CASE WHEN outcome = 'AGENT' AND queued THEN greatest(accepted - queue_joined, 0) * 1000 END AS wait_ms
        FROM ends
        """
    )
    rank = ", ".join(
        f"list_sort(list({what}_ms) FILTER ({what}_ms IS NOT NULL))"
        f"[(count({what}_ms) * {q} + 99) // 100] AS {what}_p{q}_ms"
        for what in ("handle", "wait")
        for q in (50, 90, 95)
    )
    table = db.sql(
        f"""
        SELECT coalesce(day, '*') AS day, coalesce(type, '*') AS type,
               count(*) FILTER (handled) AS handled, count(*) FILTER (abandoned) AS abandoned,
               count(*) FILTER (menu_only) AS menu_only, coalesce(sum(handle_ms), 0)::BIGINT AS handle_ms,
               count(wait_ms) AS waited, coalesce(sum(wait_ms), 0)::BIGINT AS wait_ms, {rank}
        FROM contacts
        GROUP BY GROUPING SETS ((day, type), (day), (type), ())
        ORDER BY 1, 2
        """
    ).df()
    table.astype({column: "Int64" for column in EXACT + QUANTILES}).to_csv(out, index=False)


if __name__ == "__main__":
    arguments = sys.argv[1:]
    if arguments == ["--sql"]:
        print(HEADSUP_SQL)
    elif len(arguments) == 3 and arguments[0] == "--compare":
        sys.exit(compare(arguments[1], arguments[2], KEYS, EXACT, QUANTILES))
    elif len(arguments) >= 2 and not arguments[0].startswith("-"):
        compute(arguments[:-1], arguments[-1])
    else:
        sys.exit(__doc__)
