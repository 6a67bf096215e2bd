//! From scores to tasks, in the stream.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Float64Array, Int64Array, RecordBatch, StringArray, StringViewArray,
    TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field, Float64Type, Schema, SchemaRef, TimeUnit, TimestampMicrosecondType};
use headsup_features::Names;
use headsup_operators::facts::Table;
use headsup_operators::{Copied, Windows, WindowsError};
use headsup_tasks::policy::{Queue, State};
use headsup_tasks::task::{Cancelled, Disposition, Reason};
use headsup_tasks::{Decision, Policy, Rules, Score, Transition};
use serde::Deserialize;
use serde_json::Value;

use crate::known::{Known, Last};
use crate::scoring::Scoring;

/// The operator that scores, and decides by the scores who is contacted.
///
/// What the policy goes by takes effect at its event time; of the same millisecond first what became of orders and
/// customers, then of tasks, then scores. So what comes out does not depend on how the input is cut.
pub struct Acting {
    scoring: Scoring,
    policy: Policy,
    customers: Names,
    /// Of each customer.
    known: Vec<Known>,
    /// Of shops and channels.
    names: Names,
    /// What has come since the last tick.
    inputs: Vec<Input>,
    decisions: Vec<Decision>,
    schema: SchemaRef,
}

impl fmt::Debug for Acting {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Acting").field("scoring", &self.scoring).finish_non_exhaustive()
    }
}

/// Something that the policy goes by.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Input {
    at_ms: i64,
    what: What,
}

/// What it is. Of the same time they take effect in this order.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    /// Customer, shop, channel, order.
    Placed(String, String, String, String),
    /// Customer, order.
    Back(String, String),
    /// Waiting, agents available, capacity; of several rows of a time the sum.
    Queue(u64, u64, u64),
    /// Customer, channel, whether it was given.
    Consent(String, String, bool),
    /// Customer, channel.
    Wrote(String, String),
    /// Customer.
    Came(String),
    /// Task, event, what.
    Task(String, String, Told),
    /// The place of the batch and the row.
    Score(usize, usize),
}

/// What somebody said of a task, with an order.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Told {
    Offered(Option<String>),
    Accepted(Option<String>),
    Rejected(String, bool),
    Completed(Disposition, Option<String>),
    Cancelled,
}

impl From<Told> for Transition {
    fn from(told: Told) -> Self {
        match told {
            Told::Offered(agent_id) => Self::Offered { agent_id },
            Told::Accepted(agent_id) => Self::Accepted { agent_id },
            Told::Rejected(reason, retryable) => Self::Rejected { reason, retryable },
            Told::Completed(disposition, channel) => Self::Completed { disposition, channel },
            Told::Cancelled => Self::Cancelled { reason: Cancelled::ByHand },
        }
    }
}

/// The state between two batches.
#[derive(Deserialize)]
struct Saved {
    scoring: Vec<u8>,
    policy: State,
}

/// Columns of a fact's texts, by name.
struct Texts<'r> {
    rows: &'r RecordBatch,
}

impl Texts<'_> {
    fn column(&self, name: &'static str) -> Result<&StringViewArray, WindowsError> {
        let column = self.rows.column_by_name(name).and_then(|column| column.as_string_view_opt());
        column.ok_or_else(|| format!("facts without the text column {name}").into())
    }
}

fn text(column: &StringViewArray, row: usize) -> String {
    if column.is_valid(row) { column.value(row).to_owned() } else { String::new() }
}

