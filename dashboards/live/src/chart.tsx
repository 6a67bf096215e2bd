import { useEffect, useRef } from "preact/hooks";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";

import type { Point } from "./live";

const WIDTH = 240;
const HEIGHT = 48;

/** A trend for a tile. All that it says stands in words and tables too. */
export function Sparkline({ points, place, sizeMs, from, to, limit, fromZero }: {
  points: Point[];
  place: number;
  sizeMs: number;
  from: number;
  to: number;
  limit: number | null;
  fromZero: boolean;
}) {
  const shown = points.filter((point) => point.end >= from && point.end <= to);
  let low = fromZero ? 0 : Infinity;
  let high = fromZero ? 0 : -Infinity;
  for (const point of shown) {
    const value = point.values[place];
    if (value === null || value === undefined) continue;
    low = Math.min(low, value);
    high = Math.max(high, value);
  }
  if (limit !== null && Number.isFinite(low)) {
    low = Math.min(low, limit);
    high = Math.max(high, limit);
  }
  const range = high - low || Math.abs(high) || 1;
  const x = (end: number) => ((end - from) / (to - from || 1)) * WIDTH;
  const y = (value: number) => HEIGHT - 3 - ((value - low) / range) * (HEIGHT - 6);
  let path = "";
  let before = -Infinity;
  for (const point of shown) {
    const value = point.values[place];
    if (value === null || value === undefined) continue;
    // Where nothing was for longer than a window, there is no line; a point alone is a dot.
    const isApart = point.end - before > 2 * sizeMs;
    path += `${isApart ? "M" : "L"}${x(point.end).toFixed(1)} ${y(value).toFixed(1)}${isApart ? "h.01" : ""}`;
    before = point.end;
  }
  return (
    <svg class="spark" viewBox={`0 0 ${WIDTH} ${HEIGHT}`} preserveAspectRatio="none" aria-hidden="true">
      {limit !== null && Number.isFinite(low) && <line class="limit" x1="0" x2={WIDTH} y1={y(limit)} y2={y(limit)} />}
      <path d={path} />
    </svg>
  );
}

/** Times and values for a chart, with a gap where nothing was for longer than a window. */
export function line(points: Point[], place: number, sizeMs: number): [number[], (number | null)[]] {
  const times: number[] = [];
  const values: (number | null)[] = [];
  for (const point of points) {
    const value = point.values[place];
    if (value === null || value === undefined) continue;
    const before = times.at(-1);
    if (before !== undefined && point.end - before > 2 * sizeMs) {
      times.push(before + sizeMs);
      values.push(null);
    }
    times.push(point.end);
    values.push(value);
  }
  return [times, values];
}

/** A time in which something was the matter. */
export interface Mark {
  from: number;
  to: number | null;
}

interface Shown {
  labels: string[];
  limit: number | null;
  marks: Mark[];
}

