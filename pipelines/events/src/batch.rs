use arrow::array::{Array, BooleanArray, Int64Array, StringViewArray};
use serde::{Deserialize, Serialize};

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
    Disposition,
}

impl Text {
    /// How many text columns there are.
    pub const COUNT: usize = Text::Disposition as usize + 1;
}

/// Who wrote a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
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
    /// A rejected task may be offered again.
    Retryable,
}

impl Flag {
    /// How many boolean columns there are.
    pub const COUNT: usize = Flag::Retryable as usize + 1;
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

/// One event by itself, to be saved. Columns are numbered as in [`Text`], [`Number`] and
/// [`Flag`]; what the event does not have is left out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SavedEvent {
    kind: String,
    role: Option<Role>,
    time_ms: i64,
    known_ms: i64,
    texts: Vec<(u8, String)>,
    numbers: Vec<(u8, i64)>,
    flags: Vec<(u8, bool)>,
}

impl SavedEvent {
    /// When it happened, and when it was known, in ms since the Unix epoch.
    pub fn times_ms(&self) -> [i64; 2] {
        [self.time_ms, self.known_ms]
    }
}

impl EventBatch {
    /// A row by itself.
    pub fn save(&self, row: usize) -> SavedEvent {
        let texts = self.texts.iter().enumerate().filter_map(|(place, values)| {
            let text = values.as_ref()?.value(row);
            (!text.is_empty()).then(|| (place as u8, text.to_owned()))
        });
        let numbers = self.numbers.iter().enumerate().filter_map(|(place, values)| {
            let values = values.as_ref().filter(|values| values.is_valid(row))?;
            Some((place as u8, values.value(row)))
        });
        let flags = self.flags.iter().enumerate().filter_map(|(place, values)| {
            let values = values.as_ref().filter(|values| values.is_valid(row))?;
            Some((place as u8, values.value(row)))
        });
        SavedEvent {
            kind: self.kinds[row].name().to_owned(),
            role: self.roles[row],
            time_ms: self.times_ms[row],
            known_ms: self.known_ms[row],
            texts: texts.collect(),
            numbers: numbers.collect(),
            flags: flags.collect(),
        }
    }

    /// Saved rows as a batch. `None` if one of them is of a type that is not known.
    pub fn restore<'e>(saved: impl Iterator<Item = &'e SavedEvent>) -> Option<Self> {
        let saved: Vec<&SavedEvent> = saved.collect();
        let kinds = saved.iter().map(|event| EventType::parse(event.kind.as_bytes()));
        let kinds = kinds.collect::<Option<Vec<_>>>()?;
        let text = |place: u8| {
            let of = |event: &&SavedEvent| event.texts.iter().find(|other| other.0 == place).cloned();
            let texts: Vec<_> = saved.iter().map(of).collect();
            texts.iter().any(Option::is_some).then(|| {
                StringViewArray::from_iter_values(texts.into_iter().map(|text| text.unwrap_or_default().1))
            })
        };
        let number = |place: u8| {
            let of = |event: &&SavedEvent| event.numbers.iter().find(|other| other.0 == place).map(|n| n.1);
            let numbers: Int64Array = saved.iter().map(of).collect();
            (numbers.null_count() < saved.len()).then_some(numbers)
        };
        let flag = |place: u8| {
            let of = |event: &&SavedEvent| event.flags.iter().find(|other| other.0 == place).map(|f| f.1);
            let flags: BooleanArray = saved.iter().map(of).collect();
            (flags.null_count() < saved.len()).then_some(flags)
        };
        Some(Self {
            ranks: kinds.iter().zip(&saved).map(|(&kind, event)| rank(kind, event.role)).collect(),
            kinds,
            roles: saved.iter().map(|event| event.role).collect(),
            times_ms: saved.iter().map(|event| event.time_ms).collect(),
            known_ms: saved.iter().map(|event| event.known_ms).collect(),
            texts: std::array::from_fn(|place| text(place as u8)),
            numbers: std::array::from_fn(|place| number(place as u8)),
            flags: std::array::from_fn(|place| flag(place as u8)),
        })
    }

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

/// Events of the same millisecond apply by their type's place in the life cycle;
/// an agent's message comes after the acceptance, a customer's before the queue.
pub(crate) fn rank(kind: EventType, role: Option<Role>) -> u8 {
    match (kind, role) {
        (EventType::ConversationMessage, Some(Role::Agent)) => EventType::ConversationAccepted as u8 * 2 + 1,
        _ => kind as u8 * 2,
    }
}
