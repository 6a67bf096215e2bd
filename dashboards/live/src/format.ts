import type { Kpi, Rule } from "./live";
import type { Lang } from "./route";

/** A value; its unit shows in the column's name: durations end in _ms, shares in _rate, _level or _share. */
export function value(lang: Lang, name: string, number: number | null | undefined): string {
  if (number === null || number === undefined) return "–";
  if (name.endsWith("_ms")) return duration(lang, number);
  if (isShare(name)) return percent(number);
  if (name === "burn_rate") return number.toFixed(1) + "×";
  return Number.isInteger(number) ? count(number) : number.toFixed(2);
}

export function isShare(name: string): boolean {
  return name !== "burn_rate" && (/_(rate|level|share)$/.test(name) || name === "utilisation");
}

export function percent(share: number, digits = 1): string {
  return (share * 100).toFixed(digits) + " %";
}

const COUNT = new Intl.NumberFormat("en");

export function count(number: number): string {
  return COUNT.format(number);
}

export function duration(lang: Lang, ms: number): string {
  const [s, min, h, d] = lang === "zh" ? [" 秒", " 分 ", " 小时 ", " 天 "] : [" s", " min ", " h ", " d "];
  const seconds = ms / 1000;
  if (seconds === 0) return "0" + s;
  if (Math.abs(seconds) <= 120) return seconds.toFixed(Math.abs(seconds) < 10 ? 1 : 0) + s;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 120) return minutes + min + String(Math.floor(seconds % 60)).padStart(2, "0") + s;
  if (minutes < 48 * 60) return Math.floor(minutes / 60) + h + String(minutes % 60).padStart(2, "0") + min.trimEnd();
  return Math.floor(minutes / 1440) + d + Math.floor((minutes % 1440) / 60) + h.trimEnd();
}

export function bytes(number: number): string {
  if (number < 1000) return number + " B";
  if (number < 1e6) return (number / 1e3).toFixed(1) + " kB";
  return (number / 1e6).toFixed(1) + " MB";
}

/** Times are UTC, as everywhere in headsup. */
export function time(ms: number | string | null | undefined, seconds = true): string {
  if (ms === null || ms === undefined) return "–";
  const at = new Date(ms);
  return Number.isNaN(at.getTime()) ? "–" : at.toISOString().slice(0, seconds ? 19 : 16).replace("T", " ");
}

export function clock(ms: number): string {
  return new Date(ms).toISOString().slice(11, 16);
}

/** The place of the value that a KPI is about. */
export function headline(kpi: Kpi): number {
  const named = kpi.values.findIndex((value) => value === kpi.name || value.startsWith(kpi.name + "_"));
  if (named >= 0) return named;
  return Math.max(kpi.values.findIndex((value) => /_(rate|level|ms)$/.test(value)), 0);
}

/** The first fixed limit that an alert rule has for a value. */
export function limitOf(rules: Rule[], kpi: string, column: string): number | null {
  const rule = rules.find((rule) => rule.kpi === kpi && rule.value === column && rule.condition.threshold);
  return rule?.condition.threshold?.fire ?? null;
}

/** Against the value of a week before: of shares in points, of all else in percent. */
export function against(name: string, now: number, then: number): { sign: number; text: string } | null {
  const difference = now - then;
  const sign = Math.sign(difference);
  const plus = sign > 0 ? "+" : sign < 0 ? "−" : "±";
  if (isShare(name)) return { sign, text: plus + Math.abs(difference * 100).toFixed(1) + " pt" };
  if (then === 0) return null;
  return { sign, text: plus + Math.abs((difference / then) * 100).toFixed(0) + " %" };
}