/** A chart over time. `data` are times in ms, then the values of each line. */
export function Chart({ data, labels, format, limit, marks, fromZero, isDuration, from, to, theme, name, time }: {
  data: [number[], ...(number | null)[][]];
  labels: string[];
  format: (value: number | null) => string;
  limit: number | null;
  marks: Mark[];
  fromZero: boolean;
  isDuration: boolean;
  from: number;
  to: number;
  theme: string;
  name: string;
  /** What the axis of time is called. */
  time: string;
}) {
  const box = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const shown = useRef<Shown>({ labels, limit, marks });
  shown.current = { labels, limit, marks };
  const span = useRef({ from, to });
  span.current = { from, to };
  const written = useRef(format);
  written.current = format;

  useEffect(() => {
    const place = box.current!;
    const text = colour("dim");
    const grid = colour("line");
    const lines = ["accent", "second", "third", "fourth"].map(colour);
    const bad = colour("bad");
    const axis = { stroke: text, grid: { stroke: grid, width: 1 }, ticks: { stroke: grid, width: 1 } };
    const options: uPlot.Options = {
      width: Math.max(place.clientWidth, 200),
      height: 320,
      tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), "Etc/UTC"),
      cursor: { drag: { x: false, y: false } },
      scales: {
        x: { time: true, range: () => [span.current.from / 1000, span.current.to / 1000] },
        y: {
          range: (_, low, high) => {
            const { limit } = shown.current;
            const least = Math.min(fromZero ? 0 : Infinity, low ?? 0, limit ?? Infinity);
            const most = Math.max(high ?? 1, limit ?? -Infinity);
            const room = (most - least || Math.abs(most) || 1) * 0.08;
            return [least >= 0 ? Math.max(least - room, 0) : least - room, most + room];
          },
        },
      },
      axes: [
        { ...axis, values: AXIS_TIMES },
        { ...axis, size: 78, ...(isDuration ? { incrs: DURATIONS } : {}), values: (_, ticks) => ticks.map((tick) => written.current(tick)) },
      ],
      series: [
        { label: time, value: (_, seconds) => (seconds === null ? "–" : new Date(seconds * 1000).toISOString().slice(0, 16).replace("T", " ")) },
        ...labels.map((label, place) => ({
          label,
          stroke: lines[place % lines.length],
          width: 2,
          points: { show: (_: uPlot, __: number, first: number, last: number) => last - first < 60 },
          spanGaps: false,
          value: (_: uPlot, value: number | null) => written.current(value),
        })),
      ],
      hooks: {
        drawClear: [(u) => drawMarks(u, shown.current, bad)],
        draw: [(u) => drawLimit(u, shown.current.limit, bad)],
      },
    };
    plot.current = new uPlot(options, inSeconds(data), place);
    const watcher = new ResizeObserver(() => {
      plot.current?.setSize({ width: Math.max(place.clientWidth, 200), height: 320 });
    });
    watcher.observe(place);
    return () => {
      watcher.disconnect();
      plot.current?.destroy();
      plot.current = null;
    };
  }, [labels.join("\n"), theme, fromZero, isDuration, time]);

  useEffect(() => {
    plot.current?.setData(inSeconds(data));
  });
  return <div class="chart" role="img" aria-label={name} ref={box} />;
}

/** Steps between grid lines that read well as times, in ms. */
const DURATIONS = [
  100, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 30_000, 60_000, 120_000, 300_000, 600_000, 1_200_000, 1_800_000, 3_600_000, 7_200_000,
  21_600_000, 43_200_000, 86_400_000, 864_000_000,
];

const AXIS_TIMES: uPlot.Axis.Values = (_, ticks) =>
  ticks.map((tick) => {
    const at = new Date(tick * 1000).toISOString();
    return at.slice(11, 16) === "00:00" ? at.slice(5, 10) : at.slice(11, 16);
  });

function inSeconds([times, ...lines]: [number[], ...(number | null)[][]]): uPlot.AlignedData {
  return [times.map((ms) => ms / 1000), ...lines];
}

function drawMarks(u: uPlot, { marks }: Shown, bad: string): void {
  const { ctx, bbox } = u;
  ctx.save();
  ctx.beginPath();
  ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
  ctx.clip();
  // Alerts at the same time are one band, no darker.
  let shown = -Infinity;
  ctx.fillStyle = bad;
  for (const mark of [...marks].sort((a, b) => a.from - b.from)) {
    const left = u.valToPos(mark.from / 1000, "x", true);
    const right = Math.max(left + 1, mark.to === null ? bbox.left + bbox.width : u.valToPos(mark.to / 1000, "x", true));
    const begin = Math.max(left, shown);
    shown = Math.max(shown, right);
    ctx.globalAlpha = 0.12;
    if (right > begin) ctx.fillRect(begin, bbox.top, right - begin, bbox.height);
    ctx.globalAlpha = 0.9;
    ctx.fillRect(left, bbox.top, 2 * devicePixelRatio, bbox.height);
  }
  ctx.restore();
}

function drawLimit(u: uPlot, limit: number | null, bad: string): void {
  if (limit === null) return;
  const { ctx, bbox } = u;
  const y = u.valToPos(limit, "y", true);
  ctx.save();
  ctx.strokeStyle = bad;
  ctx.lineWidth = 1.5 * devicePixelRatio;
  ctx.setLineDash([6 * devicePixelRatio, 4 * devicePixelRatio]);
  ctx.beginPath();
  ctx.moveTo(bbox.left, y);
  ctx.lineTo(bbox.left + bbox.width, y);
  ctx.stroke();
  ctx.restore();
}

/** A colour of the style sheet as the canvas takes it. */
function colour(name: string): string {
  const probe = document.createElement("span");
  probe.style.color = `var(--${name})`;
  document.body.append(probe);
  const found = getComputedStyle(probe).color;
  probe.remove();
  return found;
}
