//! The desk of the stand-in router: tasks that wait, and agents who do them.
//!
//! Pure: what becomes of tasks goes in, what to do next comes out. Whatever an agent would decide is drawn from the
//! task's id, so the same tasks come to the same end.

use std::collections::BTreeMap;

use headsup_tasks::task::{Disposition, Task};
use headsup_tasks::{Told, Transition};
use xxhash_rust::xxh3::xxh3_64;

/// An agent who does tasks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agent {
    /// The id.
    pub id: String,
    /// What the agent is able to.
    pub skills: Vec<String>,
    /// Tasks at once.
    pub places: usize,
}

/// Something to do about a task. The same step has the same key, however often it is tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Which task.
    pub task_id: String,
    /// Whose.
    pub customer_id: String,
    /// What.
    pub transition: Transition,
    /// By which it is recognised when it comes again.
    pub key: String,
}

/// Tasks and agents.
#[derive(Debug)]
pub struct Desk {
    agents: Vec<Agent>,
    tasks: BTreeMap<String, Held>,
    handling_ms: i64,
    /// What has become of tasks.
    pub counts: BTreeMap<&'static str, u64>,
}

#[derive(Debug)]
struct Held {
    task: Task,
    at: At,
    offers: u32,
    /// The desk has done something about it, and knows better than what is told later.
    own: bool,
}

/// Where a task stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// For an agent who has room.
    Waiting,
    /// Before an agent.
    Offered(Option<usize>),
    /// With an agent, until then.
    Working(Option<usize>, i64),
}

/// One offer in so many is given back.
const REJECTED_OF: u64 = 20;
/// How contacts go, by their shares in per cent.
const DISPOSITIONS: [(Disposition, u64); 4] = [
    (Disposition::Informed, 45),
    (Disposition::Solved, 30),
    (Disposition::NoAnswer, 15),
    (Disposition::Declined, 10),
];

impl Desk {
    /// A desk without tasks. Handling takes between half of `handling_ms` and one and a half.
    pub fn new(agents: Vec<Agent>, handling_ms: i64) -> Self {
        Self { agents, tasks: BTreeMap::new(), handling_ms, counts: BTreeMap::new() }
    }

    /// Takes in what has become of a task, by whomever. The same again changes nothing.
    pub fn take(&mut self, told: Told) {
        match told {
            Told::Created(task) => {
                let held = Held { task: *task, at: At::Waiting, offers: 0, own: false };
                if let std::collections::btree_map::Entry::Vacant(place) =
                    self.tasks.entry(held.task.task_id.clone())
                {
                    *self.counts.entry("taken").or_default() += 1;
                    place.insert(held);
                }
            }
            Told::Changed(event) => {
                let known = |agent: &Option<String>| {
                    self.agents.iter().position(|known| Some(&known.id) == agent.as_ref())
                };
                let at = match &event.transition {
                    Transition::Offered { agent_id } => Some(At::Offered(known(agent_id))),
                    Transition::Accepted { agent_id } => {
                        Some(At::Working(known(agent_id), event.at_ms + self.takes_ms(&event.task_id)))
                    }
                    Transition::Rejected { retryable: true, .. } => Some(At::Waiting),
                    _ => None,
                };
                match (at, self.tasks.get_mut(&event.task_id)) {
                    (Some(at), Some(held)) if !held.own => held.at = at,
                    (Some(_), _) | (None, None) => {}
                    (None, Some(_)) => self.over(&event.task_id, event.transition.to().name()),
                }
            }
            Told::Refused { .. } => {}
        }
    }

    fn over(&mut self, task_id: &str, how: &'static str) {
        if self.tasks.remove(task_id).is_some() {
            *self.counts.entry(how).or_default() += 1;
        }
    }

    /// Tasks that are open.
    pub fn open(&self) -> usize {
        self.tasks.len()
    }

