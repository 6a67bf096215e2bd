//! The facts: their tables and how rows become Arrow batches.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanBuilder, Int64Builder, RecordBatch, StringViewBuilder, TimestampMicrosecondBuilder,
    new_null_array,
};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};

/// The tables of facts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    /// A row per contact handled, abandoned, or left to the bot.
    Contacts,
    /// A row per reply round: the first unanswered customer message and the next
    /// human reply.
    Rounds,
    /// A row per rating.
    Ratings,
    /// A row per tick, shop, channel and skill: who waits; and one per tick for
    /// the agents.
    Queue,
    /// A row per order event.
    Orders,
    /// A row per turn: the first unanswered customer message and the next reply of anybody, the
    /// bot's and automatic ones included.
    Turns,
    /// A row per contact that is over, and one more if the customer comes again about the same.
    Resolutions,
    /// A row per inquiry before a purchase, and one more if the customer then pays.
    Inquiries,
    /// A row per agent and minute: how much of the time was taken.
    Agents,
    /// A row per event that proactive service goes by: customers who come or write, their consent,
    /// and what becomes of tasks.
    Signals,
}

/// The kinds of columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// UTF-8
    Text,
    /// whole number
    Integer,
    /// true or false
    Boolean,
    /// UTC, microseconds
    Time,
}

impl Table {
    /// All tables.
    pub const ALL: [Table; 10] = [
        Table::Contacts,
        Table::Rounds,
        Table::Ratings,
        Table::Queue,
        Table::Orders,
        Table::Turns,
        Table::Resolutions,
        Table::Inquiries,
        Table::Agents,
        Table::Signals,
    ];

