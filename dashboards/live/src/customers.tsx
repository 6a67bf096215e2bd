import { Chart } from "./chart";
import { count, duration, percent, time } from "./format";
import { useAsked } from "./hooks";
import { theme } from "./kpi";
import { live } from "./live";
import {
  Badge, ConversationLink, CustomerLink, Forget, Probability, Reasons, RouteChoice, Table, Time, Trouble, type Reason, type ViewProps,
} from "./parts";
import { href } from "./route";
import { column, named, title, word } from "./words";

interface Score {
  customer_id: string;
  model: string;
  version: string;
  probability: number;
  percentile: number | null;
  reasons: Reason[];
  at: string;
}

interface Task {
  task_id: string;
  campaign: string;
  title: string;
  customer_id: string;
  shop: string;
  order_ids: string[];
  state: string;
  since: string;
  created_at: string;
  expires_at: string;
  priority: string;
  recommended_actions: string[];
}

type Row = Record<string, string | number | boolean | null>;

/** How much has been scored and decided, by what the server pushes. */
function stamp(): number {
  const { scores, tasks } = live.counters ?? { scores: [], tasks: [] };
  return [...scores, ...tasks].reduce((sum, [, , n]) => sum + n, 0);
}

export function Customers({ route, lang }: ViewProps) {
  const model = route.params.get("model");
  const path = "/live/customers" + (model ? "?model=" + encodeURIComponent(model) : "");
  const { answer, refused, again } = useAsked<{ scores: Score[]; tasks: Task[]; models: string[]; known: number }>(path, stamp());
  const tasks = new Map((answer?.tasks ?? []).map((task) => [task.customer_id, task]));
  return (
    <>
      <h1 tabIndex={-1}>{word(lang, "customers")}</h1>
      {refused && <Trouble refused={refused} lang={lang} again={again} />}
      {!answer && !refused && <p class="dim">{word(lang, "loading")}</p>}
      {answer && answer.scores.length === 0 && <p class="dim">{word(lang, "nobodyScored")}</p>}
      {answer && answer.scores.length > 0 && (
        <>
          <div class="filters">
            <RouteChoice
              route={route}
              name="model"
              label={word(lang, "model")}
              first=""
              options={[["", word(lang, "all")], ...answer.models.map((name): [string, string] => [name, name])]}
            />
            <p class="dim">{`${count(answer.known)} ${word(lang, "scoredCustomers")}`}</p>
            <Forget lang={lang} again={again} />
          </div>
          <Table
            caption={word(lang, "customers")}
            columns={[
              word(lang, "customer"), word(lang, "model"), word(lang, "probability"), word(lang, "percentile"), word(lang, "reasons"),
              word(lang, "task"), word(lang, "scoredAt"),
            ]}
            rows={answer.scores.map((score) => {
              const task = tasks.get(score.customer_id);
              return [
                <CustomerLink route={route} id={score.customer_id} />,
                score.model,
                <Probability value={score.probability} />,
                score.percentile === null ? "–" : score.percentile.toFixed(0),
                <Reasons reasons={score.reasons} lang={lang} />,
                task ? <TaskState task={task} lang={lang} /> : <span class="dim">{word(lang, "noTask")}</span>,
                <Time at={score.at} />,
              ];
            })}
            empty=""
          />
        </>
      )}
    </>
  );
}

function TaskState({ task, lang }: { task: Task; lang: ViewProps["lang"] }) {
  return (
    <span>
      <Badge kind={task.state} lang={lang} /> {title(lang, task.title)}
    </span>
  );
}

interface CustomerAnswer {
  scores: Score[];
  tasks: Task[];
  contacts: Row[] | null;
  orders: Row[] | null;
  ratings: Row[] | null;
  past_scores: { at: string; model: string; trigger: string; probability: number; percentile: number | null; reasons: Reason[] | null }[];
  decisions: Row[] | null;
  features: Row[];
}

export function Customer({ route, lang }: ViewProps) {
  const { answer, refused, again } = useAsked<CustomerAnswer>("/live/customers/" + encodeURIComponent(route.id), stamp());
  const w = (name: Parameters<typeof word>[1]) => word(lang, name);
  return (
    <>
      <p>
        <a href={href(route, "customers")}>{`← ${w("customers")}`}</a>
      </p>
      <h1 tabIndex={-1}>{`${w("customer")} ${route.id}`}</h1>
      {refused && <Trouble refused={refused} lang={lang} again={again} />}
      {!answer && !refused && <p class="dim">{w("loading")}</p>}
      {answer && <Known answer={answer} route={route} lang={lang} />}
    </>
  );
}

