#!/usr/bin/env python3
"""Runs every query of every dashboard: python3 check.py HEADSUP TEST_BINARY

A simulated shop, with a model, tasks, alerts, a record set aside, goes through `headsup run` into Debian's Prometheus
and the ClickHouse 26.7 engine (TEST_BINARY serves it; without one, queries of ClickHouse are left out). A query that
fails, or answers nothing where the panel does not say that this is right, fails the test. Macros of the ClickHouse
plugin and Grafana's variables are put in as their documentation says.
"""
import contextlib
import datetime
import http.server
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
HEADSUP = str(pathlib.Path(sys.argv[1]).resolve())
ENGINE = sys.argv[2] if len(sys.argv) > 2 else ""
LIMIT = 120

WORLD = """
days = 1
customers = 20000
incidents = [
    { kind = "aht", at = "9h 56m", lasting = "12m" },
    { kind = "aht", at = "10h 40m", lasting = "2h" },
]
"""
# A whole hour, and on until the second incident lasts.
FROM, UNTIL = "2026-03-02T09:55", "2026-03-02T11:12"
SPEC = """
title = "Returns | 退货"
description = "A test's: who asks for a return within five days."
label = "order_return"
lead = "0d"
horizon = "5d"
every = "2d"
population = "orders_30d > 0"
recency = "days_since_order"
[training]
seed = 1
folds = 1
fold_share = 0.3
trials = 1
bags = 1
max_rounds = 20
early_stopping = 20
metric = "log_loss"
calibration = "platt"
[training.search]
max_depth = [3]
[profit]
hit_minor = 1500
contact_minor = 200
[scoring]
on = ["order.placed", "contact.ended"]
sweep = true
explain_from = 0.05
"""
POLICY = """
accepted_for = "4h"
[[cap]]
contacts = 2
per = "7d"
[quiet_hours]
from = "22:00"
to = "08:00"
zone = "UTC"
[[channel]]
name = "wechat"
reach = "48h"
pushes_max = 5
[[channel]]
name = "web"
[[campaign]]
name = "save_order"
title = "Save | 挽回"
model = "returns"
threshold = 0.05
channels = ["wechat", "web"]
cooldown = "3d"
expires_after = "1h"
orders_within = "30d"
control_share = 0.5
"""
DAILY = """-- title: Contacts a day | 每日
-- unit: contacts
SELECT tumble(ended_at, INTERVAL '1 day') AS period, count(*) AS contacts FROM contacts GROUP BY GROUPING SETS ((period))
"""


class Wrong(Exception):
    pass


def call(url, body=None, headers=None):
    request = urllib.request.Request(url, body, headers or {})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.read().decode()
    except urllib.error.HTTPError as error:
        raise Wrong(f"{error.code}: {error.read().decode()[:600]}") from None
    except OSError as error:
        raise Wrong(str(error)) from None


