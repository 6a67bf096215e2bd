import { count, percent } from "./format";
import { useAsked } from "./hooks";
import { live } from "./live";
import { Badge, Forget, Table, Trouble, type ViewProps } from "./parts";
import { column, named, title, word } from "./words";

interface Counted {
  campaign: string;
  event: string;
  arm: string | null;
  reason: string | null;
  n: number;
  customers: number;
}

interface CampaignsAnswer {
  campaigns: { name: string; title: string; model: string; control_share: number }[];
  states: [string, string, number][];
  counts: Counted[] | null;
}

interface Estimate {
  value: number;
  low: number;
  high: number;
}

interface LiftAnswer {
  none?: string;
  text?: string;
  lift?: {
    treated: { units: number; outcomes: number; contacted: number; rate: Estimate | null };
    control: { units: number; outcomes: number; contacted: number; rate: Estimate | null };
    verdict: { verdict: "helped" | "harmed" | "not_shown" | "none" };
    early: boolean;
    effect: { difference: Estimate; p_value: number } | null;
  };
}

function decided(): number {
  return (live.counters?.tasks ?? []).reduce((sum, [, , n]) => sum + n, 0);
}

export function Campaigns({ route, lang }: ViewProps) {
  const { answer, refused, again } = useAsked<CampaignsAnswer>("/live/campaigns", decided());
  return (
    <>
      <h1 tabIndex={-1}>{word(lang, "campaigns")}</h1>
      {refused && <Trouble refused={refused} lang={lang} again={again} />}
      {!answer && !refused && <p class="dim">{word(lang, "loading")}</p>}
      {answer && <Forget lang={lang} again={again} />}
      {answer && answer.campaigns.length === 0 && <p class="dim">{word(lang, "noCampaigns")}</p>}
      {answer?.campaigns.map((campaign) => {
        const counts = (answer.counts ?? []).filter((row) => row.campaign === campaign.name);
        const arms = counts.filter((row) => row.event === "task.assigned");
        const kept = counts.filter((row) => row.event === "task.suppressed");
        const states = answer.states.filter(([name]) => name === campaign.name);
        return (
          <section class="panel" aria-labelledby={"campaign-" + campaign.name}>
            <h2 id={"campaign-" + campaign.name}>{title(lang, campaign.title)}</h2>
            <p class="dim">{`${campaign.name} · ${word(lang, "model")} ${campaign.model} · ${word(lang, "control")} ${percent(campaign.control_share, 0)}`}</p>
            <div class="columns">
              <section>
                <h3>{word(lang, "states")}</h3>
                <Table
                  caption={word(lang, "states")}
                  columns={[word(lang, "state"), word(lang, "count")]}
                  numbers={[1]}
                  rows={states.map(([, state, n]) => [<Badge kind={state} lang={lang} />, count(n)])}
                  empty={word(lang, "noTask")}
                />
              </section>
              <section>
                <h3>{word(lang, "assigned")}</h3>
                <Table
                  caption={word(lang, "assigned")}
                  columns={[word(lang, "arm"), word(lang, "count"), column(lang, "customers")]}
                  numbers={[1, 2]}
                  rows={arms.map((row) => [named(lang, row.arm ?? ""), count(row.n), count(row.customers)])}
                  empty={word(lang, "nothing")}
                />
              </section>
              <section>
                <h3>{word(lang, "suppressed")}</h3>
                <Table
                  caption={word(lang, "suppressed")}
                  columns={[word(lang, "reason"), word(lang, "count")]}
                  numbers={[1]}
                  rows={kept.map((row) => [named(lang, row.reason ?? "–"), count(row.n)])}
                  empty={word(lang, "nothing")}
                />
              </section>
            </div>
            <LiftOf name={campaign.name} lang={lang} route={route} />
          </section>
        );
      })}
    </>
  );
}

function LiftOf({ name, lang }: ViewProps & { name: string }) {
  const { answer, refused } = useAsked<LiftAnswer>(`/live/campaigns/${encodeURIComponent(name)}/lift`, decided());
  const w = (name: Parameters<typeof word>[1]) => word(lang, name);
  const lift = answer?.lift;
  return (
    <section>
      <h3>{w("lift")}</h3>
      {refused && <p class="bad">{refused.message}</p>}
      {!answer && !refused && <p class="dim">{w("loading")}</p>}
      {answer?.none && <p class="dim">{answer.none}</p>}
      {lift && (
        <>
          <p>
            <strong>{w(lift.verdict.verdict === "none" ? "noVerdict" : lift.verdict.verdict)}</strong>
            {lift.early && ` ${w("early")}`}
          </p>
          <Table
            caption={w("lift")}
            columns={[w("arm"), column(lang, "customers"), w("outcomeRate"), w("interval")]}
            numbers={[1, 2, 3]}
            rows={[
              ...([["treated", lift.treated], ["control", lift.control]] as const).map(([arm, of]) => [
                w(arm), count(of.units), of.rate ? percent(of.rate.value) : "–", of.rate ? between(of.rate) : "–",
              ]),
              ...(lift.effect ? [[w("difference"), "", points(lift.effect.difference.value), between(lift.effect.difference, points)]] : []),
            ]}
            empty=""
          />
          <details>
            <summary>{w("liftText")}</summary>
            <pre tabIndex={0}>{answer?.text}</pre>
          </details>
        </>
      )}
    </section>
  );
}

function points(share: number): string {
  return (share > 0 ? "+" : share < 0 ? "−" : "") + Math.abs(share * 100).toFixed(1) + " pt";
}

function between({ low, high }: Estimate, show = percent): string {
  return `${show(low)} … ${show(high)}`;
}
