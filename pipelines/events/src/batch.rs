use arrow::array::{Array, BooleanArray, Int64Array, StringViewArray};

use crate::EventType;

/// The text columns of an [`EventBatch`]. A missing text is the empty string.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
#[expect(missing_docs, reason = "the names are those of the attributes and data fields")]
pub enum Text {
    Id,
    Source,
    Subject,
    CustomerId,
    Shop,
    Channel,
    Skill,
    AgentId,
    Role,
    Origin,
    Entry,
    OrderId,
    Intent,
    ToSkill,
    ToAgent,
    State,
    Currency,
    Actor,
    Reason,
    /// The order's lines, as the JSON array that came.
    Lines,
}

impl Text {
    /// How many text columns there are.
    pub const COUNT: usize = Text::Lines as usize + 1;
}

/// Who wrote a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The customer.
    Customer,
    /// A human agent, or an automatic reply in the agent's name.
    Agent,
    /// The bot.
    Bot,
    /// The shop's systems.
    System,
}

/// The integer columns of an [`EventBatch`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Number {
    /// A rating or review, 1 to 5.
    Score,
    /// How many conversations an agent may have at once.
    Capacity,
    /// Money in minor units.
    AmountMinor,
}

impl Number {
    /// How many integer columns there are.
    pub const COUNT: usize = Number::AmountMinor as usize + 1;

    pub(crate) fn name(self) -> &'static str {
        match self {
            Number::Score => "score",
            Number::Capacity => "capacity",
            Number::AmountMinor => "amount_minor",
        }
    }
}

/// The boolean columns of an [`EventBatch`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Flag {
    /// An automatic reply, not a human's.
    Auto,
    /// The agent says that the issue is resolved.
    Resolved,
}

impl Flag {
    /// How many boolean columns there are.
    pub const COUNT: usize = Flag::Resolved as usize + 1;
}

/// Decoded events as Arrow columns, one row an event, in the order of the log.
/// The texts point into the bytes that were read.
#[derive(Debug, Clone)]
pub struct EventBatch {
    pub(crate) kinds: Vec<EventType>,
    pub(crate) ranks: Vec<u8>,
    pub(crate) roles: Vec<Option<Role>>,
    pub(crate) times_ms: Vec<i64>,
    pub(crate) known_ms: Vec<i64>,
    pub(crate) texts: [Option<StringViewArray>; Text::COUNT],
    pub(crate) numbers: [Option<Int64Array>; Number::COUNT],
    pub(crate) flags: [Option<BooleanArray>; Flag::COUNT],
}

impl EventBatch {
    /// How many events.
    #[inline]
    pub fn len(&self) -> usize {
        self.kinds.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.kinds.is_empty()
    }

    /// What happened.
    #[inline]
    pub fn kind(&self, row: usize) -> EventType {
        self.kinds[row]
    }

    /// The place among events of the same millisecond: an earlier step of the
    /// life cycle is smaller.
    #[inline]
    pub fn rank(&self, row: usize) -> u8 {
        self.ranks[row]
    }

    /// When it happened, in ms since the Unix epoch.
    #[inline]
    pub fn time_ms(&self, row: usize) -> i64 {
        self.times_ms[row]
    }

    /// When it was known: `recordedtime` if the event has it, else when the log
    /// took it in; in ms since the Unix epoch.
    #[inline]
    pub fn known_ms(&self, row: usize) -> i64 {
        self.known_ms[row]
    }

    /// A text, empty if the event does not have it.
    #[inline]
    pub fn text(&self, column: Text, row: usize) -> &str {
        match &self.texts[column as usize] {
            Some(values) => values.value(row),
            None => "",
        }
    }

    /// A text as the Arrow view of it (the format's variable-size binary view layout),
    /// 0 if the event does not have it. Of texts of at most twelve bytes the views are
    /// equal if and only if the texts are.
    #[inline]
    pub fn view(&self, column: Text, row: usize) -> u128 {
        match &self.texts[column as usize] {
            Some(values) => values.views()[row],
            None => 0,
        }
    }

    /// Who wrote, if it is a message.
    #[inline]
    pub fn role(&self, row: usize) -> Option<Role> {
        self.roles[row]
    }

    /// An integer, if the event has it.
    #[inline]
    pub fn number(&self, column: Number, row: usize) -> Option<i64> {
        let values = self.numbers[column as usize].as_ref()?;
        values.is_valid(row).then(|| values.value(row))
    }

    /// A boolean, if the event has it.
    #[inline]
    pub fn flag(&self, column: Flag, row: usize) -> Option<bool> {
        let values = self.flags[column as usize].as_ref()?;
        values.is_valid(row).then(|| values.value(row))
    }
}