def until(what, holds):
    begun = time.monotonic()
    while True:
        with contextlib.suppress(Wrong):
            if holds():
                return
        if time.monotonic() - begun > LIMIT:
            sys.exit(f"it did not come to this in {LIMIT} s: {what}")
        time.sleep(0.1)


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Shop:
    """A run over a simulated shop, and what reads it."""

    def __init__(self, folder):
        self.folder = folder
        self.children = []

    def do(self, *args):
        done = subprocess.run([HEADSUP, *args], cwd=self.folder, capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"headsup {' '.join(args)}\n{done.stdout}{done.stderr}")
        return done.stdout

    def start(self, command, **more):
        child = subprocess.Popen(command, cwd=self.folder, stdin=subprocess.DEVNULL, **more)
        self.children.append(child)
        return child

    def write(self, name, text):
        (self.folder / name).write_text(text, encoding="utf-8")

    def stop(self):
        for child in self.children:
            child.send_signal(signal.SIGKILL)
            child.wait()

    def engine(self):
        """Serves ClickHouse's engine; its URL."""
        if not ENGINE:
            return ""
        environment = os.environ | {"HEADSUP_TEST_ENGINE_FOLDER": str(self.folder / "engine"), "HEADSUP_TEST_ENGINE_PORT": "0"}
        serving = [ENGINE, "clickhouse::serves_the_engine", "--exact", "--nocapture"]
        child = self.start(serving, env=environment, stdout=subprocess.PIPE, text=True)
        for line in child.stdout:
            if "engine ready at port " in line:
                return f"http://127.0.0.1:{int(line.split('engine ready at port ')[1])}"
        sys.exit("the ClickHouse engine did not start")

    def model(self):
        """A version of a model that scores."""
        (self.folder / "kpis").mkdir()
        self.write("kpis/daily.sql", DAILY)
        self.write("returns.toml", SPEC)
        self.do("simulate", "--customers", "400", "--days", "35", "--out", "past.jsonl")
        self.do("run", "--input", "past.jsonl", "--until-end", "--kpis", "kpis", "--data", "past")
        said = self.do("train", "returns.toml", "--data", "past", "--registry", "models", "--test-from", "2026-03-24")
        version = re.findall(r"version ([0-9a-f]{16})", said)[-1]
        self.do("models", "promote", "returns", version, "--registry", "models", "--force", "a test")

    def router(self):
        """A router: takes what webhooks send."""
        class Takes(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                self.rfile.read(int(self.headers["content-length"]))
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_):
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Takes)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{server.server_port}/"

    def run(self, clickhouse):
        """Plays the day; where the page is, once all of it has been read and loaded."""
        self.write("world.toml", WORLD)
        self.do("simulate", "--world", "world.toml", "--out", "day.jsonl")
        time_of = re.compile(r'"time":"([^"]*)"')
        with open(self.folder / "day.jsonl", encoding="utf-8") as day, open(self.folder / "some.jsonl", "w", encoding="utf-8") as some:
            for line in day:
                at = time_of.search(line)[1]
                if FROM <= at < UNTIL:
                    some.write(line)
                elif at < FROM and "agent.state_changed" in line:
                    # Who has come is there when it begins.
                    some.write(re.sub(r'(time":")[^"]*', rf"\g<1>{FROM}:00.000Z", line))
            some.write("this is no event\n")
        self.write("policy.toml", POLICY)
        self.write("webhooks.toml", f'[[webhook]]\nname = "router"\nurl = "{self.router()}"\nsecrets = ["whsec_{"MfKQ9r8G" * 4}"]\n')
        (self.folder / "webhooks.toml").chmod(0o600)
        made = self.do("token", "router", "--scopes", "read,act,ingest")
        self.token = re.search(r"hup_[\w-]+", made)[0]
        self.write("tokens.toml", made[made.index("[[token]]"):])
        (self.folder / "tokens.toml").chmod(0o600)
        page = f"127.0.0.1:{free_port()}"
        self.write("c.toml", f"""
[http]
listen = "{page}"
[api]
tokens = "tokens.toml"
[webhooks]
file = "webhooks.toml"
[store]
flush = "4s"
[clickhouse]
url = "{clickhouse}"
""")
        self.do("import", "events", "some.jsonl")
        if clickhouse:
            self.do("clickhouse", "migrate", "--config", "c.toml")
        # The shop is small, so alerts have to do with fewer contacts.
        rules = (ROOT / "sql/alerts.toml").read_text(encoding="utf-8")
        self.write("alerts.toml", rules.replace("min_n = 20", "min_n = 3"))
        command = [HEADSUP, "run", "--config", "c.toml", "--registry", "models", "--policy", "policy.toml", "--alerts", "alerts.toml"]
        run = self.start(command, stderr=open(self.folder / "run.log", "w"))
        page = f"http://{page}"

        def drained():
            if run.poll() is not None:
                sys.exit((self.folder / "run.log").read_text())
            metrics = call(f"{page}/metrics")
            waits = re.findall(r"^headsup_(?:log_lag_records|clickhouse_behind_files)(?:{.*})? (\S+)$", metrics, re.M)
            return waits and all(float(wait) == 0 for wait in waits)

        until("everything is read", drained)
        self.act(page)
        if clickhouse:
            completed = b"SELECT count() FROM headsup.tasks WHERE event = 'task.completed'"
            until("what the router said is loaded", lambda: int(call(clickhouse, completed)))
            until("everything is loaded", drained)
        return page

    def act(self, page):
        """The router's acts: a task is offered, accepted, completed."""
        allowed = {"Authorization": f"Bearer {self.token}"}
        events, cursor = [], ""
        while some := json.loads(call(f"{page}/v1/tasks?limit=500{cursor}", headers=allowed)):
            if not some["events"]:
                break
            events += some["events"]
            cursor = f"&cursor={some['cursor']}"
        over = {event["subject"] for event in events if event["type"] in ("task.expired", "task.cancelled")}
        created = [event for event in events if event["type"] == "task.created" and event["subject"] not in over]
        if not created:
            sys.exit("no task is open")
        acts = [("offer", {"agent_id": "a-1"}), ("accept", {"agent_id": "a-1"}), ("complete", {"disposition": "solved"})]
        for second, (what, body) in enumerate(acts):
            for event in created[-20:]:
                headers = allowed | {"Content-Type": "application/json", "Idempotency-Key": f"{what}-{event['subject']}"}
                call(f"{page}/v1/tasks/{event['subject']}/{what}", json.dumps(body).encode(), headers)
            # In a replay an act is of the newest event's time: a later event, so that the next act is later.
            later = f"{UNTIL}:{10 + second}Z"
            told = {"specversion": "1.0", "id": f"later-{second}", "source": "/test", "type": "conversation.started", "subject": "later",
                    "time": later, "data": {"customer_id": "u", "shop": "shop-1", "channel": "web", "entry": "queue"}}
            call(f"{page}/v1/events", json.dumps(told).encode(), allowed | {"Content-Type": "application/cloudevents+json"})
            seconds = datetime.datetime.fromisoformat(later).timestamp()
            until("the later event is read", lambda: seconds in [
                float(time) for time in re.findall(r"^headsup_event_time_seconds{.*} (\S+)$", call(f"{page}/metrics"), re.M)])

    def prometheus(self, page):
        """Scrapes the page and evaluates the exported rules; its URL."""
        listen = f"127.0.0.1:{free_port()}"
        rules = re.sub(r"(interval|for|keep_firing_for): \S+", r"\1: 1s", (ROOT / "dashboards/prometheus/alerts.yml").read_text(encoding="utf-8"))
        self.write("alerts.yml", rules)
        self.write("prometheus.yml", f"""
global: {{ scrape_interval: 1s, evaluation_interval: 1s }}
rule_files: [alerts.yml]
scrape_configs: [{{ job_name: headsup, static_configs: [{{ targets: ['{page.removeprefix("http://")}'] }}] }}]
""")
        self.start(["/usr/bin/prometheus", "--config.file=prometheus.yml", "--storage.tsdb.path=tsdb", f"--web.listen-address={listen}"],
                   stderr=open(self.folder / "prometheus.log", "w"))
        url = f"http://{listen}"
        query = urllib.parse.urlencode({"query": "count_over_time(up[1m]) >= 4 and up == 1"})
        until("Prometheus has scraped", lambda: json.loads(call(f"{url}/api/v1/query?{query}"))["data"]["result"])
        return url


