//! Contacts as checkpoints of formats 1 and 2 have them.

use serde::Deserialize;

use super::{Contact, Conversation, Name, Queue, Reverse, SavedContacts};
use crate::chunks::Chunks;

/// The state as it was saved.
#[derive(Debug, Deserialize)]
pub struct SavedContacts2 {
    names: Vec<Box<str>>,
    conversations: Vec<Conversation<Contact2>>,
    free: Vec<u32>,
    timers: Vec<Reverse<(i64, u32)>>,
    queue: Option<Queue>,
}

#[derive(Debug, Clone, Deserialize)]
struct Contact2 {
    number: i64,
    customer: Box<str>,
    order: Box<str>,
    shop: Name,
    channel: Name,
    skill: Name,
    agent: Name,
    intent: Name,
    origin: Name,
    entry: Name,
    started_ms: i64,
    queued_ms: Option<i64>,
    accepted_ms: Option<i64>,
    closed_ms: Option<i64>,
    waiting_since_ms: Option<i64>,
    held_since_ms: Option<i64>,
    hold_ms: i64,
    requeue_ms: i64,
    first_reply_ms: Option<i64>,
    asked_ms: Option<i64>,
    customer_messages: i64,
    agent_messages: i64,
    bot_messages: i64,
    transfers: i64,
    handed_off: bool,
    reopened: bool,
    resolved: Option<bool>,
    last_ms: i64,
    known_ms: i64,
}

impl From<SavedContacts2> for SavedContacts {
    fn from(before: SavedContacts2) -> Self {
        let mut conversations = Chunks::default();
        for conversation in before.conversations {
            let Conversation { key, id, phase, due_ms, timer_ms, contact } = conversation;
            conversations.push(Conversation { key, id, phase, due_ms, timer_ms, contact: contact.into() });
        }
        let SavedContacts2 { names, free, timers, queue, .. } = before;
        Self { names, conversations, free, timers, queue }
    }
}

impl From<Contact2> for Contact {
    /// What was not followed then begins with the next event.
    fn from(before: Contact2) -> Self {
        Self {
            number: before.number,
            customer: before.customer,
            order: before.order,
            shop: before.shop,
            channel: before.channel,
            skill: before.skill,
            agent: before.agent,
            intent: before.intent,
            origin: before.origin,
            entry: before.entry,
            started_ms: before.started_ms,
            queued_ms: before.queued_ms,
            accepted_ms: before.accepted_ms,
            closed_ms: before.closed_ms,
            waiting_since_ms: before.waiting_since_ms,
            held_since_ms: before.held_since_ms,
            hold_ms: before.hold_ms,
            requeue_ms: before.requeue_ms,
            first_reply_ms: before.first_reply_ms,
            asked_ms: before.asked_ms,
            customer_messages: before.customer_messages,
            agent_messages: before.agent_messages,
            bot_messages: before.bot_messages,
            transfers: before.transfers,
            handed_off: before.handed_off,
            reopened: before.reopened,
            resolved: before.resolved,
            last_ms: before.last_ms,
            known_ms: before.known_ms,
            ..Self::default()
        }
    }
}
