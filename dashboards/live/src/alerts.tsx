import { useMemo } from "preact/hooks";

import { Past } from "./backtest";
import { percent, value } from "./format";
import { useAsked } from "./hooks";
import { live, type Alert, type Change } from "./live";
import { Badge, ConversationLink, RouteChoice, Table, Time, type ViewProps } from "./parts";
import { href, type Lang } from "./route";
import { column, named, title, word } from "./words";

/** An alert, and what has been said of it, the newest first. */
export interface Life {
  alert: Alert;
  changes: { kind: string; at_ms: number; revision: number; value: number; peak: number }[];
}

interface Stored {
  changes: {
    alert_id: string;
    revision: number;
    name: string;
    state: string;
    severity: string;
    kpi: string;
    value_name: string;
    keys: Record<string, string>;
    value: number;
    threshold: number;
    n: number;
    peak: number;
    contributors: Alert["contributors"] | null;
    worst: string[] | null;
    runbook: string;
    started_ms: number;
    resolved_ms: number | null;
    at_ms: number;
  }[];
}

/** All alerts that are known: those stored, and those that the server has pushed since. */
export function useStoredAlerts(): Life[] {
  const { answer } = useAsked<Stored>("/live/alerts");
  return useMemo(() => {
    const lives = new Map<string, Life>();
    const take = ({ kind, at_ms, alert }: Change) => {
      const known = lives.get(alert.id);
      const change = { kind, at_ms, revision: alert.revision, value: alert.value, peak: alert.peak };
      if (!known) return void lives.set(alert.id, { alert, changes: [change] });
      if (known.changes.every((one) => one.revision !== alert.revision)) known.changes.push(change);
      if (alert.revision >= known.alert.revision) known.alert = alert;
    };
    for (const row of answer?.changes ?? []) {
      const rule = live.rules.find((rule) => rule.name === row.name);
      take({
        kind: row.state,
        at_ms: row.at_ms,
        alert: {
          id: row.alert_id,
          revision: row.revision,
          state: row.state === "amended" ? (row.resolved_ms === null ? "firing" : "resolved") : row.state,
          name: row.name,
          title: rule?.title ?? row.name,
          severity: row.severity,
          kpi: row.kpi,
          metric: row.value_name,
          by: Object.keys(row.keys),
          key: Object.values(row.keys),
          value: row.value,
          latest: null,
          peak: row.peak,
          limit: row.threshold,
          n: row.n,
          started_ms: row.started_ms,
          resolved_ms: row.resolved_ms,
          contributors: row.contributors ?? [],
          worst: row.worst ?? [],
          runbook: row.runbook,
        },
      });
    }
    for (const change of live.changes) take(change);
    for (const alert of live.firing) {
      const known = lives.get(alert.id);
      if (!known) lives.set(alert.id, { alert, changes: [] });
      else if (alert.revision >= known.alert.revision) known.alert = alert;
    }
    const all = [...lives.values()];
    for (const life of all) life.changes.sort((a, b) => b.revision - a.revision);
    const fires = (life: Life) => (life.alert.state === "firing" ? 1 : 0);
    return all.sort((a, b) => fires(b) - fires(a) || b.alert.started_ms - a.alert.started_ms);
  }, [answer, live.alertsVersion]);
}

export function Alerts({ route, lang }: ViewProps) {
  const all = useStoredAlerts();
  const state = route.params.get("state") ?? "all";
  const kpi = route.params.get("kpi");
  const shown = all.filter(({ alert }) => (state === "all" || alert.state === "firing") && (kpi === null || alert.kpi === kpi));
  const kpis = [...new Set(all.map(({ alert }) => alert.kpi))].sort();
  return (
    <>
      <h1 tabIndex={-1}>{word(lang, "alerts")}</h1>
      <div class="filters">
        <RouteChoice route={route} name="state" label={word(lang, "showing")} first="all" options={[["all", word(lang, "all")], ["firing", word(lang, "onlyFiring")]]} />
        <RouteChoice
          route={route}
          name="kpi"
          label="KPI"
          first=""
          options={[["", word(lang, "all")], ...kpis.map((name): [string, string] => [name, title(lang, live.kpis.get(name)?.title ?? name)])]}
        />
      </div>
      {shown.length === 0 && <p class="dim">{word(lang, all.length ? "noFiring" : "noAlerts")}</p>}
      {shown.slice(0, 100).map((life) => (
        <OneAlert key={life.alert.id} life={life} route={route} lang={lang} />
      ))}
    </>
  );
}