    /// The name in SQL and of the folder.
    pub const fn name(self) -> &'static str {
        match self {
            Table::Contacts => "contacts",
            Table::Rounds => "rounds",
            Table::Ratings => "ratings",
            Table::Queue => "queue",
            Table::Orders => "orders",
            Table::Turns => "turns",
            Table::Resolutions => "resolutions",
            Table::Inquiries => "inquiries",
            Table::Agents => "agents",
            Table::Signals => "signals",
        }
    }

    /// The table of this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|table| table.name() == name)
    }

    /// The column that dates a row.
    pub const fn event_time(self) -> &'static str {
        match self {
            Table::Contacts => "ended_at",
            Table::Rounds | Table::Turns | Table::Inquiries => "asked_at",
            Table::Ratings => "rated_at",
            Table::Queue | Table::Orders | Table::Resolutions | Table::Agents | Table::Signals => "at",
        }
    }

    /// Columns: name, kind, what it is.
    pub const fn columns(self) -> &'static [(&'static str, Kind, &'static str)] {
        use Kind::{Boolean, Integer, Text, Time};
        match self {
            Table::Contacts => &[
                ("conversation_id", Text, "the conversation"),
                ("contact", Integer, "1, and one more each time the conversation is reopened"),
                ("customer_id", Text, "the customer"),
                ("shop", Text, "the shop"),
                ("channel", Text, "the channel"),
                ("skill", Text, "the skill stated last"),
                ("agent_id", Text, "the agent who had it last; null if none accepted it"),
                ("intent", Text, "the label given last"),
                ("order_id", Text, "the order it is about"),
                ("origin", Text, "inbound or proactive"),
                ("entry", Text, "bot or queue, as stated at the start"),
                ("started_at", Time, "first event of the contact"),
                ("queued_at", Time, "first queued"),
                ("accepted_at", Time, "first accepted by an agent"),
                ("closed_at", Time, "closed"),
                ("wrapped_at", Time, "after-contact work ended"),
                (
                    "ended_at",
                    Time,
                    "when the contact was over: wrapped; else abandoned; else closed; else given up as idle",
                ),
                ("ended_by", Text, "wrapped, closed, abandoned, reopened, idle"),
                ("wait_ms", Integer, "queued to accepted, or to abandoned; null if never queued"),
                (
                    "handle_ms",
                    Integer,
                    "accepted to wrapped (else closed, else the last event), without hold and without queueing again after a transfer; null if no agent accepted it",
                ),
                ("hold_ms", Integer, "on hold"),
                ("wrap_ms", Integer, "closed to wrapped"),
                (
                    "first_reply_ms",
                    Integer,
                    "from the later of queueing and the first unanswered customer message to the first human, non-automatic reply",
                ),
                ("customer_messages", Integer, "messages of the customer"),
                ("agent_messages", Integer, "messages of agents, automatic ones left out"),
                ("bot_messages", Integer, "messages of the bot, and automatic replies"),
                ("transfers", Integer, "transfers"),
                ("handed_off", Boolean, "the bot gave it to a human"),
                ("bot_only", Boolean, "neither queued nor accepted"),
                ("abandoned", Boolean, "the customer left while queued"),
                ("reopened", Boolean, "began by reopening"),
                ("resolved", Boolean, "what the close said; null if it said nothing"),
                ("rounds", Integer, "reply rounds that were answered"),
                ("reply_ms", Integer, "sum of their times"),
                ("unanswered", Integer, "1 if the last round was not answered, else 0"),
                (
                    "effort_ms",
                    Integer,
                    "as handle_ms, but each moment divided by the conversations that the agent had then; null if no agent accepted it, and where agents are not followed",
                ),
                (
                    "known_at",
                    Time,
                    "when the row could be known: its last event, or the time at which nothing more was waited for",
                ),
            ],
            Table::Rounds => &[
                ("conversation_id", Text, "the conversation"),
                ("customer_id", Text, "the customer"),
                ("shop", Text, "the shop"),
                ("channel", Text, "the channel"),
                ("skill", Text, "the skill stated last"),
                ("agent_id", Text, "the agent who replied; null if nobody did"),
                ("origin", Text, "inbound or proactive"),
                ("asked_at", Time, "the first unanswered customer message"),
                (
                    "replied_at",
                    Time,
                    "the next human, non-automatic reply; null if none came before the contact ended",
                ),
                ("reply_ms", Integer, "from the one to the other"),
                (
                    "known_at",
                    Time,
                    "when the row could be known: its last event, or the time at which nothing more was waited for",
                ),
            ],
            Table::Ratings => &[
                ("conversation_id", Text, "the conversation"),
                ("customer_id", Text, "the customer"),
                ("shop", Text, "the shop"),
                ("channel", Text, "the channel"),
                ("skill", Text, "the skill stated last"),
                ("agent_id", Text, "the agent rated"),
                ("origin", Text, "inbound or proactive"),
                ("score", Integer, "1 to 5"),
                ("rated_at", Time, "when it was given"),
                ("known_at", Time, "when it was known"),
            ],
            Table::Queue => &[
                ("at", Time, "the tick"),
                ("shop", Text, "the shop; null in the agents' row"),
                ("channel", Text, "the channel; null in the agents' row"),
                ("skill", Text, "the skill; null in the agents' row"),
                ("waiting", Integer, "customers waiting; as below, without proactive contacts"),
                ("longest_wait_ms", Integer, "the longest wait among them; null if nobody waits"),
                ("open_contacts", Integer, "contacts accepted and not yet over"),
                (
                    "open_over",
                    Integer,
                    "those among them that were accepted longer ago than `queue.over`; nothing finished tells of them yet",
                ),
                ("agents_available", Integer, "agents available; only in the agents' row"),
                (
                    "capacity",
                    Integer,
                    "conversations that the available agents may have at once; only in the agents' row",
                ),
                ("known_at", Time, "the tick"),
            ],
            Table::Orders => &[
                ("order_id", Text, "the order"),
                (
                    "type",
                    Text,
                    "placed, paid, shipped, delivered, cancelled, return_requested, returned, refunded, reviewed",
                ),
                ("customer_id", Text, "the customer"),
                ("shop", Text, "the shop"),
                ("channel", Text, "the channel"),
                ("amount_minor", Integer, "money in minor units of the currency"),
                ("currency", Text, "ISO 4217"),
                ("actor", Text, "who cancelled"),
                ("reason", Text, "why"),
                ("score", Integer, "of a review, 1 to 5"),
                ("lines", Text, "JSON array of {sku, quantity, unit_minor}"),
                ("at", Time, "when it happened"),
                ("known_at", Time, "when it was known"),
            ],
            Table::Turns => &[
                ("conversation_id", Text, "the conversation"),
                ("customer_id", Text, "the customer"),
                ("shop", Text, "the shop"),
                ("channel", Text, "the channel"),
                ("skill", Text, "the skill stated last"),
                ("origin", Text, "inbound or proactive"),
                ("asked_at", Time, "the first customer message after the last reply"),
                ("replied_at", Time, "the next reply; null if none came before the contact ended"),
                ("replied_by", Text, "agent, bot (also an agent's automatic reply); null if nobody did"),
                ("reply_ms", Integer, "from the one to the other"),
                (
                    "known_at",
                    Time,
                    "when the row could be known: its last event, or the time at which nothing more was waited for",
                ),
            ],
            Table::Resolutions => &[
                (
                    "event",
                    Text,
                    "ended: a contact is over. repeated: the first contact of the same customer and shop about the same (order, else intent, else skill), or the same conversation reopened, has followed and is over too",
                ),
                ("conversation_id", Text, "the conversation; of `repeated`, the earlier one"),
                ("contact", Integer, "its contact"),
                ("customer_id", Text, "the customer"),
                ("shop", Text, "the shop"),
                ("channel", Text, "the channel"),
                ("skill", Text, "the skill stated last"),
                ("agent_id", Text, "the agent who had it last; null if none accepted it"),
                ("intent", Text, "the label given last"),
                ("entry", Text, "bot or queue, as stated at the start"),
                ("closed", Boolean, "it was closed, neither abandoned nor given up"),
                ("resolved", Boolean, "what the close said; null if it said nothing"),
                ("handed_off", Boolean, "the bot gave it to a human"),
                ("bot_only", Boolean, "neither queued nor accepted"),
                ("started_at", Time, "its first event"),
                ("at", Time, "when it was closed; else when it ended"),
                ("first_reply_ms", Integer, "as in contacts; only of `ended`"),
                (
                    "since_last_ms",
                    Integer,
                    "from the end of the customer's contact before, in the same shop, to the start; null if there was none in contacts.repeat; only of `ended`",
                ),
                ("after_ms", Integer, "from `at` to the start of the one that followed; only of `repeated`"),
                ("next_conversation_id", Text, "the one that followed; only of `repeated`"),
                (
                    "known_at",
                    Time,
                    "when the row could be known: its last event, or the time at which nothing more was waited for",
                ),
            ],
            Table::Inquiries => &[
                (
                    "event",
                    Text,
                    "asked: a contact with one of the intents (else skills) of contacts.presale, of a customer who had none in the 24 h before. paid: the customer's first payment to the shop since",
                ),
                ("conversation_id", Text, "the conversation that asked"),
                ("customer_id", Text, "the customer"),
                ("shop", Text, "the shop"),
                ("channel", Text, "the channel"),
                ("skill", Text, "the skill"),
                ("agent_id", Text, "the agent who had it last; null if none accepted it"),
                ("asked_at", Time, "when the contact began"),
                ("after_ms", Integer, "from then to the payment; only of `paid`"),
                (
                    "known_at",
                    Time,
                    "when the row could be known: its last event, or the time at which nothing more was waited for",
                ),
            ],
            Table::Agents => &[
                ("at", Time, "the minute's start"),
                ("agent_id", Text, "the agent"),
                ("skill", Text, "of the contact accepted last"),
                (
                    "busy_ms",
                    Integer,
                    "conversations that the agent had (accepted to wrapped), times how long",
                ),
                ("available_ms", Integer, "capacity times how long the agent was available"),
                ("engaged_ms", Integer, "how long the agent had at least one conversation"),
                ("known_at", Time, "the minute's end"),
            ],
            Table::Signals => &[
                (
                    "type",
                    Text,
                    "conversation.started, conversation.reopened: a customer came; conversation.message: the first one after a reply; customer.consent_changed; task.offered, task.accepted, task.rejected, task.completed, task.cancelled",
                ),
                ("subject", Text, "the conversation, or the task"),
                ("source", Text, "the event's source"),
                ("id", Text, "the event's id"),
                ("customer_id", Text, "the customer, if it was said"),
                ("shop", Text, "the shop"),
                ("channel", Text, "the channel"),
                ("origin", Text, "of conversations, inbound or proactive"),
                ("agent_id", Text, "the agent, of tasks"),
                ("state", Text, "given or withdrawn, of consent"),
                ("reason", Text, "why a task was rejected"),
                ("retryable", Boolean, "whether a rejected task may be offered again"),
                ("disposition", Text, "how a contact went: solved, informed, declined, no_answer, other"),
                ("at", Time, "when it happened"),
                ("known_at", Time, "when it was known"),
            ],
        }
    }

    /// The Arrow schema.
    pub fn schema(self) -> SchemaRef {
        let fields: Vec<Field> = self
            .columns()
            .iter()
            .map(|&(name, kind, _)| {
                let kind = match kind {
                    Kind::Text => DataType::Utf8View,
                    Kind::Integer => DataType::Int64,
                    Kind::Boolean => DataType::Boolean,
                    Kind::Time => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
                };
                Field::new(name, kind, true)
            })
            .collect();
        Arc::new(Schema::new(fields))
    }
}

