// Everything that is shown stands in the address: #/kpi/aht?shop=shop-1&window=2h&lang=zh

export const WINDOWS: Record<string, number> = {
  "30m": 30 * 60_000,
  "2h": 2 * 3_600_000,
  "8h": 8 * 3_600_000,
  "1d": 24 * 3_600_000,
  "7d": 7 * 24 * 3_600_000,
};
export const KEYS = ["shop", "channel", "skill"] as const;
export type Key = (typeof KEYS)[number];
export type Lang = "en" | "zh";

export interface Route {
  view: string;
  id: string;
  params: URLSearchParams;
}

export function read(): Route {
  const [path = "", query = ""] = location.hash.replace(/^#\/?/, "").split("?");
  const [view = "", ...rest] = path.split("/");
  return { view: view || "wall", id: rest.map(decoded).join("/"), params: new URLSearchParams(query) };
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** What goes along from view to view. */
const KEPT = ["shop", "channel", "skill", "window", "lang", "theme"];

/** The address of a view, with the filters that are set, but for what `change` says; null removes. */
export function href(route: Route, path: string, change: Record<string, string | null> = {}): string {
  const params = new URLSearchParams();
  for (const name of KEPT) {
    const value = route.params.get(name);
    if (value !== null) params.set(name, value);
  }
  for (const [name, value] of Object.entries(change)) {
    if (value === null) params.delete(name);
    else params.set(name, value);
  }
  const query = params.toString();
  return "#/" + path + (query ? "?" + query : "");
}

/** The view that is shown, with something changed. */
export function change(route: Route, changes: Record<string, string | null>): void {
  const params = new URLSearchParams(route.params);
  for (const [name, value] of Object.entries(changes)) {
    if (value === null) params.delete(name);
    else params.set(name, value);
  }
  const query = params.toString();
  location.hash = "/" + path(route) + (query ? "?" + query : "");
}

export function path(route: Route): string {
  return route.view + (route.id ? "/" + encodeURIComponent(route.id) : "");
}

export function filters(route: Route): Partial<Record<Key, string>> {
  const found: Partial<Record<Key, string>> = {};
  for (const key of KEYS) {
    const value = route.params.get(key);
    if (value !== null) found[key] = value;
  }
  return found;
}

export function spanOf(route: Route): number {
  return WINDOWS[route.params.get("window") ?? "2h"] ?? WINDOWS["2h"]!;
}

export function langOf(route: Route): Lang {
  const lang = route.params.get("lang") ?? navigator.language;
  return lang.startsWith("zh") ? "zh" : "en";
}
