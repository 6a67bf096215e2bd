#!/usr/bin/env python3
"""Features by brute force: the views' own SQL, run by DuckDB over every fact known at every row's time.

    features.py DATA FEATURES.parquet [LIKE]

DATA is a data folder with stored facts, FEATURES.parquet what `headsup features` wrote of it; a
table without facts has the columns that it has in the data folder LIKE. 10,000 rows are drawn and computed again. Whole numbers must be equal; doubles to
1 part in 10^9, since DuckDB adds them up in another order. Exit code 1 if a number differs.
"""
import glob
import math
import os
import re
import sys

import duckdb

VIEWS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../../features")


def read(path):
    """A view's query in DuckDB's words, with lines repeated as its header says."""
    each, lines = None, []
    for line in open(path, encoding="utf-8"):
        if line.strip().startswith("--"):
            if match := re.match(r"-- each: (\w+) = (.*)", line.strip()):
                each = ("{%s}" % match[1], [value.strip() for value in match[2].split(",")])
            continue
        line = line.split("--")[0].rstrip()
        if each and each[0] in line:
            lines += [line.replace(each[0], value) for value in each[1]]
        else:
            lines.append(line)
    query = "\n".join(line for line in lines if line)
    query = re.sub(r",\s*\n(FROM)", r"\n\1", query)
    query = query.replace(" / ", " // ")
    return aggregates(query)


def closing(text, opened):
    depth = 0
    for place in range(opened, len(text)):
        depth += {"(": 1, ")": -1}.get(text[place], 0)
        if depth == 0:
            return place
    raise ValueError(text)


def aggregates(query):
    """The aggregates that DuckDB does not have, by those it has."""
    ours = {
        "mean": "avg({x}) FILTER (WHERE {c})",
        "stddev": "stddev_samp({x}) FILTER (WHERE {c})",
        "median": "quantile_disc({x}, 0.5) FILTER (WHERE {c})",
        "gap_mean": "((max({x}) FILTER (WHERE {c}) - min({x}) FILTER (WHERE {c})) / nullif(count({x}) FILTER (WHERE {c}) - 1, 0))",
        "gap_stddev": "list_aggregate(gaps(list_sort(list({x}) FILTER (WHERE {c}))), 'stddev_samp')",
        "last": "(max({{'a': -age_us, 'v': {x}}}) FILTER (WHERE ({c}) AND ({x}) IS NOT NULL)).v",
        "first": "(max({{'a': age_us, 'v': {x}}}) FILTER (WHERE ({c}) AND ({x}) IS NOT NULL)).v",
    }
    place = 0
    while match := re.compile(r"\b(%s)\(" % "|".join(ours)).search(query, place):
        end = closing(query, match.end() - 1)
        argument, condition, after = query[match.end() : end], "true", end + 1
        if filtered := re.compile(r"\s*FILTER \(WHERE ").match(query, after):
            close = closing(query, query.index("(", after))
            condition, after = query[filtered.end() : close], close + 1
        new = ours[match[1]].format(x=argument, c=condition)
        query = query[: match.start()] + new + query[after:]
        place = match.start() + len(new)
    return query


def expected_purchases(horizon, x, t, age, r, alpha, a, b):
    series = term = 1.0
    z = horizon / (alpha + age + horizon)
    n = 0
    while abs(term) > 1e-16 * series and n < 20000:
        term *= (r + x + n) * (b + x + n) / ((a + b + x - 1 + n) * (n + 1)) * z
        series += term
        n += 1
    alive = 1.0 if x <= 0 else 1 / (1 + a / (b + x - 1) * ((alpha + age) / (alpha + t)) ** (r + x))
    shrinks = ((alpha + age) / (alpha + age + horizon)) ** (r + x)
    return (a + b + x - 1) / (a - 1) * (1 - shrinks * series) * alive


