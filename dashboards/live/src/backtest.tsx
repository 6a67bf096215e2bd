// When a rule would have fired with other values, and when it did.

import { useEffect, useRef, useState } from "preact/hooks";

import { ask, Refused } from "./access";
import { count, duration, isShare, time, value } from "./format";
import { live, type Alert, type Rule } from "./live";
import { Table, Time } from "./parts";
import type { Lang } from "./route";
import { column, named, word } from "./words";

interface Episode {
  from_ms: number;
  to_ms: number | null;
  peak: number;
}

interface Answer {
  values: [string, string][];
  days: number;
  from_ms: number;
  to_ms: number;
  counts: Record<"same" | "moved" | "only_did" | "only_would" | "did" | "would", number>;
  episodes: { kind: string; labels: Record<string, string>; did: Episode | null; would: Episode | null }[];
  /** Earlier ones, which are not sent. */
  more: number;
}

const DAYS_MAX = 92;
/** Episodes that are shown at first. */
const SHOWN = 10;

export function Past({ alert, lang }: { alert: Alert; lang: Lang }) {
  const [open, set] = useState(false);
  const rule = live.rules.find((rule) => rule.name === alert.name);
  return (
    <details onToggle={(event) => set(event.currentTarget.open)}>
      <summary>{word(lang, "backtest")}</summary>
      {open && rule && <Backtest rule={rule} lang={lang} />}
      <p class="dim">{word(lang, "onCommandLine")}</p>
      <pre tabIndex={0}>{`headsup alerts backtest --all      # ${alert.name}: when it did fire, and would have\nheadsup alerts backtest --alerts changed.toml`}</pre>
    </details>
  );
}

function Backtest({ rule, lang }: { rule: Rule; lang: Lang }) {
  const w = (name: Parameters<typeof word>[1]) => word(lang, name);
  const [typed, type] = useState<Record<string, string>>({});
  const [days, setDays] = useState("7");
  const [answer, tell] = useState<Answer | null>(null);
  const [trouble, complain] = useState<string | null>(null);
  const [busy, work] = useState(false);
  const asking = useRef<AbortController | null>(null);
  useEffect(() => () => asking.current?.abort(), []);

  const submit = async (event: Event) => {
    event.preventDefault();
    if (busy) return;
    const changed = rule.values.filter(([key, now]) => (typed[key] ?? now).trim() !== now);
    const query = new URLSearchParams({ days, ...Object.fromEntries(changed.map(([key]) => [key, typed[key] ?? ""])) });
    const stop = (asking.current = new AbortController());
    work(true);
    complain(null);
    try {
      tell(await ask<Answer>(`/live/alerts/${encodeURIComponent(rule.name)}/backtest?${query}`, stop.signal));
    } catch (error) {
      if (stop.signal.aborted) return;
      tell(null);
      complain(error instanceof Refused ? error.message : w("noConnection"));
    }
    work(false);
  };

  return (
    <>
      <p class="dim">{w("backtestHow")}</p>
      <form class="filters" onSubmit={submit}>
        {rule.values.map(([key, now]) => (
          <label class="choice" key={key}>
            <span>{label(lang, key)}</span>
            <input size={10} autocomplete="off" value={typed[key] ?? now} onInput={(event) => type({ ...typed, [key]: event.currentTarget.value })} />
            <small aria-hidden="true">{meaning(rule, lang, key, typed[key] ?? now)}</small>
          </label>
        ))}
        <label class="choice">
          <span>{w("days")}</span>
          <input type="number" min={1} max={DAYS_MAX} required value={days} onInput={(event) => setDays(event.currentTarget.value)} />
          <small aria-hidden="true">{`1–${DAYS_MAX}`}</small>
        </label>
        <button type="submit" aria-disabled={busy}>{w("tryIt")}</button>
      </form>
      <p role="status" class={busy ? "dim" : undefined}>{busy ? w("loading") : answer && sentence(answer, lang)}</p>
      {trouble && <p class="bad" role="alert">{trouble}</p>}
      {answer && !busy && <Result answer={answer} rule={rule} lang={lang} />}
    </>
  );
}

