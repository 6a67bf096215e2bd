import { useMemo } from "preact/hooks";

import { Sparkline } from "./chart";
import { Filters } from "./filters";
import { against, headline, isShare, limitOf, value } from "./format";
import { chosen, trendOf, usePast, type Past } from "./hooks";
import { live, type Alert, type Kpi } from "./live";
import type { ViewProps } from "./parts";
import { filters, href, spanOf, type Route } from "./route";
import { column, title, word } from "./words";

/** The twelve, in the order of docs/kpis.md. */
const CORE = [
  "fcr", "aht", "csat", "frt", "art", "service_level", "abandonment", "backlog", "utilisation", "transfer", "containment", "conversion",
];

/** What else stands on a tile. */
const ASIDE: Record<string, string[]> = {
  fcr: ["resolved", "repeated"],
  aht: ["p90_ms", "hold_ms"],
  csat: ["response_rate"],
  frt: ["frt_p90_ms", "asa_ms"],
  art: ["p90_ms", "in_time_level"],
  service_level: ["counted_level", "long_level"],
  abandonment: ["abandoned", "short_abandons"],
  backlog: ["longest_wait_ms", "open_contacts"],
  utilisation: ["concurrency"],
  transfer: ["handoff_rate"],
  containment: ["repeated"],
  conversion: ["later_rate"],
};

export function Wall({ route, lang }: ViewProps) {
  const past = usePast(route, null);
  const all = [...live.kpis.values()];
  const core = CORE.flatMap((name) => live.kpis.get(name) ?? []);
  const cards = all.filter((kpi) => kpi.name.startsWith("card_"));
  const further = all.filter((kpi) => !core.includes(kpi) && !cards.includes(kpi));
  const section = (name: string, kpis: Kpi[], id: string) =>
    kpis.length > 0 && (
      <section aria-labelledby={id}>
        <h2 id={id}>{name}</h2>
        <div class="tiles">
          {kpis.map((kpi) => (
            <TileOf key={kpi.name} kpi={kpi} past={past.get(kpi.name)} route={route} lang={lang} />
          ))}
        </div>
      </section>
    );
  return (
    <>
      <h1 tabIndex={-1}>{word(lang, "wall")}</h1>
      <Filters route={route} lang={lang} />
      {section(word(lang, "core"), core, "core")}
      {section(word(lang, "cards"), cards, "cards")}
      {section(word(lang, "further"), further, "further")}
      {all.length === 0 && <p class="dim">{word(lang, "waiting")}</p>}
    </>
  );
}

interface TileProps extends ViewProps {
  kpi: Kpi;
  past: Past | undefined;
}

/** A tile is drawn again only when something in it has changed. */
function TileOf({ kpi, past, route, lang }: TileProps) {
  const firing = live.firing.filter((alert) => alert.kpi === kpi.name && isWithin(alert, route));
  const place = headline(kpi);
  const at = chosen(kpi, filters(route));
  const tile = () => <Tile kpi={kpi} past={past} route={route} lang={lang} />;
  return useMemo(tile, [
    kpi.newest,
    past,
    past?.points.length,
    past?.points.at(-1),
    past?.week,
    at?.series?.point,
    at === null ? kpi.version : place,
    kpi.series.size,
    firing.map((alert) => alert.id).join(),
    route,
    lang,
  ]);
}

function isWithin(alert: Alert, route: Route): boolean {
  const by = filters(route) as Record<string, string>;
  return alert.by.every((key, place) => by[key] === undefined || by[key] === alert.key[place]);
}

function Tile({ kpi, past, route, lang }: TileProps) {
  const by = filters(route);
  const found = chosen(kpi, by);
  const place = headline(kpi);
  const name = kpi.values[place] ?? "";
  const now = found?.series?.point.values;
  const number = now?.[place] ?? null;
  const limit = limitOf(live.rules, kpi.name, name);
  const firing = live.firing.filter((alert) => alert.kpi === kpi.name && isWithin(alert, route));
  const then = past?.week?.[place] ?? null;
  const difference = number !== null && then !== null ? against(name, number, then) : null;
  const newest = kpi.newest ?? 0;
  const n = kpi.values[0];
  const rest = (ASIDE[kpi.name] ?? []).map((other) => kpi.values.indexOf(other)).filter((other) => other >= 0);
  return (
    <article class={"tile" + (firing.length ? " firing" : "")} id={"kpi-" + kpi.name}>
      <h3>
        <a href={href(route, "kpi/" + kpi.name)}>{title(lang, kpi.title)}</a>
      </h3>
      {found === null || (!found.series && found.groupedBy === "") ? (
        <Parts kpi={kpi} route={route} lang={lang} place={place} />
      ) : (
        <>
          <p class="big">{value(lang, name, number)}</p>
          <p class="small">
            {n && place !== 0 && now ? <span>{`n ${value(lang, n, now[0])} ${column(lang, n)}`}</span> : <span>{column(lang, name)}</span>}
            {firing.length > 0 && (
              <a class="badge firing" href={href(route, "alerts", { kpi: kpi.name })}>{`${firing.length} ${word(lang, "firingNow")}`}</a>
            )}
          </p>
          <Sparkline
            points={past?.points ?? kpi.trend}
            place={place}
            sizeMs={kpi.sizeMs}
            from={newest - trendOf(kpi, spanOf(route))}
            to={newest}
            limit={limit}
            fromZero={!isShare(name) || name === "abandonment_rate" || name === "transfer_rate"}
          />
          <p class="small">
            {limit !== null && <span class="limit-text">{`${word(lang, "limit")} ${value(lang, name, limit)}`}</span>}
            <span>
              {difference ? `${difference.text} ${difference.sign > 0 ? "▲" : difference.sign < 0 ? "▼" : ""} ` : "– "}
              {word(lang, "onLastWeek")}
            </span>
          </p>
          <dl>
            {rest.map((other) => (
              <div>
                <dt>{column(lang, kpi.values[other]!)}</dt>
                <dd>{value(lang, kpi.values[other]!, now?.[other])}</dd>
              </div>
            ))}
          </dl>
        </>
      )}
    </article>
  );
}

/** What there is of a KPI that is not computed for all together, or not for these filters. */
function Parts({ kpi, route, lang, place }: ViewProps & { kpi: Kpi; place: number }) {
  const by = filters(route) as Record<string, string>;
  const isSplit = Object.keys(by).every((key) => kpi.keys.includes(key));
  const name = kpi.values[place] ?? "";
  const series = [...kpi.series.values()].filter(
    (one) => one.groupedBy === (kpi.keys[0] ?? "") && (by[kpi.keys[0] ?? ""] ?? one.keys[0]) === one.keys[0],
  );
  if (!isSplit || series.length === 0) {
    return <p class="dim">{word(lang, isSplit ? "noRows" : "notSplit")}</p>;
  }
  return (
    <dl class="parts">
      {series.slice(0, 5).map((one) => (
        <div>
          <dt>{one.keys[0] || word(lang, "none")}</dt>
          <dd>{value(lang, name, one.point.values[place])}</dd>
        </div>
      ))}
    </dl>
  );
}
