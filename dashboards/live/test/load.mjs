// 1,000 series, 10 updates a second: how long the page's script takes a frame.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { browser, folder } from "./chromium.mjs";

const SERIES = 1000;
const KPIS = 20;
const UPDATES = 60;
const FRAME_MS = 16;
const VALUES = ["contacts", "handle_ms", "aht_ms", "p50_ms", "p90_ms", "p95_ms", "hold_ms", "effort_ms"];
const NAMES = ["fcr", "aht", "csat", "frt", "art", "service_level", "abandonment", "backlog", "utilisation", "transfer", "containment", "conversion"];

const START = Date.UTC(2026, 2, 2, 9);
const values = (seed) => VALUES.map((_, i) => Math.round(60_000 + 50_000 * Math.sin(seed / 7 + i)));

/** All of 20 KPIs of 50 series changes with every update, and what is over everything has a new window. */
function news(round) {
  const end = START + round * 60_000;
  const told = (seed) => [end, false, values(seed)];
  const kpis = Array.from({ length: KPIS }, (_, k) => {
    const name = NAMES[k] ?? "kpi_" + k;
    const series = Array.from({ length: SERIES / KPIS }, (_, s) =>
      s === 0 ? ["", ["", "", ""], told(round + k)] : ["shop", ["shop-" + s, "", ""], told(round + s)],
    );
    const first = round === 0 && {
      title: `${name} | ${name}`, unit: "ms", keys: ["shop", "channel", "skill"], values: VALUES, size_ms: 300_000,
    };
    const trend = round > 0 ? [told(round + k)] : Array.from({ length: 120 }, (_, i) => [START - (119 - i) * 60_000, true, values(i)]);
    return { name, newest_ms: end, trend, series, ...first };
  });
  const outcomes = { applied: round, duplicate: 0, late: 0, quarantined: 0, ignored: 0 };
  const counters = {
    watermark_ms: end, ended: false, failure: null, events: { read: round, pending: 0, outcomes }, behind: 0, partitions: [], quarantined: {},
    facts: {}, scores: [], tasks: [], sizes: [], batches: { count: 0, seconds: 0 },
    checkpoints: { count: 0, bytes: 0, stalls: { count: 0, sum: 0, max: 0 } }, sink: null, webhooks: [], alerts_left_out: [], series_left_out: 0,
  };
  return { ...counters, kpis, ...(round === 0 && { rules: [], alerts: { firing: [], changes: [] } }) };
}

const KINDS = { "index.html": "text/html", "page.js": "text/javascript", "page.css": "text/css" };
const server = createServer((request, answer) => {
  const path = request.url.split("?")[0].slice(1) || "index.html";
  if (path === "live/events") {
    answer.writeHead(200, { "content-type": "text/event-stream" });
    let round = 0;
    const timer = setInterval(() => answer.write(`data: ${JSON.stringify(news(round++))}\n\n`), 100);
    request.on("close", () => clearInterval(timer));
  } else if (KINDS[path]) {
    answer.writeHead(200, { "content-type": KINDS[path] });
    answer.end(readFileSync(new URL("../dist/" + path, import.meta.url)));
  } else {
    answer.writeHead(200, { "content-type": "application/json" });
    answer.end("{}");
  }
});
await new Promise((done) => server.listen(0, "127.0.0.1", done));
const temporary = folder();
const chromium = await browser(temporary.path);
try {
  for (const view of ["#/wall", "#/kpi/aht?by=shop"]) {
    const page = await chromium.newPage();
    await page.goto(`http://127.0.0.1:${server.address().port}/${view}`);
    await page.waitForSelector(view === "#/wall" ? "#kpi-aht .spark" : ".chart canvas");
    await page.waitForTimeout(1_000);
    const session = await chromium.newCDPSession(page);
    const tasks = [];
    let done;
    const complete = new Promise((resolve) => (done = resolve));
    session.on("Tracing.dataCollected", ({ value }) => tasks.push(...value));
    session.on("Tracing.tracingComplete", () => done());
    const before = await page.textContent("#time");
    await session.send("Tracing.start", { transferMode: "ReportEvents", traceConfig: { includedCategories: ["devtools.timeline"] } });
    await page.waitForTimeout(UPDATES * 100);
    await session.send("Tracing.end");
    await complete;
    const passed = Date.parse((await page.textContent("#time")).replace(" UTC", "Z")) - Date.parse(before.replace(" UTC", "Z"));
    assert.ok(passed / 60_000 > UPDATES * 0.8, `${view}: only ${passed / 60_000} of ${UPDATES} updates have been shown`);
    // The outermost calls of script; those less than a frame apart are taken to be of one.
    const names = ["FunctionCall", "FireAnimationFrame", "EvaluateScript"];
    const calls = tasks.filter(({ name, ph, dur }) => ph === "X" && dur && names.includes(name)).sort((a, b) => a.ts - b.ts);
    const frames = [];
    let end = -Infinity;
    for (const { ts, dur, tdur } of calls) {
      if (ts < end) continue;
      if (ts - end > FRAME_MS * 1000) frames.push(0);
      // The thread's own time: what else the machine does is not the page's.
      assert.ok(tdur !== undefined, "the trace has no times of threads");
      frames[frames.length - 1] += tdur / 1000;
      end = ts + dur;
    }
    const times = frames.filter((ms) => ms > 0.2).sort((a, b) => a - b);
    const at = (share) => times[Math.min(Math.floor(times.length * share), times.length - 1)].toFixed(1);
    console.log(`${view}: ${SERIES} series, 10 updates a second: script takes ${at(0.5)} ms a frame (median), ${at(0.95)} ms (p95), ${at(1)} ms at most`);
    assert.ok(times.length >= UPDATES * 0.8, `${times.length} frames with script`);
    assert.ok(Number(at(0.95)) < FRAME_MS, "script takes longer than a frame");
    await page.close();
  }
} finally {
  await chromium.close();
  server.close();
  server.closeAllConnections();
  temporary.remove();
}