fn some(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

const TABLES: [Table; 3] = [Table::Orders, Table::Queue, Table::Signals];

impl Acting {
    /// Decides by these rules over the scores of `scoring`.
    pub fn new(scoring: Scoring, rules: Arc<Rules>) -> Self {
        let time = || DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        let mut fields = vec![Field::new("event", DataType::Utf8, false), Field::new("at", time(), false)];
        fields.extend(TEXTS.map(|(name, _)| Field::new(name, DataType::Utf8, true)));
        fields.extend(INTEGERS.map(|(name, _)| Field::new(name, DataType::Int64, true)));
        fields.extend(NUMBERS.map(|(name, _)| Field::new(name, DataType::Float64, true)));
        fields.push(Field::new("data", DataType::Utf8, false));
        Self {
            scoring,
            policy: Policy::new(rules),
            customers: Names::default(),
            known: Vec::new(),
            names: Names::default(),
            inputs: Vec::new(),
            decisions: Vec::new(),
            schema: Arc::new(
                Schema::new(fields).with_metadata([("table".to_owned(), "tasks".to_owned())].into()),
            ),
        }
    }

    /// Takes in stored facts, by which nothing is done.
    ///
    /// # Errors
    /// Facts without the columns of their table.
    pub fn learn(&mut self, table: Table, facts: &RecordBatch) -> Result<(), WindowsError> {
        self.scoring.learn(table, facts)?;
        if table != Table::Orders {
            return Ok(());
        }
        self.orders(facts)?;
        let mut inputs = std::mem::take(&mut self.inputs);
        inputs.sort_unstable();
        for Input { at_ms, what } in inputs {
            match what {
                What::Placed(customer, shop, channel, order) => {
                    self.order(&customer, &order, at_ms, Some((&shop, &channel)));
                }
                What::Back(customer, order) => self.order(&customer, &order, at_ms, None),
                _ => {}
            }
        }
        Ok(())
    }

    /// After all has been learned: makes evaluating faster.
    pub fn learned(&mut self) {
        self.scoring.learned();
    }

    /// An order was placed, in a shop by a channel, or is back.
    fn order(&mut self, customer: &str, order: &str, at_ms: i64, placed: Option<(&str, &str)>) {
        let longest_ms = self.longest_ms();
        let placed = placed.map(|(shop, channel)| (self.names.insert(shop).0, self.names.insert(channel).0));
        let (customer, is_new) = self.customers.insert(customer);
        if is_new {
            self.known.push(Known::default());
        }
        self.known[customer as usize].take(order, at_ms, placed, longest_ms);
    }

    /// How long orders matter to some campaign.
    fn longest_ms(&self) -> i64 {
        self.policy.rules().campaigns.iter().map(|campaign| campaign.orders_within_ms).max().unwrap_or(0)
    }

    fn orders(&mut self, facts: &RecordBatch) -> Result<(), WindowsError> {
        let texts = Texts { rows: facts };
        let columns = ["type", "customer_id", "shop", "channel", "order_id"];
        let [kind, customer, shop, channel, order] = columns.map(|name| texts.column(name));
        let (kind, customer, shop, channel, order) = (kind?, customer?, shop?, channel?, order?);
        let times = times(facts)?;
        for (row, &at_ms) in times.iter().enumerate() {
            let (who, order) = (text(customer, row), text(order, row));
            let what = match kind.value(row) {
                "placed" => What::Placed(who, text(shop, row), text(channel, row), order),
                "cancelled" | "return_requested" | "returned" => What::Back(who, order),
                _ => continue,
            };
            self.inputs.push(Input { at_ms, what });
        }
        Ok(())
    }

    fn queue(&mut self, facts: &RecordBatch) -> Result<(), WindowsError> {
        let number = |name: &'static str| {
            let column = facts.column_by_name(name);
            let column = column.and_then(|column| column.as_primitive_opt::<arrow::datatypes::Int64Type>());
            column.ok_or_else(|| WindowsError::from(format!("facts without the integer column {name}")))
        };
        let columns = [number("waiting")?, number("agents_available")?, number("capacity")?];
        let times = times(facts)?;
        for (row, &at_ms) in times.iter().enumerate() {
            let [waiting, agents, capacity] = columns
                .map(|column| if column.is_valid(row) { column.value(row).max(0).unsigned_abs() } else { 0 });
            match self.inputs.last_mut() {
                Some(Input { at_ms: last_ms, what: What::Queue(w, a, c) }) if *last_ms == at_ms => {
                    (*w, *a, *c) = (*w + waiting, *a + agents, *c + capacity);
                }
                _ => self.inputs.push(Input { at_ms, what: What::Queue(waiting, agents, capacity) }),
            }
        }
        Ok(())
    }

    fn signals(&mut self, facts: &RecordBatch) -> Result<(), WindowsError> {
        let texts = Texts { rows: facts };
        let [kind, subject, source, id] = ["type", "subject", "source", "id"].map(|name| texts.column(name));
        let [customer, channel, origin] = ["customer_id", "channel", "origin"].map(|name| texts.column(name));
        let [agent, state, reason, disposition] =
            ["agent_id", "state", "reason", "disposition"].map(|name| texts.column(name));
        let (kind, subject, source, id) = (kind?, subject?, source?, id?);
        let (customer, channel, origin) = (customer?, channel?, origin?);
        let (agent, state, reason, disposition) = (agent?, state?, reason?, disposition?);
        let retryable = facts.column_by_name("retryable").and_then(|column| column.as_boolean_opt());
        let retryable = retryable.ok_or("facts without the column retryable")?;
        let times = times(facts)?;
        for (row, &at_ms) in times.iter().enumerate() {
            let who = || text(customer, row);
            let inbound = origin.value(row) != "proactive";
            let mut push = |what| self.inputs.push(Input { at_ms, what });
            let told = match kind.value(row) {
                "conversation.message" => {
                    push(What::Wrote(who(), text(channel, row)));
                    if inbound {
                        push(What::Came(who()));
                    }
                    continue;
                }
                "conversation.started" | "conversation.reopened" if inbound => {
                    push(What::Came(who()));
                    continue;
                }
                "customer.consent_changed" => {
                    push(What::Consent(who(), text(channel, row), state.value(row) == "given"));
                    continue;
                }
                "task.offered" => Told::Offered(some(text(agent, row))),
                "task.accepted" => Told::Accepted(some(text(agent, row))),
                "task.rejected" => {
                    let again = retryable.is_valid(row) && retryable.value(row);
                    Told::Rejected(text(reason, row), again)
                }
                "task.completed" => {
                    let name = disposition.value(row);
                    let known = Disposition::ALL.into_iter().find(|known| known.name() == name);
                    Told::Completed(known.unwrap_or(Disposition::Other), some(text(channel, row)))
                }
                "task.cancelled" => Told::Cancelled,
                _ => continue,
            };
            let event_id = format!("{} {}", text(source, row), text(id, row));
            push(What::Task(text(subject, row), event_id, told));
        }
        Ok(())
    }

    /// A champion's score as the policy takes it; `None` of a challenger, and if no campaign asks for it.
    fn policy_score(&self, scores: &RecordBatch, row: usize) -> Result<Option<Score>, WindowsError> {
        let text = |column: usize| scores.column(column).as_string::<i32>().value(row);
        let (customer, model, version) = (text(0), text(2), text(4));
        let rules = self.policy.rules();
        if text(3) != "champion" || !rules.campaigns.iter().any(|campaign| campaign.model == model) {
            return Ok(None);
        }
        let at_ms = scores.column(1).as_primitive::<TimestampMicrosecondType>().value(row).div_euclid(1_000);
        let percentile = scores.column(8).as_primitive::<Float64Type>();
        let within_ms = rules.orders_within_ms(model);
        let known = self.customers.get(customer).map(|number| &self.known[number as usize]);
        let orders = known.map(|known| known.orders(at_ms, within_ms, self.longest_ms())).unwrap_or_default();
        let last = known.and_then(|known| known.last.as_ref());
        let name = |of: fn(&Last) -> u32| last.map(|last| self.names.name(of(last)).to_owned());
        Ok(Some(Score {
            customer_id: customer.to_owned(),
            model: model.to_owned(),
            version: version.to_owned(),
            probability: scores.column(6).as_primitive::<Float64Type>().value(row),
            percentile: percentile.is_valid(row).then(|| percentile.value(row)),
            lead_ms: self.scoring.lead_ms(model, version),
            order_ids: orders,
            reasons: reasons(text(9))?,
            shop: name(|last| last.shop).unwrap_or_default(),
            channel: name(|last| last.channel).unwrap_or_default(),
            at_ms,
        }))
    }

    /// Lets everything before `now_ms` take effect, in its order.
    fn act(&mut self, now_ms: i64, scores: &[RecordBatch]) -> Result<(), WindowsError> {
        let mut inputs = std::mem::take(&mut self.inputs);
        for (place, rows) in scores.iter().enumerate() {
            let times = rows.column(1).as_primitive::<TimestampMicrosecondType>();
            inputs.extend((0..rows.num_rows()).map(|row| Input {
                at_ms: times.value(row).div_euclid(1_000),
                what: What::Score(place, row),
            }));
        }
        inputs.sort_unstable();
        let mut out = std::mem::take(&mut self.decisions);
        for Input { at_ms, what } in inputs {
            match what {
                What::Placed(customer, shop, channel, order) => {
                    self.order(&customer, &order, at_ms, Some((&shop, &channel)));
                }
                What::Back(customer, order) => {
                    self.order(&customer, &order, at_ms, None);
                    self.policy.order_back(&customer, &order, at_ms, &mut out);
                }
                What::Queue(waiting, agents_available, capacity) => {
                    self.policy.queue(Queue { waiting, agents_available, capacity }, at_ms, &mut out);
                }
                What::Consent(customer, channel, given) => {
                    self.policy.consent(&customer, &channel, given, at_ms, &mut out);
                }
                What::Wrote(customer, channel) => {
                    self.policy.message(&customer, &channel, at_ms, &mut out);
                }
                What::Came(customer) => self.policy.came_first(&customer, at_ms, &mut out),
                What::Task(task, event_id, told) => {
                    // What cannot become of a task is among the decisions too.
                    let _ = self.policy.feedback(&task, told.into(), &event_id, at_ms, &mut out);
                }
                What::Score(place, row) => {
                    if let Some(score) = self.policy_score(&scores[place], row)? {
                        self.policy.score(score, &mut out)?;
                    }
                }
            }
        }
        self.policy.advance(now_ms.saturating_sub(1), &mut out);
        self.decisions = out;
        Ok(())
    }

    /// What was decided, as rows of table `tasks`.
    fn rows(&mut self) -> Result<Option<RecordBatch>, WindowsError> {
        if self.decisions.is_empty() {
            return Ok(None);
        }
        let decisions = std::mem::take(&mut self.decisions);
        let events: Vec<Value> = decisions.iter().map(|decision| decision.event("")).collect();
        let of = |event: &Value, path: &str| event.pointer(path).cloned().unwrap_or_default();
        let at = decisions.iter().map(|decision| decision.at_ms().saturating_mul(1_000));
        let mut columns: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from_iter(events.iter().map(|event| event["type"].as_str()))),
            Arc::new(TimestampMicrosecondArray::from_iter_values(at).with_timezone("UTC")),
        ];
        for (_, path) in TEXTS {
            let texts = events.iter().map(|event| of(event, path).as_str().map(str::to_owned));
            columns.push(Arc::new(texts.collect::<StringArray>()));
        }
        for (_, path) in INTEGERS {
            columns
                .push(Arc::new(events.iter().map(|event| of(event, path).as_i64()).collect::<Int64Array>()));
        }
        for (_, path) in NUMBERS {
            columns.push(Arc::new(
                events.iter().map(|event| of(event, path).as_f64()).collect::<Float64Array>(),
            ));
        }
        let data = events.iter().map(|event| event["data"].to_string());
        columns.push(Arc::new(StringArray::from_iter_values(data)));
        Ok(Some(RecordBatch::try_new(self.schema.clone(), columns)?))
    }
}

