// Pieces that several views are made of.

import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";

import { keep, token, type Refused } from "./access";
import { percent, time } from "./format";
import { change, href, type Lang, type Route } from "./route";
import { named, word } from "./words";

export interface ViewProps {
  route: Route;
  lang: Lang;
}

/** A table that becomes a list of cards where there is no room. */
export function Table({ caption, columns, rows, empty, numbers = [] }: {
  caption: string;
  columns: string[];
  rows: ComponentChildren[][];
  empty: string;
  /** Which columns are numbers. */
  numbers?: number[];
}) {
  if (rows.length === 0) return <p class="dim">{empty}</p>;
  const kind = (place: number) => (numbers.includes(place) ? "number" : undefined);
  return (
    <div class="scroll" tabIndex={0} role="region" aria-label={caption}>
      <table class={columns.length > 2 ? "long" : undefined}>
        <caption class="hidden">{caption}</caption>
        <thead>
          <tr>
            {columns.map((name, place) => (
              <th scope="col" class={kind(place)}>{name}</th>
            ))}
          </tr>
        </thead>
        <tbody>
          {rows.map((row) => (
            <tr>
              {row.map((cell, place) => (
                <td class={kind(place)} data-label={columns[place]}>{cell}</td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

export function Choice({ label, value, options, onChange }: {
  label: string;
  value: string;
  options: [string, string][];
  onChange: (value: string) => void;
}) {
  return (
    <label class="choice">
      <span>{label}</span>
      <select value={value} onChange={(event) => onChange(event.currentTarget.value)}>
        {options.map(([key, text]) => (
          <option value={key}>{text}</option>
        ))}
      </select>
    </label>
  );
}

/** What is said instead of what was asked for; who has no token is asked for it. */
export function Trouble({ refused, lang, again }: { refused: Refused; lang: Lang; again: () => void }) {
  const [typed, type] = useState("");
  // 401: no token or one that is not known; 403 with a token: one of another scope.
  if (refused.status === 401 || (refused.status === 403 && token() !== null)) {
    return (
      <form
        class="panel"
        onSubmit={(event) => {
          event.preventDefault();
          keep(typed.trim());
          again();
        }}
      >
        <p>{word(lang, "tokenWanted")}</p>
        {token() !== null && <p class="bad" role="alert">{refused.message}</p>}
        <label class="choice">
          <span>{word(lang, "token")}</span>
          <input type="password" autocomplete="off" value={typed} onInput={(event) => type(event.currentTarget.value)} />
        </label>
        <button type="submit">{word(lang, "open")}</button>
      </form>
    );
  }
  return <p class="bad" role="alert">{refused.message}</p>;
}

export function Forget({ lang, again }: { lang: Lang; again: () => void }) {
  if (token() === null) return null;
  return (
    <button
      type="button"
      class="plain"
      onClick={() => {
        keep(null);
        again();
      }}
    >
      {word(lang, "forget")}
    </button>
  );
}

export function Badge({ kind, lang }: { kind: string; lang: Lang }) {
  return <span class={`badge ${kind}`}>{named(lang, kind)}</span>;
}

export function Probability({ value }: { value: number }) {
  return (
    <span class="meter">
      <svg class="bar" viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">
        <rect class="all" width="100" height="10" />
        <rect width={Math.max(Math.min(value, 1), 0) * 100} height="10" />
      </svg>
      {percent(value)}
    </span>
  );
}

export interface Reason {
  group: string;
  en: string;
  zh: string;
}

export function Reasons({ reasons, lang }: { reasons: Reason[]; lang: Lang }) {
  if (reasons.length === 0) return <span class="dim">–</span>;
  return (
    <ul class="plain">
      {reasons.map((reason) => (
        <li>{lang === "zh" ? reason.zh : reason.en}</li>
      ))}
    </ul>
  );
}

export function CustomerLink({ route, id }: { route: Route; id: string }) {
  return <a href={href(route, "customer/" + encodeURIComponent(id))}>{id}</a>;
}

export function ConversationLink({ route, id }: { route: Route; id: string }) {
  return <a href={href(route, "conversation/" + encodeURIComponent(id))}>{id}</a>;
}

export function Time({ at, seconds = false }: { at: number | string | null | undefined; seconds?: boolean }) {
  return <span class="time">{time(at, seconds)}</span>;
}

/** A choice that stands in the address. */
export function RouteChoice({ route, name, label, options, first }: {
  route: Route;
  name: string;
  label: string;
  options: [string, string][];
  first: string;
}) {
  const asked = route.params.get(name) ?? first;
  return (
    <Choice
      label={label}
      value={options.some(([value]) => value === asked) ? asked : first}
      options={options}
      onChange={(value) => change(route, { [name]: value === first ? null : value })}
    />
  );
}
