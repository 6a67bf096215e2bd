import { render } from "preact";
import { useEffect, useRef } from "preact/hooks";

import { Alerts, where } from "./alerts";
import { Campaigns } from "./campaigns";
import { Conversation, Customer, Customers } from "./customers";
import { time } from "./format";
import { Health } from "./health";
import { useLive, useRoute } from "./hooks";
import { KpiView } from "./kpi";
import { live } from "./live";
import "./page.css";
import { RouteChoice } from "./parts";
import { href, langOf, path } from "./route";
import { Wall } from "./wall";
import { title, word } from "./words";

const VIEWS = ["wall", "alerts", "customers", "campaigns", "health"] as const;
const OF: Record<string, (typeof VIEWS)[number]> = { kpi: "wall", customer: "customers", conversation: "alerts" };

function Page() {
  useLive();
  const route = useRoute();
  const lang = langOf(route);
  const theme = route.params.get("theme");
  const root = document.documentElement;
  if (root.lang !== (lang === "zh" ? "zh-CN" : "en")) root.lang = lang === "zh" ? "zh-CN" : "en";
  if ((root.dataset.theme ?? null) !== theme) {
    if (theme) root.dataset.theme = theme;
    else delete root.dataset.theme;
  }
  // Who has followed a link goes on from the heading of what they have come to.
  const here = path(route);
  const before = useRef(here);
  useEffect(() => {
    if (before.current === here) return;
    before.current = here;
    scrollTo(0, 0);
    document.querySelector<HTMLElement>("h1")?.focus({ preventScroll: true });
  }, [here]);
  const current = OF[route.view] ?? route.view;
  const props = { route, lang };
  return (
    <>
      <a class="skip" href="#content" onClick={(event) => {
        event.preventDefault();
        document.querySelector<HTMLElement>("h1")?.focus();
      }}>{word(lang, "skip")}</a>
      <header class="top">
        <p class="name">headsup</p>
        <nav aria-label={word(lang, "views")}>
          <ul>
            {VIEWS.map((view) => (
              <li>
                <a href={href(route, view)} aria-current={view === current ? "page" : undefined}>
                  {word(lang, view)}
                  {view === "alerts" && live.firing.length > 0 && <span class="badge firing">{live.firing.length}</span>}
                </a>
              </li>
            ))}
          </ul>
        </nav>
        <Status lang={lang} />
        <div class="settings">
          <RouteChoice route={route} name="lang" label={word(lang, "language")} first={route.params.has("lang") ? "" : lang} options={[["en", "English"], ["zh", "中文"]]} />
          <RouteChoice
            route={route}
            name="theme"
            label={word(lang, "theme")}
            first=""
            options={[["", word(lang, "auto")], ["light", word(lang, "light")], ["dark", word(lang, "dark")]]}
          />
        </div>
      </header>
      <Said lang={lang} />
      <main id="content">
        {route.view === "kpi" ? <KpiView {...props} />
          : route.view === "alerts" ? <Alerts {...props} />
          : route.view === "customers" ? <Customers {...props} />
          : route.view === "customer" ? <Customer {...props} />
          : route.view === "conversation" ? <Conversation {...props} />
          : route.view === "campaigns" ? <Campaigns {...props} />
          : route.view === "health" ? <Health {...props} />
          : <Wall {...props} />}
      </main>
    </>
  );
}

function Status({ lang }: { lang: "en" | "zh" }) {
  const state = live.counters;
  if (!live.connected) return <p class="status bad" role="status">{word(lang, "offline")}</p>;
  if (state?.failure) return <p class="status bad" role="alert">{state.failure}</p>;
  if (!state?.watermark_ms) return <p class="status dim">{word(lang, state?.ended ? "ended" : "waiting")}</p>;
  return (
    <p class="status dim">
      <span id="time" class="time">{`${time(state.watermark_ms)} UTC`}</span>
      {state.ended && ` · ${word(lang, "ended")}`}
    </p>
  );
}

/** Says new alerts to who listens. */
function Said({ lang }: { lang: "en" | "zh" }) {
  const newest = live.changes[0];
  const text = newest ? `${word(lang, "alertSays")}, ${word(lang, newest.kind as "firing")}: ${title(lang, newest.alert.title)}, ${where(newest.alert, lang)}` : "";
  return <p class="hidden" aria-live="polite" id="said">{text}</p>;
}

live.open();
render(<Page />, document.getElementById("page")!);