    /// All that can be done at a time, and no more for the same task.
    pub fn due(&self, now_ms: i64) -> Vec<Step> {
        let mut busy = vec![0; self.agents.len()];
        for held in self.tasks.values() {
            if let At::Offered(Some(agent)) | At::Working(Some(agent), _) = held.at {
                busy[agent] += 1;
            }
        }
        let mut steps = Vec::new();
        let mut waiting: Vec<&Held> = Vec::new();
        for held in self.tasks.values() {
            match held.at {
                At::Waiting if (held.task.not_before_ms..held.task.expires_ms).contains(&now_ms) => {
                    waiting.push(held);
                }
                At::Waiting => {}
                At::Offered(agent) => steps.push(held.step(self.answer(held, agent))),
                At::Working(_, until_ms) if until_ms <= now_ms => {
                    let reachable = |reach: &&headsup_tasks::task::Reach| {
                        reach.until_ms.is_none_or(|until_ms| until_ms > now_ms)
                    };
                    let channel = held.task.channels.iter().find(reachable);
                    steps.push(held.step(Transition::Completed {
                        disposition: disposition(&held.task.task_id),
                        channel: channel.map(|reach| reach.channel.clone()),
                    }));
                }
                At::Working(..) => {}
            }
        }
        // The most urgent first, then those whose time is over first.
        waiting.sort_by_key(|held| (std::cmp::Reverse(held.task.priority), held.task.expires_ms));
        for held in waiting {
            let able = |agent: &&usize| {
                let Agent { skills, places, .. } = &self.agents[**agent];
                busy[**agent] < *places
                    && held.task.required_skills.iter().all(|skill| skills.contains(skill))
            };
            let all: Vec<usize> = (0..self.agents.len()).collect();
            // Who has the least to do.
            let Some(agent) = all.iter().filter(able).min_by_key(|agent| busy[**agent]) else { continue };
            busy[*agent] += 1;
            steps.push(held.step(Transition::Offered { agent_id: Some(self.agents[*agent].id.clone()) }));
        }
        steps
    }

    fn answer(&self, held: &Held, agent: Option<usize>) -> Transition {
        let draw = draw(&format!("{}/{}", held.task.task_id, held.offers));
        let agent_id = agent.map(|agent| self.agents[agent].id.clone());
        match draw % REJECTED_OF {
            0 => Transition::Rejected { reason: "busy".to_owned(), retryable: true },
            _ => Transition::Accepted { agent_id },
        }
    }

    fn takes_ms(&self, task_id: &str) -> i64 {
        self.handling_ms / 2 + (draw(&format!("{task_id}/takes")) % 1_000) as i64 * self.handling_ms / 1_000
    }

    /// A step was made.
    pub fn done(&mut self, step: &Step, now_ms: i64) {
        let takes_ms = self.takes_ms(&step.task_id);
        let Some(held) = self.tasks.get_mut(&step.task_id) else { return };
        held.own = true;
        let agent = match held.at {
            At::Offered(agent) | At::Working(agent, _) => agent,
            At::Waiting => None,
        };
        match &step.transition {
            Transition::Offered { agent_id } => {
                held.offers += 1;
                held.at =
                    At::Offered(self.agents.iter().position(|known| Some(&known.id) == agent_id.as_ref()));
            }
            Transition::Accepted { .. } => held.at = At::Working(agent, now_ms + takes_ms),
            Transition::Rejected { retryable: true, .. } => {
                held.at = At::Waiting;
                *self.counts.entry("given back by an agent").or_default() += 1;
            }
            other => {
                let how = match other {
                    Transition::Completed { disposition, .. } => disposition.name(),
                    other => other.to().name(),
                };
                self.over(&step.task_id, how);
            }
        }
    }

    /// A step is not possible any more: the customer came first, say.
    pub fn lost(&mut self, step: &Step) {
        self.over(&step.task_id, "over before it was done");
    }
}

impl Held {
    fn step(&self, transition: Transition) -> Step {
        let task_id = self.task.task_id.clone();
        let key = format!("{}-{}", transition.event_type(), self.offers);
        Step { task_id, customer_id: self.task.customer_id.clone(), transition, key }
    }
}

/// How the contact of a task goes.
pub fn disposition(task_id: &str) -> Disposition {
    let mut draw = draw(&format!("{task_id}/goes")) % 100;
    for (disposition, share) in DISPOSITIONS {
        if draw < share {
            return disposition;
        }
        draw -= share;
    }
    Disposition::Other
}

