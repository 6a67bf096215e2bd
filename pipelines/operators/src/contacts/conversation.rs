//! One conversation and its contact.

use serde::{Deserialize, Serialize};

use super::agents::Effort;
use super::follow::Ended;
use super::queue::{Group, Standing};
use super::{ContactFacts, ContactLimits, Name, Names};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    Open,
    /// Closed, and after-contact work goes on.
    Wrapping,
    Over,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Conversation<C = Contact> {
    /// Stands for the id: see [`Contacts::key`].
    pub key: u128,
    pub id: Box<str>,
    pub phase: Phase,
    /// When to look again, if nothing happens until then.
    pub due_ms: i64,
    /// When its timer fires; `None` of one that is forgotten. Here too because timers would
    /// take long to copy.
    #[serde(skip)]
    pub timer_ms: Option<i64>,
    pub contact: C,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Contact {
    pub number: i64,
    pub customer: Box<str>,
    pub order: Box<str>,
    pub shop: Name,
    pub channel: Name,
    pub skill: Name,
    pub agent: Name,
    pub intent: Name,
    pub origin: Name,
    pub entry: Name,
    pub started_ms: i64,
    pub queued_ms: Option<i64>,
    pub accepted_ms: Option<i64>,
    pub closed_ms: Option<i64>,
    /// In the queue now, since then.
    pub waiting_since_ms: Option<i64>,
    pub held_since_ms: Option<i64>,
    pub hold_ms: i64,
    /// In the queue again after having been accepted.
    pub requeue_ms: i64,
    pub first_reply_ms: Option<i64>,
    /// The first unanswered customer message.
    pub asked_ms: Option<i64>,
    pub customer_messages: i64,
    pub agent_messages: i64,
    pub bot_messages: i64,
    pub transfers: i64,
    pub handed_off: bool,
    pub reopened: bool,
    pub resolved: Option<bool>,
    pub last_ms: i64,
    pub known_ms: i64,
    /// The first customer message after the last reply of anybody.
    pub turn_asked_ms: Option<i64>,
    pub rounds: i64,
    pub reply_ms: i64,
    pub effort: Effort,
    /// It counts in no inbound KPI.
    pub proactive: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    Wrapped,
    Closed,
    Abandoned,
    Reopened,
    Idle,
}

impl End {
    pub fn name(self) -> &'static str {
        match self {
            End::Wrapped => "wrapped",
            End::Closed => "closed",
            End::Abandoned => "abandoned",
            End::Reopened => "reopened",
            End::Idle => "idle",
        }
    }
}

pub fn set_text(place: &mut Box<str>, text: &str) {
    if !text.is_empty() && &**place != text {
        *place = text.into();
    }
}

impl Contact {
    /// Neither queued, nor handed off, nor accepted so far.
    pub fn bot_has_it(&self) -> bool {
        self.queued_ms.is_none() && self.accepted_ms.is_none() && !self.handed_off
    }

    /// A human replied.
    pub fn reply(&mut self, id: &str, time_ms: i64, names: &Names, facts: &mut ContactFacts) {
        let Some(asked_ms) = self.asked_ms.take() else {
            return;
        };
        if self.first_reply_ms.is_none() {
            let from = asked_ms.max(self.queued_ms.unwrap_or(asked_ms));
            self.first_reply_ms = Some((time_ms - from).max(0));
        }
        self.rounds += 1;
        self.reply_ms += (time_ms - asked_ms).max(0);
        self.round(id, asked_ms, Some(time_ms), names, facts);
    }

    /// Somebody replied, the bot included; `None`: nobody did until the end.
    pub fn turn(&mut self, id: &str, reply: Option<(i64, &str)>, names: &Names, facts: &mut ContactFacts) {
        let Some(asked_ms) = self.turn_asked_ms.take() else {
            return;
        };
        if let Some(rows) = &mut facts.turns {
            rows.text(id)
                .text(&self.customer)
                .text(names.get(self.shop))
                .text(names.get(self.channel))
                .text(names.get(self.skill))
                .text(names.get(self.origin))
                .time(Some(asked_ms))
                .time(reply.map(|(at_ms, _)| at_ms))
                .text(reply.map_or("", |(_, by)| by))
                .integer(reply.map(|(at_ms, _)| (at_ms - asked_ms).max(0)))
                .time(Some(self.known_ms))
                .end_row();
        }
    }

