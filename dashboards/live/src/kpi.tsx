import { useMemo } from "preact/hooks";

import { Chart, line, type Mark } from "./chart";
import { Filters } from "./filters";
import { against, headline, isShare, limitOf, value } from "./format";
import { useStoredAlerts } from "./alerts";
import { chosen, trendOf, usePast } from "./hooks";
import { live, type Kpi } from "./live";
import { RouteChoice, Table, Time, type ViewProps } from "./parts";
import { change, filters, href, spanOf } from "./route";
import { column, title, word } from "./words";

/** Rows that are shown of a chart and of groups. */
const ROWS_MAX = 200;

export function KpiView({ route, lang }: ViewProps) {
  const kpi = live.kpis.get(route.id);
  const past = usePast(route, route.id);
  const alerts = useStoredAlerts();
  if (!kpi) {
    return (
      <>
        <h1 tabIndex={-1}>{route.id}</h1>
        <p class="dim">{word(lang, live.counters ? "nothing" : "waiting")}</p>
      </>
    );
  }
  const by = filters(route);
  const found = chosen(kpi, by);
  const asked = route.params.get("value");
  const place = asked !== null && kpi.values.includes(asked) ? kpi.values.indexOf(asked) : headline(kpi);
  const name = kpi.values[place] ?? "";
  const points = past.get(kpi.name)?.points ?? [];
  const week = past.get(kpi.name)?.week;
  const now = found?.series?.point;
  const limit = limitOf(live.rules, kpi.name, name);
  const newest = kpi.newest ?? Date.now();
  const from = newest - trendOf(kpi, spanOf(route));
  const marks: Mark[] = alerts
    .filter(({ alert }) => alert.kpi === kpi.name && alert.state !== "withdrawn")
    .filter(({ alert }) => alert.by.every((key, i) => (by as Record<string, string>)[key] === undefined || (by as Record<string, string>)[key] === alert.key[i]))
    .filter(({ alert }) => (alert.resolved_ms ?? newest) >= from)
    .map(({ alert }) => ({ from: alert.started_ms, to: alert.resolved_ms }));
  const shown = points.filter((point) => point.end >= from);
  return (
    <>
      <p>
        <a href={href(route, "wall")}>{`← ${word(lang, "wall")}`}</a>
      </p>
      <h1 tabIndex={-1}>{title(lang, kpi.title)}</h1>
      <Filters route={route} lang={lang}>
        <RouteChoice
          route={route}
          name="value"
          label={word(lang, "value")}
          first={kpi.values[headline(kpi)] ?? ""}
          options={kpi.values.map((name) => [name, column(lang, name)])}
        />
      </Filters>
      {found === null && <p class="dim">{word(lang, "notSplit")}</p>}
      <section class="panel" aria-label={column(lang, name)}>
        <p class="big">{value(lang, name, now?.values[place])}</p>
        <p class="small">
          {now && <span>{`${word(lang, "asOf")} `}<Time at={now.end} seconds /></span>}
          {limit !== null && <span class="limit-text">{`${word(lang, "limit")} ${value(lang, name, limit)}`}</span>}
        </p>
        <Chart
          key={kpi.name + name}
          data={line(shown, place, kpi.sizeMs)}
          labels={[column(lang, name)]}
          format={(number) => value(lang, name, number)}
          limit={limit}
          marks={marks}
          fromZero={!isShare(name)}
          isDuration={name.endsWith("_ms")}
          from={from}
          to={newest}
          theme={theme(route.params.get("theme"))}
          time={word(lang, "time")}
          name={`${title(lang, kpi.title)}: ${column(lang, name)}`}
        />
        <details>
          <summary>{word(lang, "chartTable")}</summary>
          <Table
            caption={title(lang, kpi.title)}
            columns={[word(lang, "time"), column(lang, name)]}
            numbers={[1]}
            rows={shown.slice(-ROWS_MAX).reverse().map((point) => [<Time at={point.end} />, value(lang, name, point.values[place])])}
            empty={word(lang, "noRows")}
          />
        </details>
      </section>
      <section aria-labelledby="values">
        <h2 id="values">{word(lang, "values")}</h2>
        <Table
          caption={word(lang, "values")}
          columns={[word(lang, "value"), word(lang, "latest"), word(lang, "lastWeek"), "±"]}
          numbers={[1, 2, 3]}
          rows={kpi.values.map((name, i) => {
            const [a, b] = [now?.values[i] ?? null, week?.[i] ?? null];
            const difference = a !== null && b !== null ? against(name, a, b)?.text : undefined;
            return [column(lang, name), value(lang, name, a), value(lang, name, b), difference ?? "–"];
          })}
          empty={word(lang, "noRows")}
        />
      </section>
      <Groups kpi={kpi} route={route} lang={lang} place={place} />
    </>
  );
}

function Groups({ kpi, route, lang, place }: ViewProps & { kpi: Kpi; place: number }) {
  const by = filters(route) as Record<string, string>;
  const sets = useMemo(
    () => [...new Set([...kpi.series.values()].map((series) => series.groupedBy))].filter((set) => set !== "").sort((a, b) => a.length - b.length),
    [kpi.series.size, kpi.name],
  );
  const wanted = route.params.get("by");
  const groupedBy = wanted !== null && sets.includes(wanted) ? wanted : sets.find((set) => by[set] === undefined) ?? sets[0];
  if (groupedBy === undefined) return null;
  const keys = groupedBy.split(",");
  const places = keys.map((key) => kpi.keys.indexOf(key));
  const rows = [...kpi.series.values()]
    .filter((series) => series.groupedBy === groupedBy)
    .filter((series) => kpi.keys.every((key, i) => by[key] === undefined || !keys.includes(key) || by[key] === series.keys[i]))
    .sort((a, b) => (b.point.values[place] ?? -Infinity) - (a.point.values[place] ?? -Infinity));
  return (
    <section aria-labelledby="groups">
      <h2 id="groups">{word(lang, "groups")}</h2>
      <div class="filters">
        <RouteChoice
          route={route}
          name="by"
          label={word(lang, "groupBy")}
          first={sets.find((set) => by[set] === undefined) ?? sets[0] ?? ""}
          options={sets.map((set) => [set, set.split(",").map((key) => word(lang, key as "shop")).join(" · ")])}
        />
      </div>
      <Table
        caption={word(lang, "groups")}
        columns={[...keys.map((key) => word(lang, key as "shop")), ...kpi.values.map((name) => column(lang, name))]}
        numbers={kpi.values.map((_, i) => keys.length + i)}
        rows={rows.slice(0, ROWS_MAX).map((series) => [
          ...places.map((i, at) => (
            <button type="button" class="plain" onClick={() => change(route, { [keys[at]!]: series.keys[i] ?? "" })}>
              {series.keys[i] || word(lang, "none")}
            </button>
          )),
          ...kpi.values.map((name, i) => value(lang, name, series.point.values[i])),
        ])}
        empty={word(lang, "noRows")}
      />
    </section>
  );
}

/** What the canvas is drawn for: it has to be drawn anew when this changes. */
export function theme(chosen: string | null): string {
  return chosen ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
}