export function where(alert: Alert, lang: Lang): string {
  const parts = alert.by.map((key, place) => `${named(lang, key)} ${alert.key[place] || "–"}`);
  return parts.join(", ") || word(lang, "everything");
}

function OneAlert({ life: { alert, changes }, route, lang }: ViewProps & { life: Life }) {
  const shown = (number: number | null) => value(lang, alert.metric, number);
  const filters = Object.fromEntries(alert.by.map((key, place) => [key, alert.key[place] ?? ""]));
  return (
    <article class={"panel alert " + alert.state}>
      <header>
        <h2>{`${title(lang, alert.title)}: ${where(alert, lang)}`}</h2>
        <p class="small">
          <Badge kind={alert.state} lang={lang} />
          <Badge kind={alert.severity} lang={lang} />
          <a href={href(route, "kpi/" + alert.kpi, { shop: null, channel: null, skill: null, ...filters })}>
            {title(lang, live.kpis.get(alert.kpi)?.title ?? alert.kpi)}
          </a>
        </p>
      </header>
      <dl class="facts">
        <div><dt>{word(lang, "started")}</dt><dd><Time at={alert.started_ms} /></dd></div>
        <div><dt>{word(lang, "resolved")}</dt><dd><Time at={alert.resolved_ms} /></dd></div>
        <div><dt>{column(lang, alert.metric)}</dt><dd>{`${shown(alert.value)} (n ${alert.n})`}</dd></div>
        <div><dt>{word(lang, "limit")}</dt><dd>{shown(alert.limit)}</dd></div>
        <div><dt>{word(lang, "peak")}</dt><dd>{shown(alert.peak)}</dd></div>
        <div><dt>{word(lang, "latest")}</dt><dd>{shown(alert.latest)}</dd></div>
      </dl>
      <div class="columns">
        {alert.contributors.length > 0 && (
          <section>
            <h3>{word(lang, "contributors")}</h3>
            <Table
              caption={word(lang, "contributors")}
              columns={[word(lang, "part"), word(lang, "value"), word(lang, "share"), "n", column(lang, alert.metric)]}
              numbers={[2, 3, 4]}
              rows={alert.contributors.slice(0, 8).map((part) => [
                named(lang, part.dimension), part.value || word(lang, "none"), percent(part.share, 0), part.n, shown(part.metric),
              ])}
              empty=""
            />
          </section>
        )}
        <div>
          {alert.worst.length > 0 && (
            <section>
              <h3>{word(lang, "worst")}</h3>
              <ul class="worst">
                {alert.worst.map((id) => (
                  <li><ConversationLink route={route} id={id} /></li>
                ))}
              </ul>
            </section>
          )}
          <section>
            <h3>{word(lang, "runbook")}</h3>
            <p>{alert.runbook || "–"}</p>
          </section>
          {changes.length > 0 && (
            <section>
              <h3>{word(lang, "life")}</h3>
              <ol class="life">
                {changes.map((one) => (
                  <li>
                    <Badge kind={one.kind} lang={lang} /> <Time at={one.at_ms} seconds /> {`${shown(one.value)}, ${word(lang, "peak")} ${shown(one.peak)}`}
                  </li>
                ))}
              </ol>
            </section>
          )}
        </div>
      </div>
      <Past alert={alert} lang={lang} />
    </article>
  );
}