    pub fn round(
        &self,
        id: &str,
        asked_ms: i64,
        replied_ms: Option<i64>,
        names: &Names,
        facts: &mut ContactFacts,
    ) {
        if let Some(rows) = &mut facts.rounds {
            rows.text(id)
                .text(&self.customer)
                .text(names.get(self.shop))
                .text(names.get(self.channel))
                .text(names.get(self.skill))
                .text(if replied_ms.is_some() { names.get(self.agent) } else { "" })
                .text(names.get(self.origin))
                .time(Some(asked_ms))
                .time(replied_ms)
                .integer(replied_ms.map(|replied| (replied - asked_ms).max(0)))
                .time(Some(self.known_ms))
                .end_row();
        }
    }
}

impl Conversation {
    /// A new contact of the same conversation.
    pub fn begin_again(&mut self, time_ms: i64) {
        self.phase = Phase::Open;
        let last = std::mem::take(&mut self.contact);
        self.contact = Contact {
            number: last.number + 1,
            reopened: true,
            started_ms: time_ms,
            last_ms: time_ms,
            customer: last.customer,
            order: last.order,
            shop: last.shop,
            channel: last.channel,
            skill: last.skill,
            intent: last.intent,
            origin: last.origin,
            proactive: last.proactive,
            entry: last.entry,
            ..Contact::default()
        };
    }

    /// What it counts as in the queue, and where.
    #[inline]
    pub fn standing(&self) -> Option<(Group, Standing)> {
        let contact = &self.contact;
        let standing = match (self.phase, contact.waiting_since_ms, contact.accepted_ms) {
            (Phase::Over, ..) => return None,
            _ if contact.proactive => return None,
            (_, Some(since), _) => Standing::Waiting(since),
            (_, None, Some(accepted)) => Standing::Served(accepted),
            (_, None, None) => return None,
        };
        Some(((contact.shop, contact.channel, contact.skill), standing))
    }

    /// When it is given up, or forgotten, if nothing more happens.
    pub fn due(&self, limits: &ContactLimits, now_ms: i64) -> i64 {
        let contact = &self.contact;
        match self.phase {
            Phase::Open if contact.waiting_since_ms.is_some() => now_ms.saturating_add(limits.queue_ms),
            Phase::Open if contact.accepted_ms.is_some() => now_ms.saturating_add(limits.served_ms),
            Phase::Open => now_ms.saturating_add(limits.idle_ms),
            Phase::Wrapping => contact.closed_ms.unwrap_or(now_ms).saturating_add(limits.wrap_ms),
            Phase::Over => now_ms.saturating_add(limits.linger_ms),
        }
    }

