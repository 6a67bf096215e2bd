//! Holds a saved state against what always holds, so that a damaged one is an error instead of
//! a panic or a run without end.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashSet};

use xxhash_rust::xxh3::xxh3_128;

use super::{Contact, ContactLimits, Conversation, Group, Name, Names, Queue, SavedContacts, Standing};
use crate::pipeline::is_time;

impl SavedContacts {
    /// Whether it can be gone on from. `queue`: whether the queue is being followed; then there
    /// is a tick while anybody is in it, the next one at `next_tick_ms`.
    pub fn is_whole(&self, limits: &ContactLimits, queue: bool, next_tick_ms: i64) -> bool {
        let names: HashSet<&str> = self.names.iter().map(AsRef::as_ref).collect();
        let begins = self.names.iter().take(2).map(AsRef::as_ref).eq(["", Names::INBOUND_NAME]);
        if names.len() != self.names.len() || !begins || queue != self.queue.is_some() {
            return false;
        }
        let places = self.conversations.len() as u32;
        let free: BTreeSet<u32> = self.free.iter().copied().collect();
        let timed: BTreeSet<u32> = self.timers.iter().map(|entry| entry.0.1).collect();
        // Every conversation is either forgotten or looked at again, once.
        let distinct = free.len() == self.free.len() && timed.len() == self.timers.len();
        if !distinct || !free.is_disjoint(&timed) || !free.union(&timed).copied().eq(0..places) {
            return false;
        }
        let known = |conversation: &Conversation| conversation.contact.is_whole(names.len());
        let kept = || (0..places).zip(self.conversations.iter()).filter(|(place, _)| !free.contains(place));
        let right_key =
            |conversation: &Conversation| conversation.key == xxh3_128(conversation.id.as_bytes());
        // Else the queue would be sampled without end.
        let ContactLimits { idle_ms, served_ms, queue_ms, wrap_ms, linger_ms } = *limits;
        let longest_ms = idle_ms.max(served_ms).max(queue_ms).max(wrap_ms).max(linger_ms);
        let latest_ms = next_tick_ms.saturating_add(longest_ms);
        let in_time = |&Reverse((at_ms, place)): &Reverse<(i64, u32)>| {
            let conversation = self.conversations.get(place as usize);
            let closed_ms = conversation.contact.closed_ms.unwrap_or(at_ms);
            (at_ms == i64::MAX || is_time(at_ms))
                && ((!queue || conversation.standing().is_none())
                    && conversation.contact.effort.agent().is_none()
                    || at_ms.max(conversation.due_ms).max(closed_ms) <= latest_ms)
        };
        self.timers.iter().all(in_time)
            && self.conversations.iter().all(known)
            && kept().all(|(_, conversation)| right_key(conversation))
            && self.queue_is(kept(), names.len())
    }

    /// Whether the next tick comes as soon as it can.
    pub fn queue_busy(&self) -> bool {
        self.queue.as_ref().is_some_and(Queue::busy)
    }

    /// Whether the queue says of everybody what the conversations say.
    fn queue_is<'c>(&self, kept: impl Iterator<Item = (u32, &'c Conversation)>, names: usize) -> bool {
        let Some(queue) = &self.queue else {
            return true;
        };
        let mut expected: BTreeMap<Group, (BTreeSet<(i64, u32)>, i64)> = BTreeMap::new();
        for (place, conversation) in kept {
            match conversation.standing() {
                Some((group, Standing::Waiting(since))) => {
                    expected.entry(group).or_default().0.insert((since, place));
                }
                Some((group, Standing::Served(_))) => expected.entry(group).or_default().1 += 1,
                None => {}
            }
        }
        let known = |name: Name| (name as usize) < names;
        queue.agents.values().all(|&capacity| capacity > 0)
            && queue.groups.iter().all(|(group, counts)| {
                let (waiting, served) = expected.remove(group).unwrap_or_default();
                let (shop, channel, skill) = *group;
                known(shop)
                    && known(channel)
                    && known(skill)
                    && waiting == counts.waiting
                    && served == counts.served
            })
            && expected.is_empty()
    }
}

impl Contact {
    /// Whether its names are known, its times are times, and its numbers can be added to.
    fn is_whole(&self, names: usize) -> bool {
        let Self { shop, channel, skill, agent, intent, origin, entry, .. } = *self;
        let known = [shop, channel, skill, agent, intent, origin, entry];
        let numbers = [
            self.number,
            self.hold_ms,
            self.requeue_ms,
            self.customer_messages,
            self.agent_messages,
            self.bot_messages,
            self.transfers,
            self.rounds,
            self.reply_ms,
            self.started_ms,
            self.last_ms,
            self.known_ms,
        ];
        let times = [
            self.queued_ms,
            self.accepted_ms,
            self.closed_ms,
            self.waiting_since_ms,
            self.held_since_ms,
            self.first_reply_ms,
            self.asked_ms,
            self.turn_asked_ms,
        ];
        known.iter().all(|&name| (name as usize) < names)
            && self.effort.is_whole(names)
            && numbers.into_iter().all(is_time)
            && times.into_iter().flatten().all(is_time)
    }
}