function Known({ answer, route, lang }: ViewProps & { answer: CustomerAnswer }) {
  const w = (name: Parameters<typeof word>[1]) => word(lang, name);
  const { scores, tasks, contacts, orders, ratings, past_scores: past, decisions, features } = answer;
  if (![scores, tasks, contacts, orders, ratings, past].some((rows) => rows?.length)) return <p class="dim">{w("unknownCustomer")}</p>;
  return (
    <>
      {scores.map((score) => (
        <section class="panel" aria-label={score.model}>
          <p class="small"><span>{score.model}</span> <Time at={score.at} /></p>
          <p class="big"><Probability value={score.probability} /></p>
          <Reasons reasons={score.reasons} lang={lang} />
        </section>
      ))}
      <Scores past={past} route={route} lang={lang} />
      <section>
        <h2>{w("tasks")}</h2>
        <Table
          caption={w("tasks")}
          columns={[w("task"), w("state"), w("orders"), w("started"), w("stateSince")]}
          rows={tasks.map((task) => [
            title(lang, task.title), <Badge kind={task.state} lang={lang} />, task.order_ids.join(", ") || "–", <Time at={task.created_at} />, <Time at={task.since} />,
          ])}
          empty={w("noTask")}
        />
        {decisions && decisions.length > 0 && (
          <details>
            <summary>{`${w("decisions")} (${decisions.length})`}</summary>
            <Table
              caption={w("decisions")}
              columns={[w("time"), w("event"), w("campaigns"), w("arm"), w("reason")]}
              rows={decisions.map((row) => [
                <Time at={row.at as string} />,
                decision(lang, String(row.event).replace("task.", "")),
                row.campaign,
                row.arm ? named(lang, String(row.arm)) : "–",
                named(lang, String(row.reason ?? row.disposition ?? "–")),
              ])}
              empty={w("nothing")}
            />
          </details>
        )}
      </section>
      <section>
        <h2>{w("contacts")}</h2>
        <Table
          caption={w("contacts")}
          columns={[w("conversation"), w("time"), w("channel"), w("intent"), w("skill"), w("handleTime"), w("state")]}
          numbers={[5]}
          rows={(contacts ?? []).map((row) => [
            <ConversationLink route={route} id={String(row.conversation_id)} />,
            <Time at={row.ended_at as string} />,
            row.channel,
            row.intent ?? "–",
            row.skill ?? "–",
            row.handle_ms === null ? "–" : duration(lang, Number(row.handle_ms)),
            row.abandoned ? column(lang, "abandoned") : row.resolved ? column(lang, "resolved") : "–",
          ])}
          empty={w("nothing")}
        />
      </section>
      <section>
        <h2>{w("orders")}</h2>
        <Table
          caption={w("orders")}
          columns={[w("time"), w("orders"), w("event"), w("shop"), w("value"), w("reason")]}
          numbers={[4]}
          rows={(orders ?? []).map((row) => [
            <Time at={row.at as string} />,
            row.order_id,
            String(row.type).replaceAll("_", " "),
            row.shop,
            row.amount_minor === null ? (row.score === null ? "–" : `${row.score}/5`) : `${(Number(row.amount_minor) / 100).toFixed(2)} ${row.currency ?? ""}`,
            row.reason ?? row.actor ?? "–",
          ])}
          empty={w("nothing")}
        />
      </section>
      <section>
        <h2>{w("ratings")}</h2>
        <Table
          caption={w("ratings")}
          columns={[w("time"), w("conversation"), w("value"), w("agent")]}
          rows={(ratings ?? []).map((row) => [
            <Time at={row.rated_at as string} />, <ConversationLink route={route} id={String(row.conversation_id)} />, `${row.score}/5`, row.agent_id ?? "–",
          ])}
          empty={w("nothing")}
        />
      </section>
      {features.map((row) => (
        <details>
          <summary>{`${w("features")}: ${row.model}, ${time(row.at as string, false)}`}</summary>
          <Table
            caption={w("features")}
            columns={[w("feature"), w("value")]}
            numbers={[1]}
            rows={Object.entries(row)
              .filter(([name]) => !["customer_id", "at", "model", "role", "version"].includes(name))
              .map(([name, value]) => [<code>{name}</code>, value === null ? "–" : typeof value === "number" && !Number.isInteger(value) ? value.toFixed(3) : String(value)])}
            empty={w("nothing")}
          />
        </details>
      ))}
    </>
  );
}