def past(c, facts, like):
    """past.* for the rows of spine."""
    c.execute("CREATE SCHEMA past")
    dated = {"contacts": "ended_at", "rounds": "asked_at", "ratings": "rated_at", "turns": "asked_at", "resolutions": "at", "inquiries": "asked_at", "orders": "at"}
    for table, at in dated.items():
        limit = ""
        files = os.path.join(facts, table, "dt=*", "*.parquet")
        if not glob.glob(files):
            files, limit = os.path.join(like, table, "dt=*", "*.parquet"), "LIMIT 0"
        c.execute(f"CREATE TABLE all_{table} AS SELECT * EXCLUDE (dt) FROM read_parquet('{files}', union_by_name = true, hive_partitioning = true) {limit}")
        extra = join = ""
        if table == "orders":
            c.execute("""CREATE TABLE placed AS SELECT customer_id, order_id, p.k AS known, p.a AS placed_us, p.m AS placed_minor FROM (
                SELECT customer_id, order_id, min({'k': epoch_us(known_at), 'a': epoch_us("at"), 'm': amount_minor}) AS p
                FROM all_orders WHERE type = 'placed' GROUP BY ALL)""")
            extra = ", CASE WHEN p.known <= epoch_us(s.as_of) THEN p.placed_us END AS placed_at, CASE WHEN p.known <= epoch_us(s.as_of) THEN p.placed_minor END AS placed_minor"
            join = "LEFT JOIN placed p ON p.customer_id = f.customer_id AND p.order_id = f.order_id"
        c.execute(f"""CREATE VIEW past.{table} AS
            SELECT s.row, f.* EXCLUDE (customer_id), epoch_us(s.as_of) AS as_of, epoch_us(s.as_of) - epoch_us(f."{at}") AS age_us,
                   (epoch_us(s.as_of) - epoch_us(f."{at}")) // 1000 AS age_ms{extra}
            FROM spine s JOIN all_{table} f ON f.customer_id = s.customer_id AND f.known_at <= s.as_of AND f."{at}" <= s.as_of {join}""")
    c.execute("""CREATE TABLE all_lines AS
        SELECT * EXCLUDE (lines, line), line->>'sku' AS sku, (line->>'quantity')::BIGINT AS quantity, (line->>'unit_minor')::BIGINT AS unit_minor,
               (line->>'quantity')::BIGINT * (line->>'unit_minor')::BIGINT AS line_minor
        FROM (SELECT * EXCLUDE (amount_minor, score), unnest(json_extract(lines, '$[*]')) AS line FROM all_orders WHERE lines IS NOT NULL)""")
    c.execute("""CREATE TABLE days AS SELECT sku, day, b AS sku_bought, r AS sku_returned FROM (
        SELECT sku, day, sum(bought) OVER w AS b, sum(returned) OVER w AS r FROM (
            SELECT sku, known_at::TIMESTAMP::DATE AS day, count(*) FILTER (WHERE type = 'placed') AS bought,
                   count(*) FILTER (WHERE type = 'return_requested' OR (type = 'cancelled' AND actor = 'customer')) AS returned
            FROM all_lines GROUP BY ALL) WINDOW w AS (PARTITION BY sku ORDER BY day))""")
    c.execute("""CREATE VIEW past.lines AS
        SELECT x.*, coalesce(d.sku_bought, 0)::BIGINT AS sku_bought, coalesce(d.sku_returned, 0)::BIGINT AS sku_returned FROM (
            SELECT s.row, f.* EXCLUDE (customer_id), epoch_us(s.as_of) AS as_of, s.as_of::TIMESTAMP::DATE AS as_of_day,
                   epoch_us(s.as_of) - epoch_us(f."at") AS age_us, (epoch_us(s.as_of) - epoch_us(f."at")) // 1000 AS age_ms
            FROM spine s JOIN all_lines f ON f.customer_id = s.customer_id AND f.known_at <= s.as_of AND f."at" <= s.as_of) x
        ASOF LEFT JOIN days d ON x.sku = d.sku AND x.as_of_day > d.day""")


