//! Waiting for an agent, and being served.

use std::fmt::Write;

use super::agents::{Waiting, agent_id};
use super::catalogue::{Intent, SKILL_EFFORT, SKILLS};
use super::conversations::Phase;
use super::{Simulator, What};

impl Simulator {
    pub(super) fn enqueue(&mut self, index: u32) {
        self.say(index, "conversation.queued", |c, out| {
            _ = write!(out, r#","skill":"{}""#, SKILLS[usize::from(c.skill)]);
        });
        let now_ms = self.now_ms;
        let c = self.conversation_mut(index);
        c.queued_ms = now_ms;
        c.phase = Phase::Wait;
        c.epoch += 1;
        let (skill, epoch, proactive) = (c.skill, c.epoch, c.contact.intent == Intent::Care);
        // Least loaded first, then longest idle, then by number.
        let free = self.agents.iter().enumerate().filter(|(_, agent)| agent.can_take(skill));
        let free = free
            .min_by_key(|(number, agent)| (agent.load * 12 / agent.capacity, agent.idle_since_ms, *number));
        if let Some((agent, _)) = free {
            return self.accept(index, agent);
        }
        self.queues.push(skill, proactive, index, epoch, now_ms);
        if !proactive {
            let patience_ms = self.conversation(index).patience_ms as i64;
            self.schedule(now_ms + patience_ms.max(3_000), What::Abandon(index, epoch));
            self.go_on(index, 500.0, 4_000.0);
        }
    }

    /// Gives an agent that has room what waits.
    pub(super) fn fill(&mut self, agent: usize) {
        while self.agents[agent].has_room() {
            let conversations = &self.conversations;
            let waits =
                |waiting: &Waiting| conversations[waiting.conversation as usize].epoch == waiting.epoch;
            let Some(waiting) = self.queues.pull(&self.agents[agent], waits) else {
                return;
            };
            self.accept(waiting.conversation, agent);
        }
    }

    pub(super) fn accept(&mut self, index: u32, agent: usize) {
        let now_ms = self.now_ms;
        self.agents[agent].load += 1;
        let c = self.conversation_mut(index);
        c.epoch += 1;
        c.agent = Some(agent as u32);
        c.waited_ms += now_ms - c.queued_ms;
        self.say(index, "conversation.accepted", |c, out| {
            _ = write!(
                out,
                r#","agent_id":"{}","skill":"{}""#,
                agent_id(agent),
                SKILLS[usize::from(c.skill)]
            );
        });
        if self.dice(index).chance(0.55) {
            self.then(index, Phase::Greet, 200.0, 900.0);
        } else {
            self.hear(index);
        }
    }

    pub(super) fn abandon(&mut self, index: u32, epoch: u32) {
        if self.conversation(index).epoch != epoch {
            return;
        }
        let now_ms = self.now_ms;
        let c = self.conversation_mut(index);
        c.epoch += 1;
        c.waited_ms += now_ms - c.queued_ms;
        (c.resolved, c.resolved_said) = (false, false);
        self.say(index, "conversation.abandoned", |_, _| {});
        self.settle(index, true);
        let labelled = self.dice(index).chance(0.6);
        self.then(index, if labelled { Phase::Label } else { Phase::End }, 800.0, 4_000.0);
    }

    /// The agent waits for the question, or answers the one that was asked.
    pub(super) fn hear(&mut self, index: u32) {
        if self.conversation(index).asked {
            self.then_answer(index, 0.8);
        } else {
            self.then(index, Phase::Ask, 500.0, 4_000.0);
        }
    }

    pub(super) fn answer(&mut self, index: u32) {
        let answers = &self.conversation(index).contact.intent.facts().answers;
        let pick = self.dice(index).below(answers.len());
        self.message(index, "agent", false, answers[pick]);
        let c = self.conversation_mut(index);
        c.rounds = c.rounds.saturating_sub(1);
        let tick = |at: &mut u8| {
            let now = *at == 1;
            *at = at.saturating_sub(1);
            now
        };
        let (transfer, hold) = (tick(&mut c.transfer_at), tick(&mut c.hold_at));
        if transfer {
            self.then(index, Phase::Transfer, 1_500.0, 8_000.0);
        } else if hold {
            self.then(index, Phase::Hold, 1_000.0, 5_000.0);
        } else if self.conversation(index).rounds == 0 && !self.conversation(index).ignored {
            self.then_slowly(index, Phase::Close, 2_000.0, 12_000.0);
        } else {
            let pace = self.conversation(index).temper.min(1.6);
            let gap = self.dice(index).log_normal(10_500.0, 0.6).min(120_000.0) / pace;
            self.then_slowly(index, Phase::Reply, gap, gap);
        }
    }

    pub(super) fn reply(&mut self, index: u32) {
        let asks = &self.conversation(index).contact.intent.facts().asks;
        let pick = self.dice(index).below(asks.len());
        self.message(index, "customer", false, asks[pick]);
        let c = self.conversation_mut(index);
        if c.rounds == 0 {
            // The agent closes without an answer.
            (c.ignored, c.ignored_before) = (false, true);
            self.then_slowly(index, Phase::Close, 15_000.0, 50_000.0);
        } else {
            self.then_answer(index, 1.0);
        }
    }

    pub(super) fn transfer(&mut self, index: u32) {
        let to = {
            let skill = self.conversation(index).skill;
            let to = self.dice(index).below(SKILLS.len() - 1) as u8;
            if to == skill { (to + 1) % 7 } else { to }
        };
        let agent = self.agent_of(index);
        self.say(index, "conversation.transferred", |_, out| {
            _ = write!(out, r#","agent_id":"{}","to_skill":"{}""#, agent_id(agent), SKILLS[usize::from(to)]);
        });
        let c = self.conversation_mut(index);
        c.agent = None;
        c.skill = to;
        // To the next agent, everything is said again.
        c.asked = false;
        c.transfers += 1;
        c.rounds = c.rounds.max(1);
        self.then(index, Phase::Enqueue, 60.0, 300.0);
        self.release(agent);
    }

    pub(super) fn close(&mut self, index: u32) {
        let agent = self.agent_of(index);
        let c = self.conversation(index);
        let odds = {
            let settles = c.contact.intent.facts().agent_settles;
            settles / (1.0 - settles) * self.agents[agent].care * if c.ignored_before { 0.3 } else { 1.0 }
        };
        let resolved = self.dice(index).chance(odds / (1.0 + odds));
        // Agents like to think that it is settled.
        let resolved_said = resolved || self.dice(index).chance(0.4);
        let c = self.conversation_mut(index);
        (c.resolved, c.resolved_said) = (resolved, resolved_said);
        self.say(index, "conversation.closed", |c, out| {
            _ = write!(out, r#","agent_id":"{}","resolved":{}"#, agent_id(agent), c.resolved_said);
        });
        self.then_slowly(index, Phase::Wrap, 4_000.0, 22_000.0);
    }

    pub(super) fn wrap(&mut self, index: u32) {
        self.say_agent(index, "conversation.wrapped");
        self.settle(index, false);
        let agent = self.agent_of(index);
        self.conversation_mut(index).agent = None;
        self.then(index, Phase::Label, 800.0, 4_000.0);
        self.release(agent);
    }

    pub(super) fn release(&mut self, agent: usize) {
        self.agents[agent].load -= 1;
        self.agents[agent].idle_since_ms = self.now_ms;
        self.fill(agent);
    }

    /// The agent thinks and types: slower with others at the same time, in hard matters, in an incident.
    pub(super) fn then_answer(&mut self, index: u32, share: f64) {
        let gap = self.dice(index).log_normal(16_800.0, 0.5).min(150_000.0) * share;
        let answer_ms = gap * self.effort(index);
        self.conversation_mut(index).slow_answers_ms += (answer_ms as i64 - 40_000).max(0);
        self.then(index, Phase::Answer, answer_ms, answer_ms);
    }

    pub(super) fn then_slowly(&mut self, index: u32, phase: Phase, from_ms: f64, to_ms: f64) {
        let effort = self.effort(index);
        self.then(index, phase, from_ms * effort, to_ms * effort);
    }

    pub(super) fn effort(&self, index: u32) -> f64 {
        let c = self.conversation(index);
        let skill = usize::from(c.skill);
        let agent = &self.agents[self.agent_of(index)];
        let crowding = 1.0 + 0.12 * f64::from(agent.load.saturating_sub(1));
        SKILL_EFFORT[skill] * agent.slowness * crowding * self.incidents.slowness(self.now_ms, skill)
    }
}