class Grafana:
    """Answers as the dashboards' queries would be asked."""

    def __init__(self, prometheus, clickhouse):
        self.prometheus, self.clickhouse = prometheus, clickhouse

    def ask(self, target, values, instant=False):
        """How many rows or series a query gives; None if there is no such source."""
        if "expr" in target:
            query = fill(target["expr"], values).replace("$__rate_interval", "1m").replace("$__range", "1m")
            now = time.time()
            asked = {"query": query, "time": now}
            answer = json.loads(call(f"{self.prometheus}/api/v1/query?{urllib.parse.urlencode(asked)}"))
            rows = [row for row in answer["data"]["result"] if row["value"][1] != "NaN"]
            if target.get("range"):
                asked = {"query": query, "start": now - 60, "end": now, "step": 5}
                answer = json.loads(call(f"{self.prometheus}/api/v1/query_range?{urllib.parse.urlencode(asked)}"))
                rows = rows or answer["data"]["result"]
            return len(rows)
        if not self.clickhouse:
            return None
        return len(self.rows(target["rawSql"], values))

    def rows(self, query, values):
        # The data source names the database; the engine has no default one.
        query = re.sub(r"\bFROM (\w)", r"FROM headsup.\1", fill(macros(query, values), values))
        body = f"{query} FORMAT JSONEachRow"
        return [json.loads(line) for line in call(self.clickhouse, body.encode()).splitlines()]

    def values(self, variable, values):
        """What a variable offers."""
        query = variable["query"]
        if isinstance(query, str):
            return [next(iter(row.values())) for row in self.rows(query, values)] if self.clickhouse else None
        match = re.fullmatch(r"label_values\((.*), (\w+)\)", query["query"])
        asked = urllib.parse.urlencode({"match[]": match[1]})
        return json.loads(call(f"{self.prometheus}/api/v1/label/{match[2]}/values?{asked}"))["data"]


def arguments(text, start):
    """What stands between parentheses that open before `start`, cut at its commas; and where it ends."""
    depth, parts, begin = 0, [], start
    for place in range(start, len(text)):
        if text[place] == "(":
            depth += 1
        elif text[place] == "," and depth == 0:
            parts.append(text[begin:place].strip())
            begin = place + 1
        elif text[place] == ")":
            if depth == 0:
                return [*parts, text[begin:place].strip()], place + 1
            depth -= 1
    raise Wrong(f"no closing parenthesis: {text[start:]}")


def macros(text, values):
    """The macros of the ClickHouse plugin that the dashboards use."""
    made = {
        "timeFilter": lambda column: f"{column} >= toDateTime(1735689600) AND {column} <= toDateTime(2524608000)",
        "timeInterval": lambda column: f"toStartOfInterval(toDateTime({column}), INTERVAL 60 second)",
        "conditionalAll": lambda condition, name: "1=1" if values[name.strip("$")] is None else condition,
    }
    while found := re.search(r"\$__(\w+)\(", text):
        if found[1] not in made:
            raise Wrong(f"unknown macro $__{found[1]}")
        parts, end = arguments(text, found.end())
        text = text[: found.start()] + made[found[1]](*parts) + text[end:]
    return text