def main(data, found, like):
    c = duckdb.connect()
    c.execute("SET threads = 2; SET TimeZone = 'UTC'; SET preserve_insertion_order = false")
    c.execute("CREATE MACRO days(n) AS n::BIGINT * 86400000; CREATE MACRO hours(n) AS n::BIGINT * 3600000")
    c.execute("CREATE MACRO ratio(a, b) AS CASE WHEN b <> 0 THEN a::DOUBLE / b::DOUBLE END")
    c.execute("CREATE MACRO gaps(l) AS list_transform(generate_series(1, len(l) - 1), lambda i: l[i + 1] - l[i])")
    c.execute("CREATE MACRO alive(x, t, age, r, alpha, a, b) AS CASE WHEN age IS NULL THEN NULL WHEN x <= 0 THEN 1.0::DOUBLE ELSE 1 / (1 + a / (b + x - 1) * pow((alpha + age) / (alpha + t), r + x)) END")
    c.create_function("expected_purchases", expected_purchases, ["DOUBLE"] * 8, "DOUBLE")
    c.execute(f"CREATE TABLE found AS SELECT *, row_number() OVER () AS row FROM (SELECT * FROM '{found}' ORDER BY hash(customer_id || as_of), customer_id, as_of LIMIT 10000)")
    c.execute("CREATE TABLE spine AS SELECT row, customer_id, as_of FROM found")
    past(c, os.path.join(data, "facts"), os.path.join(like, "facts"))
    paths = sorted(glob.glob(os.path.join(VIEWS, "*.sql")), key=lambda path: (path.endswith("combined.sql"), path))
    names = []
    c.execute("CREATE TABLE features AS SELECT * FROM spine")
    for path in paths:
        query = read(path)
        if re.search(r"FROM features\b", query):
            c.execute(f"CREATE TABLE v AS {query.replace('SELECT', 'SELECT row,', 1)}")
            c.execute("CREATE TABLE joined AS SELECT * FROM features JOIN v USING (row)")
        else:
            grouped = query.replace("SELECT", "SELECT row,", 1).replace("GROUP BY customer_id, as_of", "GROUP BY row")
            c.execute(f"CREATE TABLE v AS {grouped}")
            # Who has no facts has what comes of none.
            of_none = re.sub(r"FROM past\.(\w+)", r"FROM (SELECT * FROM past.\1 LIMIT 0)", query).replace("GROUP BY customer_id, as_of", "")
            c.execute(f"INSERT INTO v BY NAME SELECT s.row, n.* FROM (SELECT row FROM spine ANTI JOIN v USING (row)) s, ({of_none}) n")
            c.execute("CREATE TABLE joined AS SELECT * FROM features JOIN v USING (row)")
        names += [name for (name, *_) in c.execute("DESCRIBE v").fetchall() if name != "row"]
        c.execute("DROP TABLE features; DROP TABLE v; ALTER TABLE joined RENAME TO features")
    wrong = 0
    for name in names:
        kind = c.execute(f"SELECT typeof({name}) FROM found LIMIT 1").fetchone()[0]
        same = f"f.{name} IS NOT DISTINCT FROM o.{name}"
        if kind == "DOUBLE":
            same = f"({same} OR abs(f.{name} - o.{name}) <= 1e-9 * greatest(abs(o.{name}), 1e-3))"
        differ = c.execute(f"SELECT f.customer_id, f.as_of, f.{name}, o.{name} FROM found f JOIN features o USING (row) WHERE NOT coalesce({same}, false) ORDER BY row LIMIT 3").fetchall()
        for row in differ:
            print(f"{name} of {row[0]} at {row[1]}: {row[2]}, by brute force {row[3]}")
        wrong += bool(differ)
    values = c.execute("SELECT count(*) FROM found").fetchone()[0] * len(names)
    several = [name for name in names if c.execute(f"SELECT count(DISTINCT {name}) FROM found").fetchone()[0] > 1]
    print(f"features: {values:,} values of {len(names)} features, {len(several)} of which vary: {wrong} features differ")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2], sys.argv[3] if len(sys.argv) > 3 else sys.argv[1]))
