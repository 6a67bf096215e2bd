// What the server pushes: everything first, then what has changed.

export type Values = (number | null)[];

/** A window of a series. */
export interface Point {
  end: number;
  values: Values;
}

export interface Series {
  groupedBy: string;
  keys: string[];
  point: Point;
}

export interface Kpi {
  name: string;
  title: string;
  unit: string;
  keys: string[];
  values: string[];
  sizeMs: number;
  newest: number | null;
  trend: Point[];
  series: Map<string, Series>;
  /** Grows with every change. */
  version: number;
}

export interface Contributor {
  dimension: string;
  value: string;
  n: number;
  share: number;
  metric: number | null;
}

export interface Alert {
  id: string;
  revision: number;
  state: string;
  name: string;
  title: string;
  severity: string;
  kpi: string;
  metric: string;
  by: string[];
  key: string[];
  value: number;
  latest: number | null;
  peak: number;
  limit: number;
  n: number;
  started_ms: number;
  resolved_ms: number | null;
  contributors: Contributor[];
  worst: string[];
  runbook: string;
}

export interface Change {
  kind: string;
  at_ms: number;
  alert: Alert;
}

export interface Rule {
  name: string;
  title: string;
  kpi: string;
  value: string;
  by: string[];
  /** What can be tried with other values: keys as in alerts.toml, and their values. */
  values: [string, string][];
  condition: { threshold?: { direction: "above" | "below"; fire: number; clear: number | null } };
  severity: string;
  runbook: string;
}

export interface Account {
  read: number;
  pending: number;
  outcomes: Record<string, number>;
}

/** The pipeline's own state. */
export interface Counters {
  watermark_ms: number | null;
  ended: boolean;
  failure: string | null;
  events: Account;
  behind: number;
  partitions: { name: string; events: Account; latest_ms: number | null; behind: number | null }[];
  quarantined: Record<string, number>;
  facts: Record<string, number>;
  scores: [string, string, number][];
  tasks: [string, string, number][];
  sizes: [string, number][];
  batches: { count: number; seconds: number };
  checkpoints: { count: number; bytes: number; stalls: { count: number; sum: number; max: number } };
  sink: {
    behind_files: number;
    behind_bytes: number;
    rows: number;
    failures: number;
    complaint: string | null;
    full: boolean;
  } | null;
  webhooks: {
    name: string;
    delivered: number;
    retried: number;
    dead: number;
    skipped: number;
    waiting: number;
    complaint: string | null;
  }[];
  alerts_left_out: [string, number, number][];
  series_left_out: number;
}

type Told = [number, boolean, Values];

interface News extends Counters {
  kpis: {
    name: string;
    newest_ms: number | null;
    trend: Told[];
    series: [string, string[], Told][];
    title?: string;
    unit?: string;
    keys?: string[];
    values?: string[];
    size_ms?: number;
  }[];
  alerts?: { firing: Alert[]; changes: Change[] };
  rules?: Rule[];
}

/** As many windows of the series over everything as the server keeps. */
const TREND_MAX = 120;

export class Live {
  kpis = new Map<string, Kpi>();
  counters: Counters | null = null;
  firing: Alert[] = [];
  changes: Change[] = [];
  rules: Rule[] = [];
  connected = true;
  /** Grows with every change of the alerts. */
  alertsVersion = 0;
  private listeners = new Set<() => void>();
  private due = false;

  constructor(private readonly url: string) {}

  open(): void {
    const events = new EventSource(this.url);
    events.onmessage = (message) => {
      this.connected = true;
      this.take(JSON.parse(message.data as string) as News);
    };
    events.onerror = () => {
      this.connected = false;
      this.say();
    };
  }

  /** Calls when something has changed, at most once a frame. */
  watch(listener: () => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  take(news: News): void {
    const { kpis, alerts, rules, ...counters } = news;
    this.counters = counters;
    if (rules) {
      // A connection begins with everything.
      this.rules = rules;
      this.kpis.clear();
    }
    for (const told of kpis) {
      let kpi = this.kpis.get(told.name);
      if (!kpi) {
        kpi = {
          name: told.name,
          title: told.title ?? told.name,
          unit: told.unit ?? "",
          keys: told.keys ?? [],
          values: told.values ?? [],
          sizeMs: told.size_ms ?? 0,
          newest: null,
          trend: [],
          series: new Map(),
          version: 0,
        };
        this.kpis.set(told.name, kpi);
      }
      kpi.version += 1;
      kpi.newest = told.newest_ms;
      for (const [end, , values] of told.trend) put(kpi.trend, { end, values });
      if (kpi.trend.length > TREND_MAX) kpi.trend.splice(0, kpi.trend.length - TREND_MAX);
      for (const [groupedBy, keys, [end, , values]] of told.series) {
        kpi.series.set(seriesKey(groupedBy, keys), { groupedBy, keys, point: { end, values } });
      }
      // A series that the last whole windows know nothing of is gone, as on the server.
      const gone = (kpi.newest ?? 0) - 2 * kpi.sizeMs;
      for (const [key, series] of kpi.series) if (series.point.end <= gone) kpi.series.delete(key);
    }
    if (alerts) {
      this.firing = alerts.firing;
      this.changes = alerts.changes;
      this.alertsVersion += 1;
    }
    this.say();
  }

  private say(): void {
    if (this.due) return;
    this.due = true;
    requestAnimationFrame(() => {
      this.due = false;
      for (const listener of this.listeners) listener();
    });
  }
}

/** Puts a point in the place of its time; nearly always the last. */
export function put(points: Point[], point: Point): void {
  let place = points.length;
  while (place > 0 && points[place - 1]!.end > point.end) place -= 1;
  if (place > 0 && points[place - 1]!.end === point.end) points[place - 1] = point;
  else points.splice(place, 0, point);
}

export function seriesKey(groupedBy: string, keys: string[]): string {
  return groupedBy + "\u0000" + keys.join("\u0000");
}

export const live = new Live("/live/events");