    /// Ends the contact at `at_ms`, which becomes known at the turn `now_ms`, and writes it down.
    pub fn end(&mut self, end: End, at_ms: i64, now_ms: i64, names: &Names, facts: &mut ContactFacts) {
        self.phase = Phase::Over;
        let contact = &mut self.contact;
        // That nothing more came is known when it is given up.
        contact.known_ms = contact.known_ms.max(now_ms);
        let asked_ms = contact.asked_ms.take();
        if let Some(asked_ms) = asked_ms {
            contact.round(&self.id, asked_ms, None, names, facts);
        }
        contact.turn(&self.id, None, names, facts);
        if let Some(agents) = &mut facts.agents {
            agents.release(&mut contact.effort, now_ms);
        }
        // Who is on hold, or in the queue again, at the end was so until then.
        let served_until_ms = match end {
            End::Wrapped | End::Abandoned => at_ms,
            End::Closed | End::Reopened => contact.closed_ms.unwrap_or(at_ms),
            End::Idle => contact.last_ms,
        };
        if let Some(since) = contact.held_since_ms.take() {
            contact.hold_ms += (served_until_ms - since).max(0);
        }
        let waited_until_ms = match contact.accepted_ms {
            Some(accepted) => Some(accepted),
            None if end == End::Abandoned => Some(at_ms),
            None => None,
        };
        if let (Some(since), Some(_)) = (contact.waiting_since_ms.take(), contact.accepted_ms) {
            contact.requeue_ms += (served_until_ms - since).max(0);
        }
        let wait_ms = match (contact.queued_ms, waited_until_ms) {
            (Some(queued), Some(until)) => Some(until - queued).filter(|&wait| wait >= 0),
            _ => None,
        };
        let handle_ms = contact
            .accepted_ms
            .map(|accepted| served_until_ms - accepted - contact.hold_ms - contact.requeue_ms)
            .filter(|&handle| handle >= 0);
        let ended_ms = match end {
            End::Closed | End::Reopened => contact.closed_ms.unwrap_or(at_ms),
            End::Wrapped | End::Abandoned | End::Idle => at_ms,
        };
        let wrapped_ms = (end == End::Wrapped).then_some(at_ms);
        let wrap_ms = match (contact.closed_ms, wrapped_ms) {
            (Some(closed), Some(wrapped)) => Some(wrapped - closed).filter(|&wrap| wrap >= 0),
            _ => None,
        };
        let bot_only = contact.queued_ms.is_none() && contact.accepted_ms.is_none();
        if let Some(follow) = &mut facts.follow
            && !contact.proactive
        {
            let ended = Ended {
                conversation: &self.id,
                contact: contact.number,
                customer: &contact.customer,
                shop: names.get(contact.shop),
                channel: contact.channel,
                skill: contact.skill,
                agent: if contact.accepted_ms.is_some() { contact.agent } else { 0 },
                intent: contact.intent,
                entry: contact.entry,
                order: &contact.order,
                closed: contact.closed_ms.is_some(),
                resolved: contact.resolved,
                handed_off: contact.handed_off,
                bot_only,
                start_ms: contact.started_ms,
                at_ms: contact.closed_ms.unwrap_or(ended_ms),
                first_reply_ms: contact.first_reply_ms,
                known_at_ms: contact.known_ms,
            };
            follow.ended(&ended, now_ms, names);
        }
        let Some(rows) = &mut facts.contacts else {
            return;
        };
        let effort_ms = contact.accepted_ms.filter(|_| facts.agents.is_some());
        let effort_ms = effort_ms.map(|_| contact.effort.ms(end == End::Closed || end == End::Reopened));
        rows.text(&self.id)
            .integer(Some(contact.number))
            .text(&contact.customer)
            .text(names.get(contact.shop))
            .text(names.get(contact.channel))
            .text(names.get(contact.skill))
            .text(if contact.accepted_ms.is_some() { names.get(contact.agent) } else { "" })
            .text(names.get(contact.intent))
            .text(&contact.order)
            .text(names.get(contact.origin))
            .text(names.get(contact.entry))
            .time(Some(contact.started_ms))
            .time(contact.queued_ms)
            .time(contact.accepted_ms)
            .time(contact.closed_ms)
            .time(wrapped_ms)
            .time(Some(ended_ms))
            .text(end.name())
            .integer(wait_ms)
            .integer(handle_ms)
            .integer(Some(contact.hold_ms))
            .integer(wrap_ms)
            .integer(contact.first_reply_ms)
            .integer(Some(contact.customer_messages))
            .integer(Some(contact.agent_messages))
            .integer(Some(contact.bot_messages))
            .integer(Some(contact.transfers))
            .boolean(Some(contact.handed_off))
            .boolean(Some(bot_only))
            .boolean(Some(end == End::Abandoned))
            .boolean(Some(contact.reopened))
            .boolean(contact.resolved)
            .integer(Some(contact.rounds))
            .integer(Some(contact.reply_ms))
            .integer(Some(i64::from(asked_ms.is_some())))
            .integer(effort_ms)
            .time(Some(contact.known_ms))
            .end_row();
    }
}

/// The origin of contacts that count in no inbound KPI.
pub const PROACTIVE: &str = "proactive";
