#!/usr/bin/env python3
"""Writes the dashboards (*.json) beside it: python3 dashboards/grafana/make.py

Prometheus has the newest values and their course, ClickHouse what is behind them. A KPI's series are by grouping
set: all, a shop, a channel, a skill, all three, and some by shop and skill; keys that a series is not grouped by
are empty. So "all" of a variable is the regex (), which the empty label alone matches, and what is shown is always
a KPI's own number, never a mean of means.
"""
import json
import pathlib

PROMETHEUS = {"type": "prometheus", "uid": "${prometheus}"}
CLICKHOUSE = {"type": "grafana-clickhouse-datasource", "uid": "${clickhouse}"}
KEYS = 'shop=~"$shop",channel=~"$channel",skill=~"$skill"'
NO_SKILL = 'shop=~"$shop",channel=~"$channel"'
LEGEND = "{{shop}} {{channel}} {{skill}}"
# The rows that the variables leave; a variable that stands at all leaves every row.
ROWS = (
    "$__conditionalAll(shop IN (${shop:singlequote}), $shop) AND "
    "$__conditionalAll(channel IN (${channel:singlequote}), $channel) AND "
    "$__conditionalAll(skill IN (${skill:singlequote}), $skill)"
)
CONVERSATION = "/d/headsup-conversations?var-conversation=${__value.raw}&${__url_time_range}"
CUSTOMER = "/d/headsup-conversations?var-customer=${__value.raw}&${__url_time_range}"


def prom(expr, legend="", instant=False):
    target = {"datasource": PROMETHEUS, "expr": expr, "legendFormat": legend or "__auto"}
    return target | ({"instant": True, "format": "table"} if instant else {"range": True})


def sql(text, series=False):
    kind = "timeseries" if series else "table"
    return {
        "datasource": CLICKHOUSE, "editorType": "sql", "queryType": kind, "format": 0 if series else 1,
        "rawSql": " ".join(text.split()),
    }


def steps(*pairs):
    """Colours from a value on; the first without one."""
    return {"mode": "absolute", "steps": [{"color": color, "value": value} for color, value in pairs]}


def panel(kind, title, targets, w, h, unit="none", description="", limits=None, lines=False, links=(), options=None,
          decimals=None, fields=(), empty=None, stack=False):
    targets = targets if isinstance(targets, list) else [targets]
    for place, target in enumerate(targets):
        target["refId"] = "ABCDEFGH"[place]
    sources = {target["datasource"]["type"] for target in targets}
    defaults = {"unit": unit, "thresholds": limits or steps(("green", None))}
    if decimals is not None:
        defaults["decimals"] = decimals
    if kind == "timeseries":
        custom = {"lineWidth": 1, "fillOpacity": 60 if stack else 5, "showPoints": "never", "spanNulls": 600_000}
        if lines:
            custom["thresholdsStyle"] = {"mode": "dashed"}
        if stack:
            custom["stacking"] = {"mode": "normal", "group": "A"}
        defaults |= {"custom": custom, "color": {"mode": "palette-classic"}}
    defaults_options = {
        "stat": {"reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False}, "graphMode": "area",
                 "colorMode": "value", "textMode": "value_and_name", "orientation": "auto", "justifyMode": "auto"},
        "timeseries": {"legend": {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []},
                       "tooltip": {"mode": "multi", "sort": "desc"}},
        "table": {"showHeader": True, "cellHeight": "sm"},
        "barchart": {"orientation": "horizontal", "xField": "what", "showValue": "auto", "stacking": "none",
                     "legend": {"displayMode": "list", "placement": "bottom", "showLegend": False, "calcs": []},
                     "tooltip": {"mode": "single", "sort": "none"}},
    }[kind]
    made = {
        "type": kind, "title": title, "description": description,
        "datasource": targets[0]["datasource"] if len(sources) == 1 else {"type": "datasource", "uid": "-- Mixed --"},
        "targets": targets,
        "fieldConfig": {"defaults": defaults, "overrides": list(fields)},
        "options": defaults_options | (options or {}),
        "gridPos": {"w": w, "h": h},
    }
    if links:
        made["links"] = list(links)
    if empty:
        # Why a panel may rightly show nothing; the test then takes an empty answer.
        made["description"] = f"{description} Empty: {empty}".strip()
    return made


def field(name, *properties):
    """Properties of a column, or of the series of that name."""
    return {
        "matcher": {"id": "byName", "options": name},
        "properties": [{"id": id, "value": value} for id, value in properties],
    }


def link(name, title, url):
    return field(name, ("links", [{"title": title, "url": url}]))


def n_of(name="n"):
    return field(name, ("unit", "none"), ("decimals", 0), ("color", {"mode": "fixed", "fixedColor": "text"}))


def to(title, url):
    """A link of a panel."""
    return {"type": "link", "title": title, "url": url, "tags": [], "asDropdown": False, "includeVars": False,
            "keepTime": False, "targetBlank": False, "icon": "", "tooltip": ""}


