//! Agents: roster, shifts, skills, speed; and the queues in front of them.

use std::collections::VecDeque;

use super::catalogue::SKILLS;
use super::config::{HOUR_MS, MINUTE_MS};
use super::dice::{Purpose, Streams};
use super::emit::numbered;

/// A shift in minutes of the day; the night's ends on the next day.
struct Shift {
    from_min: i64,
    /// Breaks begin within two hours from here, when fewer write.
    break_min: i64,
    to_min: i64,
}

const SHIFTS: [Shift; 3] = [
    Shift { from_min: 8 * 60, break_min: 12 * 60, to_min: 16 * 60 + 30 },
    Shift { from_min: 16 * 60 + 15, break_min: 17 * 60 + 15, to_min: 24 * 60 + 30 },
    Shift { from_min: 24 * 60 + 15, break_min: 27 * 60, to_min: 32 * 60 + 15 },
];
/// Share of the agents who work at night, and of the others who work by day.
const NIGHT_SHARE: f64 = 0.08;
const DAY_SHARE: f64 = 0.52;
/// Chats at once, by turns: even a small shift then has what the average says.
const CAPACITIES: [u8; 10] = [2, 1, 2, 2, 1, 2, 1, 2, 1, 3];
/// Below this many agents, everybody has every skill.
const SPECIALISTS_FROM: usize = 24;

/// One agent.
pub(super) struct Agent {
    shift: usize,
    /// Which weekday of rest this one has.
    rest: i64,
    /// Bit per skill.
    skills: u8,
    /// Chats at once.
    pub(super) capacity: u8,
    /// Factor on the time an answer takes.
    pub(super) slowness: f64,
    /// Factor on the odds that a matter is settled.
    pub(super) care: f64,
    pub(super) load: u8,
    pub(super) on_shift: bool,
    pub(super) on_break: bool,
    pub(super) desk_down: bool,
    pub(super) idle_since_ms: i64,
    pub(super) events: u32,
}

impl Agent {
    pub(super) fn new(index: usize, agents: usize, streams: &Streams) -> Self {
        let mut dice = streams.of(Purpose::Agent, index as u64, 0);
        // Two a shift are the least that cover seven days.
        let at_night = ((agents as f64 * NIGHT_SHARE).round() as usize).max(if agents < 12 { 2 } else { 3 });
        let by_day = ((agents - at_night) as f64 * DAY_SHARE).round() as usize;
        let (shift, rank) = match index {
            _ if index < by_day => (0, index),
            _ if index < agents - at_night => (1, index - by_day),
            _ => (2, index + at_night - agents),
        };
        let skills = if agents < SPECIALISTS_FROM || shift == 2 {
            u8::MAX
        } else {
            // One skill by turns, so that none is without agents, and some others.
            let own = 1 << (rank % SKILLS.len());
            (0..SKILLS.len()).filter(|_| dice.chance(0.6)).fold(own, |skills, skill| skills | 1 << skill)
        };
        Self {
            shift,
            rest: 2 * rank as i64,
            skills,
            capacity: CAPACITIES[rank % CAPACITIES.len()],
            slowness: dice.log_normal(1.0, 0.16).clamp(0.65, 1.6),
            care: dice.log_normal(1.0, 0.35).clamp(0.4, 2.2),
            load: 0,
            on_shift: false,
            on_break: false,
            desk_down: false,
            idle_since_ms: 0,
            events: 0,
        }
    }

    pub(super) fn state(&self) -> &'static str {
        match (self.on_shift, self.on_break || self.desk_down) {
            (false, _) => "offline",
            (true, true) => "away",
            (true, false) => "available",
        }
    }

    /// Whether it is at the desk.
    pub(super) fn here(&self) -> bool {
        self.on_shift && !self.on_break && !self.desk_down
    }

    pub(super) fn can_take(&self, skill: u8) -> bool {
        self.has_room() && self.skills & (1 << skill) != 0
    }

    pub(super) fn has_room(&self) -> bool {
        self.here() && self.load < self.capacity
    }

    /// The shift that begins on a day, and its break; two days in seven are free.
    pub(super) fn shift_on(
        &self,
        index: usize,
        day: i64,
        day_start_ms: i64,
        streams: &Streams,
    ) -> Option<Duty> {
        if (self.rest + day).rem_euclid(7) < 2 {
            return None;
        }
        let mut dice = streams.of(Purpose::AgentDay, index as u64, day as u64);
        let shift = &SHIFTS[self.shift];
        let from_ms = day_start_ms + shift.from_min * MINUTE_MS + dice.below(8 * 60_000) as i64;
        let to_ms = day_start_ms + shift.to_min * MINUTE_MS + dice.below(8 * 60_000) as i64;
        let break_ms = day_start_ms + shift.break_min * MINUTE_MS + dice.below(2 * HOUR_MS as usize) as i64;
        Some(Duty {
            from_ms,
            break_from_ms: break_ms,
            break_to_ms: break_ms + (30 + dice.below(15) as i64) * MINUTE_MS,
            to_ms,
        })
    }
}

/// One agent's shift on one day.
pub(super) struct Duty {
    pub(super) from_ms: i64,
    pub(super) break_from_ms: i64,
    pub(super) break_to_ms: i64,
    pub(super) to_ms: i64,
}

pub(super) fn agent_id(index: usize) -> String {
    numbered("agent-", index as u64)
}

/// A conversation in a queue.
#[derive(Clone, Copy)]
pub(super) struct Waiting {
    pub(super) conversation: u32,
    /// The conversation's epoch at queueing: another means that it is not waiting any more.
    pub(super) epoch: u32,
    pub(super) since_ms: i64,
    /// Order of queueing: decides between equal times.
    pub(super) number: u64,
}

/// First in, first out per skill; what customers began goes before what we begin.
pub(super) struct Queues {
    inbound: [VecDeque<Waiting>; 8],
    proactive: VecDeque<Waiting>,
    number: u64,
}

impl Queues {
    pub(super) fn new() -> Self {
        Self { inbound: Default::default(), proactive: VecDeque::new(), number: 0 }
    }

    pub(super) fn push(&mut self, skill: u8, proactive: bool, conversation: u32, epoch: u32, since_ms: i64) {
        self.number += 1;
        let waiting = Waiting { conversation, epoch, since_ms, number: self.number };
        if proactive {
            self.proactive.push_back(waiting)
        } else {
            self.inbound[usize::from(skill)].push_back(waiting)
        }
    }

    /// Takes what this agent may take and has waited longest. `waits` says whether an entry still counts.
    pub(super) fn pull(&mut self, agent: &Agent, waits: impl Fn(&Waiting) -> bool) -> Option<Waiting> {
        let mut longest: Option<(usize, Waiting)> = None;
        for (skill, queue) in self.inbound.iter_mut().enumerate() {
            if !agent.can_take(skill as u8) {
                continue;
            }
            while queue.front().is_some_and(|first| !waits(first)) {
                queue.pop_front();
            }
            let Some(first) = queue.front() else { continue };
            if longest
                .is_none_or(|(_, other)| (first.since_ms, first.number) < (other.since_ms, other.number))
            {
                longest = Some((skill, *first));
            }
        }
        if let Some((skill, waiting)) = longest {
            self.inbound[skill].pop_front();
            return Some(waiting);
        }
        while let Some(first) = self.proactive.pop_front() {
            if waits(&first) {
                return Some(first);
            }
        }
        None
    }
}
