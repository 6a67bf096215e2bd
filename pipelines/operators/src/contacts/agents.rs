//! How much of each agent's time is taken.
//!
//! Time is that of the turns, so it never runs backwards; a late event is counted from its turn on.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Name, Names};
use crate::facts::Rows;
use crate::pipeline::is_time;

/// How often table `agents` is written, in ms of event time.
pub const AGENTS_TICK_MS: i64 = 60_000;
/// An agent of whom nothing has been heard for so long is no longer taken to be there.
const SILENT_MS: i64 = 12 * 3_600_000;
/// Parts of a ms in which effort is counted: it is divided by whole numbers again and again.
const PARTS: i64 = 1_024;

/// The state of all agents who are there or have conversations.
#[derive(Debug)]
pub struct Agents {
    /// Table `agents`.
    pub(crate) rows: Option<Rows>,
    agents: BTreeMap<Name, Agent>,
}

/// The state as it is saved.
#[derive(Debug, Default, Clone, Serialize, Deserialize)]
pub struct SavedAgents(BTreeMap<Name, Agent>);

#[derive(Debug, Default, Clone, Serialize, Deserialize)]
struct Agent {
    /// Conversations at once; 0: not available.
    capacity: i64,
    /// Conversations now.
    open: i64,
    /// Everything before is counted.
    counted_ms: i64,
    /// The last event of the agent.
    heard_ms: i64,
    /// The time that a conversation open all along would have had of the agent, in parts of a ms.
    effort: i64,
    skill: Name,
    /// Since the last row.
    busy_ms: i64,
    available_ms: i64,
    engaged_ms: i64,
}

impl Agent {
    fn count(&mut self, now_ms: i64) {
        let time_ms = (now_ms - self.counted_ms).max(0);
        self.counted_ms = self.counted_ms.max(now_ms);
        self.available_ms = self.available_ms.saturating_add(self.capacity.saturating_mul(time_ms));
        if self.open > 0 {
            self.busy_ms = self.busy_ms.saturating_add(self.open.saturating_mul(time_ms));
            self.engaged_ms = self.engaged_ms.saturating_add(time_ms);
            self.effort = self.effort.saturating_add(time_ms.saturating_mul(PARTS) / self.open);
        }
    }

    fn is_there(&self) -> bool {
        self.capacity > 0 || self.open > 0 || self.has_row()
    }

    fn has_row(&self) -> bool {
        self.busy_ms > 0 || self.available_ms > 0
    }
}

/// What a contact has had of an agent's time.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Effort {
    /// Who has it; 0: nobody.
    agent: Name,
    /// The agent's count when it was taken, or taken off hold; `None`: it is on hold.
    from: Option<i64>,
    /// Until then, in parts of a ms.
    parts: i64,
    /// When it was closed.
    closed_parts: Option<i64>,
}

impl Effort {
    /// In ms; until it was closed, if asked so.
    pub(super) fn ms(&self, until_closed: bool) -> i64 {
        let parts = self.closed_parts.filter(|_| until_closed).unwrap_or(self.parts);
        parts.saturating_add(PARTS / 2) / PARTS
    }

    /// Who has it.
    pub(super) fn agent(&self) -> Option<Name> {
        Some(self.agent).filter(|&agent| agent != 0)
    }

    pub(super) fn is_whole(&self, names: usize) -> bool {
        let numbers = [self.from, Some(self.parts), self.closed_parts];
        (self.agent as usize) < names && numbers.into_iter().flatten().all(is_time)
    }
}

impl Agents {
    /// Nobody is there.
    pub fn new(rows: Option<Rows>) -> Self {
        Self { rows, agents: BTreeMap::new() }
    }

    fn at(&mut self, agent: Name, now_ms: i64) -> &mut Agent {
        let fresh = || Agent { counted_ms: now_ms, heard_ms: now_ms, ..Agent::default() };
        let agent = self.agents.entry(agent).or_insert_with(fresh);
        agent.count(now_ms);
        agent
    }

    /// An agent says what conversations at once are possible; 0: none.
    pub(super) fn capacity(&mut self, agent: Name, capacity: i64, now_ms: i64) {
        let agent = self.at(agent, now_ms);
        (agent.capacity, agent.heard_ms) = (capacity.clamp(0, 1_000_000), now_ms);
    }