/** What was decided; `assigned` and `suppressed` are also headings, and read otherwise there. */
function decision(lang: ViewProps["lang"], event: string): string {
  return named(lang, event === "assigned" || event === "suppressed" ? event + "_event" : event);
}

function Scores({ past, route, lang }: ViewProps & { past: CustomerAnswer["past_scores"] }) {
  if (past.length === 0) return null;
  const models = [...new Set(past.map((score) => score.model))].sort();
  const times = [...new Set(past.map((score) => Date.parse(score.at)))].sort((a, b) => a - b);
  const lines = models.map((model) => {
    const of = new Map(past.filter((score) => score.model === model).map((score) => [Date.parse(score.at), score.probability]));
    return times.map((at) => of.get(at) ?? null);
  });
  const [from, to] = [times[0] ?? 0, times.at(-1) ?? 0];
  return (
    <section class="panel">
      <h2>{word(lang, "scores")}</h2>
      <Chart
        data={[times, ...lines]}
        labels={models}
        format={(share) => (share === null ? "–" : percent(share))}
        limit={null}
        marks={[]}
        fromZero
        isDuration={false}
        from={from === to ? from - 3_600_000 : from}
        to={from === to ? to + 3_600_000 : to}
        theme={theme(route.params.get("theme"))}
        time={word(lang, "time")}
        name={word(lang, "scores")}
      />
      <details>
        <summary>{word(lang, "chartTable")}</summary>
        <Table
          caption={word(lang, "scores")}
          columns={[word(lang, "time"), word(lang, "model"), word(lang, "event"), word(lang, "probability"), word(lang, "reasons")]}
          rows={past.map((score) => [
            <Time at={score.at} />, score.model, score.trigger, percent(score.probability), <Reasons reasons={score.reasons ?? []} lang={lang} />,
          ])}
          empty=""
        />
      </details>
    </section>
  );
}

export function Conversation({ route, lang }: ViewProps) {
  const { answer, refused, again } = useAsked<Record<string, Row[]>>(
    "/live/conversations/" + encodeURIComponent(route.id),
    live.counters?.facts.contacts,
  );
  const w = (name: Parameters<typeof word>[1]) => word(lang, name);
  const contacts = answer?.contacts ?? [];
  return (
    <>
      <p>
        <a href={href(route, "alerts")}>{`← ${w("alerts")}`}</a>
      </p>
      <h1 tabIndex={-1}>{`${w("conversation")} ${route.id}`}</h1>
      {refused && <Trouble refused={refused} lang={lang} again={again} />}
      {!answer && !refused && <p class="dim">{w("loading")}</p>}
      {answer && contacts.length === 0 && <p class="dim">{w("unknownConversation")}</p>}
      {contacts.map((row) => (
        <section class="panel">
          <p>
            {`${w("customer")} `}
            <CustomerLink route={route} id={String(row.customer_id)} />
          </p>
          <dl class="facts">
            {Object.entries(row)
              .filter(([name, value]) => value !== null && !["conversation_id", "customer_id"].includes(name))
              .map(([name, value]) => (
                <div>
                  <dt>{fact(lang, name)}</dt>
                  <dd>{name.endsWith("_ms") ? duration(lang, Number(value)) : name.endsWith("_at") ? time(value as string) : String(value)}</dd>
                </div>
              ))}
          </dl>
        </section>
      ))}
      {answer && contacts.length > 0 && (
        <>
          <section>
            <h2>{w("rounds")}</h2>
            <Table
              caption={w("rounds")}
              columns={[w("time"), column(lang, "replied"), w("agent"), w("value")]}
              numbers={[3]}
              rows={(answer.rounds ?? []).map((row) => [
                <Time at={row.asked_at as string} seconds />, <Time at={row.replied_at as string | null} seconds />, row.agent_id ?? "–", row.reply_ms === null ? "–" : duration(lang, Number(row.reply_ms)),
              ])}
              empty={w("nothing")}
            />
          </section>
          <section>
            <h2>{w("ratings")}</h2>
            <Table
              caption={w("ratings")}
              columns={[w("time"), w("value"), w("agent")]}
              rows={(answer.ratings ?? []).map((row) => [<Time at={row.rated_at as string} />, `${row.score}/5`, row.agent_id ?? "–"])}
              empty={w("nothing")}
            />
          </section>
        </>
      )}
    </>
  );
}

/** The name of a fact; those that have no words of their own are as in the table. */
function fact(lang: ViewProps["lang"], name: string): string {
  const words = named(lang, name);
  return lang === "zh" && words === name.replaceAll("_", " ") ? column(lang, name) : words.replace(/ (ms|at)$/, "");
}