fn draw(text: &str) -> u64 {
    xxh3_64(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use headsup_tasks::task::Priority;
    use serde_json::json;

    use super::*;

    const MINUTE_MS: i64 = 60_000;

    fn created(task_id: &str, skill: &str, priority: Priority) -> Told {
        let event = json!({
            "specversion": "1.0", "id": "x", "source": "headsup", "type": "task.created", "subject": task_id,
            "time": "1970-01-01T00:00:00Z",
            "data": {
                "task_id": task_id, "idempotency_key": "k", "assignment_id": "a", "campaign": "c", "title": "t",
                "customer_id": format!("of-{task_id}"), "shop": "s", "order_ids": [],
                "risk": {"kind": "order_return", "probability": 0.5, "percentile": 99.0, "lead_ms": 0, "model": "m"},
                "reasons": [], "recommended_actions": [], "required_skills": [skill],
                "channels": [{"channel": "app", "until": null}], "priority": priority,
                "not_before": "1970-01-01T00:01:00Z", "expires_at": "1970-01-02T00:00:00Z", "arm": "treated"
            }
        });
        Told::of(&event).expect("an event")
    }

    fn agent(id: &str, skills: &[&str]) -> Agent {
        Agent {
            id: id.to_owned(),
            skills: skills.iter().map(|skill| (*skill).to_owned()).collect(),
            places: 2,
        }
    }

    /// Until nothing is left to do, and what was done at which minute.
    fn work(desk: &mut Desk, minutes: i64) -> Vec<(i64, Step)> {
        let mut all = Vec::new();
        for minute in 0..minutes {
            loop {
                let steps = desk.due(minute * MINUTE_MS);
                if steps.is_empty() {
                    break;
                }
                for step in steps {
                    desk.done(&step, minute * MINUTE_MS);
                    all.push((minute, step));
                }
            }
        }
        all
    }

    fn offered(step: &Step) -> Option<&str> {
        match &step.transition {
            Transition::Offered { agent_id } => agent_id.as_deref(),
            _ => None,
        }
    }

    #[test]
    fn by_skill_and_load_and_urgency() {
        let mut desk =
            Desk::new(vec![agent("a", &["return"]), agent("b", &["return", "presale"])], 10 * MINUTE_MS);
        for number in 0..3 {
            desk.take(created(&format!("later-{number}"), "return", Priority::Low));
        }
        desk.take(created("urgent", "return", Priority::High));
        desk.take(created("presale", "presale", Priority::Normal));
        desk.take(created("nobody can", "french", Priority::High));
        assert!(desk.due(0).is_empty(), "not before");
        let offers = desk.due(MINUTE_MS);
        let offers: Vec<_> = offers.iter().map(|step| (step.task_id.as_str(), offered(step))).collect();
        // Two places each: urgent to the first, presale to who can, then by load.
        assert_eq!(
            offers,
            [("urgent", Some("a")), ("presale", Some("b")), ("later-0", Some("a")), ("later-1", Some("b"))]
        );
        let steps = work(&mut desk, 60);
        let mut ended: Vec<&str> = steps
            .iter()
            .filter(|(_, step)| matches!(step.transition, Transition::Completed { .. }))
            .map(|(_, step)| step.task_id.as_str())
            .collect();
        ended.sort_unstable();
        assert_eq!(ended, ["later-0", "later-1", "later-2", "presale", "urgent"]);
        assert_eq!(desk.open(), 1);
        let mut keys: Vec<_> = steps.iter().map(|(_, step)| (&step.task_id, &step.key)).collect();
        let all = keys.len();
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), all, "a key for each step");
    }

    #[test]
    fn offers_are_given_back_now_and_then_and_come_again() {
        let mut desk = Desk::new(vec![agent("a", &["return"])], 1_000);
        for number in 0..200 {
            desk.take(created(&number.to_string(), "return", Priority::Normal));
        }
        let steps = work(&mut desk, 300);
        let given_back =
            steps.iter().filter(|(_, step)| matches!(step.transition, Transition::Rejected { .. })).count();
        assert!((1..40).contains(&given_back), "{given_back}");
        assert_eq!(desk.open(), 0);
        let informed = desk.counts["informed"];
        assert!((60..120).contains(&informed), "{informed}");
    }

    #[test]
    fn what_others_say_counts_and_places_become_free() {
        let mut desk = Desk::new(vec![agent("a", &["return"])], 10 * MINUTE_MS);
        for id in ["1", "2", "3"] {
            desk.take(created(id, "return", Priority::Normal));
        }
        for step in desk.due(MINUTE_MS) {
            desk.done(&step, MINUTE_MS);
        }
        let cancelled = json!({
            "type": "task.cancelled", "time": "1970-01-01T00:02:00Z",
            "data": {"task_id": "1", "idempotency_key": "k", "campaign": "c", "customer_id": "u", "revision": 3,
                "cause": "", "reason": "customer_came_first"}
        });
        desk.take(Told::of(&cancelled).expect("an event"));
        let steps = desk.due(2 * MINUTE_MS);
        assert!(steps.iter().any(|step| step.task_id == "3" && offered(step) == Some("a")), "{steps:?}");
        assert!(steps.iter().all(|step| step.task_id != "1"));
    }
}