/// Columns of table `tasks`, and where events have them; all of it is in `data` too.
const TEXTS: [(&str, &str); 14] = [
    ("id", "/id"),
    ("subject", "/subject"),
    ("campaign", "/data/campaign"),
    ("customer_id", "/data/customer_id"),
    ("shop", "/data/shop"),
    ("arm", "/data/arm"),
    ("assignment_id", "/data/assignment_id"),
    ("task_id", "/data/task_id"),
    ("reason", "/data/reason"),
    ("agent_id", "/data/agent_id"),
    ("disposition", "/data/disposition"),
    ("channel", "/data/channel"),
    ("model", "/data/risk/kind"),
    ("version", "/data/risk/model"),
];
const INTEGERS: [(&str, &str); 3] = [
    ("revision", "/data/revision"),
    ("value_minor", "/data/value_minor"),
    ("cost_minor", "/data/cost_minor"),
];
const NUMBERS: [(&str, &str); 2] =
    [("probability", "/data/risk/probability"), ("percentile", "/data/risk/percentile")];

/// The times of facts, in ms.
fn times(facts: &RecordBatch) -> Result<Vec<i64>, WindowsError> {
    let times =
        facts.column_by_name("at").and_then(|column| column.as_primitive_opt::<TimestampMicrosecondType>());
    let times = times.ok_or("facts without the column at")?;
    Ok(times.values().iter().map(|us| us.div_euclid(1_000)).collect())
}