def row(title):
    return {"type": "row", "title": title, "collapsed": False, "panels": [], "gridPos": {"w": 24, "h": 1}}


def variable(name, label, query, source=PROMETHEUS, **more):
    asked = {"query": query, "refId": name} if source is PROMETHEUS else query
    return {
        "type": "query", "name": name, "label": label, "datasource": source, "query": asked, "definition": query,
        "refresh": 2, "sort": 1, "multi": True, "includeAll": True, "current": {"text": ["All"], "value": ["$__all"]},
    } | more


def text_variable(name, label):
    return {"type": "textbox", "name": name, "label": label, "query": "", "current": {"text": "", "value": ""}}


def sources(*kinds):
    names = {"prometheus": "Prometheus", "grafana-clickhouse-datasource": "ClickHouse"}
    made = []
    for kind in kinds:
        name = "clickhouse" if "clickhouse" in kind else kind
        made.append({"type": "datasource", "name": name, "label": names[kind], "query": kind})
    return made


KPI_KEYS = [
    variable(key, label, f'label_values(headsup_kpi_service_level_offered{{grouped_by="{key}"}}, {key})', allValue="()")
    for key, label in [("shop", "Shop"), ("channel", "Channel"), ("skill", "Skill")]
]
FACT_KEYS = [
    variable(key, label, f"SELECT DISTINCT {key} FROM contacts WHERE {key} IS NOT NULL AND $__timeFilter(ended_at) ORDER BY {key}", CLICKHOUSE)
    for key, label in [("shop", "Shop"), ("channel", "Channel"), ("skill", "Skill")]
]
BOTH = sources("prometheus", "grafana-clickhouse-datasource")
FIRING = {
    "name": "Alerts firing", "datasource": PROMETHEUS, "enable": True, "hide": False, "iconColor": "red",
    "expr": "sum by (alert, severity) (headsup_alerts_firing) > 0", "step": "30s",
    "titleFormat": "{{alert}}", "textFormat": "{{severity}}", "tagKeys": "severity",
}
ALERTS = {
    "name": "Alerts", "datasource": CLICKHOUSE, "enable": True, "hide": False, "iconColor": "red",
    "target": sql("""
        SELECT started_at AS time, argMax(resolved_at, revision) AS timeEnd, any(name) AS title,
            concat(argMax(state, revision), ' ', any(keys)) AS text, any(severity) AS tags
        FROM alerts WHERE $__timeFilter(started_at) AND state IS NOT NULL GROUP BY alert_id, started_at
        ORDER BY started_at""") | {"refId": "Anno"},
}


