//! Who waits and who is being served: table `queue`.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{Conversation, Name, Names};
use crate::facts::Rows;

/// Who waits for whom, and who is being served, now.
#[derive(Debug, Default, Clone, Serialize, Deserialize)]
pub(super) struct Queue {
    /// What each conversation counts as, in checkpoints of format 1; it says that itself.
    pub(super) counted: Vec<Option<(Group, Counted)>>,
    pub(super) groups: BTreeMap<Group, Counts>,
    pub(super) agents: BTreeMap<Box<str>, i64>,
    pub(super) agents_changed: bool,
}

pub(super) type Group = (Name, Name, Name);

/// What a conversation counted as in checkpoints of format 1.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) enum Counted {
    Waiting(i64),
    Served,
}

/// Since when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    Waiting(i64),
    Served(i64),
}

#[derive(Debug, Default, Clone, Serialize, Deserialize)]
pub(super) struct Counts {
    pub(super) waiting: BTreeSet<(i64, u32)>,
    pub(super) served: i64,
    /// When they were accepted, and their places.
    #[serde(skip)]
    pub(super) accepted: BTreeSet<(i64, u32)>,
    /// The last sample said that somebody was here.
    pub(super) shown: bool,
}

impl Queue {
    /// A conversation no longer counts as it did before.
    pub(super) fn follow(
        &mut self,
        slot: u32,
        before: Option<(Group, Standing)>,
        now: Option<(Group, Standing)>,
    ) {
        if before == now {
            return;
        }
        if let Some((group, standing)) = before {
            let counts = self.groups.entry(group).or_default();
            match standing {
                Standing::Waiting(since) => drop(counts.waiting.remove(&(since, slot))),
                Standing::Served(since) => {
                    counts.served -= 1;
                    counts.accepted.remove(&(since, slot));
                }
            }
        }
        if let Some((group, standing)) = now {
            let counts = self.groups.entry(group).or_default();
            match standing {
                Standing::Waiting(since) => drop(counts.waiting.insert((since, slot))),
                Standing::Served(since) => {
                    counts.served += 1;
                    counts.accepted.insert((since, slot));
                }
            }
        }
    }

    /// A copy without what is not saved.
    pub(super) fn copied(&self) -> Self {
        let groups = self.groups.iter().map(|(&group, counts)| {
            let Counts { waiting, served, accepted: _, shown } = counts;
            let (waiting, accepted) = (waiting.clone(), BTreeSet::new());
            (group, Counts { waiting, served: *served, accepted, shown: *shown })
        });
        let (agents, agents_changed) = (self.agents.clone(), self.agents_changed);
        Self { counted: Vec::new(), groups: groups.collect(), agents, agents_changed }
    }

    /// Finds when those served were accepted, which is not saved.
    pub(super) fn see_served<'c>(&mut self, conversations: impl Iterator<Item = &'c Conversation>) {
        for (slot, conversation) in conversations.enumerate() {
            if let Some((group, Standing::Served(since))) = conversation.standing() {
                self.groups.entry(group).or_default().accepted.insert((since, slot as u32));
            }
        }
    }

    pub(super) fn agent(&mut self, id: &str, capacity: i64) {
        self.agents_changed = true;
        if capacity > 0 {
            self.agents.insert(id.into(), capacity);
        } else {
            self.agents.remove(id);
        }
    }

    pub(super) fn busy(&self) -> bool {
        self.agents_changed || self.groups.values().any(|c| c.served > 0 || !c.waiting.is_empty() || c.shown)
    }

    /// A row for each group with somebody in it, and one with zeros when the last
    /// one has left; the agents' row while there is any other, or on change.
    pub(super) fn sample(&mut self, at_ms: i64, over_ms: i64, names: &Names, rows: &mut Rows) {
        let mut any = self.agents_changed;
        for (&(shop, channel, skill), counts) in &mut self.groups {
            let here = counts.served > 0 || !counts.waiting.is_empty();
            if !here && !counts.shown {
                continue;
            }
            counts.shown = here;
            any = true;
            let longest = counts.waiting.first().map(|(since, _)| (at_ms - since).max(0));
            let over = counts.accepted.range(..(at_ms.saturating_sub(over_ms), 0)).count();
            rows.time(Some(at_ms))
                .text(names.get(shop))
                .text(names.get(channel))
                .text(names.get(skill))
                .integer(Some(counts.waiting.len() as i64))
                .integer(longest)
                .integer(Some(counts.served))
                .integer(Some(over as i64))
                .integer(None)
                .integer(None)
                .time(Some(at_ms))
                .end_row();
        }
        self.groups.retain(|_, counts| counts.shown);
        if any {
            self.agents_changed = false;
            let available = self.agents.len();
            rows.time(Some(at_ms)).text("").text("").text("");
            rows.integer(None).integer(None).integer(None).integer(None);
            rows.integer(Some(available as i64))
                .integer(Some(self.agents.values().sum()))
                .time(Some(at_ms))
                .end_row();
        }
    }
}