/// Reasons as scores carry them.
fn reasons(text: &str) -> Result<Vec<Reason>, WindowsError> {
    let all: Vec<Value> = serde_json::from_str(text)?;
    let of = |reason: &Value, name: &str| reason[name].as_str().unwrap_or_default().to_owned();
    let reason =
        |reason: &Value| Reason { group: of(reason, "group"), en: of(reason, "en"), zh: of(reason, "zh") };
    Ok(all.iter().map(reason).collect())
}

impl Windows for Acting {
    fn name(&self) -> &str {
        self.scoring.name()
    }

    fn tables(&self) -> Vec<Table> {
        let mut tables = self.scoring.tables();
        tables.extend(TABLES.iter().filter(|table| !tables.contains(table)).copied().collect::<Vec<_>>());
        tables
    }

    fn columns(&self, table: Table) -> BTreeSet<usize> {
        self.scoring.columns(table)
    }

    fn tick_ms(&self) -> i64 {
        self.scoring.tick_ms()
    }

    fn next_tick_ms(&self) -> Option<i64> {
        let due_ms = self.policy.next_due_ms().map(|due_ms| due_ms.saturating_add(1));
        self.scoring.next_tick_ms().into_iter().chain(due_ms).min()
    }

    fn absorb(&mut self, now_ms: i64, table: Table, facts: &RecordBatch) -> Result<(), WindowsError> {
        match table {
            Table::Orders => self.orders(facts)?,
            Table::Queue => self.queue(facts)?,
            Table::Signals => self.signals(facts)?,
            _ => {}
        }
        self.scoring.absorb(now_ms, table, facts)
    }

    fn tick(&mut self, now_ms: i64, rows: &mut Vec<RecordBatch>) -> Result<(), WindowsError> {
        let before = rows.len();
        self.scoring.tick(now_ms, rows)?;
        self.act(now_ms, &rows[before..])?;
        rows.extend(self.rows()?);
        Ok(())
    }

    fn refused(&self) -> u64 {
        0
    }

    fn is_optional(&self) -> bool {
        true
    }

    fn save(&self) -> Copied {
        // Packed and not copied: of maps a copy would be an allocation for each customer. What follows in a struct follows in
        // its bytes.
        let (scoring, policy) = (self.scoring.save(), postcard::to_stdvec(self.policy.state()));
        Copied::new(move || {
            let mut saved = postcard::to_stdvec(&scoring.pack()?)?;
            saved.append(&mut policy?);
            Ok(saved)
        })
    }

    fn restore(&mut self, saved: &[u8]) -> Result<(), WindowsError> {
        let Saved { scoring, policy } = postcard::from_bytes(saved)?;
        self.scoring.restore(&scoring)?;
        self.policy = Policy::resume(Arc::new(self.policy.rules().clone()), policy);
        Ok(())
    }
}
