#!/usr/bin/env python3
"""The twelve KPIs by hour, over everything, from the stored facts.

    twelve.py DATA OURS.csv    compute from the Parquet files in DATA and compare; exit code 1 if
                               a number differs
    twelve.py --kpis DIR       write the KPI files to compare: those of sql/kpis (named in KPIS_SQL),
                               in windows of an hour
    twelve.py --sql            print the query for `headsup sql`

DuckDB reads the files and does the sums; what follows a contact (repetition, payment) is found
again here, by looking at all pairs.
"""
import csv
import os
import re
import sys

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
NAMES = {
    "fcr": ["closed", "resolved", "repeated", "fcr_rate"],
    "fcr_3d": ["closed", "resolved", "repeated", "fcr_rate"],
    "aht": ["contacts", "handle_ms", "aht_ms"],
    "csat": ["ratings", "satisfied", "csat_rate", "handled", "response_rate"],
    "frt": ["replied", "frt_ms", "answered", "asa_ms"],
    "art": ["rounds", "art_ms", "in_time_level"],
    "service_level": ["offered", "answered_in_time", "service_level", "counted_level", "ignored_level", "excluded_level"],
    "abandonment": ["queued", "abandoned", "short_abandons", "abandonment_rate"],
    "backlog": ["backlog", "longest_wait_ms", "open_contacts"],
    "utilisation": ["agents", "busy_ms", "available_ms", "engaged_ms", "utilisation", "concurrency"],
    "transfer": ["handled", "transferred", "transfer_rate", "bot_started", "handed_off", "handoff_rate"],
    "containment": ["bot_started", "bot_only", "repeated", "containment_rate"],
    "conversion": ["asked", "paid_soon", "conversion_rate", "paid_later", "later_rate"],
}


def kpis(folder):
    """The files with their windows an hour long, and nothing else changed."""
    os.makedirs(folder, exist_ok=True)
    here = os.path.join(os.environ.get("HEADSUP_SQL") or os.path.join(os.path.dirname(__file__), "../../../sql"), "kpis")
    for name in NAMES:
        with open(os.path.join(here, f"{name}.sql")) as file:
            text = file.read()
        hour = r"tumble(\1, INTERVAL '1 hour')"
        text = re.sub(r"hop\((\w+), INTERVAL '[^']*', INTERVAL '[^']*'\)", hour, text)
        text = re.sub(r"tumble\((\w+), INTERVAL '[^']*'\)", hour, text)
        text = re.sub(r"GROUPING SETS \(.*\)", "GROUPING SETS ((period))", text)
        keys = text.index(" AS period,") + len(" AS period,")
        first = re.compile(r"\s+(shop|channel|skill),")
        while match := first.match(text, keys):
            text = text[:keys] + text[match.end() :]
        with open(os.path.join(folder, f"{name}.sql"), "w") as file:
            file.write(text)


def query():
    selects = []
    for name, values in NAMES.items():
        for value in values:
            selects.append(
                f"SELECT '{name}' AS kpi, '{value}' AS value, window_start, CAST({value} AS DOUBLE) AS number FROM kpi.{name} WHERE final"
            )
    return " UNION ALL ".join(selects)


def ratio(a, b):
    return None if not b else a / b