/// Builds batches of one table, cell by cell in the order of its columns.
#[derive(Debug)]
pub struct Rows {
    table: Table,
    schema: SchemaRef,
    columns: Vec<Column>,
    next: usize,
    rows: usize,
    /// Rows that come before those.
    earlier: Option<RecordBatch>,
}

#[derive(Debug)]
enum Column {
    Text(StringViewBuilder),
    Integer(Int64Builder),
    Boolean(BooleanBuilder),
    Time(TimestampMicrosecondBuilder),
    /// Nobody reads it: it is NULL.
    Unread,
}

/// Bytes that a batch's texts are kept in, a block after the other: as many as so many rows, as the batch before had, may
/// need. By itself the builder makes each block twice as large as the one before, up to 2 MiB for a single text.
fn texts(rows: usize) -> StringViewBuilder {
    let block_bytes = rows.saturating_mul(32).clamp(64, 16 * 1024) as u32;
    StringViewBuilder::with_capacity(rows).with_fixed_block_size(block_bytes)
}

impl Rows {
    /// An empty builder of the columns that `wanted` wants, by their places; the others
    /// are NULL.
    pub fn new(table: Table, wanted: impl Fn(usize) -> bool) -> Self {
        let columns = table
            .columns()
            .iter()
            .enumerate()
            .map(|(place, (_, kind, _))| match kind {
                _ if !wanted(place) => Column::Unread,
                Kind::Text => Column::Text(texts(0)),
                Kind::Integer => Column::Integer(Int64Builder::new()),
                Kind::Boolean => Column::Boolean(BooleanBuilder::new()),
                Kind::Time => Column::Time(TimestampMicrosecondBuilder::new().with_timezone("UTC")),
            })
            .collect();
        Self { table, schema: table.schema(), columns, next: 0, rows: 0, earlier: None }
    }