def dashboard(uid, title, description, variables, panels, annotations=(), time="now-3h", refresh="10s"):
    x = y = tallest = 0
    for number, made in enumerate(panels, 1):
        place = made["gridPos"]
        if x + place["w"] > 24:
            x, y, tallest = 0, y + tallest, 0
        place |= {"x": x, "y": y}
        x, tallest = x + place["w"], max(tallest, place["h"])
        made["id"] = number
    others = {
        "type": "dashboards", "title": "headsup", "tags": ["headsup"], "asDropdown": True, "includeVars": True,
        "keepTime": True, "targetBlank": False, "icon": "external link", "tooltip": "", "url": "",
    }
    made = {
        "uid": f"headsup-{uid}", "title": title, "description": description, "tags": ["headsup"], "schemaVersion": 39,
        "version": 1, "editable": True, "graphTooltip": 1, "timezone": "browser", "refresh": refresh,
        "time": {"from": time, "to": "now"}, "links": [others], "templating": {"list": variables},
        "annotations": {"list": list(annotations)}, "panels": panels,
    }
    path = pathlib.Path(__file__).parent / f"{uid}.json"
    path.write_text(json.dumps(made, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def to_conversations(title="Conversations of this choice"):
    return [to(title, "/d/headsup-conversations?${__url_time_range}&${shop:queryparam}&${channel:queryparam}&${skill:queryparam}")]


def kpi(title, kpi, value, n, unit, limits=None, keys=KEYS, extra=(), description=""):
    """A tile: the value, what stands beside it, and of how many it is."""
    targets = [prom(f"headsup_kpi_{kpi}_{value}{{{keys}}}", f"{title.split(' | ')[0]} {LEGEND}")]
    targets += [prom(f"headsup_kpi_{kpi}_{column}{{{keys}}}", f"{name} {LEGEND}") for column, name in extra]
    fields = []
    if n:
        targets.append(prom(f"headsup_kpi_{kpi}_{n}{{{keys}}}", f"n {LEGEND}"))
        properties = n_of()["properties"]
        fields = [{"matcher": {"id": "byRegexp", "options": "/^n( |$)/"}, "properties": properties}]
    return panel("stat", title, targets, 6, 5, unit, description, limits, fields=fields, links=to_conversations(),
                 decimals=1 if unit == "percentunit" else None)


def course(title, kpi, columns, unit, w=8, limits=None, keys=KEYS, description=""):
    targets = [prom(f"headsup_kpi_{kpi}_{column}{{{keys}}}", f"{name} {LEGEND}".strip()) for column, name in columns]
    return panel("timeseries", title, targets, w, 8, unit, description, limits, lines=bool(limits), links=to_conversations())


def low(limit, warn):
    return steps(("red", None), ("orange", limit), ("green", warn))


def high(warn, limit):
    return steps(("green", None), ("orange", warn), ("red", limit))


CHOICE = "KPIs are there for all, for each shop, channel and skill, and for shop, channel and skill together; AHT, service level and backlog also for shop and skill. Another choice shows nothing."

dashboard("service-wall", "Service wall · 服务大屏", f"The twelve KPIs, newest window, and their course. {CHOICE}",
    sources("prometheus") + KPI_KEYS, [
    kpi("First contact resolution · 首次解决率", "fcr", "fcr_rate", "closed", "percentunit", low(0.6, 0.7), description="Of the contacts closed in the last whole hour; provisional for 28 hours."),
    kpi("Average handle time · 平均处理时长", "aht", "aht_ms", "contacts", "ms", high(110_000, 120_000), extra=[("p90_ms", "P90")]),
    kpi("Satisfaction · 满意度", "csat", "csat_rate", "ratings", "percentunit", low(0.7, 0.75), extra=[("response_rate", "rated")]),
    kpi("First response · 首响时长", "frt", "frt_ms", "replied", "ms", high(30_000, 60_000), extra=[("asa_ms", "speed of answer")]),
    kpi("Response time · 平均响应时长", "art", "art_ms", "rounds", "ms", high(60_000, 180_000), extra=[("p90_ms", "P90")]),
    kpi("Service level · 服务水平", "service_level", "service_level", "offered", "percentunit", low(0.7, 0.8)),
    kpi("Abandonment · 放弃率", "abandonment", "abandonment_rate", "queued", "percentunit", high(0.06, 0.1)),
    kpi("Backlog · 积压", "backlog", "backlog", None, "none", high(30, 50), description="Customers who wait now."),
    kpi("Longest wait · 最长等待", "backlog", "longest_wait_ms", None, "ms", high(120_000, 300_000)),
    kpi("Utilisation · 利用率", "utilisation", "utilisation", "agents", "percentunit", high(0.85, 0.95), keys='skill=~"$skill"', description="Of all shops and channels. Not there where the work is divided among processes."),
    kpi("Transfer · 转接率", "transfer", "transfer_rate", "handled", "percentunit", high(0.15, 0.25), extra=[("handoff_rate", "handoff from bot")]),
    kpi("Bot containment · 机器人独立解决率", "containment", "containment_rate", "bot_started", "percentunit", low(0.3, 0.5), keys=NO_SKILL, description="Of all skills."),
    kpi("Inquiry conversion · 询单转化率", "conversion", "conversion_rate", "asked", "percentunit", low(0.1, 0.2), description="Who asked in the last whole hour and has paid; provisional for 4 days."),
    panel("stat", "Concurrency · 并发", prom('headsup_kpi_utilisation_concurrency{skill=~"$skill"}', "concurrency {{skill}}"), 6, 5, "none", "Conversations at the same time, of agents who have any.", decimals=2),
    panel("table", "Alerts firing", prom("sum by (alert, severity) (headsup_alerts_firing) > 0", instant=True), 12, 5,
          links=[to("Alerts", "/d/headsup-alerts?${__url_time_range}")],
          fields=[field("Time", ("custom.hideFrom", {"viz": True, "legend": False, "tooltip": False})), link("alert", "Alerts of this rule", "/d/headsup-alerts?var-alert=${__value.raw}&${__url_time_range}")], empty="nothing fires."),
    row("Course"),
    course("Service level", "service_level", [("service_level", "")], "percentunit", limits=steps(("red", None), ("green", 0.8))),
    course("Average handle time", "aht", [("aht_ms", "mean"), ("p90_ms", "P90")], "ms", limits=steps(("green", None), ("red", 120_000))),
    course("First response, speed of answer", "frt", [("frt_ms", "first response"), ("asa_ms", "speed of answer")], "ms"),
    course("Backlog", "backlog", [("backlog", "waiting"), ("open_contacts", "open")], "none", limits=steps(("green", None), ("red", 50))),
    course("Satisfaction", "csat", [("csat_rate", "")], "percentunit", limits=steps(("red", None), ("green", 0.7))),
    course("Abandonment", "abandonment", [("abandonment_rate", "")], "percentunit", limits=steps(("green", None), ("red", 0.1))),
], [FIRING])


def by_skill(title, expr, unit, limits=None, w=8, description=""):
    return panel("timeseries", title, prom(expr, "{{skill}}"), w, 8, unit, description, limits, lines=bool(limits), links=to_conversations())


SKILL = 'grouped_by="skill",skill=~"$skills"'
dashboard("aht-queue", "AHT and queue · 处理时长与排队", f"Where handle time and waiting come from: skills, agents, intents, conversations. {CHOICE}",
    BOTH + KPI_KEYS + [
        variable("skills", "Skills compared", 'label_values(headsup_kpi_aht_contacts{grouped_by="skill"}, skill)', allValue=".+"),
    ], [
    course("Handle time of the choice", "aht", [("aht_ms", "mean"), ("p50_ms", "P50"), ("p90_ms", "P90"), ("p95_ms", "P95")], "ms", 12, steps(("green", None), ("red", 120_000))),
    course("Hold, and effort", "aht", [("hold_ms", "hold"), ("effort_ms", "effort")], "ms", 6, description="Effort: each second divided by the conversations that the agent had then."),
    course("Contacts of 5 minutes", "aht", [("contacts", "contacts")], "none", 6),
    by_skill("Handle time by skill", f"headsup_kpi_aht_aht_ms{{{SKILL}}}", "ms", steps(("green", None), ("red", 120_000))),
    by_skill("Waiting by skill", f"headsup_kpi_backlog_backlog{{{SKILL}}}", "none", steps(("green", None), ("red", 50))),
    by_skill("Longest wait by skill", f"headsup_kpi_backlog_longest_wait_ms{{{SKILL}}}", "ms", steps(("green", None), ("red", 300_000))),
    by_skill("Being served for over 2 minutes, by skill", f"headsup_kpi_backlog_open_over{{{SKILL}}}", "none"),
    by_skill("Utilisation by skill", f"headsup_kpi_utilisation_utilisation{{{SKILL}}}", "percentunit"),
    by_skill("Speed of answer by skill", f"headsup_kpi_frt_asa_ms{{{SKILL}}}", "ms"),
    row("Behind it"),
    panel("table", "Agents", sql(f"""
        SELECT agent_id AS agent, count() AS contacts, avg(handle_ms) AS mean, quantileExact(0.9)(handle_ms) AS P90, avg(hold_ms) AS hold,
            sum(transfers > 0) AS transferred
        FROM contacts WHERE $__timeFilter(ended_at) AND handle_ms IS NOT NULL AND {ROWS}
        GROUP BY agent_id ORDER BY mean DESC LIMIT 100"""), 12, 9,
        description="Longest mean handle time first.",
        fields=[field(name, ("unit", "ms")) for name in ("mean", "P90", "hold")] + [link("agent", "Conversations of this agent", "/d/headsup-conversations?var-agent=${__value.raw}&${__url_time_range}")]),
    panel("table", "Intents", sql(f"""
        SELECT ifNull(intent, '(none)') AS intent, skill, count() AS contacts, avg(handle_ms) AS mean, quantileExact(0.9)(handle_ms) AS P90
        FROM contacts WHERE $__timeFilter(ended_at) AND handle_ms IS NOT NULL AND {ROWS}
        GROUP BY intent, skill ORDER BY mean DESC LIMIT 100"""), 12, 9, fields=[field(name, ("unit", "ms")) for name in ("mean", "P90")]),
    panel("table", "Longest contacts", sql(f"""
        SELECT conversation_id AS conversation, customer_id AS customer, ended_at AS ended, shop, channel, skill, agent_id AS agent, intent, handle_ms AS handled, hold_ms AS hold, wait_ms AS waited
        FROM contacts WHERE $__timeFilter(ended_at) AND handle_ms IS NOT NULL AND {ROWS}
        ORDER BY handle_ms DESC LIMIT 50"""), 24, 9,
        fields=[field(name, ("unit", "ms")) for name in ("handled", "hold", "waited")] + [link("conversation", "The conversation", CONVERSATION), link("customer", "The customer", CUSTOMER)]),
    panel("timeseries", "Waiting customers and agents", sql(f"""
        SELECT $__timeInterval(at) AS time, sum(waiting) / uniqExact(at) AS waiting, sum(open_contacts) / uniqExact(at) AS served,
            sum(agents_available) / uniqExact(at) AS agents_available, sum(capacity) / uniqExact(at) AS capacity
        FROM queue WHERE $__timeFilter(at) AND $__conditionalAll(skill IN (${{skill:singlequote}}), $skill) GROUP BY time ORDER BY time""", series=True), 24, 8,
        description="Means of the ticks of 10 s. Agents are counted without a shop or channel, so only the skill is chosen here."),
], [FIRING, ALERTS])

LATEST = """
    SELECT alert_id, argMax(name, revision) AS rule, argMax(severity, revision) AS sev, argMax(state, revision) AS now,
        argMax(keys, revision) AS key, argMax(started_at, revision) AS since, argMax(resolved_at, revision) AS until,
        argMax(value, revision) AS val, argMax(threshold, revision) AS lim, argMax(n, revision) AS count,
        argMax(peak, revision) AS top, argMax(contributors, revision) AS parts, argMax(runbook, revision) AS book, argMax(worst, revision) AS worst_ids, max(revision) AS revisions
    FROM alerts WHERE $__timeFilter(at) AND $__conditionalAll(name IN (${alert:singlequote}), $alert) GROUP BY alert_id"""

dashboard("alerts", "Alerts · 告警", "What fires, what fired, where it came from. headsup says it in event time and amends it; what Prometheus makes of the exported rules stands below.",
    BOTH + [variable("alert", "Rule", "SELECT DISTINCT name FROM alerts WHERE name IS NOT NULL ORDER BY name", CLICKHOUSE)], [
    panel("stat", "Firing now", prom("sum by (severity) (headsup_alerts_firing)", "{{severity}}"), 8, 5, limits=steps(("green", None), ("red", 1)), empty="nothing fires."),
    panel("stat", "Since the process began", prom("sum by (change) (headsup_alert_changes_total)", "{{change}}"), 16, 5, description="Fired, amended by a correction, resolved, withdrawn because a correction took the cause away."),
    panel("table", "Alerts", sql(f"""
        SELECT since, until, now AS state, sev AS severity, rule, key, val AS value, lim AS "limit", count AS n, top AS peak, book AS runbook, revisions, alert_id FROM ({LATEST}) ORDER BY since DESC LIMIT 500"""), 24, 10,
        description="The newest revision of each.",
        fields=[field("state", ("custom.cellOptions", {"type": "color-text"}), ("mappings", [{"type": "value", "options": {
            "firing": {"color": "red", "index": 0}, "resolved": {"color": "green", "index": 1}, "withdrawn": {"color": "text", "index": 2}}}])),
            link("rule", "Only alerts of this rule", "/d/headsup-alerts?var-alert=${__value.raw}&${__url_time_range}")]),
    panel("table", "Worst conversations of these alerts", sql(f"""
        SELECT since, rule, key, arrayJoin(JSONExtract(ifNull(worst_ids, '[]'), 'Array(String)')) AS conversation FROM ({LATEST}) ORDER BY since DESC LIMIT 200"""), 12, 9,
        fields=[link("conversation", "The conversation", CONVERSATION)]),
    panel("table", "What they come from", sql(f"""
        SELECT since, rule, JSONExtractString(part, 'dimension') AS dimension, JSONExtractString(part, 'value') AS which, JSONExtractInt(part, 'n') AS n,
            JSONExtractFloat(part, 'share') AS share, JSONExtractFloat(part, 'metric') AS value
        FROM (SELECT since, rule, arrayJoin(JSONExtractArrayRaw(ifNull(parts, '[]'))) AS part FROM ({LATEST})) ORDER BY since DESC, dimension, share DESC LIMIT 500"""), 12, 9,
        fields=[field("share", ("unit", "percentunit"))]),
    panel("barchart", "Alerts by rule", sql(f"SELECT rule AS what, count() AS alerts FROM ({LATEST}) GROUP BY rule ORDER BY alerts DESC"), 12, 8),
    panel("timeseries", "Firing over time", prom("sum by (alert) (headsup_alerts_firing)", "{{alert}}"), 12, 8, empty="nothing fires.", stack=True),
    row("As Prometheus evaluates the exported rules"),
    panel("timeseries", "ALERTS", prom('count by (alertname, alertstate) (ALERTS{grouped_by!=""})', "{{alertname}} {{alertstate}}"), 24, 7, description="Later by a scrape and an evaluation; knows no corrections.", stack=True, empty="nothing fires."),
], [ALERTS])

# Only the first event of an assignment or a task names the shop, so all events of its customers are shown.
SHOP = "$__conditionalAll(customer_id IN (SELECT customer_id FROM tasks WHERE shop IN (${shop:singlequote})), $shop)"
CAMPAIGN = "$__conditionalAll(campaign IN (${campaign:singlequote}), $campaign)"
MODEL = "$__conditionalAll(model IN (${model:singlequote}), $model)"
dashboard("customers", "Customers at risk and campaigns · 风险客户与主动服务", "Who is likely to return an order or not to come again, what was done about it, and by whom.",
    BOTH + [
        variable("model", "Model", "SELECT DISTINCT model FROM scores WHERE model IS NOT NULL ORDER BY model", CLICKHOUSE),
        variable("campaign", "Campaign", "SELECT DISTINCT campaign FROM tasks WHERE campaign IS NOT NULL ORDER BY campaign", CLICKHOUSE),
        variable("shop", "Shop", "SELECT DISTINCT shop FROM tasks WHERE shop IS NOT NULL ORDER BY shop", CLICKHOUSE),
    ], [
    panel("stat", "Scores", prom("sum by (model, role) (headsup_scores_total)", "{{model}} {{role}}"), 8, 4, description="Since the process began."),
    panel("stat", "Proactive service", prom("sum by (event) (headsup_tasks_total)", "{{event}}"), 16, 4, description="Events since the process began."),
    panel("table", "Customers most at risk", sql(f"""
        SELECT customer_id AS customer, model, max(at) AS scored, argMax(probability, at) AS risk, argMax(percentile, at) AS percentile, argMax(reasons, at) AS why, argMax(version, at) AS version
        FROM scores WHERE role = 'champion' AND $__timeFilter(at) AND {MODEL} GROUP BY customer_id, model ORDER BY risk DESC LIMIT 100"""), 24, 10,
        description="The newest score of each customer within the time chosen, by the champion.",
        fields=[field("risk", ("unit", "percentunit"), ("decimals", 1), ("custom.cellOptions", {"type": "gauge", "mode": "basic"}), ("min", 0), ("max", 1)), link("customer", "The customer", CUSTOMER)]),
    panel("barchart", "How risk is distributed", sql(f"""
        SELECT concat(toString(toUInt8(floor(probability * 20)) * 5), ' %') AS what, count() AS scores FROM scores
        WHERE role = 'champion' AND $__timeFilter(at) AND {MODEL} GROUP BY what, floor(probability * 20) ORDER BY floor(probability * 20)"""), 8, 9, options={"orientation": "vertical"}, description="Scores by probability, in steps of 5 %."),
    panel("timeseries", "Scores over time", sql(f"""
        SELECT $__timeInterval(at) AS time, model, count() AS scores, avg(probability) AS mean FROM scores
        WHERE role = 'champion' AND $__timeFilter(at) AND {MODEL} GROUP BY time, model ORDER BY time""", series=True), 16, 9,
        fields=[field("mean", ("unit", "percentunit"), ("custom.axisPlacement", "right"))]),
    row("Campaigns"),
    panel("table", "What became of it", sql(f"""
        SELECT campaign, countIf(event = 'task.assigned' AND arm = 'treated') AS treated, countIf(event = 'task.assigned' AND arm = 'control') AS control,
            countIf(event = 'task.created') AS created, countIf(event = 'task.accepted') AS accepted, countIf(event = 'task.completed') AS completed,
            countIf(event = 'task.rejected') AS rejected, countIf(event = 'task.expired') AS expired, countIf(event = 'task.cancelled') AS cancelled, countIf(event = 'task.suppressed') AS suppressed
        FROM tasks WHERE $__timeFilter(at) AND {CAMPAIGN} AND {SHOP} GROUP BY campaign ORDER BY campaign"""), 24, 6,
        description="Control: left alone by chance, to compare with. `headsup lift CAMPAIGN` says whether it helped."),
    panel("timeseries", "Events of tasks", sql(f"""
        SELECT $__timeInterval(at) AS time, event, count() AS events FROM tasks WHERE $__timeFilter(at) AND {CAMPAIGN} AND {SHOP} GROUP BY time, event ORDER BY time""", series=True), 12, 8, stack=True),
    panel("barchart", "Why nobody was contacted", sql(f"""
        SELECT ifNull(reason, '(none)') AS what, count() AS times FROM tasks WHERE event IN ('task.suppressed', 'task.cancelled', 'task.expired') AND $__timeFilter(at) AND {CAMPAIGN} AND {SHOP} GROUP BY what ORDER BY times DESC"""), 6, 8),
    panel("barchart", "How contacts went", sql(f"""
        SELECT ifNull(disposition, '(none)') AS what, count() AS tasks FROM tasks WHERE event = 'task.completed' AND $__timeFilter(at) AND {CAMPAIGN} AND {SHOP} GROUP BY what ORDER BY tasks DESC"""), 6, 8),
    panel("table", "Tasks", sql(f"""
        SELECT task_id AS task, campaign, argMax(event, revision) AS state, customer_id AS customer, max(probability) AS risk, min(at) AS created, max(at) AS changed, argMax(agent_id, revision) AS agent
        FROM tasks WHERE task_id IS NOT NULL AND $__timeFilter(at) AND {CAMPAIGN} AND {SHOP} GROUP BY task_id, campaign, customer_id ORDER BY created DESC LIMIT 200"""), 24, 9,
        fields=[field("risk", ("unit", "percentunit"), ("decimals", 1)), link("customer", "The customer", CUSTOMER)]),
], time="now-24h", refresh="1m")

CHOSEN = f"""(${{conversation:sqlstring}} = '' OR conversation_id = ${{conversation:sqlstring}})
    AND (${{customer:sqlstring}} = '' OR customer_id = ${{customer:sqlstring}})"""
dashboard("conversations", "Conversations · 会话明细", "Contacts by what is chosen; one conversation, or one customer with scores, tasks and orders, when it is named.",
    sources("grafana-clickhouse-datasource") + FACT_KEYS + [text_variable("agent", "Agent"), text_variable("conversation", "Conversation"), text_variable("customer", "Customer")], [
    panel("table", "Contacts", sql(f"""
        SELECT conversation_id AS conversation, customer_id AS customer, ended_at AS ended, shop, channel, skill, agent_id AS agent, intent, wait_ms AS waited, first_reply_ms AS first_reply, handle_ms AS handled,
            transfers, abandoned, resolved, order_id AS "order"
        FROM contacts WHERE $__timeFilter(ended_at) AND {ROWS} AND (${{agent:sqlstring}} = '' OR agent_id = ${{agent:sqlstring}}) AND {CHOSEN} ORDER BY ended_at DESC LIMIT 500"""), 24, 12,
        fields=[field(name, ("unit", "ms")) for name in ("waited", "first_reply", "handled")] + [link("conversation", "Only this one", CONVERSATION), link("customer", "Only this customer", CUSTOMER),
            link("order", "The customer of this order", "/d/headsup-conversations?var-customer=${__data.fields.customer}&${__url_time_range}")]),
    panel("table", "Turns", sql(f"""
        SELECT conversation_id AS conversation, asked_at AS asked, replied_at AS replied, replied_by AS by, reply_ms AS reply FROM turns WHERE $__timeFilter(asked_at) AND {CHOSEN} ORDER BY asked_at DESC LIMIT 500"""), 12, 9,
        description="A customer's messages until somebody, also the bot, replied.", fields=[field("reply", ("unit", "ms")), link("conversation", "Only this one", CONVERSATION)]),
    panel("table", "Ratings", sql(f"""
        SELECT conversation_id AS conversation, customer_id AS customer, rated_at AS rated, score, agent_id AS agent FROM ratings WHERE $__timeFilter(rated_at) AND {CHOSEN} ORDER BY rated_at DESC LIMIT 500"""), 12, 9,
        fields=[link("conversation", "Only this one", CONVERSATION)]),
    panel("table", "Orders", sql("""
        SELECT order_id AS "order", type, at, shop, amount_minor / 100 AS amount, currency, actor, reason FROM orders WHERE $__timeFilter(at) AND (${customer:sqlstring} = '' OR customer_id = ${customer:sqlstring}) ORDER BY at DESC LIMIT 500"""), 12, 9),
    panel("table", "Scores and tasks", [sql("""
        SELECT at, model AS what, trigger AS more, probability AS risk, reasons AS why FROM scores WHERE $__timeFilter(at) AND (${customer:sqlstring} = '' OR customer_id = ${customer:sqlstring})
        UNION ALL SELECT at, campaign AS what, event AS more, probability AS risk, ifNull(reason, disposition) AS why FROM tasks WHERE $__timeFilter(at) AND (${customer:sqlstring} = '' OR customer_id = ${customer:sqlstring})
        ORDER BY at DESC LIMIT 500""")], 12, 9, fields=[field("risk", ("unit", "percentunit"), ("decimals", 1))]),
], [ALERTS], time="now-24h", refresh="")

HEADSUP = 'job=~"$job"'
dashboard("pipeline", "Pipeline health · 流水线健康", "Whether everything is read, applied and stored, and how far behind. Nothing disappears: read = applied + duplicate + late + quarantined + ignored + pending.",
    BOTH + [variable("job", "Job", "label_values(headsup_events_read_total, job)", allValue=".+")], [
    panel("stat", "Up", prom(f"up{{{HEADSUP}}}", "{{instance}}"), 6, 4, limits=steps(("red", None), ("green", 1))),
    panel("stat", "Event time behind the clock", prom(f"time() - headsup_watermark_seconds{{{HEADSUP}}}", "{{instance}}"), 6, 4, "s", "Up to the watermark. Of a replay it is the age of what is replayed.", high(30, 120)),
    panel("stat", "Not yet read", prom(f"sum by (instance) (headsup_log_lag_records{{{HEADSUP}}})", "{{instance}}"), 6, 4, "short", "Records in the log.", high(10_000, 1_000_000)),
    panel("stat", "Unaccounted for", prom(f"sum by (instance) (headsup_events_read_total{{{HEADSUP}}}) - sum by (instance) (headsup_events_total{{{HEADSUP}}}) - sum by (instance) (headsup_events_pending{{{HEADSUP}}})", "{{instance}}"), 6, 4, limits=steps(("red", None), ("green", 0), ("red", 1)), description="Always 0. The account is read at one moment, so it has to add up in every scrape."),
    panel("timeseries", "Records read", prom(f"sum by (instance) (rate(headsup_events_read_total{{{HEADSUP}}}[$__rate_interval]))", "{{instance}}"), 8, 8, "reqps"),
    panel("timeseries", "What became of them", prom(f"sum by (outcome) (rate(headsup_events_total{{{HEADSUP}}}[$__rate_interval]))", "{{outcome}}"), 8, 8, "reqps", stack=True),
    panel("timeseries", "Not yet read, by partition", prom(f"headsup_log_lag_records{{{HEADSUP}}}", "{{instance}} {{partition}}"), 8, 8, "short"),
    panel("timeseries", "Waiting for their turn", prom(f"headsup_events_pending{{{HEADSUP}}}", "{{instance}} {{partition}}"), 8, 8, "short"),
    panel("timeseries", "Newest event behind the clock, by partition", prom(f"time() - headsup_event_time_seconds{{{HEADSUP}}}", "{{instance}} {{partition}}"), 8, 8, "s"),
    panel("timeseries", "Time of a batch", [prom(f"histogram_quantile({q}, sum by (le) (rate(headsup_batch_seconds_bucket{{{HEADSUP}}}[$__rate_interval])) > 0)", f"P{round(100 * q)}") for q in (0.5, 0.99)], 8, 8, "s", empty="no batch in this time."),
    panel("timeseries", "Set aside", prom(f"sum by (reason) (increase(headsup_quarantined_total{{{HEADSUP}}}[$__rate_interval]))", "{{reason}}"), 8, 8, "short", stack=True),
    panel("timeseries", "Rows of KPIs", prom(f"sum by (kpi) (rate(headsup_kpi_rows_total{{{HEADSUP}}}[$__rate_interval]))", "{{kpi}}"), 8, 8, "rowsps", stack=True),
    panel("timeseries", "Facts", prom(f"sum by (table) (rate(headsup_facts_total{{{HEADSUP}}}[$__rate_interval]))", "{{table}}"), 8, 8, "rowsps", stack=True),
    panel("timeseries", "Facts too late for their KPI", prom(f"sum by (kpi) (increase(headsup_kpi_refused_total{{{HEADSUP}}}[$__rate_interval]))", "{{kpi}}"), 8, 8, "short", "`headsup recompute` heals them."),
    panel("timeseries", "Entries remembered", prom(f"headsup_state_entries{{{HEADSUP}}}", "{{instance}} {{state}}"), 8, 8, "short"),
    panel("stat", "KPI series left out", prom(f"headsup_kpi_series_left_out{{{HEADSUP}}}", "{{instance}}"), 8, 8, description="Over metrics.series_max: not on these dashboards.", limits=steps(("green", None), ("red", 1))),
    row("Checkpoints, ClickHouse, webhooks"),
    panel("timeseries", "Checkpoints written", prom(f"rate(headsup_checkpoints_total{{{HEADSUP}}}[$__rate_interval]) * 60", "{{instance}} a minute"), 8, 7),
    panel("timeseries", "Checkpoint's size", prom(f"headsup_checkpoint_bytes{{{HEADSUP}}}", "{{instance}}"), 8, 7, "bytes"),
    panel("timeseries", "Stood still for a checkpoint, at most", prom(f"headsup_checkpoint_stall_seconds{{{HEADSUP}}}", "{{instance}}"), 8, 7, "s"),
    panel("timeseries", "Rows into ClickHouse", prom(f"rate(headsup_clickhouse_rows_total{{{HEADSUP}}}[$__rate_interval])", "{{instance}}"), 8, 7, "rowsps"),
    panel("timeseries", "ClickHouse is behind", [prom(f"headsup_clickhouse_behind_bytes{{{HEADSUP}}}", "{{instance}} bytes"), prom(f"headsup_clickhouse_behind_files{{{HEADSUP}}}", "{{instance}} files")], 8, 7, "bytes", fields=[{"matcher": {"id": "byRegexp", "options": "/files$/"}, "properties": [{"id": "unit", "value": "short"}, {"id": "custom.axisPlacement", "value": "right"}]}]),
    panel("timeseries", "ClickHouse fails", [prom(f"headsup_clickhouse_failing_seconds{{{HEADSUP}}}", "{{instance}} for"), prom(f"increase(headsup_clickhouse_failures_total{{{HEADSUP}}}[$__rate_interval])", "{{instance}} attempts")], 8, 7, "s", fields=[{"matcher": {"id": "byRegexp", "options": "/attempts$/"}, "properties": [{"id": "unit", "value": "short"}, {"id": "custom.axisPlacement", "value": "right"}]}]),
    panel("timeseries", "Webhooks", prom(f"sum by (endpoint, outcome) (rate(headsup_webhook_events_total{{{HEADSUP}}}[$__rate_interval]))", "{{endpoint}} {{outcome}}"), 12, 7, "reqps", empty="no webhooks are configured."),
    panel("timeseries", "Webhooks not delivered yet", prom(f"headsup_webhook_waiting_events{{{HEADSUP}}}", "{{endpoint}}"), 12, 7, "short", empty="no webhooks are configured."),
    panel("table", "Set aside, newest first", sql("""
        SELECT known_at, partition, offset, reason, detail, substring(bytes, 1, 200) AS begins FROM quarantine WHERE $__timeFilter(known_at) ORDER BY known_at DESC LIMIT 100"""), 24, 9, description="`headsup quarantine` shows them whole and puts back what was mended.", empty="nothing was set aside."),
], [FIRING])
