import { bytes, count } from "./format";
import { live, type Account } from "./live";
import { Table, Time, type ViewProps } from "./parts";
import { named, word } from "./words";

const OUTCOMES = ["applied", "duplicate", "late", "quarantined", "ignored"] as const;

export function Health({ lang }: ViewProps) {
  const w = (name: Parameters<typeof word>[1]) => word(lang, name);
  const state = live.counters;
  if (!state) {
    return (
      <>
        <h1 tabIndex={-1}>{w("health")}</h1>
        <p class="dim">{w("waiting")}</p>
      </>
    );
  }
  const account = (name: string, events: Account, behind: number | null, newest: number | null) => [
    name,
    count(events.read),
    ...OUTCOMES.map((outcome) => count(events.outcomes[outcome] ?? 0)),
    count(events.pending),
    behind === null ? "–" : count(behind),
    <Time at={newest} seconds />,
  ];
  const { checkpoints, sink, batches } = state;
  const newest = state.partitions.reduce<number | null>((most, one) => (one.latest_ms === null ? most : Math.max(most ?? 0, one.latest_ms)), null);
  return (
    <>
      <h1 tabIndex={-1}>{w("health")}</h1>
      <div class="tiles">
        <article class={"tile" + (state.behind > 10_000 ? " firing" : "")}>
          <h2>{w("lag")}</h2>
          <p class="big">{count(state.behind)}</p>
          <p class="small">{w("recordsBehind")}</p>
        </article>
        <article class="tile">
          <h2>{w("watermark")}</h2>
          <p class="big time-big"><Time at={state.watermark_ms} seconds /></p>
          <p class="small">UTC</p>
        </article>
        <article class="tile">
          <h2>{w("perBatch")}</h2>
          <p class="big">{batches.count ? ((batches.seconds / batches.count) * 1000).toFixed(1) + " ms" : "–"}</p>
          <p class="small">{`n ${count(batches.count)}`}</p>
        </article>
        <article class="tile">
          <h2>{w("checkpoints")}</h2>
          <p class="big">{count(checkpoints.count)}</p>
          <dl>
            <div><dt>{w("size")}</dt><dd>{bytes(checkpoints.bytes)}</dd></div>
            <div><dt>{w("stall")}</dt><dd>{(checkpoints.stalls.max * 1000).toFixed(1) + " ms"}</dd></div>
          </dl>
        </article>
      </div>
      <section aria-labelledby="account">
        <h2 id="account">{w("account")}</h2>
        <p class="equation">
          {`${w("read")} ${count(state.events.read)} = ` +
            OUTCOMES.map((outcome) => `${w(outcome)} ${count(state.events.outcomes[outcome] ?? 0)}`).join(" + ") +
            ` + ${w("pending")} ${count(state.events.pending)}`}
        </p>
        <Table
          caption={w("account")}
          columns={[w("partition"), w("read"), ...OUTCOMES.map((name) => w(name)), w("pending"), w("behind"), w("newest")]}
          numbers={[1, 2, 3, 4, 5, 6, 7, 8]}
          rows={[
            account(w("sum"), state.events, state.behind, newest),
            ...state.partitions.map((one) => account(one.name, one.events, one.behind, one.latest_ms)),
          ]}
          empty={w("nothing")}
        />
      </section>
      <div class="columns">
        <section>
          <h2>{w("quarantine")}</h2>
          <Table
            caption={w("quarantine")}
            columns={[w("reason"), w("count")]}
            numbers={[1]}
            rows={Object.entries(state.quarantined).map(([reason, n]) => [reason.replaceAll("_", " "), count(n)])}
            empty={w("emptyQuarantine")}
          />
        </section>
        <section>
          <h2>{w("sink")}</h2>
          {sink === null ? (
            <p class="dim">{w("noSink")}</p>
          ) : (
            <>
              {sink.complaint && <p class="bad">{sink.complaint}</p>}
              <dl class="facts">
                <div><dt>{w("behindFiles")}</dt><dd>{`${count(sink.behind_files)} (${bytes(sink.behind_bytes)})`}</dd></div>
                <div><dt>{w("loaded")}</dt><dd>{count(sink.rows)}</dd></div>
                <div><dt>{w("failures")}</dt><dd>{count(sink.failures)}</dd></div>
              </dl>
            </>
          )}
        </section>
      </div>
      <section>
        <h2>{w("webhooks")}</h2>
        <Table
          caption={w("webhooks")}
          columns={[w("endpoint"), w("delivered"), w("waitingCount"), w("retried"), w("dead"), w("skipped"), w("complaint")]}
          numbers={[1, 2, 3, 4, 5]}
          rows={state.webhooks.map((one) => [
            one.name, count(one.delivered), count(one.waiting), count(one.retried), count(one.dead), count(one.skipped), one.complaint ?? "–",
          ])}
          empty={w("noWebhooks")}
        />
      </section>
      <div class="columns">
        <section>
          <h2>{w("rowsOut")}</h2>
          <Table
            caption={w("rowsOut")}
            columns={[w("table"), w("rows")]}
            numbers={[1]}
            rows={[
              ...Object.entries(state.facts).map(([table, n]) => [named(lang, table), count(n)]),
              ...state.scores.map(([model, role, n]) => [`${w("scores")}: ${model}, ${role}`, count(n)]),
              ...state.tasks.map(([campaign, event, n]) => [`${campaign}: ${event}`, count(n)]),
            ]}
            empty={w("nothing")}
          />
        </section>
        <section>
          <h2>{w("stateSizes")}</h2>
          <Table
            caption={w("stateSizes")}
            columns={[w("facts"), w("count")]}
            numbers={[1]}
            rows={state.sizes.map(([kind, n]) => [kind.replaceAll("_", " "), count(n)])}
            empty={w("nothing")}
          />
        </section>
      </div>
    </>
  );
}

