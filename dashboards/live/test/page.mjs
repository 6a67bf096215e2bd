// What a person does with the page, in Chromium, over a run of a small simulated shop.

import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { readFileSync, writeFileSync, mkdirSync, copyFileSync } from "node:fs";
import { request } from "node:http";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { gzipSync } from "node:zlib";
import { browser, folder } from "./chromium.mjs";

const binary = process.argv[2];
const root = new URL("../../..", import.meta.url).pathname;
const AXE = readFileSync(new URL("../node_modules/axe-core/axe.min.js", import.meta.url), "utf8");
const began = Date.now();
const said = (what) => console.log(`${((Date.now() - began) / 1000).toFixed(1).padStart(5)} s  ${what}`);

/** Quick to train, of events that few customers have often enough. */
const MODEL = `
title = "Returns | 退货"
description = "A test's."
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
explain_from = 0.01
`;
const POLICY = `
accepted_for = "4h"
[[channel]]
name = "web"
[[campaign]]
name = "save_order"
title = "Save the order | 挽回订单"
model = "order_return"
top_k = 2
channels = ["web"]
cooldown = "1h"
expires_after = "12h"
control_share = 0.5
`;
/** One that fires on few contacts. */
const ALERTS = `
[[alert]]
name = "aht_high"
title = "Average handle time above 30 s | 平均处理时长超过 30 秒"
kpi = "aht"
value = "aht_ms"
by = ["shop"]
fire_above = 30_000
keep_firing_for = "6h"
severity = "page"
runbook = "Read the worst conversations."
`;

const temporary = folder();
const at = temporary.path;
const headsup = (...args) => execFileSync(binary, args, { cwd: at, encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });

/** A run in `data`, and where its page is. */
async function run(config) {
  const args = ["run", "--registry", "models", "--policy", "policy.toml", "--alerts", "alerts.toml", "--data", "data", "--config", config];
  const child = spawn(binary, args, { cwd: at, stdio: ["ignore", "ignore", "pipe"] });
  const lines = createInterface({ input: child.stderr });
  const over = new Promise((resolve) => child.on("exit", resolve));
  const said = [];
  const base = await new Promise((resolve, reject) => {
    lines.on("line", (line) => {
      said.push(line);
      const found = /page at (http:\/\/[^/]+)/.exec(line);
      if (found) resolve(found[1]);
    });
    over.then((code) => reject(new Error(`headsup run has ended with ${code}: ${said.join("\n")}`)));
  });
  const end = async () => {
    child.kill("SIGTERM");
    await over;
  };
  return { base, end };
}

