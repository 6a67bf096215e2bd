import { useEffect, useReducer, useRef, useState } from "preact/hooks";

import { ask, Refused } from "./access";
import { live, put, seriesKey, type Kpi, type Point, type Series, type Values } from "./live";
import { filters, read, spanOf, type Key, type Route } from "./route";

/** Draws again when the server has said something, at most once a frame. */
export function useLive(): void {
  const [, again] = useReducer((n: number) => n + 1, 0);
  useEffect(() => live.watch(() => again(0)), []);
}

export function useRoute(): Route {
  const [route, set] = useState(read);
  useEffect(() => {
    const moved = () => set(read());
    addEventListener("hashchange", moved);
    return () => removeEventListener("hashchange", moved);
  }, []);
  return route;
}

export interface Asked<T> {
  answer: T | null;
  refused: Refused | null;
  again: () => void;
}

/** Asks when `path` changes, and again when `stamp` does; for the latter not more often than every 10 s. */
export function useAsked<T>(path: string | null, stamp: unknown = 0): Asked<T> {
  const [state, set] = useState<{ path: string | null; answer: T | null; refused: Refused | null }>({
    path: null,
    answer: null,
    refused: null,
  });
  const [round, again] = useReducer((n: number) => n + 1, 0);
  const asking = useRef<{ last: number; timer: number | undefined; run: () => void }>({ last: 0, timer: undefined, run: () => {} });
  useEffect(() => {
    const stop = new AbortController();
    const mine = asking.current;
    mine.run = () => {
      if (path === null) return;
      mine.last = Date.now();
      ask<T>(path, stop.signal)
        .then((answer) => set({ path, answer, refused: null }))
        .catch((error: unknown) => {
          if (stop.signal.aborted) return;
          // What is known stays, when there is no connection for a while.
          if (error instanceof Refused) set({ path, answer: null, refused: error });
        });
    };
    mine.run();
    return () => {
      stop.abort();
      clearTimeout(mine.timer);
      mine.timer = undefined;
    };
  }, [path, round]);
  const first = useRef(true);
  useEffect(() => {
    const mine = asking.current;
    if (first.current) {
      first.current = false;
      return;
    }
    if (mine.timer !== undefined) return;
    mine.timer = setTimeout(() => {
      mine.timer = undefined;
      mine.run();
    }, Math.max(mine.last + STAMP_EVERY - Date.now(), 0));
  }, [stamp]);
  const current = state.path === path ? state : { answer: null, refused: null };
  return { answer: current.answer, refused: current.refused, again: () => again(0) };
}

const STAMP_EVERY = 10_000;

/** The series of a KPI that the filters ask for; null if the KPI is not split that way. */
export function chosen(kpi: Kpi, by: Partial<Record<Key, string>>): { groupedBy: string; series: Series | undefined } | null {
  const wanted = Object.keys(by);
  if (wanted.some((key) => !kpi.keys.includes(key))) return null;
  const groupedBy = kpi.keys.filter((key) => wanted.includes(key)).join(",");
  const keys = kpi.keys.map((key) => by[key as Key] ?? "");
  const series = kpi.series.get(seriesKey(groupedBy, keys));
  if (!series && wanted.length > 1 && ![...kpi.series.values()].some((one) => one.groupedBy === groupedBy)) return null;
  return { groupedBy, series };
}

/** How long a trend is: a dozen windows at least, or nothing is to be seen of an hourly KPI. The server does the same. */
export function trendOf(kpi: Kpi, span: number): number {
  return Math.max(span, 12 * kpi.sizeMs);
}

export interface Past {
  points: Point[];
  /** The medians of the windows of this hour a week ago. */
  week: Values | null;
  /** Of the KPI, as it was put in. */
  version: number;
}

type History = Record<string, { points: [number, Values][]; week: Values | null }>;

/** What was before the page was opened, and since then what the server has pushed, by KPI. */
export function usePast(route: Route, name: string | null): Map<string, Past> {
  const by = filters(route);
  const span = spanOf(route);
  const newest = live.counters?.watermark_ms ?? null;
  const hour = newest === null ? null : Math.floor((newest - 1) / 3_600_000);
  const query = new URLSearchParams(by as Record<string, string>);
  if (name) query.set("kpi", name);
  const key = query.toString() + "/" + span;
  const place = useRef<{ key: string; past: Map<string, Past> }>({ key: "", past: new Map() });
  if (place.current.key !== key) place.current = { key, past: new Map() };
  const { past } = place.current;
  if (hour !== null) query.set("from_ms", String((hour + 1) * 3_600_000 - span - 3_600_000));
  const { answer } = useAsked<History>(hour === null ? null : "/live/history?" + query.toString());
  const taken = useRef<History | null>(null);
  if (answer && taken.current !== answer) {
    taken.current = answer;
    for (const [kpi, told] of Object.entries(answer)) {
      const known = past.get(kpi) ?? { points: [], week: null, version: 0 };
      known.version = 0;
      known.week = told.week;
      const since = known.points;
      known.points = told.points.map(([end, values]) => ({ end, values }));
      for (const point of since) put(known.points, point);
      past.set(kpi, known);
    }
  }
  for (const kpi of live.kpis.values()) {
    if (name && kpi.name !== name) continue;
    let known = past.get(kpi.name);
    if (!known) past.set(kpi.name, (known = { points: [], week: null, version: 0 }));
    if (known.version === kpi.version) continue;
    known.version = kpi.version;
    const series = chosen(kpi, by)?.series;
    if (Object.keys(by).length === 0) for (const point of kpi.trend) put(known.points, point);
    else if (series) put(known.points, series.point);
    const gone = (kpi.newest ?? 0) - trendOf(kpi, span) - kpi.sizeMs;
    const kept = known.points.findIndex((point) => point.end >= gone);
    if (kept > 0) known.points.splice(0, kept);
  }
  return past;
}