    /// The table.
    pub fn table(&self) -> Table {
        self.table
    }

    /// Whether anybody reads the column of this name.
    pub fn wants(&self, column: &str) -> bool {
        let place = self.table.columns().iter().position(|(name, ..)| *name == column);
        place.is_some_and(|place| !matches!(self.columns[place], Column::Unread))
    }

    /// How many rows are in.
    pub fn len(&self) -> usize {
        self.rows + self.earlier.as_ref().map_or(0, RecordBatch::num_rows)
    }

    /// Whether no rows are in.
    pub fn is_empty(&self) -> bool {
        self.rows == 0 && self.earlier.is_none()
    }

    /// The rows so far as a batch; they stay in the builder.
    pub fn save(&mut self) -> Option<RecordBatch> {
        let rows = (!self.is_empty()).then(|| self.take());
        self.earlier.clone_from(&rows);
        rows
    }

    /// Goes on after saved rows.
    pub fn restore(&mut self, rows: RecordBatch) {
        self.earlier = Some(rows);
    }

    /// The next cell: a text, null if empty.
    pub(crate) fn text(&mut self, value: &str) -> &mut Self {
        match self.column() {
            Column::Text(builder) => builder.append_option((!value.is_empty()).then_some(value)),
            Column::Unread => {}
            other => unreachable!("no text column: {other:?}"),
        }
        self
    }

    /// The next cell: an integer.
    pub(crate) fn integer(&mut self, value: Option<i64>) -> &mut Self {
        match self.column() {
            Column::Integer(builder) => builder.append_option(value),
            Column::Unread => {}
            other => unreachable!("no integer column: {other:?}"),
        }
        self
    }

    /// The next cell: true or false.
    pub(crate) fn boolean(&mut self, value: Option<bool>) -> &mut Self {
        match self.column() {
            Column::Boolean(builder) => builder.append_option(value),
            Column::Unread => {}
            other => unreachable!("no boolean column: {other:?}"),
        }
        self
    }

    /// The next cell: a time in ms.
    pub(crate) fn time(&mut self, value_ms: Option<i64>) -> &mut Self {
        match self.column() {
            Column::Time(builder) => {
                builder.append_option(value_ms.map(|ms| ms.saturating_mul(1_000)));
            }
            Column::Unread => {}
            other => unreachable!("no time column: {other:?}"),
        }
        self
    }

    fn column(&mut self) -> &mut Column {
        let column = &mut self.columns[self.next];
        self.next += 1;
        column
    }

    /// Ends the row.
    pub(crate) fn end_row(&mut self) {
        assert_eq!(self.next, self.columns.len(), "a row of {} is incomplete", self.table.name());
        self.next = 0;
        self.rows += 1;
    }

    /// The rows so far as a batch; the builder is empty again.
    #[expect(clippy::expect_used, reason = "the builders and what was restored have the schema of the table")]
    pub fn take(&mut self) -> RecordBatch {
        let rows = std::mem::take(&mut self.rows);
        let columns: Vec<ArrayRef> = self
            .columns
            .iter_mut()
            .zip(self.schema.fields())
            .map(|(column, field)| match column {
                Column::Text(builder) => {
                    Arc::new(std::mem::replace(builder, texts(rows)).finish()) as ArrayRef
                }
                Column::Integer(builder) => Arc::new(builder.finish()),
                Column::Boolean(builder) => Arc::new(builder.finish()),
                Column::Time(builder) => Arc::new(builder.finish()),
                Column::Unread => new_null_array(field.data_type(), rows),
            })
            .collect();
        let batch = RecordBatch::try_new(self.schema.clone(), columns)
            .expect("builders follow the schema they were made from");
        match self.earlier.take() {
            None => batch,
            Some(earlier) => {
                concat_batches(&self.schema, [&earlier, &batch]).expect("rows of one table follow one schema")
            }
        }
    }
}