def compute(data):
    import duckdb

    db = duckdb.connect()
    db.execute("SET TimeZone = 'UTC'")
    for table in ["contacts", "rounds", "ratings", "queue", "orders", "agents"]:
        db.execute(f"CREATE VIEW {table} AS SELECT * FROM read_parquet('{data}/facts/{table}/*/*.parquet')")
    out = {}

    def put(kpi, hour, values):
        for value, number in zip(NAMES[kpi], values):
            out[kpi, value, hour] = number

    def select(kpi, time, columns, source):
        time = f'"{time}"'
        sql = f"SELECT epoch_ms(date_trunc('hour', {time})) AS hour, {columns} FROM {source} AND {time} IS NOT NULL GROUP BY hour"
        for hour, *values in db.execute(sql).fetchall():
            put(kpi, hour, values)

    inbound = "origin <> 'proactive'"
    mean = lambda x: f"CAST(sum({x}) AS DOUBLE) / nullif(count({x}), 0)"
    rate = lambda a, b: f"CAST(count(*) FILTER (WHERE {a}) AS DOUBLE) / nullif(count(*) FILTER (WHERE {b}), 0)"
    n = lambda condition: f"count(*) FILTER (WHERE {condition})"
    select("aht", "ended_at", f"count(*), sum(handle_ms), {mean('handle_ms')}", f"contacts WHERE handle_ms IS NOT NULL AND NOT abandoned AND {inbound}")
    select("frt", "ended_at", f"count(first_reply_ms), {mean('first_reply_ms')}, count(wait_ms), {mean('wait_ms')}", f"contacts WHERE accepted_at IS NOT NULL AND NOT abandoned AND {inbound}")
    select("art", "replied_at", f"count(*), {mean('reply_ms')}, {rate('reply_ms <= 180000', 'true')}", f"rounds WHERE {inbound}")
    in_time = "NOT abandoned AND wait_ms <= 30000"
    select(
        "service_level",
        "ended_at",
        f"count(*), {n(in_time)}, {rate(in_time, 'true')}, {rate('wait_ms <= 30000', 'true')}, {rate(in_time, 'NOT abandoned')}, {rate(in_time, 'NOT abandoned OR wait_ms > 30000')}",
        f"contacts WHERE wait_ms IS NOT NULL AND {inbound}",
    )
    late = "abandoned AND wait_ms > 5000"
    select("abandonment", "ended_at", f"count(*), {n(late)}, {n('abandoned AND wait_ms <= 5000')}, {rate(late, 'true')}", f"contacts WHERE queued_at IS NOT NULL AND {inbound}")
    transferred = "accepted_at IS NOT NULL AND transfers > 0"
    bot = "entry = 'bot'"
    select(
        "transfer",
        "ended_at",
        f"count(accepted_at), {n(transferred)}, {rate(transferred, 'accepted_at IS NOT NULL')}, {n(bot)}, {n(bot + ' AND handed_off')}, {rate(bot + ' AND handed_off', bot)}",
        f"contacts WHERE {inbound}",
    )
    select("backlog", "at", "sum(waiting), max(longest_wait_ms), sum(open_contacts)", "queue WHERE skill IS NOT NULL")
    select(
        "utilisation",
        "at",
        "count(DISTINCT agent_id), sum(busy_ms), sum(available_ms), sum(engaged_ms), CAST(sum(busy_ms) AS DOUBLE) / nullif(sum(available_ms), 0), CAST(sum(busy_ms) AS DOUBLE) / nullif(sum(engaged_ms), 0)",
        "agents WHERE true",
    )
    ratings = dict(db.execute("SELECT epoch_ms(date_trunc('hour', rated_at)), (count(*), count(*) FILTER (WHERE score >= 4)) FROM ratings WHERE origin <> 'proactive' GROUP BY 1").fetchall())
    handled = dict(db.execute(f"SELECT epoch_ms(date_trunc('hour', ended_at)), count(*) FROM contacts WHERE accepted_at IS NOT NULL AND NOT abandoned AND {inbound} GROUP BY 1").fetchall())
    for hour in ratings.keys() | handled.keys():
        rated = ratings.get(hour, (0, 0))
        rated = list(rated.values()) if isinstance(rated, dict) else rated
        contacts = handled.get(hour, 0)
        put("csat", hour, [rated[0], rated[1], ratio(rated[1], rated[0]), contacts, ratio(rated[0], contacts)])

    follow(db, put)
    return out