def fill(text, values):
    """Variables in the formats that the dashboards use; None is "all"."""
    def quoted(value):
        return "'" + str(value).replace("'", "''") + "'"

    def one(found):
        name, kind = found[1] or found[3], found[2]
        if name not in values:
            raise Wrong(f"unknown variable {found[0]}")
        value = values[name]
        if kind in ("singlequote", "sqlstring"):
            return quoted("" if value is None else value)
        return values[f"{name}.all"] if value is None else f"({re.escape(value)})".replace("\\", "\\\\")

    return re.sub(r"\$\{(\w+)(?::(\w+))?\}|\$(?!__)(\w+)", one, text)


def panels(dashboard):
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def check(dashboard, grafana, documented):
    """What is wrong with a dashboard, and how many queries were asked."""
    wrong, asked = [], 0
    variables = {v["name"]: v for v in dashboard["templating"]["list"]}
    base = {name: "" if v["type"] == "textbox" else None for name, v in variables.items()}
    base |= {f"{name}.all": v.get("allValue", ".*") for name, v in variables.items()}
    # With what is chosen, and whether it may answer nothing.
    choices = [("", base, False)]
    for name, variable in variables.items():
        if variable["type"] != "query":
            continue
        try:
            offers = grafana.values(variable, base)
        except Wrong as error:
            wrong.append(f"variable {name}: {error}")
            continue
        if offers is None:
            continue
        asked += 1
        if not offers:
            wrong.append(f"variable {name} offers nothing")
        else:
            choices.append((f", {name} = {offers[0]}", base | {name: offers[0]}, name != "shop"))
    for annotation in dashboard["annotations"]["list"]:
        target = annotation.get("target") or {"expr": annotation["expr"]}
        asked += 1
        try:
            if grafana.ask(target, base) == 0:
                wrong.append(f"annotation {annotation['name']}: nothing")
        except Wrong as error:
            wrong.append(f"annotation {annotation['name']}: {error}")
    for panel in panels(dashboard):
        empty_is_right = "Empty: " in panel["description"]
        for target in panel["targets"]:
            names = set(re.findall(r"headsup_\w+", target.get("expr", "")))
            for name in names if empty_is_right else ():
                if name.removesuffix("_bucket") not in documented:
                    wrong.append(f"{panel['title']}: {name} is not in docs/metrics.md")
            for choice, values, may_be_empty in choices:
                asked += 1
                place = f"{panel['title']} {target['refId']}{choice}"
                try:
                    if grafana.ask(target, values) == 0 and not empty_is_right and not may_be_empty:
                        wrong.append(f"{place}: nothing")
                except Wrong as error:
                    wrong.append(f"{place}: {error}")
    return wrong, asked


def links(dashboards):
    """Links to dashboards or variables that are not there."""
    known = {d["uid"]: {v["name"] for v in d["templating"]["list"]} for d in dashboards.values()}
    wrong = []
    for file, dashboard in dashboards.items():
        for uid, query in re.findall(r'"url": "/d/([\w-]+)\?([^"]*)"', json.dumps(dashboard)):
            if uid not in known:
                wrong.append(f"{file}: a link to {uid}, which is not there")
                continue
            named = set(re.findall(r"var-(\w+)=", query)) | set(re.findall(r"\$\{(\w+):queryparam\}", query))
            wrong += [f"{file}: a link to {uid} with variable {name}" for name in named - known[uid]]
    return wrong


def main():
    begun = time.monotonic()
    files = sorted(HERE.glob("*.json"))
    dashboards = {file.name: json.loads(file.read_text(encoding="utf-8")) for file in files}
    documented = set(re.findall(r"headsup_\w+", (ROOT / "docs/metrics.md").read_text(encoding="utf-8")))
    failures = links(dashboards)
    with tempfile.TemporaryDirectory() as folder:
        shop = Shop(pathlib.Path(folder))
        try:
            shop.model()
            clickhouse = shop.engine()
            page = shop.run(clickhouse)
            prometheus = shop.prometheus(page)
            ready = time.monotonic()
            count = 0
            grafana = Grafana(prometheus, clickhouse)
            for file, dashboard in dashboards.items():
                wrong, asked = check(dashboard, grafana, documented)
                failures += [f"{file}: {problem}" for problem in wrong]
                count += asked
        finally:
            shop.stop()
    for failure in failures:
        print(failure)
    source = "" if clickhouse else "; those of ClickHouse were left out"
    print(f"{count} queries of {len(files)} dashboards{source}: {ready - begun:.0f} s to be ready, {time.monotonic() - ready:.0f} s to ask")
    sys.exit(bool(failures))


if __name__ == "__main__":
    main()
