import type { ComponentChildren } from "preact";
import { useRef } from "preact/hooks";

import { live } from "./live";
import { Choice, RouteChoice, type ViewProps } from "./parts";
import { change, KEYS, WINDOWS } from "./route";
import { word } from "./words";

/** Shop, channel, skill and time span. */
export function Filters({ route, lang, children }: ViewProps & { children?: ComponentChildren }) {
  const known = useRef<{ at: number; values: Record<string, string[]> }>({ at: 0, values: {} });
  // Names seldom change, and there may be thousands of series.
  if (Date.now() - known.current.at > 1_000) {
    const found: Record<string, Set<string>> = {};
    for (const kpi of live.kpis.values()) {
      for (const { groupedBy, keys } of kpi.series.values()) {
        const place = kpi.keys.indexOf(groupedBy);
        if (place >= 0) (found[groupedBy] ??= new Set()).add(keys[place] ?? "");
      }
    }
    const values: Record<string, string[]> = {};
    for (const [key, set] of Object.entries(found)) values[key] = [...set].sort();
    known.current = { at: Object.keys(values).length ? Date.now() : 0, values };
  }
  return (
    <form class="filters" role="search" aria-label={word(lang, "filters")} onSubmit={(event) => event.preventDefault()}>
      {KEYS.map((key) => {
        const chosen = route.params.get(key);
        const values = [...new Set([...(known.current.values[key] ?? []), ...(chosen === null ? [] : [chosen])])];
        const options: [string, string][] = values.map((value) => ["=" + value, value || word(lang, "none")]);
        return (
          <Choice
            label={word(lang, key)}
            value={chosen === null ? "" : "=" + chosen}
            options={[["", word(lang, "all")], ...options]}
            onChange={(value) => change(route, { [key]: value ? value.slice(1) : null })}
          />
        );
      })}
      <RouteChoice
        route={route}
        name="window"
        label={word(lang, "window")}
        first="2h"
        options={Object.keys(WINDOWS).map((name) => [name, spanText(name, lang === "zh")])}
      />
      {children}
    </form>
  );
}

function spanText(name: string, chinese: boolean): string {
  const units: Record<string, string> = chinese ? { m: " 分钟", h: " 小时", d: " 天" } : { m: " min", h: " h", d: " d" };
  return name.slice(0, -1) + (units[name.slice(-1)] ?? "");
}