def follow(db, put):
    """What follows contacts: all pairs of a customer's contacts in a shop, and payments."""
    rows = db.execute(
        """SELECT customer_id, shop, conversation_id, coalesce('o' || order_id, 'i' || intent, 's' || skill, '') AS issue,
                  epoch_ms(started_at) AS started, epoch_ms(coalesce(closed_at, ended_at)) AS at, epoch_ms(ended_at) AS ended,
                  closed_at IS NOT NULL AS closed, coalesce(resolved, false) AS resolved, entry, bot_only, handed_off,
                  coalesce(intent, skill) AS asks
           FROM contacts WHERE origin <> 'proactive' ORDER BY ended, started"""
    ).fetchall()
    by_customer = {}
    for row in rows:
        by_customer.setdefault(row[:2], []).append(row)
    hours = {}

    def count(kpi, at, **more):
        counts = hours.setdefault((kpi, at - at % HOUR_MS), {})
        for name, amount in more.items():
            counts[name] = counts.get(name, 0) + amount

    for contacts in by_customer.values():
        for contact in contacts:
            _, _, conversation, issue, _, at, ended, closed, resolved, entry, bot_only, handed_off, _ = contact
            # Of those that begin later about the same, the first that is over.
            later = [
                (max(other[6], ended), other[4])
                for other in contacts
                if other is not contact and (other[3] == issue or other[2] == conversation) and other[4] >= at
            ]
            after = min(later)[1] - at if later else None
            for kpi, horizon in [("fcr", DAY_MS), ("fcr_3d", 3 * DAY_MS)]:
                if closed:
                    repeated = after is not None and after <= horizon
                    count(kpi, at, closed=1, resolved=int(resolved), repeated=int(resolved and repeated))
            if entry == "bot":
                alone = bool(bot_only and not handed_off)
                repeated = after is not None and after <= DAY_MS
                count("containment", at, closed=1, resolved=int(alone), repeated=int(alone and repeated))
    for (kpi, hour), counts in hours.items():
        closed, resolved, repeated = counts["closed"], counts["resolved"], counts["repeated"]
        put(kpi, hour, [closed, resolved, repeated, ratio(resolved - repeated, closed)])

    paid = {}
    for customer, shop, at in db.execute("SELECT customer_id, shop, epoch_ms(orders.at) FROM orders WHERE type = 'paid'").fetchall():
        paid.setdefault((customer, shop), []).append(at)
    hours.clear()
    asked = {}
    for row in rows:
        if row[12] not in ("presale", "product_question"):
            continue
        key, started = row[:2], row[4]
        if any(abs(other - started) < DAY_MS for other in asked.setdefault(key, [])):
            continue
        asked[key].append(started)
        after = [at - started for at in paid.get(key, []) if 0 <= at - started <= 4 * DAY_MS]
        count("conversion", started, asked=1, soon=int(bool(after) and min(after) <= DAY_MS), later=int(bool(after)))
    for (kpi, hour), counts in hours.items():
        put(kpi, hour, [counts["asked"], counts["soon"], ratio(counts["soon"], counts["asked"]), counts["later"], ratio(counts["later"], counts["asked"])])


def compare(data, ours):
    from datetime import datetime

    expected = compute(data)
    found = {}
    with open(ours) as file:
        for row in csv.DictReader(file):
            hour = int(datetime.fromisoformat(row["window_start"].replace("Z", "+00:00")).timestamp() * 1000)
            found[row["kpi"], row["value"], hour] = float(row["number"]) if row["number"] != "" else None
    wrong = []
    for key in sorted(expected.keys() | found.keys()):
        a, b = expected.get(key, "nothing"), found.get(key, "nothing")
        if a is not None and a != "nothing":
            a = float(a)
        if a != b:
            wrong.append(f"{key}: {a} expected, {b} found")
    for line in wrong[:20]:
        print(line)
    print(f"{len(expected)} values of {len(NAMES)} KPIs, {len(wrong)} differ")
    return 1 if wrong or len(expected) < 1000 else 0


if __name__ == "__main__":
    arguments = sys.argv[1:]
    if len(arguments) == 2 and arguments[0] == "--kpis":
        kpis(arguments[1])
    elif arguments == ["--sql"]:
        print(query())
    elif len(arguments) == 2 and not arguments[0].startswith("-"):
        sys.exit(compare(*arguments))
    else:
        sys.exit(__doc__)