async function until(what, holds) {
  const since = Date.now();
  while (!(await holds())) {
    assert.ok(Date.now() - since < 30_000, `waited too long: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

const live = async (base) => (await fetch(base + "/live")).json();

/** The status of a request with these headers; fetch does not let a Host be set. */
const status = (base, path, headers = {}) =>
  new Promise((resolve, reject) => {
    request(base + path, { headers }, (answer) => {
      answer.resume();
      answer.on("end", () => resolve(answer.statusCode));
    })
      .on("error", reject)
      .end();
  });

/** Events of a file between two times. */
const between = (lines, from, to) => lines.filter((line) => {
  const time = /"time":"([^"]+)"/.exec(line)[1];
  return from <= time && time < to;
});

let chromium;
let running;
try {
  // 5 weeks of 400 customers to train on; of them the run sees the same hours of two days a week apart.
  headsup("simulate", "--customers", "400", "--days", "35", "--out", "events.jsonl");
  mkdirSync(join(at, "kpis"));
  copyFileSync(join(root, "jobs/tests/oracle/kpi.sql"), join(at, "kpis/daily.sql"));
  headsup("run", "--input", "events.jsonl", "--until-end", "--kpis", "kpis", "--data", "past");
  for (const [name, text] of [["order_return.toml", MODEL], ["policy.toml", POLICY], ["alerts.toml", ALERTS]]) writeFileSync(join(at, name), text);
  const trained = headsup("train", "order_return.toml", "--data", "past", "--registry", "models", "--test-from", "2026-03-24");
  const version = trained.slice(trained.lastIndexOf("version ") + 8).slice(0, 16);
  headsup("models", "promote", "order_return", version, "--force", "a test", "--registry", "models");
  const lines = readFileSync(join(at, "events.jsonl"), "utf8").trim().split("\n");
  const first = [...between(lines, "2026-03-28T08", "2026-03-28T12"), ...between(lines, "2026-04-03T20", "2026-04-04T10:30")];
  const later = between(lines, "2026-04-04T10:30", "2026-04-04T20");
  writeFileSync(join(at, "first.jsonl"), first.join("\n"));
  headsup("import", "events", "first.jsonl", "--data", "data");
  const [token, entry] = headsup("token", "page", "--scopes", "read,ingest").split("\n\n");
  writeFileSync(join(at, "tokens.toml"), entry);
  const config = '[http]\nlisten = "127.0.0.1:0"\n[store]\nflush = "500ms"\n';
  writeFileSync(join(at, "open.toml"), config);
  writeFileSync(join(at, "guarded.toml"), config + '[api]\ntokens = "tokens.toml"\n');
  said("the shop is simulated, a model trained");

  running = await run("guarded.toml");
  let { base } = running;
  await until("the log is read", async () => {
    const state = await live(base);
    return state.events.read >= first.length && state.behind === 0 && state.alerts.firing.length > 0;
  });
  await until("facts are stored", async () => {
    const { aht } = await (await fetch(base + "/live/history?kpi=aht&from_ms=0")).json();
    return aht && aht.points.length > 0 && aht.week !== null;
  });

  // Who may see what.
  for (const path of ["/live/customers", "/live/customers/cust-1", "/live/conversations/c", "/live/campaigns", "/live/campaigns/save_order/lift"]) {
    assert.equal(await status(base, path), 401, path);
    assert.equal(await status(base, path, { authorization: "Bearer hup_wrong" }), 401, path);
    assert.equal(await status(base, path, { authorization: "Bearer " + token }), 200, path);
  }
  const open = JSON.stringify([await live(base), await (await fetch(base + "/live/alerts")).json()]);
  assert.ok(!open.includes("cust-"), "customers in what is open to all");

  chromium = await browser(join(at, "profile"));
  const page = await chromium.newPage();
  const problems = [];
  page.on("pageerror", (error) => problems.push(error.message));
  page.on("console", (message) => message.type() === "error" && !/40[013]/.test(message.text()) && problems.push(message.text()));
  const asked = [];
  page.on("request", (one) => asked.push(one.url()));
  let compressed = 0;
  page.on("response", async (answer) => {
    if (/\/(page\.(js|css))?$/.test(answer.url())) compressed += gzipSync(await answer.body()).length;
  });

  // It opens, and is small.
  await page.goto(base + "/#/wall?lang=en");
  await page.waitForSelector("#kpi-aht .big");
  await until("a value", async () => (await page.textContent("#kpi-aht .big")) !== "–");
  assert.equal(await page.locator("section[aria-labelledby=core] .tile").count(), 12);
  assert.match(await page.textContent("#kpi-aht"), /limit 30 s/);
  await until("a change against last week", async () => /[+−±]\d+ %/.test(await page.textContent("#kpi-aht")));
  assert.ok(compressed > 0 && compressed < 300_000, `the first view is ${compressed} bytes`);
  said(`the wall is there; the first view is ${(compressed / 1000).toFixed(0)} kB compressed`);

  // Numbers move.
  const before = { time: await page.textContent("#time"), read: (await live(base)).events.read };
  const send = (events) =>
    fetch(base + "/v1/events", {
      method: "POST",
      headers: { authorization: "Bearer " + token, "content-type": "application/cloudevents-batch+json" },
      body: "[" + events.join(",") + "]",
    });
  let polls = asked.length;
  assert.equal((await send(later)).status, 200);
  await until("the time moves on", async () => (await page.textContent("#time")) > before.time);
  await until("all is shown", async () => {
    const { watermark_ms } = await live(base);
    const shown = await page.textContent("#time");
    return watermark_ms > Date.parse("2026-04-04T16:00Z") && shown.startsWith(new Date(watermark_ms).toISOString().slice(0, 19).replace("T", " "));
  });
  polls = asked.slice(polls).filter((url) => !/history/.test(url));
  assert.deepEqual(polls, [], "the page polls");
  said("numbers move");

  // A filter.
  const state = await live(base);
  const backlog = state.kpis.find((kpi) => kpi.name === "backlog");
  const [, [shop], [, , values]] = backlog.series.find(([by]) => by === "shop");
  await page.getByLabel("Shop").selectOption({ label: shop });
  assert.ok(page.url().includes("shop=" + shop));
  await until("the shop's value", async () => (await page.textContent("#kpi-backlog .big")) === String(values[backlog.values.indexOf("backlog")]));
  assert.match(await page.textContent("#kpi-utilisation"), /not computed for these filters/);
  await page.getByLabel("Time span").selectOption("8h");
  await page.reload();
  await page.waitForSelector("#kpi-backlog .big");
  assert.equal(await page.getByLabel("Shop").inputValue(), "=" + shop, "the address says it all");
  await page.getByLabel("Shop").selectOption("");

  // A KPI.
  await page.getByRole("link", { name: "Average handle time" }).click();
  await page.waitForSelector(".chart canvas");
  assert.equal(await page.evaluate(() => document.activeElement.tagName), "H1", "the focus follows");
  await page.getByText("The chart's values as a table").click();
  assert.ok((await page.locator("details[open] tbody tr").count()) > 3);
  assert.ok((await page.locator("section[aria-labelledby=groups] tbody tr").count()) > 0);
  await page.locator("section[aria-labelledby=groups] tbody button").first().click();
  await until("a group is a filter", async () => /shop=shop-/.test(page.url()));
  said("filters, and a KPI with its groups");

  // From an alert to its conversation, with a token, to the customer.
  await page.getByRole("link", { name: /^Alerts/ }).click();
  await page.waitForSelector(".alert.firing");
  const alert = await page.textContent(".alert.firing");
  for (const part of ["Average handle time above 30 s", "Read the worst conversations.", "headsup alerts backtest", "Where it comes from"]) assert.ok(alert.includes(part), part);

  // Its rule on the past, as it is and with another limit.
  const one = page.locator(".alert[data-tried]");
  const tries = async (limit, says) => {
    // Others may come before it.
    if ((await one.count()) === 0) await page.locator(".alert").first().evaluate((alert) => alert.setAttribute("data-tried", ""));
    if ((await one.locator("details[open]").count()) === 0) await one.locator("summary").click();
    const field = one.getByLabel("Fires above");
    await field.fill(limit);
    await until(`${limit}: ${says}`, async () => {
      await field.press("Enter");
      await one.getByRole("status").filter({ hasText: "fired" }).waitFor();
      return says.test(await one.getByRole("status").textContent());
    });
  };
  await tries("30000", /^Would have fired ([1-9]\d* times|once), did fire \1 in the last 7 days\.$/);
  await one.getByText("These are the values that the rule has.").waitFor();
  const rows = one.locator("details tbody tr");
  const count = await rows.count();
  assert.ok(count > 0 && (await rows.filter({ hasText: "both" }).count()) === count, `${count} episodes`);
  await tries("90000000", /^Would have fired 0 times, did fire ([1-9]\d* times|once) in the last 7 days\.$/);
  await until("what only did", async () => (await rows.filter({ hasText: "only did" }).count()) === count);
  await one.locator("pre", { hasText: /^fire_above = 90000000$/ }).waitFor();
  await one.getByLabel("Fires above").fill("much");
  await one.getByRole("button", { name: "Try" }).click();
  await one.getByText('fire_above: expected a number, found "much"').waitFor();
  assert.equal(await rows.count(), 0, "what it says is of no earlier try");
  said("the rule of an alert on the past");

  const conversation = await page.locator(".alert .worst a").first().textContent();
  await page.locator(".alert .worst a").first().click();
  await page.getByLabel("Token").fill("hup_wrong");
  await page.getByRole("button", { name: "Open" }).click();
  await page.getByText("the token is not known").waitFor();
  await page.getByLabel("Token").fill(token);
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { name: "Conversation " + conversation }).waitFor();
  const customer = page.locator("a[href^='#/customer/']");
  await customer.waitFor();
  const id = await customer.textContent();
  await customer.click();
  await page.getByRole("heading", { name: "Customer " + id }).waitFor();
  await page.getByRole("link", { name: conversation }).first().waitFor();
  said("from an alert to its conversation, to the customer");

  // A customer at risk.
  await page.getByRole("link", { name: "Customers at risk", exact: true }).click();
  await page.waitForSelector("main tbody tr");
  const [top] = (await (await fetch(base + "/live/customers", { headers: { authorization: "Bearer " + token } })).json()).scores;
  const row = await page.locator("main tbody tr").first().textContent();
  assert.ok(row.includes(top.customer_id) && row.includes((top.probability * 100).toFixed(1) + " %") && row.includes(top.reasons[0].en), row);
  await page.locator("main tbody a").first().click();
  await page.waitForSelector(".chart canvas");
  await page.locator("summary", { hasText: "Features as served" }).click();
  await page.getByText("orders_30d", { exact: true }).waitFor();

  // In Chinese, which the address remembers.
  await page.getByLabel("Language").selectOption("zh");
  await page.getByRole("heading", { name: "顾客 " + top.customer_id }).waitFor();
  assert.ok((await page.textContent("main")).includes(top.reasons[0].zh));
  assert.match(page.url(), /lang=zh/);
  assert.equal(await page.getAttribute("html", "lang"), "zh-CN");

  await page.getByRole("link", { name: "主动服务" }).click();
  await page.getByRole("heading", { name: "挽回订单" }).waitFor();
  await page.getByText("no customer whose outcome is known already").waitFor();
  await page.getByRole("link", { name: "流水线" }).click();
  await until("the account", async () => {
    const { read } = (await live(base)).events;
    return (await page.textContent(".equation")).includes(read.toLocaleString("en"));
  });
  said("a customer at risk, campaigns, the pipeline; in Chinese");

  // Nobody is kept out: axe on each view, light and dark; nothing is wider than a phone.
  const views = [
    "wall", "wall?shop=shop-1&lang=zh", "kpi/aht?by=shop", "alerts", "customers", "customer/" + id, "conversation/" + conversation, "campaigns", "health",
  ];
  await page.evaluate(AXE);
  for (const [scheme, width] of [["light", 1440], ["dark", 1440], ["light", 390]]) {
    await page.emulateMedia({ colorScheme: scheme, reducedMotion: "reduce" });
    await page.setViewportSize({ width, height: 844 });
    for (const view of views) {
      await page.evaluate((hash) => void (location.hash = hash), "/" + view + (view.includes("?") ? "" : "?lang=en"));
      await page.waitForFunction(() => !/Loading|加载中/.test(document.querySelector("main").textContent));
      if (view === "alerts") await tries("40000", /^Would have fired/);
      const { wide, inner } = await page.evaluate(() => ({ wide: document.documentElement.scrollWidth, inner: innerWidth }));
      assert.ok(wide <= inner, `${view} is ${wide} wide on a screen of ${inner}`);
      if (width === 390) continue;
      const found = await page.evaluate(() => axe.run(document, { resultTypes: ["violations"] }));
      const faults = found.violations.filter(({ impact }) => impact === "serious" || impact === "critical");
      const what = faults.map(({ id, nodes }) => `${id}: ${nodes.slice(0, 3).map((node) => node.html + " " + node.failureSummary).join("; ")}`);
      assert.deepEqual(what, [], `${view}, ${scheme}`);
    }
  }
  // It would.
  const faulty = await page.evaluate(() => {
    document.body.append(document.createElement("img"));
    return axe.run(document, { resultTypes: ["violations"] });
  });
  assert.deepEqual(faulty.violations.filter(({ impact }) => impact === "critical").map(({ id }) => id), ["image-alt"]);
  said("axe finds no serious fault, and nothing is wider than a phone");
  assert.deepEqual(problems, []);
  assert.ok(asked.every((url) => url.startsWith(base) || url.startsWith("data:")), "something is fetched from elsewhere");
  await chromium.close();
  chromium = undefined;

  // Without tokens, customers are shown on this machine only, and by no other name.
  await running.end();
  running = await run("open.toml");
  ({ base } = running);
  const port = new URL(base).port;
  for (const [host, expected] of [["localhost:" + port, 200], ["127.0.0.1:" + port, 200], ["[::1]:" + port, 200], ["shop.example:" + port, 403], ["localhost.example", 403]]) {
    assert.equal(await status(base, "/live/campaigns", { host }), expected, host);
  }
  said("without tokens");
} catch (error) {
  const shown = chromium?.pages().at(-1);
  if (shown) console.log(`at ${shown.url()} the page shows:\n${(await shown.innerText("body")).slice(0, 3000)}`);
  throw error;
} finally {
  await chromium?.close();
  await running?.end();
  temporary.remove();
}