    /// An agent takes a contact, whoever had it before.
    pub(super) fn take(&mut self, effort: &mut Effort, agent: Name, skill: Name, now_ms: i64) {
        self.release(effort, now_ms);
        if agent == 0 {
            return;
        }
        let state = self.at(agent, now_ms);
        state.open += 1;
        (state.heard_ms, state.skill) = (now_ms, skill);
        (effort.agent, effort.from) = (agent, Some(state.effort));
    }

    /// Nobody has the contact any longer.
    pub(super) fn release(&mut self, effort: &mut Effort, now_ms: i64) {
        self.hold(effort, now_ms);
        if effort.agent != 0 {
            let agent = self.at(effort.agent, now_ms);
            agent.open = (agent.open - 1).max(0);
            agent.heard_ms = now_ms;
            effort.agent = 0;
        }
    }

    /// The contact is on hold.
    pub(super) fn hold(&mut self, effort: &mut Effort, now_ms: i64) {
        if effort.agent != 0
            && let Some(from) = effort.from.take()
        {
            let now = self.at(effort.agent, now_ms).effort;
            effort.parts = effort.parts.saturating_add(now.saturating_sub(from));
        }
    }

    /// The contact is no longer on hold.
    pub(super) fn resume(&mut self, effort: &mut Effort, now_ms: i64) {
        if effort.agent != 0 && effort.from.is_none() {
            effort.from = Some(self.at(effort.agent, now_ms).effort);
        }
    }

    /// The contact is closed; after-contact work goes on.
    pub(super) fn close(&mut self, effort: &mut Effort, now_ms: i64) {
        if effort.agent != 0 {
            let now = self.at(effort.agent, now_ms).effort;
            let from = effort.from.unwrap_or(now);
            effort.closed_parts = Some(effort.parts.saturating_add(now.saturating_sub(from)));
        }
    }

    /// Whether time has to be counted, or rows to be written.
    pub(crate) fn busy(&self) -> bool {
        !self.agents.is_empty()
    }

    /// A minute is over: a row for each who was there.
    pub(super) fn sample(&mut self, now_ms: i64, names: &Names) {
        for (&name, agent) in &mut self.agents {
            agent.count(now_ms);
            if now_ms - agent.heard_ms > SILENT_MS {
                agent.capacity = 0;
            }
            if let Some(rows) = &mut self.rows
                && agent.has_row()
            {
                rows.time(Some(now_ms - AGENTS_TICK_MS))
                    .text(names.get(name))
                    .text(names.get(agent.skill))
                    .integer(Some(agent.busy_ms))
                    .integer(Some(agent.available_ms))
                    .integer(Some(agent.engaged_ms))
                    .time(Some(now_ms))
                    .end_row();
            }
            (agent.busy_ms, agent.available_ms, agent.engaged_ms) = (0, 0, 0);
        }
        self.agents.retain(|_, agent| agent.is_there());
    }

    /// Nothing more comes after `now_ms`: nobody is available from then on.
    pub(crate) fn end(&mut self, now_ms: i64) {
        for agent in self.agents.values_mut() {
            agent.count(now_ms);
            agent.capacity = 0;
        }
        self.agents.retain(|_, agent| agent.is_there());
    }

    /// The state, for a checkpoint.
    pub fn save(&self) -> SavedAgents {
        SavedAgents(self.agents.clone())
    }

    /// Goes on from a saved state. `held` is how many contacts each agent has, `until_ms` later
    /// than anything that has happened. `None`: a state that is damaged.
    #[must_use]
    pub fn restore(
        &mut self,
        saved: SavedAgents,
        names: usize,
        held: &BTreeMap<Name, i64>,
        until_ms: i64,
    ) -> Option<()> {
        let whole = |(&name, agent): (&Name, &Agent)| {
            let Agent { capacity, open, counted_ms, heard_ms, effort, skill, .. } = *agent;
            let sums = [agent.busy_ms, agent.available_ms, agent.engaged_ms];
            [name, skill].iter().all(|&name| (name as usize) < names)
                && (0..=1_000_000).contains(&capacity)
                && open == held.get(&name).copied().unwrap_or(0)
                && heard_ms <= until_ms
                && [counted_ms, heard_ms, effort].into_iter().chain(sums).all(is_time)
        };
        let known = held.keys().all(|agent| saved.0.contains_key(agent));
        if !known || !saved.0.iter().all(whole) {
            return None;
        }
        self.agents = saved.0;
        Some(())
    }
}