function Result({ answer, rule, lang }: { answer: Answer; rule: Rule; lang: Lang }) {
  const w = (name: Parameters<typeof word>[1]) => word(lang, name);
  const changed = answer.values.filter(([key, now]) => rule.values.find(([known]) => known === key)?.[1] !== now);
  const kinds = (["same", "moved", "only_did", "only_would"] as const).filter((kind) => answer.counts[kind] > 0);
  const [all, show] = useState(false);
  const lasted = ({ from_ms, to_ms }: Episode) => (to_ms === null ? w("stillFiring") : duration(lang, to_ms - from_ms));
  return (
    <>
      <p class="small">
        <span>{`${time(answer.from_ms, false)} – ${time(answer.to_ms, false)}`}</span>
        {kinds.map((kind) => (
          <span>{`${w(kind)}: ${count(answer.counts[kind])}`}</span>
        ))}
      </p>
      <Table
        caption={w("backtest")}
        columns={[w("started"), w("lasted"), w("peak"), w("group"), w("fired")]}
        rows={answer.episodes.slice(0, all ? undefined : SHOWN).map(({ kind, labels, did, would }) => {
          const shown = would ?? did;
          return [
            <Time at={shown?.from_ms} />,
            shown && lasted(shown),
            value(lang, rule.value, shown?.peak),
            rule.by.map((key) => labels[key] || "–").join(", ") || w("everything"),
            kind === "moved" && did ? w("movedFrom").replace("{from}", time(did.from_ms, false)).replace("{lasted}", lasted(did)) : named(lang, kind),
          ];
        })}
        empty={w("never")}
      />
      {!all && answer.episodes.length > SHOWN && (
        <button type="button" class="plain" onClick={() => show(true)}>{`${w("showAll")} (${count(answer.episodes.length)})`}</button>
      )}
      {all && answer.more > 0 && <p class="dim">{w("moreEpisodes").replace("{n}", count(answer.more))}</p>}
      <p>{changed.length > 0 ? w("makeItSo").replace("{rule}", rule.name) : w("asItIs")}</p>
      {changed.length > 0 && <pre tabIndex={0}>{changed.map(([key, now]) => inFile(key, now)).join("\n")}</pre>}
    </>
  );
}

function sentence({ counts, days }: Answer, lang: Lang): string {
  const times = (n: number) => (n === 1 ? word(lang, "once") : word(lang, "times").replace("{n}", count(n)));
  return word(lang, "backtestSays")
    .replace("{would}", times(counts.would))
    .replace("{did}", times(counts.did))
    .replace("{days}", days === 1 ? word(lang, "day") : word(lang, "manyDays").replace("{n}", String(days)));
}

function label(lang: Lang, key: string): string {
  const [name = key, windows] = key.split(" ");
  return windows ? `${named(lang, name)} ${windows}` : named(lang, name);
}

/** What a number is in people's units, if that is something else. */
function meaning(rule: Rule, lang: Lang, key: string, typed: string): string {
  const number = Number(typed.replaceAll("_", ""));
  const isLimit = /^(fire|clear)_(above|below)$|^floor$/.test(key) && (rule.value.endsWith("_ms") || isShare(rule.value));
  return typed.trim() !== "" && Number.isFinite(number) && isLimit ? `${column(lang, rule.value)} ${value(lang, rule.value, number)}` : "";
}

/** A line of alerts.toml. */
function inFile(key: string, now: string): string {
  const [name, windows] = key.split(" ");
  if (windows) return `rate = ${now}      # of ${windows.split("/").map((length, place) => `${place ? "short" : "long"} = "${length}"`).join(", ")}`;
  if (now === "") return `# ${name}: leave it out`;
  return `${name} = ${/^-?[\d.]+$/.test(now) ? now : JSON.stringify(now)}`;
}
